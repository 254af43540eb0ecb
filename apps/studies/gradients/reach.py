"""How far back the gradient of a loss reaches, cell by cell, before and after training."""

import time
from typing import Any

import keras
import numpy as np
from keras import layers

from apps.sentiment.config import Config as SentimentConfig
from apps.sentiment.evaluate import load_split_reviews
from apps.studies.gradients.adding import BATCH, SEED, UNITS, rounded, said, train_adder
from apps.studies.gradients.long_memory import KINDS, adding_problem, build_adder, state_gradients
from common.clipping import GradientClipping
from common.errors import UserError
from common.optimizers import build_optimizer
from data.text.tokenization import encode, train_tokenizer
from models.recurrent import recurrent_layer

# Rows that a gradient is averaged over.
PROBED = 256


def _mean_by_distance(norms: np.ndarray) -> list[float | None]:
    """Returns the mean over the rows, the last step first."""
    return [rounded(value) for value in norms.mean(axis=0)[::-1]]


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
        print(f"adding problem, {kind}: {said(trained)}", flush=True)
    return {"length": length, "steps": steps, "kinds": found}


def reach_on_imdb(*, data_dir: str, epochs: int, length: int) -> dict[str, Any]:
    """Measures all kinds on film reviews: one direction, the last state decides.

    Reviews of at least `length` tokens are cut to their last ones, so nothing is padded.
    """
    config = SentimentConfig()
    data = load_split_reviews(config, data=config.data, data_dir=data_dir)
    tokenizer = train_tokenizer(data.splits["train"].texts, vocab_size=10000)
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
        accuracy = [rounded(value) for value in history["val_accuracy"]]
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
