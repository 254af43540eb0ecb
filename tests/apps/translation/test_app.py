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
from apps.translation.network import KerasNetwork
from apps.translation.predictor import Predictor
from common.cli import parse_call
from common.errors import UserError
from common.files import read_json, write_json
from common.results import read_history
from common.settings import Search, TrainingSettings
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
    assert not list(trained.glob(".*")), "a temporary file was left behind"


@pytest.mark.no_backend
def test_training_scores_the_validation_split_alone(trained):
    assert set(read_json(trained / "metrics.json")["metrics"]) == {"validation"}
    assert not (trained / "outputs").exists()


@pytest.mark.no_backend
def test_the_validation_score_is_that_of_the_best_epoch_read_from_disk(trained):
    best = max(read_history(trained / "history.csv")["val_bleu"])
    stored = read_json(trained / "metrics.json")["metrics"]["validation"]
    assert stored["bleu_greedy"] == pytest.approx(best, abs=0.5)


def test_the_model_learns_what_no_dictionary_and_no_memory_can_do(scored):
    _, record = scored
    rest = [scores["bleu"] for scores in record["baselines"].values()]
    assert 5 < max(rest)
    assert record["metrics"]["bleu"] > 2 * max(rest)
    assert record["metrics"]["bleu_greedy"] > 2 * max(rest)


def test_a_moved_run_folder_still_predicts(trained, predictor, held_out, tmp_path):
    moved = shutil.copytree(trained, tmp_path / "moved")
    there = Predictor.load(moved).predict(held_out.source)
    here = predictor.predict(held_out.source)
    assert texts_of(there) == texts_of(here)
    for one, other in zip(there, here, strict=True):
        assert one.candidates[0].score == pytest.approx(other.candidates[0].score, abs=1e-6)


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


def begun_from(run, rows, here, capsys):
    """What is kept of a run that another one goes on from, on these pairs, and what is said."""
    lines = ["en\tfr\tsplit", *("\t".join(row) for row in rows)]
    write_lines(here / "more.tsv", *lines)
    config = Config(data=("more.tsv",), init_from=str(run))
    pairs = load_pairs("more.tsv", data_dir=here)
    start = Predictor.load(run)
    facts = second_stage.origin_facts(
        config, start, pairs, data_dir=str(here), console=Console(width=999)
    )
    return facts, capsys.readouterr().out


@pytest.mark.no_backend
def test_held_out_sentences_that_the_run_to_go_on_from_has_learned_are_counted(
    whole, pairs_tsv, here, capsys
):
    learned = load_pairs(str(pairs_tsv), data_dir=here).splits["train"]
    sources = sorted(set(learned.source))
    rows = [(f"Quite another line, number {n}.", f"Tout autre {n}.", "train") for n in range(30)]
    rows += [("Nobody wrote this before.", "Non.", "validation")]
    # One as it is, one in capitals and without marks, one with a letter less, and a new one.
    changed = [sources[0], sources[5].upper().strip(".!?"), sources[9][:-4] + sources[9][-3:]]
    rows += [(text, f"Voir {n}.", "test") for n, text in enumerate([*changed, "Unheard of."])]
    facts, said = begun_from(whole, rows, here, capsys)
    assert facts["known"] == {"validation": 0, "test": 3}
    assert "warning:" in said and "0 of 1 in validation, 3 of 4 in test" in said
    rows = [row for row in rows if row[0] not in changed]
    facts, said = begun_from(whole, rows, here, capsys)
    assert facts["known"] == {"validation": 0, "test": 0}
    assert "warning:" not in said and "0 of 1 in test" in said


@pytest.mark.no_backend
def test_data_of_the_run_to_go_on_from_that_are_gone_are_warned_of(copy, here, capsys):
    config = read_json(copy / "config.json")
    write_json(copy / "config.json", config | {"data": "gone.tsv"})
    rows = [(f"Another line, number {n}.", f"Autre {n}.", "train") for n in range(30)]
    rows += [("A.", "Un.", "validation"), ("B.", "Deux.", "test")]
    facts, said = begun_from(copy, rows, here, capsys)
    assert "known" not in facts
    assert "warning: " in said and "gone.tsv" in said


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
@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--units 7", "--units 7 differs from the 6 of --init-from"),
        ("--cell lstm", "--cell lstm differs from the gru of --init-from"),
        ("--source-language fr --target-language en", "translates en to fr, not fr to en"),
    ],
)
def test_what_contradicts_the_run_to_go_on_from_is_named(flags, message, whole, more_tsv, here):
    flags = [*DATA, *flags.split(), "--init-from", whole, "--data", more_tsv, "--run", "run"]
    with pytest.raises(UserError, match=message):
        call(train.main, *flags)
    assert not files_of(here)


