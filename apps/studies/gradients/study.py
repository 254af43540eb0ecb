"""Shows vanishing and exploding gradients, and what helps, on small networks.

    make study-gradients                            # some forty minutes on two idle cores
    make study-gradients ARGS="--parts clipping"    # one of reach, clipping, truncation, optimizers

- `reach`: norm of the loss's gradient with respect to the state some steps back, before and after
  training, on the adding problem and on IMDB.
- `clipping`: the same training without clipping and with each way of it, on three seeds.
- `truncation`: backpropagation that stops after some steps, and what is not learned then.
- `optimizers`: SGD, RMSprop and Adam, each at several rates.

No batch of the adding problem comes twice, so every loss is one on data never seen.
"""

import itertools
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers

from apps.sentiment.config import Config as SentimentConfig
from apps.sentiment.evaluate import load_split_reviews
from apps.studies.gradients.adding import (
    BATCH,
    KINDS,
    RECORDED,
    SEED,
    UNITS,
    adding_problem,
    build_adder,
    fit,
    rounded,
    state_gradients,
    train_adder,
)
from apps.studies.gradients.plots import PARTS, write_plots
from apps.studies.parts import RESULTS, choose_parts, write_part
from common.device import device_line
from common.optimization import GradientClipping
from data.text.tokenization import encode, train_tokenizer
from models.recurrent import recurrent_layer

# Updates of a training and steps of a sequence of the adding problem; words of a review, which are
# the steps that gradients are followed back through; passes over the reviews.
STEPS, LENGTH, REACH, EPOCHS = 4000, 40, 400, 3
# Rows that a gradient is averaged over.
_PROBED = 256
# Steps of a sequence and a learning rate at which a network without clipping explodes.
_EXPLODING = 40, 0.03
# Ways of clipping with their thresholds; `none` ignores its own.
_CLIPPINGS = (
    ("none", 1.0),
    ("global_norm", 1.0),
    ("norm", 1.0),
    ("norm", 0.1),
    ("value", 0.1),
    ("value", 0.01),
)
_RATES = {"sgd": (0.003, 0.01, 0.03), "rmsprop": (3e-4, 1e-3, 3e-3), "adam": (3e-4, 1e-3, 3e-3)}


def mean_by_distance(norms: np.ndarray) -> list[float | None]:
    """Returns the mean of `state_gradients` over the rows, the last step first."""
    return [rounded(value) for value in norms.mean(axis=0)[::-1]]


def reach_on_adding() -> dict[str, Any]:
    """Measures all kinds on the adding problem, before and after training."""
    sample = adding_problem(_PROBED, LENGTH, seed=SEED)
    kinds = {}
    for kind in KINDS:
        keras.utils.set_random_seed(SEED)
        model = build_adder(kind, UNITS, length=LENGTH)
        network = {"kind": kind, "recurrent": model.get_layer("recurrent"), "loss": "mse"}
        network["answer"] = model.get_layer("answer")
        start = mean_by_distance(state_gradients(*sample, **network))
        curves = train_adder(f"adding problem, {kind}", model, steps=STEPS, length=LENGTH)
        trained = mean_by_distance(state_gradients(*sample, **network))
        kinds[kind] = {"start": start, "trained": trained, **curves}
    return {"length": LENGTH, "steps": STEPS, "kinds": kinds}


def reach_on_imdb(data_dir: str) -> dict[str, Any]:
    """Measures all kinds on film reviews: one direction, the last state decides.

    Reviews of at least `REACH` tokens are cut to their last ones, so nothing is padded.
    """
    config = SentimentConfig()
    data = load_split_reviews(config, data=config.data, data_dir=data_dir)
    tokenizer = train_tokenizer(data.splits["train"].texts, vocab_size=10000)
    reviews = {}
    for split in ("train", "validation"):
        sequences = encode(tokenizer, data.splits[split].texts, max_length=10**6)
        rows = [row for row, sequence in enumerate(sequences) if len(sequence) >= REACH]
        tokens = np.stack([sequences[row][-REACH:] for row in rows]).astype("int32")
        reviews[split] = tokens, data.splits[split].labels[rows].astype("float32")[:, None]
    tokens, labels = (array[:_PROBED] for array in reviews["validation"])
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    kinds = {}
    for kind, (cell, activation) in KINDS.items():
        keras.utils.set_random_seed(SEED)
        words = keras.Input((REACH,), dtype="int32")
        vectors = layers.Embedding(tokenizer.get_vocab_size(), UNITS)(words)
        recurrent = recurrent_layer(cell, UNITS, activation=activation, name="recurrent")
        answer = layers.Dense(1)
        model = keras.Model(words, answer(recurrent(vectors)[:, -1]))
        embedder = keras.Model(words, vectors)
        network = {"kind": kind, "recurrent": recurrent, "answer": answer, "loss": loss}
        start = state_gradients(embedder.predict_on_batch(tokens), labels, **network)
        history, seconds = fit(
            model,
            *reviews["train"],
            loss=loss,
            clipping=GradientClipping("global_norm"),
            epochs=EPOCHS,
            validation=reviews["validation"],
        )
        trained = state_gradients(embedder.predict_on_batch(tokens), labels, **network)
        kinds[kind] = {
            "start": mean_by_distance(start),
            "trained": mean_by_distance(trained),
            "validation_accuracy": history["val_accuracy"],
            "seconds": seconds,
        }
        accuracy = history["val_accuracy"][-1]
        print(f"IMDB, {kind}: validation accuracy {accuracy}, {seconds:.0f} s", flush=True)
    sizes = {"length": REACH, "epochs": EPOCHS, "reviews": len(reviews["train"][0])}
    return {**sizes, "data": data.hashes, "kinds": kinds}


