"""Sums up what `make demo` made: scores beside baselines, a prediction a task, the pictures.

python -m apps.studies.demo --runs runs/demo
"""

from pathlib import Path

from apps.captioning.predictor import Predictor as Captioner
from apps.forecasting.forecasts import forecast
from apps.forecasting.predictor import Predictor as Forecaster
from apps.sentiment.predictor import Predictor as Classifier
from apps.translation.predictor import Predictor as Translator
from common.cli import new_table, open_console, run_command, split_list
from common.errors import UserError
from common.files import read_json
from common.run_folder import METRICS
from common.tables import show_metric
from data.prices.features import build_features
from data.prices.read import read_prices

# Of each task: its measure on the test split and the key of its scores.
_MEASURES = {
    "forecasting": ("CRPS of the next day, lower is better", "crps_1"),
    "sentiment": ("accuracy %", "accuracy"),
    "translation": ("BLEU", "bleu"),
    "captioning": ("CIDEr", "cider"),
}


def _sentiment(runs: Path) -> str:
    text = _first_line("sentiment")
    (verdict,) = Classifier.load(runs / "sentiment").predict([text])
    return f"“{text}” is {verdict.label} ({verdict.probability:.0%})"


def _translation(runs: Path) -> str:
    text = _first_line("translation")
    (translation,) = Translator.load(runs / "translation").predict([text])
    return f"“{text}” is “{translation.text}”"


def _captioning(runs: Path) -> str:
    captioner = Captioner.load(runs / "captioning")
    path = min((runs / "pictures").iterdir())
    ((caption, *_),) = captioner.predict(captioner.inputs.read(path)[None])
    return f"{path} shows “{caption.text}”"


def _forecasting(runs: Path) -> str:
    forecaster = Forecaster.load(runs / "forecasting")
    config = forecaster.config
    history, market = (
        read_prices(runs / "data" / "prices" / f"{ticker}.csv") for ticker in ("SIMA", "^SIM")
    )
    (features,) = build_features([history], groups=split_list(config.features), market=market)
    ahead = forecast(forecaster, features, days=config.horizon, change=0.05)
    low, high = ahead.prices[-1][[1, -2]]
    return (
        f"{ahead.ticker} stands at {ahead.close:.2f} and in {config.horizon} days, with 80 %,"
        f" between {low:.2f} and {high:.2f}"
    )


def _first_line(task: str) -> str:
    path = Path(__file__).parents[1] / task / "demo.txt"
    return path.read_text(encoding="utf-8").splitlines()[0]


_PREDICTIONS = {
    "forecasting": _forecasting,
    "sentiment": _sentiment,
    "translation": _translation,
    "captioning": _captioning,
}


def main(runs: Path = Path("runs/demo")) -> None:
    """Prints the summary.

    Args:
        runs: Folder of the four runs.
    """
    console = open_console()
    table = new_table("test split of the samples", ["task", "measure"], ["network", "baseline"])
    table.add_column("the best baseline")
    for task, (title, metric) in _MEASURES.items():
        path = runs / task / METRICS
        if not path.is_file():
            raise UserError(f"{path} does not exist: run make demo.")
        recorded = read_json(path)
        scores = {name: splits["test"][metric] for name, splits in recorded["baselines"].items()}
        name = (min if metric.startswith("crps") else max)(scores, key=scores.get)
        network = recorded["metrics"]["test"][metric]
        table.add_row(
            task, title, show_metric([network], metric), show_metric([scores[name]], metric), name
        )
    console.print(table)
    console.print()
    for task, predict in _PREDICTIONS.items():
        console.print(f"{task}: {predict(runs)}")
    pictures = sorted(path for path in runs.glob("*.png"))
    plots = sorted(path for task in _MEASURES for path in (runs / task / "plots").glob("*.png"))
    console.print(f"\npictures: {' '.join(map(str, (*pictures, *plots)))}")


if __name__ == "__main__":
    run_command(
        main,
        prog="python -m apps.studies.demo",
        description="Sums up what `make demo` made.",
    )
