"""The command line that the modules that write samples share."""

import argparse
import contextlib
from collections.abc import Iterator

from common.errors import UserError


@contextlib.contextmanager
def sample_command(description: str) -> Iterator[argparse.ArgumentParser]:
    """Lends a parser that knows `--data-dir`; a user's mistake in the block ends the process.

    It becomes one line on standard error and exit status 2, and so does an error of the operating
    system, such as a folder that cannot be written.

    Args:
        description: What the command does, for `--help`.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--data-dir", default="", help="folder of downloads (default: DATA_DIR)")
    try:
        yield parser
    except UserError as error:
        parser.exit(2, f"{error}\n")
    except OSError as error:
        reason = f"{error.filename or 'input/output'}: {error.strerror or error}"
        parser.exit(2, f"{reason}; make room there, or name another folder.\n")
