"""A trained translator from a run folder: `Predictor.load(run).predict(texts)`."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from apps.export.runtime import Runtime, SearchNetwork, choose
from apps.translation.alignment import merge_words
from apps.translation.config import Config
from apps.translation.decoding import SequenceTranslator
from apps.translation.typed_text import normalized, restored, sentences_of, without_loops
from common.errors import UserError
from common.run_folder import CONFIG, TOKENIZER, read_config
from common.settings import Search, config_from_flags
from data.text.subwords import decode_texts, encode_texts, load_subword_tokenizer
from models.decode.hypothesis import Hypothesis

PRETRAINED = Path(__file__).parent / "pretrained"


@dataclasses.dataclass(frozen=True)
class Candidate:
    """One translation of a text."""

    text: str
    score: float
    """Log-probability over a power of the length; the mean over the parts of a long text."""
    source_words: list[str]
    words: list[str]
    attention: np.ndarray | None
    """`(words, source_words)`: what each word looked at; of the first part of a long text."""


@dataclasses.dataclass(frozen=True)
class Translation:
    """A text and its translations, the best first; a text without letters has itself."""

    source: str
    candidates: list[Candidate]
    parts: int
    """In how many parts it was translated."""

    @property
    def text(self) -> str:
        """The best translation."""
        return self.candidates[0].text


class Predictor:
    """A trained translation model with its subwords, from a run folder alone."""

    def __init__(
        self, network: Callable[..., list[list[Hypothesis]]], tokenizer: Tokenizer, config: Config
    ):
        """Takes the parts; use `Predictor.load`.

        Args:
            network: A `KerasNetwork`, or a `SearchNetwork` of the exported graph.
            tokenizer: Of the run.
            config: Its settings.
        """
        self.network, self.tokenizer, self.config = network, tokenizer, config
        self.translate_ids = SequenceTranslator(network, max_length=config.max_length)

    @classmethod
    def load(cls, run: str | Path, *, runtime: Runtime = "auto", threads: int = 0) -> "Predictor":
        """Loads a run folder.

        Args:
            run: Run folder.
            runtime: What computes: `onnx`, `keras`, or the former if there is an export (`auto`).
            threads: Of an export; 0 for one a core.

        Raises:
            UserError: If the folder is missing, incomplete, of another task, or says that it
                translates in another direction than its model was trained in.
            UserError: If its tokenizer or, with `onnx`, its export cannot be used.
        """
        run = Path(run)
        config = config_from_flags(Config, read_config(run, "translation"), run / CONFIG)
        tokenizer = load_subword_tokenizer(run / TOKENIZER)

        def load_keras():
            from apps.translation.network import load_network

            return load_network(run, config, tokenizer)

        graph = choose(run, task="translation", runtime=runtime, threads=threads)
        network = load_keras() if graph is None else SearchNetwork(graph, load_keras)
        return cls(network, tokenizer, config)

    def predict(
        self, texts: list[str], search: Search | None = None, *, attention: bool = False
    ) -> list[Translation]:
        """Translates texts, in their order.

        Args:
            texts: Any number of texts of any length, translated sentence by sentence. One without
                letters is copied.
            search: How to look; the run's own way if None.
            attention: Whether candidates come with what each word looked at.

        Raises:
            UserError: If a text holds what UTF-8 cannot.
        """
        search = search or Search.of(self.config)
        distinct = search.method == "beam"
        parts = [part for number, text in enumerate(texts) for part in self._parts(number, text)]
        pieces = encode_texts(
            self.tokenizer, [piece for _, piece in parts], max_length=self.config.max_length
        )
        found = self.translate_ids(pieces, search, attention=attention)
        owned: dict[int, list[int]] = {}
        for index, (number, _) in enumerate(parts):
            owned.setdefault(number, []).append(index)
        return [
            self._joined(
                text,
                [pieces[index] for index in owned.get(number, [])],
                [found[index] for index in owned.get(number, [])],
                distinct,
            )
            for number, text in enumerate(texts)
        ]

    def _parts(self, number: int, text: str) -> list[tuple[int, str]]:
        """Cuts a text into sentences, and one that is too long between words."""
        try:
            text.encode()
        except UnicodeEncodeError:
            raise UserError(
                f"Text {number + 1} is not UTF-8: convert it, e.g. with iconv."
            ) from None
        # Numbers, marks and blank texts are the same in every language.
        if not any(character.isalpha() for character in text):
            return []
        most = self.config.max_length
        parts = []
        for sentence in sentences_of(normalized(text)):
            if self.config.source_language == "en":
                sentence = restored(sentence)
            if self._length(sentence) <= most:
                parts.append((number, sentence))
                continue
            words, room = [], most
            pieces = [piece for word in sentence.split() for piece in self._halved(word)]
            for word in pieces:
                length = self._length(word)
                if length > room and words:
                    parts.append((number, " ".join(words)))
                    words, room = [], most
                words.append(word)
                room -= length
            parts.append((number, " ".join(words)))
        return parts

    def _halved(self, word: str) -> list[str]:
        """Halves a word, and its halves, until each is short enough."""
        if len(word) < 2 or self._length(word) <= self.config.max_length:
            return [word]
        middle = len(word) // 2
        return [*self._halved(word[:middle]), *self._halved(word[middle:])]

    def _length(self, text: str) -> int:
        return len(self.tokenizer.encode(text).ids)

    def _joined(self, source: str, pieces: list, found: list, distinct: bool) -> Translation:
        """Puts the translations of a text's parts together, rank by rank.

        Two cuts of the same words into subwords are one translation if they are to be `distinct`.
        """
        if not found:
            # Invisible characters are blank.
            copied = " ".join(source.split()) if self._length(source) else ""
            return Translation(source, [Candidate(copied, 0.0, [], [], None)], parts=0)
        candidates = []
        for rank in range(min(map(len, found))):
            hypotheses = [part[rank] for part in found]
            texts = decode_texts(self.tokenizer, [one.tokens for one in hypotheses])
            # The model may write any byte, a line feed too.
            text = without_loops(" ".join(texts))
            if distinct and text in {candidate.text for candidate in candidates}:
                continue
            source_words, words, attention = merge_words(self.tokenizer, pieces[0], hypotheses[0])
            candidates.append(
                Candidate(
                    text=text,
                    score=float(np.mean([one.score for one in hypotheses])),
                    source_words=source_words,
                    words=words,
                    attention=attention,
                )
            )
        return Translation(source, candidates, parts=len(found))
