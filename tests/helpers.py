"""What several test modules do in the same way.

Keras is imported where it is needed: the tests of data do without.
"""

import contextlib
import io
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from scipy import special

from common.cli import parse_call, run_command
from common.errors import UserError
from common.files import read_json, write_json
from common.publish import publish_run
from common.run_folder import load_model
from data.pairs.sample import pairs


def on_one_backend(*values):
    """A case of a parametrised test that runs on one backend alone: others cover it elsewhere."""
    return pytest.param(*values, marks=pytest.mark.no_backend)


def call(main, *arguments) -> None:
    """Calls a command as the shell does, but lets its errors through."""
    parse_call(main, prog="command", description="", arguments=list(map(str, arguments)))()


def printed(main, *arguments) -> str:
    """Calls a command and returns what it printed."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        call(main, *arguments)
    return output.getvalue()


def files_of(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def refused(function, *arguments, **options) -> str:
    """Returns the one line of the `UserError` that a call ends with."""
    with pytest.raises(UserError) as caught:
        function(*arguments, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def refuses(load, data, *expected, **options) -> None:
    """Checks that data are refused in one line that holds all that is expected."""
    message = refused(load, data, **options)
    for part in expected:
        assert str(part) in message, message


def published(run: Path, destination: Path, **options) -> None:
    """Publishes a run of a working tree that need not be clean."""
    copy = destination.with_name(f"{destination.name}-clean")
    shutil.copytree(run, copy)
    write_json(
        copy / "metrics.json", read_json(run / "metrics.json") | {"commit": "abc", "scored": {}}
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("common.publish.require_clean", lambda: None)
        publish_run(copy, destination, score=lambda *_: {}, **options)


@contextlib.contextmanager
def photographed(run: Path) -> Iterator[None]:
    """Copies a run that trains, near the end of its second epoch, to `stopped` beside it."""
    from common.callbacks import History

    original = History.on_epoch_end

    def photograph(self, epoch, logs=None):
        if epoch == 1:
            shutil.copytree(run, run.with_name("stopped"))
        original(self, epoch, logs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(History, "on_epoch_end", photograph)
        yield


def weights_of(run: Path) -> list[np.ndarray]:
    return load_model(run).get_weights()


def assert_same_training(one: Path, other: Path) -> None:
    """Two run folders hold the same weights, states, curves and scores, to the last bit."""
    from common.results import read_history

    for ours, theirs in zip(weights_of(one), weights_of(other), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    states = [np.load(run / "state.npz", allow_pickle=False) for run in (one, other)]
    arrays = [name for name in states[0].files if states[0][name].dtype.kind == "f"]
    assert len(arrays) > 10
    for name in arrays:
        np.testing.assert_array_equal(states[0][name], states[1][name])
    histories = [read_history(run / "history.csv") for run in (one, other)]
    for history in histories:
        del history["seconds"]
    assert histories[0] == histories[1]
    metrics = [read_json(run / "metrics.json") for run in (one, other)]
    assert metrics[0]["metrics"] == metrics[1]["metrics"]
    # One of them may have been interrupted.
    assert metrics[0].keys() - {"resumed"} == metrics[1].keys() - {"resumed"}


def write_pairs_tsv(path: Path, *, rows: int, seed: int = 0) -> Path:
    """Writes generated pairs as a file of one's own, with the columns `en` and `fr`."""
    lines = ["en\tfr", *("\t".join(row) for row in pairs(rows, seed=seed))]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def sequence_scores(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Returns the log-probability of each sequence under teacher forcing, in nats: `(batch,)`.

    Args:
        logits: `(batch, time, vocab_size)` of the decoder.
        targets: `<int32>(batch, time)`, the `target_out`; padding (0) adds nothing.
    """
    chosen = np.take_along_axis(special.log_softmax(logits, axis=-1), targets[..., None], axis=-1)
    return np.where(targets != 0, chosen[..., 0], 0).sum(axis=-1)


def outputs_of(model, inputs):
    """What a model returns, compiled where one call would be traced step by step (JAX)."""
    import keras

    run = model.predict_on_batch if keras.backend.backend() == "jax" else model
    return keras.tree.map_structure(keras.ops.convert_to_numpy, run(inputs))


def linear_model(rate: float = 1.0, *, optimizer=None, **options):
    """A compiled layer of three weights and a bias, trained by SGD unless told otherwise."""
    import keras

    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Dense(1)(inputs))
    model.compile(optimizer or keras.optimizers.SGD(rate), "mse", **options)
    return model


def linear_data(batch: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Inputs `(batch, 3)` and targets `(batch, 1)` that the linear model can learn."""
    inputs = np.random.default_rng(0).normal(size=(batch, 3)).astype("float32")
    return inputs, inputs.sum(axis=1, keepdims=True) + 1


def check_refused(main, arguments, message, *, folder: Path, capsys) -> None:
    """Runs a command that must end in one line and status 2, with nothing written to a folder."""
    before = files_of(folder)
    with pytest.raises(SystemExit) as stop:
        run_command(main, prog="command", description="", arguments=arguments)
    lines = capsys.readouterr().err.strip().splitlines()
    assert stop.value.code == 2
    assert len(lines) == 1 and lines[0].startswith("error: ")
    assert message in lines[0]
    assert files_of(folder) == before
