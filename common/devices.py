"""One training on many devices, of one host or several: data parallel, on the JAX backend.

Every device holds the whole model and computes on its part of each batch; the gradients are
averaged. Several processes find one another by the variables KERAS_DISTRIBUTION_JOB_ADDRESSES,
KERAS_DISTRIBUTION_NUM_PROCESSES and KERAS_DISTRIBUTION_PROCESS_ID of `keras.distribution`.
"""

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from common.errors import UserError

if TYPE_CHECKING:
    import keras

_PROCESSES, _ID = "KERAS_DISTRIBUTION_NUM_PROCESSES", "KERAS_DISTRIBUTION_PROCESS_ID"


class Devices:
    """The devices of a training.

    Args:
        parts: Devices of all processes; 0 where a training has one and needs nothing of this.
        processes: How many there are.
        process: The number of this one.
    """

    def __init__(self, parts: int = 0, processes: int = 1, process: int = 0):
        """See the class."""
        self.parts, self.processes, self.process = parts, processes, process
        self._folder: tempfile.TemporaryDirectory | None = None

    def folder(self, run: Path, *, resume: bool) -> Path:
        """Returns the run folder of process 0 or, for another, a temporary one that begins alike.

        To resume, all processes must see the run folder.
        """
        if not self.process:
            return run
        self._folder = tempfile.TemporaryDirectory(prefix="process-")
        own = Path(self._folder.name, "run")
        if resume:
            if not run.is_dir():
                raise UserError(
                    f"--resume: process {self.process} does not see {run}: put it on a disk that"
                    " all hosts share."
                )
            shutil.copytree(run, own)
        return own

    def share(
        self, *datasets: "keras.utils.PyDataset", epochs_done: int, unknown: float | None
    ) -> "tuple[keras.utils.PyDataset, ...]":
        """Returns this process's part of each data set, whose batches are `(inputs, targets)`.

        Args:
            datasets: The same in all processes.
            epochs_done: By the run that is resumed.
            unknown: The target that the loss leaves out, for rows that fill up a batch; if it has
                none, rows come with weights.

        Raises:
            UserError: If the processes would not take the same number of steps, for which they
                would wait without end.
        """
        if not self.parts:
            return datasets
        counts = np.array([epochs_done, *map(len, datasets)])
        if self.processes > 1:
            from jax.experimental import multihost_utils

            everywhere = np.asarray(multihost_utils.process_allgather(counts))
            if (everywhere != counts).any():
                raise UserError(
                    "The processes do not agree on epochs done and steps of training and"
                    f" validation ({everywhere.tolist()}): give all the same data, flags and run"
                    " folder."
                )
        return tuple(_shared(dataset, self, unknown) for dataset in datasets)

    def end(self) -> bool:
        """Ends the work in common after `fit`; returns whether this process goes on alone."""
        if self.parts:
            import keras

            keras.distribution.set_distribution(None)
        if self.processes > 1:
            import jax

            jax.distributed.shutdown()
        return not self.process


def start_devices(devices: str, *, unfit: dict[str, Any]) -> Devices:
    """Starts JAX on several devices, before anything is computed.

    Args:
        devices: As the flag: empty, `all`, or how many of this host.
        unfit: Flag to value of settings that cannot be combined with it unless the value is empty.

    Raises:
        UserError: If the flag or the backend does not fit, or there are fewer devices.
    """
    processes = int(os.environ.get(_PROCESSES, 1))
    if not devices:
        if processes > 1:
            raise UserError(f"{_PROCESSES} is {processes}: add --devices all, or unset it.")
        return Devices()
    if devices != "all" and not (devices.isdecimal() and int(devices)):
        raise UserError(f"--devices {devices} must be all or a number from 1 on.")
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    if backend != "jax":
        raise UserError(f"--devices needs KERAS_BACKEND=jax, not {backend}.")
    if processes > 1 and devices != "all":
        raise UserError("--devices must be all where there are several processes.")
    for name, value in unfit.items():
        if value:
            raise UserError(f"{name} cannot be combined with --devices: leave one of them out.")
    import jax

    if devices != "all":
        # A CPU is as many devices as it is told; GPUs are counted as they are.
        jax.config.update("jax_num_cpu_devices", int(devices))
    import keras

    if processes > 1:
        keras.distribution.initialize()
    present = keras.distribution.list_devices()
    count = len(present) if devices == "all" else int(devices)
    if count > len(present):
        raise UserError(f"--devices {count}: there are {len(present)}, {', '.join(present)}.")
    keras.distribution.set_distribution(
        keras.distribution.DataParallel(devices=present[:count], auto_shard_dataset=False)
    )
    return Devices(count, processes, int(os.environ.get(_ID, 0)))


def rows_of(
    rows: int, *, parts: int, processes: int, process: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns which rows of a batch a process computes on, and what each weighs in a mean.

    A batch that does not divide by the number of devices is filled up with its first rows, which
    weigh nothing there.
    """
    filled = -(-rows // parts) * parts
    numbers = np.resize(np.arange(rows), filled)
    weights = (np.arange(filled) < rows) * np.float32(filled / rows)
    return np.split(numbers, processes)[process], np.split(weights, processes)[process]


def _shared(
    dataset: "keras.utils.PyDataset", devices: Devices, unknown: float | None
) -> "keras.utils.PyDataset":
    """Returns a data set whose batches hold the rows of one process."""
    import jax
    import keras

    class Share(keras.utils.PyDataset):
        def __len__(self) -> int:
            return len(dataset)

        def __getitem__(self, index: int) -> Any:
            inputs, targets = dataset[index]
            rows, weights = rows_of(
                len(targets),
                parts=devices.parts,
                processes=devices.processes,
                process=devices.process,
            )
            inputs = jax.tree.map(lambda array: np.asarray(array)[rows], inputs)
            targets = np.asarray(targets)[rows]
            if unknown is None:
                return inputs, targets, weights
            targets[weights == 0] = unknown
            return inputs, targets

        def on_epoch_end(self) -> None:
            dataset.on_epoch_end()

    return Share()
