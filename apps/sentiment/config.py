"""The settings of the sentiment task: one field a flag, saved whole in `config.json`."""

import dataclasses
from pathlib import Path
from typing import Any, Literal

from common.cli import split_list
from common.errors import UserError
from common.run_folder import CONFIG
from common.settings import (
    Cell,
    OptimizerName,
    Range,
    TrainingSettings,
    Tuning,
    check_at_least,
    check_seeds,
    check_shares,
)

# Name of the teacher that is no run folder.
NB_SVM = "nb_svm"
# Size of the vector of a pair of words.
BIGRAM_DIM = 32
# Distinct lengths that reviews are padded to; each compiles once.
BUCKETS = 6


@dataclasses.dataclass(frozen=True)
class Config(TrainingSettings):
    """What to train, on what, and how."""

    data: str = "imdb"
    """`imdb`, or your own .csv or .tsv file with columns text,label (and split)."""
    validation_share: float = 0.1
    """Share of the training reviews that is cut off for validation."""
    split_seed: int = 0
    """Which reviews are cut off; the same for all training seeds."""

    vocab_size: int = 30000
    """Distinct tokens that are kept."""
    max_length: int = 400
    """Tokens read of a review; of a longer one its first quarter and its last three quarters."""

    cell: Cell = "lstm"
    """Kind of recurrence; feedforward has none, so each step sees itself alone."""
    units: int = 64
    """Size of the state, of each direction."""
    num_layers: int = 1
    """Recurrent layers on top of each other."""
    bidirectional: bool = True
    """Read from both ends."""
    region_length: int = 50
    """Tokens the recurrence reads in one go; regions of a review run side by side. 0: all."""
    pooling: Literal["max", "mean", "attention", "last"] = "max"
    """How the states of all tokens become one vector."""
    embed_dim: int = 128
    """Size of a token's vector."""
    bigram_buckets: int = 100000
    """Rows of a second embedding, in which each pair of words finds a vector by a hash. 0: none."""
    embedding: Literal["word2vec", "random"] = "word2vec"
    """Where the vectors start: trained on all reviews of the training split, labelled or not, or
    at random."""
    pretrain_epochs: int = 0
    """Epochs for which the encoder first learns to predict each word of all reviews, labelled or
    not, from the words before it and from those after it (Dai and Le, 2015)."""
    spans: int = 0
    """Spans of one to three sentences that are cut from each training review and learned with its
    label (and with what --teachers that are networks make of them), so that short texts are read
    well too. In the end the bias is fitted to spans of the validation reviews."""
    teachers: str = ""
    """Run folders or nb_svm, separated by commas, whose mean verdict labels the unlabelled reviews;
    training then learns from those too (self-training)."""

    word_dropout: float = 0.1
    """Share of tokens whose vector is dropped in training; --pretrain-epochs drops 0.1 instead."""
    embedding_dropout: float = 0.3
    """Share of the embedding's features dropped, the same at all tokens of a region;
    --pretrain-epochs drops 0.1 instead."""
    dropout: float = 0.4
    """Share of the pooled features dropped, and of those between recurrent layers;
    --pretrain-epochs drops 0.1 of the states instead."""

    tokens_per_batch: int = 8000
    """Tokens, padding included, in one step; long reviews come in smaller batches."""
    optimizer: OptimizerName = "rmsprop"
    learning_rate: float = 1.5e-3
    epochs: int = 4

    def __post_init__(self):
        """Checks what the types cannot say."""
        super().__post_init__()
        check_at_least(1, self, "vocab_size", "units", "num_layers", "embed_dim")
        check_at_least(4, self, "max_length")
        check_at_least(0, self, "region_length", "pretrain_epochs", "spans")
        check_shares(
            self,
            "word_dropout",
            "embedding_dropout",
            "dropout",
        )
        check_seeds(self, "split_seed")
        if not 0 < self.validation_share < 0.5:
            raise UserError("--validation-share must lie between 0 and 0.5.")
        if self.bigram_buckets < 0 or self.bigram_buckets == 1:
            raise UserError("--bigram-buckets must be 0, for none, or at least 2.")
        if self.region_length and self.pooling == "last":
            raise UserError(
                "--pooling last needs the whole review in one go: add --region-length 0."
            )
        if self.pretrain_epochs and self.num_layers > 1:
            raise UserError(
                "--pretrain-epochs is for one recurrent layer: a second one would see the words"
                " that it must predict."
            )
        longest = max(self.max_length, self.region_length)
        if self.tokens_per_batch < longest:
            raise UserError(
                f"--tokens-per-batch {self.tokens_per_batch} is less than one review of {longest}"
                " tokens: raise it, or lower --max-length."
            )


def teacher_folders(config: Config) -> list[str]:
    """Returns the run folders among the teachers."""
    return [name for name in split_list(config.teachers) if name != NB_SVM]


def read_labels(config: dict[str, Any], run: Path) -> list[str]:
    """Takes the names of the labels out of what `read_config` returned.

    Raises:
        UserError: If there are none.
    """
    labels = config.pop("labels", None)
    if not isinstance(labels, list) or len(labels) < 2:
        raise UserError(f"{run / CONFIG} names no labels: restore it or train again.")
    return labels


# What `make tune-sentiment` varies, and the score on the validation split that judges it.
TUNING = Tuning(
    "val_accuracy",
    "max",
    {
        "learning_rate": Range(3e-4, 5e-3, log=True),
        "units": (32, 64, 128),
        "dropout": Range(0.2, 0.6),
        "embedding_dropout": Range(0.0, 0.5),
        "word_dropout": Range(0.0, 0.3),
        "optimizer": ("rmsprop", "adam"),
    },
)
