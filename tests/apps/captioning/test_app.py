import functools
import json
import shutil
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest

from apps.captioning import evaluate, features, predict, train
from apps.captioning.predictor import Predictor
from apps.export.runtime import open_network
from common.errors import UserError
from common.files import read_json
from common.results import read_history
from common.settings import Search
from data.pictures.captions import load_captions
from models.backbones import BACKBONES
from tests.helpers import assert_same_training, call, photographed, printed

pytestmark = pytest.mark.usefixtures("jax_compiles_once", "here")

# Few shapes, since JAX compiles each for seconds.
BATCHES = " --max-length 31 --beam-size 2 --warmup-steps 10".split()
LEARNING = [
    *BATCHES,
    *"--backbone small_cnn --picture-size 64 --no-mirror --cell gru --decoder-layers 1".split(),
    *"--epochs 3 --vocab-size 330 --embed-dim 48 --decoder-units 64".split(),
    *"--tokens-per-batch 1250 --learning-rate 5e-3".split(),
    *"--dropout 0 --embedding-dropout 0 --word-dropout 0".split(),
]
# A network of few weights stands in for MobileNetV2: what is tried here does not depend on them.
FROZEN = [
    *BATCHES,
    *"--backbone mobilenet_v2 --picture-size 64 --decoder-layers 1 --epochs 2".split(),
    *"--vocab-size 320 --embed-dim 8 --decoder-units 10".split(),
    *"--tokens-per-batch 2000".split(),
]


def few_weights(*, input_shape, include_top, weights):
    """A network of one layer, to be had like those of `keras.applications`."""
    picture = keras.Input(input_shape)
    return keras.Model(picture, keras.layers.Conv2D(12, 32, strides=32, padding="same")(picture))


@pytest.fixture(scope="module", autouse=True)
def loaded_once():
    """Loads every run once, with a small backbone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BACKBONES, "mobilenet_v2", (few_weights, None))
        # A predictor keeps the loops that it has compiled.
        patch.setattr(Predictor, "load", functools.cache(Predictor.load))
        yield


@pytest.fixture(scope="module")
def trained(jax_compiles_once, captioning_dir, tmp_path_factory):
    """A run folder of a small CNN and a decoder that have learnt the sample."""
    run = tmp_path_factory.mktemp("runs") / "trained"
    call(train.main, *LEARNING, "--data-dir", captioning_dir, "--run", run)
    return run


@pytest.fixture(scope="module")
def predictor(trained):
    return Predictor.load(trained)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file of a backbone's weights, as Keras has it."""
    keras.utils.set_random_seed(0)
    path = tmp_path_factory.mktemp("weights") / "mobilenet.weights.h5"
    few_weights(input_shape=(64, 64, 3), include_top=False, weights=None).save_weights(path)
    return path


