import dataclasses
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from apps.sentiment import evaluate, predict, pretraining, teachers, train
from apps.sentiment.predictor import Predictor
from apps.sentiment.teachers import (
    checked_teachers,
    load_teacher,
    span_targets,
    targets_of,
)
from common.cli import parse_call, run_command
from common.errors import UserError
from common.files import read_json, write_json
from common.results import read_history, record_scores
from data.download import sha256_of
from data.reviews.read import Reviews, load_reviews
from tests.helpers import (
    assert_same_training,
    call,
    files_of,
    photographed,
    published,
)

ROOT = Path(__file__).parents[3]
TINY = (
    "--epochs 2 --units 4 --embed-dim 6 --max-length 40 --region-length 10"
    " --tokens-per-batch 800 --warmup-steps 2 --vocab-size 300 --bigram-buckets 50"
).split()

LABELS = ["negative", "positive"]


def run_train(*arguments):
    call(train.main, *TINY, *arguments)


@pytest.fixture(scope="session")
def trained(reviews_csv, tmp_path_factory):
    """A run folder trained on a tiny file of one's own."""
    run = tmp_path_factory.mktemp("runs") / "tiny"
    with photographed(run):
        run_train("--data", reviews_csv, "--run", run)
    return run


@pytest.fixture
def copy(trained, tmp_path):
    return Path(shutil.copytree(trained, tmp_path / "copy"))


def test_a_run_folder_holds_what_the_house_promises(trained):
    for name in ("config.json", "model.keras", "tokenizer.json", "history.csv", "metrics.json"):
        assert (trained / name).is_file(), name
    assert (trained / "plots" / "learning_curves.png").stat().st_size > 5000
    assert read_json(trained / "config.json")["units"] == 4
    history = read_history(trained / "history.csv")
    assert {"loss", "val_loss", "accuracy", "val_accuracy"} <= set(history)
    assert {"gradient_norm", "clipped_share", "learning_rate", "seconds"} <= set(history)
    assert len(history["loss"]) == 2
    # The score is that of the best epoch, read from the disk.
    stored = read_json(trained / "metrics.json")["metrics"]["validation"]["accuracy"]
    assert stored == pytest.approx(max(history["val_accuracy"]), abs=1e-6)
    assert not list(trained.glob(".*")), "a temporary file was left behind"


def test_a_moved_run_folder_still_predicts(trained, copy):
    texts = ["A moving film.", "A dull film, and far too long!"]
    before = [found.probabilities for found in Predictor.load(trained).predict(texts)]
    moved = [found.probabilities for found in Predictor.load(copy).predict(texts)]
    assert before == moved


@pytest.mark.no_backend
def test_predictions_come_in_the_order_of_the_texts_whatever_their_lengths(trained):
    predictor = Predictor.load(trained)
    texts = ["good " * count + "film" for count in (30, 1, 12, 3, 25)]
    together = predictor.predict(texts, batch_size=2)
    for text, found in zip(texts, together, strict=True):
        alone = predictor.predict([text])[0]
        assert found.text == text
        assert found.probability == pytest.approx(alone.probability, abs=1e-5)


def test_the_pieces_are_the_text_and_their_scores_sum_to_the_margin(trained):
    predictor = Predictor.load(trained)
    text = "Not good,<br />  but “far” from dull - 7/10 …\tcafé! 電影"
    found = predictor.predict([text])[0]
    assert "".join(characters for characters, _ in found.pieces) == text
    bias = np.asarray(predictor.network.model.get_layer("logits").bias)
    best = predictor.labels.index(found.label)
    margin = np.log(found.probability) - np.log(1 - found.probability)
    expected = margin - (bias[best] - bias[1 - best])
    assert sum(score for _, score in found.pieces) == pytest.approx(expected, abs=1e-3)


def test_evaluate_agrees_with_predict(copy, reviews_csv, cache_dir):
    scores = evaluate.evaluate_run(copy, data="", data_dir="", split="test", baselines=True)
    metrics, baselines = scores.metrics, scores.baselines
    assert record_scores(copy, scores)
    data = load_reviews(
        str(reviews_csv), data_dir=Path(), cache_dir=cache_dir, validation_share=0.1, split_seed=0
    )
    test = data.splits["test"]
    labels = [found.label for found in Predictor.load(copy).predict(test.texts)]
    truth = [data.label_names[label] for label in test.labels]
    assert metrics["accuracy"] == pytest.approx(np.mean(np.array(labels) == np.array(truth)))
    assert set(baselines) == {"majority", "tfidf_logreg", "nb_svm"}
    assert read_json(copy / "metrics.json")["baselines"]["nb_svm"]["test"]


