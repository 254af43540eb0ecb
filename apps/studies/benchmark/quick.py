"""What gives each row of the benchmark a moment: the samples, small sizes, one process for all."""

import importlib
from collections.abc import Iterable
from pathlib import Path

from common.config import parse_call
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
# They stand behind a row's own flags, so they win.
_FLAGS = {
    ("forecasting", "train"): "--tickers SIMA,SIMB,SIMC,^SIM --market ^SIM --lookback 32 --units 4"
    " --epochs 1",
    ("sentiment", "train"): "--epochs 1 --units 4 --embed-dim 8 --bigram-buckets 0 --max-length 100"
    " --region-length 0 --buckets 1 --tokens-per-batch 2000 --embedding random",
    ("translation", "train"): "--data multi30k --epochs 1 --vocab-size 480 --embed-dim 8 --units 4"
    " --decoder-units 8 --tokens-per-batch 1360 --buckets 1 --max-length 60 --beam-size 2",
    ("translation", "evaluate"): "--beam-sizes 2",
    ("captioning", "train"): "--backbone small_cnn --picture-size 32 --views 1 --epochs 1"
    " --vocab-size 330 --embed-dim 8 --decoder-units 8 --tokens-per-batch 1200"
    " --buckets 1 --beam-size 2",
    ("captioning", "evaluate"): "--beam-sizes 2",
}


def samples(tasks: Iterable[str], folder: Path) -> None:
    """Writes the samples of some tasks below a folder, each wholly or not at all."""
    for task in tasks:
        place = folder / "data" / task
        if not place.is_dir():
            with atomic_folder(place) as draft:
                _SAMPLES[task](draft)


def shortened(task: str, verb: str, flags: list[str], folder: Path) -> list[str]:
    """Returns the flags of a command followed by what makes it a matter of seconds."""
    own = _FLAGS.get((task, verb), "").split()
    if verb == "train":
        own = _without_ignored(task, flags, own)
    return [*flags, *own, "--data-dir", str(folder / "data" / task)]


def _without_ignored(task: str, flags: list[str], own: list[str]) -> list[str]:
    """Leaves out of `own`, pairs of flag and value, what a training with `flags` ignores."""
    main = importlib.import_module(f"apps.{task}.train").main
    config = parse_call(main, prog="", description="", arguments=flags).keywords["config"]
    ignored = {flag(name) for name in config.ignored()}
    pairs = zip(own[::2], own[1::2], strict=True)
    return [word for pair in pairs if pair[0] not in ignored for word in pair]


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
