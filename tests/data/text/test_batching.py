import keras
import numpy as np
import pytest

from data.text.batching import LengthBuckets
from data.text.padding import pad_tokens


def shapes_of(dataset):
    return [dataset[index] for index in range(len(dataset))]


def make(lengths, *, shuffle=True, boundaries=(8, 16, 24, 40), tokens=64, **options):
    return LengthBuckets(
        np.asarray(lengths),
        lambda rows, length: (len(rows), length),
        boundaries=boundaries,
        tokens_per_batch=tokens,
        shuffle=shuffle,
        **options,
    )


def some_lengths(seed, rows):
    return np.random.default_rng(seed).integers(1, 41, rows)


@pytest.mark.parametrize("shuffle", [True, False])
def test_every_row_fits_into_exactly_one_batch_of_every_epoch(shuffle):
    lengths = some_lengths(0, 203)
    dataset = make(lengths, shuffle=shuffle)
    for _ in range(3):
        assert sorted(np.concatenate(dataset.batches)) == list(range(203))
        for rows, (count, length) in zip(dataset.batches, shapes_of(dataset), strict=True):
            assert count == len(rows)
            assert lengths[rows].max() <= length
        dataset.on_epoch_end()


def test_the_order_depends_on_seed_and_epoch_alone():
    lengths = some_lengths(2, 90)
    through = make(lengths, seed=5)
    for _ in range(3):
        through.on_epoch_end()
    resumed = make(lengths, seed=5, epoch=3)
    assert all(map(np.array_equal, through.batches, resumed.batches))
    for other in (make(lengths, seed=5), make(lengths, seed=6, epoch=3)):
        assert not np.array_equal(np.concatenate(through.batches), np.concatenate(other.batches))


def test_keras_trains_on_all_lengths_and_a_resumed_run_sees_the_same_batches():
    sequences = [np.ones(length, dtype=np.int32) for length in some_lengths(7, 30)]
    lengths = np.array([len(sequence) for sequence in sequences])
    seen = []

    def collate(rows, length):
        seen.append((rows.tolist(), length))
        tokens = pad_tokens(sequences, rows, length)
        return tokens, np.zeros((len(rows), 1), dtype="float32")

    def dataset_at(epoch):
        return LengthBuckets(
            lengths, collate, boundaries=(8, 24, 40), tokens_per_batch=80, shuffle=True, epoch=epoch
        )

    def fit(*, initial_epoch, epochs):
        dataset = dataset_at(initial_epoch)
        inputs = keras.Input((None,), dtype="int32")
        outputs = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(2, 1)(inputs))
        model = keras.Model(inputs, outputs)
        model.compile("sgd", "mse")
        model.fit(dataset, initial_epoch=initial_epoch, epochs=epochs, verbose=0, shuffle=False)
        return seen[-len(dataset) :]

    assert fit(initial_epoch=0, epochs=2) == fit(initial_epoch=1, epochs=2)


def test_padding_stands_on_the_right():
    sequences = [np.array([5]), np.array([6, 7]), np.array([8, 9, 10])]
    padded = pad_tokens(sequences, np.array([1, 0]), 3)
    assert padded.tolist() == [[6, 7, 0], [5, 0, 0]]
    assert padded.dtype == np.int32