@pytest.fixture(scope="module")
def whole(jax_compiles_once, captions_folder, weights, tmp_path_factory):
    """A run folder of a model that looks through a frozen backbone, trained without a stop."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    flags = ["--data", captions_folder, "--backbone-weights", weights, "--run", run]
    with photographed(run):
        call(train.main, *FROZEN, *flags)
    return run


@pytest.fixture(scope="module")
def scored(trained, captioning_dir, tmp_path_factory):
    """A copy of the first run after its test split was scored, and what the command printed."""
    run = Path(shutil.copytree(trained, tmp_path_factory.mktemp("runs") / "scored"))
    flags = ["--run", run, "--data-dir", captioning_dir, "--beam-sizes", "3", "--json"]
    return run, json.loads(printed(evaluate.main, *flags))


@pytest.fixture(scope="module")
def held_out(captioning_dir, predictor):
    """The test split, and its pictures as the model takes them."""
    captions = load_captions("flickr8k", data_dir=captioning_dir)
    split = captions.split("test")
    pictures = [predictor.inputs.read(captions.read(name), name=name) for name in split.names]
    return split, np.stack(pictures)


@pytest.fixture(scope="module")
def photographs(captioning_dir, tmp_path_factory):
    """A folder with four of the test pictures, and something else."""
    folder = tmp_path_factory.mktemp("photographs")
    with zipfile.ZipFile(captioning_dir / "Flickr8k_Dataset.zip") as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".jpg"))[-4:]
        for number, name in enumerate(names):
            (folder / f"{number}.jpg").write_bytes(archive.read(name))
    (folder / "notes.txt").write_text("no picture")
    return folder


def texts_of(found):
    return [candidates[0].text for candidates in found]


# ---- Training --------------------------------------------------------------------------------


@pytest.mark.no_backend
def test_a_run_folder_holds_what_the_house_promises(trained):
    for name in ("config.json", "model.keras", "tokenizer.json", "history.csv", "metrics.json"):
        assert (trained / name).is_file(), name
    assert (trained / "plots" / "learning_curves.png").stat().st_size > 5000
    # The model itself holds what sees the pictures.
    assert not (trained / "backbone.npz").exists()
    history = read_history(trained / "history.csv")
    assert {"loss", "val_loss", "val_cider", "gradient_norm", "learning_rate"} <= set(history)
    metrics = read_json(trained / "metrics.json")
    assert set(metrics["metrics"]) == {"validation"}
    # The best epoch was saved.
    best = max(history["val_cider"])
    assert metrics["metrics"]["validation"]["cider_greedy"] == pytest.approx(best, abs=0.02)
    assert {"parameters", "seconds", "epochs", "peak_memory_mb"} <= set(metrics)
    assert not list(trained.glob(".*")), "a temporary file was left behind"


@pytest.mark.no_backend
def test_the_model_looks_at_its_pictures(predictor, held_out):
    split, pictures = held_out
    said = texts_of(predictor.predict(pictures, Search.of(predictor.config, method="greedy")))
    scores = evaluate.caption_metrics(said, split.captions)
    of_others = evaluate.caption_metrics(said, [*split.captions[1:], split.captions[0]])
    assert scores["cider"] > 1.3 * of_others["cider"]
    assert len(set(said)) > 8
    assert not set("".join(said)) & set(".,!?ABC")


@pytest.mark.no_backend
def test_a_moved_run_folder_still_predicts(trained, predictor, held_out, tmp_path):
    moved = Predictor.load(shutil.copytree(trained, tmp_path / "moved"))
    pictures = held_out[1][:9]
    assert texts_of(moved.predict(pictures)) == texts_of(predictor.predict(pictures))


@pytest.mark.no_backend
def test_a_run_that_was_stopped_goes_on_to_the_same_result(
    whole, captions_folder, tmp_path, exporting
):
    stopped = Path(shutil.copytree(whole.with_name("stopped"), tmp_path / "stopped"))
    assert len(read_history(stopped / "history.csv")["loss"]) == 1
    call(train.main, *FROZEN, "--data", captions_folder, "--run", stopped, "--resume")
    assert_same_training(whole, stopped)
    assert open_network(stopped, task="captioning").parameters


@pytest.mark.no_backend
def test_features_of_pictures_and_mirror_images_are_computed_once(
    whole, captions_folder, monkeypatch
):
    captions = load_captions(str(captions_folder), data_dir=Path())
    names = captions.split("train").names
    run = Predictor.load(whole)
    picture = run.inputs.read(captions.read(names[3]))
    monkeypatch.setattr(type(captions), "read", None)
    quiet = features.Console(quiet=True)
    stored = run.inputs.stored(captions, names, views=2, console=quiet)
    assert stored.shape == (len(names), 2, 4, 12)
    assert stored.dtype == np.float16
    computed = run.inputs.compute(np.stack([picture, picture[:, ::-1]]))
    np.testing.assert_allclose(stored[3], computed, rtol=2e-2, atol=2e-3)


@pytest.mark.no_backend
def test_the_run_folder_holds_the_backbone_with_kernels_of_half_precision(whole, weights):
    run = Predictor.load(whole)
    assert run.network.model.input["picture"].shape == (None, 4, 12)
    assert (whole / "backbone.npz").stat().st_size < weights.stat().st_size * 0.6
    trained_with = features.load_backbone(run.config, str(weights))
    assert run.inputs.sha256 == features.PictureInputs(run.config, trained_with).sha256 != ""


@pytest.mark.no_backend
def test_a_backbone_file_that_is_missing_or_of_another_network_is_named(whole, tmp_path):
    run = Path(shutil.copytree(whole, tmp_path / "copy"))
    np.savez(run / "backbone.npz", np.zeros((3, 3)))
    with pytest.raises(UserError, match="backbone.npz .*another network.* restore it"):
        Predictor.load(run)
    (run / "backbone.npz").unlink()
    with pytest.raises(UserError, match="backbone.npz .* restore it"):
        Predictor.load(run)


# ---- Evaluation ------------------------------------------------------------------------------


@pytest.mark.no_backend
def test_evaluate_scores_what_predict_says(scored, predictor, held_out):
    run, record = scored
    split, pictures = held_out
    said = texts_of(predictor.predict(pictures))
    lines = (run / "outputs" / "test.beam2.tsv").read_text(encoding="utf-8").splitlines()
    assert lines == [f"{name}\t{text}" for name, text in zip(split.names, said, strict=True)]
    expected = evaluate.caption_metrics(said, split.captions)
    for name, score in expected.items():
        assert record["metrics"][name] == pytest.approx(score)
    assert record["metrics"]["cider_beam_2"] == record["metrics"]["cider"]
    assert {"cider_beam_1", "cider_beam_3", "bleu_4_beam_3"} <= set(record["metrics"])
    stored = read_json(run / "metrics.json")
    assert stored["metrics"]["test"] == record["metrics"]
    for name, scores in record["baselines"].items():
        assert stored["baselines"][name] == {"test": scores}


# ---- Prediction ------------------------------------------------------------------------------


@pytest.mark.no_backend
def test_one_picture_gives_its_caption_and_several_their_names_too(trained, photographs):
    alone = printed(predict.main, "--run", trained, "--image", photographs / "1.jpg")
    lines = printed(predict.main, "--run", trained, "--image", photographs).splitlines()
    assert [Path(line.split("\t")[0]).name for line in lines] == [f"{n}.jpg" for n in range(4)]
    assert alone == lines[1].split("\t")[1] + "\n"


@pytest.mark.no_backend
def test_json_holds_where_each_word_looked(trained, photographs):
    flags = ["--run", trained, "--image", photographs, "--json", "--n-best", "2"]
    for line in printed(predict.main, *flags).splitlines():
        for caption in json.loads(line)["captions"]:
            attention = np.array(caption["attention"])
            assert attention.shape == (len(caption["words"]), 64)
            np.testing.assert_allclose(attention.sum(axis=1), 1, atol=5e-3)
            assert "".join(caption["words"]) == caption["text"].replace(" ", "")


@pytest.mark.no_backend
def test_a_picture_of_the_attention_is_drawn(trained, photographs, here):
    call(predict.main, "--run", trained, "--image", photographs, "--picture", "a/[b].png")
    assert (here / "a" / "[b].png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.no_backend
def test_a_file_that_is_no_picture_is_named_and_the_rest_goes_on(
    trained, photographs, tmp_path, capsys
):
    folder = Path(shutil.copytree(photographs, tmp_path / "mixed"))
    (folder / "0.jpg").write_bytes(b"")
    (folder / "2.jpg").write_bytes((folder / "3.jpg").read_bytes()[:300])
    with pytest.raises(SystemExit) as stop:
        call(predict.main, "--run", trained, "--image", folder)
    out, err = capsys.readouterr()
    assert stop.value.code == 2
    assert [Path(line.split("\t")[0]).name for line in out.splitlines()] == ["1.jpg", "3.jpg"]
    assert [f"{n}.jpg" in line for n, line in zip((0, 2), err.splitlines(), strict=True)]
    assert all(line.startswith("error: ") for line in err.splitlines())
