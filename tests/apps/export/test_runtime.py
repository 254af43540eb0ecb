"""Tests of what a user of an exported run meets, on a tiny trained classifier."""

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from apps.export import __main__ as export
from apps.export import after_training
from apps.export.graph import OPSET, Graph
from apps.export.runtime import FACTS, FORMAT, GRAPH, Network, choose, open_network, sha256
from apps.sentiment import train
from apps.sentiment.predictor import Predictor
from common.cli import open_console
from common.errors import UserError
from common.files import read_json, write_json
from tests.helpers import call, files_of

ROOT = Path(__file__).parents[3]
TINY = (
    "--epochs 1 --units 4 --embed-dim 6 --max-length 40 --region-length 10"
    " --tokens-per-batch 800 --warmup-steps 2 --vocab-size 300 --bigram-buckets 50"
).split()
TEXTS = ["A moving film.", "A dull film, and far too long!", "Not bad at all, " * 9]


@pytest.fixture(scope="module")
def exported(reviews_csv, tmp_path_factory, real_export):
    run = tmp_path_factory.mktemp("runs") / "tiny"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(after_training, "export_trained", real_export)
        call(train.main, *TINY, "--data", reviews_csv, "--run", run)
    return run


@pytest.fixture
def copy(exported, tmp_path):
    return Path(shutil.copytree(exported, tmp_path / "copy"))


def test_an_export_says_what_it_is(exported):
    facts = read_json(exported / "export" / FACTS)
    assert (facts["task"], facts["opset"]) == ("sentiment", OPSET)
    assert facts["sha256"] == sha256(exported / "export" / GRAPH)
    assert facts["files"] == {"tokenizer.json": sha256(exported / "tokenizer.json")}
    assert facts["model_sha256"] == sha256(exported / "model.keras")
    assert facts["bytes"] == (exported / "export" / GRAPH).stat().st_size
    assert max(facts["difference"].values()) < 1e-4
    assert {"keras", "onnx", "onnxruntime"} <= set(facts["versions"])


def test_the_command_exports_as_a_training_does(exported, copy):
    shutil.rmtree(copy / "export")
    call(export.main, "--run", copy)
    for name in (GRAPH, FACTS):
        assert (copy / "export" / name).read_bytes() == (exported / "export" / name).read_bytes()


def no_activation(*_):
    raise KeyError("gelu")


@pytest.mark.parametrize("fault", ["differs", "unknown", "cut short"])
def test_a_training_whose_model_cannot_be_exported_says_so_in_one_line(
    fault, copy, real_export, monkeypatch, capsys
):
    if fault == "differs":
        monkeypatch.setattr("apps.export.export.greatest_difference", lambda *_: {"logits": 0.1})
    elif fault == "unknown":
        monkeypatch.setattr("apps.export.export.open_source", no_activation)
    else:
        (copy / "model.keras").write_bytes(b"")
    before = files_of(copy)
    real_export(copy, task="sentiment", console=open_console())
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("warning: not exported, Keras will answer: ")
    assert files_of(copy) == before


def test_an_exported_run_predicts_what_keras_predicts(exported):
    by_graph = Predictor.load(exported, runtime="onnx").predict(TEXTS)
    by_keras = Predictor.load(exported, runtime="keras").predict(TEXTS)
    for one, other in zip(by_graph, by_keras, strict=True):
        assert one.label == other.label
        assert one.probability == pytest.approx(other.probability, abs=1e-5)
        scores, expected = ([score for _, score in found.pieces] for found in (one, other))
        np.testing.assert_allclose(scores, expected, atol=1e-4)
        assert dataclasses.asdict(one)["pieces"][0][0] == other.pieces[0][0]


