"""Answers a part of many inputs; what a process of a pool runs, one part after the other."""

import functools
import importlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from apps.cluster.inputs import Item
from common.errors import UserError

Answers = Iterator[str | UserError]


@functools.cache
def _loaded(task: str, run: str) -> Any:
    """Returns the predictor of a run, which this process keeps for its next part."""
    predictor = importlib.import_module(f"apps.{task}.predictor").Predictor
    # There is a process for each core.
    return predictor.load(Path(run), runtime="auto", threads=1)


def predict_part(task: str, run: str, items: list[Item]) -> list[str]:
    """Returns one line of JSON for each input: what `predict --json` prints, or an error.

    Args:
        task: The task.
        run: Its run folder.
        items: The inputs, by number.
    """
    problems = {item.number: item.problem for item in items if item.problem}
    if task == "sentiment":
        blank = "the text is empty: give at least one word"
        problems |= {item.number: blank for item in items if not (item.value or item.problem)}
    good = [item for item in items if item.number not in problems]
    answers = dict(zip((item.number for item in good), _answers(task, run, good), strict=True))
    lines = []
    for item in items:
        answer = problems.get(item.number) or answers[item.number]
        if item.number in problems or isinstance(answer, UserError):
            lines.append(json.dumps({"line": item.number, "error": str(answer)}))
        else:
            lines.append(f'{{"line": {item.number}, {answer.removeprefix("{")}')
    return lines


def _answers(task: str, run: str, items: list[Item]) -> list[str | UserError]:
    """Returns JSON or an error for each input; one that the model refuses leaves the others."""
    if not items:
        return []
    predictor = _loaded(task, run)
    answer = _ANSWER[task]
    values = [item.value for item in items]
    try:
        return list(answer(predictor, values))
    except UserError as error:
        if len(values) == 1:
            return [error]
    return [answered for item in items for answered in _answers(task, run, [item])]


def _read_sentiment(predictor: Any, texts: list[str]) -> Answers:
    from apps.sentiment.predict import as_json

    return map(as_json, predictor.predict(texts))


def _translate(predictor: Any, texts: list[str]) -> Answers:
    from apps.translation.predict import as_json

    return map(as_json, predictor.predict(texts, attention=True))


def _caption(predictor: Any, paths: list[str]) -> Answers:
    from apps.captioning.predict import as_json, described
    from common.settings import Search

    attention = predictor.config.variant == "attention"
    search = Search.of(predictor.config)
    for path, _, captions in described(
        predictor, list(map(Path, paths)), search, attention=attention
    ):
        yield captions if isinstance(captions, UserError) else as_json(path, captions)


def _forecast(predictor: Any, paths: list[str]) -> Answers:
    from apps.forecasting.forecasts import as_json, forecast
    from apps.forecasting.inputs import load_inputs

    for path in paths:
        try:
            inputs = load_inputs(predictor.config, data=path, tickers=[], data_dir="")
            days = predictor.config.horizon
            yield as_json(forecast(predictor, inputs.features[0], days=days, change=0.05))
        except UserError as error:
            yield error


_ANSWER: dict[str, Callable[[Any, list[str]], Answers]] = {
    "sentiment": _read_sentiment,
    "translation": _translate,
    "captioning": _caption,
    "forecasting": _forecast,
}
