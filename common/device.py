"""Starts the backend quietly and says, in one line, what it runs on."""

import contextlib
import ctypes
import importlib.machinery
import importlib.metadata
import importlib.util
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator

import numpy as np

# What `--jit-compile` says, in the terms of `keras.Model.compile`.
XLA = {"auto": "auto", "on": True, "off": False}
# M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, M_TOP_PAD and M_ARENA_MAX of malloc.h.
_MALLOC_OPTIONS = {-3: 32 << 20, -1: 2**31 - 1, -2: 256 << 20, -8: 1}
_BACKENDS = {
    "tensorflow": "make setup",
    "jax": ".venv/bin/pip install jax==0.10.2",
    "torch": ".venv/bin/pip install torch==2.13.0",
}


@contextlib.contextmanager
def _quiet_native_code() -> Iterator[None]:
    """Holds back what native code writes to standard error, unless something fails."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(kept, held.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


class _KerasStarter:
    """Finds `keras` for whoever imports it first, and starts its backend with it."""

    def find_spec(self, name, path=None, target=None):
        """Returns how to import Keras, and lets others find all other modules."""
        if name != "keras":
            return None
        spec = importlib.machinery.PathFinder.find_spec(name)
        if spec is not None:
            load = spec.loader.exec_module
            spec.loader.exec_module = lambda module: _start_backend(lambda: load(module))
        return spec


def start_backend_with_keras() -> None:
    """Sees to it that the first `import keras` starts the backend, without pages of log.

    With TensorFlow on a GPU, memory is taken as it is needed instead of all at once. A process that
    never imports Keras starts nothing.
    """
    if "keras" in sys.modules:
        _start_backend(lambda: None)
    else:
        sys.meta_path.insert(0, _KerasStarter())


def _start_backend(load_keras: Callable[[], None]) -> None:
    _keep_freed_memory()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    if backend not in _BACKENDS:
        sys.exit(_complain(f"KERAS_BACKEND={backend} is unknown: use {', '.join(_BACKENDS)}."))
    if importlib.util.find_spec(backend) is None:
        sys.exit(_complain(f"KERAS_BACKEND={backend} needs a package: {_BACKENDS[backend]}"))
    # TensorFlow's native library hides symbols that curl_cffi needs, through which yfinance
    # downloads: the one that comes first keeps its own.
    with contextlib.suppress(ImportError):
        import curl_cffi  # noqa: F401
    with _quiet_native_code():
        load_keras()
        import keras

        if keras.backend.backend() == "tensorflow":
            import tensorflow as tf

            # It warns of compiling anew, of which a user can do nothing.
            tf.get_logger().setLevel("ERROR")
            for gpu in tf.config.list_physical_devices("GPU"):
                tf.config.experimental.set_memory_growth(gpu, True)
            # The first list of logical devices starts the runtime, which logs too.
            tf.config.list_logical_devices()


def _keep_freed_memory() -> None:
    """Tells glibc to keep the memory of freed tensors, whose pages are costly to fault in again.

    Other C libraries have no such switches, and nothing happens there.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    mallopt = ctypes.CDLL(None).mallopt
    for option, value in _MALLOC_OPTIONS.items():
        mallopt(option, value)


def _complain(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 2


def xla_beside_products(choice: str) -> bool | str:
    """Returns what `compile` takes, for decoders and convolutions: auto means no XLA on CPU.

    There XLA, on TensorFlow, makes the training steps of both slower.
    """
    import keras

    if choice == "auto" and keras.backend.backend() == "tensorflow":
        return "auto" if not device_name().startswith("CPU") else False
    return XLA[choice]


def device_name() -> str:
    """Returns the device that computations run on, for instance `CPU, 2 threads`."""
    import keras

    if keras.backend.backend() == "torch":
        import torch

        accelerators = ["GPU"] * torch.cuda.device_count()
    else:
        devices = [
            str(device).split(":")[0].upper() for device in keras.distribution.list_devices()
        ]
        accelerators = [kind for kind in devices if kind != "CPU"]
    if accelerators:
        return f"{len(accelerators)} x {accelerators[0]}"
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    # A run on a cluster has a share of the cores.
    threads = os.environ.get("TF_NUM_INTRAOP_THREADS", threads)
    return f"CPU, {threads} threads"


def random_states() -> list[np.ndarray]:
    """Returns the states of the backend's own random generators, `<uint8>(bytes,)` each.

    Keras keeps its generators in variables, but on PyTorch its dropout draws from PyTorch's own.
    """
    import keras

    if keras.backend.backend() != "torch":
        return []
    import torch

    states = [torch.get_rng_state(), *torch.cuda.get_rng_state_all()]
    return [state.cpu().numpy() for state in states]


def set_random_states(states: list[np.ndarray]) -> None:
    """Puts back what `random_states` returned; there is nothing to do off PyTorch."""
    if not states:
        return
    import torch

    first, *gpus = [torch.from_numpy(state) for state in states]
    torch.set_rng_state(first)
    if len(gpus) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(gpus)


def device_line() -> str:
    """Returns the line that each command begins with."""
    import keras

    backend = keras.backend.backend()
    return (
        f"{device_name()} · {backend} {_version(backend)} · keras {keras.__version__}"
        f" · {keras.config.dtype_policy().name}"
    )


def fused_kernel_line(cell: str) -> str:
    """Returns, on a GPU, whether the settings allow its fused kernels, and else what would.

    Args:
        cell: As the flag of every app.

    Returns:
        A line, or nothing where there is no GPU or no recurrence.
    """
    import keras

    if device_name().startswith("CPU") or cell == "feedforward":
        return ""
    backend = keras.backend.backend()
    if cell == "simple_rnn":
        reason = "simple_rnn has none: take --cell lstm or gru"
    elif cell == "gru" and backend == "jax":
        reason = "JAX has none for gru: take --cell lstm, or KERAS_BACKEND=tensorflow"
    else:
        return f"fused GPU kernels (cuDNN): allowed by these settings for {cell}"
    return f"fused GPU kernels (cuDNN): not used, since {reason}"


def versions(*packages: str) -> dict[str, str]:
    """Returns the versions that a result depends on, also of `packages`."""
    import keras

    backend = keras.backend.backend()
    names = ("keras", backend, "tokenizers", "numpy", "scikit-learn", *packages)
    return {"python": platform.python_version(), **{name: _version(name) for name in names}}


def peak_memory_mb() -> int:
    """Returns the greatest resident memory of this process so far, in MB (0 where unknown)."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak / (1e6 if sys.platform == "darwin" else 1e3))


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