@pytest.mark.no_backend
def test_a_run_is_not_overwritten_unless_asked_for(copy, reviews_csv):
    before = (copy / "model.keras").read_bytes()
    with pytest.raises(UserError, match="--resume.*--overwrite"):
        run_train("--data", reviews_csv, "--run", copy)
    assert (copy / "model.keras").read_bytes() == before
    run_train("--data", reviews_csv, "--run", copy, "--overwrite", "--cell", "gru")
    assert read_json(copy / "config.json")["cell"] == "gru"


@pytest.mark.no_backend
def test_a_run_that_was_stopped_goes_on_to_the_same_weights(trained, tmp_path, reviews_csv):
    stopped = Path(shutil.copytree(trained.with_name("stopped"), tmp_path / "stopped"))
    assert len(read_history(stopped / "history.csv")["loss"]) == 1
    run_train("--data", reviews_csv, "--run", stopped, "--resume")
    assert_same_training(trained, stopped)


def test_a_published_run_is_smaller_and_predicts_alike(trained, tmp_path):
    published(trained, tmp_path / "small")
    texts = ["A moving film.", "Far from good."]
    before = Predictor.load(trained).predict(texts)
    after = Predictor.load(tmp_path / "small").predict(texts)
    for one, other in zip(before, after, strict=True):
        assert one.probability == pytest.approx(other.probability, abs=5e-3)
    sizes = [(run / "model.keras").stat().st_size for run in (trained, tmp_path / "small")]
    assert sizes[1] < sizes[0]


@pytest.mark.no_backend
def test_a_text_of_a_million_words_is_read_at_both_ends(trained):
    text = "first " + "word " * 1_000_000 + "last"
    found = Predictor.load(trained).predict([text])[0]
    assert found.tokens == 1_000_002
    assert found.tokens_read == 40
    assert found.pieces[-1][0] == "last"


def change_config(run, **values):
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps({**config, **values}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda run: (run / "model.keras").unlink(), "has no model.keras"),
        (
            lambda run: (run / "model.keras").write_bytes(
                (run / "model.keras").read_bytes()[:-500]
            ),
            "cut short",
        ),
        (lambda run: (run / "tokenizer.json").write_text("{"), "tokenizer.json"),
        (lambda run: (run / "config.json").write_text("{"), "not valid JSON"),
        (lambda run: (run / "config.json").write_text('{"task": "captioning"}'), "captioning"),
        (lambda run: change_config(run, units="a"), "units cannot be 'a'"),
        (lambda run: change_config(run, labels=None), "names no labels"),
        (lambda run: shutil.rmtree(run), "no run folder"),
    ],
)
def test_a_damaged_run_folder_is_explained_in_one_line(copy, damage, message):
    damage(copy)
    with pytest.raises(UserError, match=message) as caught:
        Predictor.load(copy)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--pooling", "last"], "--region-length 0"),
        (["--pretrain-epochs", "1", "--num-layers", "2"], "--pretrain-epochs is for one"),
        (["--dropout", "1"], "--dropout"),
        (["--uints", "3"], "--units"),
        (["--cell", "lstn"], "simple_rnn"),
    ],
)
def test_a_wrong_flag_is_explained_in_one_line(arguments, message):
    with pytest.raises(UserError, match=message) as caught:
        parse_call(train.main, prog="train", description="", arguments=arguments)
    assert "\n" not in str(caught.value)


def test_evaluating_on_data_with_other_labels_is_refused(trained, tmp_path):
    other = tmp_path / "other.csv"
    rows = [f"text number {index},{'spam' if index % 2 else 'ham'}" for index in range(60)]
    other.write_text("\n".join(["text,label", *rows]))
    with pytest.raises(UserError, match="ham, spam.*same labels"):
        evaluate.evaluate_run(trained, data=str(other), data_dir="", split="test", baselines=False)


