"""Folders of downloads and derived files, downloads with a checksum, and TensorFlow Datasets."""

import contextlib
import hashlib
import http.client
import logging
import os
import sys
import tempfile
import textwrap
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import platformdirs

from common.errors import UserError
from common.files import atomic_path

# Some hosts refuse the name Python-urllib.
_USER_AGENT = "Mozilla/5.0 (compatible; recurrent-apps)"
_CHUNK = 1 << 24
_ATTEMPTS = 3


def data_directory(flag: str = "") -> Path:
    """Returns the folder of downloads: the flag, else `DATA_DIR`, else a user's cache folder."""
    return _directory(flag or os.environ.get("DATA_DIR", ""), "downloads")


def cache_directory() -> Path:
    """Returns the folder of derived files: `CACHE_DIR`, else a user's cache folder."""
    return _directory(os.environ.get("CACHE_DIR", ""), "derived")


def _directory(path: str, name: str) -> Path:
    return Path(path or f"{platformdirs.user_cache_dir('recurrent-apps')}/{name}").expanduser()


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    return checksum_of(path, "sha256").removeprefix("sha256:")


def checksum_of(path: Path, algorithm: str) -> str:
    """The checksum of a file's bytes, such as `sha256:<hexadecimal>` or `md5:...`."""
    with path.open("rb") as file:
        return f"{algorithm}:{hashlib.file_digest(file, algorithm).hexdigest()}"


class _NetworkError(Exception):
    """The host cannot be read."""


def fetch(
    url: str,
    path: Path,
    *,
    checksum: str | None,
    timeout_s: float = 30.0,
    sleep: Callable[[float], None] = time.sleep,
    log: Callable[[str], None] | None = None,
) -> Path:
    """Downloads `url` to `path`; an old file stays until the download is complete.

    Args:
        url: The address.
        path: Where to put the file.
        checksum: `sha256:<hexadecimal>` or `md5:...`; None if the host replaces the file by newer
            ones.
        timeout_s: Seconds without a byte after which an attempt has failed.
        sleep: Waits so many seconds before the next attempt.
        log: Takes a line for each attempt and every 16 MiB.

    Raises:
        UserError: If the file cannot be downloaded or has another checksum.
        OSError: If it cannot be written.
    """
    log = log or (lambda line: None)
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return _download(url, path, checksum, timeout_s, log)
        except _NetworkError as error:
            if attempt == _ATTEMPTS:
                raise _refusal(url, path, f"{error}", "check the connection, run again") from error
            log(f"{url} cannot be read ({error}); next attempt in {attempt} s")
            sleep(attempt)


def _download(
    url: str, path: Path, checksum: str | None, timeout_s: float, log: Callable[[str], None]
) -> Path:
    chunks = _chunks(url, path.name, timeout_s, log)
    # Read before the draft is opened, so that a dead host leaves no new folder behind.
    chunk = next(chunks, b"")
    with atomic_path(path) as draft:
        with draft.open("wb") as file:
            while chunk:
                file.write(chunk)
                chunk = next(chunks, b"")
        if checksum and (other := checksum_of(draft, checksum.partition(":")[0])) != checksum:
            reason = f"its checksum is {other}, not {checksum}"
            raise _refusal(url, path, reason, "the file has changed; try again later")
    return path


def _chunks(url: str, name: str, timeout_s: float, log: Callable[[str], None]) -> Iterator[bytes]:
    """Yields the body in pieces.

    Raises:
        _NetworkError: Whatever goes wrong. `atomic_path` would take an `OSError` for the disk's.
    """
    request = urllib.request.Request(url, headers={"User-Agent": _USER_AGENT})
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as response:
            total = int(response.headers.get("Content-Length", 0))
            log(f"Downloading {url} ({total / 1e6:.1f} MB)" if total else f"Downloading {url}")
            received = 0
            while chunk := response.read(_CHUNK):
                received += len(chunk)
                yield chunk
                if len(chunk) == _CHUNK:
                    log(f"{name}: {received / 1e6:.1f} MB")
            # A connection that breaks off looks like an end.
            if received < total:
                raise _NetworkError(f"it broke off after {received} of {total} bytes")
    except (OSError, http.client.HTTPException) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise _NetworkError(reason) from error


