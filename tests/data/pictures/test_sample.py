import itertools
import re
import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from nltk.translate.bleu_score import corpus_bleu

from common.errors import UserError
from data.pictures.captions import load_captions
from data.pictures.read import read_picture
from data.pictures.sample import write_captioning_sample, write_captions_folder
from data.pictures.scenes import BACKGROUNDS, COLOURS, KINDS, SIDE, Scene, Shape, scenes

pytestmark = pytest.mark.no_backend

SAMPLE = scenes(400, seed=5)
NUMBERS = {"two": 2, "three": 3}
SIZES = {"small": "small", "little": "small", "large": "large", "big": "large"}
# The rows and the columns that each place names.
PLACES = {
    "at the top left": (0, 0),
    "at the top right": (0, 2),
    "at the top": (0, 1),
    "at the bottom left": (2, 0),
    "at the bottom right": (2, 2),
    "at the bottom": (2, 1),
    "on the left": (1, 0),
    "on the right": (1, 2),
    "in the middle": (1, 1),
}
RELATIONS = {
    "left of": lambda one, other: one.column < other.column,
    "right of": lambda one, other: one.column > other.column,
    "above": lambda one, other: one.row < other.row,
    "below": lambda one, other: one.row > other.row,
}
PLURALS = {
    "circles": "circle",
    "squares": "square",
    "triangles": "triangle",
    "stars": "star",
    "crosses": "cross",
}
KIND = "|".join(KINDS)
COLOUR = "|".join(COLOURS)
SHAPE = re.compile(
    rf"(?:an? single|an?|the) (?:({'|'.join(SIZES)}) )?(?:({COLOUR}) )?({KIND})\b"
    rf"(?: that is ({COLOUR}))?(?: ({'|'.join(PLACES)})\b)?(?:(?: is)? ({'|'.join(RELATIONS)})\b)?"
)


def is_true(caption, scene):
    """Whether a caption says nothing wrong of a scene, all of its words being understood."""
    text = caption.lower().removesuffix(" .")
    rest = SHAPE.sub("", text)
    if found := re.search(rf" on ({'|'.join(BACKGROUNDS)})\b", rest):
        if found[1] != scene.background:
            return False
        rest = rest.replace(found[0], "")
    told = []
    for size, colour, kind, late_colour, place, relation in SHAPE.findall(text):
        fitting = [
            shape
            for shape in scene.shapes
            if shape.kind == kind
            and shape.size == SIZES.get(size, shape.size)
            and shape.colour == (colour or late_colour or shape.colour)
            and (shape.row, shape.column) == PLACES.get(place, (shape.row, shape.column))
        ]
        told.append((fitting, relation))
    # Each of the shapes that are told of is another one of those in the scene.
    for chosen in itertools.product(*(fitting for fitting, _ in told)):
        apart = len(set(chosen)) == len(chosen)
        pairs = zip(chosen, chosen[1:], told, strict=False)
        if apart and all(not rel or RELATIONS[rel](one, two) for one, two, (_, rel) in pairs):
            break
    else:
        return False
    if found := re.search(rf"(two|three)(?: ({COLOUR}))? (shapes|{'|'.join(PLURALS)})\b", rest):
        number, colour, kind = found.groups()
        counted = [
            shape
            for shape in scene.shapes
            if colour in (None, shape.colour) and PLURALS.get(kind, shape.kind) == shape.kind
        ]
        if len(counted) != NUMBERS[number]:
            return False
        rest = rest.replace(found[0], "")
    elif "single" in text and len(scene.shapes) != 1:
        return False
    ones = re.findall(rf"\bone ({COLOUR})\b", rest)
    if ones and Counter(ones) != Counter(shape.colour for shape in scene.shapes):
        return False
    rest = re.sub(rf"\bone ({COLOUR})\b|\bthere (is|are)\b|\band\b|[,:]", "", rest)
    assert not rest.strip(), f"{caption} has words that were not understood: {rest}"
    return True


def test_every_caption_is_true_of_its_picture():
    for _, scene, _, captions in SAMPLE:
        for caption in captions:
            assert is_true(caption, scene), (caption, scene)


