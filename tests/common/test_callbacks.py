import json

import keras
import pytest

from common.callbacks import (
    BestEpoch,
    History,
    StopOnNaN,
)
from common.errors import UserError
from common.optimization import GradientClipping, LearningRateControl
from common.results import read_history
from tests.helpers import linear_data, linear_model


def run_epochs(callback, values: list[float], monitor: str = "val_loss", start: int = 0) -> int:
    """Drives a callback by hand; returns the number of epochs until it stops training."""
    model = keras.Sequential()
    model.stop_training = False
    callback.set_model(model)
    callback.on_train_begin()
    for epoch, value in enumerate(values, start):
        callback.on_epoch_begin(epoch)
        callback.on_epoch_end(epoch, {monitor: value})
        if model.stop_training:
            return epoch + 1
    return start + len(values)


def test_a_loss_that_is_not_finite_ends_training_with_advice(tmp_path):
    saved = []
    with pytest.raises(UserError) as raised:
        linear_model(1e20).fit(
            *linear_data(batch=16),
            batch_size=4,
            epochs=3,
            verbose=0,
            callbacks=[
                StopOnNaN(),
                BestEpoch("loss", "min", 0, save=saved.append),
                History(tmp_path / "history.csv"),
            ],
        )
    message = str(raised.value)
    assert "epoch 1" in message and "\n" not in message
    assert "--learning-rate" in message and "--clipping global_norm" in message
    assert saved == [] and list(tmp_path.iterdir()) == []


def test_weights_that_only_validation_sees_as_nan_end_training():
    stop = StopOnNaN()
    stop.on_epoch_begin(4)
    stop.on_train_batch_end(2, {"loss": 0.5})
    with pytest.raises(UserError, match="val_loss is nan in epoch 5"):
        stop.on_epoch_end(4, {"loss": 0.5, "val_loss": float("nan")})


def test_each_improvement_is_saved_and_nothing_else():
    saved = []
    best = BestEpoch("val_bleu", "max", 0, save=lambda model: saved.append(best.progress.best))
    run_epochs(best, [float("nan"), 1.0, 3.0, 3.0, 2.0, 4.0, 1.0], monitor="val_bleu")
    assert saved == [1.0, 3.0, 4.0]
    assert (best.best_epoch, best.progress.best) == (6, 4.0)


@pytest.mark.parametrize(("patience", "epochs"), [(0, 6), (1, 3), (2, 4), (4, 6), (5, 6)])
def test_training_stops_when_patience_is_used_up(patience, epochs):
    best = BestEpoch("val_loss", "min", patience, save=lambda model: None)
    assert run_epochs(best, [3.0, 2.0, 2.5, 2.0, 2.1, 2.2]) == epochs


def test_patience_goes_on_after_a_resumption():
    values = [3.0, 2.0, 2.1, 2.2, 2.3]
    first, second = (BestEpoch("val_loss", "min", 3, save=lambda model: None) for _ in range(2))
    assert run_epochs(first, values[:3]) == 3
    second.set_state(json.loads(json.dumps(first.get_state())))
    assert (second.progress.best, second.best_epoch) == (2.0, 2)
    assert run_epochs(second, values[3:], start=3) == 5


def test_history_holds_what_keras_logs_and_what_callbacks_add(tmp_path):
    inputs, targets = linear_data()
    log = (
        linear_model(0.05)
        .fit(
            inputs,
            targets,
            validation_data=(inputs, targets),
            epochs=3,
            verbose=0,
            callbacks=[
                GradientClipping(),
                LearningRateControl(0.05, "cosine", total_steps=3),
                History(tmp_path / "history.csv"),
            ],
        )
        .history
    )
    columns = read_history(tmp_path / "history.csv")
    assert columns.pop("epoch") == [1, 2, 3]
    assert all(seconds >= 0 for seconds in columns.pop("seconds"))
    assert columns == log
    assert {"loss", "val_loss", "gradient_norm", "learning_rate"} <= set(columns)


def test_history_of_a_resumed_training_drops_the_rows_after_it(tmp_path):
    path = tmp_path / "history.csv"
    run_epochs(History(path), [0.1 + 0.2, 2.0, 3.0, 4.0])
    kept = path.read_text().splitlines()[:3]
    run_epochs(History(path), [30.0], start=2)
    assert path.read_text().splitlines()[:3] == kept
    assert read_history(path)["val_loss"] == [0.1 + 0.2, 2.0, 30.0]
    run_epochs(History(path), [5.0])
    assert read_history(path)["epoch"] == [1]


def test_a_file_that_is_no_history_is_refused(tmp_path):
    path = tmp_path / "history.csv"
    path.write_text("epoch,loss\n1,bad\n")
    with pytest.raises(UserError, match="not a training history"):
        read_history(path)
