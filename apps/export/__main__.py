"""Exports the model of a run folder for the light predictor and for servers.

python -m apps.export --run runs/sentiment/lstm-s1       # a few seconds; writes <run>/export/
"""

from pathlib import Path
from typing import Literal

from common.cli import aside, open_console, run_command
from common.errors import UserError
from common.files import read_json
from common.run_folder import CONFIG

Task = Literal["forecasting", "sentiment", "translation", "captioning"]
_APPS = Path(__file__).parents[1]


def main(
    run: Path | None = None,
    task: Task | None = None,
    format: Literal["onnx", "saved_model"] = "onnx",
    precision: Literal["auto", "float16", "float32", "int8"] = "auto",
    split: str = "",
    data_dir: str = "",
) -> None:
    """Writes the graph of a model, and compares what it computes with Keras.

    Args:
        run: Run folder of the model (default: the pretrained one of --task).
        task: Its task, if `run` does not tell.
        format: onnx, for `predict` and any server of ONNX; saved_model for those of TensorFlow.
        precision: How weights are stored: float16, float32, or float16 where that changes nothing
            (auto), all computed with in float32; or int8, whose loss `make study-export` measures.
        split: Split to score the graph on, of the data that the run was trained on (default: none).
        data_dir: Folder of downloads (default: $DATA_DIR or a cache folder of yours).
    """
    if run is None and task is None:
        raise UserError("Nothing to export: name a run folder with --run, or a --task.")
    folder = run or _APPS / task / "pretrained"
    if task is None:
        task = read_json(folder / CONFIG).get("task")
    console = open_console()
    if format == "saved_model":
        if precision != "auto" or split:
            raise UserError("--precision and --split are for --format onnx: leave them out.")
        from apps.export.saved_model import save_servable

        console.print(f"{save_servable(folder, task=task)}: see docs/serving.md")
        return
    from apps.export.export import export_run

    facts = export_run(folder, task=task, precision=precision, split=split, data_dir=data_dir)
    differences = ", ".join(f"{name} {value:.1e}" for name, value in facts["difference"].items())
    console.print(f"{folder / 'export'}: {facts['bytes'] / 1e6:.1f} MB, opset {facts['opset']}")
    console.print(f"greatest difference from Keras: {differences}")
    for name, value in facts.get("metrics", {}).get(split, {}).items():
        console.print(f"{split} {name}: {value:.4f}")
    aside(console, f"predict uses it from now on: make predict-{task} RUN={folder}")


if __name__ == "__main__":
    run_command(
        main,
        prog="python -m apps.export",
        description="Exports a trained model to ONNX, for answers without Keras.",
    )
