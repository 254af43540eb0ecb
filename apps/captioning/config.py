"""The settings of the captioning task: one field a flag, saved whole in `config.json`."""

import dataclasses
from typing import Literal

from common.errors import UserError
from common.settings import (
    Cell,
    Range,
    TrainingSettings,
    Tuning,
    check_at_least,
    check_seeds,
    check_shares,
)

SMALL_CNN = "small_cnn"

# Distinct lengths that captions are padded to; each compiles once.
BUCKETS = 4
# Share of each target that is spread over the whole vocabulary.
LABEL_SMOOTHING = 0.1


@dataclasses.dataclass(frozen=True)
class Config(TrainingSettings):
    """What to train, on what, and how."""

    data: str = "flickr8k"
    """`flickr8k`, or a folder with your own pictures and a captions.csv whose first line is
    image,caption (and perhaps split)."""
    validation_share: float = 0.1
    """Share of the pictures for validation where the data name no such split. Another 0.1 is for
    testing."""
    split_seed: int = 0
    """Another seed cuts the data in another way; the same for all training seeds."""

    backbone: Literal["mobilenet_v2", "efficientnet_v2_b0", "resnet50", "small_cnn"] = (
        "mobilenet_v2"
    )
    """Convolutional network: a frozen one trained on ImageNet, whose features are computed once, or
    small_cnn, which is trained from scratch together with the decoder."""
    picture_size: int = 224
    """Height and width that pictures are scaled to, in pixels."""

    vocab_size: int = 3000
    """Subwords (byte-pair encoding)."""
    max_length: int = 40
    """Most subwords of a caption: longer ones are left out of training, and none is decoded."""
    variant: Literal["attention", "initial_state", "merge"] = "attention"
    """How the decoder sees the picture: it attends to regions for each word; its states begin with
    the picture; or each word is predicted from the words so far and the whole picture."""
    embed_dim: int = 256
    """Size of the vectors of subwords and regions."""
    cell: Cell = "lstm"
    """Kind of recurrence; feedforward has none, so each step sees only itself."""
    decoder_units: int = 256
    """Size of the decoder's state."""
    decoder_layers: int = 2
    """Recurrent layers of the decoder; the second reads the first one's output and context."""

    word_dropout: float = 0.1
    """Share of subwords whose vector is dropped in training."""
    embedding_dropout: float = 0.2
    """Share of the vectors' features dropped, the same ones at all steps."""
    dropout: float = 0.5
    """Share dropped of the regions' vectors, before the output, and between recurrent layers."""

    learning_rate: float = 1.5e-3
    warmup_steps: int = 400
    epochs: int = 12
    tokens_per_batch: int = 4000
    """Subwords and regions in one step, padding included."""

    beam_size: int = 5
    """Hypotheses that the beam search keeps."""
    length_penalty: float = 0.7
    """Power of the length by which a hypothesis's log-probability is divided."""
    mirror: bool = True
    """Train on each picture's mirror image too, and decode each caption from both: better captions
    in up to twice the time, but not where captions say left or right (--no-mirror)."""

    @property
    def views(self) -> int:
        """How many views the model sees of each picture: it alone, or its mirror image too."""
        return 2 if self.mirror else 1

    def __post_init__(self):
        """Checks what the types cannot say."""
        super().__post_init__()
        check_at_least(
            1,
            self,
            "embed_dim",
            "decoder_units",
            "decoder_layers",
            "beam_size",
        )
        check_shares(
            self,
            "validation_share",
            "word_dropout",
            "embedding_dropout",
            "dropout",
        )
        check_seeds(self, "split_seed")
        check_at_least(0, self, "length_penalty")
        check_at_least(4, self, "max_length")
        check_at_least(16, self, "picture_size")
        if self.validation_share >= 0.9:
            raise UserError("--validation-share must be below 0.9: another 0.1 is for testing.")
        if self.variant == "initial_state" and self.cell == "feedforward":
            raise UserError("--variant initial_state needs a state: --cell feedforward has none.")

    def ignored(self) -> dict[str, str]:
        """Returns the settings that the chosen mode does not read, each with the reason."""
        reasons = super().ignored()
        if self.data == "flickr8k":
            for name in ("validation_share", "split_seed"):
                reasons[name] = "--data flickr8k has its own splits"
        return reasons


# What `make tune-captioning` varies, and the score on the validation split that judges it.
TUNING = Tuning(
    "val_cider",
    "max",
    {
        "learning_rate": Range(3e-4, 4e-3, log=True),
        "decoder_units": (256, 512),
        "dropout": Range(0.3, 0.7),
        "embedding_dropout": Range(0.0, 0.4),
        "word_dropout": Range(0.0, 0.3),
        "label_smoothing": Range(0.0, 0.2),
    },
)
