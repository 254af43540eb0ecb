"""Self-critical training: a captioner samples captions and learns from the CIDEr that they earn.

A second stage after cross-entropy (Rennie et al., 2017). A sample becomes more probable if it earns
more than the mean of the picture's other samples, and less probable otherwise (Luo, 2020).
"""

from collections.abc import Iterator, Sequence

import keras
import numpy as np
from keras import ops
from tokenizers import Tokenizer

from apps.captioning.cider import CiderD
from apps.captioning.metrics import normalise
from data.text.subwords import END_ID, START_ID, decode_texts
from models.decode.generation import build_generator, set_seed

# Stands behind the last word of what is rewarded: else breaking off after "in a" costs nothing.
# `normalise` leaves no such word.
END_WORD = "[end]"
# Keeps the samples' draws apart from those of the order, which have the same seed and epoch.
_SAMPLES = 1


def sequence_loss() -> keras.losses.Loss:
    """Returns the sum over all tokens of their cross-entropy times their weight.

    With the weights of `SelfCriticalBatches` its gradient is minus that of the expected reward.
    """
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="sum")


def _ended(caption: str) -> str:
    return f"{normalise(caption)} {END_WORD}"


def advantages(rewards: np.ndarray) -> np.ndarray:
    """Returns what each sample earned beyond the mean of the picture's other samples.

    Args:
        rewards: `(pictures, samples)`, two samples or more.

    Returns:
        `(pictures, samples)`; those of a picture sum to 0.
    """
    samples = rewards.shape[1]
    others = (rewards.sum(axis=1, keepdims=True) - rewards) / (samples - 1)
    return rewards - others


