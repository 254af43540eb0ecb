import csv
import functools
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from apps.captioning import evaluate, features, predict, train
from apps.captioning.attention_maps import tinted
from apps.captioning.config import Config
from apps.captioning.predict import Predictor, find_pictures
from common.callbacks import read_history
from common.config import parse_call, run_command
from common.errors import UserError
from common.files import read_json
from common.search import Search
from common.settings import TrainingSettings
from data.pictures.captions import load_captions
from models.backbones import round_kernels
from tests.helpers import assert_same_training, call, files_of, photographed, printed

pytestmark = pytest.mark.usefixtures("jax_compiles_once", "here")

ROOT = Path(__file__).parents[3]
# Few shapes, since JAX compiles each for seconds.
BATCHES = "--buckets 1 --max-length 31 --beam-size 2 --warmup-steps 10".split()
LEARNING = [
    *BATCHES,
    *"--backbone small_cnn --picture-size 64 --views 1 --cell gru --decoder-layers 1".split(),
    *"--epochs 3 --vocab-size 330 --embed-dim 48 --memory-dim 48 --decoder-units 64".split(),
    *"--tokens-per-batch 2500 --learning-rate 5e-3".split(),
    *"--dropout 0 --embedding-dropout 0 --word-dropout 0".split(),
]
# Random weights stand in for those of ImageNet: what is tried here does not depend on them.
FROZEN = [
    *BATCHES,
    *"--backbone mobilenet_v2 --picture-size 64 --views 2 --decoder-layers 1 --epochs 3".split(),
    *"--vocab-size 320 --embed-dim 8 --memory-dim 6 --decoder-units 10".split(),
    *"--tokens-per-batch 2000 --scheduled-sampling 0.5".split(),
]


@pytest.fixture(scope="module", autouse=True)
def loaded_once():
    """Loads every run once."""
    with pytest.MonkeyPatch.context() as patch:
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
    size = (64, 64, 3)
    keras.applications.MobileNetV2(weights=None, include_top=False, input_shape=size).save_weights(
        path
    )
    return path