def test_captions_that_say_something_else_are_not_true():
    star, cross = Shape("small", "red", "star", 0, 1), Shape("large", "blue", "cross", 2, 2)
    scene = Scene("grey", (star, cross))
    true = "A {little} {red} star {at the top} is {left of} a large blue {cross} on {grey} ."
    plain = re.sub(r"[{}]", "", true)
    assert is_true(plain, scene)
    for word in re.findall(r"{(.*?)}", true):
        groups = (SIZES, COLOURS, PLACES, RELATIONS, KINDS, BACKGROUNDS)
        (alike,) = [set(group) for group in groups if word in group]
        # The star is small, too, and above the cross.
        for other in alike - {word, "small", "above"}:
            assert not is_true(plain.replace(word, other), scene), other
    for false in ("Two stars .", "Three shapes .", "Two red shapes .", "A single small red star ."):
        assert not is_true(false, scene)
    assert is_true("Two shapes , one blue and one red .", scene)
    assert not is_true("Two shapes , one blue and one green .", scene)


def test_every_picture_has_five_distinct_captions():
    for _, _, _, captions in SAMPLE:
        assert len(set(captions)) == 5
        assert all(caption[0].isupper() and caption.endswith(" .") for caption in captions)
        assert not any(re.search(r"\ba [aeiou]|\ban [^aeiou]", c.lower()) for c in captions)


def test_captions_hardly_ever_suit_another_picture():
    frequent = Counter(caption for _, _, _, captions in SAMPLE[:300] for caption in captions)
    for caption, _ in frequent.most_common(40):
        suiting = [is_true(caption, scene) for _, scene, _, _ in SAMPLE[300:]]
        assert np.mean(suiting) < 0.1, caption


def test_the_most_frequent_caption_scores_far_below_a_caption_of_each_picture():
    train, test = ([row[3] for row in part] for part in (SAMPLE[:300], SAMPLE[300:]))
    ((frequent, _),) = Counter(itertools.chain(*train)).most_common(1)
    references = [[caption.split() for caption in captions[1:]] for captions in test]
    blind = corpus_bleu(references, [frequent.split()] * len(test))
    looking = corpus_bleu(references, [captions[0].split() for captions in test])
    assert blind < looking / 2


def nearest(colour, palette):
    names, values = zip(*palette.items(), strict=True)
    return names[np.abs(np.array(values) - colour).sum(axis=1).argmin()]


def test_pictures_show_what_the_scene_says():
    for _, scene, content, _ in SAMPLE[:100]:
        pixels = read_picture(content, size=SIDE).astype(int)
        cells = {(shape.row, shape.column): shape for shape in scene.shapes}
        middles = [round((place + 0.5) * SIDE / 3) for place in range(3)]
        for row, column in itertools.product(range(3), repeat=2):
            seen = pixels[middles[row], middles[column]]
            if (row, column) in cells:
                assert nearest(seen, COLOURS | BACKGROUNDS) == cells[row, column].colour
            else:
                assert nearest(seen, COLOURS | BACKGROUNDS) == scene.background


def measured(row):
    """A lone shape, the number of its pixels, and which pixels of the box around it are its own."""
    _, scene, content, _ = row
    pixels = read_picture(content, size=SIDE).astype(int)
    shape = scene.shapes[0]
    ground = np.abs(pixels - np.median(pixels.reshape(-1, 3), axis=0)).sum(axis=2)
    rows, columns = np.nonzero(ground > 60)
    box = ground[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] > 60
    return shape, len(rows), box


def test_large_shapes_are_larger_and_kinds_differ_in_outline():
    lone = [measured(row) for row in SAMPLE if len(row[1].shapes) == 1]
    for kind in KINDS:
        areas = {
            size: [area for shape, area, _ in lone if (shape.kind, shape.size) == (kind, size)]
            for size in ("small", "large")
        }
        assert min(areas["large"]) > 1.5 * max(areas["small"])
    # Of its bounding box a square fills all, a circle pi / 4, a triangle half, and so on.
    fill = {
        kind: np.mean([box.mean() for shape, _, box in lone if shape.kind == kind])
        for kind in KINDS
    }
    assert fill["square"] > 0.9
    assert fill["circle"] == pytest.approx(np.pi / 4, abs=0.08)
    assert fill["triangle"] == pytest.approx(0.5, abs=0.08)
    # A cross with arms of width 0.7 in a box of side 2.
    assert fill["cross"] == pytest.approx(1 - 4 * 0.65**2 / 4, abs=0.08)
    # Ten triangles with sides 1.1 and 0.5 and an angle of pi / 5, in the box around its points.
    star = 10 * 0.5 * 1.1 * 0.5 * np.sin(np.pi / 5)
    box = 2 * 1.1 * np.sin(2 * np.pi / 5) * 1.1 * (1 + np.cos(np.pi / 5))
    assert fill["star"] == pytest.approx(star / box, abs=0.08)


