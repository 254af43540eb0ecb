"""Downloads a file wholly or not at all, with time-outs, repeated attempts and a checksum."""

import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

from common.errors import UserError
from common.files import atomic_path
from data.download import checksum_of

# Some hosts turn away whoever names itself Python-urllib.
_USER_AGENT = "Mozilla/5.0 (compatible; recurrent-apps)"
_CHUNK = 1 << 20
_CHUNKS_A_LINE = 16
# Answers that may be another one a moment later: time-out, too many requests.
_PASSING = (408, 429)


def fetch(
    url: str,
    path: Path,
    *,
    checksum: str | None,
    attempts: int = 3,
    timeout_s: float = 30.0,
    pause_s: float = 1.0,
    sleep: Callable[[float], None] = time.sleep,
    log: Callable[[str], None] | None = None,
) -> Path:
    """Downloads `url` to `path`; what stands there stays until the download is complete.

    Args:
        url: The address.
        path: Where the file shall stand.
        checksum: What the file must have, `sha256:<hexadecimal>` or `md5:...`; None if its host
            replaces it by newer ones.
        attempts: How often to try when the network or the host fails.
        timeout_s: Seconds without a byte after which an attempt has failed.
        pause_s: Seconds before the second attempt; each further pause is twice as long.
        sleep: What waits so many seconds.
        log: What takes a line for each start, every 16 MiB and each pause.

    Returns:
        `path`.

    Raises:
        UserError: If the file cannot be had or has another checksum.
        OSError: If it cannot be written.
    """
    for attempt in range(1, attempts + 1):
        try:
            _write(_chunks(url, path.name, timeout_s, log), path, url, checksum)
            break
        except _NetworkError as error:
            if attempt == attempts or not error.passing:
                raise _refusal(url, path, str(error), "check the connection, run again") from error
            wait = pause_s * 2 ** (attempt - 1)
            if log:
                log(f"{url} cannot be read ({error}); next attempt in {wait:g} s")
            sleep(wait)
    return path


class _NetworkError(Exception):
    """The host cannot be read; `passing` tells whether another attempt may help."""

    def __init__(self, reason: object, *, passing: bool = True):
        super().__init__(" ".join(str(reason).split()).rstrip("."))
        self.passing = passing


def _refusal(url: str, path: Path, reason: str, remedy: str) -> UserError:
    return UserError(
        f"{url} cannot be downloaded ({reason}): {remedy}, put the file at {path} yourself, or "
        "point DATA_DIR / --data-dir to a filled folder."
    )


def _write(chunks: Iterator[bytes], path: Path, url: str, checksum: str | None) -> None:
    """Writes the body, unless it has another checksum than the expected one."""
    # The first chunk comes before the draft, so that a dead host leaves no new folder behind.
    chunk = next(chunks, b"")
    with atomic_path(path) as draft:
        with draft.open("wb") as file:
            while chunk:
                file.write(chunk)
                chunk = next(chunks, b"")
        if checksum and (other := checksum_of(draft, checksum.partition(":")[0])) != checksum:
            reason = f"its checksum is {other}, not {checksum}"
            raise _refusal(url, path, reason, "it has changed there or on its way; try again later")


def _chunks(
    url: str, name: str, timeout_s: float, log: Callable[[str], None] | None
) -> Iterator[bytes]:
    """The body in pieces; whatever goes wrong with the network is a `_NetworkError`."""
    request = urllib.request.Request(url, headers={"User-Agent": _USER_AGENT})
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as response:
            length = response.headers.get("Content-Length", "")
            total = int(length) if length.isdigit() else None
            size = "" if total is None else f" ({total / 1e6:.1f} MB)"
            if log:
                log(f"Downloading {url}{size}")
            received = 0
            while chunk := response.read(_CHUNK):
                received += len(chunk)
                yield chunk
                if log and received % (_CHUNKS_A_LINE * _CHUNK) == 0 and received != total:
                    log(f"{name}: {received / 1e6:.1f} MB")
            # A connection that breaks off looks like an end.
            if total is not None and received < total:
                raise _NetworkError(f"it broke off after {received} of {total} bytes")
    except urllib.error.HTTPError as error:
        passing = error.code >= 500 or error.code in _PASSING
        raise _NetworkError(f"HTTP {error.code} {error.reason}", passing=passing) from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise _NetworkError(str(reason) or type(error).__name__) from error
