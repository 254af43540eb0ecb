import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data.reviews import own_file
from data.reviews.read import load_reviews
from tests.helpers import refused, refuses

FOLDER = Path("tensorflow_datasets", "imdb_reviews", "plain_text", "1.0.0")


@pytest.fixture
def load(tmp_path):
    def load(data, *, data_dir=tmp_path, cache_dir=tmp_path / "cache", share=0.2, seed=0, log=None):
        return load_reviews(
            str(data),
            data_dir=data_dir,
            cache_dir=cache_dir,
            validation_share=share,
            split_seed=seed,
            log=log,
        )

    return load


def write_table(path, rows, columns=("text", "label")):
    frame = pd.DataFrame(rows, columns=list(columns))
    frame.to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")
    return path


def many_rows(count=60):
    return [(f"text {number}", "no yes".split()[number % 2]) for number in range(count)]


def flat(data):
    return {
        split: list(zip(reviews.texts, reviews.labels.tolist(), strict=True))
        for split, reviews in data.splits.items()
    }


# ---- IMDB ------------------------------------------------------------------------------------


def test_imdb_has_its_splits_and_labels(load, imdb_dir, cache_dir, monkeypatch):
    data = load("imdb", data_dir=imdb_dir, cache_dir=cache_dir)
    sizes = {split: len(reviews.texts) for split, reviews in data.splits.items()}
    assert sizes["train"] + sizes["validation"] == 240
    assert 0 < sizes["validation"] < 96
    assert (sizes["test"], sizes["unlabelled"]) == (80, 40)
    assert data.label_names == ("negative", "positive")
    assert np.bincount(data.splits["test"].labels).tolist() == [40, 40]
    assert set(data.splits["unlabelled"].labels.tolist()) == {-1}
    assert all(reviews.labels.dtype == np.int32 for reviews in data.splits.values())
    assert sorted(data.hashes) == sorted(path.name for path in (imdb_dir / FOLDER).glob("*record*"))
    # A second use reads the cache.
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    second = load("imdb", data_dir=imdb_dir, cache_dir=cache_dir)
    assert flat(second) == flat(data)


def copied(imdb_dir, tmp_path):
    """A copy of the sample below `tmp_path` whose files may be damaged."""
    target = tmp_path / FOLDER
    target.mkdir(parents=True)
    for path in (imdb_dir / FOLDER).iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    return target


def test_a_damaged_download_is_named_and_leaves_no_cache(load, imdb_dir, tmp_path):
    folder = copied(imdb_dir, tmp_path)
    (path,) = folder.glob("*-test.tfrecord*")
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], whole[:60] + b"??" + whole[62:]):
        path.write_bytes(content)
        refuses(load, "imdb", str(folder), "delete the folder")
    assert not list((tmp_path / "cache").glob("*"))


def test_a_damaged_cache_is_named(load, imdb_dir, tmp_path):
    load("imdb", data_dir=imdb_dir)
    (path,) = (tmp_path / "cache").glob("*/train.parquet")
    whole = path.read_bytes()
    middle = len(whole) // 3
    for content in (whole[:-20], whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]):
        path.write_bytes(content)
        refuses(load, "imdb", "train.parquet is damaged", data_dir=imdb_dir)


# ---- A file of one's own ---------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_both_formats_give_the_same(load, tmp_path, monkeypatch, suffix):
    monkeypatch.setattr(own_file, "_ROWS", 7)
    rows = [(f'A "quoted", film {number}\nin two lines', number % 3) for number in range(80)]
    rows += [("NA", 0), ("null", 1), ("nan", 2), ("None", 0)]
    data = load(write_table(tmp_path / f"own{suffix}", rows))
    assert data.label_names == ("0", "1", "2")
    found = sum(flat(data).values(), start=[])
    assert sorted(found) == sorted(rows)
    assert list(data.hashes) == [f"own{suffix}"]


