"""Writes drawn pictures with captions in Flickr8k's format, to try captioning offline.

`python -m data.pictures.sample --data-dir DIR` takes about a second. A picture shows one or two
shapes, each in one of nine places; its five captions are true, and hardly any is true of another
picture, so that a model that does not look fails.
"""

import csv
import io
import math
import random
import zipfile
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw

from common.errors import UserError
from common.files import atomic_path
from data.download import data_directory
from data.pairs.files import GENERATED_NOTE
from data.pictures import flickr8k
from data.pictures.own_folder import CAPTIONS_FILE
from data.sample_command import sample_command

COLOURS = {
    "red": (215, 30, 35),
    "green": (30, 150, 50),
    "blue": (35, 70, 215),
    "yellow": (245, 215, 30),
    "purple": (140, 40, 160),
    "orange": (245, 130, 20),
}
BACKGROUNDS = {"white": (240, 240, 240), "grey": (140, 140, 140), "black": (20, 20, 20)}
# By row and column.
PLACES = (
    ("at the top left", "at the top", "at the top right"),
    ("on the left", "in the middle", "on the right"),
    ("at the bottom left", "at the bottom", "at the bottom right"),
)
# Corners of a shape of radius 1 around 0, as steps to the right and down; a circle has none.
_ANGLES = [(math.pi * point / 5, (1.1, 0.5)[point % 2]) for point in range(10)]
_ARM = [(-0.35, -1.0), (0.35, -1.0), (0.35, -0.35), (1.0, -0.35), (1.0, 0.35), (0.35, 0.35)]
CORNERS = {
    "circle": [],
    "square": [(-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)],
    "triangle": [(0.0, -1.05), (1.05, 0.8), (-1.05, 0.8)],
    "star": [(reach * math.sin(angle), -reach * math.cos(angle)) for angle, reach in _ANGLES],
    "cross": [*_ARM, *((-x, -y) for x, y in _ARM)],
}
SIDE = 64
# Pictures are drawn larger and then reduced, which smooths the edges.
_SCALE = 4
_RADIUS = {"small": 5.5, "large": 9.5}
_NOTE = "Pictures that `python -m data.pictures.sample` has generated, not Flickr8k.\n"


@dataclass(frozen=True)
class Shape:
    """A shape: keys of `_RADIUS`, `COLOURS` and `CORNERS`, and its place; row 0 is the top."""

    size: str
    colour: str
    kind: str
    row: int
    column: int


@dataclass(frozen=True)
class Scene:
    """What a picture shows: a key of `BACKGROUNDS`, and one or two shapes from the top left on."""

    background: str
    shapes: tuple[Shape, ...]


def scenes(count: int, *, seed: int) -> list[tuple[str, Scene, bytes, list[str]]]:
    """Returns distinct scenes: file name, scene, JPEG and captions of each."""
    generator = random.Random(seed)
    names = [(colour, kind) for colour in COLOURS for kind in CORNERS]
    rows = {}
    while len(rows) < count:
        shapes = generator.choices((1, 2), (3, 7))[0]
        places = sorted(generator.sample(range(9), shapes))
        scene = Scene(
            generator.choice(list(BACKGROUNDS)),
            tuple(
                Shape(generator.choice(list(_RADIUS)), colour, kind, *divmod(place, 3))
                for place, (colour, kind) in zip(
                    places, generator.sample(names, shapes), strict=True
                )
            ),
        )
        if scene not in rows:
            name = f"{1_000_000_000 + len(rows)}_{generator.getrandbits(40):010x}.jpg"
            rows[scene] = (name, scene, _draw(scene, generator), _captions(scene, generator))
    return list(rows.values())


def _draw(scene: Scene, generator: random.Random) -> bytes:
    """Draws a scene, with places and colours a little off, so that no two pictures are equal."""

    def near(colour: tuple[int, ...]) -> tuple[int, ...]:
        lighter = generator.randint(-15, 15)
        return tuple(min(max(value + lighter, 0), 255) for value in colour)

    side = SIDE * _SCALE
    image = Image.new("RGB", (side, side), near(BACKGROUNDS[scene.background]))
    pencil = ImageDraw.Draw(image)
    for shape in scene.shapes:
        x, y = (
            (place + 0.5) * side / 3 + generator.uniform(-1, 1) * _SCALE
            for place in (shape.column, shape.row)
        )
        radius, colour = _RADIUS[shape.size] * _SCALE, near(COLOURS[shape.colour])
        if corners := CORNERS[shape.kind]:
            pencil.polygon(
                [(x + radius * right, y + radius * down) for right, down in corners], colour
            )
        else:
            pencil.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    file = io.BytesIO()
    image.reduce(_SCALE).save(file, "JPEG", quality=92, subsampling=0)
    return file.getvalue()