@pytest.mark.no_backend
def test_a_training_that_fails_puts_the_old_run_back(copy, pairs_tsv, monkeypatch):
    before = files_of(copy)

    def diverge(*_, **__):
        raise UserError("Training diverged.")

    monkeypatch.setattr(keras.Model, "fit", diverge)
    with pytest.raises(UserError, match="diverged"):
        call(train.main, *TINY, "--data", pairs_tsv, "--run", copy, "--overwrite")
    assert files_of(copy) == before


# ---- Evaluation ------------------------------------------------------------------------------


@pytest.mark.no_backend
def test_every_beam_leaves_one_line_a_sentence(scored, held_out):
    run, record = scored
    for beam_size in (1, 2, 3):
        text = (run / "outputs" / f"test.beam{beam_size}.txt").read_text(encoding="utf-8")
        assert text.endswith("\n")
        assert len(text[:-1].split("\n")) == len(held_out.source)
        assert f"bleu_tok_lc_beam_{beam_size}" in record["metrics"]
    assert read_json(run / "outputs" / "test.signatures.json") == record["signatures"]
    assert len(list((run / "outputs").iterdir())) == 4


def test_evaluate_scores_what_predict_says(scored, predictor, held_out):
    run, record = scored
    said = texts_of(predictor.predict(held_out.source))
    written = (run / "outputs" / "test.beam2.txt").read_text(encoding="utf-8").splitlines()
    assert written == said
    expected = translation_metrics(said, held_out.references, target_language="fr")
    for name, score in expected.items():
        assert record["metrics"][name] == pytest.approx(score)
    assert record["metrics"]["bleu_tok_lc_beam_2"] == record["metrics"]["bleu_tok_lc"]


@pytest.mark.no_backend
def test_the_test_split_stands_in_the_run_beside_its_baselines(scored, trained):
    run, record = scored
    stored = read_json(run / "metrics.json")
    before = read_json(trained / "metrics.json")
    assert stored["metrics"] == {**before["metrics"], "test": record["metrics"]}
    assert set(stored["baselines"]) == {"copy_source", "word_by_word", "nearest_sentence"}
    for name, scores in record["baselines"].items():
        assert stored["baselines"][name] == {"test": scores}
    assert set(record["signatures"]) == {"bleu", "chrf", "bleu_tok_lc"}
    for name in ("bleu_ci", "bleu_tok_lc_ci"):
        assert 0 < record["metrics"][name] < 20


@pytest.mark.no_backend
def test_the_table_shows_the_beam_greedy_search_and_the_baselines(scored, translation_dir):
    run, record = scored
    before = files_of(run)
    shown = printed(evaluate.main, "--run", run, "--data-dir", translation_dir)
    for name in ("greedy", "copy_source", "word_by_word", "nearest_sentence"):
        assert name in shown
    interval = f"{record['metrics']['bleu']:.2f} ± {record['metrics']['bleu_ci']:.2f}"
    assert interval in shown
    assert f"{record['metrics']['bleu_greedy']:.2f}" in shown
    # The same again, so nothing changed.
    assert files_of(run) == before


@pytest.mark.no_backend
def test_scores_on_other_data_leave_what_the_run_holds_of_its_own(scored, pairs_tsv):
    run, _ = scored
    before = files_of(run)
    flags = ["--run", run, "--data", pairs_tsv, "--no-baselines"]
    assert "not recorded" in printed(evaluate.main, *flags)
    after = files_of(run)
    assert {path: after.get(path) for path in before} == before


# ---- Prediction ------------------------------------------------------------------------------


def hard_texts():
    return [
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
        "The dog sees the house.",
    ]


@pytest.mark.no_backend
def test_every_text_has_its_translation_in_its_place(predictor):
    texts = hard_texts()
    found = predictor.predict(texts)
    assert [translation.source for translation in found] == texts
    for text, translation in zip(texts, found, strict=True):
        assert bool(translation.text) == bool(text.strip())
        assert "\n" not in translation.text
        assert (translation.parts == 0) == (not any(map(str.isalpha, text)))
    assert found[0].text == found[-1].text
    assert found[6].parts > 10


