"""What a decoder writes with each beam: timed, written to the run folder, and named in a table."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from common.artifact import OUTPUTS
from common.files import write_text
from common.results import Scores
from common.search import Search


@dataclasses.dataclass(frozen=True, kw_only=True)
class DecodedScores(Scores):
    """What a saved model that writes reached on one split."""

    hypotheses: dict[int, list[str]]
    """Beam size to the best text of each row; 1 is greedy."""
    seconds: dict[int, float]
    """Beam size to the time that all texts took, compiling included."""


def decode_with_beams(
    decode: Callable[[Search], list[str]], config: Any, beam_sizes: Sequence[int]
) -> tuple[dict[int, list[str]], dict[int, float]]:
    """Returns `hypotheses` and `seconds` of greedy search, the run's own beam and others.

    Args:
        decode: Returns the best text of each row.
        config: The run's settings.
        beam_sizes: More beams.
    """
    hypotheses, seconds = {}, {}
    for beam_size in sorted({1, config.beam_size, *beam_sizes}):
        begin = time.perf_counter()
        hypotheses[beam_size] = decode(Search.of(config, method="beam", beam_size=beam_size))
        seconds[beam_size] = time.perf_counter() - begin
    return hypotheses, seconds


def write_hypotheses(
    folder: Path, scores: DecodedScores, *, names: Sequence[str] | None = None
) -> list[Path]:
    """Writes every text, a line a row, one file a beam size.

    Args:
        folder: The run folder, or that of an evaluation.
        scores: What holds them.
        names: Of the rows, put before the texts and a tab; such files end in `.tsv`.

    Returns:
        The files.
    """
    paths = []
    for beam_size, texts in scores.hypotheses.items():
        path = folder / OUTPUTS / f"{scores.split}.beam{beam_size}.{'tsv' if names else 'txt'}"
        if names:
            texts = [f"{name}\t{text}" for name, text in zip(names, texts, strict=True)]
        write_text(path, "".join(f"{text}\n" for text in texts))
        paths.append(path)
    return paths


def table_rows(run: Path, scores: Scores) -> dict[str, dict[str, float]]:
    """Returns the lines of a table of metrics: the beam, greedy search and the baselines."""
    greedy = {
        name.removesuffix("_greedy"): value
        for name, value in scores.metrics.items()
        if name.endswith("_greedy")
    }
    return {str(run): scores.metrics, "  greedy": greedy, **scores.baselines}
