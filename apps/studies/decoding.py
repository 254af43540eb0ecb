"""Measures beam search for whole batches in one compiled loop against a Python loop over `predict`.

    python -m apps.studies.decoding            # about ten minutes on two cores

Both translate the same sentences with the same saved model and the same rules of the search. The
Python loop is what tutorials do: one sentence at a time, and a call of `predict` for each word.
"""

import time
from pathlib import Path

import keras
import numpy as np
from keras import ops

from apps.translation.decoding import output_limit
from apps.translation.evaluate import load_split_pairs
from apps.translation.predict import PRETRAINED, Predictor
from common.artifact import write_json
from common.config import run_command
from common.device import device_line
from common.errors import UserError
from common.provenance import provenance
from common.search import Search
from data.errors import DataError
from data.subwords import END_ID, START_ID, UNK_ID, encode_texts


def beam_search_by_predict(
    encoder: keras.Model, step: keras.Model, source: np.ndarray, search: Search, *, limit: int
) -> np.ndarray:
    """Writes one sentence as `build_generator` does, but word by word from Python.

    Args:
        encoder: Of a translator or a captioner.
        step: From `step_model`.
        source: What the encoder takes, without the batch.
        search: A beam.
        limit: Most tokens, the end included.

    Returns:
        The best sentence, `<int>(time,)` without the end.
    """
    width = search.beam_size
    memory = encoder.predict(source[None], verbose=0)
    memory.pop("embeddings", None)
    # All hypotheses of a beam go through the decoder side by side.
    memory = keras.tree.map_structure(lambda row: np.repeat(row, width, axis=0), memory)
    states = memory.pop("states")
    beams, sums = [[] for _ in range(width)], np.array([0.0] + [-np.inf] * (width - 1))
    ended: list[tuple[float, list[int]]] = []
    for written in range(limit):
        last = [tokens[-1] if tokens else START_ID for tokens in beams]
        inputs = {"target_in": np.array(last, "int32")[:, None], **memory, "states": states}
        outputs = step.predict(inputs, verbose=0)
        logits = outputs["logits"][:, 0].astype("float64")
        logits -= logits.max(axis=1, keepdims=True)
        scores = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        scores[:, [0, UNK_ID, START_ID]] = -np.inf
        if written == limit - 1:
            scores[:, np.arange(scores.shape[1]) != END_ID] = -np.inf
        totals = (sums[:, None] + scores).ravel()
        best = np.argsort(-totals, kind="stable")[: 2 * width]
        going_on = []
        for rank, place in enumerate(best):
            parent, token = divmod(int(place), scores.shape[1])
            if token != END_ID:
                going_on.append((parent, token, totals[place]))
            elif rank < width and np.isfinite(totals[place]):
                score = totals[place] / (written + 1) ** search.length_penalty
                ended.append((score, beams[parent]))
        ended = sorted(ended, key=lambda pair: -pair[0])[:width]
        if len(ended) == width:
            break
        going_on = going_on[:width]
        beams = [[*beams[parent], token] for parent, token, _ in going_on]
        sums = np.array([total for *_, total in going_on])
        states = [state[[parent for parent, *_ in going_on]] for state in outputs["states"]]
    return np.array(ended[0][1] if ended else [])


def step_model(encoder: keras.Model, decoder: keras.Model) -> keras.Model:
    """Returns the decoder as `predict` takes it: every input has one row a hypothesis.

    The table of vectors that both parts may share has none, so it is looked up inside.
    """
    names = {"target_in", "memory", "memory_mask", "states"}
    inputs = {
        name: keras.tree.map_structure(
            lambda tensor: keras.Input(tensor.shape[1:], dtype=tensor.dtype, name=tensor.name),
            value,
        )
        for name, value in decoder.input.items()
        if name in names
    }
    shared = {}
    if "embeddings" in decoder.input:
        vocab_size = decoder.output["logits"].shape[-1]
        first = inputs["target_in"][0, :1]
        count = ops.cumsum(ops.ones_like(ops.repeat(first, vocab_size))) - 1
        # The vectors come first, whether the layer hands out its table besides or not.
        shared["embeddings"] = keras.tree.flatten(encoder.get_layer("embedding")(count))[0]
    outputs = decoder({**inputs, **shared})
    return keras.Model(inputs, outputs)


def main(
    run: Path = PRETRAINED,
    data_dir: str = "",
    split: str = "test",
    sentences: int = 1000,
    output: Path = Path("apps/studies/results/decoding.json"),
) -> None:
    """Compares both ways.

    Args:
        run: Run folder of the model.
        data_dir: Folder of downloads (default: $DATA_DIR or a cache folder of yours).
        split: Split to translate.
        sentences: How many of it, from the first on.
        output: JSON file to write.
    """
    if sentences < 1:
        raise UserError("--sentences is at least 1.")
    print(device_line())
    predictor = Predictor.load(run)
    config = predictor.config
    pairs = load_split_pairs(config, data=config.data, data_dir=data_dir)
    texts = pairs.split(split).source[:sentences]
    sources = encode_texts(predictor.tokenizer, texts, max_length=config.max_length)
    search = Search.of(config, method="beam")
    encoder, decoder = (predictor.model.get_layer(name) for name in ("encoder", "decoder"))

    seconds = {}
    for name in ("batched_first", "batched"):
        # The first time compiles, a shape after the other.
        begin = time.perf_counter()
        found = predictor.translate_ids(sources, search)
        seconds[name] = time.perf_counter() - begin
        print(f"{name}: {len(sources) / seconds[name]:.1f} sentences a second")
    step = step_model(encoder, decoder)

    def translate_slowly(source: np.ndarray) -> np.ndarray:
        limit = int(output_limit(len(source)))
        return beam_search_by_predict(encoder, step, source, search, limit=limit)

    translate_slowly(sources[0])
    begin = time.perf_counter()
    slow = [translate_slowly(source) for source in sources]
    seconds["python_loop"] = time.perf_counter() - begin
    print(f"python loop: {len(sources) / seconds['python_loop']:.1f} sentences a second")
    same = np.mean(
        [np.array_equal(a, best.tokens) for a, (best, *_) in zip(slow, found, strict=True)]
    )
    ratio = seconds["python_loop"] / seconds["batched"]
    ratio_first = seconds["python_loop"] / seconds["batched_first"]
    print(f"batched is {ratio:.1f} times as fast ({ratio_first:.1f} with compiling)")
    print(f"{same:.1%} of the translations are the same")
    command = f"python -m apps.studies.decoding --split {split} --sentences {sentences}"
    record = {
        "study": "decoding",
        **provenance(command, data=pairs.hashes),
        "ratio": ratio,
        "ratio_with_compiling": ratio_first,
        "seconds": seconds,
        "same_translations": float(same),
        "sentences": len(sources),
        "beam_size": search.beam_size,
    }
    write_json(output, record)


if __name__ == "__main__":
    run_command(
        main,
        prog="python -m apps.studies.decoding",
        description="Measures batched beam search against a Python loop over predict.",
        errors=(DataError,),
    )
