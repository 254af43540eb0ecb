"""`python -m apps.studies.benchmark`: see `run.py`."""

from apps.studies.benchmark.run import main
from common.cli import run_command

if __name__ == "__main__":
    run_command(
        main,
        prog="python -m apps.studies.benchmark",
        description="Makes the published rows again, or compares new ones with them.",
    )
