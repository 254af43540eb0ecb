import dataclasses
import io

import keras
import numpy as np
import pytest
from rich.console import Console

from common.cli import parse_call
from common.errors import UserError
from common.files import read_json, write_json
from common.fitting import TrainFlags, first_epoch, open_training, run_written, training_callbacks
from common.results import read_history
from common.run_folder import save_model
from common.settings import TrainingSettings
from tests.helpers import linear_data, linear_model


@dataclasses.dataclass(frozen=True)
class Config(TrainingSettings):
    """A task's settings."""

    units: int = 3
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
    settings = dataclasses.asdict(Config(epochs=epochs, warmup_steps=0))
    write_json(run / "config.json", {"task": "sentiment", **settings})


@pytest.mark.no_backend
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


@pytest.mark.no_backend
def test_a_finished_run_that_is_entered_again_changes_in_nothing(tmp_path):
    run = tmp_path / "run"
    first = trained(run, commit="old", epochs=2)
    write_json(run / "metrics.json", first | {"metrics": {"test": {"accuracy": 0.5}}})
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    trained(run, commit="new", epochs=2, resume=True)
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before


STEPS = 4


@pytest.mark.no_backend
@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("epochs", 0),
        ("warmup_steps", -1),
        ("learning_rate", float("nan")),
        ("clip_threshold", float("inf")),
        ("seed", 2**32),
    ],
)
def test_a_setting_out_of_range_is_named_as_it_is_typed(setting, value):
    with pytest.raises(UserError, match=f"^--{setting.replace('_', '-')} ") as caught:
        Config(**{setting: value})
    assert "\n" not in str(caught.value)


# ---- Where a training begins -------------------------------------------------------------------


def stored_run(folder, **more):
    held = dataclasses.asdict(Config(units=5, epochs=3))
    write_json(folder / "config.json", {"task": "sentiment", **more, **held})
    return folder


def typed(*arguments):
    """Returns what `main` gets of a command line."""

    def main(flags: TrainFlags, config: Config):
        return flags, config

    return parse_call(main, prog="train", description="", arguments=list(arguments))()


@pytest.mark.no_backend
def test_a_flag_counts_also_when_it_equals_its_default(tmp_path):
    run = stored_run(tmp_path)
    for arguments in (["--units", "3"], ["--units=3"]):
        flags, config = typed("--resume", *arguments)
        with (
            pytest.raises(UserError, match="--units 3 differs from the 5"),
            open_training(config, flags, run, task="sentiment"),
        ):
            pass
    flags, config = typed("--resume", "--units", "5", "--no-tensorboard")
    assert flags.given == {"resume", "units", "tensorboard", "no_tensorboard"}
    with open_training(config, flags, run, task="sentiment") as settings:
        assert settings.units == 5


@pytest.mark.no_backend
def test_what_a_training_reads_is_not_trained_meanwhile(tmp_path):
    teacher = stored_run(tmp_path / "teacher")
    flags = TrainFlags(overwrite=True)
    with open_training(
        Config(), TrainFlags(), tmp_path / "run", task="sentiment", earlier=[str(teacher)]
    ):
        with (
            pytest.raises(UserError, match="another process"),
            open_training(Config(), flags, teacher, task="sentiment"),
        ):
            pass


# ---- The callbacks -----------------------------------------------------------------------------


class Score(keras.callbacks.Callback):
    """Adds a score that never rises."""

    def on_epoch_end(self, epoch, logs=None):
        logs["val_score"] = 0.5


def callbacks(config, run, output=None):
    return training_callbacks(
        config,
        run=run,
        steps=STEPS,
        monitor="val_score",
        mode="max",
        save=lambda model: (run / "model.keras").write_text("saved"),
        scores=[Score()],
        console=Console(file=output or io.StringIO(), width=200),
    )


def test_a_plateau_and_the_best_epoch_may_watch_a_score_that_a_callback_adds(tmp_path):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(optimizer=keras.optimizers.SGD(0.1), loss="mse")
    config = Config(schedule="plateau", warmup_steps=0, epochs=9, patience=3, learning_rate=0.4)
    model.fit(
        np.ones((STEPS, 2), "float32"),
        np.ones((STEPS, 1), "float32"),
        batch_size=1,
        epochs=config.epochs,
        callbacks=callbacks(config, tmp_path),
        verbose=0,
    )
    history = read_history(tmp_path / "history.csv")
    # The first epoch is the best, three wait; each of them halves the rate of the next.
    np.testing.assert_allclose(history["learning_rate"], [0.4, 0.4, 0.2, 0.1], rtol=1e-6)
    assert history["val_score"] == [0.5] * 4
    assert (tmp_path / "model.keras").read_text() == "saved"
