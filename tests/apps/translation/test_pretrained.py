import re
from pathlib import Path

import pytest

from common.files import read_json

pytestmark = pytest.mark.no_backend

APP = Path(__file__).parents[3] / "apps" / "translation"
README = (APP / "README.md").read_text(encoding="utf-8")


def everyday():
    """Returns the rows of the README's table of everyday sentences."""
    table = README.split("| English | French |\n| --- | --- |\n")[1].split("\n\n")[0]
    return [tuple(re.findall(r"(?<=\| ).*?(?= \|)", line)) for line in table.splitlines()]


def test_the_readme_tells_the_scores_of_the_pretrained_model():
    for split, metrics in read_json(APP / "pretrained" / "metrics.json")["metrics"].items():
        names = ("bleu_tok_lc", "bleu", "chrf")
        row = " | ".join([f"| `{split}`", *(f"{metrics[name]:.2f}" for name in names)])
        assert (f"{row} |" in README) == (split != "validation")


def test_the_readme_lists_the_everyday_sentences():
    sources = (APP / "everyday.txt").read_text(encoding="utf-8").splitlines()
    assert [source for source, _ in everyday()] == sources
    assert len(sources) == 40


@pytest.mark.slow
def test_the_pretrained_model_translates_as_the_readme_tells():
    from apps.translation.predictor import PRETRAINED, Predictor

    sources, texts = zip(*everyday(), strict=True)
    translations = Predictor.load(PRETRAINED).predict(list(sources))
    assert [translation.text for translation in translations] == list(texts)


def test_a_training_goes_on_from_the_weights_of_a_run_that_is_exported_too():
    from apps.translation.config import Config
    from apps.translation.second_stage import load_start

    assert (APP / "pretrained" / "export" / "model.onnx").is_file()
    start = load_start(Config(init_from=str(APP / "pretrained")))
    parameters = read_json(APP / "pretrained" / "metrics.json")["parameters"]
    assert start.network.model.count_params() == parameters
