"""Exports a run as the last step of its training, so that `predict` starts no Keras."""

from pathlib import Path

from rich.console import Console

from common.cli import warn
from common.run_folder import EXPORT


def export_trained(run: Path, *, task: str, console: Console) -> None:
    """Writes `export/` of a run folder and prints one line; a failure ends no training.

    Args:
        run: Run folder, locked by the caller and whole without an export.
        task: Its task.
        console: Where to print.
    """
    # A short command, such as --help, needs none of it.
    from apps.export.export import write_export

    try:
        facts = write_export(run, task=task)
    except Exception as error:  # noqa: BLE001 - hours of training must not end in a traceback.
        reason = " ".join(str(error).split()) or type(error).__name__
        warn(console, f"not exported, Keras will answer: {reason}")
        return
    console.print(
        f"exported: {run / EXPORT}, {facts['bytes'] / 1e6:.1f} MB, greatest difference from Keras"
        f" {max(facts['difference'].values()):.0e}"
    )