def test_scenes_are_distinct_and_the_same_for_the_same_seed():
    assert len({scene for _, scene, _, _ in SAMPLE}) == len(SAMPLE)
    assert len({content for _, _, content, _ in SAMPLE}) == len(SAMPLE)
    assert len({name for name, *_ in SAMPLE}) == len(SAMPLE)
    assert scenes(30, seed=5) == SAMPLE[:30]
    assert scenes(30, seed=6) != SAMPLE[:30]


def test_the_archives_load_as_flickr8k_and_no_picture_stands_in_two_splits(tmp_path):
    write_captioning_sample(tmp_path, train=30, validation=7, test=5)
    loaded = load_captions("flickr8k", data_dir=tmp_path)
    sizes = {name: len(split.names) for name, split in loaded.splits.items()}
    assert sizes == {"train": 30, "validation": 7, "test": 5}
    rows = scenes(42, seed=0)
    assert loaded.splits["validation"].names == [name for name, *_ in rows[30:37]]
    assert loaded.splits["test"].captions == [captions for *_, captions in rows[37:]]
    assert [loaded.read(name) for name, *_ in rows] == [content for _, _, content, _ in rows]
    assert loaded.warnings == ()


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_same_seed_writes_the_same_bytes_and_replaces_its_own(tmp_path):
    options = {"train": 5, "validation": 2, "test": 2}
    first = contents(write_captioning_sample(tmp_path / "a", **options))
    assert sorted(first) == ["Flickr8k_Dataset.zip", "Flickr8k_text.zip"]
    assert contents(write_captioning_sample(tmp_path / "b", **options)) == first
    other = contents(write_captioning_sample(tmp_path / "a", seed=1, **options))
    assert all(other[name] != first[name] for name in first)
    assert contents(write_captioning_sample(tmp_path / "a", **options)) == first


@pytest.mark.parametrize("name", ["Flickr8k_Dataset.zip", "Flickr8k_text.zip", "Flicker8k_Dataset"])
def test_generated_pictures_do_not_replace_others(tmp_path, name):
    if name.endswith(".zip"):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr("Flicker8k_Dataset/1.jpg", b"")
    else:
        (tmp_path / name).mkdir()
    before = sorted(tmp_path.iterdir())
    with pytest.raises(UserError, match=f"{name} is there already: name another --data-dir"):
        write_captioning_sample(tmp_path, train=5, validation=2, test=2)
    assert sorted(tmp_path.iterdir()) == before


def test_a_folder_of_ones_own_loads(tmp_path):
    folder = write_captions_folder(tmp_path / "own", pictures=60, seed=2)
    loaded = load_captions(str(folder), data_dir=tmp_path)
    captions = {
        name: lines
        for split in loaded.splits.values()
        for name, lines in zip(split.names, split.captions, strict=True)
    }
    assert captions == {name: lines for name, _, _, lines in scenes(60, seed=2)}
    assert loaded.warnings == ()


def test_the_command_writes_1500_pictures_in_seconds(tmp_path):
    command = [sys.executable, "-m", "data.pictures.sample", "--data-dir", str(tmp_path)]
    root = Path(__file__).parents[3]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout == f"{tmp_path}\n"
    with zipfile.ZipFile(tmp_path / "Flickr8k_text.zip") as archive:
        lines = {name: archive.read(name).count(b"\n") for name in archive.namelist()}
    assert lines == {
        "GENERATED.txt": 1,
        "Flickr8k.token.txt": 5 * 1_500,
        "Flickr_8k.trainImages.txt": 1_200,
        "Flickr_8k.devImages.txt": 150,
        "Flickr_8k.testImages.txt": 150,
    }
    with zipfile.ZipFile(tmp_path / "Flickr8k_text.zip", "w") as archive:
        archive.writestr("Flickr8k.token.txt", "")
    again = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert (again.returncode, again.stderr.count("\n")) == (2, 1)
    assert "Traceback" not in again.stderr
