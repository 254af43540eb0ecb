import numpy as np

from data.text.word_vectors import train_word_vectors


def sequences():
    # 2 and 3 stand in the same company, 4 in another.
    generator = np.random.default_rng(0)
    found = []
    for _ in range(1500):
        kind = generator.integers(2, 5)
        company = generator.integers(10, 20, 6) if kind < 4 else generator.integers(20, 30, 6)
        found.append(np.insert(company, 3, kind).astype("int32"))
    return found


def train(cache_dir):
    return train_word_vectors(sequences(), vocab_size=40, embed_dim=8, cache_dir=cache_dir)


def test_words_that_keep_the_same_company_are_near_each_other(tmp_path):
    vectors = train(tmp_path)
    unit = vectors[[2, 3, 4]] / np.linalg.norm(vectors[[2, 3, 4]], axis=1, keepdims=True)
    assert unit[0] @ unit[1] > unit[0] @ unit[2] + 0.1
    assert vectors.shape == (40, 8)
    assert not vectors[[0, 1, 35]].any()


def test_two_trainings_give_the_same_vectors(tmp_path):
    # Enough words for many pieces of work, which several threads would share in any order.
    generator = np.random.default_rng(0)
    sequences = [generator.integers(2, 200, 500).astype("int32") for _ in range(200)]
    one, other = (
        train_word_vectors(sequences, vocab_size=200, embed_dim=8, cache_dir=tmp_path / name)
        for name in ("one", "other")
    )
    np.testing.assert_array_equal(one, other)