@pytest.mark.no_backend
@pytest.mark.parametrize("text", ["\u200b", "\ufeff", "\u00ad \u2060", "\0"])
def test_a_text_of_invisible_characters_is_a_blank_one(text, predictor):
    assert predictor.predict([text])[0].text == ""


@pytest.mark.no_backend
def test_neighbours_change_no_translation(predictor, held_out):
    texts = held_out.source[:9]
    together = predictor.predict([*hard_texts(), *texts])[len(hard_texts()) :]
    for text, found in zip(texts[:3], together, strict=False):
        alone = predictor.predict([text])[0]
        assert found.text == alone.text
        assert found.candidates[0].score == pytest.approx(alone.candidates[0].score, abs=1e-4)


@pytest.mark.no_backend
def test_a_long_text_is_translated_sentence_by_sentence(predictor, held_out):
    sentences = held_out.source[:12]
    found = predictor.predict([" ".join(sentences), *sentences])
    assert found[0].parts == 12
    assert found[0].text == " ".join(texts_of(found[1:]))
    scores = [one.candidates[0].score for one in found[1:]]
    assert found[0].candidates[0].score == pytest.approx(np.mean(scores), abs=1e-4)


@pytest.mark.no_backend
@pytest.mark.parametrize("text", ["a" * 2000, "电影很好看。" * 40, "dog " + "b" * 300 + " house"])
def test_no_part_of_a_long_word_is_dropped(text, predictor):
    length = len(encode_texts(predictor.tokenizer, [text])[0])
    assert length > 40
    pieces = [piece for _, piece in predictor._parts(0, text)]
    lengths = [len(tokens) for tokens in encode_texts(predictor.tokenizer, pieces)]
    assert max(lengths) <= 40
    assert "".join(pieces).replace(" ", "") == text.replace(" ", "")


@pytest.mark.no_backend
def test_the_best_translations_are_sorted_and_distinct(predictor, held_out):
    search = Search.of(predictor.config, beam_size=3, n_best=3)
    for translation in predictor.predict(held_out.source, search):
        scores = [candidate.score for candidate in translation.candidates]
        assert scores == sorted(scores, reverse=True)
        texts = {candidate.text for candidate in translation.candidates}
        assert 2 <= len(texts) == len(scores) <= 3


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
def test_two_ways_to_cut_the_same_words_are_one_translation(says):
    found = says(["Ġ", "l", "a"], ["Ġ", "l", "e"], ["Ġl", "a"])
    assert [candidate.text for candidate in found] == ["la", "le"]


@pytest.mark.no_backend
def test_a_translation_is_one_line_whatever_the_model_says(says):
    # The bytes of a line feed and of a carriage return, as a vocabulary of bytes writes them.
    assert says(["Ġ", "l", "Ċ", "a", "č"])[0].text.split() == ["l", "a"]
    assert len(says(["Ġ", "l", "Ċ", "a", "č"])[0].text.splitlines()) == 1


@pytest.mark.no_backend
def test_greedy_search_is_a_beam_of_one(predictor, held_out):
    found = [
        predictor.predict(held_out.source, Search.of(predictor.config, **search))
        for search in ({"method": "greedy"}, {"method": "beam", "beam_size": 1})
    ]
    assert texts_of(found[0]) == texts_of(found[1])


@pytest.mark.no_backend
def test_the_most_probable_word_alone_is_greedy_search(predictor, held_out):
    found = [
        predictor.predict(held_out.source[:9], Search.of(predictor.config, **search))
        for search in ({"method": "greedy"}, {"method": "sample", "top_k": 1})
    ]
    assert texts_of(found[0]) == texts_of(found[1])


@pytest.mark.no_backend
def test_samples_are_those_of_their_seed(predictor, held_out):
    def samples(seed):
        config = predictor.config
        network = KerasNetwork(predictor.network.model, max_length=config.max_length)
        search = Search.of(config, method="sample", n_best=3, seed=seed)
        again = Predictor(network, predictor.tokenizer, config)
        found = again.predict(held_out.source[:9], search)
        return [[candidate.text for candidate in one.candidates] for one in found]

    first = samples(1)
    assert first == samples(1)
    assert first != samples(2)
    assert any(len(set(texts)) > 1 for texts in first)


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
def test_each_line_of_the_output_is_the_translation_of_its_line(trained, predictor, typed):
    typed("The dog sees the house.\r\n\n\ufeffThe [b]car[/b].\nThe dog sees the house.".encode())
    lines = printed(predict.main, "--run", trained).split("\n")
    texts = ["The dog sees the house.", "The [b]car[/b]."]
    whole, car = texts_of(predictor.predict(texts))
    assert lines == [whole, "", car, whole, ""]


