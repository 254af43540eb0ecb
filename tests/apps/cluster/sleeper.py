"""Writes its process id into a folder and sleeps, until it is killed."""

import os
import sys
import time
from pathlib import Path

from common.files import write_text

if __name__ == "__main__":
    write_text(Path(sys.argv[1], "pid"), str(os.getpid()))
    time.sleep(600)
