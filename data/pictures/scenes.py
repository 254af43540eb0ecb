"""Pictures of coloured shapes, and what is true of each: a scene, its drawing, its captions."""

import io
import math
import random
from dataclasses import dataclass

from PIL import Image, ImageDraw

KINDS = ("circle", "square", "triangle", "star", "cross")
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
SIDE = 64
# Pictures are drawn larger and then reduced, which smooths the edges.
_SCALE = 4
_RADIUS = {"small": 5.5, "large": 9.5}


@dataclass(frozen=True)
class Shape:
    """A shape in one of the nine places.

    Attributes:
        size: `"small"` or `"large"`.
        colour: A key of `COLOURS`.
        kind: One of `KINDS`.
        row: 0 is the top, 2 the bottom.
        column: 0 is the left, 2 the right.
    """

    size: str
    colour: str
    kind: str
    row: int
    column: int

    @property
    def name(self) -> str:
        """Its colour and kind; no two shapes of a scene share both."""
        return f"{self.colour} {self.kind}"

    @property
    def place(self) -> str:
        """Where it lies, in words."""
        return PLACES[self.row][self.column]


@dataclass(frozen=True)
class Scene:
    """What a picture shows.

    Attributes:
        background: A key of `BACKGROUNDS`.
        shapes: One to three, from the top left to the bottom right.
    """

    background: str
    shapes: tuple[Shape, ...]


def random_scene(generator: random.Random) -> Scene:
    """A scene in which every shape has a place, and a colour and kind, of its own."""
    count = generator.choices((1, 2, 3), (2, 5, 3))[0]
    names = [(colour, kind) for colour in COLOURS for kind in KINDS]
    shapes = [
        Shape(generator.choice(list(_RADIUS)), colour, kind, *divmod(place, 3))
        for place, (colour, kind) in zip(
            sorted(generator.sample(range(9), count)), generator.sample(names, count), strict=True
        )
    ]
    return Scene(generator.choice(list(BACKGROUNDS)), tuple(shapes))


def draw(scene: Scene, generator: random.Random) -> Image.Image:
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
        radius = _RADIUS[shape.size] * _SCALE
        colour = near(COLOURS[shape.colour])
        if shape.kind == "circle":
            pencil.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
        else:
            corners = _corners(shape.kind)
            pencil.polygon(
                [(x + radius * east, y + radius * south) for east, south in corners], colour
            )
    return image.reduce(_SCALE)


def _corners(kind: str) -> list[tuple[float, float]]:
    """The corners of a shape of radius 1 around 0, as steps to the right and down."""
    if kind == "square":
        return [(-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)]
    if kind == "triangle":
        return [(0.0, -1.05), (1.05, 0.8), (-1.05, 0.8)]
    if kind == "cross":
        # A quarter turn takes each arm to the next.
        arm, corners = [(-0.35, -1.0), (0.35, -1.0), (0.35, -0.35)], []
        for _ in range(4):
            corners += arm
            arm = [(-south, east) for east, south in arm]
        return corners
    turns = [(math.pi * point / 5, (1.1, 0.5)[point % 2]) for point in range(10)]
    return [(reach * math.sin(turn), -reach * math.cos(turn)) for turn, reach in turns]


def captions(scene: Scene, generator: random.Random) -> list[str]:
    """Five distinct captions that are true of the scene, in the manner of Flickr8k's."""
    shapes = scene.shapes
    first, second, third = (*shapes, *shapes, *shapes)[:3]
    ground = f"on {scene.background}"
    if len(shapes) == 1:
        sentences = (
            f"{_a(_sized(first, generator))} {first.place}",
            f"there is {_a(first.name)} {first.place}",
            f"{_a(first.name)} {ground}",
            f"a single {first.size} {first.kind} that is {first.colour}",
            f"{_a(_sized(first, generator))} {first.place} {ground}",
        )
    elif len(shapes) == 2:
        if first.kind == second.kind:
            last = f"two {_plural(first.kind)} , one {first.colour} and one {second.colour}"
        elif first.colour == second.colour:
            last = f"two {first.colour} shapes , {_a(first.kind)} and {_a(second.kind)}"
        else:
            last = f"{_a(second.name)} {_relation(second, first, generator)} {_a(first.name)}"
        sentences = (
            f"{_a(first.name)} is {_relation(first, second, generator)} {_a(second.name)}",
            f"{_a(_sized(first, generator))} {_relation(first, second, generator)} "
            f"{_a(_sized(second, generator))}",
            f"{_a(first.name)} and {_a(second.name)} {ground}",
            f"{_a(first.name)} {first.place} and {_a(second.name)} {second.place}",
            last,
        )
    else:
        one, other = generator.sample(shapes, 2)
        sentences = (
            f"{_a(first.name)} , {_a(second.name)} and {_a(third.name)}",
            f"{_a(first.name)} {first.place} , {_a(second.name)} {second.place} and "
            f"{_a(third.name)} {third.place}",
            f"{_a(one.name)} is {_relation(one, other, generator)} {_a(other.name)}",
            f"{_a(first.name)} and {_a(second.name)} , and "
            f"{_a(_sized(third, generator))} {third.place}",
            f"three shapes : {_a(first.kind)} , {_a(second.kind)} and {_a(third.kind)} {ground}",
        )
    return [f"{sentence[0].upper()}{sentence[1:]} ." for sentence in sentences]


def _a(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _plural(kind: str) -> str:
    return f"{kind}es" if kind.endswith("s") else f"{kind}s"


def _sized(shape: Shape, generator: random.Random) -> str:
    word = generator.choice(("small", "little") if shape.size == "small" else ("large", "big"))
    return f"{word} {shape.name}"


def _relation(one: Shape, other: Shape, generator: random.Random) -> str:
    """How the first lies to the second; where both directions differ, either may be said."""
    true = []
    if one.column != other.column:
        true.append("left of" if one.column < other.column else "right of")
    if one.row != other.row:
        true.append("above" if one.row < other.row else "below")
    return generator.choice(true)


def scenes(count: int, *, seed: int) -> list[tuple[str, Scene, bytes, list[str]]]:
    """`count` distinct scenes: name of the file, scene, JPEG and captions of each."""
    generator = random.Random(seed)
    found = {}
    while len(found) < count:
        scene = random_scene(generator)
        if scene in found:
            continue
        name = f"{1_000_000_000 + len(found)}_{generator.getrandbits(40):010x}.jpg"
        file = io.BytesIO()
        draw(scene, generator).save(file, "JPEG", quality=92, subsampling=0)
        found[scene] = (name, scene, file.getvalue(), captions(scene, generator))
    return list(found.values())
