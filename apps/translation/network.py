"""The Keras model of a translator: asked like its exported graph, and scored while it learns."""

from pathlib import Path

import keras
from tokenizers import Tokenizer

from apps.translation.config import Config
from apps.translation.decoding import SequenceTranslator, output_limit
from apps.translation.metrics import translation_metrics
from common.errors import UserError
from common.run_folder import CONFIG, MODEL, TOKENIZER, load_model
from common.settings import Search
from data.pairs.splits import PairSplit
from data.text.subwords import END_ID, START_ID, decode_texts, encode_texts
from models.decode.writer import SequenceWriter
from models.translation import model_name

# Validation sentences that are translated after each epoch.
SCORED_AN_EPOCH = 1000


class KerasNetwork(SequenceWriter):
    """A translator, each batch in one compiled loop; one serves a whole training.

    Args:
        model: From `build_encoder_decoder` or `build_ensemble`.
        max_length: Most tokens of a source.
    """

    def __init__(self, model: keras.Model, *, max_length: int):
        """See the class."""
        super().__init__(
            model.get_layer("encoder"),
            model.get_layer("decoder"),
            start_id=START_ID,
            end_id=END_ID,
            max_length=output_limit(max_length),
        )
        self.model = model
        self.parameters = model.count_params()


def load_network(run: Path, config: Config, tokenizer: Tokenizer) -> KerasNetwork:
    """Loads the model of a run folder.

    Raises:
        UserError: If it is missing or damaged, or belongs to other settings or subwords.
    """
    model = load_model(run)
    languages = (config.source_language, config.target_language)
    if model.name != model_name(*languages):
        raise UserError(
            f"{run / CONFIG} says that the model translates {' to '.join(languages)}, but"
            f" {run / MODEL} is named {model.name}: restore the file, or train again."
        )
    predicted = model.get_layer("decoder").output["logits"].shape[-1]
    if predicted != tokenizer.get_vocab_size():
        raise UserError(
            f"{run / TOKENIZER} has {tokenizer.get_vocab_size()} subwords and {run / MODEL}"
            f" {predicted}: they belong to different runs; restore them."
        )
    return KerasNetwork(model, max_length=config.max_length)


class ValidationBleu(keras.callbacks.Callback):
    """Translates validation sentences after each epoch, greedily, and adds `val_bleu` to `logs`.

    Args:
        translate_ids: Of the model in training.
        tokenizer: Its subwords.
        split: What to translate; its first `SCORED_AN_EPOCH` sentences are.
        config: Settings.
    """

    def __init__(
        self,
        translate_ids: SequenceTranslator,
        tokenizer: Tokenizer,
        split: PairSplit,
        config: Config,
    ):
        """See the class."""
        super().__init__()
        self._translate_ids, self._tokenizer, self._config = translate_ids, tokenizer, config
        self._sources = encode_texts(
            tokenizer, split.source[:SCORED_AN_EPOCH], max_length=config.max_length
        )
        self._references = split.references[:SCORED_AN_EPOCH]

    def on_epoch_end(self, epoch, logs=None):
        """Scores."""
        found = self._translate_ids(self._sources, Search.of(self._config, method="greedy"))
        hypotheses = decode_texts(self._tokenizer, [best.tokens for best, *_ in found])
        scores = translation_metrics(
            hypotheses, self._references, target_language=self._config.target_language
        )
        logs["val_bleu"] = scores["bleu"]
