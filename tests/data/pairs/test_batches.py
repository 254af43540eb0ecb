import itertools

import numpy as np
import pytest

from data.pairs.batches import pair_batches
from data.text.batching import bucket_boundaries

START, END = 2, 3


def some_pairs(seed, count, longest=30):
    """Pairs whose lengths go together, with ids from 4 on; source and target tell their row."""
    generator = np.random.default_rng(seed)
    lengths = generator.integers(1, longest, count)
    others = np.maximum(1, lengths + generator.integers(-4, 6, count))
    return tuple(
        [np.full(length, 4 + row, dtype=np.int32) for row, length in enumerate(side)]
        for side in (lengths, others)
    )


def make(pairs, *, buckets=4, multiple=4, tokens=200, shuffle=True, **options):
    return pair_batches(
        *pairs,
        start_id=START,
        end_id=END,
        buckets=buckets,
        multiple=multiple,
        tokens_per_batch=tokens,
        shuffle=shuffle,
        **options,
    )


def shapes_of(dataset):
    batches = [dataset[index] for index in range(len(dataset))]
    return [(*inputs["source"].shape, target_out.shape[1]) for inputs, target_out in batches]


@pytest.mark.parametrize("shuffle", [True, False])
def test_teacher_forcing_shifts_the_target_by_one_step(shuffle):
    sources, targets = some_pairs(0, 90)
    dataset = make((sources, targets), shuffle=shuffle)
    seen = []
    for index, rows in enumerate(dataset.batches):
        inputs, target_out = dataset[index]
        assert sorted(inputs) == ["source", "target_in"]
        for batch in (*inputs.values(), target_out):
            assert batch.dtype == np.int32
        lines = zip(rows, inputs["source"], inputs["target_in"], target_out, strict=True)
        for row, source, target_in, out in lines:
            assert np.trim_zeros(source, "b").tolist() == sources[row].tolist()
            assert np.trim_zeros(target_in, "b").tolist() == [START, *targets[row]]
            assert np.trim_zeros(out, "b").tolist() == [*targets[row], END]
            seen.append(row)
    assert sorted(seen) == list(range(90))


def test_an_epoch_has_at_most_one_shape_more_than_buckets_and_every_epoch_the_same():
    for seed in range(10):
        dataset = make(some_pairs(seed, 150), buckets=1 + seed % 5)
        shapes = shapes_of(dataset)
        assert len(set(shapes)) <= 2 + seed % 5
        assert all(source % 4 == 0 and target % 4 == 0 for _, source, target in shapes)
        dataset.on_epoch_end()
        assert sorted(shapes_of(dataset)) == sorted(shapes)


@pytest.mark.parametrize("shuffle", [True, False])
def test_the_first_two_batches_differ_in_every_dimension_that_varies(shuffle):
    generator = np.random.default_rng(4)
    for trial in range(120):
        pairs = some_pairs(trial, int(generator.integers(2, 60)))
        tokens = int(generator.choice([8, 40, 64, 200, 600]))
        buckets = int(generator.integers(1, 7))
        dataset = make(pairs, tokens=tokens, buckets=buckets, shuffle=shuffle, seed=trial)
        for _ in range(2):
            for sizes in zip(*shapes_of(dataset), strict=True):
                assert len(set(sizes)) == 1 or sizes[0] != sizes[1]
            dataset.on_epoch_end()


def test_the_boundaries_waste_as_little_as_the_best_chain():
    for seed in range(8):
        lengths = np.random.default_rng(seed).integers(1, 17, (20, 2))
        count = 1 + seed % 3
        chosen = bucket_boundaries(lengths, count=count, multiple=4)
        last = tuple((-(-lengths.max(axis=0) // 4) * 4).tolist())
        grid = list(itertools.product(range(4, last[0] + 1, 4), range(4, last[1] + 1, 4)))

        def padded(chain, lengths=lengths):
            fits = [next(b for b in chain if b[0] >= s and b[1] >= t) for s, t in lengths]
            return sum(map(sum, fits))

        def rises(chain):
            return all(a[0] <= b[0] and a[1] <= b[1] for a, b in itertools.pairwise(chain))

        chains = [
            (*inner, last)
            for size in range(count)
            for inner in itertools.combinations(grid, size)
            if rises((*inner, last))
        ]
        assert padded(chosen) == min(map(padded, chains))
        assert len(chosen) <= count
        assert rises(chosen)
        assert chosen[-1] == last
