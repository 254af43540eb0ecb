"""The search of Keras, asked like its graph, and inputs on which the two are compared."""

from collections.abc import Callable, Iterator

import keras
import numpy as np

from data.text.subwords import END_ID, START_ID
from models.decode.generation import build_generator

# Rows, beam and length penalty of each comparison; a beam of one is greedy search.
_BATCHES = ((7, 5, 0.7), (1, 1, 1.0))


class KerasSearch:
    """Writes with Keras what the graph writes.

    Args:
        model: From `build_encoder_decoder` or `build_ensemble`.
        prepare: Makes the encoder's input, or that of another model, of the graph's own inputs:
            returns the model and the inputs by name.
    """

    def __init__(
        self,
        model: keras.Model,
        prepare: Callable[..., tuple[keras.Model, dict[str, np.ndarray]]] | None = None,
    ):
        """See the class."""
        self.model = model
        self._prepare = prepare or (lambda **inputs: (model, inputs))

    def __call__(
        self,
        *,
        length_limit: np.ndarray,
        beam_size: int,
        length_penalty: float,
        n_best: int,
        attention_wanted: bool,
        **inputs: np.ndarray,
    ) -> dict[str, np.ndarray]:
        """Returns the outputs of the graph; see `add_search`."""
        model, inputs = self._prepare(**inputs)
        generator = build_generator(
            model.get_layer("encoder"),
            model.get_layer("decoder"),
            start_id=START_ID,
            end_id=END_ID,
            max_length=int(length_limit.max()),
            beam_size=int(beam_size),
            length_penalty=float(length_penalty),
            n_best=int(n_best),
            return_attention=bool(attention_wanted),
        )
        # It answers once: to trace it would take longer than that.
        outputs = generator({**inputs, "length_limit": length_limit}, training=False)
        return {name: keras.ops.convert_to_numpy(value) for name, value in outputs.items()}


def searches() -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    """Yields numbers of rows, and the settings of a search that writes for them."""
    generator = np.random.default_rng(0)
    for rows, beam_size, length_penalty in _BATCHES:
        yield (
            rows,
            {
                "length_limit": generator.integers(1, 20, rows).astype(np.int32),
                "beam_size": np.int32(beam_size),
                "length_penalty": np.float32(length_penalty),
                "n_best": np.int32(min(beam_size, 3)),
                "attention_wanted": np.bool_(True),
            },
        )
