"""What a decoder has written, sequence by sequence, out of batches of the compiled loop."""

from collections import Counter

import keras
import numpy as np
from keras import ops

from models.decode.generation import build_generator, set_seed
from models.decode.hypothesis import Hypothesis, hypotheses_of


class SequenceWriter:
    """Writes a batch at a time.

    The loops are built when they are first wanted, one for all seeds, and see later changes of the
    weights, so that one writer serves a whole training.

    Args:
        encoder: As `build_generator` takes it.
        decoder: From `build_attention_decoder`.
        **options: More of `build_generator`, the same for every batch.
    """

    def __init__(self, encoder: keras.Model, decoder: keras.Model, **options):
        """See the class."""
        self._encoder, self._decoder, self._options = encoder, decoder, options
        self._generators: dict[tuple, keras.Model] = {}
        self._calls: Counter[tuple] = Counter()

    def __call__(
        self, inputs: dict[str, np.ndarray], *, attention: bool = False, seed: int = 0, **search
    ) -> list[list[Hypothesis]]:
        """Writes.

        Args:
            inputs: The encoder's, and `length_limit` `<int32>(batch,)`.
            attention: Whether hypotheses come with what they looked at.
            seed: Of samples; each batch of a seed draws new ones.
            **search: The rest of `build_generator`.

        Returns:
            For each row its hypotheses, the best first; of a beam that ended in fewer than
            `n_best`, those.
        """
        key = (attention, *sorted(search.items()))
        if key not in self._generators:
            self._generators[key] = build_generator(
                self._encoder, self._decoder, return_attention=attention, **self._options, **search
            )
        generator = self._generators[key]
        set_seed(generator, seed, self._calls[seed, key])
        self._calls[seed, key] += 1
        outputs = generator.predict_on_batch(inputs)
        outputs = {name: ops.convert_to_numpy(output) for name, output in outputs.items()}
        return [hypotheses_of(outputs, row) for row in range(len(inputs["length_limit"]))]
