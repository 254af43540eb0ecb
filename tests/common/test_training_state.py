import dataclasses
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers, ops

from common.callbacks import (
    BestEpoch,
    History,
    StopOnNaN,
    TrainingState,
    is_finished,
    saved_epoch,
)
from common.errors import UserError
from common.optimization import GradientClipping, LearningRateControl
from common.results import read_history

EPOCHS, STEPS = 4, 3


class Killed(Exception):
    """Stands for the end of the process."""


def killed() -> None:
    raise Killed


def kill_process() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Kill(keras.callbacks.Callback):
    """Ends training after the step that is the `step`-th of all, or when its epoch is done."""

    def __init__(self, step: float, end: Callable[[], None]):
        super().__init__()
        self.step, self.end, self.done = step, end, 0

    def on_train_batch_end(self, batch, logs=None):
        self.done += 1
        if self.done == self.step:
            self.end()

    def on_epoch_end(self, epoch, logs=None):
        if self.done == self.step - 0.5:
            self.end()


class Sequences(keras.utils.PyDataset):
    """Tokens `(batch, time)` in an order that depends on the epoch alone, or in a fixed one."""

    def __init__(self, epoch: int = 0, shuffle: bool = True):
        super().__init__()
        generator = np.random.default_rng(0)
        self.tokens = generator.integers(1, 6, size=(STEPS * 4, 5))
        self.targets = (self.tokens == 2).sum(axis=1, keepdims=True).astype("float32")
        self.epoch, self.shuffle = epoch, shuffle
        self._order()

    def _order(self):
        generator = np.random.default_rng([7, self.epoch if self.shuffle else 0])
        self.order = generator.permutation(len(self.tokens))

    def __len__(self):
        return STEPS

    def __getitem__(self, index):
        rows = self.order[4 * index : 4 * index + 4]
        return self.tokens[rows], self.targets[rows]

    def on_epoch_end(self):
        self.epoch += 1
        self._order()


def build_model(units: int = 4) -> keras.Model:
    inputs = keras.Input((5,), dtype="int32")
    hidden = layers.Embedding(6, 3)(inputs)
    hidden = layers.SimpleRNN(units, dropout=0.3)(hidden)
    model = keras.Model(inputs, layers.Dense(1)(layers.Dropout(0.5)(hidden)))
    model.compile(keras.optimizers.Adam(0.01), "mse")
    return model


@dataclasses.dataclass
class Run:
    model: keras.Model
    state: TrainingState
    best: BestEpoch
    rate: LearningRateControl
    path: Path

    @property
    def variables(self) -> list[np.ndarray]:
        variables = self.model.variables + self.model.optimizer.variables
        return [ops.convert_to_numpy(variable) for variable in variables]

    @property
    def history(self) -> dict[str, list[float]]:
        columns = read_history(self.path / "history.csv")
        del columns["seconds"]
        return columns


