"""Loads a trained run and says what pictures show, and where it looked for each word.

python -m apps.captioning.predict --image photo.jpg
"""

import dataclasses
import glob
import json as json_format
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import keras
import numpy as np
from rich.text import Text
from tokenizers import Tokenizer

from apps.captioning.attention_maps import plot_attention
from apps.captioning.config import Config
from apps.captioning.decoding import PictureDescriber
from apps.captioning.features import PictureInputs, load_run_backbone, takes_pixels
from common.artifact import CONFIG, MODEL, TOKENIZER, load_model
from common.config import check_png, config_from_flags, run_command
from common.console import aside, open_console
from common.errors import UserError
from common.run_folder import read_config
from common.search import Search
from data.pictures.read import is_picture_name, picture_views
from data.text.subwords import decode_texts, load_subword_tokenizer, split_words
from models.captioning import add_mirror_image
from models.decode.writer import Hypothesis

PRETRAINED = Path(__file__).parent / "pretrained"

# Pictures that are read, described and printed together.
_TOGETHER = 32


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
        model: keras.Model,
        tokenizer: Tokenizer,
        config: Config,
        inputs: PictureInputs,
    ):
        """Takes the parts; use `Predictor.load`."""
        self.model, self.tokenizer, self.config, self.inputs = model, tokenizer, config, inputs
        self.views = config.views
        self._describers: dict[int, PictureDescriber] = {}

    @classmethod
    def load(cls, run: str | Path, *, mirror: bool = True) -> "Predictor":
        """Loads a run folder.

        Args:
            run: Run folder.
            mirror: Whether to see mirror images too, where the run's settings say so.

        Raises:
            UserError: If the folder is missing, incomplete or of another task.
            UserError: If its tokenizer or backbone cannot be read.
        """
        run = Path(run)
        config = config_from_flags(Config, read_config(run, "captioning"), run / CONFIG)
        config = dataclasses.replace(config, mirror=config.mirror and mirror)
        tokenizer = load_subword_tokenizer(run / TOKENIZER)
        model = load_model(run)
        predicted = model.get_layer("decoder").output["logits"].shape[-1]
        if predicted != tokenizer.get_vocab_size():
            raise UserError(
                f"{run / TOKENIZER} has {tokenizer.get_vocab_size()} subwords and {run / MODEL}"
                f" {predicted}: they belong to different runs; restore them."
            )
        backbone = None if takes_pixels(config) else load_run_backbone(config, run)
        if backbone is not None and backbone.output.shape[1:] != model.input["picture"].shape[1:]:
            raise UserError(
                f"{run / CONFIG} names a backbone of {backbone.output.shape[1:]} features, but"
                f" {run / MODEL} takes {model.input['picture'].shape[1:]}: restore the files."
            )
        return cls(model, tokenizer, config, PictureInputs(config, backbone))

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
        return self.describe(self.inputs.compute(seen), search, attention=attention)

    def describe(
        self, inputs: np.ndarray, search: Search | None = None, *, attention: bool = False
    ) -> list[list[Candidate]]:
        """Does the same with what the model takes of the pictures, `(batch, views, ...)`.

        There are one or two views, whatever `self.views` says.
        """
        search = search or Search.of(self.config)
        found = self.describe_ids(inputs, search, attention=attention)
        return [self._candidates(hypotheses, search) for hypotheses in found]

    def describe_ids(
        self, inputs: np.ndarray, search: Search, *, attention: bool = False
    ) -> list[list[Hypothesis]]:
        """Does the same with tokens for words; two cuts of the same words stay two."""
        views = inputs.shape[1]
        if views not in self._describers:
            model = self.model if views == 1 else add_mirror_image(self.model)
            self._describers[views] = PictureDescriber(
                model.get_layer("encoder"),
                model.get_layer("decoder"),
                max_length=self.config.max_length,
            )
        seen = inputs[:, 0] if views == 1 else inputs
        return self._describers[views](seen, search, attention=attention)

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


def find_pictures(places: tuple[str, ...]) -> list[Path]:
    """Returns the files that paths, folders and patterns mean, in their order.

    Raises:
        UserError: If one of them means none.
    """
    found: list[Path] = []
    for place in places:
        path = Path(place).expanduser()
        if path.is_dir():
            inside = sorted(path.iterdir())
            files = [one for one in inside if is_picture_name(one.name) and one.is_file()]
            if not files:
                raise UserError(f"--image {place}: the folder holds no picture; name another.")
        elif path.exists():
            files = [path]
        else:
            files = [Path(name) for name in sorted(glob.glob(str(path))) if Path(name).is_file()]
            if not files:
                raise UserError(f"--image {place} does not exist: check the path.")
        found += files
    return list(dict.fromkeys(found))