def _refusal(url: str, path: Path, reason: str, remedy: str) -> UserError:
    return UserError(
        f"{url} cannot be downloaded ({reason}): {remedy}, put the file at {path} yourself, or "
        "point DATA_DIR / --data-dir to a filled folder."
    )


def unknown_files(sha256s: dict[Path, str], known: dict[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Returns a warning for each file that has none of the `known` checksums of its name."""
    return tuple(
        f"{path} has another checksum than the public file: scores do not compare with published "
        "ones; delete it to download the public file."
        for path, sha256 in sha256s.items()
        if path.name in known
        and f"sha256:{sha256}" not in known[path.name]
        and checksum_of(path, "md5") not in known[path.name]
    )


def import_tfds() -> tuple[ModuleType, ModuleType]:
    """Imports TensorFlow Datasets and TensorFlow without their start-up log.

    Raises:
        UserError: If they are not installed.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.getLogger("absl").setLevel(logging.ERROR)
    with _quiet_native_code():
        try:
            import keras
            import tensorflow
            import tensorflow_datasets
        except ImportError as error:
            raise UserError(
                f"TensorFlow Datasets reads a data set when it is first used ({error}): install "
                "tensorflow and tensorflow-datasets for that."
            ) from error
        if keras.backend.backend() != "tensorflow":
            # TensorFlow would take the GPU's memory from the backend that trains.
            tensorflow.config.set_visible_devices([], "GPU")
        # The first list of logical devices starts the runtime, which logs too.
        tensorflow.config.list_logical_devices()
    return tensorflow_datasets, tensorflow


@contextlib.contextmanager
def _quiet_native_code() -> Iterator[None]:
    """Discards what native code writes to standard error; errors come as exceptions."""
    sys.stderr.flush()
    original = os.dup(2)
    try:
        with open(os.devnull, "wb") as null:
            os.dup2(null.fileno(), 2)
        yield
    finally:
        os.dup2(original, 2)
        os.close(original)


def prepare_tfds(name: str, root: Path, *, host: str) -> None:
    """Lets TensorFlow Datasets download and prepare a data set, wholly or not at all.

    Args:
        name: The data set as `tfds.builder` names it.
        root: The `data_dir` of TensorFlow Datasets.
        host: The address that the data set comes from.

    Raises:
        UserError: If the network or the disk fails, or a download has an unknown checksum.
    """
    remedy = (
        "check the connection and the disk and run again, or point DATA_DIR / --data-dir to a "
        "filled folder."
    )
    try:
        # Without a network the downloader below would try for minutes.
        urllib.request.urlopen(urllib.request.Request(host, method="HEAD"), timeout=20).close()
    except urllib.error.HTTPError:
        pass  # The host answers.
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise UserError(f"{name} cannot be downloaded from {host} ({reason}): {remedy}") from error
    tfds, tensorflow = import_tfds()
    failures = (
        OSError,
        tensorflow.errors.OpError,
        tfds.download.DownloadError,
        tfds.core.download.download_manager.NonMatchingChecksumError,
        ValueError,  # No checksum is known.
    )
    try:
        with tfds_draft(name, root) as draft, contextlib.redirect_stdout(sys.stderr):
            tfds.builder(name, data_dir=draft).download_and_prepare(
                # The host may be one of plain http; TensorFlow Datasets holds the SHA-256.
                download_config=tfds.download.DownloadConfig(force_checksums_validation=True)
            )
    except failures as error:
        reason = textwrap.shorten(f"{type(error).__name__}: {error}", 160, placeholder=" ...")
        raise UserError(f"{name} cannot be prepared in {root} ({reason}): {remedy}") from error


@contextlib.contextmanager
def tfds_draft(name: str, root: Path) -> Iterator[Path]:
    """Yields a temporary `data_dir`; the data set `name` moves to `root` if the block succeeds.

    Anything else there, such as a downloaded archive, is deleted.
    """
    folder = name.replace(":", "/")
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".draft-", dir=root) as draft:
        yield Path(draft)
        (root / folder).parent.mkdir(parents=True, exist_ok=True)
        (Path(draft) / folder).rename(root / folder)
