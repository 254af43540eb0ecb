"""The settings of the captioning task: one field a flag, saved whole in `config.json`."""

import dataclasses
from typing import Literal

from common.errors import UserError
from common.settings import (
    Cell,
    TrainingSettings,
    check_at_least,
    check_seeds,
    check_shares,
)

SMALL_CNN = "small_cnn"
# What --init-from takes from the run that it names: the parts that carry weights must be the same.
SHAPE = (
    "backbone",
    "picture_size",
    "vocab_size",
    "max_length",
    "variant",
    "memory_dim",
    "embed_dim",
    "cell",
    "decoder_units",
    "decoder_layers",
    "attention",
)
# What decides on which pictures are held out.
CUT = ("validation_share", "test_share", "split_seed")

# Distinct lengths that captions are padded to; each compiles once.
BUCKETS = 4


@dataclasses.dataclass(frozen=True)
class Config(TrainingSettings):
    """What to train, on what, and how."""

    data: str = "flickr8k"
    """`flickr8k`, or a folder with your own pictures and a captions.csv whose first line is
    image,caption (and perhaps split)."""
    validation_share: float = 0.1
    """Share of the pictures cut off for validation where the data have no such split."""
    test_share: float = 0.1
    """Share of the pictures cut off to test on where the data have no such split."""
    split_seed: int = 0
    """Which pictures are cut off; the same for all training seeds."""

    backbone: Literal[
        "mobilenet_v2",
        "mobilenet_v3_large",
        "efficientnet_b0",
        "efficientnet_v2_b0",
        "resnet50",
        "resnet50_v2",
        "densenet121",
        "vgg16",
        "inception_v3",
        "xception",
        "small_cnn",
    ] = "mobilenet_v2"
    """What sees the picture: a frozen network trained on ImageNet, whose features are extracted
    once, or small_cnn, which is trained from scratch together with the decoder."""
    picture_size: int = 224
    """Height and width that pictures are scaled to, in pixels."""
    fine_tune: str = ""
    """Layer of the backbone from which on it is trained too, such as block_16_expand: a second
    stage that begins with --init-from, at a low rate, and learns from pictures, not features."""
    init_from: str = ""
    """Run folder to go on from, with other data or settings: its weights, subwords and shape."""

    vocab_size: int = 3000
    """Subwords (byte-pair encoding)."""
    max_length: int = 40
    """Most subwords of a caption: longer ones are left out of training, and none is written."""
    variant: Literal["attention", "initial_state", "merge"] = "attention"
    """How the decoder learns of the picture: it looks at regions for each word; its states begin
    with the picture; or each word is predicted from the words so far and the whole picture."""
    memory_dim: int = 256
    """Size of a region's vector."""
    embed_dim: int = 256
    """Size of a subword's vector."""
    cell: Cell = "lstm"
    """Kind of recurrence; feedforward has none, so each step sees itself alone."""
    decoder_units: int = 256
    """Size of the decoder's state."""
    decoder_layers: int = 2
    """Recurrent layers of the decoder; the second reads what the first looked at."""
    attention: Literal["dot", "general", "concat"] = "general"
    """How a state and a region are compared (Luong et al., 2015)."""

    word_dropout: float = 0.1
    """Share of subwords whose vector is dropped in training."""
    embedding_dropout: float = 0.2
    """Share of the vectors' features dropped, the same ones at all steps."""
    dropout: float = 0.5
    """Share dropped of the regions' vectors, before the output, and between recurrent layers."""
    label_smoothing: float = 0.1
    """Share of each target that is spread over the whole vocabulary."""

    objective: Literal["cross_entropy", "cider"] = "cross_entropy"
    """What is learnt: the next word of human captions; or, as a second stage that begins with
    --init-from at a low rate, to write captions that earn CIDEr (self-critical training)."""
    samples: int = 5
    """Captions that --objective cider draws of each picture in a step, to compare them."""
    pictures_per_step: int = 16
    """Pictures in one step of --objective cider."""
    learning_rate: float = 1.5e-3
    warmup_steps: int = 400
    epochs: int = 12
    tokens_per_batch: int = 4000
    """Subwords and regions in one step, padding included."""

    beam_size: int = 5
    """Hypotheses that the search keeps."""
    length_penalty: float = 0.7
    """Power of the length that a hypothesis's log-probability is divided by."""
    no_repeat_ngram: int = 0
    """Subwords in a row that no caption may hold twice; 0 allows any."""
    mirror: bool = True
    """Train on each picture's mirror image too, and write each caption from both: better captions
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
            "memory_dim",
            "decoder_units",
            "decoder_layers",
            "beam_size",
            "pictures_per_step",
        )
        check_shares(
            self,
            "validation_share",
            "test_share",
            "word_dropout",
            "embedding_dropout",
            "dropout",
            "label_smoothing",
        )
        check_seeds(self, "split_seed")
        check_at_least(0, self, "length_penalty", "no_repeat_ngram")
        check_at_least(2, self, "samples")
        check_at_least(4, self, "max_length")
        check_at_least(16, self, "picture_size")
        if self.validation_share + self.test_share >= 1:
            raise UserError("--validation-share and --test-share leave nothing to train on.")
        if self.variant == "initial_state" and self.cell == "feedforward":
            raise UserError("--variant initial_state needs a state: --cell feedforward has none.")
        if self.variant != "attention" and self.attention != "general":
            raise UserError(f"--attention {self.attention} is for --variant attention alone.")
        if self.attention == "dot" and self.decoder_units != self.memory_dim:
            raise UserError(
                f"--attention dot needs --decoder-units {self.memory_dim}, the --memory-dim; or"
                " take --attention general."
            )
        if self.fine_tune and self.backbone == SMALL_CNN:
            raise UserError("--fine-tune is for a trained backbone: small_cnn is trained whole.")
        if self.fine_tune and not self.init_from:
            raise UserError("--fine-tune is a second stage: name the first run with --init-from.")
        if self.objective == "cider":
            if not self.init_from:
                raise UserError(
                    "--objective cider is a second stage: name a run that was trained by"
                    " cross-entropy with --init-from."
                )

    def ignored(self) -> dict[str, str]:
        """Returns the settings that the chosen mode does not read, each with the reason."""
        reasons = super().ignored()
        if self.data == "flickr8k":
            for name in CUT:
                reasons[name] = "--data flickr8k has splits of its own"
        if self.variant != "attention":
            reasons["attention"] = f"--variant {self.variant} has none"
        if self.objective == "cider":
            for name in ("label_smoothing", "tokens_per_batch"):
                reasons[name] = "it is for --objective cross_entropy"
        else:
            for name in ("samples", "pictures_per_step"):
                reasons[name] = "it is for --objective cider"
        return reasons
