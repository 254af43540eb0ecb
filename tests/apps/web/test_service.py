"""Tests of the JSON service, in process, with the pretrained models."""

import asyncio
import io
import json
import random
import re
import threading
from pathlib import Path

import pytest
from PIL import Image
from starlette.testclient import TestClient

from apps.captioning.predict import main as predict_captioning
from apps.export.runtime import RuntimeFlags
from apps.forecasting.predict import main as predict_forecasting
from apps.sentiment.predict import main as predict_sentiment
from apps.studies.load import broken, calls_of
from apps.translation.predict import main as predict_translation
from apps.web.answers import PREDICTORS, Answers
from apps.web.gate import MOST_BYTES, Busy, Workers
from apps.web.service import MOST_CHARACTERS, STATIC, create_service
from common.errors import UserError
from data.prices.sample import simulate_market

pytestmark = pytest.mark.no_backend

ROOT = Path(__file__).parents[3]
TEXTS = ["Not the worst film, but far from a good one.", "She cannot recommend it."]
PHOTOGRAPH = ROOT / "docs" / "photograph.jpg"


@pytest.fixture(scope="module")
def answers():
    return Answers({task: ROOT / "apps" / task / "pretrained" for task in PREDICTORS})


@pytest.fixture(scope="module")
def client(answers):
    with TestClient(create_service(answers), raise_server_exceptions=False) as client:
        yield client


def error_of(response, status):
    """The line of an error, which must be all that the answer holds."""
    assert response.status_code == status, response.text
    assert set(response.json()) == {"error"}
    line = response.json()["error"]
    assert "\n" not in line and str(ROOT) not in line and "Traceback" not in line
    return line


def printed(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines() if line[:1] == "{"]


def png(width, height):
    content = io.BytesIO()
    Image.new("1", (width, height)).save(content, "PNG")
    return content.getvalue()


def test_sentiment_answers_as_predict_does(client, capsys):
    for text in TEXTS:
        predict_sentiment(RuntimeFlags(threads=1), text=text, json=True)
    results = client.post("/api/sentiment", json={"texts": TEXTS}).json()["results"]
    for result, alone in zip(results, printed(capsys), strict=True):
        # Texts of one batch share a padded length, which moves the last digits.
        assert result["label"] == alone["label"]
        assert result["probability"] == pytest.approx(alone["probability"], abs=1e-5)
        assert [word for word, _ in result["words"]] == [word for word, _ in alone["words"]]


def test_translation_answers_as_predict_does(client, capsys):
    settings = {"beam_size": 4, "n_best": 2, "length_penalty": 0.5}
    predict_translation(RuntimeFlags(threads=1), text="A dog runs.", json=True, **settings)
    answer = client.post("/api/translation", json={"texts": ["A dog runs."], **settings})
    assert answer.json()["results"] == printed(capsys)


def test_captioning_answers_as_predict_does(client, capsys):
    predict_captioning(RuntimeFlags(threads=1), image=(str(PHOTOGRAPH),), json=True, n_best=3)
    answer = client.post("/api/captioning?n_best=3", content=PHOTOGRAPH.read_bytes())
    (alone,) = printed(capsys)
    assert answer.json()["captions"] == alone["captions"]


@pytest.mark.parametrize("as_of", ["", "2016-03-12"])
def test_forecasting_answers_as_predict_does(client, capsys, tmp_path, as_of):
    path = tmp_path / "SIMA.csv"
    simulate_market(tickers=1, days=1_000)[0].prices.to_csv(path)
    predict_forecasting(
        RuntimeFlags(threads=1),
        ticker=str(path),
        data_dir=str(tmp_path),
        as_of=as_of,
        json=True,
        picture=tmp_path / "fan.png",
    )
    query = {"ticker": "SIMA", "chart": True} | ({"as_of": as_of} if as_of else {})
    answer = client.post("/api/forecasting", params=query, content=path.read_bytes()).json()
    chart = answer.pop("chart")
    assert [answer] == printed(capsys)
    assert chart["past"][-1] == [answer["origin"], answer["close"]]
    assert len(chart["outcome"]) == (len(answer["days"]) if as_of else 0)


