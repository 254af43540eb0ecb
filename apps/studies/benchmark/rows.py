"""The published rows: which command makes each of them, and on what it is scored."""

import dataclasses
import re
import shlex

# Stands in a row's flags for the folder of all runs.
RUNS = "{runs}"


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of a result table: one configuration, trained with each of its seeds."""

    task: str
    name: str
    flags: str = ""
    """Of `train`."""
    seeds: tuple[int, ...] = (1,)
    splits: tuple[str, ...] = ("test",)
    scoring: str = ""
    """Flags of `evaluate`."""
    members: tuple[str, ...] = ()
    """Names of runs of the same task that an ensemble joins; nothing is trained then."""

    def runs(self) -> list[str]:
        """Returns the names of its runs."""
        return [f"{self.name}-s{seed}" for seed in self.seeds]

    def needs(self) -> list[str]:
        """Returns the names of the runs that must be there before."""
        named = re.findall(re.escape(f"{RUNS}/{self.task}/") + r"([\w-]+)", self.flags)
        return [*named, *self.members]

    def train_flags(self, runs: str) -> list[str]:
        """Returns the flags of `train`, with the folder of all runs put in."""
        return [word.replace(RUNS, runs) for word in shlex.split(self.flags)]


_PRETRAINED = "--pretrain-epochs 2 --units 128"
_MULTI30K = {"splits": ("test", "test_2017_flickr"), "scoring": "--beam-sizes 1,2,5,10"}
_TATOEBA = (
    "--data tatoeba --vocabulary-data multi30k --dropout 0.2 --tokens-per-batch 3000 --epochs 5"
)
_PICTURES = {"scoring": "--beam-sizes 1,3,5,10"}

# A row stands behind those that it needs.
ROWS = (
    Row("forecasting", "lstm", "--cell lstm", seeds=(1, 2, 3)),
    Row("forecasting", "gru", "--cell gru", seeds=(1, 2, 3)),
    Row("forecasting", "simple_rnn", "--cell simple_rnn", seeds=(1, 2, 3)),
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
    Row("sentiment", "lstm", "--cell lstm", seeds=(1, 2, 3)),
    Row("sentiment", "gru", "--cell gru", seeds=(1, 2, 3)),
    Row("sentiment", "simple_rnn", "--cell simple_rnn", seeds=(1, 2, 3)),
    Row("sentiment", "feedforward", "--cell feedforward", seeds=(1, 2, 3)),
    Row("sentiment", "lstm_pretrained", _PRETRAINED, seeds=(1, 2, 3)),
    Row(
        "sentiment",
        "pretrained_self_trained",
        f"{_PRETRAINED} --epochs 2 --teachers nb_svm,{RUNS}/sentiment/lstm_pretrained-s1,"
        f"{RUNS}/sentiment/lstm_pretrained-s2",
        seeds=(1, 2, 3),
    ),
    Row(
        "sentiment",
        "pretrained_self_trained_ensemble",
        members=(
            "pretrained_self_trained-s1",
            "pretrained_self_trained-s2",
            "pretrained_self_trained-s3",
        ),
    ),
    Row(
        "sentiment",
        "lstm_gru_ensemble",
        members=("lstm-s1", "lstm-s2", "lstm-s3", "gru-s1", "gru-s2", "gru-s3"),
    ),
    Row(
        "sentiment",
        "self_trained",
        f"--teachers nb_svm,{RUNS}/sentiment/lstm_gru_ensemble-s1 --epochs 2",
    ),
    Row("translation", "gru", seeds=(1, 2, 3), **_MULTI30K),
    Row("translation", "gru_ensemble", members=("gru-s1", "gru-s2", "gru-s3"), **_MULTI30K),
    Row("translation", "tatoeba_gru", _TATOEBA, scoring=_MULTI30K["scoring"]),
    Row("translation", "tatoeba_lstm", f"{_TATOEBA} --cell lstm", scoring=_MULTI30K["scoring"]),
    Row(
        "translation",
        "tatoeba_simple_rnn",
        f"{_TATOEBA} --cell simple_rnn",
        scoring=_MULTI30K["scoring"],
    ),
    Row(
        "translation",
        "tatoeba_feedforward",
        f"{_TATOEBA} --cell feedforward",
        scoring=_MULTI30K["scoring"],
    ),
    Row(
        "translation",
        "gru_after_tatoeba",
        f"--init-from {RUNS}/translation/tatoeba_gru-s1",
        **_MULTI30K,
    ),
    Row(
        "translation",
        "gru_self_trained",
        f"--teacher {RUNS}/translation/gru_ensemble-s1 --untranslated flickr8k --epochs 12"
        " --dropout 0.2",
        seeds=(1, 2, 3),
        **_MULTI30K,
    ),
    Row(
        "translation",
        "student_teacher_ensemble",
        members=(
            "gru_self_trained-s1",
            "gru_self_trained-s2",
            "gru_self_trained-s3",
            "gru-s1",
            "gru-s2",
            "gru-s3",
        ),
        **_MULTI30K,
    ),
    Row("captioning", "lstm", seeds=(1, 2, 3), **_PICTURES),
    Row("captioning", "gru", "--cell gru", **_PICTURES),
    Row("captioning", "simple_rnn", "--cell simple_rnn", **_PICTURES),
    Row("captioning", "feedforward", "--cell feedforward", **_PICTURES),
    Row("captioning", "initial_state", "--variant initial_state", **_PICTURES),
    Row("captioning", "merge", "--variant merge", **_PICTURES),
    Row("captioning", "lstm_ensemble", members=("lstm-s1", "lstm-s2", "lstm-s3"), **_PICTURES),
)
