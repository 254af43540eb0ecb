"""`python -m apps.cluster PARENT MODULE ...`: a command that ends when the process PARENT ends."""

import os
import runpy
import sys

from apps.cluster.pool import die_with_parent

if __name__ == "__main__":
    parent, module, *arguments = sys.argv[1:]
    die_with_parent()
    # It may have ended before it was watched.
    if os.getppid() != int(parent):
        sys.exit(1)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
