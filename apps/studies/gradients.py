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

import math
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers

from apps.sentiment.config import Config as SentimentConfig
from apps.sentiment.evaluate import load_split_reviews
from apps.studies.gradient_plots import PARTS, write_plots
from apps.studies.long_memory import (
    ERROR_WITHOUT_MEMORY,
    KINDS,
    adding_batches,
    adding_problem,
    build_adder,
    state_gradients,
)
from common.artifact import read_json, write_json
from common.clipping import GradientClipping
from common.config import run_command, split_list
from common.device import device_line
from common.errors import UserError
from common.optimizers import build_optimizer
from common.provenance import provenance
from data.errors import DataError
from data.tokenization import encode, train_tokenizer
from models.recurrent import recurrent_layer

UNITS, BATCH, SEED = 64, 64, 1
# Steps between two points of a curve.
RECORDED = 25
# Steps of a sequence and learning rate that nothing but clipping survives.
EXPLODING = 40, 0.03
# Rows that a gradient is averaged over.
PROBED = 256
RATES = {
    "sgd": (0.003, 0.01, 0.03),
    "rmsprop": (3e-4, 1e-3, 3e-3),
    "adam": (3e-4, 1e-3, 3e-3),
}


def train_adder(
    model: keras.Model,
    *,
    optimizer: str,
    learning_rate: float,
    clipping: str = "global_norm",
    clip_threshold: float = 1.0,
    steps: int,
    length: int,
) -> dict[str, Any]:
    """Trains on the adding problem with fresh batches.

    Args:
        model: From `build_adder`.
        optimizer: As the flag of every app.
        learning_rate: The same from first to last.
        clipping: As the flag of every app; adaptive takes the 10th percentile.
        clip_threshold: As the flag of every app.
        steps: Updates.
        length: Steps of a sequence.

    Returns:
        One value for each 25 updates in `loss` and `gradient_norm_max`; what is no number is None,
        and there the training ended. `seconds` of all.
    """
    model.compile(build_optimizer(optimizer, learning_rate=learning_rate), "mse", jit_compile=False)
    begin = time.perf_counter()
    history = model.fit(
        adding_batches(length, rows=BATCH, seed=SEED),
        steps_per_epoch=RECORDED,
        shuffle=False,
        epochs=steps // RECORDED,
        verbose=0,
        callbacks=[
            GradientClipping(clipping, threshold=clip_threshold),
            keras.callbacks.TerminateOnNaN(),
        ],
    ).history
    return {
        "loss": [_rounded(value) for value in history["loss"]],
        "gradient_norm_max": [_rounded(value) for value in history["gradient_norm_max"]],
        "seconds": round(time.perf_counter() - begin, 1),
    }


def _rounded(value: float) -> float | None:
    """Returns a number of five digits; JSON knows neither infinity nor NaN."""
    return float(f"{value:.5g}") if math.isfinite(value) else None


def _mean_by_distance(norms: np.ndarray) -> list[float | None]:
    """Returns the mean over the rows, the last step first."""
    return [_rounded(value) for value in norms.mean(axis=0)[::-1]]


def reach_on_adding(*, steps: int, length: int) -> dict[str, Any]:
    """Measures all kinds on the adding problem, before and after training."""
    sequences, targets = adding_problem(PROBED, length, seed=SEED)
    found = {}
    for kind in KINDS:
        keras.utils.set_random_seed(SEED)
        model = build_adder(kind, UNITS, length=length)

        def measure(model=model, kind=kind):
            return _mean_by_distance(
                state_gradients(
                    sequences,
                    targets,
                    kind=kind,
                    recurrent=model.get_layer("recurrent").get_weights(),
                    answer=model.get_layer("answer").get_weights(),
                    loss="mse",
                )
            )

        start = measure()
        trained = train_adder(
            model, optimizer="rmsprop", learning_rate=1e-3, steps=steps, length=length
        )
        found[kind] = {"start": start, "trained": measure(), **trained}
        print(f"adding problem, {kind}: {_said(trained)}", flush=True)
    return {"length": length, "steps": steps, "kinds": found}


