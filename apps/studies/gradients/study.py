"""Shows vanishing and exploding gradients, and what helps, on networks that anyone can train.

    make study-gradients                            # some forty minutes on two idle cores
    make study-gradients ARGS="--parts clipping"    # one of reach, clipping, truncation, optimizers

- `reach`: how long the gradient of the loss is with respect to the state some steps back, at the
  start and after training, on the adding problem and on IMDB.
- `clipping`: the same training without clipping and with each way of it, on three seeds.
- `truncation`: backpropagation that stops after some steps, and what is not learned then.
- `optimizers`: SGD, RMSprop and Adam, each at several rates.

No batch of the adding problem comes twice, so every loss is one on data never seen.
"""

import itertools
from pathlib import Path
from typing import Any

import numpy as np

from apps.studies.parts import check_output, chosen_parts, write_part
from common.device import device_line
from common.errors import UserError

PARTS = ("reach", "clipping", "truncation", "optimizers")
# Steps of a sequence and learning rate that nothing but clipping survives.
EXPLODING = 40, 0.03
# Ways of clipping with their thresholds; `none` and `adaptive` do not read theirs.
CLIPPINGS = (
    ("none", 1.0),
    ("global_norm", 1.0),
    ("norm", 1.0),
    ("norm", 0.1),
    ("value", 0.1),
    ("value", 0.01),
    ("adaptive", 1.0),
)
CLIPPING_SEEDS = (1, 2, 3)
RATES = {
    "sgd": (0.003, 0.01, 0.03),
    "rmsprop": (3e-4, 1e-3, 3e-3),
    "adam": (3e-4, 1e-3, 3e-3),
}


def clipping(*, steps: int) -> dict[str, Any]:
    """Trains the network that explodes most easily, ReLU from the identity, with each clipping."""
    import keras

    from apps.studies.gradients.adding import UNITS, said, train_adder
    from apps.studies.gradients.long_memory import build_adder

    length, rate = EXPLODING
    runs = []
    for (mode, threshold), seed in itertools.product(CLIPPINGS, CLIPPING_SEEDS):
        keras.utils.set_random_seed(seed)
        model = build_adder("simple_rnn, ReLU", UNITS, length=length)
        trained = train_adder(
            model,
            optimizer="sgd",
            learning_rate=rate,
            clipping=mode,
            clip_threshold=threshold,
            steps=steps,
            length=length,
            seed=seed,
        )
        runs.append({"mode": mode, "threshold": threshold, "seed": seed, **trained})
        print(f"clipping {mode} {threshold:g}, seed {seed}: {said(trained)}", flush=True)
    return {"length": length, "steps": steps, "learning_rate": rate, "runs": runs}


def truncation(*, steps: int, length: int) -> dict[str, Any]:
    """Trains an LSTM whose gradient flows back through all steps, half of them, and so on."""
    import keras

    from apps.studies.gradients.adding import BATCH, SEED, UNITS, rounded, said, train_adder
    from apps.studies.gradients.long_memory import adding_problem, build_adder

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
    import keras

    from apps.studies.gradients.adding import SEED, UNITS, said, train_adder
    from apps.studies.gradients.long_memory import build_adder

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
    """Measures, writes the results, and draws them.

    Args:
        parts: Which of reach, clipping, truncation and optimizers, separated by commas; the other
            parts of the file stay.
        data_dir: Folder of downloads (default: $DATA_DIR or a cache folder of yours).
        steps: Updates of each training on the adding problem; clipping takes half of them.
        length: Steps of a sequence of the adding problem.
        reach: Words of a review, and steps that gradients are followed back through.
        epochs: Passes over the reviews.
        output: JSON file to write.
        plots: Folder of the pictures.
    """
    from apps.studies.gradients.adding import BATCH, RECORDED, UNITS
    from apps.studies.gradients.plots import write_plots
    from apps.studies.gradients.reach import reach_on_adding, reach_on_imdb

    chosen = chosen_parts(parts, PARTS)
    if steps < 2 * RECORDED or steps % (2 * RECORDED) or epochs < 1:
        raise UserError(
            f"--steps must be a multiple of {2 * RECORDED}, and --epochs must be at least 1."
        )
    if length < 20 or length % 20 or reach < 20:
        raise UserError("--length must be 20, 40, 60 ..., and --reach at least 20.")
    check_output(output)
    print(device_line(), flush=True)
    size = {"steps": steps, "length": length}
    measure = {
        "reach": lambda: {
            "adding": reach_on_adding(**size),
            "imdb": reach_on_imdb(data_dir=data_dir, epochs=epochs, length=reach),
        },
        # Where it learns at all, it does so within the first half of the updates.
        "clipping": lambda: clipping(steps=steps // 2),
        "truncation": lambda: truncation(**size),
        "optimizers": lambda: optimizers(**size),
    }
    read = {
        "reach": {**size, "reach": reach, "epochs": epochs},
        "clipping": {"steps": steps},
        "truncation": size,
        "optimizers": size,
    }
    sizes = {"units": UNITS, "batch": BATCH, "recorded": RECORDED}
    for part in chosen:
        flags = "".join(f" --{name} {value}" for name, value in read[part].items())
        # Part by part, so that an interruption loses one at most.
        record = write_part(
            output,
            {**sizes, **measure[part]()},
            study="gradients",
            part=part,
            command=f"python -m apps.studies.gradients --parts {part}{flags}",
        )
    for path in write_plots(record, plots):
        print(f"drawn: {path}")
