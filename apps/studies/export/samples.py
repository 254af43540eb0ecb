"""What the study of exports predicts and scores: some items of each task's test split."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from common.cli import split_list


@dataclasses.dataclass(frozen=True)
class Sample:
    """Items of a test split.

    Attributes:
        items: What is predicted.
        predict: From a `Predictor` and some of the items to one outcome each.
        score: From the outcomes of all items to the metric.
        metric: Its name, as in `metrics.json`.
        output: The output of the graph whose greatest difference from Keras is told.
        first: What `predict` of the task takes for one item, besides the run.
    """

    items: list[Any]
    predict: Callable[[Any, list], list]
    score: Callable[[list], float]
    metric: str
    output: str
    first: list[str]


def sentiment_sample(config: Any, limit: int, data_dir: str, scratch: Path) -> Sample:
    """Returns reviews, spread over the split."""
    from apps.sentiment.evaluate import load_split_reviews

    data = load_split_reviews(config, data="imdb", data_dir=data_dir)
    test = data.splits["test"]
    chosen = _spread(len(test.texts), limit)
    expected = [data.label_names[label] for label in test.labels[chosen]]
    return Sample(
        items=[test.texts[row] for row in chosen],
        predict=lambda predictor, texts: [one.label for one in predictor.predict(texts)],
        score=lambda labels: float(np.mean(np.array(labels) == expected)),
        metric="accuracy",
        output="logits",
        first=["--text", "Far from dull."],
    )


def translation_sample(config: Any, limit: int, data_dir: str, scratch: Path) -> Sample:
    """Returns the first sentences of Multi30k's test_2016_flickr."""
    from apps.translation.evaluate import load_split_pairs
    from apps.translation.metrics import translation_metrics

    pairs = load_split_pairs(config, data=("multi30k",), data_dir=data_dir, training=False)
    test = pairs.split("test")
    references = test.references[:limit]

    def score(texts: list[str]) -> float:
        language = config.target_language
        return translation_metrics(texts, references, target_language=language)["bleu_tok_lc"]

    return Sample(
        items=list(test.source[:limit]),
        predict=lambda predictor, texts: [one.text for one in predictor.predict(texts)],
        score=score,
        metric="bleu_tok_lc",
        output="scores",
        first=["--text", "A dog runs."],
    )


def captioning_sample(config: Any, limit: int, data_dir: str, scratch: Path) -> Sample:
    """Returns the first pictures of the split."""
    from PIL import Image

    from apps.captioning.evaluate import load_split_captions
    from apps.captioning.features import PictureInputs
    from apps.captioning.metrics import caption_metrics

    captions = load_split_captions(config, data="flickr8k", data_dir=data_dir)
    test = captions.split("test")
    read = PictureInputs(config, None).read
    pictures = [read(captions.read(name), name=name) for name in test.names[:limit]]
    Image.fromarray(pictures[0]).save(scratch / "picture.png")
    return Sample(
        items=pictures,
        predict=lambda predictor, some: [one[0].text for one in predictor.predict(np.stack(some))],
        score=lambda texts: caption_metrics(texts, test.captions[:limit])["cider"],
        metric="cider",
        output="scores",
        first=["--image", str(scratch / "picture.png")],
    )


def forecasting_sample(config: Any, limit: int, data_dir: str, scratch: Path) -> Sample:
    """Returns days of some tickers; days of one ticker are forecast together."""
    from apps.forecasting.inputs import load_inputs, split_span

    inputs = load_inputs(
        config, data=config.data, tickers=split_list(config.tickers), data_dir=data_dir
    )
    start, end = split_span(config, "test", max(one.dates[-1] for one in inputs.features))
    days = [
        (features, origin)
        for features in inputs.features
        for origin in features.origins(start, end, horizon=config.horizon, lookback=config.lookback)
    ]
    items = [days[place] for place in _spread(len(days), limit)]

    def predict(predictor: Any, some: list) -> list[float]:
        errors = []
        for ticker in dict.fromkeys(features.ticker for features, _ in some):
            features = next(one for one, _ in some if one.ticker == ticker)
            origins = np.array([origin for one, origin in some if one.ticker == ticker])
            after = origins[:, None] + np.arange(1, config.horizon + 1)
            came = np.log(features.close[after] / features.close[origins, None])
            found = predictor.distribution(features, origins).crps(came)
            errors += list(100 * found[:, 0])
        return errors

    first = ["--ticker", items[0][0].ticker, "--as-of", str(items[0][0].dates[items[0][1]])]
    first += ["--data-dir", data_dir] if data_dir else []
    return Sample(
        items=items,
        predict=predict,
        score=lambda errors: float(np.mean(errors)),
        metric="crps_1",
        output="parameters",
        first=[*first, "--picture", str(scratch / "chart.png")],
    )


SAMPLES = {
    "forecasting": forecasting_sample,
    "sentiment": sentiment_sample,
    "translation": translation_sample,
    "captioning": captioning_sample,
}


def _spread(count: int, limit: int) -> np.ndarray:
    """Returns up to `limit` indices, spread evenly over `count`."""
    return np.unique(np.linspace(0, count - 1, min(limit, count)).round().astype(int))