def train(
    path: Path,
    schedule: str = "plateau",
    *,
    seed: int = 1,
    step: float = 0,
    end: Callable[[], None] = killed,
    epochs: int = EPOCHS,
    patience: int = 0,
    peak: float = 0.01,
    units: int = 4,
    clipping: str = "global_norm",
    initial_epoch: int | None = None,
) -> Run:
    """Trains as an app does: everything is made anew, and then the state is restored."""
    keras.utils.set_random_seed(seed)
    model = build_model(units)
    # A plateau that waits for a higher loss reduces the rate while the model learns.
    rate = LearningRateControl(
        *(peak, schedule), total_steps=EPOCHS * STEPS, warmup_steps=2, mode="max"
    )
    best = BestEpoch("val_loss", "min", patience, save=lambda model: None)
    state = TrainingState(path / "state.npz", [rate, best])
    callbacks = [
        StopOnNaN(),
        GradientClipping(clipping),
        rate,
        best,
        History(path / "history.csv"),
        state,
        Kill(step, end),
    ]
    if initial_epoch is None:
        initial_epoch = saved_epoch(path / "state.npz")
    model.fit(
        Sequences(initial_epoch),
        validation_data=Sequences(shuffle=False),
        epochs=epochs,
        initial_epoch=initial_epoch,
        shuffle=False,
        verbose=0,
        callbacks=callbacks,
    )
    return Run(model, state, best, rate, path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> dict[str, Run]:
    """Training that was never stopped, by schedule."""
    return {
        schedule: train(tmp_path_factory.mktemp(schedule), schedule)
        for schedule in ("plateau", "cosine")
    }


@pytest.fixture
def copied(tmp_path, whole) -> Path:
    """A copy of the folder of a training that is done, to be damaged."""
    return shutil.copytree(whole["plateau"].path, tmp_path / "run")


def assert_same_result(resumed: Run, whole: Run) -> None:
    for one, other in zip(resumed.variables, whole.variables, strict=True):
        np.testing.assert_array_equal(one, other)
    assert resumed.history == whole.history
    assert resumed.best.get_state() == whole.best.get_state()
    assert resumed.rate.get_state() == whole.rate.get_state()


@pytest.mark.parametrize(
    ("schedule", "step", "epochs_done"),
    [("cosine", STEPS + 0.5, 1), ("plateau", 2 * STEPS + 2, 2)],
)
def test_a_killed_training_ends_as_if_it_had_not_been(tmp_path, whole, schedule, step, epochs_done):
    with pytest.raises(Killed):
        train(tmp_path, schedule, step=step)
    assert saved_epoch(tmp_path / "state.npz") == epochs_done
    # The other seed shows that nothing is left to the new start.
    assert_same_result(train(tmp_path, schedule, seed=99), whole[schedule])


@pytest.mark.slow
def test_a_process_that_is_killed_can_be_resumed(tmp_path, whole):
    root = Path(__file__).parents[2]
    program = (
        "import sys, pathlib, test_training_state as test;"
        f"test.train(pathlib.Path({str(tmp_path)!r}), step={STEPS + 2}, end=test.kill_process)"
    )
    paths = os.pathsep.join([str(root), str(Path(__file__).parent)])
    child = subprocess.run(
        [sys.executable, "-c", program], cwd=root, env={**os.environ, "PYTHONPATH": paths}
    )
    assert child.returncode == -signal.SIGKILL
    assert_same_result(train(tmp_path, seed=99), whole["plateau"])


def test_a_training_that_is_done_does_not_train_further(copied, whole):
    path = copied / "state.npz"
    content = path.read_bytes()
    assert saved_epoch(path) == EPOCHS and not is_finished(path)
    assert_same_result(train(copied, seed=99), whole["plateau"])
    assert path.read_bytes() == content


def test_a_training_that_stopped_early_does_not_train_further(tmp_path):
    # At this rate float32 weights cannot change, so the validation loss never improves.
    first = train(tmp_path, patience=1, epochs=50, peak=1e-9)
    path = tmp_path / "state.npz"
    done = saved_epoch(path)
    assert is_finished(path) and done < 50
    again = train(tmp_path, seed=99, patience=1, epochs=50, peak=1e-9, initial_epoch=50)
    assert_same_result(again, first)
    with pytest.raises(UserError, match=f"stopped early after epoch {done}: .* --overwrite"):
        train(tmp_path, seed=99, patience=1, epochs=50, peak=1e-9)


def test_a_state_of_other_settings_is_refused(copied):
    with pytest.raises(UserError, match="does not fit .* --overwrite"):
        train(copied, units=5)
    with pytest.raises(UserError, match="after epoch 4, but training starts after epoch 0"):
        train(copied, initial_epoch=0)


@pytest.mark.no_backend
def test_a_damaged_state_is_refused(copied):
    path = copied / "state.npz"
    whole = path.read_bytes()
    for content in (b"", whole[: len(whole) // 2], whole.replace(b'"epoch"', b'"e\x00och"')):
        path.write_bytes(content)
        for read in (saved_epoch, is_finished):
            with pytest.raises(UserError, match="state.npz is damaged .* --overwrite"):
                read(path)


def test_types_that_numpy_does_not_know_are_restored(tmp_path):
    inputs = keras.Input((2,))
    model = keras.Model(inputs, layers.Dense(1, dtype="bfloat16")(inputs))
    model.compile(keras.optimizers.SGD(0.1), "mse")
    state = TrainingState(tmp_path / "state.npz")
    state.set_model(model)
    state.set_params({})
    state.on_epoch_end(0, {})
    before = ops.convert_to_numpy(model.variables[0]).astype("float32")
    model.variables[0].assign(model.variables[0] + 1)
    state.restore(model)
    after = ops.convert_to_numpy(model.variables[0]).astype("float32")
    np.testing.assert_array_equal(before, after)
