import pytest

from common.errors import UserError
from data.pairs import untranslated
from data.pairs.untranslated import load_untranslated, nearly_among
from data.pictures.flickr8k import TEXT_ZIP, token_captions
from data.pictures.sample import write_captioning_sample

pytestmark = pytest.mark.no_backend


def loaded(name, data_dir, *, held_out=(), known=(), log=None):
    return load_untranslated(str(name), data_dir=data_dir, held_out=held_out, known=known, log=log)


def test_of_a_file_stays_what_is_new_and_not_held_out_in_its_order(tmp_path):
    path = tmp_path / "lines.txt"
    path.write_text(
        "A dog  runs.\n\na cat sleeps\nA dog runs!\nTwo men wait.\nA red car.\n", encoding="utf-8"
    )
    lines = []
    found, place = loaded(
        path, tmp_path, held_out=["TWO MEN WAIT"], known=["A cat sleeps."], log=lines.append
    )
    assert found == ["A dog runs.", "A red car."]
    assert place == path
    assert "2 new sentences; 1 left out" in lines[0]


@pytest.fixture(scope="module")
def downloads(tmp_path_factory):
    folder = tmp_path_factory.mktemp("captions")
    return write_captioning_sample(folder, train=30, validation=4, test=6)


def test_captions_of_flickr8k_are_written_plainly(downloads):
    (downloads / "Flickr8k_Dataset.zip").unlink(missing_ok=True)
    found, place = loaded("flickr8k", downloads)
    assert place == downloads / TEXT_ZIP
    assert len(found) > 100
    for sentence in found:
        assert sentence[0].isupper() and sentence.endswith(".")
        assert " ." not in sentence and " ," not in sentence


def test_no_caption_stays_of_a_picture_of_which_one_is_held_out(downloads):
    captions = token_captions(downloads / TEXT_ZIP)
    name = next(name for name, lines in captions.items() if len(set(lines)) > 1)
    everything, _ = loaded("flickr8k", downloads)
    found, _ = loaded("flickr8k", downloads, held_out=[captions[name][0].upper()])
    gone = set(everything) - set(found)
    assert len(gone) > 1
    of_this_picture, _ = loaded("flickr8k", downloads, known=captions[name])
    assert not gone & set(of_this_picture)


@pytest.mark.parametrize(
    ("sentence", "stays"),
    [
        ("A man in a gray shirt is doing a trick", False),
        ("A man in a grey shirt is doing tricks.", False),
        ("A man in a red shirt reads a book.", True),
    ],
)
def test_what_is_nearly_held_out_does_not_stay(sentence, stays, tmp_path):
    path = tmp_path / "lines.txt"
    path.write_text(f"Two dogs run.\n{sentence}\n", encoding="utf-8")
    found, _ = loaded(path, tmp_path, held_out=["A man in a grey shirt is doing a trick."])
    assert found == ["Two dogs run.", *[sentence] * stays]


def test_what_is_nearly_among_others_is_found_piece_by_piece_too(monkeypatch):
    others = ["Two dogs run.", "A man in a grey shirt is doing a trick."]
    sentences = ["TWO DOGS RUN", "Cats.", "A man in a gray shirt is doing tricks", "Two men run."]
    found = nearly_among(sentences, others)
    assert found.tolist() == [True, False, True, False]
    monkeypatch.setattr(untranslated, "_COMPARED", 1)
    assert nearly_among(sentences, others).tolist() == found.tolist()
    assert not nearly_among(sentences, []).any()
    assert nearly_among([], others).shape == (0,)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("A dog runs.\n", "no sentence that is neither"),
        (None, "neither .flickr8k. nor a file"),
    ],
)
def test_a_file_that_gives_nothing_is_named(content, message, tmp_path):
    path = tmp_path / "lines.txt"
    if content:
        path.write_text(content)
    with pytest.raises(UserError, match=f"{path}.*{message}"):
        loaded(path, tmp_path, known=["a dog runs"])
