"""What a training takes over from the run that `--init-from` names."""

from pathlib import Path

from rich.console import Console

from apps.translation.config import Config
from apps.translation.evaluate import load_split_pairs
from apps.translation.predictor import Predictor
from common.cli import aside, warn
from common.earlier_runs import origin_of
from common.errors import UserError
from common.run_folder import CONFIG, read_config
from common.settings import config_from_flags
from data.pairs.sources import Pairs
from data.pairs.untranslated import nearly_among
from models.ensemble import is_ensemble


def load_start(config: Config) -> Predictor:
    """Loads the run that `--init-from` names.

    Raises:
        UserError: If it is an ensemble or translates other languages.
    """
    start = Predictor.load(config.init_from, runtime="keras")
    if is_ensemble(start.network.model):
        raise UserError(
            f"--init-from {config.init_from} is an ensemble: go on from one of its members."
        )
    held = start.config.source_language, start.config.target_language
    languages = config.source_language, config.target_language
    if held != languages:
        raise UserError(
            f"--init-from {config.init_from} translates {' to '.join(held)}, not"
            f" {' to '.join(languages)}: name another run, or set --source-language and"
            " --target-language."
        )
    return start


def origin_facts(
    config: Config, start: Predictor, pairs: Pairs, *, data_dir: str, console: Console
) -> dict:
    """Returns what `metrics.json` keeps of the run to go on from, and says what it may know.

    Args:
        config: Settings of the new run.
        start: The run that `--init-from` names.
        pairs: What the new run learns from and is scored on.
        data_dir: As the flag.
        console: Where to say how much of what is held out the run has learned from.

    Returns:
        As `origin_of`. If the run was trained on other files, `known` is the number of sentences of
        each held-out split that it has learned from, or that are nearly the same.
    """
    origin = origin_of(config.init_from)
    if origin.get("data", pairs.hashes) == pairs.hashes:
        return origin
    try:
        learned = learned_sources(start.config, data_dir=data_dir)
    except UserError as error:
        warn(console, f"--init-from {config.init_from} may know what is held out here: {error}")
        return origin
    held_out = {name: split.source for name, split in pairs.splits.items() if name != "train"}
    known = {name: int(nearly_among(texts, learned).sum()) for name, texts in held_out.items()}
    counts = ", ".join(f"{known[name]:,} of {len(held_out[name]):,} in {name}" for name in known)
    line = (
        f"--init-from {config.init_from} was trained on other data, which hold these source"
        f" sentences or nearly the same: {counts}"
    )
    if any(known.values()):
        warn(console, f"{line}; those scores will flatter.")
    else:
        aside(console, line)
    return {**origin, "known": known}


def learned_sources(config: Config, *, data_dir: str) -> list[str]:
    """Returns the source sentences that a run has learned from, and those that it began from.

    Args:
        config: Settings of the run.
        data_dir: As the flag.

    Raises:
        UserError: If the data are not there any more.
        UserError: If the run that it began from is not.
    """
    sources = [
        *load_split_pairs(config, data=config.data, data_dir=data_dir).splits["train"].source
    ]
    if config.init_from:
        before = Path(config.init_from)
        settings = read_config(before, "translation")
        earlier = config_from_flags(Config, settings, before / CONFIG)
        sources += learned_sources(earlier, data_dir=data_dir)
    return sources