def _said(trained: dict[str, Any]) -> str:
    last = trained["loss"][-1]
    ending = "no number any more" if last is None else f"error {last:.4f}"
    return f"{ending} after {RECORDED * len(trained['loss'])} updates, {trained['seconds']:.0f} s"


def reach_on_imdb(*, data_dir: str, epochs: int, length: int) -> dict[str, Any]:
    """Measures all kinds on film reviews: one direction, the last state decides.

    Reviews of at least `length` tokens are cut to their last ones, so nothing is padded.
    """
    config = SentimentConfig()
    data = load_split_reviews(config, data=config.data, data_dir=data_dir)
    tokenizer = train_tokenizer(data.splits["train"].texts, kind="word", vocab_size=10000)
    tokens, labels = {}, {}
    for split in ("train", "validation"):
        sequences = encode(tokenizer, data.splits[split].texts, max_length=10**6)
        long = [row for row, sequence in enumerate(sequences) if len(sequence) >= length]
        if len(long) < 2:
            raise UserError(f"Fewer than two {split} reviews have {length} words: lower --reach.")
        tokens[split] = np.stack([sequences[row][-length:] for row in long]).astype("int32")
        labels[split] = data.splits[split].labels[long].astype("float32")[:, None]
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    probed = slice(0, PROBED)
    found = {}
    for kind, (cell, activation) in KINDS.items():
        keras.utils.set_random_seed(SEED)
        words = keras.Input((length,), dtype="int32")
        embedding = layers.Embedding(tokenizer.get_vocab_size(), UNITS)
        recurrent = recurrent_layer(cell, UNITS, activation=activation, name="recurrent")
        answer = layers.Dense(1)
        model = keras.Model(words, answer(recurrent(embedding(words))[:, -1]))
        vectors = keras.Model(words, embedding.output)

        def measure(kind=kind, vectors=vectors, recurrent=recurrent, answer=answer):
            return _mean_by_distance(
                state_gradients(
                    vectors.predict_on_batch(tokens["validation"][probed]),
                    labels["validation"][probed],
                    kind=kind,
                    recurrent=recurrent.get_weights(),
                    answer=answer.get_weights(),
                    loss=loss,
                )
            )

        start = measure()
        model.compile(
            build_optimizer("rmsprop", learning_rate=1e-3),
            loss,
            metrics=[keras.metrics.BinaryAccuracy("accuracy", threshold=0.0)],
            jit_compile=False,
        )
        begin = time.perf_counter()
        history = model.fit(
            tokens["train"],
            labels["train"],
            batch_size=BATCH,
            epochs=epochs,
            validation_data=(tokens["validation"], labels["validation"]),
            verbose=0,
            callbacks=[GradientClipping("global_norm"), keras.callbacks.TerminateOnNaN()],
        ).history
        seconds = round(time.perf_counter() - begin, 1)
        accuracy = [_rounded(value) for value in history["val_accuracy"]]
        found[kind] = {
            "start": start,
            "trained": measure(),
            "validation_accuracy": accuracy,
            "seconds": seconds,
        }
        print(f"IMDB, {kind}: validation accuracy {accuracy[-1]}, {seconds:.0f} s", flush=True)
    rows = len(tokens["train"])
    return {
        "length": length,
        "epochs": epochs,
        "reviews": rows,
        "data": data.hashes,
        "kinds": found,
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
        print(f"clipping {mode}: {_said(found[mode])}", flush=True)
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
            "error": _rounded(float(errors.mean())),
            "error_by_distance": [_rounded(float(errors[rows].mean())) for rows in inside],
        }
        print(f"truncated after {piece}: {_said(trained)}", flush=True)
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
            print(f"{name} at {rate:g}: {_said(trained)}", flush=True)
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