@pytest.fixture(scope="module")
def whole(jax_compiles_once, captions_folder, weights, tmp_path_factory):
    """A run folder of a model that looks through a frozen backbone, trained without a stop."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    flags = ["--data", captions_folder, "--backbone-weights", weights, "--run", run]
    with photographed(run):
        call(train.main, *FROZEN, *flags)
    return run


@pytest.fixture
def stopped(whole, tmp_path):
    """The same run as it stood on the disk near the end of its second epoch."""
    return Path(shutil.copytree(whole.with_name("stopped"), tmp_path / "stopped"))


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
    for name in ("learning_curves", "optimisation"):
        assert (trained / "plots" / f"{name}.png").stat().st_size > 5000
    config = read_json(trained / "config.json")
    assert (config["task"], config["decoder_units"]) == ("captioning", 64)
    # The model itself holds what sees the pictures.
    assert not (trained / "backbone.npz").exists()
    history = read_history(trained / "history.csv")
    assert {"loss", "val_loss", "val_cider", "gradient_norm", "learning_rate"} <= set(history)
    assert len(history["loss"]) == 3
    metrics = read_json(trained / "metrics.json")
    assert set(metrics["metrics"]) == {"validation"}
    assert {"parameters", "seconds", "epochs", "peak_memory_mb"} <= set(metrics)
    assert not list(trained.glob(".*")), "a temporary file was left behind"


@pytest.mark.no_backend
def test_the_validation_score_is_that_of_the_best_epoch_read_from_disk(trained):
    best = max(read_history(trained / "history.csv")["val_cider"])
    stored = read_json(trained / "metrics.json")["metrics"]["validation"]
    assert stored["cider_greedy"] == pytest.approx(best, abs=0.02)


@pytest.mark.no_backend
def test_the_model_looks_at_its_pictures(predictor, held_out):
    split, pictures = held_out
    said = texts_of(predictor.predict(pictures, Search.of(predictor.config, method="greedy")))
    scores = evaluate.caption_metrics(said, split.captions)
    of_others = evaluate.caption_metrics(said, [*split.captions[1:], split.captions[0]])
    assert scores["cider"] > 1.3 * of_others["cider"]
    assert len(set(said)) > 8


@pytest.mark.no_backend
def test_a_moved_run_folder_still_predicts(trained, predictor, held_out, tmp_path):
    moved = shutil.copytree(trained, tmp_path / "moved")
    assert texts_of(Predictor.load(moved).predict(held_out[1])) == texts_of(
        predictor.predict(held_out[1])
    )


@pytest.mark.slow
@pytest.mark.no_backend
def test_a_run_that_was_stopped_goes_on_to_the_same_result(
    whole, stopped, captions_folder, weights
):
    assert len(read_history(stopped / "history.csv")["loss"]) == 1
    flags = ["--data", captions_folder]
    call(train.main, *FROZEN, *flags, "--run", stopped, "--resume")
    assert_same_training(whole, stopped)


@pytest.mark.no_backend
def test_a_run_goes_on_with_its_own_backbone_alone(stopped, captions_folder, weights):
    flags = ["--data", captions_folder, "--backbone-weights", weights, "--run", stopped, "--resume"]
    with pytest.raises(UserError, match="leave --backbone-weights out"):
        call(train.main, *FROZEN, *flags)


@pytest.mark.no_backend
def test_features_are_computed_once(whole, captions_folder, weights, monkeypatch):
    captions = load_captions(str(captions_folder), data_dir=Path())
    run = Predictor.load(whole)
    monkeypatch.setattr(type(captions), "read", None)
    quiet = features.Console(quiet=True)
    names = captions.split("train").names
    stored = run.inputs.stored(captions, names, views=2, console=quiet)
    assert stored.shape == (len(names), 2, 4, 1280)
    assert stored.dtype == np.float16


@pytest.mark.no_backend
def test_features_are_those_of_the_pictures_and_their_mirror_images(
    whole, captions_folder, weights
):
    captions = load_captions(str(captions_folder), data_dir=Path())
    run = Predictor.load(whole)
    name = captions.split("train").names[3]
    picture = run.inputs.read(captions.read(name), name=name)
    quiet = features.Console(quiet=True)
    stored = run.inputs.stored(captions, captions.split("train").names, views=2, console=quiet)
    alone = run.inputs.compute(np.stack([picture, picture[:, ::-1]]))
    np.testing.assert_allclose(stored[3], alone, rtol=2e-2, atol=2e-3)


@pytest.mark.no_backend
def test_the_run_folder_holds_the_backbone_with_kernels_of_half_precision(whole, weights):
    run = Predictor.load(whole)
    assert run.network.model.input["picture"].shape == (None, 4, 1280)
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


@pytest.mark.no_backend
def test_downloaded_weights_of_mobilenet_that_are_others_are_refused(whole, monkeypatch):
    network = functools.partial(keras.applications.MobileNetV2, weights=None)
    monkeypatch.setattr("models.backbones.applications.MobileNetV2", network)
    with pytest.raises(UserError, match="imagenet weights of mobilenet_v2.*not those"):
        features.load_backbone(Predictor.load(whole).config)


@pytest.mark.slow
def test_the_upper_blocks_of_the_backbone_can_be_trained_in_a_second_stage(
    whole, captions_folder, weights, tmp_path, photographs
):
    before = keras.applications.MobileNetV2(
        weights=None, include_top=False, input_shape=(64, 64, 3)
    )
    before.load_weights(weights)
    round_kernels(before)
    run = tmp_path / "tuned"
    flags = "--epochs 1 --fine-tune block_16_project --learning-rate 1e-3 --warmup-steps 0".split()
    data = ["--data", captions_folder, "--init-from", whole]
    call(train.main, *BATCHES, *flags, *data, "--run", run)
    # The folder holds the backbone now.
    tuned = Predictor.load(run).network.model.get_layer("encoder").get_layer("backbone")
    (cnn,) = [layer for layer in tuned.layers if isinstance(layer, keras.Model)]
    changed = {
        new.name
        for old, new in zip(before.layers, cnn.layers, strict=True)
        if old.weights
        and any(
            not np.array_equal(a, b)
            for a, b in zip(old.get_weights(), new.get_weights(), strict=True)
        )
    }
    assert changed == {"block_16_project", "Conv_1"}
    third = ["--objective", "cider", "--data", captions_folder, "--init-from", run]
    with pytest.raises(UserError, match="give --fine-tune too"):
        call(train.main, *BATCHES, *third, "--run", tmp_path / "third")
    assert printed(predict.main, "--run", run, "--image", photographs / "0.jpg").strip() != ""


@pytest.mark.no_backend
@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--decoder-units 7", "--decoder-units 7 differs from the 64 of --init-from"),
        ("--cell simple_rnn", "--cell simple_rnn differs from the gru of --init-from"),
    ],
)
def test_what_contradicts_the_run_to_go_on_from_is_named(flags, message, trained, captions_folder):
    flags = [*BATCHES, *flags.split(), "--init-from", trained, "--data", captions_folder]
    with pytest.raises(UserError, match=message):
        call(train.main, *flags, "--run", "run")


@pytest.mark.no_backend
def test_captions_are_trained_as_they_are_scored(trained, predictor, held_out):
    said = " ".join(texts_of(predictor.predict(held_out[1])))
    assert said == said.lower()
    assert not set(said) & set(".,!?")


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


@pytest.mark.no_backend
def test_the_test_split_stands_in_the_run_beside_its_baselines(scored, trained):
    run, record = scored
    stored = read_json(run / "metrics.json")
    before = read_json(trained / "metrics.json")
    assert stored["metrics"] == {**before["metrics"], "test": record["metrics"]}
    assert {"most_frequent", "nearest_picture"} <= set(stored["baselines"])
    for name, scores in record["baselines"].items():
        assert stored["baselines"][name] == {"test": scores}


@pytest.mark.no_backend
def test_the_table_shows_the_beam_greedy_search_and_the_baselines(scored, captioning_dir):
    run, record = scored
    before = files_of(run)
    shown = printed(evaluate.main, "--run", run, "--data-dir", captioning_dir)
    for name in ("greedy", "most_frequent", "nearest_picture"):
        assert name in shown
    assert f"{record['metrics']['cider']:.3f}" in shown
    # The same again, so nothing changed.
    assert files_of(run) == before


@pytest.mark.no_backend
def test_scores_on_other_data_leave_what_the_run_holds_of_its_own(scored, captions_folder):
    run, _ = scored
    before = files_of(run)
    flags = ["--run", run, "--data", captions_folder, "--no-baselines"]
    assert "not recorded" in printed(evaluate.main, *flags)
    after = files_of(run)
    assert {path: after.get(path) for path in before} == before


@pytest.mark.slow
@pytest.mark.no_backend
def test_captions_come_from_a_picture_and_its_mirror_image_unless_told_otherwise(
    whole, captions_folder, weights, tmp_path, monkeypatch
):
    seen = []
    original = Predictor.describe_ids
    monkeypatch.setattr(
        Predictor,
        "describe_ids",
        lambda self, inputs, *search, **options: (
            seen.append(np.array(inputs)) or original(self, inputs, *search, **options)
        ),
    )
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    flags = ["--split", "train", "--no-baselines"]
    call(evaluate.main, "--run", run, *flags)
    # Greedy search, the beam, and the beam without the mirror image.
    assert [inputs.shape[1] for inputs in seen] == [2, 2, 1]
    assert {"cider", "cider_without_mirror"} <= set(
        read_json(run / "metrics.json")["metrics"]["train"]
    )

    name = load_captions(str(captions_folder), data_dir=Path()).split("train").names[0]
    for flags, views in (([], 2), (["--no-mirror"], 1)):
        image = ["--image", captions_folder / name]
        call(predict.main, "--run", run, *image, *flags)
        np.testing.assert_allclose(seen[-1][0], seen[0][0, :views], rtol=2e-2, atol=2e-3)


@pytest.mark.no_backend
def test_it_is_the_same_which_of_both_is_called_the_mirror_image(whole, weights):
    run = Predictor.load(whole)
    inputs = np.random.default_rng(0).normal(size=(3, 2, 4, 1280)).astype("float16")

    def score(views):
        return [found[0].score for found in run.describe(views)]

    np.testing.assert_allclose(score(inputs), score(inputs[:, ::-1]), rtol=1e-5)
    assert np.abs(np.subtract(score(inputs[:, :1]), score(inputs[:, 1:]))).min() > 1e-4


@pytest.mark.no_backend
def test_baselines_are_not_scored_on_what_they_have_learnt(whole, capsys):
    line = fails_with(capsys, evaluate.main, "--run", whole, "--split", "train")
    assert "--no-baselines" in line


@pytest.mark.no_backend
def test_baselines_need_a_training_split_before_any_picture_is_captioned(
    whole, captions_folder, weights, tmp_path, capsys, monkeypatch
):
    folder = Path(shutil.copytree(captions_folder, tmp_path / "tests"))
    lines = (folder / "captions.csv").read_text(encoding="utf-8").splitlines()
    ends = ["split", *["test"] * (len(lines) - 1)]
    lines = [f"{line},{end}\n" for line, end in zip(lines, ends, strict=True)]
    (folder / "captions.csv").write_text("".join(lines), encoding="utf-8")
    flags = ["--run", whole, "--data", folder]

    def stop(*_):
        raise UserError("far enough")

    monkeypatch.setattr(Predictor, "describe", stop)
    line = fails_with(capsys, evaluate.main, *flags)
    assert "need a train split, but these data have test alone" in line
    assert "--no-baselines" in line
    assert "far enough" in fails_with(capsys, evaluate.main, *flags, "--no-baselines")


# ---- Prediction ------------------------------------------------------------------------------


@pytest.mark.no_backend
def test_neighbours_change_no_caption(predictor, held_out):
    together = predictor.predict(held_out[1][:9])
    for picture, found in zip(held_out[1][:3], together, strict=False):
        (alone,) = predictor.predict(picture[None])
        assert found[0].text == alone[0].text
        assert found[0].score == pytest.approx(alone[0].score, abs=1e-4)


@pytest.mark.no_backend
def test_the_best_captions_are_sorted_and_distinct(predictor, held_out):
    search = Search.of(predictor.config, beam_size=3, n_best=3)
    for candidates in predictor.predict(held_out[1][:8], search):
        scores = [candidate.score for candidate in candidates]
        assert scores == sorted(scores, reverse=True)
        assert len({candidate.text for candidate in candidates}) == len(scores) <= 3


@pytest.mark.no_backend
def test_files_folders_and_patterns_are_found_in_their_order(photographs):
    names = [path.name for path in find_pictures((str(photographs / "2.jpg"), str(photographs)))]
    assert names == ["2.jpg", "0.jpg", "1.jpg", "3.jpg"]
    assert [path.name for path in find_pictures((str(photographs / "[13].jpg"),))] == [
        "1.jpg",
        "3.jpg",
    ]


@pytest.mark.no_backend
def test_one_picture_gives_its_caption_and_several_their_names_too(trained, photographs):
    alone = printed(predict.main, "--run", trained, "--image", photographs / "1.jpg")
    lines = printed(predict.main, "--run", trained, "--image", photographs).splitlines()
    assert [Path(line.split("\t")[0]).name for line in lines] == [f"{n}.jpg" for n in range(4)]
    assert alone == lines[1].split("\t")[1] + "\n"


@pytest.mark.slow
def test_a_fresh_process_captions_the_same(trained, photographs):
    done = subprocess.run(
        [sys.executable, "-m", "apps.captioning.predict", "--run", trained, "--image", photographs],
        capture_output=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode() == printed(predict.main, "--run", trained, "--image", photographs)


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
def test_a_picture_of_where_was_looked_is_drawn(trained, photographs, here):
    call(predict.main, "--run", trained, "--image", photographs, "--picture", "a/[b]looked.png")
    assert (here / "a" / "[b]looked.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.no_backend
def test_a_picture_takes_a_colour_where_a_word_looked():
    shares = np.zeros(16)
    shares[3] = 0.4
    shown = tinted(np.full((32, 32, 3), 200, "uint8"), shares).astype(int)
    red, blue = shown[:, :, 0], shown[:, :, 2]
    assert (red - blue)[3, 28] > 100
    assert np.abs((red - blue)[16:]).max() < 20


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


@pytest.mark.no_backend
@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "I;16"])
def test_pictures_of_any_kind_are_captioned(mode, trained, photographs, here):
    picture = Image.open(photographs / "0.jpg")
    if mode == "I;16":
        picture = Image.fromarray(np.asarray(picture.convert("L")).astype("uint16") * 257)
    else:
        picture = picture.convert(mode)
    picture.save("picture.tif")
    assert printed(predict.main, "--run", trained, "--image", "picture.tif").strip()


# ---- Mistakes --------------------------------------------------------------------------------


@pytest.mark.no_backend
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--dropout 1", "--dropout is a share"),
        ("--scheduled-sampling 1", "--scheduled-sampling is a share"),
        ("--views 11", "--views goes up to 10"),
        ("--views 0", "--views must be at least 1"),
        ("--decoder-units 0", "--decoder-units must be at least 1"),
        ("--picture-size 8", "--picture-size must be at least 16"),
        ("--max-length 3", "--max-length must be at least 4"),
        ("--validation-share 0.5 --test-share 0.5", "leave nothing to train on"),
        ("--activation relu", "--cell simple_rnn"),
        ("--variant merge --attention concat", "--variant attention"),
        ("--attention dot --decoder-units 9", "--attention dot needs --decoder-units 256"),
        ("--fine-tune block_16_project", "name the first run with --init-from"),
        ("--fine-tune x --init-from y --backbone small_cnn", "small_cnn is trained whole"),
        ("--backbone alexnet", "mobilenet_v2"),
    ],
)
def test_a_wrong_setting_is_explained_in_one_line(arguments, message):
    with pytest.raises(UserError, match=message) as caught:
        parse_call(train.main, prog="train", description="", arguments=arguments.split())
    assert "\n" not in str(caught.value)


USUAL = {"activation", "samples", "pictures_per_step"}


@pytest.mark.no_backend
@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({}, USUAL),
        ({"cell": "simple_rnn"}, USUAL - {"activation"}),
        ({"cell": "feedforward"}, USUAL | {"recurrent_dropout"}),
        ({"variant": "merge"}, USUAL | {"attention"}),
        ({"views": 1}, USUAL | {"mirror"}),
        ({"data": "flickr8k"}, USUAL | {"validation_share", "test_share", "split_seed"}),
        (
            {"objective": "cider", "init_from": "x"},
            {"activation", "label_smoothing", "tokens_per_batch"},
        ),
    ],
)
def test_a_setting_is_ignored_in_just_the_modes_that_do_not_read_it(settings, names):
    ignored = Config(**{"data": "mine", **settings}).ignored()
    assert ignored.keys() - TrainingSettings().ignored().keys() == names
    assert ignored.keys() >= TrainingSettings().ignored().keys()


@pytest.mark.no_backend
@pytest.mark.parametrize(
    "flags",
    [
        "--samples 3",
        "--pictures-per-step 8",
        "--label-smoothing 0 --objective cider --init-from x",
        "--tokens-per-batch 9 --objective cider --init-from x",
        "--mirror --views 1",
        "--test-share 0.2 --data flickr8k",
    ],
)
def test_a_flag_that_nothing_reads_is_refused(flags, here):
    with pytest.raises(UserError, match=f"{flags.split()[0]} has no effect"):
        call(train.main, *flags.split(), "--run", "run")
    assert not (here / "run").exists()


def fails_with(capsys, main, *arguments):
    """Returns the one line that a command fails with."""
    with pytest.raises(SystemExit) as stop:
        run_command(
            main,
            prog="command",
            description="",
            arguments=list(map(str, arguments)),
        )
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.no_backend
@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("", "No picture: name files"),
        ("--image nowhere.jpg", "--image nowhere.jpg does not exist"),
        ("--image {folder}/no*.png", "does not exist"),
        ("--image {empty}", "the folder holds no picture"),
        ("--image {folder}/0.jpg --picture out.jpg", "must end in .png"),
        ("--image {folder}/0.jpg --n-best 3", "raise --beam-size"),
        ("--image {folder}/notes.txt", "no picture that can be read"),
    ],
)
def test_a_wrong_prediction_is_explained_in_one_line(
    flags, message, trained, photographs, here, capsys
):
    flags = flags.format(folder=photographs, empty=here).split()
    assert message in fails_with(capsys, predict.main, "--run", trained, *flags)


@pytest.mark.no_backend
def test_a_backbone_that_cannot_be_had_is_named(captions_folder, tmp_path, capsys, monkeypatch):
    flags = [*FROZEN, "--data", captions_folder, "--run", tmp_path / "run"]

    def offline(*_, **__):
        raise Exception("URL fetch failure on https://example.org/x.h5: None -- unreachable")

    monkeypatch.setattr("keras.src.applications.mobilenet_v2.file_utils.get_file", offline)
    line = fails_with(capsys, train.main, *flags)
    assert "the imagenet weights of mobilenet_v2" in line
    assert "--backbone-weights" in line
    line = fails_with(capsys, train.main, *flags, "--backbone-weights", "missing.h5")
    assert "--backbone-weights missing.h5 does not exist" in line


@pytest.mark.no_backend
def test_missing_pictures_are_a_warning_or_with_strict_an_error(
    captions_folder, tmp_path, capsys, monkeypatch
):
    folder = Path(shutil.copytree(captions_folder, tmp_path / "some"))
    with (folder / "captions.csv").open(encoding="utf-8") as file:
        first = next(csv.DictReader(file))["image"]
    (folder / first).unlink()
    # So long that no caption is left out for its length.
    learning = [{"31": "60"}.get(flag, flag) for flag in LEARNING]
    flags = ["--data", folder, "--run", tmp_path / "run", *learning]
    line = fails_with(capsys, train.main, *flags, "--strict")
    assert first in line
    assert "--strict" in line

    with (folder / "captions.csv").open("a", encoding="utf-8") as file:
        another = load_captions(str(captions_folder), data_dir=Path()).split("train").names[-1]
        file.write(f"{another},!!!\n")

    def stop(*_, **__):
        raise UserError("far enough")

    monkeypatch.setattr(keras.Model, "fit", stop)
    with pytest.raises(UserError, match="far enough"):
        call(train.main, *flags)
    shown = capsys.readouterr().out.replace("\n", " ")
    assert f"1 picture ({first})" in shown
    # What has no word is no caption.
    assert "1 captions are blank or longer than --max-length: left out" in shown


@pytest.mark.no_backend
def test_a_damaged_training_picture_is_named(captions_folder, tmp_path, capsys):
    folder = Path(shutil.copytree(captions_folder, tmp_path / "some"))
    name = load_captions(str(folder), data_dir=Path()).split("train").names[0]
    (folder / name).write_bytes((folder / name).read_bytes()[:200])
    flags = ["--data", folder, "--run", tmp_path / "run", *LEARNING]
    # Another cut, since the bytes decide on it.
    line = fails_with(capsys, train.main, *flags)
    assert name in line
    assert not (tmp_path / "run").exists()