def _captions(scene: Scene, generator: random.Random) -> list[str]:
    """Returns five distinct captions that are true of the scene."""
    names = [_a(f"{shape.colour} {shape.kind}") for shape in scene.shapes]
    sized = [_a(f"{shape.size} {shape.colour} {shape.kind}") for shape in scene.shapes]
    places = [PLACES[shape.row][shape.column] for shape in scene.shapes]
    if len(scene.shapes) == 1:
        sentences = [
            f"{sized[0]} {places[0]}",
            f"there is {names[0]} {places[0]}",
            f"{names[0]} on {scene.background}",
            f"{sized[0]} on {scene.background}",
            f"{sized[0]} {places[0]} on {scene.background}",
        ]
    else:
        first, second = scene.shapes
        sentences = [
            f"{names[0]} is {_relation(first, second, generator)} {names[1]}",
            f"{names[1]} is {_relation(second, first, generator)} {names[0]}",
            f"{sized[0]} and {sized[1]}",
            f"{names[0]} and {names[1]} on {scene.background}",
            f"{names[0]} {places[0]} and {names[1]} {places[1]}",
        ]
    return [f"{sentence.capitalize()} ." for sentence in sentences]


def _a(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _relation(shape: Shape, other: Shape, generator: random.Random) -> str:
    """Returns how a shape lies to another; where both directions differ, either may be said."""
    relations = []
    if shape.column != other.column:
        relations.append("left of" if shape.column < other.column else "right of")
    if shape.row != other.row:
        relations.append("above" if shape.row < other.row else "below")
    return generator.choice(relations)


def write_captioning_sample(
    data_dir: Path, *, train: int = 1_200, validation: int = 150, test: int = 150, seed: int = 0
) -> Path:
    """Writes the two archives of a generated Flickr8k, with that many pictures a split.

    The same seed writes the same bytes, and no scene stands in two splits.

    Raises:
        UserError: If the folder holds other pictures, which generated ones must not replace.
    """
    for name in (flickr8k.PICTURES_ZIP, flickr8k.TEXT_ZIP):
        if (data_dir / name).exists() and not flickr8k.is_generated(data_dir / name):
            raise UserError(f"{data_dir / name} is there already: name another --data-dir.")
    rows = scenes(train + validation + test, seed=seed)
    tokens = [
        f"{name}#{number}\t{caption}"
        for name, _, _, captions in rows
        for number, caption in enumerate(captions)
    ]
    texts = {flickr8k.TOKENS_FILE: tokens}
    names = [name for name, *_ in rows]
    for split, size in (("train", train), ("validation", validation), ("test", test)):
        texts[flickr8k.SPLIT_FILES[split]], names = names[:size], names[size:]
    _write_zip(
        data_dir / flickr8k.TEXT_ZIP,
        {name: "".join(f"{line}\n" for line in lines) for name, lines in texts.items()},
    )
    # The archive spells its folder like this.
    folder = "Flicker8k_Dataset"
    _write_zip(
        data_dir / flickr8k.PICTURES_ZIP,
        {f"{folder}/{name}": picture for name, _, picture, _ in rows},
    )
    return data_dir


def write_captions_folder(folder: Path, *, pictures: int = 60, seed: int = 0) -> Path:
    """Writes generated pictures as your own folder, with a `captions.csv`."""
    rows = scenes(pictures, seed=seed)
    folder.mkdir(parents=True, exist_ok=True)
    for name, _, picture, _ in rows:
        (folder / name).write_bytes(picture)
    with (folder / CAPTIONS_FILE).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("image", "caption"))
        writer.writerows((name, caption) for name, _, _, captions in rows for caption in captions)
    return folder


def _write_zip(path: Path, members: dict[str, str | bytes]) -> None:
    with atomic_path(path) as draft, zipfile.ZipFile(draft, "w") as archive:
        for name, content in ({GENERATED_NOTE: _NOTE} | members).items():
            # A time of its own would make the same seed write other bytes.
            archive.writestr(zipfile.ZipInfo(name, (2000, 1, 1, 0, 0, 0)), content)


def main() -> None:
    """Writes the sample."""
    with sample_command("Writes generated pictures with captions in Flickr8k's format.") as parser:
        parser.add_argument(
            "--folder", help="also write twelve other pictures as a folder of your own"
        )
        arguments = parser.parse_args()
        print(write_captioning_sample(data_directory(arguments.data_dir)))
        if arguments.folder:
            print(write_captions_folder(Path(arguments.folder), pictures=12, seed=1))


if __name__ == "__main__":
    main()
