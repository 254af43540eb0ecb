"""What a search wrote, sequence by sequence; it needs no Keras."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Hypothesis:
    """One sequence that was written.

    Attributes:
        tokens: `<int32>(time,)`, without the end.
        score: Log-probability over a power of the length, the end counted.
        attention: `(time, memory_length)`, what each token looked at, or None.
    """

    tokens: np.ndarray
    score: float
    attention: np.ndarray | None


def hypotheses_of(outputs: dict[str, np.ndarray], row: int) -> list[Hypothesis]:
    """Takes one row's hypotheses out of a batch, the best first.

    Args:
        outputs: Those of `build_generator`, or of an exported graph, as arrays.
        row: Number of the row.

    Returns:
        Of a beam that ended in fewer than `n_best`, those.
    """
    hypotheses = []
    for rank, sequence in enumerate(outputs["sequences"][row]):
        written = int(np.count_nonzero(sequence))
        if not written and rank:
            break
        # The last one is the end.
        tokens = sequence[: max(written - 1, 0)]
        attention = (
            outputs["attention"][row, rank, : len(tokens)] if "attention" in outputs else None
        )
        score = float(outputs["scores"][row, rank])
        hypotheses.append(Hypothesis(tokens=tokens, score=score, attention=attention))
    # A beam comes in this order; samples come as they were drawn.
    return sorted(hypotheses, key=lambda one: -one.score)
