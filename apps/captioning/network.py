"""The Keras model of a captioner: asked like its exported graph, and scored while it learns."""

from pathlib import Path

import keras
import numpy as np
from tokenizers import Tokenizer

from apps.captioning.config import Config
from apps.captioning.decoding import PictureDescriber
from apps.captioning.features import PictureInputs, load_run_backbone, takes_pixels
from apps.captioning.metrics import caption_metrics
from common.errors import UserError
from common.run_folder import CONFIG, MODEL, TOKENIZER, load_model
from common.settings import Search
from data.pictures.splits import CaptionSplit
from data.text.subwords import END_ID, START_ID, decode_texts
from models.captioning import add_mirror_image
from models.decode.hypothesis import Hypothesis
from models.decode.writer import SequenceWriter


class KerasNetwork:
    """A captioner, and the backbone that it looks through.

    Args:
        model: From `build_encoder_decoder` or `build_ensemble`.
        inputs: What makes its input of pictures.
        max_length: Most tokens of a caption.
    """

    def __init__(self, model: keras.Model, inputs: PictureInputs, *, max_length: int):
        """See the class."""
        self.model, self.inputs, self._max_length = model, inputs, max_length
        self.parameters = model.count_params()
        self._writers: dict[int, SequenceWriter] = {}

    def __call__(self, inputs: dict[str, np.ndarray], **search) -> list[list[Hypothesis]]:
        """Writes for a batch, see `SequenceWriter`.

        Args:
            inputs: `length_limit` `<int32>(batch,)`, and `picture`, `<uint8>(batch, views, size,
                size, 3)` or what `PictureInputs.compute` made of it.
            **search: Of `SequenceWriter`.
        """
        seen = inputs["picture"]
        views = seen.shape[1]
        if seen.dtype == np.uint8:
            seen = self.inputs.compute(seen)
        if views not in self._writers:
            model = self.model if views == 1 else add_mirror_image(self.model)
            self._writers[views] = caption_writer(
                model.get_layer("encoder"),
                model.get_layer("decoder"),
                max_length=self._max_length,
            )
        seen = seen[:, 0] if views == 1 else seen
        return self._writers[views]({**inputs, "picture": seen}, **search)


def caption_writer(
    encoder: keras.Model, decoder: keras.Model, *, max_length: int
) -> SequenceWriter:
    """Returns what writes captions of at most `max_length` tokens and their end."""
    return SequenceWriter(
        encoder, decoder, start_id=START_ID, end_id=END_ID, max_length=max_length + 1
    )


def load_network(run: Path, config: Config, tokenizer: Tokenizer) -> KerasNetwork:
    """Loads the model of a run folder, and its backbone.

    Raises:
        UserError: If one of them is missing or damaged, or they do not belong together.
    """
    model = load_model(run)
    predicted = model.get_layer("decoder").output["logits"].shape[-1]
    if predicted != tokenizer.get_vocab_size():
        raise UserError(
            f"{run / TOKENIZER} has {tokenizer.get_vocab_size()} subwords and {run / MODEL}"
            f" {predicted}: they belong to different runs; restore them."
        )
    backbone = None if takes_pixels(config) else load_run_backbone(config, run)
    if backbone is not None and backbone.output.shape[1:] != model.input["picture"].shape[1:]:
        raise UserError(
            f"{run / CONFIG} names a backbone of {backbone.output.shape[1:]} features, but"
            f" {run / MODEL} takes {model.input['picture'].shape[1:]}: restore the files."
        )
    return KerasNetwork(model, PictureInputs(config, backbone), max_length=config.max_length)


class ValidationCaptions(keras.callbacks.Callback):
    """Captions the validation pictures after each epoch, greedily; adds `val_cider`, `val_bleu_4`.

    Args:
        describe_ids: Of the model in training.
        tokenizer: Its subwords.
        pictures: What the model takes of the pictures.
        split: Their captions.
        config: Settings.
    """

    def __init__(
        self,
        describe_ids: PictureDescriber,
        tokenizer: Tokenizer,
        pictures: np.ndarray,
        split: CaptionSplit,
        config: Config,
    ):
        """See the class."""
        super().__init__()
        self._describe_ids, self._tokenizer, self._config = describe_ids, tokenizer, config
        self._pictures, self._references = pictures, split.captions

    def on_epoch_end(self, epoch, logs=None):
        """Scores."""
        found = self._describe_ids(self._pictures, Search.of(self._config, method="greedy"))
        hypotheses = decode_texts(self._tokenizer, [best.tokens for best, *_ in found])
        scores = caption_metrics(hypotheses, self._references)
        logs["val_cider"], logs["val_bleu_4"] = scores["cider"], scores["bleu_4"]
