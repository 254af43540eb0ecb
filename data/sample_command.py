"""The command line of the modules that write samples."""

import argparse
import contextlib
from collections.abc import Iterator

from common.errors import in_one_line


@contextlib.contextmanager
def sample_command(description: str) -> Iterator[argparse.ArgumentParser]:
    """Yields a parser with `--data-dir`; an error in the block ends the command in one line."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--data-dir", default="", help="folder of downloads (default: DATA_DIR)")
    with in_one_line():
        yield parser
