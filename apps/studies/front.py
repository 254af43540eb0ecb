"""The table of the front page: one row of each task beside a baseline and a published figure."""

import dataclasses
from pathlib import Path

from common.artifact import read_json
from common.result_tables import show_metric, table_line


@dataclasses.dataclass(frozen=True)
class Line:
    """One task on the front page."""

    task: str
    measure: str
    row: str
    metric: str
    baseline: str
    published: str
    """Figure of a recurrent network on the same split and scale, with its source."""


LINES = (
    Line(
        "translation",
        "BLEU, tokenised lower case, Multi30k `test_2016_flickr`",
        "gru_self_trained",
        "bleu_tok_lc",
        "word_by_word",
        "59.02 (LIUM-CVC, WMT17, text only)",
    ),
    Line(
        "sentiment",
        "accuracy %, IMDB",
        "pretrained_self_trained",
        "accuracy",
        "nb_svm",
        "92.61 (Miyato et al., 2017, LM-pretrained LSTM)",
    ),
    Line(
        "captioning",
        "BLEU-4, Flickr8k",
        "lstm",
        "bleu_4",
        "consensus_nearest",
        "21.3 (Xu et al., 2015, hard attention)",
    ),
    Line(
        "forecasting",
        "CRPS % of the next day, lower is better, 2017 and 2018",
        "lstm",
        "crps_1",
        "gjr_garch_t",
        "none on these data",
    ),
)


def front_table(root: Path) -> str:
    """Returns the Markdown table of `LINES`, from the published rows below `root`."""
    titles = [
        "task",
        "measure, test split",
        "recurrent network",
        "baseline",
        "published, recurrent",
    ]
    lines = [table_line(titles), table_line(["---"] * len(titles))]
    caveats = {}
    for line in LINES:
        row = read_json(root / "apps" / line.task / "results" / f"{line.row}.json")
        mark = " †" if "caveat" in row else ""
        if mark:
            caveats[line.task] = row["caveat"]
        ours = show_metric(row["metrics"]["test"][line.metric], line.metric)
        theirs = show_metric([row["baselines"][line.baseline]["test"][line.metric]], line.metric)
        lines.append(
            table_line(
                [
                    f"[{line.task}](apps/{line.task}/README.md)",
                    line.measure,
                    f"**{ours}**{mark} `{line.row}`",
                    f"{theirs} {line.baseline}",
                    line.published,
                ]
            )
        )
    notes = [f"\n† {caveat}" for caveat in dict.fromkeys(caveats.values())]
    return "\n".join([*lines, *notes]) + "\n"