@pytest.mark.no_backend
def test_a_loss_that_is_no_number_puts_the_old_run_back(copy, reviews_csv):
    before = files_of(copy)
    explode = ["--optimizer", "sgd", "--learning-rate", "1e30", "--clipping", "none"]
    with pytest.raises(UserError, match="--learning-rate"):
        run_train("--data", reviews_csv, "--run", copy, "--overwrite", *explode)
    assert files_of(copy) == before


def test_resume_refuses_other_data(copy, tmp_path, reviews_csv):
    metrics = read_json(copy / "metrics.json")
    metrics["data"] = {"reviews.csv": "0" * 64}
    (copy / "metrics.json").write_text(json.dumps(metrics))
    with pytest.raises(UserError, match="was begun with the data"):
        run_train("--run", copy, "--resume", "--data", reviews_csv)


def test_all_of_other_data_is_scored_and_nothing_recorded(copy, reviews_csv, tmp_path, capsys):
    other = tmp_path / "other.csv"
    rows = [f"text number {index},{('negative', 'positive')[index % 2]}" for index in range(80)]
    other.write_text("\n".join(["text,label", *rows]))
    before = (copy / "metrics.json").read_bytes()
    evaluate.main(run=copy, data=str(other), baselines=False)
    assert "80 reviews" in capsys.readouterr().out
    assert (copy / "metrics.json").read_bytes() == before
    with pytest.raises(UserError, match="other.csv has none: .* --no-baselines"):
        evaluate.main(run=copy, data=str(other))
    with pytest.raises(UserError, match="no row of the validation split, only of test"):
        evaluate.main(run=copy, data=str(other), split="validation", baselines=False)
    with pytest.raises(UserError, match="--split train .* --no-baselines"):
        evaluate.main(run=copy, split="train")
    # What the run was trained on is no other data under another name.
    again = tmp_path / "again.csv"
    again.write_bytes(Path(reviews_csv).read_bytes())
    found = [
        evaluate.evaluate_run(copy, data=data, data_dir="", split="test", baselines=False).reviews
        for data in (str(again), "")
    ]
    assert found[0] == found[1]