def reach(data_dir: str) -> dict[str, Any]:
    """Measures how far back gradients reach."""
    return {"adding": reach_on_adding(), "imdb": reach_on_imdb(data_dir)}


def clipping(data_dir: str) -> dict[str, Any]:
    """Trains the network that explodes most easily, ReLU from the identity, with each clipping."""
    length, rate = _EXPLODING
    # Where it learns at all, it does so within the first half of the updates.
    steps = STEPS // 2
    runs = []
    for (mode, threshold), seed in itertools.product(_CLIPPINGS, (1, 2, 3)):
        keras.utils.set_random_seed(seed)
        curves = train_adder(
            f"clipping {mode} {threshold:g}, seed {seed}",
            build_adder("simple_rnn, ReLU", UNITS, length=length),
            optimizer="sgd",
            learning_rate=rate,
            clipping=mode,
            threshold=threshold,
            steps=steps,
            length=length,
            seed=seed,
        )
        runs.append({"mode": mode, "threshold": threshold, "seed": seed, **curves})
    return {"length": length, "steps": steps, "learning_rate": rate, "runs": runs}


def truncation(data_dir: str) -> dict[str, Any]:
    """Trains an LSTM whose gradient flows back through all steps, half of them, and so on."""
    sequences, targets = adding_problem(2000, LENGTH, seed=SEED + 1)
    places = np.argsort(-sequences[:, :, 1], axis=1)[:, :2]
    distances = np.abs(places[:, 0] - places[:, 1])
    edges = np.linspace(0, LENGTH, 6).astype(int)
    pieces = {}
    for piece in (LENGTH, LENGTH // 2, LENGTH // 4, LENGTH // 10):
        keras.utils.set_random_seed(SEED)
        model = build_adder("lstm", UNITS, length=LENGTH, truncation=piece)
        curves = train_adder(f"truncated after {piece}", model, steps=STEPS, length=LENGTH)
        errors = (model.predict(sequences, verbose=0, batch_size=BATCH) - targets)[:, 0] ** 2
        pieces[str(piece)] = {
            **curves,
            "error": rounded(float(errors.mean())),
            "error_by_distance": [
                rounded(float(errors[(distances >= low) & (distances < high)].mean()))
                for low, high in itertools.pairwise(edges)
            ],
        }
    return {"length": LENGTH, "steps": STEPS, "distances": edges.tolist(), "pieces": pieces}


def optimizers(data_dir: str) -> dict[str, Any]:
    """Trains an LSTM with each optimizer at three rates."""
    curves: dict[str, dict[str, Any]] = {name: {} for name in _RATES}
    for name, rates in _RATES.items():
        for rate in rates:
            keras.utils.set_random_seed(SEED)
            curves[name][f"{rate:g}"] = train_adder(
                f"{name} at {rate:g}",
                build_adder("lstm", UNITS, length=LENGTH),
                optimizer=name,
                learning_rate=rate,
                steps=STEPS,
                length=LENGTH,
            )
    return {"length": LENGTH, "steps": STEPS, "optimizers": curves}


def main(
    parts: str = ",".join(PARTS),
    data_dir: str = "",
    output: Path = RESULTS / "gradients.json",
    plots: Path = Path("docs"),
) -> None:
    """Measures, writes the results, and draws them.

    Args:
        parts: Which of reach, clipping, truncation and optimizers, separated by commas; the other
            parts of the file stay.
        data_dir: Folder of downloads (default: $DATA_DIR or a cache folder of yours).
        output: JSON file to write.
        plots: Folder of the pictures.
    """
    studies = {study.__name__: study for study in (reach, clipping, truncation, optimizers)}
    print(device_line(), flush=True)
    sizes = {"units": UNITS, "batch": BATCH, "recorded": RECORDED}
    for part in choose_parts(parts, PARTS, output=output):
        # Part by part, so that an interruption loses one at most.
        results = {**sizes, **studies[part](data_dir)}
        record = write_part(output, results, study="gradients", part=part)
    write_plots(record, plots)
