"""The settings of the sentiment task: one field a flag, saved whole in `config.json`."""

import dataclasses
import math
from typing import Literal

from common.errors import UserError


@dataclasses.dataclass(frozen=True)
class Config:
    """What to train, on what, and how."""

    data: str = "imdb"
    """`imdb`, or your own .csv, .tsv or .parquet file with columns text,label (and split)."""
    validation_share: float = 0.1
    """Share of the training reviews that is cut off for validation."""
    split_seed: int = 0
    """Which reviews are cut off; the same for all training seeds."""

    tokenizer: Literal["word", "bpe"] = "word"
    """Whole words, or byte-pair pieces of words."""
    vocab_size: int = 30000
    """Distinct tokens that are kept."""
    max_length: int = 400
    """Tokens read of a review; of a longer one its first quarter and its last three quarters."""

    cell: Literal["simple_rnn", "lstm", "gru"] = "lstm"
    """Kind of recurrence."""
    units: int = 64
    """Size of the state, of each direction."""
    num_layers: int = 1
    """Recurrent layers on top of each other."""
    bidirectional: bool = True
    """Read from both ends."""
    activation: Literal["tanh", "relu"] = "tanh"
    """Of simple_rnn: tanh, or ReLU that starts from the identity."""
    region_length: int = 50
    """Tokens the recurrence reads in one go; regions of a review run side by side. 0: all."""
    pooling: Literal["max", "mean", "attention", "last"] = "max"
    """How the states of all tokens become one vector."""
    embed_dim: int = 128
    """Size of a token's vector."""
    bigram_buckets: int = 100000
    """Rows of a second embedding, in which each pair of words finds a vector by a hash. 0: none."""
    bigram_dim: int = 32
    """Size of a pair's vector."""
    skip_connection: bool = True
    """Put the mean of the words' vectors beside the pooled states of the recurrence."""
    embedding: Literal["word2vec", "random"] = "word2vec"
    """Where the vectors start: trained on all reviews of the training split, labelled or not, or
    at random."""
    teachers: str = ""
    """Run folders or nb_svm, separated by commas, whose mean verdict labels the unlabelled reviews;
    training then learns from those too (self-training)."""

    word_dropout: float = 0.1
    """Share of tokens whose vector is dropped in training."""
    bigram_dropout: float = 0.5
    """Share of pairs of words whose vector is dropped, besides."""
    embedding_dropout: float = 0.3
    """Share of the embedding's features dropped, the same at all tokens of a region."""
    recurrent_dropout: float = 0.0
    """Share of the state dropped inside the recurrence; anything but 0 is slow on a GPU."""
    dropout: float = 0.4
    """Share of the pooled features dropped, and of those between recurrent layers."""

    optimizer: Literal["rmsprop", "adam", "adamw", "sgd"] = "rmsprop"
    """Kind of update."""
    learning_rate: float = 1.5e-3
    """Peak rate."""
    weight_decay: float = 0.0
    """Decoupled weight decay."""
    schedule: Literal["constant", "cosine", "one_cycle", "plateau"] = "cosine"
    """How the rate moves after the warm-up."""
    warmup_steps: int = 200
    """Steps until the rate has risen to its peak, at most a tenth of all."""
    plateau_patience: int = 1
    """Epochs without a better validation loss until the plateau schedule halves the rate."""
    clipping: Literal["none", "norm", "global_norm", "value", "adaptive"] = "global_norm"
    """What is cut when gradients grow: nothing, each by its norm, all by theirs, each entry, or all
    by a running percentile of their norm."""
    clip_threshold: float = 1.0
    """Greatest norm or value that stays uncut."""
    clip_percentile: float = 50.0
    """Percentile of the recent gradient norms, for adaptive clipping."""

    epochs: int = 4
    """Passes over the training reviews."""
    patience: int = 0
    """Epochs without a better validation accuracy before stopping; 0 never stops early."""
    tokens_per_batch: int = 8000
    """Tokens, padding included, in one step; long reviews come in smaller batches."""
    buckets: int = 6
    """Distinct lengths that reviews are padded to; each compiles once."""
    jit_compile: Literal["auto", "on", "off"] = "auto"
    """Compile the step with XLA. auto: always on JAX, and elsewhere where Keras thinks it pays."""
    seed: int = 1
    """Of weights, order and dropout."""

    def __post_init__(self):
        """Checks what the types cannot say."""
        for name in (
            "vocab_size",
            "units",
            "num_layers",
            "embed_dim",
            "bigram_dim",
            "epochs",
            "buckets",
        ):
            if getattr(self, name) < 1:
                raise UserError(f"{_flag(name)} must be at least 1.")
        for name in (
            "word_dropout",
            "bigram_dropout",
            "embedding_dropout",
            "recurrent_dropout",
            "dropout",
        ):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(
                    f"{_flag(name)} is a share: give a number from 0 up to, not with, 1."
                )
        if not 0 < self.validation_share < 0.5:
            raise UserError("--validation-share must lie between 0 and 0.5.")
        for name in ("learning_rate", "clip_threshold"):
            if not 0 < getattr(self, name) < math.inf:
                raise UserError(f"{_flag(name)} must be a number greater than 0.")
        if not 0 <= self.weight_decay < math.inf:
            raise UserError("--weight-decay must be 0 or a number greater than 0.")
        for name in ("seed", "split_seed"):
            if not 0 <= getattr(self, name) < 2**32:
                raise UserError(f"{_flag(name)} must lie between 0 and {2**32 - 1}.")
        if self.max_length < 4:
            raise UserError("--max-length must be at least 4.")
        if self.bigram_buckets < 0 or self.bigram_buckets == 1:
            raise UserError("--bigram-buckets must be 0, for none, or at least 2.")
        if self.region_length < 0 or self.warmup_steps < 0 or self.patience < 0:
            raise UserError("--region-length, --warmup-steps and --patience cannot be negative.")
        if self.region_length and self.pooling == "last":
            raise UserError(
                "--pooling last needs the whole review in one go: add --region-length 0."
            )
        if self.activation != "tanh" and self.cell != "simple_rnn":
            raise UserError(f"--activation {self.activation} is for --cell simple_rnn alone.")
        longest = max(self.max_length, self.region_length)
        if self.tokens_per_batch < longest:
            raise UserError(
                f"--tokens-per-batch {self.tokens_per_batch} is less than one review of {longest}"
                " tokens: raise it, or lower --max-length."
            )
        if not 0 <= self.clip_percentile <= 100:
            raise UserError("--clip-percentile must lie between 0 and 100.")
        if self.clip_threshold <= 0:
            raise UserError(
                "--clip-threshold must be greater than 0; --clipping none cuts nothing."
            )


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
