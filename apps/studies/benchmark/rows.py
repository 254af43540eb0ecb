"""The published rows: which command makes each of them, and on what it is scored."""

import dataclasses
import re
import shlex

# Stands in a row's flags for the folder of all runs.
RUNS = "{runs}"
_SEEDS = (1, 2, 3)


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of a result table: one configuration, trained with each of its seeds."""

    task: str
    name: str
    flags: str = ""
    """Flags of `train`."""
    seeds: tuple[int, ...] = (1,)
    splits: tuple[str, ...] = ("test",)
    scoring: str = ""
    """Flags of `evaluate`."""
    members: tuple[str, ...] = ()
    """Runs of the same task that an ensemble joins; nothing is trained then."""

    def runs(self) -> list[str]:
        """Returns the names of its runs."""
        return [f"{self.name}-s{seed}" for seed in self.seeds]

    def needed_runs(self) -> list[str]:
        """Returns the names of the runs that must exist before."""
        pattern = re.escape(f"{RUNS}/{self.task}/") + r"([\w-]+)"
        return [*re.findall(pattern, self.flags), *self.members]

    def train_flags(self, runs: str) -> list[str]:
        """Returns the flags of `train`, with the folder of all runs put in."""
        return [word.replace(RUNS, runs) for word in shlex.split(self.flags)]


def _seeds_of(*names: str) -> tuple[str, ...]:
    """Returns the names of the three runs of each row."""
    return tuple(f"{name}-s{seed}" for name in names for seed in _SEEDS)


_BEAMS = "--beam-sizes 1,2,5,10"
_MULTI30K = {"splits": ("test", "test_2017_flickr"), "scoring": _BEAMS}
_TATOEBA = (
    "--data tatoeba --vocabulary-data multi30k --dropout 0.2 --tokens-per-batch 3000 --epochs 5"
)
_PICTURES = {"scoring": "--beam-sizes 1,3,5,10"}

# A row follows those that it needs.
ROWS = (
    *(
        Row("forecasting", cell, f"--cell {cell}", seeds=_SEEDS)
        for cell in ("lstm", "gru", "simple_rnn")
    ),
    Row("forecasting", "feedforward", "--cell feedforward"),
    Row("forecasting", "student_t", "--distribution student_t"),
    Row("forecasting", "quantiles", "--distribution quantiles --loss pinball"),
    Row("forecasting", "crps", "--loss crps"),
    Row("forecasting", "network_location", "--location network"),
    Row("forecasting", "many_to_one", "--output last --stride 16 --batch-size 64"),
    Row("forecasting", "stateful", "--stateful --lookback 32 --epochs 12"),
    Row("forecasting", "without_echo", "--features returns,range,volume,market,calendar"),
    Row("forecasting", "without_market", "--features returns,range,volume,calendar,echo"),
    Row("forecasting", "closes_alone", "--features returns"),
    *(
        Row("sentiment", cell, f"--cell {cell}", seeds=_SEEDS)
        for cell in ("lstm", "gru", "simple_rnn", "feedforward")
    ),
    Row("sentiment", "lstm_pretrained", "--pretrain-epochs 2 --units 128", seeds=_SEEDS),
    Row("sentiment", "lstm_gru_ensemble", members=_seeds_of("lstm", "gru")),
    Row("translation", "gru", seeds=_SEEDS, **_MULTI30K),
    Row("translation", "gru_ensemble", members=_seeds_of("gru"), **_MULTI30K),
    Row("translation", "tatoeba_gru", _TATOEBA, scoring=_BEAMS),
    *(
        Row("translation", f"tatoeba_{cell}", f"{_TATOEBA} --cell {cell}", scoring=_BEAMS)
        for cell in ("lstm", "simple_rnn", "feedforward")
    ),
    Row(
        "translation",
        "gru_after_tatoeba",
        f"--init-from {RUNS}/translation/tatoeba_gru-s1",
        **_MULTI30K,
    ),
    Row("captioning", "lstm", seeds=_SEEDS, **_PICTURES),
    *(
        Row("captioning", cell, f"--cell {cell}", **_PICTURES)
        for cell in ("gru", "simple_rnn", "feedforward")
    ),
    Row("captioning", "initial_state", "--variant initial_state", **_PICTURES),
    Row("captioning", "merge", "--variant merge", **_PICTURES),
    Row("captioning", "lstm_ensemble", members=_seeds_of("lstm"), **_PICTURES),
)