def as_json(path: Path, candidates: list[Candidate]) -> str:
    """Returns the captions of a picture as one line of JSON."""
    captions = []
    for candidate in candidates:
        record = {"text": candidate.text, "score": round(candidate.score, 4)}
        if candidate.attention is not None:
            shares = [[round(float(share), 4) for share in row] for row in candidate.attention]
            record |= {"words": candidate.words, "attention": shares}
        captions.append(record)
    return json_format.dumps({"image": str(path), "captions": captions}, ensure_ascii=False)


def described(
    predictor: Predictor, paths: list[Path], search: Search, *, attention: bool
) -> Iterator[tuple[Path, np.ndarray | None, list[Candidate] | UserError]]:
    """Yields each picture with its captions or, if it cannot be read, with why not."""
    for start in range(0, len(paths), _TOGETHER):
        pictures: dict[Path, np.ndarray] = {}
        faults: dict[Path, UserError] = {}
        for path in paths[start : start + _TOGETHER]:
            try:
                pictures[path] = predictor.inputs.read(path)
            except UserError as error:
                faults[path] = error
        captions = {}
        if pictures:
            found = predictor.predict(
                np.stack(list(pictures.values())), search, attention=attention
            )
            captions = dict(zip(pictures, found, strict=True))
        for path in paths[start : start + _TOGETHER]:
            yield path, pictures.get(path), captions.get(path, faults.get(path))


def main(
    image: tuple[str, ...] = (),
    run: Path = PRETRAINED,
    method: Literal["beam", "greedy", "sample"] = "beam",
    beam_size: int | None = None,
    length_penalty: float | None = None,
    n_best: int = 1,
    no_repeat_ngram: int | None = None,
    mirror: bool = True,
    temperature: float = 1.0,
    top_k: int = 0,
    seed: int = 0,
    json: bool = False,
    picture: Path | None = None,
) -> None:
    """Captions pictures with a trained model.

    Args:
        image: Pictures: files, folders, or patterns such as "holiday/*.jpg".
        run: Run folder of the model.
        method: Keep the best hypotheses, take the most probable word, or draw words.
        beam_size: Hypotheses that the beam keeps (default: the run's).
        length_penalty: Power of the length that a log-probability is divided by (default: the
            run's).
        n_best: Captions of each picture.
        no_repeat_ngram: Subwords in a row that no caption may hold twice (default: the run's).
        mirror: Write from the picture and its mirror image together, where the run does so; without
            it is twice as fast.
        temperature: Of sampling: below 1 bolder in what is probable, above 1 wilder.
        top_k: Most probable subwords to draw from; 0 for all.
        seed: Of sampling.
        json: Print one line of JSON a picture.
        picture: PNG file to draw to where each word of the (first) caption looked.
    """
    if not image:
        raise UserError("No picture: name files, folders or patterns with --image.")
    check_png(picture)
    paths = find_pictures(image)
    predictor = Predictor.load(run, mirror=mirror)
    config = predictor.config
    if picture is not None and config.variant != "attention":
        raise UserError(f"--picture: {run} looks at nothing, it is a --variant {config.variant}.")
    search = Search.of(
        config,
        method=method,
        beam_size=beam_size,
        length_penalty=length_penalty,
        n_best=n_best,
        no_repeat_ngram=no_repeat_ngram,
        temperature=temperature,
        top_k=top_k,
        seed=seed,
    )
    console = open_console()
    attention = config.variant == "attention" and (json or picture is not None)
    unread, drawn = 0, False
    for path, pixels, captions in described(predictor, paths, search, attention=attention):
        if isinstance(captions, UserError):
            unread += 1
            print(f"error: {' '.join(str(captions).split())}", file=sys.stderr)
            continue
        if json:
            print(as_json(path, captions))
        elif n_best > 1:
            aside(console, str(path))
            for one in captions:
                console.print(Text.assemble((f"{one.score:8.4f}", "dim"), f"  {one.text}"))
        else:
            print(captions[0].text if len(paths) == 1 else f"{path}\t{captions[0].text}")
        if picture is not None and not drawn:
            plot_attention(pixels, captions[0], picture)
            drawn = True
    if unread:
        sys.exit(2)


if __name__ == "__main__":
    run_command(
        main,
        prog="python -m apps.captioning.predict",
        description="Says what pictures show.",
    )
