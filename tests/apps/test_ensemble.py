import dataclasses
import json
import math
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest

from apps import ensemble
from apps.sentiment import predict as sentiment_predict
from apps.sentiment import train as sentiment_train
from apps.translation import evaluate, train
from apps.translation.config import Config
from apps.translation.predictor import Predictor
from common.errors import UserError
from common.files import read_json, write_json, write_text
from common.run_folder import CONFIG, METRICS, MODEL, STATE, TOKENIZER, save_model
from data.text.subwords import train_subword_tokenizer
from models.encoder_decoder import build_encoder_decoder
from models.translation import model_name
from tests.helpers import call

pytestmark = pytest.mark.no_backend

SHAPE = {"embed_dim": 8, "units": 4, "decoder_units": 6, "decoder_layers": 1, "beam_size": 2}


def join(*arguments):
    call(ensemble.main, *arguments)


@pytest.fixture(scope="module")
def pairs(translation_dir):
    return evaluate.load_split_pairs(Config(), data=("multi30k",), data_dir=str(translation_dir))


def write_run(run, pairs, *, seed, vocab_size=300, **settings):
    """A run folder as training leaves it, of a model that has learnt nothing."""
    config = Config(seed=seed, vocab_size=vocab_size, **SHAPE, **settings)
    keras.utils.set_random_seed(seed)
    tokenizer = train_subword_tokenizer(pairs.splits["train"].source, vocab_size=vocab_size)
    encoder, decoder = train.build(config, vocab_size=tokenizer.get_vocab_size())
    languages = config.source_language, config.target_language
    model = build_encoder_decoder(encoder, decoder, name=model_name(*languages))
    write_text(run / TOKENIZER, tokenizer.to_str())
    facts = {"task": "translation", "backend": "tensorflow", "data": pairs.hashes, "epochs": 2}
    write_json(run / METRICS, {**facts, "peak_memory_mb": 100 + seed})
    write_json(run / CONFIG, {"task": "translation", **dataclasses.asdict(config)})
    save_model(model, run / MODEL)
    return run


