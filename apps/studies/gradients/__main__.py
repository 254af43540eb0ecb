"""`python -m apps.studies.gradients`: see `study.py`."""

from apps.studies.gradients.study import main
from common.cli import run_command

if __name__ == "__main__":
    run_command(
        main,
        prog="python -m apps.studies.gradients",
        description="Shows vanishing and exploding gradients, and what helps.",
    )
