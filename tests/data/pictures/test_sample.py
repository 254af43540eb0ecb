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
from data.pictures.sample import (
    BACKGROUNDS,
    COLOURS,
    CORNERS,
    PLACES,
    SIDE,
    Scene,
    Shape,
    scenes,
    write_captioning_sample,
    write_captions_folder,
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


def test_captions_that_say_something_else_are_not_true():
    star, cross = Shape("small", "red", "star", 0, 1), Shape("large", "blue", "cross", 2, 2)
    scene = Scene("grey", (star, cross))
    assert is_true("A small red star at the top and a blue cross on grey .", scene)
    assert is_true("A red star is above a blue cross .", scene)
    for caption in (
        "A large red star .",
        "A green star .",
        "A red cross .",
        "A red star at the top left .",
        "A red star is below a blue cross .",
        "A red star on white .",
    ):
        assert not is_true(caption, scene), caption


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


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_same_seed_writes_the_same_bytes_and_replaces_its_own(tmp_path):
    options = {"train": 5, "validation": 2, "test": 2}
    first = contents(write_captioning_sample(tmp_path / "a", **options))
    assert sorted(first) == ["Flickr8k_Dataset.zip", "Flickr8k_text.zip"]
    assert contents(write_captioning_sample(tmp_path / "b", **options)) == first
    other = contents(write_captioning_sample(tmp_path / "a", seed=1, **options))
    assert all(other[name] != first[name] for name in first)


@pytest.mark.parametrize("name", ["Flickr8k_text.zip", "Flicker8k_Dataset"])
def test_generated_pictures_do_not_replace_others(tmp_path, name):
    if name.endswith(".zip"):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr("Flicker8k_Dataset/1.jpg", b"")
    else:
        (tmp_path / name).mkdir()
    with pytest.raises(UserError, match=f"{name} is there already: name another --data-dir"):
        write_captioning_sample(tmp_path, train=5, validation=2, test=2)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_your_own_folder_loads(tmp_path):
    folder = write_captions_folder(tmp_path / "own", pictures=60, seed=2)
    loaded = load_captions(str(folder), data_dir=tmp_path)
    captions = {
        name: lines
        for split in loaded.splits.values()
        for name, lines in zip(split.names, split.captions, strict=True)
    }
    assert captions == {name: lines for name, _, _, lines in scenes(60, seed=2)}
    assert loaded.warnings == ()


def test_the_command_writes_1500_pictures(tmp_path):
    command = [sys.executable, "-m", "data.pictures.sample", "--data-dir", str(tmp_path)]
    root = Path(__file__).parents[3]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout == f"{tmp_path}\n"
    with zipfile.ZipFile(tmp_path / "Flickr8k_text.zip") as archive:
        assert archive.read("Flickr8k.token.txt").count(b"\n") == 5 * 1_500
