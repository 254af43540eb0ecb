"""Loads a trained run and translates: the best translations, their scores, what was looked at.

python -m apps.translation.predict --text "A dog runs across the grass."
"""

import json as json_format
import sys
from pathlib import Path
from typing import Literal

from rich.text import Text

from apps.export.runtime import RuntimeFlags
from apps.translation.alignment import plot_alignment
from apps.translation.predictor import PRETRAINED, Predictor, Translation
from common.cli import check_png, open_console, run_command, typed_lines
from common.errors import UserError
from common.settings import Search

# Lines that are translated before the first of them are printed: enough to sort them by length.
_PIECE = 1000


def as_json(translation: Translation) -> str:
    """Returns a translation as one line of JSON."""
    candidates = []
    for candidate in translation.candidates:
        record = {"text": candidate.text, "score": round(candidate.score, 4)}
        if candidate.attention is not None:
            record |= {
                "source_words": candidate.source_words,
                "words": candidate.words,
                "attention": [
                    [round(float(share), 4) for share in row] for row in candidate.attention
                ],
            }
        candidates.append(record)
    return json_format.dumps(
        {"source": translation.source, "translations": candidates, "parts": translation.parts},
        ensure_ascii=False,
    )


def main(
    flags: RuntimeFlags,
    text: str | None = None,
    run: Path = PRETRAINED,
    source_language: str | None = None,
    target_language: str | None = None,
    method: Literal["beam", "greedy", "sample"] = "beam",
    beam_size: int | None = None,
    length_penalty: float | None = None,
    n_best: int = 1,
    temperature: float = 1.0,
    top_k: int = 0,
    seed: int = 0,
    json: bool = False,
    picture: Path | None = None,
) -> None:
    """Translates with a trained model.

    Args:
        flags: What computes.
        text: The text; without it, each line of standard input is one, and each line of the output
            its translation.
        run: Run folder of the model.
        source_language: The language to translate from; only checked against the model's.
        target_language: The language to translate into; only checked against the model's.
        method: Keep the best hypotheses, take the most probable word, or draw words.
        beam_size: Hypotheses that the beam keeps (default: the run's).
        length_penalty: Power of the length that a log-probability is divided by (default: the
            run's).
        n_best: Translations of each text.
        temperature: Of sampling: below 1 bolder in what is probable, above 1 wilder.
        top_k: Most probable subwords to draw from; 0 for all.
        seed: Of sampling.
        json: Print one line of JSON a text.
        picture: PNG file to draw to what each word of the (first) translation looked at.
    """
    if text is not None and not text.strip():
        raise UserError("--text is empty: give at least one word.")
    check_png(picture)
    predictor = Predictor.load(run, runtime=flags.runtime, threads=flags.threads)
    config = predictor.config
    for name, given, own in (
        ("source", source_language, config.source_language),
        ("target", target_language, config.target_language),
    ):
        if given not in (None, own):
            raise UserError(
                f"--{name}-language {given}: {run} translates {config.source_language} to"
                f" {config.target_language}; name another run with --run."
            )
    search = Search.of(
        config,
        method=method,
        beam_size=beam_size,
        length_penalty=length_penalty,
        n_best=n_best,
        temperature=temperature,
        top_k=top_k,
        seed=seed,
    )
    texts = [text] if text is not None else typed_lines("translate")
    console, first = open_console(), None
    for start in range(0, len(texts), _PIECE):
        piece = texts[start : start + _PIECE]
        translations = predictor.predict(piece, search, attention=json or picture is not None)
        for number, translation in enumerate(translations, start=start + 1):
            if json:
                print(as_json(translation))
            elif n_best == 1:
                print(translation.text)
            else:
                for candidate in translation.candidates:
                    console.print(
                        Text.assemble((f"{candidate.score:8.4f}", "dim"), f"  {candidate.text}")
                    )
                if number < len(texts):
                    print()
        # Whoever reads on need not wait for the end of a long file.
        sys.stdout.flush()
        first = first or next((one for one in translations if one.parts), None)
    if picture is not None:
        if first is None:
            raise UserError("There is no text to draw a --picture of: give at least one word.")
        plot_alignment(first.candidates[0], picture)


if __name__ == "__main__":
    run_command(
        main,
        prog="python -m apps.translation.predict",
        description="Translates a text, or every line of standard input.",
    )
