"""The one exception that the command line turns into a clear line and exit status 2."""

import contextlib
import sys
from collections.abc import Iterator


class UserError(ValueError):
    """A mistake that the user can mend; the message names the file, line or flag and the remedy."""


@contextlib.contextmanager
def in_one_line() -> Iterator[None]:
    """Ends the process in one line and with exit status 2 after a `UserError` or an `OSError`."""
    try:
        yield
        return
    except UserError as error:
        message = str(error)
    except OSError as error:
        message = f"{error.filename or 'input/output'}: {error.strerror or error}"
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)
