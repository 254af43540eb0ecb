"""Model cards as pages, and what `/api/models` says of each model."""

import html
import json
import re
from pathlib import Path

from markdown_it import MarkdownIt

from apps.web.answers import Answers
from common.run_folder import METRICS

_CARD = "README.md"
_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="../icon.svg">
<link rel="stylesheet" href="../style.css">
<main class="card"><p><a href="../#{task}">Back to the page</a></p>
{body}
</main>
</html>
"""


def model_facts(answers: Answers) -> list[dict]:
    """Returns, of each model, its task, scores, settings and card as JSON holds them."""
    facts = []
    for task, run in answers.runs.items():
        metrics = _read_json(run / METRICS)
        facts.append(
            {
                "task": task,
                "parameters": answers.predictors[task].network.parameters,
                "scores": metrics.get("metrics", {}),
                "baselines": metrics.get("baselines", {}),
                "command": metrics.get("command", ""),
                "weaknesses": weaknesses(run),
                "card": _card(run),
            }
        )
    return facts


def weaknesses(run: Path) -> str:
    """Returns the card's paragraph on known failures as HTML, or nothing."""
    match = re.search(r"\*\*Known failures\.\*\* (.*?)\n\n", _card(run), re.S)
    return _markdown().renderInline(match.group(1)) if match else ""


def card_html(task: str, run: Path) -> str:
    """Returns the page of a model card."""
    text = _card(run) or f"# {task}\n\nThis run folder has no model card."
    title = html.escape(text.splitlines()[0].lstrip("# "))
    # The page's security policy allows no styles but those of its sheet, which align numbers.
    body = re.sub(r' style="text-align:\w+"', "", _markdown().render(text))
    return _PAGE.format(title=title, task=task, body=body)


def _card(run: Path) -> str:
    path = run / _CARD
    # Marks of the generated tables are no words.
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    return re.sub(r"<!--.*?-->\n?", "", text, flags=re.S)


def _markdown() -> MarkdownIt:
    # Cards may come with models of others: their HTML stays text.
    return MarkdownIt("commonmark", {"html": False}).enable("table")


def _read_json(path: Path) -> dict:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
