"""Makes a run folder small enough to be committed: weights rounded and packed.

`python -m common.publish RUN DESTINATION`
"""

import shutil
import sys
import tempfile
import zipfile
from pathlib import Path

from common.artifact import CONFIG, HISTORY, MODEL, TOKENIZER, atomic_path
from common.errors import UserError


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


def publish_run(run: Path, destination: Path) -> None:
    """Copies what a user of the model needs from a run folder, with its model shrunk.

    Raises:
        UserError: If `run` has no model.
    """
    if not (run / MODEL).is_file():
        raise UserError(f"{run} has no {MODEL}: train it first.")
    destination.mkdir(parents=True, exist_ok=True)
    shrink_model(run / MODEL, destination / MODEL)
    for name in (CONFIG, TOKENIZER, HISTORY):
        if (run / name).is_file():
            with atomic_path(destination / name) as temporary:
                shutil.copyfile(run / name, temporary)
    # Metrics are left out: `evaluate` scores the shrunk model itself.


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python -m common.publish RUN DESTINATION")
    try:
        publish_run(Path(sys.argv[1]), Path(sys.argv[2]))
    except UserError as user_error:
        print(user_error, file=sys.stderr)
        sys.exit(2)
