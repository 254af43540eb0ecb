"""A trained classifier from a run folder: `Predictor.load(run).predict(texts)`."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np

from apps.export.runtime import Runtime, choose
from apps.sentiment.config import Config, read_labels
from common.errors import UserError
from common.run_folder import CONFIG, TOKENIZER, read_config
from common.settings import config_from_flags
from data.text.padding import pad_tokens
from data.text.tokenization import encode, kept_positions, load_tokenizer

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

    def __init__(self, network: Callable[..., dict], tokenizer, config: Config, labels: list[str]):
        """Takes the parts; use `Predictor.load`.

        Args:
            network: From `tokens` `<int32>(batch, time)` to `logits` `(batch, classes)` and
                `contributions` `(batch, time, classes)`.
            tokenizer: Of the run.
            config: Its settings.
            labels: Names of the classes.
        """
        self.network, self.tokenizer, self.config, self.labels = network, tokenizer, config, labels

    @classmethod
    def load(cls, run: str | Path, *, runtime: Runtime = "auto", threads: int = 0) -> "Predictor":
        """Loads a run folder.

        Args:
            run: Run folder.
            runtime: What computes: `onnx`, `keras`, or the former if there is an export (`auto`).
            threads: Of an export; 0 for one a core.

        Raises:
            UserError: If the folder is missing, incomplete or of another task.
            UserError: If its tokenizer or, with `onnx`, its export cannot be used.
        """
        run = Path(run)
        stored = read_config(run, "sentiment")
        labels = read_labels(stored, run)
        members = stored.pop("members", [{}])
        config = config_from_flags(Config, stored, run / CONFIG)
        tokenizer = load_tokenizer(run / TOKENIZER)
        network = choose(run, task="sentiment", runtime=runtime, threads=threads)
        if network is None:
            from apps.sentiment.network import KerasNetwork

            network = KerasNetwork(run, config, members)
        return cls(network, tokenizer, config, labels)

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
            outputs = self.network(tokens=tokens)
            for index, row in enumerate(rows):
                found[row] = self._verdict(
                    texts[row], outputs["logits"][index], outputs["contributions"][index]
                )
        return [found[row] for row in range(len(texts))]

    def _verdict(self, text: str, logits: np.ndarray, shares: np.ndarray) -> Prediction:
        """Puts one text's verdict together.

        Args:
            text: As it came.
            logits: `(classes,)`.
            shares: `(time, classes)`, what each token added to the logits.
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