def test_the_plain_fan_is_centred_on_the_last_price(client, answers):
    content = answers.price_file(answers.tickers()[0])
    answer = client.post("/api/forecasting?chart=true", content=content).json()
    medians = [row["0.5"] for row in answer["chart"]["plain"]]
    assert medians == pytest.approx([answer["close"]] * len(medians), rel=1e-6)


def test_every_example_of_the_description_is_answered(client):
    description = client.get("/openapi.json").json()
    for name, path in (("Texts", "/api/sentiment"), ("Sentences", "/api/translation")):
        example = description["components"]["schemas"][name]["example"]
        assert client.post(path, json=example).status_code == 200


def test_a_body_that_is_too_large_is_refused(client):
    content = b" " * (MOST_BYTES + 1)
    assert "6 MB" in error_of(client.post("/api/captioning", content=content), 413)
    # Without a length, the body is counted as it arrives.
    parts = (content[start : start + 2**16] for start in range(0, len(content), 2**16))
    assert "6 MB" in error_of(client.post("/api/captioning", content=parts), 413)


def test_a_text_that_is_too_long_is_refused(client):
    for task in ("sentiment", "translation"):
        texts = ["fine", "a" * (MOST_CHARACTERS + 1)]
        assert "Text 2" in error_of(client.post(f"/api/{task}", json={"texts": texts}), 413)
        texts = ["a" * MOST_CHARACTERS] * 11
        assert "together" in error_of(client.post(f"/api/{task}", json={"texts": texts}), 413)


def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(client):
    assert "pixels" in error_of(client.post("/api/captioning", content=png(8000, 5001)), 413)
    assert "pixels" in error_of(client.post("/api/captioning", content=png(20_000, 20_000)), 413)


@pytest.mark.parametrize(
    "path, content, part",
    [
        ("/api/captioning?name=cat.jpg", b"no picture", "cat.jpg"),
        ("/api/captioning?n_best=3&beam_size=2", PHOTOGRAPH.read_bytes(), "beam"),
        ("/api/captioning?beam_size=99", b"", "beam_size"),
        ("/api/forecasting?ticker=ABC", b"no prices", "ABC.csv"),
        ("/api/forecasting?as_of=2019-02-30", b"", "as_of"),
        ("/api/forecasting?ticker=../../x", b"", "ticker"),
        ("/api/sentiment", b"{", "JSON"),
        ("/api/sentiment", b'{"texts": []}', "texts"),
        ("/api/sentiment", b'{"texts": ["  "]}', "Text 1"),
        ("/api/sentiment", b'{"text": "misspelt"}', "text"),
        ("/api/translation", b'{"texts": ["a"], "n_best": 6}', "beam"),
    ],
)
def test_what_cannot_be_used_is_named(client, path, content, part):
    headers = {"Content-Type": "application/json"}
    assert part in error_of(client.post(path, content=content, headers=headers), 422)


def test_broken_requests_are_never_the_servers_fault(client):
    generator = random.Random(1)
    tasks = ("sentiment", "translation", "captioning", "forecasting")
    calls = [calls_of(task)[0] for task in tasks]
    for turn in range(120):
        path, body, kind = broken(calls[turn % 4], generator)
        response = client.post(path, content=body, headers={"Content-Type": kind})
        assert 200 <= response.status_code < 500, (path, body[:200], response.text)


def test_pages_of_other_origins_are_not_answered(client, answers):
    error_of(client.get("/health", headers={"Origin": "https://example.com"}), 403)
    own = {"Origin": "http://testserver"}
    assert client.get("/health", headers=own).status_code == 200
    allowed = TestClient(create_service(answers, origins=["https://example.com"]))
    assert allowed.get("/health", headers={"Origin": "https://example.com"}).status_code == 200


def test_a_local_service_answers_to_local_names_alone(answers):
    local = TestClient(create_service(answers, hosts=("127.0.0.1", "localhost")))
    assert local.get("/health", headers={"Host": "localhost:8000"}).status_code == 200
    error_of(local.get("/health", headers={"Host": "example.com"}), 403)


