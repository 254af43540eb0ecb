"""Generation: a decoder writes for a whole batch at once, inside one compiled loop.

Three ways to choose the words: `greedy`, `beam` (search for the best sequence) and `sample`.
"""

import keras
import numpy as np
from keras import layers, ops

# The log-probability of what must not be, small enough for sums of it to stay finite.
_IMPOSSIBLE = -1e9


def build_generator(
    encoder: keras.Model,
    decoder: keras.Model,
    *,
    start_id: int,
    end_id: int,
    max_length: int,
    forbidden_ids: tuple[int, ...] = (0, 1),
    method: str = "beam",
    beam_size: int = 5,
    length_penalty: float = 1.0,
    n_best: int = 1,
    temperature: float = 1.0,
    top_k: int = 0,
    return_attention: bool = False,
) -> keras.Model:
    """Builds a model that writes sequences; `predict_on_batch` runs it compiled.

    Every sequence ends with `end_id`: where the limit leaves room for one more token only, no
    other is allowed. Samples are new in every call; `set_seed` chooses which ones.

    Args:
        encoder: A model to a dict of what the decoder reads besides the words: `memory`,
            `memory_mask`, `states`.
        decoder: From `build_attention_decoder`.
        start_id: What the decoder reads first; it is never written.
        end_id: What ends a sequence.
        max_length: Most tokens of any sequence, the end included.
        forbidden_ids: What else is never written: padding and the unknown word.
        method: `greedy` takes the most probable token and `sample` draws one. `beam` keeps the
            `beam_size` most probable beginnings; a row is done when `beam_size` sequences have
            ended among these (first come, first served; Kasai et al., 2022).
        beam_size: Hypotheses of a beam. Greedy search is a beam of one.
        length_penalty: Exponent of the length that a score is divided by.
        n_best: Sequences a row: the best of a beam in order, or independent samples.
        temperature: What logits are divided by before sampling, above 0.
        top_k: Number of most probable tokens to sample from; 0 for all.
        return_attention: Whether `attention` comes out besides.

    Returns:
        A model of the encoder's inputs and `length_limit` `<int32>(batch,)`, the most tokens of
        each row, the end included, to a dict: `sequences` `<int32>(batch, n_best, max_length)`,
        padded (0) after the end; `scores` `(batch, n_best)`, the log-probability of a sequence and
        its end over `length ** length_penalty`, the end counted too; `attention` `(batch, n_best,
        max_length, memory_length)`, what each token looked at, 0 at padding. Where fewer sequences
        than `n_best` exist, the last hold nothing but padding and score -1e9.
    """
    width = {"greedy": 1, "beam": beam_size, "sample": n_best}[method]
    generation = Generation(
        decoder,
        start_id=start_id,
        end_id=end_id,
        max_length=max_length,
        forbidden_ids=forbidden_ids,
        sampled=method == "sample",
        width=width,
        length_penalty=length_penalty,
        temperature=temperature,
        top_k=top_k,
        name="generation",
    )
    # New inputs: the operations of a reloaded encoder have names that new ones would repeat.
    inputs = {
        tensor.name: keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype, name=tensor.name)
        for tensor in encoder.inputs
    }
    length_limit = keras.Input((), dtype="int32", name="length_limit")
    memory = encoder(keras.tree.map_structure(lambda tensor: inputs[tensor.name], encoder.input))
    sequences, scores = generation(memory, length_limit)
    outputs = {"sequences": sequences[:, :n_best], "scores": scores[:, :n_best]}
    if return_attention:
        outputs["attention"] = _alignment(decoder, memory, outputs["sequences"], start_id=start_id)
    return keras.Model({**inputs, "length_limit": length_limit}, outputs, name="generator")


def set_seed(generator: keras.Model, seed: int, call: int = 0) -> None:
    """Makes the next samples of a generator those of two numbers, without compiling it again.

    Args:
        generator: From `build_generator`.
        seed: Another seed gives other samples.
        call: Calls of this seed that came before: a generator counts them itself from here on.
    """
    state = generator.get_layer("generation").seed_generator.state
    state.assign(np.array([seed, call]).astype(state.dtype))


def _alignment(decoder: keras.Model, memory: dict, sequences, *, start_id: int):
    """Returns what each token of finished sequences looked at, by teacher forcing."""
    attention = []
    for rank in range(sequences.shape[1]):
        target_out = sequences[:, rank]
        target_in = ops.pad(target_out[:, :-1], ((0, 0), (1, 0)), constant_values=start_id)
        weights = decoder({"target_in": target_in, **memory})["attention"]
        attention.append(ops.where(ops.not_equal(target_out, 0)[:, :, None], weights, 0.0))
    return ops.stack(attention, axis=1)