@pytest.mark.no_backend
def test_a_long_file_is_translated_piece_by_piece_to_the_same_lines(trained, typed, monkeypatch):
    content = b"The dog sees the house.\nThe car.\n\nThe cats sleep.\nThe house."
    said = []
    for piece in (1000, 2):
        monkeypatch.setattr(predict, "_PIECE", piece)
        typed(content)
        said.append(printed(predict.main, "--run", trained, "--n-best", "2"))
    pieces = [[line.split() for line in text.split("\n")] for text in said]
    # Scores may differ in their last digit with the neighbours.
    assert [line[1:] for line in pieces[0]] == [line[1:] for line in pieces[1]]
    assert said[0].count("\n\n") >= 4


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
def test_the_best_translations_are_printed_with_their_scores(trained, predictor):
    text = "The dog [b]sees[/b] the house."
    shown = printed(predict.main, "--run", trained, "--text", text, "--n-best", "2")
    found = predictor.predict([text], Search.of(predictor.config, n_best=2))[0]
    expected = [f"{one.score:8.4f}  {one.text}" for one in found.candidates]
    assert shown.splitlines() == expected


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
        ("--embedding-dropout 2", "--embedding-dropout is a share"),
        ("--units 0", "--units must be at least 1"),
        ("--decoder-layers 0", "--decoder-layers must be at least 1"),
        ("--beam-size 0", "--beam-size must be at least 1"),
        ("--length-penalty -1", "--length-penalty must be at least 0"),
        ("--max-length 3", "--max-length must be at least 4"),
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
@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({}, set()),
        ({"init_from": "a"}, {"vocabulary_data"}),
    ],
)
def test_a_setting_is_ignored_in_just_the_modes_that_do_not_read_it(settings, names):
    ignored = Config(**{"data": ("tatoeba",), **settings}).ignored()
    assert ignored.keys() - TrainingSettings().ignored().keys() == names
    assert ignored.keys() >= TrainingSettings().ignored().keys()


@pytest.mark.no_backend
@pytest.mark.parametrize(
    "flags",
    [
        "--vocabulary-data tatoeba --init-from x",
        "--clip-threshold 2 --clipping none",
    ],
)
def test_a_flag_that_nothing_reads_is_refused(flags, here):
    with pytest.raises(UserError, match=f"{flags.split()[0]} has no effect"):
        call(train.main, *flags.split(), "--run", "run")
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


def cut_short(path):
    path.write_bytes(path.read_bytes()[:-500])


@pytest.mark.no_backend
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda run: (run / "model.keras").unlink(), "has no model.keras"),
        (lambda run: cut_short(run / "model.keras"), "cut short"),
        (lambda run: (run / "tokenizer.json").unlink(), "tokenizer.json"),
        (lambda run: (run / "tokenizer.json").write_text("{"), "tokenizer.json"),
        (exchange_tokenizer, "has 479 subwords .* 480: they belong to different runs"),
        (lambda run: (run / "config.json").write_text("{"), "not valid JSON"),
        (lambda run: (run / "config.json").write_text('{"task": "captioning"}'), "captioning"),
        (lambda run: change_config(run, units="a"), "units cannot be 'a'"),
        (
            lambda run: change_config(run, source_language="fr", target_language="en"),
            "says that the model translates fr to en",
        ),
        (lambda run: change_config(run, target_language="de"), "translates en to de"),
        (lambda run: shutil.rmtree(run), "no run folder"),
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
    english, french = zip(*(line.split("\t") for line in good[1:]), strict=True)
    shutil.copy(pairs_tsv, here / "pairs.tsv")
    write_lines(here / "german.tsv", "en\tde", *good[1:])
    write_lines(here / "narrow.tsv", *good[:2], "Only English.", *good[2:])
    write_lines(here / "blank.tsv", *good[:2], "Only English.\t", *good[2:])
    write_lines(here / "one.tsv", *good[:2])
    write_lines(here / "unequal" / "train.en", *english)
    write_lines(here / "unequal" / "train.fr", *french[:-1])
    write_lines(here / "empty" / "train.en", *english)
    write_lines(here / "empty" / "train.fr", *french[:7], "", *french[8:])
    write_lines(here / "caption" / "config.json", '{"task": "captioning"}')

    return functools.partial(check_refused, folder=here, capsys=capsys)


