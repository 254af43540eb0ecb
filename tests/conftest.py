"""Tiny data sets in the real formats, written once a session; nothing comes from the network."""

from pathlib import Path

import pytest

from data.price_samples import write_price_sample
from data.samples import write_imdb_sample, write_reviews_csv


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


@pytest.fixture(autouse=True)
def own_folders(monkeypatch, tmp_path_factory, cache_dir) -> None:
    """Keeps every test away from the user's own downloads and caches."""
    monkeypatch.setenv("DATA_DIR", str(tmp_path_factory.getbasetemp() / "no-downloads"))
    monkeypatch.setenv("CACHE_DIR", str(cache_dir))
