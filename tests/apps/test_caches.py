"""What the results that the applications keep depend on."""

import importlib.metadata
import io
import shutil
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from apps.captioning import evaluate as captioning
from apps.captioning.config import SMALL_CNN
from apps.captioning.config import Config as CaptioningConfig
from apps.captioning.features import PictureInputs
from apps.forecasting import baselines as forecasting
from apps.sentiment import evaluate as sentiment
from apps.sentiment import pretraining
from apps.sentiment.config import Config as SentimentConfig
from apps.translation import evaluate as translation
from common import cache
from data.pairs.splits import PairSplit
from data.pictures.splits import CaptionSplit
from data.reviews.read import Reviews
from data.text import word_vectors
from models.sentiment import build_encoder

pytestmark = pytest.mark.no_backend

# It takes a while to find out.
DISTRIBUTIONS = importlib.metadata.packages_distributions()


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A copy of the project's code, which tests may edit; nothing is computed by it."""
    root = Path(cache.__file__).parents[1]
    for package in ("apps", "common", "data", "models"):
        ignored = shutil.ignore_patterns("pretrained", "results", "__pycache__", "*.md", "*.png")
        shutil.copytree(root / package, tmp_path / "project" / package, ignore=ignored)
    monkeypatch.setattr(cache, "_ROOT", tmp_path / "project")
    monkeypatch.setattr(importlib.metadata, "packages_distributions", lambda: DISTRIBUTIONS)
    monkeypatch.setenv("CACHE_DIR", str(tmp_path / "cache"))
    cache._code.cache_clear()
    yield tmp_path / "project"
    cache._code.cache_clear()


def sentiment_baselines(monkeypatch):
    monkeypatch.setattr("apps.sentiment.baselines.score_baselines", lambda *_: {})
    reviews = Reviews(["good"], np.array([1], "int32"))
    data = SimpleNamespace(splits={"train": reviews})
    sentiment.cached_baselines(data, reviews, sentiment.cache_directory())


def translation_baselines(monkeypatch):
    monkeypatch.setattr("apps.translation.baselines.score_baselines", lambda *_, **__: {})
    split = PairSplit(["one"], ["un"], [["un"]])
    pairs = SimpleNamespace(splits={"train": split}, languages=("en", "fr"))
    translation._cached_baselines(pairs, split)


def captioning_baselines(monkeypatch):
    monkeypatch.setattr("apps.captioning.baselines.score_baselines", lambda *_, **__: {})
    split, features = CaptionSplit(["a.jpg"], [["a dog"]]), np.ones((1, 1, 4, 3), "float16")
    captions = SimpleNamespace(split=lambda name: split)
    inputs = SimpleNamespace(stored=lambda *_, **__: features)
    predictor = SimpleNamespace(inputs=inputs, config=SimpleNamespace(views=1))
    captioning._cached_baselines(predictor, captions, split, features[:, 0], Console())


def forecasting_baselines(monkeypatch):
    prices = 50 * np.exp(np.random.default_rng(0).normal(0, 0.01, 60).cumsum())
    history = SimpleNamespace(
        ticker="ABC", dates=np.datetime64("2020-01-01") + np.arange(60), close=prices
    )
    forecasting.score_baselines(
        [history],
        fit_until=history.dates[40],
        origins={"ABC": np.array([45])},
        horizon=2,
        cache_dir=sentiment.cache_directory(),
        names=("last_value",),
    )


def vectors(monkeypatch):
    monkeypatch.setattr(word_vectors, "_train", lambda *_: {"vectors": np.ones(2)})
    folder = sentiment.cache_directory()
    word_vectors.train_word_vectors([np.ones(2)], vocab_size=2, embed_dim=1, cache_dir=folder)


def language_model(monkeypatch):
    monkeypatch.setattr(pretraining, "_train", lambda *_, **__: {})
    # The vectors that it begins with are the same each time.
    keras.utils.set_random_seed(1)
    encoder = build_encoder(vocab_size=3, embed_dim=2, cell="gru", units=2)
    folder = sentiment.cache_directory()
    pretraining.pretrain(encoder, SentimentConfig(), [np.ones(2)], cache_dir=folder)


def features(monkeypatch):
    file = io.BytesIO()
    Image.new("RGB", (16, 16)).save(file, "png")
    captions = SimpleNamespace(hashes={"pictures": "0"}, read=lambda name: file.getvalue())
    # It has no weights that could differ.
    picture = keras.Input((16, 16, 3), dtype="uint8")
    pixels = keras.ops.cast(picture, "float32")
    backbone = keras.Model(picture, keras.layers.Reshape((-1, 3))(pixels))
    inputs = PictureInputs(CaptioningConfig(backbone=SMALL_CNN, picture_size=16), backbone)
    inputs.stored(captions, ["a.png"], views=2, console=Console(quiet=True))


def kept():
    """The number of results in the folder of derived files."""
    return sum(len(list(folder.iterdir())) for folder in sentiment.cache_directory().iterdir())


RESAMPLING = ("data/pictures/read.py", "Resampling.BICUBIC", "Resampling.LANCZOS")


@pytest.mark.parametrize(
    ("result", "name", "old", "new"),
    [
        (sentiment_baselines, "data/text/tokenization.py", "PATTERN = r", 'PATTERN = "" + r'),
        (translation_baselines, "apps/translation/metrics.py", '"12345"', '"1"'),
        (captioning_baselines, "apps/captioning/baselines.py", "NEIGHBOURS = 30", "NEIGHBOURS = 3"),
        (forecasting_baselines, "apps/forecasting/baselines.py", "= 0.94", "= 0.95"),
        (vectors, "data/text/word_vectors.py", "sg=1", "sg=0"),
        (language_model, "models/recurrent_loops.py", "kept=4", "kept=5"),
        (language_model, "common/optimization.py", "import math", "import math as m"),
        (features, *RESAMPLING),
        (features, "models/backbones.py", '"float32"', '"float64"'),
    ],
)
def test_changed_code_makes_the_result_anew_and_a_comment_does_not(
    project, monkeypatch, result, name, old, new
):
    result(monkeypatch)
    file = project / name
    file.write_text("# A comment.\n" + file.read_text())
    cache._code.cache_clear()
    result(monkeypatch)
    assert kept() == 1
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))
    cache._code.cache_clear()
    result(monkeypatch)
    assert kept() == 2


@pytest.mark.parametrize(
    ("result", "libraries"),
    [
        (sentiment_baselines, "scikit-learn numpy"),
        (translation_baselines, "nltk sacremoses sacrebleu"),
        (captioning_baselines, "pycocoevalcap"),
        (forecasting_baselines, "arch statsmodels"),
        (vectors, "gensim"),
        (features, "pillow keras"),
    ],
)
def test_another_version_of_a_library_makes_the_result_anew(
    project, monkeypatch, result, libraries
):
    result(monkeypatch)
    version = importlib.metadata.version
    for count, library in enumerate(libraries.split(), start=2):
        monkeypatch.setattr(
            importlib.metadata,
            "version",
            lambda name, of=library: version(name) + (name == of) * "+",
        )
        cache._code.cache_clear()
        result(monkeypatch)
        assert kept() == count, library
