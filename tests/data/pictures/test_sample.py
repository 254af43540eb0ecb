import itertools
import re
import zipfile

import numpy as np
import pytest

from common.errors import UserError
from data.pictures.captions import load_captions
from data.pictures.read import read_picture
from data.pictures.sample import (
    BACKGROUNDS,
    COLOURS,
    CORNERS,
    PLACES,
    SIDE,
    scenes,
    write_captioning_sample,
)

pytestmark = pytest.mark.no_backend

SAMPLE = scenes(400, seed=5)
WHERE = {name: place for place, name in np.ndenumerate(np.array(PLACES))}
RELATIONS = {
    "left of": lambda one, other: one.column < other.column,
    "right of": lambda one, other: one.column > other.column,
    "above": lambda one, other: one.row < other.row,
    "below": lambda one, other: one.row > other.row,
}
# The longest place first: one begins like another.
SHAPE = re.compile(
    rf"(?:there is )?an? (?:(small|large) )?({'|'.join(COLOURS)}) ({'|'.join(CORNERS)})"
    rf"(?: ({'|'.join(sorted(WHERE, key=len, reverse=True))}))?(?: is ({'|'.join(RELATIONS)}))?"
)


def is_true(caption, scene):
    """Whether a caption says nothing wrong of a scene, all of its words being understood."""
    text = caption.lower().removesuffix(" .")
    rest = SHAPE.sub("", text)
    background = re.search(rf"on ({'|'.join(BACKGROUNDS)})$", rest)
    if background:
        rest = rest.replace(background[0], "")
    assert not rest.replace("and", "").strip(), caption
    named, relation = [], ""
    for size, colour, kind, place, relates in SHAPE.findall(text):
        for shape in scene.shapes:
            if (shape.colour, shape.kind) == (colour, kind):
                break
        else:
            return False
        if size and size != shape.size or place and (shape.row, shape.column) != WHERE[place]:
            return False
        named.append(shape)
        relation = relation or relates
    if relation and not RELATIONS[relation](*named):
        return False
    return not background or background[1] == scene.background


def test_every_picture_has_five_distinct_captions_that_are_true_of_it():
    for _, scene, _, captions in SAMPLE:
        assert len(set(captions)) == 5
        for caption in captions:
            assert is_true(caption, scene), (caption, scene)
            assert not re.search(r"\ba [aeiou]|\ban [^aeiou]", caption.lower())


def nearest(colour, palette):
    names, values = zip(*palette.items(), strict=True)
    return names[np.abs(np.array(values) - colour).sum(axis=1).argmin()]


def test_pictures_show_what_the_scene_says():
    for _, scene, content, _ in SAMPLE[:100]:
        pixels = read_picture(content, size=SIDE).astype(int)
        colours = {(shape.row, shape.column): shape.colour for shape in scene.shapes}
        middles = [round((place + 0.5) * SIDE / 3) for place in range(3)]
        for row, column in itertools.product(range(3), repeat=2):
            expected = colours.get((row, column), scene.background)
            assert nearest(pixels[middles[row], middles[column]], COLOURS | BACKGROUNDS) == expected


def test_the_archives_load_as_flickr8k_and_no_picture_stands_in_two_splits(tmp_path):
    write_captioning_sample(tmp_path, train=30, validation=7, test=5)
    loaded = load_captions("flickr8k", data_dir=tmp_path)
    rows = scenes(42, seed=0)
    parts = {"train": rows[:30], "validation": rows[30:37], "test": rows[37:]}
    for name, part in parts.items():
        assert loaded.splits[name].names == [row[0] for row in part]
        assert loaded.splits[name].captions == [row[3] for row in part]
    assert [loaded.read(name) for name, *_ in rows] == [content for _, _, content, _ in rows]
    assert len({scene for _, scene, _, _ in rows}) == 42
    assert loaded.warnings == ()


def test_generated_pictures_do_not_replace_others(tmp_path):
    name = "Flickr8k_text.zip"
    with zipfile.ZipFile(tmp_path / name, "w") as archive:
        archive.writestr("captions.txt", b"")
    with pytest.raises(UserError, match=f"{name} is there already: name another --data-dir"):
        write_captioning_sample(tmp_path, train=5, validation=2, test=2)
    assert [path.name for path in tmp_path.iterdir()] == [name]
