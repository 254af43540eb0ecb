import pytest

from data.pairs import untranslated
from data.pairs.untranslated import load_untranslated, nearly_among
from data.pictures.flickr8k import TEXT_ZIP, token_captions
from data.pictures.sample import write_captioning_sample

pytestmark = pytest.mark.no_backend


@pytest.fixture(scope="module")
def downloads(tmp_path_factory):
    folder = tmp_path_factory.mktemp("captions")
    return write_captioning_sample(folder, train=30, validation=4, test=6)


def test_captions_of_flickr8k_are_written_plainly(downloads):
    (downloads / "Flickr8k_Dataset.zip").unlink(missing_ok=True)
    found = load_untranslated(downloads, held_out=[], known=[])
    assert len(found) > 100
    for sentence in found:
        assert sentence[0].isupper() and sentence.endswith(".")
        assert " ." not in sentence and " ," not in sentence


def test_no_caption_stays_of_a_picture_of_which_one_is_held_out(downloads):
    captions = token_captions(downloads / TEXT_ZIP)
    name = next(name for name, lines in captions.items() if len(set(lines)) > 1)
    everything = load_untranslated(downloads, held_out=[], known=[])
    held_out = [captions[name][0].upper()]
    found = load_untranslated(downloads, held_out=held_out, known=[])
    gone = set(everything) - set(found)
    assert len(gone) > 1
    of_this_picture = load_untranslated(downloads, held_out=[], known=captions[name])
    assert not gone & set(of_this_picture)


def test_what_is_nearly_among_others_is_found_piece_by_piece_too(monkeypatch):
    others = ["Two dogs run.", "A man in a grey shirt is doing a trick."]
    sentences = ["TWO DOGS RUN", "Cats.", "A man in a gray shirt is doing tricks", "Two men run."]
    found = nearly_among(sentences, others)
    assert found.tolist() == [True, False, True, False]
    monkeypatch.setattr(untranslated, "_COMPARED", 1)
    assert nearly_among(sentences, others).tolist() == found.tolist()
    assert not nearly_among(sentences, []).any()
    assert nearly_among([], others).shape == (0,)
