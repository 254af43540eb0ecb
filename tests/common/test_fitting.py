import dataclasses
import io

import keras
import pytest
from rich.console import Console

from common.artifact import save_model
from common.config import fields_as_flags
from common.files import read_json, write_json
from common.fitting import first_epoch, run_written
from common.settings import TrainingSettings
from common.training import TrainFlags, open_training, training_callbacks
from tests.helpers import linear_data, linear_model

pytestmark = pytest.mark.no_backend


@dataclasses.dataclass(frozen=True)
class Config(TrainingSettings):
    """A task's settings."""

    cell: str = "lstm"


class Batches(keras.utils.PyDataset):
    """One batch a pass."""

    def __len__(self):
        return 1

    def __getitem__(self, index):
        return linear_data()


def trained(run, *, commit, epochs, resume=False):
    """Trains a line at a made-up commit and returns what `metrics.json` holds then."""
    facts = {"task": "sentiment", "command": "train", "data": {}, "backend": "any"}
    facts |= {"commit": commit, "versions": {}, "device": "CPU", "date": "2026-01-01"}
    config = Config(epochs=epochs, warmup_steps=0)
    flags = TrainFlags(resume=resume)
    with open_training(config, flags, run, task="sentiment"):
        epochs_done = first_epoch(config, flags, run)
        console = Console(file=io.StringIO())
        model = linear_model(0.01)
        callbacks = training_callbacks(
            config,
            run=run,
            steps=1,
            monitor="val_loss",
            mode="min",
            save=lambda trained: save_model(trained, run / "model.keras"),
            console=console,
        )
        with run_written(
            config,
            flags,
            run,
            facts=facts,
            parameters=4,
            epochs_done=epochs_done,
            console=console,
        ):
            model.fit(
                Batches(),
                validation_data=Batches(),
                initial_epoch=epochs_done,
                epochs=config.epochs,
                callbacks=callbacks,
                verbose=0,
            )
    return read_json(run / "metrics.json")


def longer(run, epochs):
    """Lets a run go on as if it had been stopped before its last epochs."""
    settings = fields_as_flags(Config(epochs=epochs, warmup_steps=0))
    write_json(run / "config.json", {"task": "sentiment", **settings})


def test_a_run_that_goes_on_keeps_what_it_began_with_and_appends_what_it_went_on_with(tmp_path):
    run = tmp_path / "run"
    first = trained(run, commit="old", epochs=2)
    scores = {"test": {"accuracy": 0.5}}
    held = {"metrics": scores, "scored": {"test": "old"}, "teacher": {"runs": {}}}
    write_json(run / "metrics.json", first | held)
    longer(run, 3)
    (run / "export").mkdir()
    second = trained(run, commit="new", epochs=3, resume=True)
    assert (second["commit"], second["epochs"], second["teacher"]) == ("old", 3, {"runs": {}})
    (entry,) = second["resumed"]
    assert (entry["commit"], entry["after_epoch"], entry["metrics"]) == ("new", 2, scores)
    # They are of a model that is no longer there.
    assert not {"metrics", "scored"} & second.keys()
    assert entry["scored"] == {"test": "old"}
    assert not (run / "export").exists()
    assert second["seconds"] >= first["seconds"]


def test_a_finished_run_that_is_entered_again_changes_in_nothing(tmp_path):
    run = tmp_path / "run"
    first = trained(run, commit="old", epochs=2)
    write_json(run / "metrics.json", first | {"metrics": {"test": {"accuracy": 0.5}}})
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    trained(run, commit="new", epochs=2, resume=True)
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before
