"""Loads a trained run and reads reviews: label, probability, and the words that moved it.

python -m apps.sentiment.predict --text "Not the worst film, but far from a good one."
"""

import json
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

from apps.export.runtime import RuntimeFlags
from apps.sentiment.predictor import PRETRAINED, Prediction, Predictor
from common.cli import aside, check_png, open_console, run_command, typed_lines, word_colour
from common.errors import UserError


def as_json(prediction: Prediction) -> str:
    """Returns a prediction as one line of JSON."""
    return json.dumps(
        {
            "text": prediction.text,
            "label": prediction.label,
            "probability": round(prediction.probability, 6),
            "probabilities": {k: round(v, 6) for k, v in prediction.probabilities.items()},
            "words": [[word, round(score, 4)] for word, score in prediction.pieces if score],
            "tokens": prediction.tokens,
            "tokens_read": prediction.tokens_read,
        },
        ensure_ascii=False,
    )


def show(prediction: Prediction, console: Console) -> None:
    """Prints a verdict and its text, coloured by what each word added, in a terminal."""
    line = Text.assemble((prediction.label, "bold"), f" {prediction.probability:.1%}  ")
    _, _, pieces = prediction.sides()
    greatest = max((abs(score) for _, score in pieces), default=0.0)
    for characters, score in pieces:
        if abs(score) > 0.1 * greatest:
            red, green, blue = word_colour(score, greatest)
            line.append(characters, style=f"black on rgb({red},{green},{blue})")
        else:
            line.append(characters)
    console.print(line)
    words = " ".join(f"{word} {score:+.2f}" for word, score in prediction.top_words())
    console.print(Text.assemble(("  moved by", "dim"), f" {words}"))
    if prediction.tokens_read < prediction.tokens:
        aside(
            console,
            f"  read {prediction.tokens_read} of {prediction.tokens} tokens: the first quarter and"
            " the last three quarters of what fits",
        )


def _texts_typed() -> list[str]:
    """Returns the texts on standard input, one a line; blank lines are skipped with a word."""
    texts = []
    for number, text in enumerate(typed_lines("read"), start=1):
        if text:
            texts.append(text)
        else:
            print(f"line {number} is empty: skipped", file=sys.stderr)
    return texts


def main(
    flags: RuntimeFlags,
    text: str | None = None,
    run: Path = PRETRAINED,
    json: bool = False,
    picture: Path | None = None,
) -> None:
    """Reads reviews with a trained model.

    Args:
        flags: What computes.
        text: The review; without it, each line of standard input is one.
        run: Run folder of the model.
        json: Print one line of JSON a review.
        picture: PNG file to draw the (first) review to, coloured by what each word added.
    """
    if text is not None and not text.strip():
        raise UserError("--text is empty: give at least one word.")
    check_png(picture)
    predictor = Predictor.load(run, runtime=flags.runtime, threads=flags.threads)
    predictions = predictor.predict([text] if text is not None else _texts_typed())
    if text is not None and not predictions[0].tokens:
        raise UserError("--text holds no word: give at least one.")
    console = open_console()
    for prediction in predictions:
        if json:
            print(as_json(prediction))
        else:
            show(prediction, console)
    if picture is not None:
        from common.plots import plot_words

        first = predictions[0]
        towards, against, pieces = first.sides()
        title = (
            f"{first.label}, {first.probability:.1%} · blue words speak for {towards}, orange ones"
            f" for {against}"
        )
        plot_words(pieces, picture, title=title)


if __name__ == "__main__":
    run_command(
        main,
        prog="python -m apps.sentiment.predict",
        description="Says what a review thinks, how surely, and which words tell.",
    )
