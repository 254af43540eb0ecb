import functools
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from rich.console import Console

from apps.export.runtime import open_network
from apps.translation import evaluate, predict, second_stage, train
from apps.translation.config import Config
from apps.translation.metrics import translation_metrics
from apps.translation.predictor import Predictor
from common.cli import parse_call
from common.errors import UserError
from common.files import read_json
from common.results import read_history
from data.download import sha256_of
from data.pairs.sources import load_pairs
from data.text.subwords import encode_texts
from models.decode.writer import Hypothesis
from tests.helpers import (
    assert_same_training,
    call,
    check_refused,
    files_of,
    photographed,
    printed,
    weights_of,
    write_pairs_tsv,
)

pytestmark = pytest.mark.usefixtures("jax_compiles_once", "here")

ROOT = Path(__file__).parents[3]
LANGUAGES = ["--source-language", "en", "--target-language", "fr"]
# Large enough to learn the grammar. JAX compiles each new shape for seconds, so there are few: all
# batches of training are full.
LEARNING = (
    "--epochs 6 --vocab-size 600 --embed-dim 48 --units 48 --decoder-units 64 --max-length 40"
    " --tokens-per-batch 1120 --warmup-steps 20 --learning-rate 1e-2 --dropout 0"
    " --embedding-dropout 0 --decoder-layers 1 --beam-size 2"
).split()
DATA = "--tokens-per-batch 1360 --max-length 60 --warmup-steps 2 --beam-size 2".split()
TINY = [
    *DATA,
    *"--epochs 3 --vocab-size 480 --embed-dim 8 --units 6 --decoder-units 10".split(),
    *"--decoder-layers 1".split(),
]


@pytest.fixture(scope="module", autouse=True)
def loaded_once():
    """Loads every run once."""
    with pytest.MonkeyPatch.context() as patch:
        # A predictor keeps the loops that it has compiled.
        patch.setattr(Predictor, "load", functools.cache(Predictor.load))
        yield


@pytest.fixture(scope="module")
def trained(jax_compiles_once, translation_dir, tmp_path_factory):
    """A run folder of a model that has learnt the grammar."""
    run = tmp_path_factory.mktemp("runs") / "trained"
    call(train.main, *LEARNING, "--data-dir", translation_dir, "--run", run)
    return run


@pytest.fixture(scope="module")
def predictor(trained):
    return Predictor.load(trained)


