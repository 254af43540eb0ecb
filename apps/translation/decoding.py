"""Writes translations of token ids, many sentences at once, each batch in one compiled loop."""

import dataclasses
from typing import Literal

import keras
import numpy as np

from apps.translation.config import Config
from common.errors import UserError
from common.training import check_at_least
from data.batching import pad_tokens
from data.subwords import END_ID, START_ID, UNK_ID
from models.generation import build_generator

# Lengths are padded to multiples of this, so that few distinct shapes are compiled.
_MULTIPLE = 8


@dataclasses.dataclass(frozen=True)
class Search:
    """How to look for a translation."""

    method: Literal["beam", "greedy", "sample"] = "beam"
    beam_size: int = 5
    length_penalty: float = 1.0
    n_best: int = 1
    no_repeat_ngram: int = 0
    temperature: float = 1.0
    top_k: int = 0
    seed: int = 0

    def __post_init__(self):
        """Checks what the types cannot say.

        Raises:
            UserError: If the settings contradict each other.
        """
        check_at_least(1, self, "beam_size", "n_best")
        check_at_least(0, self, "length_penalty", "no_repeat_ngram", "top_k", "seed")
        if not 0 < self.temperature < float("inf"):
            raise UserError("--temperature must be above 0; towards 0 it is --method greedy.")
        if self.method == "greedy" and self.n_best > 1:
            raise UserError("--method greedy gives one translation: leave --n-best out.")
        if self.method == "beam" and self.n_best > self.beam_size:
            raise UserError(
                f"--n-best {self.n_best} is more than the beam of {self.beam_size}: raise"
                " --beam-size."
            )

    @classmethod
    def of(cls, config: Config, **given) -> "Search":
        """Returns the search that a run was set up with, but for what is `given` and not None."""
        own = {
            "beam_size": config.beam_size,
            "length_penalty": config.length_penalty,
            "no_repeat_ngram": config.no_repeat_ngram,
        }
        given = {name: value for name, value in given.items() if value is not None}
        return cls(**{**own, **given})


@dataclasses.dataclass(frozen=True)
class Hypothesis:
    """One translation of a sentence."""

    tokens: np.ndarray
    """`<int32>(time,)`, without the end."""
    score: float
    """Log-probability over a power of the length, the end counted; see `Search.length_penalty`."""
    attention: np.ndarray | None
    """`(time, source_length)`: what each token looked at."""


class SequenceTranslator:
    """Translates sequences of token ids.

    The generators are built when they are first wanted and see later changes of the weights, so
    that one translator serves a whole training.

    Args:
        encoder: From `build_encoder`.
        decoder: From `build_attention_decoder`.
        max_length: Most tokens of a source.
    """

    def __init__(self, encoder: keras.Model, decoder: keras.Model, *, max_length: int):
        """See the class."""
        self._encoder, self._decoder = encoder, decoder
        self._most = output_limit(max_length)
        self._generators: dict[tuple, keras.Model] = {}

    def __call__(
        self,
        sources: list[np.ndarray],
        search: Search,
        *,
        attention: bool = False,
        batch_size: int = 64,
    ) -> list[list[Hypothesis]]:
        """Translates.

        Args:
            sources: `<int32>(time,)` each, in any order of lengths.
            search: How to look.
            attention: Whether hypotheses come with what they looked at.
            batch_size: Sentences side by side.

        Returns:
            For each source its hypotheses, the best first; of a beam that ended in fewer than
            `n_best`, those.
        """
        generator = self._generator(search, attention)
        order = np.argsort([len(source) for source in sources], kind="stable")
        found: dict[int, list[Hypothesis]] = {}
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            # Rows are padded too, up to a power of two, with sentences of one token.
            count = min(batch_size, 1 << (len(rows) - 1).bit_length())
            filled = [sources[row] for row in rows] + [np.array([UNK_ID])] * (count - len(rows))
            lengths = np.array([len(source) for source in filled])
            padded_length = -(-lengths.max() // _MULTIPLE) * _MULTIPLE
            limits = np.minimum(output_limit(lengths), self._most)
            limits[len(rows) :] = 1
            outputs = generator.predict_on_batch(
                {
                    "source": pad_tokens(filled, np.arange(count), padded_length),
                    "length_limit": limits.astype(np.int32),
                }
            )
            outputs = {name: keras.ops.convert_to_numpy(out) for name, out in outputs.items()}
            for index, row in enumerate(rows):
                found[row] = _hypotheses(outputs, index, lengths[index])
        return [found[row] for row in range(len(sources))]

    def _generator(self, search: Search, attention: bool) -> keras.Model:
        """Returns the compiled loop for these settings, built once."""
        key = (*dataclasses.astuple(search), attention)
        if key not in self._generators:
            self._generators[key] = build_generator(
                self._encoder,
                self._decoder,
                start_id=START_ID,
                end_id=END_ID,
                max_length=int(self._most),
                return_attention=attention,
                **dataclasses.asdict(search),
            )
        return self._generators[key]


def output_limit(source_length):
    """Returns the most tokens of a translation, its end included: half as long again and ten."""
    return source_length * 3 // 2 + 10


def _hypotheses(outputs: dict, index: int, source_length: int) -> list[Hypothesis]:
    """Takes one row's hypotheses out of a batch."""
    hypotheses = []
    for rank, sequence in enumerate(outputs["sequences"][index]):
        written = int(np.count_nonzero(sequence))
        if not written and rank:
            break
        # The last one is the end.
        tokens = sequence[: max(written - 1, 0)]
        attention = None
        if "attention" in outputs:
            attention = outputs["attention"][index, rank, : len(tokens), :source_length]
        score = float(outputs["scores"][index, rank])
        hypotheses.append(Hypothesis(tokens=tokens, score=score, attention=attention))
    # A beam comes in this order; samples come as they were drawn.
    return sorted(hypotheses, key=lambda one: -one.score)
