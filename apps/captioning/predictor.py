"""A trained captioner from a run folder: `Predictor.load(run).predict(pictures)`."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from apps.captioning.config import Config
from apps.captioning.decoding import PictureDescriber
from apps.captioning.features import PictureInputs
from apps.export.runtime import Runtime, SearchNetwork, choose
from common.run_folder import CONFIG, TOKENIZER, read_config
from common.settings import Search, config_from_flags
from data.pictures.read import picture_views
from data.text.subwords import decode_texts, load_subword_tokenizer, split_words
from models.decode.hypothesis import Hypothesis

PRETRAINED = Path(__file__).parent / "pretrained"


@dataclasses.dataclass(frozen=True)
class Candidate:
    """One caption of a picture."""

    text: str
    score: float
    """Log-probability over a power of the length."""
    words: list[str]
    attention: np.ndarray | None
    """`(words, regions)`: where each word looked, row by row of the grid; each sums to 1."""


class Predictor:
    """A trained captioning model with its subwords, and with the backbone that it looks through.

    Attributes:
        views: What it sees of each picture: 1 is the picture, 2 its mirror image too.
    """

    def __init__(
        self,
        network: Callable[..., list[list[Hypothesis]]],
        tokenizer: Tokenizer,
        config: Config,
        inputs: PictureInputs,
    ):
        """Takes the parts; use `Predictor.load`.

        Args:
            network: A `KerasNetwork`, or a `SearchNetwork` of the exported graph.
            tokenizer: Of the run.
            config: Its settings.
            inputs: What reads pictures for the network.
        """
        self.network, self.tokenizer, self.config, self.inputs = network, tokenizer, config, inputs
        self.views = config.views
        # With its backbone in it, a graph is quickest and smallest with few pictures.
        self._describe = PictureDescriber(
            network,
            max_length=config.max_length,
            batch_size=2 if isinstance(network, SearchNetwork) else 64,
        )

    @classmethod
    def load(
        cls, run: str | Path, *, mirror: bool = True, runtime: Runtime = "auto", threads: int = 0
    ) -> "Predictor":
        """Loads a run folder.

        Args:
            run: Run folder.
            mirror: Whether to see mirror images too, where the run's settings say so.
            runtime: What computes: `onnx`, `keras`, or the former if there is an export (`auto`).
            threads: Of an export; 0 for one a core.

        Raises:
            UserError: If the folder is missing, incomplete or of another task.
            UserError: If its tokenizer, its backbone or, with `onnx`, its export cannot be used.
        """
        run = Path(run)
        config = config_from_flags(Config, read_config(run, "captioning"), run / CONFIG)
        config = dataclasses.replace(config, mirror=config.mirror and mirror)
        tokenizer = load_subword_tokenizer(run / TOKENIZER)

        def load_keras():
            from apps.captioning.network import load_network

            return load_network(run, config, tokenizer)

        graph = choose(run, task="captioning", runtime=runtime, threads=threads)
        if graph is None:
            network = load_keras()
            return cls(network, tokenizer, config, network.inputs)
        network = SearchNetwork(graph, load_keras, feed=_mirrored_by_the_graph)
        # The graph sees pixels: its backbone is part of it.
        return cls(network, tokenizer, config, PictureInputs(config, None))

    def predict(
        self, pictures: np.ndarray, search: Search | None = None, *, attention: bool = False
    ) -> list[list[Candidate]]:
        """Describes pictures: the best captions of each, in their order.

        Args:
            pictures: `<uint8>(batch, size, size, 3)`, from `self.inputs.read`.
            search: How to look; the run's own way if None.
            attention: Whether candidates come with where each word looked.
        """
        seen = np.stack([picture_views(picture, self.views) for picture in pictures])
        return self.describe(seen, search, attention=attention)

    def describe(
        self, inputs: np.ndarray, search: Search | None = None, *, attention: bool = False
    ) -> list[list[Candidate]]:
        """Does the same with views of the pictures, or with what `self.inputs` made of them.

        Args:
            inputs: `(batch, views, ...)`, one or two views, whatever `self.views` says.
            search: How to look; the run's own way if None.
            attention: Whether candidates come with where each word looked.
        """
        search = search or Search.of(self.config)
        found = self.describe_ids(inputs, search, attention=attention)
        return [self._candidates(hypotheses, search) for hypotheses in found]

    def describe_ids(
        self, inputs: np.ndarray, search: Search, *, attention: bool = False
    ) -> list[list[Hypothesis]]:
        """Does the same with tokens for words; two cuts of the same words stay two."""
        return self._describe(inputs, search, attention=attention)

    def _candidates(self, hypotheses: list[Hypothesis], search: Search) -> list[Candidate]:
        """Turns tokens into words. Two cuts of the same words are one caption of a beam."""
        candidates: list[Candidate] = []
        for one in hypotheses:
            (text,) = decode_texts(self.tokenizer, [one.tokens])
            text = " ".join(text.split())
            if search.method == "beam" and text in {candidate.text for candidate in candidates}:
                continue
            words, groups = split_words(self.tokenizer, one.tokens)
            attention = None
            if one.attention is not None:
                attention = np.zeros((len(words), one.attention.shape[1]))
                np.add.at(attention, groups, one.attention)
                attention /= np.bincount(groups, minlength=len(words))[:, None]
            candidates.append(Candidate(text, one.score, words, attention))
        return candidates


def _mirrored_by_the_graph(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns what the graph takes: the picture, and how many views of it to see."""
    views = inputs["picture"]
    return {**inputs, "picture": views[:, 0], "views": np.int32(views.shape[1])}