@pytest.fixture(scope="module")
def whole(jax_compiles_once, pairs_tsv, tmp_path_factory):
    """A run folder of a tiny model, trained without a stop."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    with photographed(run):
        call(train.main, *TINY, "--data", pairs_tsv, "--run", run)
    return run


@pytest.fixture
def stopped(whole, tmp_path):
    """The same run as it stood on the disk near the end of its second epoch."""
    return Path(shutil.copytree(whole.with_name("stopped"), tmp_path / "stopped"))


@pytest.fixture
def copy(whole, tmp_path):
    return Path(shutil.copytree(whole, tmp_path / "copy"))


@pytest.fixture(scope="module")
def scored(trained, translation_dir, tmp_path_factory):
    """A copy of the first run after its test split was scored, and what the command printed."""
    run = Path(shutil.copytree(trained, tmp_path_factory.mktemp("runs") / "scored"))
    flags = ["--run", run, "--data-dir", translation_dir, "--beam-sizes", "3", "--json"]
    return run, json.loads(printed(evaluate.main, *flags))


@pytest.fixture(scope="module")
def held_out(translation_dir):
    return load_pairs("multi30k", data_dir=translation_dir).split("test")


def texts_of(translations):
    return [translation.text for translation in translations]


# ---- Training --------------------------------------------------------------------------------


def test_a_run_folder_holds_what_the_house_promises(trained):
    for name in ("config.json", "model.keras", "tokenizer.json", "history.csv", "metrics.json"):
        assert (trained / name).is_file(), name
    for name in ("learning_curves", "optimisation"):
        assert (trained / "plots" / f"{name}.png").stat().st_size > 5000
    config = read_json(trained / "config.json")
    assert (config["task"], config["units"], config["target_language"]) == ("translation", 48, "fr")
    history = read_history(trained / "history.csv")
    assert {"loss", "val_loss", "val_bleu", "gradient_norm", "learning_rate"} <= set(history)
    assert len(history["loss"]) == 6
    metrics = read_json(trained / "metrics.json")
    assert {"command", "backend", "device", "versions", "commit", "data"} <= set(metrics)
    assert {"parameters", "seconds", "epochs", "peak_memory_mb"} <= set(metrics)
    # Of the best epoch, read from the disk; the test split is left alone.
    assert set(metrics["metrics"]) == {"validation"}
    best = max(history["val_bleu"])
    assert metrics["metrics"]["validation"]["bleu_greedy"] == pytest.approx(best, abs=0.5)
    assert not list(trained.glob(".*")), "a temporary file was left behind"


def test_the_model_learns_what_no_dictionary_and_no_memory_can_do(scored):
    _, record = scored
    rest = [scores["bleu"] for scores in record["baselines"].values()]
    assert 5 < max(rest)
    assert record["metrics"]["bleu"] > 2 * max(rest)
    assert record["metrics"]["bleu_greedy"] > 2 * max(rest)


@pytest.mark.no_backend
def test_a_run_that_was_stopped_goes_on_to_the_same_result(whole, stopped, pairs_tsv, exporting):
    assert len(read_history(stopped / "history.csv")["loss"]) == 1
    call(train.main, *TINY, "--data", pairs_tsv, "--run", stopped, "--resume")
    assert_same_training(whole, stopped)
    assert open_network(stopped, task="translation").parameters


@pytest.fixture
def more_tsv(tmp_path):
    return write_pairs_tsv(tmp_path / "more.tsv", rows=100, seed=1)


@pytest.mark.no_backend
def test_a_run_goes_on_from_another_one_with_its_weights_subwords_and_shape(
    whole, more_tsv, tmp_path
):
    run = tmp_path / "more"
    # So small a rate moves no weight by more than a millionth.
    settings = "--epochs 1 --learning-rate 1e-9".split()
    call(train.main, *DATA, *settings, "--init-from", whole, "--data", more_tsv, "--run", run)
    for before, after in zip(weights_of(whole), weights_of(run), strict=True):
        np.testing.assert_allclose(after, before, atol=1e-6)
    assert (run / "tokenizer.json").read_bytes() == (whole / "tokenizer.json").read_bytes()
    config = read_json(run / "config.json")
    assert (config["units"], config["vocab_size"]) == (6, 480)
    before, after = (read_json(folder / "metrics.json") for folder in (whole, run))
    origin = after["init_from"]
    assert (origin["run"], origin["data"]) == (str(whole), before["data"])
    assert origin["model"] == sha256_of(whole / "model.keras")
    assert set(origin["known"]) == {"validation", "test"}
    assert after["data"] != before["data"]


@pytest.mark.no_backend
def test_held_out_sentences_that_the_run_to_go_on_from_has_learned_are_counted(
    whole, pairs_tsv, here, capsys
):
    def begun_from(rows):
        """What is kept of the earlier run on these pairs, and what is said."""
        write_lines(here / "more.tsv", "en\tfr\tsplit", *("\t".join(row) for row in rows))
        facts = second_stage.origin_facts(
            Config(data=("more.tsv",), init_from=str(whole)),
            Predictor.load(whole),
            load_pairs("more.tsv", data_dir=here),
            data_dir=str(here),
            console=Console(width=999),
        )
        return facts, capsys.readouterr().out

    learned = load_pairs(str(pairs_tsv), data_dir=here).splits["train"]
    sources = sorted(set(learned.source))
    rows = [(f"Quite another line, number {n}.", f"Tout autre {n}.", "train") for n in range(30)]
    rows += [("Nobody wrote this before.", "Non.", "validation")]
    # One as it is, one in capitals and without marks, one with a letter less, and a new one.
    changed = [sources[0], sources[5].upper().strip(".!?"), sources[9][:-4] + sources[9][-3:]]
    rows += [(text, f"Voir {n}.", "test") for n, text in enumerate([*changed, "Unheard of."])]
    facts, said = begun_from(rows)
    assert facts["known"] == {"validation": 0, "test": 3}
    assert "warning:" in said and "0 of 1 in validation, 3 of 4 in test" in said
    rows = [row for row in rows if row[0] not in changed]
    facts, said = begun_from(rows)
    assert facts["known"] == {"validation": 0, "test": 0}
    assert "warning:" not in said and "0 of 1 in test" in said


@pytest.mark.no_backend
def test_a_run_stopped_in_its_first_epoch_still_goes_on_from_the_other_one(
    whole, more_tsv, tmp_path, monkeypatch
):
    begun = []

    def stop(model, *_, **__):
        begun.append(model.get_weights())
        raise KeyboardInterrupt

    monkeypatch.setattr(keras.Model, "fit", stop)
    flags = [*DATA, "--epochs", "1", "--init-from", whole, "--data", more_tsv]
    for more in ([], ["--resume"]):
        with pytest.raises(KeyboardInterrupt):
            call(train.main, *flags, "--run", tmp_path / "run", *more)
    for weights in begun:
        for before, after in zip(weights_of(whole), weights, strict=True):
            np.testing.assert_array_equal(after, before)
    assert len(begun) == 2


@pytest.mark.no_backend
def test_what_contradicts_the_run_to_go_on_from_is_named(whole, more_tsv, here):
    flags = [*DATA, "--init-from", whole, "--data", more_tsv, "--run", "run"]
    with pytest.raises(UserError, match="--units 7 differs from the 6 of --init-from"):
        call(train.main, *flags, "--units", "7")
    with pytest.raises(UserError, match="translates en to fr, not fr to en"):
        call(train.main, *flags, "--source-language", "fr", "--target-language", "en")
    assert not files_of(here)


# ---- Evaluation ------------------------------------------------------------------------------


def test_evaluate_scores_what_predict_says(scored, predictor, held_out):
    run, record = scored
    said = texts_of(predictor.predict(held_out.source))
    for beam_size in (1, 2, 3):
        text = (run / "outputs" / f"test.beam{beam_size}.txt").read_text(encoding="utf-8")
        assert text.count("\n") == len(held_out.source)
        assert f"bleu_tok_lc_beam_{beam_size}" in record["metrics"]
        assert beam_size != 2 or text.splitlines() == said
    expected = translation_metrics(said, held_out.references, target_language="fr")
    for name, score in expected.items():
        assert record["metrics"][name] == pytest.approx(score)
    assert record["metrics"]["bleu_tok_lc_beam_2"] == record["metrics"]["bleu_tok_lc"]
    stored = read_json(run / "metrics.json")
    assert stored["metrics"]["test"] == record["metrics"]
    for name, scores in record["baselines"].items():
        assert stored["baselines"][name] == {"test": scores}


# ---- Prediction ------------------------------------------------------------------------------


@pytest.mark.no_backend
def test_every_text_has_its_translation_in_its_place(predictor):
    texts = [
        "The dog sees the house.",
        "",
        "🐶🐶 sees 😀",
        "电影很好看。",
        " \t ",
        "?!… – «»",
        " ".join(["The man sees the dog"] * 100),
        "a" * 2000,
        "[START] [END] [PAD] [UNK]",
        "e\u0301te\u0301 \u202bright to left\u202c",
        "\u200b\0",
        "The dog sees the house.",
    ]
    found = predictor.predict(texts)
    assert [translation.source for translation in found] == texts
    for text, translation in zip(texts, found, strict=True):
        assert bool(translation.text) == bool(text.strip(" \t\u200b\0"))
        assert "\n" not in translation.text
        assert (translation.parts == 0) == (not any(map(str.isalpha, text)))
    assert found[0].text == found[-1].text
    assert found[6].parts > 10


@pytest.mark.no_backend
def test_a_long_text_is_translated_sentence_by_sentence(predictor, held_out):
    sentences = held_out.source[:12]
    found = predictor.predict([" ".join(sentences), *sentences])
    assert found[0].parts == 12
    assert found[0].text == " ".join(texts_of(found[1:]))
    scores = [one.candidates[0].score for one in found[1:]]
    assert found[0].candidates[0].score == pytest.approx(np.mean(scores), abs=1e-4)


@pytest.mark.no_backend
@pytest.mark.parametrize(
    "text", [f"A{'a' * 2000}.", "电影很好看。" * 40, f"Dog {'b' * 300} house."]
)
def test_no_part_of_a_long_word_is_dropped(text, predictor):
    length = len(encode_texts(predictor.tokenizer, [text])[0])
    assert length > 40
    pieces = [piece for _, piece in predictor._parts(0, text)]
    lengths = [len(tokens) for tokens in encode_texts(predictor.tokenizer, pieces)]
    assert max(lengths) <= 40
    assert "".join(pieces).replace(" ", "") == text.replace(" ", "")


@pytest.fixture
def says(predictor, monkeypatch):
    """Makes the model say given tokens."""

    def says(*sequences):
        hypotheses = [
            Hypothesis(
                tokens=np.array([predictor.tokenizer.token_to_id(token) for token in tokens]),
                score=-0.1 * rank,
                attention=None,
            )
            for rank, tokens in enumerate(sequences)
        ]
        monkeypatch.setattr(
            predictor, "translate_ids", lambda sources, *_, **__: [hypotheses] * len(sources)
        )
        return predictor.predict(["dog"])[0].candidates

    return says


@pytest.mark.no_backend
def test_a_translation_is_one_line_and_stands_once_however_its_words_are_cut(says):
    found = says(["Ġ", "l", "a"], ["Ġ", "l", "e"], ["Ġl", "a"])
    assert [candidate.text for candidate in found] == ["la", "le"]
    # The bytes of a line feed and of a carriage return, as a vocabulary of bytes writes them.
    (text,) = says(["Ġ", "l", "Ċ", "a", "č"])[0].text.splitlines()
    assert text.split() == ["l", "a"]


class Lines:
    """Standard input."""

    def __init__(self, content):
        self.buffer = io.BytesIO(content)

    def isatty(self):
        return False


@pytest.fixture
def typed(monkeypatch):
    return lambda content: monkeypatch.setattr(sys, "stdin", Lines(content))


@pytest.mark.no_backend
def test_each_line_of_the_output_is_the_translation_of_its_line(
    trained, predictor, typed, monkeypatch
):
    # Long files are translated piece by piece.
    monkeypatch.setattr(predict, "_PIECE", 2)
    typed("The dog sees the house.\r\n\n\ufeffThe [b]car[/b].\nThe dog sees the house.".encode())
    lines = printed(predict.main, "--run", trained).split("\n")
    texts = ["The dog sees the house.", "The [b]car[/b]."]
    whole, car = texts_of(predictor.predict(texts))
    assert lines == [whole, "", car, whole, ""]


@pytest.mark.no_backend
def test_json_holds_what_each_word_looked_at(trained, typed, held_out):
    typed("\n".join([*held_out.source[:3], "", "Say 电影 \\ \"a\", 'b'."]).encode())
    lines = printed(predict.main, "--run", trained, "--json", "--n-best", "2").splitlines()
    records = [json.loads(line) for line in lines]
    assert [record["source"] for record in records[:3]] == held_out.source[:3]
    assert [record["parts"] for record in records] == [1, 1, 1, 0, 1]
    assert records[3]["translations"] == [{"text": "", "score": 0.0}]
    for record in (*records[:3], records[4]):
        # Two ways to cut the same words are one translation.
        assert 1 <= len(record["translations"]) <= 2
        for translation in record["translations"]:
            attention = np.array(translation["attention"])
            words, source_words = translation["words"], translation["source_words"]
            assert attention.shape == (len(words), len(source_words))
            np.testing.assert_allclose(attention.sum(axis=1), 1, atol=1e-3)
            assert "".join(words) == translation["text"].replace(" ", "")
    for record in records[:3]:
        words = record["translations"][0]["source_words"]
        assert "".join(words) == record["source"].replace(" ", "")


@pytest.mark.no_backend
def test_a_picture_of_what_was_looked_at_is_drawn(trained, typed, here):
    typed(b"\nThe dog sees $5 & [b]the house[/b].\nThe car.\n")
    call(predict.main, "--run", trained, "--picture", "a/[b]picture.PNG", *LANGUAGES)
    assert (here / "a" / "[b]picture.PNG").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_a_fresh_process_translates_the_same_on_another_backend(trained, predictor, held_out):
    other = "tensorflow" if keras.backend.backend() == "jax" else "jax"
    done = subprocess.run(
        [sys.executable, "-m", "apps.translation.predict", "--run", trained],
        input="\n".join(held_out.source).encode(),
        capture_output=True,
        env=os.environ | {"KERAS_BACKEND": other, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"},
    )
    assert done.returncode == 0, done.stderr
    there = done.stdout.decode().splitlines()
    here = texts_of(predictor.predict(held_out.source))
    # Two beams of nearly the same score may change places.
    assert np.mean([one == two for one, two in zip(there, here, strict=True)]) > 0.9


# ---- Mistakes --------------------------------------------------------------------------------


@pytest.mark.no_backend
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--dropout 1", "--dropout is a share"),
        ("--units 0", "--units must be at least 1"),
        ("--tokens-per-batch 161", "--tokens-per-batch 161 .* 80 subwords"),
        ("--source-language fr", "--source-language and --target-language are the same"),
        ("--uints 3", "--units"),
    ],
)
def test_a_wrong_setting_is_explained_in_one_line(arguments, message):
    with pytest.raises(UserError, match=message) as caught:
        parse_call(train.main, prog="train", description="", arguments=arguments.split())
    assert "\n" not in str(caught.value)


@pytest.mark.no_backend
def test_a_flag_that_nothing_reads_is_refused(here):
    with pytest.raises(UserError, match="--vocabulary-data has no effect"):
        call(train.main, *"--vocabulary-data tatoeba --init-from x --run run".split())
    assert not (here / "run").exists()


def change_config(run, **values):
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps({**config, **values}))


def exchange_tokenizer(run):
    tokenizer = json.loads((run / "tokenizer.json").read_text())
    last = max(tokenizer["model"]["vocab"], key=tokenizer["model"]["vocab"].get)
    del tokenizer["model"]["vocab"][last]
    tokenizer["model"]["merges"].pop()
    (run / "tokenizer.json").write_text(json.dumps(tokenizer))


@pytest.mark.no_backend
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda run: (run / "tokenizer.json").unlink(), "tokenizer.json"),
        (exchange_tokenizer, "has 479 subwords .* 480: they belong to different runs"),
        (lambda run: change_config(run, target_language="de"), "translates en to de"),
    ],
)
def test_a_damaged_run_folder_is_explained_in_one_line(copy, damage, message):
    damage(copy)
    with pytest.raises(UserError, match=message) as caught:
        Predictor.load(copy)
    assert "\n" not in str(caught.value)


def write_lines(path, *lines):
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


@pytest.fixture
def refused(capsys, here, pairs_tsv):
    """Runs a command that must end in one line and status 2, with nothing written."""
    good = pairs_tsv.read_text(encoding="utf-8").splitlines()
    shutil.copy(pairs_tsv, here / "pairs.tsv")
    write_lines(here / "german.tsv", "en\tde", *good[1:])
    write_lines(here / "narrow.tsv", *good[:2], "Only English.", *good[2:])
    write_lines(here / "caption" / "config.json", '{"task": "captioning"}')

    return functools.partial(check_refused, folder=here, capsys=capsys)


@pytest.mark.no_backend
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--data nowhere", "--data nowhere is neither"),
        ("--data german.tsv", 'german.tsv has the languages en, de, not "fr"'),
        ("--data narrow.tsv", "narrow.tsv, line 3: a cell is empty"),
        ("--vocab-size 20000", "--vocab-size 20000 is more than these texts give"),
        ("--max-length 4 --tokens-per-batch 10", "raise --max-length"),
        ("--init-from caption", "captioning"),
        ("--run caption --overwrite", "captioning"),
        ("--run pairs.tsv", "--run pairs.tsv is a file"),
        ("--resume", "no run folder run"),
    ],
)
def test_a_mistake_in_training_ends_in_one_line_and_leaves_nothing(arguments, message, refused):
    flags = ["--run", "run", "--data", "pairs.tsv", *TINY]
    refused(train.main, [*flags, *arguments.split()], message)


@pytest.mark.no_backend
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--text", " "], "--text is empty"),
        (["--text", "dog", "--n-best", "9", "--beam-size", "5"], "--n-best 9"),
        (["--text", "dog", "--target-language", "de"], "--target-language de"),
        (["--text", "dog", "--picture", "x.jpg"], "--picture x.jpg must end in .png"),
        (["--text", "dog", "--run", "nowhere"], "no run folder nowhere"),
        ([], "Standard input holds no text"),
    ],
)
def test_a_mistake_in_predicting_ends_in_one_line_and_leaves_nothing(
    arguments, message, refused, whole, typed
):
    typed(b" \n\n")
    refused(predict.main, ["--run", str(whole), *arguments], message)


@pytest.mark.no_backend
def test_a_line_that_is_not_utf_8_is_named(refused, whole, typed):
    typed(b"fine\ncaf\xe9\n")
    refused(predict.main, ["--run", str(whole)], "Line 2 of standard input is not UTF-8")


@pytest.mark.no_backend
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--split train", "--no-baselines"),
        ("--split tomorrow", '--split "tomorrow": these data have train, validation, test;'),
        ("--beam-sizes 0,a", "--beam-sizes 0,a must be numbers from 1"),
        ("--data german.tsv", 'not "fr"'),
    ],
)
def test_a_mistake_in_evaluating_ends_in_one_line_and_leaves_nothing(
    arguments, message, refused, whole
):
    before = files_of(whole)
    refused(evaluate.main, ["--run", str(whole), *arguments.split()], message)
    assert files_of(whole) == before
