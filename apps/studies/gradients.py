"""Shows vanishing and exploding gradients, and what helps, on networks that anyone can train.

    make study-gradients                            # half an hour on two cores
    make study-gradients ARGS="--parts clipping"    # one of reach, clipping, truncation, optimizers

- `reach`: how long the gradient of the loss is with respect to the state some steps back, at the
  start and after training, on the adding problem and on IMDB.
- `clipping`: the same training without clipping and with each way of it.
- `truncation`: backpropagation that stops after some steps, and what is not learned then.
- `optimizers`: SGD, RMSprop and Adam, each at several rates.

No batch of the adding problem comes twice, so every loss is one on data never seen.
"""

from pathlib import Path
from typing import Any

import keras
import numpy as np

from apps.studies.adder_training import BATCH, RECORDED, SEED, UNITS, rounded, said, train_adder
from apps.studies.gradient_plots import PARTS, write_plots
from apps.studies.gradient_reach import reach_on_adding, reach_on_imdb
from apps.studies.long_memory import ERROR_WITHOUT_MEMORY, adding_problem, build_adder
from common.artifact import read_json, write_json
from common.config import run_command, split_list
from common.device import device_line
from common.errors import UserError
from common.provenance import provenance
from data.errors import DataError

# Steps of a sequence and learning rate that nothing but clipping survives.
EXPLODING = 40, 0.03
RATES = {
    "sgd": (0.003, 0.01, 0.03),
    "rmsprop": (3e-4, 1e-3, 3e-3),
    "adam": (3e-4, 1e-3, 3e-3),
}


def clipping(*, steps: int) -> dict[str, Any]:
    """Trains the network that explodes most easily, ReLU from the identity, with each clipping."""
    length, rate = EXPLODING
    found = {}
    for mode, threshold in (
        ("none", 1.0),
        ("global_norm", 1.0),
        ("norm", 1.0),
        ("value", 0.1),
        ("adaptive", 1.0),
    ):
        keras.utils.set_random_seed(SEED)
        model = build_adder("simple_rnn, ReLU", UNITS, length=length)
        found[mode] = train_adder(
            model,
            optimizer="sgd",
            learning_rate=rate,
            clipping=mode,
            clip_threshold=threshold,
            steps=steps,
            length=length,
        )
        print(f"clipping {mode}: {said(found[mode])}", flush=True)
    return {"length": length, "steps": steps, "learning_rate": rate, "modes": found}


def truncation(*, steps: int, length: int) -> dict[str, Any]:
    """Trains an LSTM whose gradient flows back through all steps, half of them, and so on."""
    sequences, targets = adding_problem(2000, length, seed=SEED + 1)
    places = np.argsort(-sequences[:, :, 1], axis=1)[:, :2]
    distances = np.abs(places[:, 0] - places[:, 1])
    edges = np.linspace(0, length, 6).astype(int)
    found = {}
    for piece in (length, length // 2, length // 4, length // 10):
        keras.utils.set_random_seed(SEED)
        model = build_adder("lstm", UNITS, length=length, truncation=piece)
        trained = train_adder(
            model, optimizer="rmsprop", learning_rate=1e-3, steps=steps, length=length
        )
        errors = (model.predict(sequences, verbose=0, batch_size=BATCH) - targets)[:, 0] ** 2
        inside = [
            (distances >= low) & (distances < high)
            for low, high in zip(edges, edges[1:], strict=False)
        ]
        found[str(piece)] = {
            **trained,
            "error": rounded(float(errors.mean())),
            "error_by_distance": [rounded(float(errors[rows].mean())) for rows in inside],
        }
        print(f"truncated after {piece}: {said(trained)}", flush=True)
    return {"length": length, "steps": steps, "distances": edges.tolist(), "pieces": found}


def optimizers(*, steps: int, length: int) -> dict[str, Any]:
    """Trains an LSTM with each optimizer at three rates."""
    found = {}
    for name, rates in RATES.items():
        for rate in rates:
            keras.utils.set_random_seed(SEED)
            model = build_adder("lstm", UNITS, length=length)
            trained = train_adder(
                model, optimizer=name, learning_rate=rate, steps=steps, length=length
            )
            found.setdefault(name, {})[f"{rate:g}"] = trained
            print(f"{name} at {rate:g}: {said(trained)}", flush=True)
    return {"length": length, "steps": steps, "optimizers": found}


def main(
    parts: str = ",".join(PARTS),
    data_dir: str = "",
    steps: int = 4000,
    length: int = 40,
    reach: int = 400,
    epochs: int = 3,
    output: Path = Path("apps/studies/results/gradients.json"),
    plots: Path = Path("docs"),
) -> None:
    """Measures, writes what was found, and draws it.

    Args:
        parts: Which of reach, clipping, truncation and optimizers, separated by commas; what the
            file holds of the others stays.
        data_dir: Folder of downloads (default: $DATA_DIR or a cache folder of yours).
        steps: Updates of each training on the adding problem.
        length: Steps of a sequence of the adding problem.
        reach: Words of a review, and steps that gradients are followed back through.
        epochs: Passes over the reviews.
        output: JSON file to write.
        plots: Folder of the pictures.
    """
    chosen = split_list(parts)
    if unknown := sorted(set(chosen) - set(PARTS)):
        raise UserError(f"--parts {unknown[0]} is none of {', '.join(PARTS)}.")
    if steps < RECORDED or steps % RECORDED or epochs < 1:
        raise UserError(f"--steps is a multiple of {RECORDED}, and --epochs is at least 1.")
    if length < 20 or length % 20 or reach < 20:
        raise UserError("--length is 20, 40, 60 ..., and --reach is at least 20.")
    print(device_line(), flush=True)
    record = read_json(output) if output.is_file() else {}
    command = "python -m apps.studies.gradients"
    for name, value in (("steps", steps), ("length", length), ("reach", reach), ("epochs", epochs)):
        command += f" --{name} {value}"
    size = {"steps": steps, "length": length}
    for part in chosen:
        if part == "reach":
            found = {
                "adding": reach_on_adding(**size),
                "imdb": reach_on_imdb(data_dir=data_dir, epochs=epochs, length=reach),
            }
        elif part == "clipping":
            found = clipping(steps=steps)
        else:
            found = {"truncation": truncation, "optimizers": optimizers}[part](**size)
        # Part by part, so that a stop loses one at most.
        record |= {
            "study": "gradients",
            **provenance(command),
            part: found,
            "units": UNITS,
            "batch": BATCH,
            "recorded": RECORDED,
            "error_without_memory": ERROR_WITHOUT_MEMORY,
        }
        write_json(output, record)
    for path in write_plots(record, plots):
        print(f"drawn: {path}")


if __name__ == "__main__":
    run_command(
        main,
        prog="python -m apps.studies.gradients",
        description="Shows vanishing and exploding gradients, and what helps.",
        errors=(DataError,),
    )