class SelfCriticalBatches:
    """Draws captions of pictures and weighs them by what they earn.

    What an epoch shows and draws depends on `seed`, the epoch's number and the model's weights
    alone. All batches have the same number of pictures: the last one has some a second time.

    Args:
        encoder: Of the model in training.
        decoder: Likewise.
        tokenizer: Its subwords.
        pictures: `(pictures, views, ...)`, what the encoder takes. A view of each is drawn.
        references: `(pictures,)`, the human captions of each.
        max_length: Most tokens of a caption.
        samples: Captions drawn of each picture.
        pictures_per_batch: Pictures of a batch.
        buckets: Most distinct lengths that the samples of a batch are padded to.
        seed: Seed of order, views and samples.
    """

    def __init__(
        self,
        encoder: keras.Model,
        decoder: keras.Model,
        tokenizer: Tokenizer,
        *,
        pictures: np.ndarray,
        references: Sequence[Sequence[str]],
        max_length: int,
        samples: int,
        pictures_per_batch: int,
        buckets: int,
        seed: int,
    ):
        """See the class."""
        self._tokenizer, self._pictures = tokenizer, pictures
        self._samples, self._size, self._seed = samples, pictures_per_batch, seed
        # One more for the end.
        self._most = max_length + 1
        self._multiple = -(-self._most // buckets)
        # The layers are those in training: it draws with their present weights, without dropout.
        self._generator = build_generator(
            encoder,
            decoder,
            start_id=START_ID,
            end_id=END_ID,
            max_length=self._most,
            method="sample",
            n_best=samples,
        )
        self._cider = CiderD([[_ended(text) for text in texts] for texts in references])

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        return -(-len(self._pictures) // self._size)

    def order(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns which pictures an epoch shows and how: numbers and views, `(batches, pictures)`.

        Args:
            epoch: Counted from 0.
        """
        generator = np.random.default_rng((self._seed, epoch))
        shape = (len(self), self._size)
        numbers = np.resize(generator.permutation(len(self._pictures)), shape)
        return numbers, generator.integers(self._pictures.shape[1], size=shape)

    def draw(self, pictures: np.ndarray, *, epoch: int, step: int) -> np.ndarray:
        """Samples captions of pictures with the model as it is now.

        Args:
            pictures: `(batch, ...)`, as the encoder takes them.
            epoch: With `step` and the seed it decides on the draws.
            step: See `epoch`.

        Returns:
            `<int32>(batch, samples, max_length + 1)`, padded with 0 behind the end.
        """
        numbers = np.random.default_rng((self._seed, epoch, step, _SAMPLES))
        set_seed(self._generator, *numbers.integers(2**30, size=2))
        limits = np.full(len(pictures), self._most, "int32")
        outputs = self._generator.predict_on_batch({"picture": pictures, "length_limit": limits})
        return ops.convert_to_numpy(outputs["sequences"])

    def rewards(self, numbers: np.ndarray, sequences: np.ndarray) -> np.ndarray:
        """Returns the CIDEr of samples, `(batch, samples)`, the end counted as a word.

        Args:
            numbers: `<int>(batch,)`, which pictures they are of.
            sequences: As `draw` returns them.
        """
        flat = sequences.reshape(-1, sequences.shape[-1])
        # The last token is the end.
        written = [row[: max(np.count_nonzero(row) - 1, 0)] for row in flat]
        texts = map(_ended, decode_texts(self._tokenizer, written))
        owners = np.repeat(numbers, sequences.shape[1])
        earned = [self._cider(owner, text) for owner, text in zip(owners, texts, strict=True)]
        return np.reshape(earned, sequences.shape[:2])

    def weighted(
        self, pictures: np.ndarray, sequences: np.ndarray, rewards: np.ndarray
    ) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
        """Makes the batch that `sequence_loss` learns from.

        Args:
            pictures: `(batch, ...)`, as the encoder takes them.
            sequences: As `draw` returns them.
            rewards: `(batch, samples)`.

        Returns:
            Inputs as the captioner takes them, `target_out` and the weights of its tokens, both
            `(batch * samples, time)`.
        """
        flat = sequences.reshape(-1, self._most)
        longest = int((flat != 0).sum(axis=1).max())
        length = min(-(-longest // self._multiple) * self._multiple, self._most)
        target_out = flat[:, :length]
        real = target_out != 0
        started = np.insert(target_out[:, :-1], 0, START_ID, axis=1)
        earned = advantages(rewards).reshape(-1, 1) / rewards.size
        weights = np.where(real, earned, 0.0).astype("float32")
        # Where the limit left nothing but the end, the model did not choose it.
        weights[:, self._most - 1 :] = 0.0
        inputs = {
            "picture": np.repeat(pictures, self._samples, axis=0),
            "target_in": np.where(real, started, 0).astype("int32"),
        }
        return inputs, target_out, weights

    def epoch(self, epoch: int) -> Iterator[tuple[dict, np.ndarray, np.ndarray, float]]:
        """Yields what `weighted` makes, and the mean reward, batch by batch.

        Samples are drawn when they are asked for, so take a step before the next.

        Args:
            epoch: Counted from 0.
        """
        for step, (numbers, views) in enumerate(zip(*self.order(epoch), strict=True)):
            pictures = np.asarray(self._pictures[numbers, views])
            sequences = self.draw(pictures, epoch=epoch, step=step)
            rewards = self.rewards(numbers, sequences)
            yield *self.weighted(pictures, sequences, rewards), float(rewards.mean())


def fit_self_critical(
    model: keras.Model,
    batches: SelfCriticalBatches,
    *,
    epochs: int,
    initial_epoch: int,
    callbacks: Sequence[keras.callbacks.Callback],
    verbose: int,
) -> None:
    """Trains as `model.fit` does, on batches that depend on the model's present weights.

    Args:
        model: The captioner, compiled with `sequence_loss`.
        batches: Of the same encoder and decoder.
        epochs: Number of the last epoch, counted from 1.
        initial_epoch: Epochs that are done.
        callbacks: As `fit` takes them; `logs` hold `loss`, which says little because it is relative
            to the present samples, and `reward`, their mean CIDEr.
        verbose: As `fit` takes it.
    """
    every = keras.callbacks.CallbackList(
        list(callbacks),
        add_progbar=verbose != 0,
        model=model,
        epochs=epochs,
        steps=len(batches),
        verbose=verbose,
    )
    model.stop_training = False
    logs = {}
    every.on_train_begin()
    for epoch in range(initial_epoch, epochs):
        every.on_epoch_begin(epoch)
        means = np.zeros(2)
        for step, (inputs, targets, weights, reward) in enumerate(batches.epoch(epoch)):
            every.on_train_batch_begin(step)
            result = model.train_on_batch(inputs, targets, weights, return_dict=True)
            means += (np.array([result["loss"], reward]) - means) / (step + 1)
            logs = dict(zip(("loss", "reward"), means.tolist(), strict=True))
            every.on_train_batch_end(step, logs)
        every.on_epoch_end(epoch, logs)
        if model.stop_training:
            break
    every.on_train_end(logs)
