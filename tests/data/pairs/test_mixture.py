import pytest

from common.errors import UserError
from data.pairs.mixture import load_sets, with_typed_copies
from data.pairs.splits import one_by_one

pytestmark = pytest.mark.no_backend


def table(path, *, pairs, name, splits=()):
    """Writes a .tsv whose sentences no other table holds, nearly or not."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = [f"{name} {letters[i % 26] * 5} {letters[i // 26] * 5} {i:05}" for i in range(pairs)]
    lines = ["en\tfr\tsplit" if splits else "en\tfr"]
    lines += [
        "\t".join((f"{word}.", f"fr {word}.", *splits[i : i + 1])) for i, word in enumerate(words)
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture
def first(tmp_path):
    splits = ["train"] * 40 + ["validation"] * 5 + ["test"] * 5
    return table(tmp_path / "first.tsv", pairs=50, name="first", splits=splits)


def load(*names, tmp_path, **options):
    return load_sets(names, data_dir=tmp_path, **options)


def test_a_further_file_trains_alone_and_an_epoch_holds_each_set_as_often_as_wished(
    first, tmp_path
):
    more = table(tmp_path / "more.tsv", pairs=30, name="more")
    pairs = load(first, more, tmp_path=tmp_path, repeats=(2, 1))
    assert set(pairs.splits) == {"train", "validation", "test"}
    assert len(pairs.splits["train"].source) == 2 * 40 + 30
    assert set(pairs.hashes) == {"first.tsv", "more.tsv"}


def test_to_score_a_model_its_files_of_training_pairs_need_not_be_there(first, tmp_path):
    gone = str(tmp_path / "gone.tsv")
    scored = load(first, gone, tmp_path=tmp_path, repeats=(2, 1), training=False)
    assert scored == load(first, tmp_path=tmp_path)
    with pytest.raises(UserError, match="gone.tsv"):
        load(first, gone, tmp_path=tmp_path)


def test_each_set_keeps_its_own_test_and_validation_takes_turns(first, tmp_path):
    splits = ["validation"] * 2 + ["test"] * 3 + ["train"] * 25
    more = table(tmp_path / "more.tsv", pairs=30, name="more", splits=splits)
    held_out = load(first, more, tmp_path=tmp_path).splits
    assert len(held_out["test"].source) == 5
    assert len(held_out["more_test"].source) == 3
    begins = [source.split()[0] for source in held_out["validation"].source]
    assert begins == ["first", "more", "first", "more", "first", "first", "first"]


def test_no_training_source_of_any_set_nearly_equals_a_held_out_one(first, tmp_path):
    known = load(first, tmp_path=tmp_path).splits["test"].source[0]
    splits = ["train"] * 26
    more = table(tmp_path / "more.tsv", pairs=26, name="more", splits=splits)
    with open(more, "a", encoding="utf-8") as file:
        file.write(f"{known.upper()}!\tfr\ttrain\n{known.replace('first', 'firs')}\tfr\ttrain\n")
    lines = []
    train = load(first, more, tmp_path=tmp_path, log=lines.append).splits["train"]
    assert len(train.source) == 40 + 26
    assert "2 training pairs are left out" in lines[-1]


def test_typed_copies_lack_capitals_or_the_final_mark_and_keep_their_target():
    split = one_by_one([(f"Is {name} HERE?", f"{name} ?") for name in "ABCDEF"])
    copies = with_typed_copies(split, 1.0, seed=1)
    assert copies.source[:6] == split.source
    drawn = list(zip(copies.source[6:], copies.target[6:], strict=True))
    small, unmarked, both = drawn[:3]
    assert small[0] == small[0].lower() and small[0].endswith("?")
    assert unmarked[0] == f"Is {unmarked[1][0]} HERE"
    assert both[0] == f"is {both[1][0].lower()} here"
    assert sorted(target for _, target in drawn) == sorted(split.target)


def test_two_sets_of_one_name_are_refused(first, tmp_path):
    for other in (first, str(tmp_path / "folder" / "first.tsv")):
        with pytest.raises(UserError, match="--data"):
            load(first, other, tmp_path=tmp_path)
