"""What a training takes over from the run that `--init-from` names."""

import hashlib
from pathlib import Path

import keras
from rich.console import Console

from apps.captioning.config import CUT, Config
from apps.captioning.evaluate import load_split_captions
from apps.captioning.predictor import Predictor
from common.artifact import CONFIG
from common.config import config_from_flags
from common.console import aside, warn
from common.errors import UserError
from common.origins import check_cut_of_origin, origin_of
from common.run_folder import read_config
from data.pictures.splits import Captions
from models.ensemble import is_ensemble


def load_start(config: Config) -> Predictor:
    """Loads the run that `--init-from` names.

    Args:
        config: Settings of the second stage.

    Raises:
        UserError: If training cannot go on from it.
    """
    start = Predictor.load(config.init_from, runtime="keras")
    if is_ensemble(start.network.model):
        raise UserError(
            f"--init-from {config.init_from} is an ensemble: go on from one of its members."
        )
    if start.config.fine_tune and not config.fine_tune:
        raise UserError(
            f"--init-from {config.init_from} sees through a backbone of its own, trained by"
            f" --fine-tune {start.config.fine_tune}: give --fine-tune too."
        )
    return start


def origin_facts(
    config: Config, start: Predictor, captions: Captions, *, data_dir: str, console: Console
) -> dict:
    """Returns what `metrics.json` keeps of the run to go on from, and says what it may know.

    Args:
        config: Settings of the second stage.
        start: From `load_start`.
        captions: What the second stage learns from and is scored on.
        data_dir: As the flag.
        console: Where to say how many of the held-out pictures the run has learned from.

    Returns:
        As `origin_of`. If the run was trained on other files, `known` is the number of pictures of
        each held-out split that it has learned from.

    Raises:
        UserError: If it was trained on the same data, cut in another way.
    """
    origin = origin_of(config.init_from, start.config, CUT)
    check_cut_of_origin(config, origin, captions.hashes)
    if origin.get("data", captions.hashes) == captions.hashes:
        return origin
    named = f"--init-from {config.init_from}"
    try:
        learned = set(_learned_pictures(start.config, data_dir=data_dir))
    except UserError as error:
        warn(console, f"{named} may know pictures that are held out here: {error}")
        return origin
    digests = {name: _digests(captions, name) for name in captions.splits if name != "train"}
    known = {name: sum(one in learned for one in ones) for name, ones in digests.items()}
    counts = ", ".join(f"{known[name]:,} of {len(digests[name]):,} in {name}" for name in known)
    line = f"{named} was trained on other data, which hold these pictures: {counts}"
    if any(known.values()):
        warn(console, f"{line}; those scores will flatter.")
    else:
        aside(console, line)
    return {**origin, "known": known}


def _learned_pictures(config: Config, *, data_dir: str) -> list[bytes]:
    """Returns a hash of each picture that a run has learned from, or those that it began from."""
    captions = load_split_captions(config, data=config.data, data_dir=data_dir)
    digests = _digests(captions, "train")
    if config.init_from:
        before = Path(config.init_from)
        settings = read_config(before, "captioning")
        earlier = config_from_flags(Config, settings, before / CONFIG)
        digests += _learned_pictures(earlier, data_dir=data_dir)
    return digests


def _digests(captions: Captions, split: str) -> list[bytes]:
    """Returns a hash of each picture of a split."""
    names = captions.split(split).names
    return [hashlib.sha256(captions.read(name)).digest() for name in names]


def copy_weights(start: keras.Model, captioner: keras.Model) -> None:
    """Gives a model the weights of one that may see features where this one sees pictures."""
    captioner.get_layer("decoder").set_weights(start.get_layer("decoder").get_weights())
    encoder, before = captioner.get_layer("encoder"), start.get_layer("encoder")
    names = {layer.name for layer in before.layers}
    for layer in encoder.layers:
        if layer.name in names and layer.weights:
            layer.set_weights(before.get_layer(layer.name).get_weights())