@pytest.mark.parametrize(
    "path", ["/", "/api/models", "/nowhere", "/style.css", "/models/sentiment"]
)
def test_every_answer_carries_the_security_headers(client, path):
    headers = client.get(path).headers
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"


def test_the_page_loads_nothing_from_other_hosts_and_nothing_inline():
    for path in STATIC.rglob("*.*"):
        text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"(https?:)?//[a-z0-9.-]+\.[a-z]{2,}", text), path
        assert not re.search(r"<script(?![^>]*src=)|<style|\son\w+=\"|\sstyle=\"", text), path


def test_no_file_outside_the_page_is_served(client):
    for path in ("/../service.py", "/%2e%2e/service.py", "/api/tickers/..%2F..%2Fservice"):
        assert client.get(path).status_code in (404, 422)


def test_a_full_queue_is_refused_and_an_answer_that_takes_too_long_is_given_up():
    async def scenario():
        workers, release = Workers(count=1, waiting=1, seconds=0.05), threading.Event()
        slow = [asyncio.create_task(workers.run(release.wait)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(Busy, match="wait"):
            await workers.run(int)
        for task in slow:
            with pytest.raises(Busy, match="seconds"):
                await task
        release.set()
        while workers.pending:
            await asyncio.sleep(0.001)
        assert await workers.run(int, "7") == 7
        workers.close()

    asyncio.run(scenario())


def test_a_busy_service_says_when_to_try_again(answers):
    service = create_service(answers, waiting=-100)
    response = TestClient(service).post("/api/sentiment", json={"texts": ["fine"]})
    assert "wait" in error_of(response, 503)
    assert response.headers["retry-after"] == "1"


def test_requests_are_counted_by_path_and_status(answers):
    client = TestClient(create_service(answers))
    client.post("/api/sentiment", json={"texts": ["fine"]})
    client.get("/nowhere/" + "x" * 100)
    lines = client.get("/metrics").text.splitlines()
    assert 'requests_total{path="/api/sentiment",status="200"} 1.0' in lines
    assert not any("xxx" in line for line in lines)


def test_every_model_has_a_card_and_says_what_it_gets_wrong(client):
    models = client.get("/api/models").json()["models"]
    assert [model["task"] for model in models] == list(PREDICTORS)
    for model in models:
        assert model["weaknesses"] and model["scores"]
        page = client.get(f"/models/{model['task']}").text
        assert "<table>" in page and "style=" not in page


def test_the_html_of_a_card_stays_text(answers, tmp_path):
    (tmp_path / "README.md").write_text("# A card <script>\n\n<img src=x>\n")
    from apps.web.cards import card_html

    page = card_html("sentiment", tmp_path)
    assert "<script>" not in page and "<img" not in page


def test_a_run_without_an_export_is_named(tmp_path):
    config = ROOT / "apps" / "sentiment" / "pretrained" / "config.json"
    (tmp_path / "config.json").write_bytes(config.read_bytes())
    (tmp_path / "tokenizer.json").write_bytes(config.with_name("tokenizer.json").read_bytes())
    with pytest.raises(UserError, match="make export-sentiment"):
        Answers({"sentiment": tmp_path})


def test_a_folder_of_prices_offers_its_tickers_and_its_index(tmp_path):
    for simulation in simulate_market(tickers=1, days=600):
        name = "^GSPC" if simulation.ticker.startswith("^") else simulation.ticker
        simulation.prices.to_csv(tmp_path / f"{name}.csv")
    run = {"forecasting": ROOT / "apps" / "forecasting" / "pretrained"}
    seeing, blind = Answers(run, prices=tmp_path), Answers(run)
    assert seeing.tickers() == ["SIMA", "^GSPC"]
    content = seeing.price_file("SIMA")
    with_index = seeing.forecasting(content, "SIMA", chart=True)
    without = blind.forecasting(content, "SIMA", chart=True)
    assert with_index["days"] != without["days"]
    assert not with_index["chart"]["warnings"] and without["chart"]["warnings"]