@pytest.mark.no_backend
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--data nowhere", "--data nowhere is neither"),
        ("--data german.tsv", 'german.tsv has the languages en, de, not "fr"'),
        ("--data narrow.tsv", "narrow.tsv, line 3: a cell is empty"),
        ("--data blank.tsv", "blank.tsv, line 3: a cell is empty"),
        ("--data one.tsv", "one.tsv has 1 distinct source sentences"),
        ("--data unequal", "train.en has 200 lines, but train.fr has 199"),
        ("--data empty", "train.fr, line 8: a cell is empty"),
        ("--vocab-size 20000", "--vocab-size 20000 is more than these texts give"),
        ("--vocab-size 200", "--vocab-size must be 260 or more"),
        ("--vocabulary-data nowhere", "nowhere is neither"),
        ("--max-length 4 --tokens-per-batch 10", "raise --max-length"),
        ("--init-from nowhere", "no run folder nowhere"),
        ("--init-from caption", "captioning"),
        ("--run caption --overwrite", "captioning"),
        ("--run pairs.tsv", "--run pairs.tsv is a file"),
        ("--resume", "no run folder run"),
        ("--resume --overwrite", "exclude each other"),
    ],
)
def test_a_mistake_in_training_ends_in_one_line_and_leaves_nothing(arguments, message, refused):
    flags = ["--run", "run", "--data", "pairs.tsv", *TINY]
    refused(train.main, [*flags, *arguments.split()], message)


@pytest.mark.no_backend
def test_a_run_is_not_replaced_unless_asked_for(whole, refused):
    before = files_of(whole)
    refused(train.main, ["--run", str(whole), *TINY], "--resume, replace it with --overwrite")
    resumed = ["--run", str(whole), "--resume", "--units", "7"]
    refused(train.main, resumed, "--units 7 differs from the 6")
    assert files_of(whole) == before


@pytest.mark.no_backend
def test_a_run_cannot_go_on_from_the_one_that_it_replaces(copy, refused):
    before = files_of(copy)
    flags = [*TINY, "--data", "pairs.tsv", "--run", str(copy), "--init-from", str(copy)]
    refused(train.main, [*flags, "--overwrite"], "--init-from")
    assert files_of(copy) == before


@pytest.mark.no_backend
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--text", " "], "--text is empty"),
        (["--text", "caf\udce9"], "not UTF-8"),
        (["--text", "dog", "--n-best", "9", "--beam-size", "5"], "--n-best 9"),
        (["--text", "dog", "--source-language", "fr"], "--source-language fr"),
        (["--text", "dog", "--target-language", "de"], "--target-language de"),
        (["--text", "dog", "--picture", "x.jpg"], "--picture x.jpg must end in .png"),
        (["--text", "dog", "--run", "nowhere"], "no run folder nowhere"),
        (["--text", "dog", "--run", "caption"], "captioning"),
        (["--text", "dog", "--method", "sample", "--temperature", "0"], "--temperature"),
        (["--text", "dog", "--method", "best"], "greedy"),
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
        ("--beam-sizes 3,-1", "--beam-sizes 3,-1 must be numbers from 1"),
        ("--beam-sizes 2.5", "--beam-sizes 2.5 must be numbers from 1"),
        ("--data nowhere", "--data nowhere is neither"),
        ("--data german.tsv", 'not "fr"'),
        ("--run nowhere", "no run folder nowhere"),
        ("--run caption", "captioning"),
    ],
)
def test_a_mistake_in_evaluating_ends_in_one_line_and_leaves_nothing(
    arguments, message, refused, whole
):
    before = files_of(whole)
    refused(evaluate.main, ["--run", str(whole), *arguments.split()], message)
    assert files_of(whole) == before


@pytest.mark.no_backend
def test_a_missing_test_split_is_named_as_it_was_asked_for(refused, whole, here, pairs_tsv):
    lines = pairs_tsv.read_text(encoding="utf-8").splitlines()[1:]
    splits = ["train"] * 100 + ["validation"] * 50 + ["test_news"] * 50
    rows = [f"{line}\t{split}" for line, split in zip(lines, splits, strict=True)]
    write_lines(here / "named.tsv", "en\tfr\tsplit", *rows)
    refused(evaluate.main, ["--run", str(whole), "--data", "named.tsv"], '--split "test":')
