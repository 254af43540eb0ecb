"""`python -m apps.studies.export`: see `study.py`."""

from apps.studies.export.study import main
from common.cli import run_command

if __name__ == "__main__":
    run_command(
        main,
        prog="python -m apps.studies.export",
        description="Compares the pretrained models in Keras with their exports.",
    )
