from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from apps.captioning import train
from apps.captioning.config import Config
from apps.captioning.features import PictureInputs
from apps.captioning.predict import find_pictures
from data.pictures.captions import load_captions
from data.pictures.splits import CaptionSplit
from data.text.subwords import train_subword_tokenizer
from tests.helpers import refused

pytestmark = pytest.mark.no_backend


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dropout": 1.0}, "--dropout is a share"),
        ({"picture_size": 8}, "--picture-size must be at least 16"),
        ({"variant": "initial_state", "cell": "feedforward"}, "--variant initial_state needs"),
    ],
)
def test_a_wrong_setting_is_named_in_one_line(settings, message):
    assert message in refused(Config, **settings)


def test_images_that_do_not_exist_and_folders_without_pictures_are_named(here):
    assert "--image nowhere.jpg does not exist" in refused(find_pictures, ("nowhere.jpg",))
    assert "--image no*.png does not exist" in refused(find_pictures, ("no*.png",))
    assert "holds no picture" in refused(find_pictures, (str(here),))


def test_blank_and_long_captions_are_left_out_and_counted():
    tokenizer = train_subword_tokenizer(["a dog runs"] * 3, vocab_size=264)
    split = CaptionSplit(["1.jpg"], [["A dog", "!!!", "a dog runs " * 20]])
    pictures, lines = np.zeros((1, 2, 4, 3), "float16"), []
    config = Config(max_length=31)
    batches = train.batches_of(config, tokenizer, split, pictures, log=lines.append)
    assert sum(len(targets) for _, targets in batches) == 1
    assert lines == ["2 captions are blank or longer than --max-length: left out"]
    blank = CaptionSplit(["1.jpg"], [["!!!"]])
    message = refused(train.batches_of, config, tokenizer, blank, pictures, log=lines.append)
    assert "raise --max-length" in message


def test_a_damaged_training_picture_is_named(captions_folder, tmp_path):
    captions = load_captions(str(captions_folder), data_dir=tmp_path)
    names = captions.split("train").names[:3]
    damaged = SimpleNamespace(
        hashes={"pictures": "damaged"},
        read=lambda name: captions.read(name)[: 200 if name == names[1] else None],
    )
    inputs = PictureInputs(Config(backbone="small_cnn", picture_size=32), None)
    quiet = Console(quiet=True)
    assert names[1] in refused(inputs.stored, damaged, names, views=1, console=quiet)


def test_files_folders_and_patterns_are_found_in_their_order(tmp_path):
    for number in range(4):
        (tmp_path / f"{number}.jpg").touch()
    (tmp_path / "notes.txt").touch()
    places = (str(tmp_path / "2.jpg"), str(tmp_path), str(tmp_path / "[13].jpg"))
    names = [path.name for path in find_pictures(places)]
    assert names == ["2.jpg", "0.jpg", "1.jpg", "3.jpg"]
