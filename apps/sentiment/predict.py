"""Loads a trained run and reads reviews: label, probability, and the words that moved it.

python -m apps.sentiment.predict --text "Not the worst film, but far from a good one."
"""

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.text import Text

from apps.sentiment.config import BIGRAM_DIM, Config
from common.artifact import CONFIG, TOKENIZER, load_model
from common.config import check_png, config_from_flags, run_command
from common.console import aside, open_console, typed_lines
from common.errors import UserError
from common.plots import plot_words, word_colour
from common.run_folder import read_config, read_labels
from data.text.batching import pad_tokens
from data.text.tokenization import encode, kept_positions, load_tokenizer
from models.sentiment import build_explainer, token_contributions
from models.sentiment_ensemble import ensemble_members

PRETRAINED = Path(__file__).parent / "pretrained"


@dataclasses.dataclass(frozen=True)
class Prediction:
    """A verdict on one text."""

    text: str
    label: str
    probability: float
    """Of `label`."""
    probabilities: dict[str, float]
    """Of every label."""
    pieces: list[tuple[str, float]]
    """The whole text in order, cut into `(characters, score)`: what each word added to the logit
    of `label` against the mean of the others. White space, and what a long text was cut by, has 0.
    """
    tokens: int
    tokens_read: int

    def sides(self) -> tuple[str, str, list[tuple[str, float]]]:
        """Returns what words speak for, what against, and the pieces with their scores so.

        Of two labels the second one is spoken for, whatever the verdict, so that a colour means
        one thing in all texts; of more it is the verdict, against all others.
        """
        labels = list(self.probabilities)
        if len(labels) != 2:
            return self.label, "another", self.pieces
        sign = 1 if self.label == labels[1] else -1
        return labels[1], labels[0], [(piece, sign * score) for piece, score in self.pieces]

    def top_words(self, count: int = 5) -> list[tuple[str, float]]:
        """Returns the words that moved the verdict most, strongest first."""
        words = [(word, score) for word, score in self.pieces if score]
        return sorted(words, key=lambda item: -abs(item[1]))[:count]


class Predictor:
    """A trained sentiment model with its tokenizer, from a run folder alone."""

    def __init__(self, model, tokenizer, config: Config, labels: list[str], members=({},)):
        """Takes the parts; use `Predictor.load`.

        Args:
            model: The classifier, or an ensemble of several.
            tokenizer: Of the run.
            config: Settings of the run, or of the first member.
            labels: Names of the labels.
            members: Settings of each member that differ from `config`.
        """
        self.model, self.tokenizer, self.config, self.labels = model, tokenizer, config, labels
        configs = [dataclasses.replace(config, **settings) for settings in members]
        self._members = list(zip(ensemble_members(model), configs, strict=True))
        self._explainers = [build_explainer(member) for member, _ in self._members]

    @classmethod
    def load(cls, run: str | Path) -> "Predictor":
        """Loads a run folder.

        Raises:
            UserError: If the folder is missing, incomplete or of another task.
            UserError: If its tokenizer cannot be read.
        """
        run = Path(run)
        stored = read_config(run, "sentiment")
        labels = read_labels(stored, run)
        members = stored.pop("members", [{}])
        config = config_from_flags(Config, stored, run / CONFIG)
        tokenizer = load_tokenizer(run / TOKENIZER)
        model = load_model(run)
        return cls(model, tokenizer, config, labels, members)

    def predict(self, texts: list[str], *, batch_size: int = 32) -> list[Prediction]:
        """Reads texts.

        Args:
            texts: Any number of texts, none of them blank.
            batch_size: Texts read at once.

        Raises:
            UserError: If a text is blank or holds what UTF-8 cannot.
        """
        for number, text in enumerate(texts, start=1):
            if not text.strip():
                raise UserError(f"Text {number} is empty: give at least one word.")
            try:
                text.encode()
            except UnicodeEncodeError:
                raise UserError(
                    f"Text {number} is not UTF-8: convert it, e.g. with iconv."
                ) from None
        sequences = encode(self.tokenizer, texts, max_length=self.config.max_length)
        order = np.argsort([len(sequence) for sequence in sequences], kind="stable")
        found: dict[int, Prediction] = {}
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            lengths = np.array([len(sequences[row]) for row in rows])
            step = self.config.region_length or 50
            tokens = pad_tokens(sequences, rows, -(-lengths.max() // step) * step)
            logits, shares = self._read(tokens, lengths)
            for index, row in enumerate(rows):
                found[row] = self._verdict(texts[row], logits[index], shares[index])
        return [found[row] for row in range(len(texts))]

    def _read(self, tokens: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the logits and the contributions of the tokens, each the mean of the members.

        Args:
            tokens: `<int32>(batch, time)`.
            lengths: `<int>(batch,)`.
        """
        logits, shares = [], []
        for explainer, (member, config) in zip(self._explainers, self._members, strict=True):
            outputs = {
                name: np.asarray(value)
                for name, value in explainer.predict_on_batch(tokens).items()
            }
            logits.append(outputs["logits"])
            shares.append(
                token_contributions(
                    outputs["states"],
                    np.asarray(member.get_layer("logits").kernel),
                    lengths,
                    pooling=config.pooling,
                    **feature_counts(config),
                    weights=outputs.get("weights"),
                )
            )
        return np.mean(logits, axis=0), np.mean(shares, axis=0)

    def _verdict(self, text: str, logits: np.ndarray, shares: np.ndarray) -> Prediction:
        """Puts one text's verdict together.

        Args:
            text: As it came.
            logits: `(classes,)`.
            shares: `(time, classes)` of `token_contributions`.
        """
        probabilities = np.exp(logits - logits.max())
        probabilities /= probabilities.sum()
        best = int(probabilities.argmax())
        rest = (shares.sum(axis=1) - shares[:, best]) / (shares.shape[1] - 1)
        scores = shares[:, best] - rest
        offsets = self.tokenizer.encode(text).offsets
        kept = kept_positions(len(offsets), self.config.max_length)
        return Prediction(
            text=text,
            label=self.labels[best],
            probability=float(probabilities[best]),
            probabilities=dict(zip(self.labels, map(float, probabilities), strict=True)),
            pieces=_cut(text, [offsets[position] for position in kept], scores),
            tokens=len(offsets),
            tokens_read=len(kept),
        )


def feature_counts(config: Config) -> dict[str, int]:
    """Returns which of the encoder's features are vectors, and which read backward."""
    return {
        "vector_features": config.embed_dim + (BIGRAM_DIM if config.bigram_buckets else 0),
        "backward_units": config.units if config.bidirectional else 0,
    }


def _cut(text: str, spans: list[tuple[int, int]], scores: np.ndarray) -> list[tuple[str, float]]:
    """Cuts `text` at the `spans` of its tokens; what stands between them scores 0."""
    pieces, end = [], 0
    for (start, stop), score in zip(spans, scores, strict=False):
        if start > end:
            pieces.append((text[end:start], 0.0))
        if stop > start:
            pieces.append((text[start:stop], float(score)))
        end = max(end, stop)
    if end < len(text):
        pieces.append((text[end:], 0.0))
    return pieces


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
    text: str | None = None, run: Path = PRETRAINED, json: bool = False, picture: Path | None = None
) -> None:
    """Reads reviews with a trained model.

    Args:
        text: The review; without it, each line of standard input is one.
        run: Run folder of the model.
        json: Print one line of JSON a review.
        picture: PNG file to draw the (first) review to, coloured by what each word added.
    """
    if text is not None and not text.strip():
        raise UserError("--text is empty: give at least one word.")
    check_png(picture)
    predictor = Predictor.load(run)
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
