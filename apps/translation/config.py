"""The settings of the translation task: one field a flag, saved whole in `config.json`."""

import dataclasses

from common.errors import UserError
from common.settings import (
    Cell,
    Range,
    TrainingSettings,
    Tuning,
    check_at_least,
    check_shares,
)

# What --init-from takes from the run that it names: the model must be the same.
SHAPE = (
    "vocab_size",
    "embed_dim",
    "cell",
    "units",
    "num_layers",
    "decoder_units",
    "decoder_layers",
)
# Distinct pairs of lengths that sentences are padded to; each compiles once.
BUCKETS = 6
# Share of each target that is spread over the whole vocabulary.
LABEL_SMOOTHING = 0.1


@dataclasses.dataclass(frozen=True)
class Config(TrainingSettings):
    """What to train, on what, and how."""

    data: tuple[str, ...] = ("multi30k",)
    """One or several sets: `multi30k`, `tatoeba`, your own .tsv file whose first line names its
    columns (en, fr and perhaps split), or a folder of parallel files <split>.<language>."""
    repeats: tuple[int, ...] = ()
    """How many times an epoch holds each of several sets of --data; once each by default."""
    typed_copies: float = 0.0
    """Share of the training pairs that are added again with a source as people type it: without
    capitals, without a final mark, or without both."""
    source_language: str = "en"
    """Language to translate from, as the data name it."""
    target_language: str = "fr"
    """Language to translate into."""

    vocab_size: int = 4000
    """Subwords of both languages together (byte-pair encoding)."""
    vocabulary_data: str = ""
    """More data, as for --data and separated by commas, whose training sentences the subwords are
    learned from too; for a run that another one is to go on from."""
    max_length: int = 80
    """Most subwords of a sentence: longer training pairs are left out, longer texts are translated
    in parts."""
    init_from: str = ""
    """Run folder to go on from, with other data or settings: its weights, subwords and shape."""

    embed_dim: int = 256
    """Size of a subword's vector."""
    cell: Cell = "gru"
    """Kind of recurrence; feedforward has none, so each step sees itself alone."""
    units: int = 256
    """Size of the encoder's state, of each of its two directions."""
    num_layers: int = 1
    """Recurrent layers of the encoder."""
    decoder_units: int = 256
    """Size of the decoder's state."""
    decoder_layers: int = 2
    """Recurrent layers of the decoder; the second reads what the first looked at."""

    embedding_dropout: float = 0.1
    """Share of the vectors' features dropped, the same ones at all steps."""
    dropout: float = 0.3
    """Share dropped of the source's states, before the output, and between recurrent layers."""

    warmup_steps: int = 400
    epochs: int = 20
    tokens_per_batch: int = 2000
    """Subwords of both sides in one step, padding included."""

    beam_size: int = 5
    """Hypotheses that the search keeps."""
    length_penalty: float = 1.0
    """Power of the length that a hypothesis's log-probability is divided by."""

    def __post_init__(self):
        """Checks what the types cannot say."""
        super().__post_init__()
        check_at_least(
            1,
            self,
            "embed_dim",
            "units",
            "num_layers",
            "decoder_units",
            "decoder_layers",
            "beam_size",
        )
        check_shares(
            self,
            "typed_copies",
            "embedding_dropout",
            "dropout",
        )
        if self.repeats and (len(self.data) < 2 or len(self.repeats) != len(self.data)):
            raise UserError("--repeats needs a number for each of the several sets of --data.")
        if min(self.repeats, default=1) < 1:
            raise UserError("--repeats must be 1 or more for each set.")
        check_at_least(0, self, "length_penalty")
        check_at_least(4, self, "max_length")
        if self.source_language == self.target_language:
            raise UserError("--source-language and --target-language are the same: set two.")
        if self.tokens_per_batch < 2 * (self.max_length + 1):
            raise UserError(
                f"--tokens-per-batch {self.tokens_per_batch} is less than one pair of"
                f" {self.max_length} subwords a side: raise it, or lower --max-length."
            )

    def ignored(self) -> dict[str, str]:
        """Returns the settings that the chosen mode does not read, each with the reason."""
        reasons = super().ignored()
        if self.init_from:
            reasons["vocabulary_data"] = "--init-from brings its subwords"
        return reasons


# What `make tune-translation` varies, and the score on the validation split that judges it.
TUNING = Tuning(
    "val_bleu",
    "max",
    {
        "learning_rate": Range(5e-4, 5e-3, log=True),
        "units": (128, 256, 384),
        "dropout": Range(0.1, 0.5),
        "embedding_dropout": Range(0.0, 0.3),
        "label_smoothing": Range(0.0, 0.2),
        "vocab_size": (2000, 4000, 8000),
    },
)
