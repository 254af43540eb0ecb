"""Loads a trained run and says what pictures show, and where it looked for each word.

python -m apps.captioning.predict --image photo.jpg
"""

import glob
import json as json_format
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
from rich.text import Text

from apps.captioning.attention_maps import plot_attention
from apps.captioning.predictor import PRETRAINED, Candidate, Predictor
from apps.export.runtime import RuntimeFlags
from common.cli import aside, check_png, open_console, run_command
from common.errors import UserError
from common.settings import Search
from data.pictures.read import is_picture_name

# Pictures that are read, described and printed together.
_TOGETHER = 32


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
    flags: RuntimeFlags,
    image: tuple[str, ...] = (),
    run: Path = PRETRAINED,
    method: Literal["beam", "greedy", "sample"] = "beam",
    beam_size: int | None = None,
    length_penalty: float | None = None,
    n_best: int = 1,
    mirror: bool = True,
    temperature: float = 1.0,
    top_k: int = 0,
    seed: int = 0,
    json: bool = False,
    picture: Path | None = None,
) -> None:
    """Captions pictures with a trained model.

    Args:
        flags: What computes.
        image: Pictures: files, folders, or patterns such as "holiday/*.jpg".
        run: Run folder of the model.
        method: Keep the best hypotheses, take the most probable word, or draw words.
        beam_size: Hypotheses that the beam keeps (default: the run's).
        length_penalty: Power of the length that a log-probability is divided by (default: the
            run's).
        n_best: Captions of each picture.
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
    predictor = Predictor.load(run, mirror=mirror, runtime=flags.runtime, threads=flags.threads)
    config = predictor.config
    if picture is not None and config.variant != "attention":
        raise UserError(f"--picture: {run} looks at nothing, it is a --variant {config.variant}.")
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