class Generation(layers.Layer):
    """The loop; built around a trained decoder, never saved.

    A row of the batch has `width` hypotheses: `sequences` `<int32>(batch, width, max_length)`, and
    `sums` `(batch, width)` of their log-probabilities, impossible once they have ended. `ended`
    and `scores`, of the same shapes, hold what has.
    """

    def __init__(
        self,
        decoder: keras.Model,
        *,
        start_id: int,
        end_id: int,
        max_length: int,
        forbidden_ids: tuple[int, ...],
        sampled: bool,
        width: int,
        length_penalty: float,
        temperature: float,
        top_k: int,
        **options,
    ):
        """Takes the settings that `build_generator` explains."""
        super().__init__(**options)
        self.decoder, self.start_id, self.end_id = decoder, start_id, end_id
        self.max_length, self.sampled, self.width = max_length, sampled, width
        self.length_penalty = length_penalty
        self.vocab_size = decoder.output["logits"].shape[-1]
        self.temperature, self.top_k = temperature, min(top_k or self.vocab_size, self.vocab_size)
        self.seed_generator = keras.random.SeedGenerator(0)
        self.forbidden = np.zeros(self.vocab_size, "float32")
        self.forbidden[[start_id, *forbidden_ids]] = _IMPOSSIBLE
        self.not_the_end = np.arange(self.vocab_size) != end_id

    def call(self, memory, length_limit):
        """Returns `ended` and `scores`."""
        limit = ops.clip(length_limit, 1, self.max_length)[:, None]
        memory = {
            # A shared table of vectors has no row for each sentence.
            name: value if name == "embeddings" else keras.tree.map_structure(self._tiled, value)
            for name, value in memory.items()
        }
        states = memory.pop("states")
        shape = (ops.shape(length_limit)[0], self.width)
        noise = None
        if self.sampled:
            # One number for each token, drawn before the loop.
            noise = keras.random.uniform((*shape, self.max_length), seed=self.seed_generator)
        tokens = ops.full(shape, self.start_id, dtype="int32")
        sums = ops.zeros(shape, dtype="float32")
        if not self.sampled:
            # All begin alike: only one may be carried on, or the beam fills with its copies.
            sums = ops.add(sums, np.array([0.0] + [_IMPOSSIBLE] * (self.width - 1), "float32"))
        sequences = ops.zeros((*shape, self.max_length), dtype="int32")
        scores = ops.full(shape, _IMPOSSIBLE, dtype="float32")

        def goes_on(step, tokens, sums, *rest):
            return ops.any(_possible(sums))

        def body(step, tokens, sums, sequences, ended, scores, *states):
            target_in = ops.reshape(tokens, (-1, 1))
            outputs = self.decoder({"target_in": target_in, **memory, "states": list(states)})
            logits = ops.reshape(outputs["logits"], (-1, self.width, self.vocab_size))
            log_probabilities = self._allowed(ops.log_softmax(logits), step, limit)
            advance = self._sample_step if self.sampled else self._beam_step
            return advance(
                step, sums, sequences, ended, scores, outputs["states"], log_probabilities, noise
            )

        start = (ops.zeros((), dtype="int32"), tokens, sums, sequences, sequences, scores, *states)
        _, _, _, _, ended, scores, *_ = ops.while_loop(goes_on, body, start)
        return ended, scores

    def compute_output_spec(self, memory, length_limit):
        """Returns the symbolic outputs."""
        shape = (length_limit.shape[0], self.width)
        return (
            keras.KerasTensor((*shape, self.max_length), dtype="int32"),
            keras.KerasTensor(shape, dtype="float32"),
        )

    def _tiled(self, tensor):
        """Repeats each row, once for each of its hypotheses."""
        return ops.repeat(tensor, self.width, axis=0)

    def _allowed(self, log_probabilities, step, limit):
        """Makes impossible what may not come next; `(batch, width, vocab_size)` in and out."""
        allowed = ops.add(log_probabilities, self.forbidden)
        last = ops.equal(step, limit - 1)[:, :, None]
        return ops.where(ops.logical_and(last, self.not_the_end), _IMPOSSIBLE, allowed)

    def _beam_step(self, step, sums, sequences, ended, scores, states, log_probabilities, noise):
        """Carries the best beginnings on; returns the loop's variables."""
        totals = ops.reshape(
            sums[:, :, None] + log_probabilities, (-1, self.width * self.vocab_size)
        )
        # At most half of the candidates end, one of each hypothesis, so enough go on.
        best, place = ops.top_k(totals, 2 * self.width)
        place = ops.cast(place, "int32")
        parents, tokens = place // self.vocab_size, place % self.vocab_size
        ends = ops.equal(tokens, self.end_id)

        # Among the ended, old and new. Cut by a mask, since XLA would sort the whole vocabulary
        # for a slice of the candidates, a hundred times slower on a CPU.
        leading = np.arange(2 * self.width) < self.width
        new_scores = self._scores(best, ops.logical_and(ends, leading), step)
        new_ended = _written(_picked(sequences, parents), tokens, step)
        new_ended = ops.where(_possible(new_scores)[:, :, None], new_ended, 0)
        scores, order = ops.top_k(ops.concatenate([scores, new_scores], axis=1), self.width)
        ended = _picked(ops.concatenate([ended, new_ended], axis=1), order)

        # Among those that go on, unless enough have ended.
        full = ops.all(_possible(scores), axis=1, keepdims=True)
        sums, order = ops.top_k(ops.where(ends, _IMPOSSIBLE, best), self.width)
        sums = ops.where(full, _IMPOSSIBLE, sums)
        parents = ops.take_along_axis(parents, order, axis=1)
        tokens = ops.take_along_axis(tokens, order, axis=1)
        sequences = _written(_picked(sequences, parents), tokens, step)
        row = ops.reshape(_numbers(parents)[:, None] * self.width + parents, (-1,))
        states = [ops.take(state, row, axis=0) for state in states]
        return (step + 1, tokens, sums, sequences, ended, scores, *states)

    def _sample_step(self, step, sums, sequences, ended, scores, states, log_probabilities, noise):
        """Draws a token for each hypothesis; returns the loop's variables."""
        scaled = log_probabilities / self.temperature
        # To sort the whole vocabulary would take longer than all else.
        some = self.top_k < self.vocab_size
        if some:
            scaled, candidates = ops.top_k(scaled, self.top_k)
        probabilities = ops.exp(scaled - ops.max(scaled, axis=-1, keepdims=True))
        # The first token at which the running sum passes a random share of the whole.
        running = ops.cumsum(probabilities, axis=-1)
        share = ops.take(noise, step, axis=2)[:, :, None] * running[:, :, -1:]
        passed = ops.logical_and(ops.greater(running, share), ops.greater(probabilities, 0))
        chosen = ops.argmax(ops.cast(passed, "int32"), axis=-1)[:, :, None]
        if some:
            chosen = ops.take_along_axis(candidates, chosen, axis=-1)
        sums = sums + ops.take_along_axis(log_probabilities, chosen, axis=-1)[:, :, 0]
        tokens = ops.cast(chosen[:, :, 0], "int32")
        sequences = _written(sequences, tokens, step)
        new_scores = self._scores(sums, ops.equal(tokens, self.end_id), step)
        new = _possible(new_scores)
        ended = ops.where(new[:, :, None], sequences, ended)
        scores, sums = ops.where(new, new_scores, scores), ops.where(new, _IMPOSSIBLE, sums)
        return (step + 1, tokens, sums, sequences, ended, scores, *states)

    def _scores(self, sums, ends, step):
        """Returns the score of what ends at this step, impossible for the rest."""
        length = ops.cast(step + 1, sums.dtype)
        ended = ops.logical_and(ends, _possible(sums))
        return ops.where(ended, sums / length**self.length_penalty, _IMPOSSIBLE)


def _possible(sums):
    return ops.greater(sums, _IMPOSSIBLE / 2)


def _numbers(rows):
    """Returns `<int32>(batch,)`, a count from 0, for `(batch, columns)` of any dtype."""
    return ops.cumsum(ops.ones_like(rows[:, 0], dtype="int32")) - 1


def _picked(sequences, hypotheses):
    """Returns those `(batch, chosen, max_length)` that `<int32>(batch, chosen)` names."""
    return ops.take_along_axis(sequences, hypotheses[:, :, None], axis=1)


def _written(sequences, tokens, step):
    """Returns the sequences with one more token each."""
    here = ops.equal(np.arange(sequences.shape[-1]), step)
    return ops.where(here, tokens[:, :, None], sequences)
