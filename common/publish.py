"""Makes a run folder small enough to be committed: weights rounded and packed.

`python -m common.publish RUN DESTINATION`; with `--exact` the weights of a small model stay as they
are.
"""

import shutil
import sys
import tempfile
import zipfile
from pathlib import Path

from common.artifact import CONFIG, HISTORY, MODEL, TOKENIZER, atomic_path
from common.errors import UserError, in_one_line


def shrink_model(source: Path, destination: Path) -> None:
    """Copies a `.keras` file with its weights rounded to bfloat16 and packed: a third of the size.

    The weights stay float32 for whoever loads the file; their last 16 bits are zero, so that they
    pack well. A probability moves in its third digit.
    """
    with (
        atomic_path(destination) as temporary,
        zipfile.ZipFile(source) as old,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as new,
        tempfile.TemporaryDirectory() as folder,
    ):
        for name in old.namelist():
            extracted = Path(old.extract(name, folder))
            if extracted.suffix == ".h5":
                packed = extracted.with_name("packed.h5")
                _pack_weights(extracted, packed)
                extracted = packed
            new.write(extracted, name)


def _pack_weights(source: Path, destination: Path) -> None:
    """Copies an HDF5 file of weights, rounded to bfloat16 and compressed."""
    import h5py
    import numpy as np

    with h5py.File(source) as old, h5py.File(destination, "w") as new:

        def copy(name: str, item) -> None:
            if isinstance(item, h5py.Group):
                target = new.require_group(name)
            elif item.dtype == np.float32 and item.size > 1:
                # Half of the last place that stays is added first, so that the cut rounds.
                bits = item[...].view(np.uint32) + np.uint32(0x8000)
                rounded = (bits & np.uint32(0xFFFF0000)).view(np.float32)
                options = {"compression": "gzip", "compression_opts": 9, "shuffle": True}
                target = new.create_dataset(name, data=rounded, **options)
            else:
                target = new.create_dataset(name, data=item[...])
            target.attrs.update(item.attrs)

        new.attrs.update(old.attrs)
        old.visititems(copy)


def publish_run(run: Path, destination: Path, *, exact: bool = False) -> None:
    """Copies what a user of the model needs from a run folder, with its model shrunk.

    Args:
        run: Run folder.
        destination: Folder to write.
        exact: Whether to copy the model as it is.

    Raises:
        UserError: If `run` has no model, or one that is cut short.
    """
    if not (run / MODEL).is_file():
        raise UserError(f"{run} has no {MODEL}: train it first.")
    if not zipfile.is_zipfile(run / MODEL):
        raise UserError(f"{run / MODEL} is cut short or not a Keras model: train it again.")
    destination.mkdir(parents=True, exist_ok=True)
    if not exact:
        shrink_model(run / MODEL, destination / MODEL)
    for name in (MODEL, CONFIG, TOKENIZER, HISTORY) if exact else (CONFIG, TOKENIZER, HISTORY):
        if (run / name).is_file():
            with atomic_path(destination / name) as temporary:
                shutil.copyfile(run / name, temporary)
    # Metrics are left out: `evaluate` scores the shrunk model itself.


if __name__ == "__main__":
    folders = [argument for argument in sys.argv[1:] if argument != "--exact"]
    if len(folders) != 2:
        sys.exit("usage: python -m common.publish RUN DESTINATION [--exact]")
    with in_one_line():
        publish_run(Path(folders[0]), Path(folders[1]), exact="--exact" in sys.argv)
