"""Downloads a file wholly or not at all, with time-outs, repeated attempts and a checksum."""

import http.client
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

from common.errors import UserError
from common.files import atomic_path
from data.download import checksum_of

# Some hosts refuse the name Python-urllib.
_USER_AGENT = "Mozilla/5.0 (compatible; recurrent-apps)"
_CHUNK = 1 << 24
_ATTEMPTS = 3


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