def test_a_full_disk_leaves_the_old_model(copy, monkeypatch):
    from common import run_folder

    before = (copy / "model.keras").read_bytes()
    model = run_folder.load_model(copy)

    def no_space(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", no_space)
    with pytest.raises(OSError, match="No space left"):
        run_folder.save_model(model, copy / "model.keras")
    assert (copy / "model.keras").read_bytes() == before
    assert not list(copy.glob(".*"))


@pytest.mark.no_backend
def test_three_labels_train_and_predict(tmp_path):
    words = {"red": "rose fire", "green": "grass leaf", "blue": "sea sky"}
    rows = [
        f"{words[label].split()[index % 2]} number {index},{label}"
        for index in range(120)
        for label in words
    ]
    (tmp_path / "colours.csv").write_text("\n".join(["text,label", *rows]))
    flags = "--pooling attention --learning-rate 0.05 --epochs 4".split()
    run_train("--data", tmp_path / "colours.csv", "--run", tmp_path / "run", *flags)
    found = Predictor.load(tmp_path / "run").predict(["sea number 5", "fire number 9"])
    assert [prediction.label for prediction in found] == ["blue", "red"]


def command(*arguments, environment=None, **options):
    return subprocess.run(
        [sys.executable, "-m", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        env={**os.environ, "NO_COLOR": "1", **(environment or {})},
        **options,
    )


@pytest.mark.no_backend
def test_the_command_predicts_on_another_backend_line_by_line_as_json(trained):
    other = "tensorflow" if keras.backend.backend() == "jax" else "jax"
    done = command(
        *("apps.sentiment.predict", "--run", trained, "--json"),
        input=b"A moving film.\n\nFar from good, and dull.\n",
        environment={"KERAS_BACKEND": other},
    )
    assert done.returncode == 0, done.stderr
    assert "line 2 is empty" in done.stderr.decode()
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["text"] for line in lines] == ["A moving film.", "Far from good, and dull."]
    here = Predictor.load(trained).predict([line["text"] for line in lines])
    for line, found in zip(lines, here, strict=True):
        assert line["probabilities"] == pytest.approx(found.probabilities, abs=1e-4)


def test_an_unknown_backend_is_named():
    arguments = ["--text", "fine", "--runtime", "keras"]
    done = command("apps.sentiment.predict", *arguments, environment={"KERAS_BACKEND": "theano"})
    assert done.returncode == 2
    assert done.stderr.decode().startswith("error: KERAS_BACKEND=theano is unknown")


@pytest.mark.no_backend
@pytest.mark.parametrize(
    ("main", "flags", "message"),
    [
        (predict.main, "--text ''", "--text is empty"),
        (predict.main, "--text '<br />'", "--text holds no word"),
        (train.main, "--data x.csv", "x.csv"),
    ],
)
def test_a_mistake_in_the_flags_ends_in_one_line_and_status_2(main, flags, message, capsys):
    with pytest.raises(SystemExit) as stop:
        run_command(main, prog="", description="", arguments=shlex.split(flags))
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert message in said
    assert len(said.strip().splitlines()) == 1


def test_teachers_label_the_unlabelled_reviews_with_their_mean_verdict(trained, tmp_path):
    labelled = Reviews(["good film", "bad film"], np.array([1, 0], "int32"))
    unlabelled = Reviews(["fine", "a dull and long film", "great"], np.full(3, -1, "int32"))
    other = tmp_path / "other"
    published(trained, other)
    config = Predictor.load(trained).config
    targets = targets_of(
        labelled,
        labelled,
        unlabelled,
        config=dataclasses.replace(config, teachers=f"{trained},{other}"),
        labels=LABELS,
    )
    assert targets.shape == (5, 2)
    np.testing.assert_array_equal(targets[:2], [[0, 1], [1, 0]])
    for row, text in enumerate(unlabelled.texts, start=2):
        verdicts = [
            list(Predictor.load(run).predict([text])[0].probabilities.values())
            for run in (trained, other)
        ]
        np.testing.assert_allclose(targets[row], np.mean(verdicts, axis=0), atol=1e-5)


def test_spans_learn_what_their_text_and_the_networks_among_the_teachers_say(trained):
    spans, labels = ["a good film", "a dull one", "great", "bad"], ["negative", "positive"]
    targets = np.array([[0, 1], [0.7, 0.3]], "float32")
    repeated = targets[[0, 0, 1, 1]]
    config = Predictor.load(trained).config

    def learned(given):
        student = dataclasses.replace(config, teachers=given)
        return span_targets(spans, targets, config=student, labels=labels)

    np.testing.assert_array_equal(learned("nb_svm"), repeated)
    verdicts = [
        list(found.probabilities.values()) for found in Predictor.load(trained).predict(spans)
    ]
    expected = (repeated + np.array(verdicts)) / 2
    np.testing.assert_allclose(learned(f"nb_svm,{trained}"), expected, atol=1e-5)


def test_a_teacher_that_does_not_fit_is_refused(trained):
    config = Predictor.load(trained).config
    with pytest.raises(UserError, match="knows the labels negative, positive"):
        load_teacher(trained, config, ["ham", "spam"])
    with pytest.raises(UserError, match="split_seed 0, not 5"):
        load_teacher(trained, dataclasses.replace(config, split_seed=5), LABELS)


@pytest.mark.no_backend
def test_a_student_notes_its_teachers_and_refuses_those_that_saw_other_files(
    copy, reviews_csv, tmp_path
):
    path, rows = tmp_path / "with_unlabelled.csv", Path(reviews_csv).read_text().splitlines()
    lines = ["text,label,split", *(f"{row},train" for row in rows[1:])]
    lines += [f"{row},test" for row in rows[1:9]] + ["what a film,,unlabelled"] * 3
    path.write_text("\n".join(lines))
    write_json(copy / "config.json", read_json(copy / "config.json") | {"data": str(path)})
    flags = ["--data", str(path), *TINY, "--teachers", str(copy)]
    config = parse_call(train.main, prog="", description="", arguments=flags).keywords["config"]

    def checked(hashes, *, resume=False):
        return checked_teachers(config, hashes, tmp_path / "student", resume=resume)

    hashes = {path.name: sha256_of(path)}
    with pytest.raises(UserError, match="--teachers .*copy was trained on other files"):
        checked(hashes)
    write_json(copy / "metrics.json", read_json(copy / "metrics.json") | {"data": hashes})
    assert checked(hashes) == {"runs": {str(copy): sha256_of(copy / "model.keras")}}
    write_json(tmp_path / "student" / "metrics.json", {"teacher": {"runs": {"another": "0"}}})
    with pytest.raises(UserError, match="student was begun with other teachers"):
        checked(hashes, resume=True)


@pytest.fixture
def with_unlabelled(reviews_csv, tmp_path):
    """A file with 300 labelled and ten unlabelled reviews."""
    rows = [f"{row},train" for row in Path(reviews_csv).read_text().splitlines()[1:]]
    rows += [f"a film of number {number},{label},test" for number, label in enumerate(LABELS)]
    rows += [f"what a film of {number} words,,unlabelled" for number in range(10)]
    path = tmp_path / "with_unlabelled.csv"
    path.write_text("\n".join(["text,label,split", *rows]))
    return path


@pytest.mark.no_backend
def test_reviews_are_labelled_once_for_all_runs_of_the_same_teachers(
    copy, with_unlabelled, monkeypatch
):
    splits = load_reviews(
        str(with_unlabelled),
        data_dir=copy,
        cache_dir=copy.parent,
        validation_share=0.1,
        split_seed=0,
    ).splits
    config, calls = Predictor.load(copy).config, []
    monkeypatch.setenv("CACHE_DIR", str(copy.parent / "cache"))
    original = teachers.predict_probabilities
    monkeypatch.setattr(
        teachers, "predict_probabilities", lambda *given: calls.append(given) or original(*given)
    )

    def targets(names, unlabelled=splits["unlabelled"]):
        given = splits["train"], splits["validation"], unlabelled
        student = dataclasses.replace(config, teachers=",".join(names))
        return targets_of(*given, config=student, labels=LABELS)

    first = targets([str(copy)])
    np.testing.assert_array_equal(targets([str(copy)]), first)
    assert len(calls) == 1
    # Labelled texts keep their labels, unlabelled ones get a teacher's, which is sure of nothing.
    labelled = len(splits["train"].texts)
    assert (first[:labelled].max(axis=1) == 1).all() and (first[labelled:].max(axis=1) < 1).all()
    # Other texts, other teachers and another model are asked anew.
    assert len(targets([str(copy)], splits["unlabelled"].take(np.arange(10) < 9))) < len(first)
    assert (targets([str(copy), "nb_svm"]) != first).any()
    model = keras.saving.load_model(copy / "model.keras")
    model.set_weights([weight + 0.1 for weight in model.get_weights()])
    model.save(copy / "model.keras")
    assert (targets([str(copy)]) != first).any()
    assert len(calls) == 4


@pytest.mark.no_backend
def test_a_run_that_goes_on_computes_no_start_and_no_labels_again(
    trained, with_unlabelled, tmp_path, monkeypatch
):
    monkeypatch.setenv("CACHE_DIR", str(tmp_path / "cache"))
    teacher = Path(shutil.copytree(trained, tmp_path / "teacher"))
    write_json(
        teacher / "metrics.json", {"data": {with_unlabelled.name: sha256_of(with_unlabelled)}}
    )
    change_config(teacher, data=str(with_unlabelled))
    arguments = ["--data", with_unlabelled, "--teachers", teacher, "--pretrain-epochs", "1"]
    arguments += ["--spans", "1"]
    with photographed(tmp_path / "whole"):
        run_train(*arguments, "--run", tmp_path / "whole")
    monkeypatch.setattr(train, "train_word_vectors", None)
    monkeypatch.setattr(pretraining, "pretrain", None)
    monkeypatch.setattr(teachers, "predict_probabilities", None)
    run_train(*arguments, "--run", tmp_path / "stopped", "--resume")
    assert_same_training(tmp_path / "whole", tmp_path / "stopped")


def test_teachers_without_unlabelled_reviews_are_refused(trained, tmp_path, reviews_csv):
    with pytest.raises(UserError, match="--teachers"):
        run_train("--data", reviews_csv, "--run", tmp_path / "run", "--teachers", trained)
    assert not (tmp_path / "run").exists()