def test_the_cut_looks_at_each_text_alone(load, tmp_path):
    rows = many_rows(200)
    whole = flat(load(write_table(tmp_path / "a.csv", rows)))
    shuffled = flat(load(write_table(tmp_path / "b.csv", rows[::-1])))
    fewer = flat(load(write_table(tmp_path / "c.csv", rows[:100] * 2)))
    for split, pairs in whole.items():
        assert sorted(shuffled[split]) == sorted(pairs)
        assert set(fewer[split]) <= set(pairs)
        assert all(fewer[split].count(pair) == 2 for pair in fewer[split])
    assert flat(load(tmp_path / "a.csv", seed=1)) != whole


def test_a_column_split_is_followed(load, tmp_path):
    splits = ("train", "validation", "test", "unlabelled")
    rows = [(text, label, splits[number % 4]) for number, (text, label) in enumerate(many_rows())]
    rows = [
        (text, "yes" if number % 8 else "no", split) for number, (text, _, split) in enumerate(rows)
    ]
    data = load(write_table(tmp_path / "own.csv", rows, ("text", "label", "split")))
    for split in splits:
        expected = [text for text, _, found in rows if found == split]
        assert list(data.splits[split].texts) == expected
    assert set(data.splits["unlabelled"].labels.tolist()) == {-1}


LONG = " ".join(f"word{number}" for number in range(60))


def test_no_copy_of_a_held_out_review_is_left_among_the_unlabelled(load, tmp_path):
    held_out = {"validation": f"The <b>first</b> one: {LONG}", "test": f"Another, {LONG[::-1]}!"}
    kept = [
        f"The first one: {LONG.replace('word', 'other')}",
        # Of a review in train: nothing is scored on it.
        "text 1",
        "text",
        ":-)",
    ]
    copies = [
        held_out["test"],
        f"the FIRST one {LONG}",
        # With other words at the end, in the middle, at the beginning, and cut off.
        f"The first one: {LONG} I changed my mind.",
        f"The first one: {LONG.replace('word30', 'another')}",
        f"Well. Another, {LONG[::-1]}!",
        f"Another, {LONG[::-1][:200]}",
        "TEXT 2.",
        ":-(",
    ]
    rows = [(text, label, "train") for text, label in many_rows(40)]
    rows += [("text 2", "no", "test"), (":-(", "no", "test")]
    rows += [(text, "yes", split) for split, text in held_out.items()]
    rows += [(text, "", "unlabelled") for text in [*copies[::2], *kept, *copies[1::2]]]
    path, lines = write_table(tmp_path / "own.csv", rows, ("text", "label", "split")), []
    data = load(path, log=lines.append)
    assert list(data.splits["unlabelled"].texts) == kept
    assert data.splits["unlabelled"].labels.tolist() == [-1] * len(kept)
    (line,) = lines
    assert f"{len(copies)} of {len(copies) + len(kept)} unlabelled reviews" in line


HEADER = b"text,label\n"


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("own.xlsx", b"", ["neither"]),
        ("gone.csv", None, ["gone.csv"]),
        ("own.csv", HEADER + b"fine,yes\nnot f\xefne,no\n", ["own.csv", "UTF-8"]),
        ("own.csv", HEADER + b"fine,yes\na, b,no\n", ["line 3"]),
        ("own.csv", b"review;label\nfine;yes\n", ["text and label", "'review;label'"]),
        ("own.csv", HEADER + b"fine,yes\n  ,no\n", ["row 3", "text"]),
        ("own.csv", HEADER + b"fine,yes\n\nbad,\n", ["row 4", "label"]),
        ("own.csv", b"text,label,split\nfine,yes,train\nbad,no,dev\n", ["row 3", "split"]),
    ],
)
def test_a_faulty_file_is_refused_in_one_line(load, tmp_path, monkeypatch, name, content, expected):
    monkeypatch.setattr(own_file, "_ROWS", 1)
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    message = refused(load, path)
    assert all(part in message for part in expected), message
