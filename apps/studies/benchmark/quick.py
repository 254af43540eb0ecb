"""Smoke test of every row: the samples, tiny sizes, one process for all commands."""

import importlib
import re
from pathlib import Path

from common.cli import parse_call
from common.errors import UserError
from common.files import atomic_folder
from common.settings import flag
from data.pairs.sample import write_translation_sample
from data.pictures.sample import write_captioning_sample
from data.prices.sample import write_price_sample
from data.reviews.sample import write_imdb_sample


def _write_pairs_and_captions(folder: Path) -> None:
    """Writes sentence pairs, and captions that a teacher may translate."""
    write_translation_sample(folder, train=200, validation=20, test=20)
    write_captioning_sample(folder, train=20, validation=5, test=5)


_SAMPLES = {
    "forecasting": lambda folder: write_price_sample(folder, tickers=3),
    "sentiment": lambda folder: write_imdb_sample(folder, train=120, test=40, unlabelled=40),
    "translation": _write_pairs_and_captions,
    "captioning": lambda folder: write_captioning_sample(folder, train=60, validation=20, test=20),
}
# They follow the flags of a row and override them.
_FLAGS = {
    ("forecasting", "train"): "--tickers SIMA,SIMB,SIMC,^SIM --market ^SIM --lookback 32 --units 4"
    " --epochs 1",
    ("sentiment", "train"): "--epochs 1 --units 4 --embed-dim 8 --bigram-buckets 0 --max-length 100"
    " --region-length 0 --tokens-per-batch 2000 --embedding random",
    ("translation", "train"): "--data multi30k --epochs 1 --vocab-size 480 --embed-dim 8 --units 4"
    " --decoder-units 8 --tokens-per-batch 1360 --max-length 60 --beam-size 2",
    ("translation", "evaluate"): "--beam-sizes 2",
    ("captioning", "train"): "--backbone small_cnn --picture-size 32 --no-mirror --epochs 1"
    " --vocab-size 330 --embed-dim 8 --decoder-units 8 --tokens-per-batch 1200"
    " --beam-size 2",
    ("captioning", "evaluate"): "--beam-sizes 2",
}


def write_sample(task: str, folder: Path) -> None:
    """Writes the sample of a task below a folder, completely or not at all."""
    sample = folder / "data" / task
    if not sample.is_dir():
        with atomic_folder(sample) as draft:
            _SAMPLES[task](draft)


def quick_flags(task: str, verb: str, flags: list[str], folder: Path) -> list[str]:
    """Returns the flags of a command, followed by those that make it take seconds."""
    # Each flag with its value, or alone.
    pairs = re.findall(r"(--\S+)(?: ([^-]\S*))?", _FLAGS.get((task, verb), ""))
    if verb == "train":
        main = importlib.import_module(f"apps.{task}.train").main
        config = parse_call(main, prog="", description="", arguments=flags).keywords["config"]
        # A mode refuses the flags that it ignores.
        ignored = {flag(name) for name in config.ignored()}
        pairs = [pair for pair in pairs if pair[0] not in ignored]
    more = [word for pair in pairs for word in pair if word]
    return [*flags, *more, "--data-dir", str(folder / "data" / task)]


def run_here(arguments: list[str]) -> int:
    """Runs a command in this process and returns its exit status, 2 after a user's mistake."""
    module, *flags = arguments
    main = importlib.import_module(module).main
    try:
        parse_call(main, prog=f"python -m {module}", description="", arguments=flags)()
    except (UserError, OSError) as error:
        print(f"error: {error}")
        return 2
    return 0