def test_predict_of_an_exported_run_imports_no_backend(exported):
    code = (
        "import sys\n"
        "from apps.sentiment import predict\n"
        "from common.cli import run_command\n"
        f"arguments = ['--run', {str(exported)!r}, '--text', 'fine', '--json']\n"
        "run_command(predict.main, prog='predict', description='', arguments=arguments)\n"
        "heavy = 'keras tensorflow jax torch sklearn scipy matplotlib pandas'.split()\n"
        "print([name for name in heavy if name in sys.modules], file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert json.loads(done.stdout)["label"] in ("negative", "positive")
    assert done.stderr.strip() == "[]"


def test_a_copy_without_its_keras_model_still_answers(copy):
    (copy / "model.keras").unlink()
    assert len(Predictor.load(copy).predict(TEXTS)) == 3


def cut_short(run):
    path = run / "export" / GRAPH
    path.write_bytes(path.read_bytes()[:1000])


def another_graph(run):
    graph = Graph()
    graph.output("y", graph.Neg(graph.input("x", "float32", ["n"])), "float32", ["n"])
    graph.save(run / "export" / GRAPH, "other")


def newer_model(run):
    path = run / "model.keras"
    path.write_bytes(path.read_bytes() + b"\0")


def another_tokenizer(run):
    path = run / "tokenizer.json"
    path.write_text(path.read_text() + "\n")


def another_format(run):
    facts = read_json(run / "export" / FACTS)
    write_json(run / "export" / FACTS, facts | {"format": FORMAT + 1})


def another_task(run):
    facts = read_json(run / "export" / FACTS)
    write_json(run / "export" / FACTS, facts | {"task": "translation"})


def unknown_opset(run):
    path = run / "export" / GRAPH
    model = onnx.load(path)
    model.opset_import[0].version = 99
    onnx.save(model, path)
    facts = read_json(run / "export" / FACTS)
    write_json(run / "export" / FACTS, facts | {"sha256": sha256(path)})


FAULTS = {
    "without a graph": lambda run: (run / "export" / GRAPH).unlink(),
    "without facts": lambda run: (run / "export" / FACTS).unlink(),
    "with facts that are no JSON": lambda run: (run / "export" / FACTS).write_text("{"),
    "cut short": cut_short,
    "with another graph": another_graph,
    "older than its model": newer_model,
    "with another tokenizer": another_tokenizer,
    "of another format": another_format,
    "of another task": another_task,
    "of an unknown opset": unknown_opset,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_an_export_that_cannot_be_used_is_named_with_its_remedy(fault, copy, capsys):
    FAULTS[fault](copy)
    with pytest.raises(UserError, match="make export-sentiment|python -m apps.export") as refusal:
        open_network(copy, task="sentiment")
    assert str(copy / "export") in str(refusal.value)
    assert "\n" not in str(refusal.value)
    with pytest.raises(UserError):
        choose(copy, task="sentiment", runtime="onnx")
    assert choose(copy, task="sentiment", runtime="auto") is None
    assert "warning" in capsys.readouterr().err


def test_a_run_without_an_export_is_answered_by_keras_without_a_word(copy, capsys):
    shutil.rmtree(copy / "export")
    assert choose(copy, task="sentiment", runtime="auto") is None
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("precision", ["float16", "float32"])
def test_weights_are_stored_as_asked(precision, copy):
    call(export.main, "--run", copy, "--precision", precision)
    model = onnx.load(copy / "export" / GRAPH)
    kinds = {one.data_type for one in model.graph.initializer if np.prod(one.dims) > 64}
    half = onnx.TensorProto.FLOAT16
    assert (half in kinds) == (precision == "float16")
    found, expected = (
        Predictor.load(copy, runtime=runtime).predict(TEXTS) for runtime in ("onnx", "keras")
    )
    for one, other in zip(found, expected, strict=True):
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-2)


def test_a_graph_is_scored_like_its_model(copy):
    call(export.main, "--run", copy, "--split", "validation")
    found = read_json(copy / "export" / FACTS)["metrics"]["validation"]
    expected = read_json(copy / "metrics.json")["metrics"]["validation"]
    assert found == pytest.approx(expected, abs=1e-4)


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(UserError, match="--run"):
        call(export.main)
    with pytest.raises(UserError):
        call(export.main, "--run", tmp_path)


def test_a_weight_that_float16_changes_stays_float32(tmp_path):
    graph, weights = Graph(), np.full((8, 16), 1.0001, "float32")
    assert graph.dtype_stored(weights) == np.float32
    assert graph.dtype_stored(np.ones((8, 16), "float32")) == np.float16


def test_equal_weights_are_stored_once(tmp_path):
    graph, table = Graph(), np.random.default_rng(0).normal(size=(30, 8)).astype("float32")
    x = graph.input("x", "float32", ["n", 30])
    product = graph.MatMul(x, graph.weight(table, "table"))
    again = graph.MatMul(product, graph.Transpose(graph.weight(table.copy(), "again"), perm=[1, 0]))
    graph.output("y", again, "float32", ["n", 30])
    assert len(graph.initializers) == 1
    graph.save(tmp_path / "model.onnx", "twice")
    found = Network(tmp_path / "model.onnx", {})(x=np.eye(30, dtype="float32"))
    np.testing.assert_allclose(found["y"], table @ table.T, atol=1e-5)
