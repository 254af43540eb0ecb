import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from apps.cluster import predict_many
from apps.cluster.inputs import read_files, read_texts
from apps.cluster.parts import predict_part
from apps.forecasting.predict import main as predict_forecasting
from apps.sentiment.predictor import PRETRAINED, Predictor
from common.files import write_text
from tests.apps.cluster.pools import HerePool, here
from tests.helpers import call, files_of, printed, refused

pytestmark = pytest.mark.no_backend

ROOT = Path(__file__).parents[3]
TEXTS = ["A fine film.", "Dull from end to end.", "Neither good nor bad, but long."]


def lines_of(output):
    """All lines of all parts, in order."""
    paths = sorted(output.glob("part-*.jsonl"))
    return [json.loads(line) for path in paths for line in path.read_text("utf-8").splitlines()]


def write_inputs(folder):
    """The same texts in every format."""
    for text, name in (("\n".join(TEXTS), "a.txt"), ("\ufeff" + "\n".join(TEXTS) + "\n", "b.txt")):
        write_text(folder / name, text)
    write_text(folder / "a.jsonl", "".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    table = pd.DataFrame({"label": [1, 2, 3], "text": TEXTS})
    table.to_csv(folder / "a.csv", index=False)
    table.to_csv(folder / "a.tsv", index=False, sep="\t")
    table.to_parquet(folder / "a.parquet")
    return sorted(folder.iterdir())


def test_every_format_gives_the_same_texts_with_their_numbers(tmp_path):
    for path in write_inputs(tmp_path):
        items = list(read_texts(path, "text"))
        first = 2 if path.suffix in (".csv", ".tsv") else 1
        assert [(item.number, item.value) for item in items] == list(enumerate(TEXTS, first))
        assert not any(item.problem for item in items)


def test_what_cannot_be_read_at_all_is_refused_in_one_line(tmp_path):
    write_text(tmp_path / "a.csv", "review\nfine\n")
    assert "review" in refused(lambda: list(read_texts(tmp_path / "a.csv", "text")))
    assert ".parquet" in refused(read_texts, tmp_path / "a.pdf", "text")
    assert "missing.txt" in refused(read_texts, tmp_path / "missing.txt", "text")
    write_text(tmp_path / "a.parquet", "no such file")
    assert "a.parquet" in refused(lambda: list(read_texts(tmp_path / "a.parquet", "text")))
    assert "--input" in refused(read_files, tmp_path / "a.csv", lambda name: True)


def test_bad_lines_are_reported_by_number_and_leave_the_rest(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"A fine film.\n\n\xff\xfe\nDull.\n")
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "A fine film."}\n{"tex\n{"text": 7}\n"Dull."\n')
    (tmp_path / "a.csv").write_bytes(b"text,label\nA fine film.,1\nDull,film,1\n\xff,1\nDull.,2\n")
    for name, first in (("a.txt", 1), ("a.jsonl", 1), ("a.csv", 2)):
        items = list(read_texts(tmp_path / name, "text"))
        answers = [json.loads(line) for line in predict_part("sentiment", str(PRETRAINED), items)]
        assert [answer["line"] for answer in answers] == [first, first + 1, first + 2, first + 3]
        assert ["error" in answer for answer in answers] == [False, True, True, False]
        assert [answers[0]["label"], answers[3]["label"]] == ["positive", "negative"]


def test_the_lines_are_those_of_one_prediction_of_all(tmp_path, reviews_csv):
    call(
        predict_many.main, "--task", "sentiment", "--input", reviews_csv, "--output",
        tmp_path / "out", "--part-lines", 64, "--workers", 2,
    )  # fmt: skip
    answers = lines_of(tmp_path / "out")
    texts = list(pd.read_csv(reviews_csv)["text"])
    together = Predictor.load(PRETRAINED, runtime="auto", threads=1).predict(texts)
    assert [answer["line"] for answer in answers] == list(range(2, len(texts) + 2))
    assert [answer["text"] for answer in answers] == texts
    assert [answer["label"] for answer in answers] == [one.label for one in together]
    probabilities = [answer["probability"] for answer in answers]
    np.testing.assert_allclose(probabilities, [one.probability for one in together], atol=2e-5)


def test_finished_parts_are_kept_and_missing_ones_made(tmp_path, reviews_csv, monkeypatch):
    monkeypatch.setattr(predict_many, "open_pool", here)
    arguments = ["--task", "sentiment", "--input", reviews_csv, "--part-lines", 100, "--output"]
    call(predict_many.main, *arguments, tmp_path / "out")
    before = files_of(tmp_path / "out")
    kept, lost = tmp_path / "out" / "part-000000.jsonl", tmp_path / "out" / "part-000001.jsonl"
    stamp = kept.stat().st_mtime_ns
    lost.unlink()
    assert "100 lines were there already" not in printed(
        predict_many.main, *arguments, tmp_path / "out"
    )
    assert files_of(tmp_path / "out") == before
    assert kept.stat().st_mtime_ns == stamp
    # Another input or another size of the parts would not fit those that are there.
    assert "part_lines" in refused(call, predict_many.main, *arguments[:-2], 50, "--output",
                                   tmp_path / "out")  # fmt: skip
    changed = shutil.copy(reviews_csv, tmp_path / "changed.csv")
    with open(changed, "a", encoding="utf-8") as file:
        file.write("one more,positive\n")
    arguments[3] = changed
    assert "input_sha256" in refused(call, predict_many.main, *arguments, tmp_path / "out")
    assert files_of(tmp_path / "out") == before


def test_few_parts_are_in_memory_at_once(tmp_path, monkeypatch):
    write_text(tmp_path / "a.txt", "fine\n" * 300)
    pool, parts = HerePool(slots=2), []
    monkeypatch.setattr(
        predict_many, "predict_part", lambda task, run, items: [str(item.number) for item in items]
    )
    items = predict_many._parts(read_texts(tmp_path / "a.txt", ""), 10)

    def counted():
        for part in items:
            parts.append(part)
            yield part

    console = predict_many.open_console()
    predict_many._write_parts(counted(), tmp_path, pool, "sentiment", "", console)
    assert len(parts) == 30
    assert pool.most == 2 * pool.slots
    numbers = [path.read_text() for path in sorted(tmp_path.glob("part-*"))]
    assert "".join(numbers).split() == [str(number) for number in range(1, 301)]


def test_a_folder_of_prices_gives_the_forecasts_of_predict(tmp_path, prices_dir, monkeypatch):
    monkeypatch.setattr(predict_many, "open_pool", here)
    folder = tmp_path / "prices"
    folder.mkdir()
    for name in ("SIMA.csv", "SIMB.csv"):
        shutil.copy(prices_dir / "prices" / name, folder)
    write_text(folder / "broken.csv", "no,prices\n")
    call(
        predict_many.main, "--task", "forecasting", "--input", folder, "--output", tmp_path / "out"
    )
    first, second, broken = lines_of(tmp_path / "out")
    picture = tmp_path / "a.png"
    alone = printed(
        predict_forecasting, "--ticker", folder / "SIMA.csv", "--json", "--picture", picture,
        "--threads", 1,
    )  # fmt: skip
    assert first == {"line": 1, **json.loads(alone.splitlines()[0])}
    assert (second["line"], second["ticker"]) == (2, "SIMB")
    assert broken["line"] == 3 and "broken.csv" in broken["error"]


def test_pictures_and_sentences_are_answered_too(tmp_path, monkeypatch):
    monkeypatch.setattr(predict_many, "open_pool", here)
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    shutil.copy(ROOT / "docs" / "photograph.jpg", pictures / "a.jpg")
    write_text(pictures / "b.jpg", "no picture")
    call(
        predict_many.main, "--task", "captioning", "--input", pictures, "--output",
        tmp_path / "captions",
    )  # fmt: skip
    good, bad = lines_of(tmp_path / "captions")
    assert good["line"] == 1 and good["captions"][0]["text"]
    assert bad["line"] == 2 and "b.jpg" in bad["error"]
    write_text(tmp_path / "a.txt", "A dog runs.\n\nTwo men talk.\n")
    call(
        predict_many.main, "--task", "translation", "--input", tmp_path / "a.txt", "--output",
        tmp_path / "french",
    )  # fmt: skip
    answers = lines_of(tmp_path / "french")
    assert [answer["line"] for answer in answers] == [1, 2, 3]
    assert [bool(answer["translations"][0]["text"]) for answer in answers] == [True, False, True]


@pytest.mark.slow
def test_a_command_that_is_killed_twice_ends_in_the_same_files(tmp_path):
    from data.reviews.sample import write_reviews_csv

    rows = int(os.environ.get("MANY_ROWS", 3000))
    reviews = write_reviews_csv(tmp_path / "reviews.csv", rows=rows)
    command = [sys.executable, "-m", "apps.cluster.predict_many", "--task", "sentiment"]
    command += ["--input", str(reviews), "--part-lines", "250", "--output"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    subprocess.run([*command, str(whole), "--workers", "1"], cwd=ROOT, check=True)
    for parts in (2, 5):
        process = subprocess.Popen([*command, str(killed), "--workers", "2"], cwd=ROOT)
        while len(list(killed.glob("part-*.jsonl"))) < parts:
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert len(list(killed.glob("part-*.jsonl"))) < rows / 250
    subprocess.run([*command, str(killed), "--workers", "2"], cwd=ROOT, check=True)
    contents = [
        {path.name: data for path, data in files_of(folder).items() if ".part" not in path.name}
        for folder in (whole, killed)
    ]
    assert contents[0] == contents[1]
    assert len(lines_of(killed)) == rows
