"""Tiny data sets in the real formats, written once a session; nothing comes from the network."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from apps.export import after_training
from data.pairs.sample import write_translation_sample
from data.pictures.sample import write_captioning_sample, write_captions_folder
from data.prices.sample import write_price_sample
from data.reviews.sample import write_imdb_sample, write_reviews_csv
from tests.helpers import write_pairs_tsv


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory) -> Path:
    """A folder of derived files for the whole session."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def imdb_dir(tmp_path_factory) -> Path:
    """A folder of downloads that holds a small sample in IMDB's own format.

    Making it imports TensorFlow Datasets, which takes seconds: ask for it only where the format
    matters, and for `reviews_csv` elsewhere.
    """
    data_dir = tmp_path_factory.mktemp("downloads")
    write_imdb_sample(data_dir, train=240, test=80, unlabelled=40)
    return data_dir


@pytest.fixture(scope="session")
def reviews_csv(tmp_path_factory) -> Path:
    """A file of one's own with 300 generated reviews, columns `text` and `label`."""
    return write_reviews_csv(tmp_path_factory.mktemp("own") / "reviews.csv", rows=300)


@pytest.fixture(scope="session")
def prices_dir(tmp_path_factory) -> Path:
    """A folder of downloads with 700 simulated days of five tickers and their index."""
    data_dir = tmp_path_factory.mktemp("price_downloads")
    write_price_sample(data_dir, tickers=5, days=700)
    return data_dir


@pytest.fixture(scope="session")
def translation_dir(tmp_path_factory) -> Path:
    """A folder of downloads with 900 generated pairs to train on in Multi30k's own format."""
    data_dir = tmp_path_factory.mktemp("pair_downloads")
    write_translation_sample(data_dir, train=900, validation=23, test=40)
    return data_dir


@pytest.fixture(scope="session")
def pairs_tsv(tmp_path_factory) -> Path:
    """A file of one's own with 200 generated pairs, columns `en` and `fr`."""
    return write_pairs_tsv(tmp_path_factory.mktemp("own_pairs") / "pairs.tsv", rows=200)


@pytest.fixture(scope="session")
def captioning_dir(tmp_path_factory) -> Path:
    """A folder of downloads with 300 generated pictures to train on in Flickr8k's own format."""
    data_dir = tmp_path_factory.mktemp("picture_downloads")
    write_captioning_sample(data_dir, train=300, validation=20, test=30)
    return data_dir


@pytest.fixture(scope="session")
def captions_folder(tmp_path_factory) -> Path:
    """A folder of one's own with 40 generated pictures and their `captions.csv`."""
    return write_captions_folder(tmp_path_factory.mktemp("own_pictures"), pictures=40)


@pytest.fixture(scope="session", autouse=True)
def own_folders(tmp_path_factory, cache_dir) -> Iterator[None]:
    """Keeps every test and every fixture away from the user's own downloads and caches."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATA_DIR", str(tmp_path_factory.getbasetemp() / "no-downloads"))
        patch.setenv("CACHE_DIR", str(cache_dir))
        yield


@pytest.fixture(scope="session", autouse=True)
def real_export() -> Iterator[Callable]:
    """Spares the trainings of the tests their export, which takes seconds; yields the real one."""
    original = after_training.export_trained
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(after_training, "export_trained", lambda *_, **__: None)
        yield original


@pytest.fixture
def exporting(real_export, monkeypatch) -> None:
    """Lets trainings end with an export, as they do for a user."""
    monkeypatch.setattr(after_training, "export_trained", real_export)


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """An empty working directory, where commands leave what nobody gave them a place for."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(scope="module")
def jax_compiles_once(tmp_path_factory):
    """Lets JAX keep what takes it seconds to compile, for modules with many runs of one shape."""
    import keras

    if keras.backend.backend() != "jax":
        yield
        return
    import jax
    from jax.experimental.compilation_cache import compilation_cache

    wanted = {
        "jax_compilation_cache_dir": str(tmp_path_factory.mktemp("compiled")),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    before = {name: getattr(jax.config, name) for name in wanted}
    for settings in (wanted, before):
        for name, value in settings.items():
            jax.config.update(name, value)
        compilation_cache.reset_cache()
        if settings is wanted:
            yield
