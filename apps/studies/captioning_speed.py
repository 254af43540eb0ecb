"""Measures how fast pictures are read and captioned beside the plainest ways.

    python -m apps.studies.captioning_speed            # some minutes on two cores

Features: reading, decoding, computing and keeping, beside the bare `predict` of the backbone on
pictures that lie in memory. Captions: a beam of 3 for all test pictures in one compiled loop,
beside a Python loop over `predict` for some of them, with the same model and the same rules; both
see the picture alone. The same beam that sees the mirror image too is timed beside them.
"""

import tempfile
import time
from pathlib import Path

import numpy as np
from rich.console import Console

from apps.captioning.evaluate import load_split_captions
from apps.captioning.predict import PRETRAINED, Predictor
from apps.studies.decoding import beam_search_by_predict, step_model
from common.artifact import write_json
from common.config import run_command
from common.device import device_line
from common.errors import UserError
from common.provenance import provenance
from common.search import Search
from data.errors import DataError


def main(
    run: Path = PRETRAINED,
    data_dir: str = "",
    backbone_weights: str = "",
    split: str = "test",
    pictures: int = 1000,
    slow_pictures: int = 50,
    rounds: int = 3,
    output: Path = Path("apps/studies/results/captioning_speed.json"),
) -> None:
    """Compares them.

    Args:
        run: Run folder of a model with a backbone.
        data_dir: Folder of downloads (default: $DATA_DIR or a cache folder of yours).
        backbone_weights: File of the backbone's weights, where Keras cannot download them.
        split: Split to caption.
        pictures: How many of it, from the first on.
        slow_pictures: How many of these the Python loop captions.
        rounds: Times that features are computed in both ways.
        output: JSON file to write.
    """
    if min(pictures, slow_pictures, rounds) < 1:
        raise UserError("--pictures, --slow-pictures and --rounds are at least 1.")
    print(device_line())
    predictor = Predictor.load(run, backbone_weights=backbone_weights)
    config, inputs = predictor.config, predictor.inputs
    captions = load_split_captions(config, data=config.data, data_dir=data_dir)
    names = captions.split(split).names[:pictures]
    loaded = np.stack([inputs.read(captions.read(name), name=name) for name in names])
    quiet = Console(quiet=True)

    rates: dict[str, list[float]] = {"from_files": [], "bare_predict": []}
    inputs.compute(loaded[:32])
    for _ in range(rounds):
        begin = time.perf_counter()
        for start in range(0, len(loaded), 32):
            inputs.compute(loaded[start : start + 32])
        rates["bare_predict"].append(len(names) / (time.perf_counter() - begin))
        with tempfile.TemporaryDirectory() as folder:
            begin = time.perf_counter()
            stored = inputs.stored(captions, names, views=1, console=quiet, folder=Path(folder))
            rates["from_files"].append(len(names) / (time.perf_counter() - begin))
            features = np.array(stored)
    ratio = float(np.median(np.divide(rates["from_files"], rates["bare_predict"])))
    print(f"features: {np.median(rates['from_files']):.1f} pictures a second from files,", end=" ")
    print(f"{ratio:.2f} of bare predict")

    search = Search.of(config, beam_size=3)
    seconds = {}
    mirrored = inputs.stored(captions, names, views=2, console=quiet)
    ways = {"mirrored_first": mirrored, "mirrored": mirrored}
    ways |= {"batched_first": features, "batched": features}
    for name, seen in ways.items():
        # The first time compiles.
        begin = time.perf_counter()
        found = predictor.describe_ids(seen, search)
        seconds[name] = time.perf_counter() - begin
        print(f"{name}: {len(names)} captions in {seconds[name]:.1f} s")
    encoder, decoder = (predictor.model.get_layer(name) for name in ("encoder", "decoder"))
    step, limit = step_model(encoder, decoder), config.max_length + 1
    beam_search_by_predict(encoder, step, features[0, 0], search, limit=limit)
    begin = time.perf_counter()
    slow = [
        beam_search_by_predict(encoder, step, one, search, limit=limit)
        for one in features[:slow_pictures, 0]
    ]
    seconds["python_loop"] = time.perf_counter() - begin
    same = [np.array_equal(a, best.tokens) for a, (best, *_) in zip(slow, found, strict=False)]
    loop_ratio = seconds["python_loop"] / len(slow) / (seconds["batched"] / len(names))
    print(f"the Python loop takes {loop_ratio:.0f} times as long a picture;", end=" ")
    print(f"{np.mean(same):.1%} of its captions are the same")
    command = f"python -m apps.studies.captioning_speed --slow-pictures {slow_pictures}"
    write_json(
        output,
        {
            "study": "captioning_speed",
            **provenance(command, data=captions.hashes),
            "feature_ratio": ratio,
            "pictures_per_second": rates,
            "decoding_ratio": loop_ratio,
            "seconds": seconds,
            "same_captions": float(np.mean(same)),
            "pictures": len(names),
            "slow_pictures": len(slow),
            "beam_size": search.beam_size,
        },
    )


if __name__ == "__main__":
    run_command(
        main,
        prog="python -m apps.studies.captioning_speed",
        description="Measures features and captions a second beside plainer ways.",
        errors=(DataError,),
    )
