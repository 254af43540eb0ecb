"""Views of a picture that show the same thing, so that a network does not learn it by heart."""

import numpy as np
from PIL import Image

# The part of the side that a corner keeps.
_CORNER = 7 / 8
# From left and top; the first is the whole picture.
_PLACES = (None, (0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0))
MOST_VIEWS = 2 * len(_PLACES)


def picture_views(picture: np.ndarray, count: int) -> np.ndarray:
    """Returns the first of ten views: the picture, its mirror image, then each corner in both ways.

    Args:
        picture: `<uint8>(size, size, 3)`.
        count: From 1 to `MOST_VIEWS`. Captions that say left or right want no mirror.

    Returns:
        `<uint8>(count, size, size, 3)`.

    Raises:
        ValueError: If `count` is out of range.
    """
    if not 1 <= count <= MOST_VIEWS:
        raise ValueError(f"There are 1 to {MOST_VIEWS} views, not {count}.")
    views = []
    for place in _PLACES[: -(-count // 2)]:
        view = picture if place is None else _corner(picture, *place)
        views += [view, view[:, ::-1]]
    return np.stack(views[:count])


def _corner(picture: np.ndarray, left: float, top: float) -> np.ndarray:
    """The part of a picture at one corner, scaled up to its size."""
    size = len(picture)
    side = size * _CORNER
    left, top = left * (size - side), top * (size - side)
    box = (left, top, left + side, top + side)
    image = Image.fromarray(picture).resize((size, size), Image.Resampling.BICUBIC, box=box)
    return np.asarray(image)