@pytest.fixture(scope="module")
def members(pairs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return [
        write_run(folder / "gru-s1", pairs, seed=1),
        write_run(folder / "lstm-s2", pairs, seed=2, cell="lstm"),
    ]


@pytest.fixture(scope="module")
def joined(members, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "joined"
    join("--members", *members, "--run", run)
    return run


def test_an_ensemble_is_a_run_folder_like_any_other(joined, members, translation_dir, tmp_path):
    moved = Path(shutil.copytree(joined, tmp_path / "moved"))
    call(evaluate.main, "--run", moved, "--data-dir", translation_dir, "--no-baselines")
    assert (moved / "outputs" / "test.beam2.txt").is_file()
    facts = read_json(moved / METRICS)
    command = f"python -m apps.ensemble --members {members[0]} {members[1]}"
    assert facts["command"].startswith(command)
    assert facts["members"] == [str(member) for member in members]
    assert (facts["epochs"], facts["peak_memory_mb"]) == (4, 102)
    sizes = [Predictor.load(run).network.parameters for run in (*members, moved)]
    assert facts["parameters"] == sizes[2] == sizes[0] + sizes[1]


def test_training_does_not_go_on_from_an_ensemble(joined, tmp_path):
    with pytest.raises(UserError, match="is an ensemble: go on from one of its members"):
        call(train.main, "--init-from", joined, "--run", tmp_path / "x")
    with pytest.raises(UserError, match="has a model but no state"):
        call(train.main, "--resume", "--run", joined)


def change_json(path, **values):
    write_json(path, {**read_json(path), **values})


def test_what_cannot_be_joined_is_named(members, pairs, tmp_path):
    first = members[0]
    with pytest.raises(UserError, match="two run folders or more"):
        join("--members", first)
    with pytest.raises(UserError, match="is one of the members"):
        join("--members", *members, "--run", first)
    with pytest.raises(UserError, match=r"no run folder .*nowhere"):
        join("--members", first, tmp_path / "nowhere", "--run", tmp_path / "x")

    other = write_run(tmp_path / "other", pairs, seed=3, vocab_size=310)
    with pytest.raises(UserError, match=r"other has another tokenizer .*tokenizer.json"):
        join("--members", first, other, "--run", tmp_path / "x")
    for name, path, values, message in (
        ("german", CONFIG, {"target_language": "de"}, "has the target_language de and"),
        ("foreign", METRICS, {"data": {"x": "y"}}, "foreign was not trained on the same files"),
        ("prices", CONFIG, {"task": "forecasting"}, "is a run of forecasting"),
    ):
        changed = Path(shutil.copytree(members[1], tmp_path / name))
        change_json(changed / path, **values)
        with pytest.raises(UserError, match=message):
            join("--members", first, changed, "--run", tmp_path / "x")
    assert not (tmp_path / "x" / CONFIG).exists()


def write_state(run, *, epoch, finished):
    host = json.dumps({"epoch": epoch, "finished": finished}).encode()
    np.savez(run / STATE, host=np.frombuffer(host, dtype=np.uint8))


def test_a_training_that_was_stopped_is_joined_only_once_it_has_ended(members, tmp_path):
    changed = Path(shutil.copytree(members[1], tmp_path / "stopped"))
    assert read_json(changed / CONFIG)["epochs"] == 20
    write_state(changed, epoch=19, finished=False)
    with pytest.raises(UserError, match=r"stopped .*19 of 20 epochs.*--resume"):
        join("--members", members[0], changed, "--run", tmp_path / "x")
    # It ended by its --patience, or with its last epoch.
    for state in ({"epoch": 7, "finished": True}, {"epoch": 20, "finished": False}):
        write_state(changed, **state)
        join("--members", members[0], changed, "--run", tmp_path / "x", "--overwrite")
        assert (tmp_path / "x" / MODEL).is_file()


# ---- Classifiers -----------------------------------------------------------------------------

READERS = (
    "--epochs 1 --embed-dim 6 --max-length 40 --region-length 10 --tokens-per-batch 800"
    " --warmup-steps 2 --vocab-size 300 --bigram-buckets 50 --embedding random"
).split()


@pytest.fixture(scope="module")
def readers(reviews_csv, tmp_path_factory):
    folder = tmp_path_factory.mktemp("readers")
    runs = []
    for cell, units in (("lstm", 4), ("simple_rnn", 5)):
        run = folder / cell
        flags = ["--cell", cell, "--units", units, "--data", reviews_csv, "--run", run]
        call(sentiment_train.main, *READERS, *flags)
        runs.append(run)
    return runs


def test_classifiers_are_joined_to_one_that_explains_its_verdict_too(readers, tmp_path, exporting):
    join("--members", *readers, "--run", tmp_path / "joined")
    assert (tmp_path / "joined" / "export" / "model.onnx").is_file()
    texts = ["A fine film, not dull at all.", "Dull."]
    alone = [sentiment_predict.Predictor.load(run).predict(texts) for run in readers]
    together = sentiment_predict.Predictor.load(tmp_path / "joined").predict(texts)
    for ours, *theirs in zip(together, *alone, strict=True):
        # The mean of the logits, so of what each word added, too.
        odds = [
            math.log(one.probabilities[ours.label] / (1 - one.probabilities[ours.label]))
            for one in theirs
        ]
        own = math.log(ours.probability / (1 - ours.probability))
        assert own == pytest.approx(np.mean(odds), abs=1e-4)
        sign = [1 if one.label == ours.label else -1 for one in theirs]
        shares = [
            [s * score for _, score in one.pieces] for s, one in zip(sign, theirs, strict=True)
        ]
        np.testing.assert_allclose(
            [score for _, score in ours.pieces], np.mean(shares, axis=0), atol=1e-5
        )
    sizes = [member["units"] for member in read_json(tmp_path / "joined" / CONFIG)["members"]]
    assert sizes == [4, 5]
    assert read_json(tmp_path / "joined" / METRICS)["epochs"] == 2
