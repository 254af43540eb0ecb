import numpy as np
import pytest

from data.pictures.batches import caption_batches

START, END = 2, 3


def some_captions(seed, count, longest=14):
    """Captions of five a picture, whose ids tell their row."""
    lengths = np.random.default_rng(seed).integers(1, longest, count)
    captions = [np.full(length, 4 + row, dtype=np.int32) for row, length in enumerate(lengths)]
    return captions, np.arange(count) // 5


def make(data, *, buckets=4, multiple=4, tokens=100, shuffle=True, **options):
    return caption_batches(
        *data,
        start_id=START,
        end_id=END,
        buckets=buckets,
        multiple=multiple,
        tokens_per_batch=tokens,
        shuffle=shuffle,
        **options,
    )


def batches_of(dataset):
    return [dataset[index] for index in range(len(dataset))]


def pictures_by_row(dataset):
    """What each caption's picture is in this epoch, in the order of the captions."""
    found = np.concatenate([inputs["picture"] for inputs, _ in batches_of(dataset)])
    return found[np.argsort(np.concatenate(dataset.batches))]


@pytest.mark.parametrize("shuffle", [True, False])
def test_every_caption_comes_once_with_its_picture_and_shifted_by_one_step(shuffle):
    captions, pictures = some_captions(0, 90)
    dataset = make((captions, pictures), shuffle=shuffle)
    seen = []
    for rows, (inputs, target_out) in zip(dataset.batches, batches_of(dataset), strict=True):
        assert sorted(inputs) == ["picture", "target_in"]
        for batch in (*inputs.values(), target_out):
            assert batch.dtype == np.int32
        assert inputs["picture"].tolist() == pictures[rows].tolist()
        for row, target_in, out in zip(rows, inputs["target_in"], target_out, strict=True):
            assert np.trim_zeros(target_in, "b").tolist() == [START, *captions[row]]
            assert np.trim_zeros(out, "b").tolist() == [*captions[row], END]
            seen.append(row)
    assert sorted(seen) == list(range(90))


def test_order_and_views_depend_on_seed_and_epoch_alone():
    data = some_captions(3, 90)
    through = make(data, seed=5, views=2)
    for _ in range(3):
        through.on_epoch_end()
    fresh = make(data, seed=5, epoch=3, views=2)
    for (inputs, _), (others, _) in zip(batches_of(through), batches_of(fresh), strict=True):
        assert all(np.array_equal(inputs[key], others[key]) for key in inputs)
    # A batch that is asked for twice, or out of turn, is the same.
    last = len(through) - 1
    assert np.array_equal(through[last][0]["picture"], batches_of(through)[last][0]["picture"])
    drawn = [pictures_by_row(make(data, seed=seed, epoch=3, views=2)) for seed in (5, 6)]
    assert not np.array_equal(*drawn)


def test_all_views_of_the_right_picture_are_drawn_about_equally_often():
    captions, pictures = some_captions(4, 200)
    dataset = make((captions, pictures), views=3, tokens=400)
    views = []
    for _ in range(6):
        numbers = pictures_by_row(dataset)
        assert np.array_equal(numbers // 3, pictures)
        views.append(numbers % 3)
        dataset.on_epoch_end()
    assert not np.array_equal(views[0], views[1])
    # Each caption has its own draw, not each place in a batch.
    assert len({inputs["picture"][0] % 3 for inputs, _ in batches_of(dataset)}) > 1
    # 1,200 draws; their standard deviation is the root of 1,200 * 1/3 * 2/3, about 16.
    assert np.abs(np.bincount(np.concatenate(views)) - 400).max() < 80
