"""Tests of the page in Chromium; with SCREENSHOTS=docs they draw its pictures."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from data.prices.sample import simulate_market

playwright = pytest.importorskip("playwright.sync_api")

expect = playwright.expect

pytestmark = [pytest.mark.browser, pytest.mark.no_backend]

ROOT = Path(__file__).parents[3]
PHOTOGRAPH = ROOT / "docs" / "photograph.jpg"
WIDE, PHONE = {"width": 1000, "height": 800}, {"width": 390, "height": 844}
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def predicted(task, *flags, text=None):
    """What `predict --json` prints."""
    command = [sys.executable, "-m", f"apps.{task}.predict", "--json", "--threads", "1", *flags]
    command += ["--text", text] if text else []
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    return json.loads(done.stdout.splitlines()[0])


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    # Prices of this machine's user would make the pictures differ.
    environment = {**os.environ, "DATA_DIR": str(tmp_path_factory.mktemp("none"))}
    command = [sys.executable, "-m", "apps.web", "--port", "0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment
    ) as service:
        yield service.stdout.readline().strip()
        service.terminate()


@pytest.fixture(scope="module")
def browser():
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    assert path, "No Chromium on this machine: install it, e.g. apt-get install chromium."
    with playwright.sync_playwright() as driver:
        # Root, as in a container, cannot use the sandbox.
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(params=[WIDE, PHONE], ids=["wide", "phone"])
def page(browser, address, request):
    context = browser.new_context(viewport=request.param, reduced_motion="reduce")
    page, faults = context.new_page(), []
    page.set_default_timeout(30_000)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", lambda asked: is_local(asked, address) or faults.append(asked.url))
    page.goto(address)
    yield page
    assert not faults
    assert page.evaluate("() => document.documentElement.scrollWidth") <= request.param["width"]
    context.close()


def is_local(request, address):
    return request.url.startswith((address, "blob:", "data:"))


def open_tab(page, task):
    page.get_by_role("tab", name=task, exact=False).click()
    return page.locator(f"#{task.lower()}")


def answered(panel):
    panel.locator(".answer:not([hidden])").wait_for()
    return panel


def take_screenshot(page, task):
    if folder := os.environ.get("SCREENSHOTS"):
        if page.viewport_size == WIDE:
            page.screenshot(path=Path(folder) / f"page_{task}.png", full_page=True)


def strengths(words):
    return [
        float(word.evaluate("word => word.style.getPropertyValue('--strength') || 0"))
        for word in words.all()
    ]


def test_a_review_is_coloured_as_predict_scores_its_words(page):
    panel = page.locator("#sentiment")
    text = "Not the worst film of the year, but far from a good one."
    panel.get_by_label("A review, in English").press_sequentially(text)
    expected = predicted("sentiment", text=text)
    expect(panel.locator(".backdrop .word")).to_have_count(len(expected["words"]))
    answered(panel)
    assert panel.locator(".verdict strong").inner_text() == expected["label"]
    assert f"{100 * expected['probability']:.1f} %" in panel.locator(".verdict").inner_text()
    words = panel.locator(".backdrop .word")
    assert words.all_inner_texts() == [word for word, _ in expected["words"]]
    greatest = max(abs(score) for _, score in expected["words"])
    shares = [0.75 * abs(score) / greatest for _, score in expected["words"]]
    assert strengths(words) == pytest.approx(shares, abs=1e-3)
    sign = 1 if expected["label"] == "positive" else -1
    against = [sign * score < 0 for _, score in expected["words"]]
    assert ["against" in word.get_attribute("class").split() for word in words.all()] == against
    take_screenshot(page, "sentiment")


def test_words_keep_their_places_when_a_review_is_changed_in_the_middle(page):
    panel = page.locator("#sentiment")
    area = panel.get_by_label("A review, in English")
    for text in ("A good film. A bad end.", "A good film, a bad end.", "bad bad good bad"):
        area.fill(text)
        expected = predicted("sentiment", text=text)
        shown = f"{100 * expected['probability']:.1f}"
        expect(panel.locator(".verdict")).to_contain_text(shown)
        assert panel.locator(".backdrop").inner_text().strip() == text
        words = panel.locator(".backdrop .word").all_inner_texts()
        assert words == [word for word, _ in expected["words"]]


def test_a_word_of_a_translation_shows_what_it_attended_to(page):
    panel = open_tab(page, "Translation")
    text = "A little girl in a red dress is running after a brown dog."
    panel.get_by_label("A text, in English").fill(text)
    panel.get_by_role("button", name="Translate").click()
    answered(panel)
    expected = predicted("translation", "--n-best", "3", text=text)
    best = expected["translations"][0]
    assert panel.locator(".translated").inner_text() == best["text"]
    scores = panel.locator(".hypotheses small").all_inner_texts()
    assert scores == [f"{one['score']:.3f}" for one in expected["translations"]]
    row = best["words"].index("rouge")
    panel.locator(".target-words .word").nth(row).focus()
    shares = best["attention"][row]
    expected_strengths = [0.8 * share / max(shares) for share in shares]
    assert strengths(panel.locator(".source-words .word")) == pytest.approx(expected_strengths)
    take_screenshot(page, "translation")
    panel.locator(".hypotheses button").nth(1).click()
    assert panel.locator(".translated").inner_text() == expected["translations"][1]["text"]


def test_a_beam_of_one_is_passed_on(page):
    panel = open_tab(page, "Translation")
    panel.get_by_label("Beam size").fill("1")
    panel.get_by_label("Alternatives").fill("1")
    panel.get_by_label("A text, in English").fill("I didn't know that you could swim.")
    panel.get_by_label("A text, in English").press("Enter")
    answered(panel)
    flags = ("--beam-size", "1", "--n-best", "1")
    expected = predicted("translation", *flags, text="I didn't know that you could swim.")
    assert panel.locator(".translated").inner_text() == expected["translations"][0]["text"]


def pixel(page, x, y):
    return page.evaluate(
        "([x, y]) => { const c = document.querySelector('canvas');"
        " return [...c.getContext('2d').getImageData(x * c.width, y * c.height, 1, 1).data]; }",
        [x, y],
    )


def test_a_word_of_a_caption_shows_where_the_network_looked(page):
    panel = open_tab(page, "Captioning")
    panel.locator("input[type=file]").first.set_input_files(PHOTOGRAPH)
    answered(panel)
    (best, *_) = predicted("captioning", "--image", str(PHOTOGRAPH), "--n-best", "3")["captions"]
    assert panel.locator(".caption").inner_text().split() == best["words"]
    before = pixel(page, 0.5, 0.4)
    word = len(best["words"]) - 1
    panel.locator(".caption .word").nth(word).focus()
    shares = best["attention"][word]
    side = round(len(shares) ** 0.5)
    most = shares.index(max(shares))
    red, green, blue, _ = pixel(page, (most % side + 0.5) / side, (most // side + 0.5) / side)
    # The colour of attention is orange.
    assert red > green + 60 > blue
    take_screenshot(page, "captioning")
    panel.locator(".caption .word").nth(word).blur()
    assert pixel(page, 0.5, 0.4) == before


def test_a_picture_that_is_dropped_or_pasted_is_captioned(page):
    panel = open_tab(page, "Captioning")
    content = list(PHOTOGRAPH.read_bytes())
    files = (
        "content => { const data = new DataTransfer(); data.items.add(new File("
        "[new Uint8Array(content)], 'a.jpg', { type: 'image/jpeg' })); return data; }"
    )
    data = page.evaluate_handle(files, content)
    panel.locator(".drop").dispatch_event("drop", {"dataTransfer": data})
    caption = answered(panel).locator(".caption").inner_text()
    page.reload()
    data = page.evaluate_handle(files, content)
    page.evaluate(
        "data => document.dispatchEvent(new ClipboardEvent('paste', { clipboardData: data }))", data
    )
    assert answered(panel).locator(".caption").inner_text() == caption


def test_a_forecast_is_drawn_beside_what_happened_and_the_baseline(page, tmp_path):
    path = tmp_path / "SIMB.csv"
    simulate_market(tickers=2, days=900)[1].prices.to_csv(path)
    panel = open_tab(page, "Forecasting")
    answered(panel)
    panel.locator("input[type=file]").set_input_files(path)
    expect(panel.locator(".summary")).to_contain_text("SIMB")
    assert panel.get_by_label("Prices").input_value() == "SIMB"
    slider = panel.locator("input[type=range]")
    slider.fill(str(np.datetime64("2016-03-01", "D").astype(int)))
    expect(panel.locator(".summary")).to_contain_text("on 2016-03-01")
    flags = ("--ticker", str(path), "--as-of", "2016-03-01", "--data-dir", str(tmp_path))
    flags += ("--picture", str(tmp_path / "fan.png"))
    expected = predicted("forecasting", *flags)
    last = expected["days"][-1]["quantiles"]
    readout = panel.locator(".readout")
    assert f"median {last['0.5']:,.2f}" in readout.inner_text()
    assert "happened" in readout.inner_text() and "baseline" in readout.inner_text()
    assert panel.locator("svg.network path.happened").count() == 1
    assert panel.locator("svg.network .band").count() == 3
    assert panel.locator("svg.plain .plain-band").count() == 3
    take_screenshot(page, "forecasting")
    panel.locator("svg.network").focus()
    page.keyboard.press("ArrowLeft")
    before = expected["days"][-2]["quantiles"]
    assert f"median {before['0.5']:,.2f}" in readout.inner_text()
    panel.get_by_text("As a table").click()
    assert panel.locator("table tr").count() == len(expected["days"]) + 1


def test_an_error_is_said_and_the_next_answer_takes_its_place(page, tmp_path):
    broken = tmp_path / "cat.jpg"
    broken.write_bytes(b"no picture")
    panel = open_tab(page, "Captioning")
    panel.locator("input[type=file]").first.set_input_files(broken)
    error = panel.locator(".error")
    error.wait_for()
    assert "cat.jpg" in error.inner_text()
    panel.locator("input[type=file]").first.set_input_files(PHOTOGRAPH)
    answered(panel)
    assert not error.is_visible()


def test_the_tabs_are_used_by_keyboard(page):
    page.keyboard.press("Tab")
    for name in ("Translation", "Captioning", "Forecasting", "Sentiment"):
        page.keyboard.press("ArrowRight")
        tab = page.get_by_role("tab", name=name)
        expect(tab).to_be_focused()
        expect(tab).to_have_attribute("aria-selected", "true")
        expect(page.get_by_role("tabpanel", name=name)).to_be_visible()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    answered(page.locator("#sentiment"))


def test_every_control_has_a_name_for_screen_readers(page):
    for task in ("Sentiment", "Translation", "Captioning", "Forecasting"):
        panel = open_tab(page, task)
        for control in panel.locator("button, input, textarea, select, svg, canvas").all():
            name = control.evaluate(
                "c => c.getAttribute('aria-label') || c.innerText || (c.labels && c.labels[0]"
                " && c.labels[0].innerText)"
            )
            assert name and name.strip(), control.evaluate("c => c.outerHTML")


def test_the_page_leads_to_cards_and_calls(page, address):
    open_tab(page, "Translation").get_by_text("What this model gets wrong").click()
    page.get_by_role("link", name="Model card").click()
    assert page.url == f"{address}/models/translation"
    page.get_by_role("link", name="Back to the page").click()
    page.locator("#translation").wait_for()
    page.get_by_role("link", name="how to call it").click()
    page.get_by_text("POST /api/forecasting").wait_for()
