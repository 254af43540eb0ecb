import numpy as np
import pytest

from data.pairs.sample import pairs
from data.text.subwords import (
    END_ID,
    START_ID,
    decode_texts,
    encode_pairs,
    encode_texts,
    train_subword_tokenizer,
)
from data.text.tokenization import PAD_ID
from tests.helpers import refused

PAIRS = pairs(400, seed=1)
TEXTS = [sentence for row in PAIRS for sentence in row]


@pytest.fixture(scope="module")
def tokenizer():
    return train_subword_tokenizer(TEXTS, vocab_size=400)


def round_trip(tokenizer, texts):
    return decode_texts(tokenizer, encode_texts(tokenizer, texts))


def test_what_is_encoded_decodes_to_the_same_text(tokenizer):
    strange = [
        "A man, 12 (old) dogs; l'été -- «Où ?» [END] [PAD]!",
        "漢字 😀 Ωμέγα",
        "x",
        "d' y 's",
    ]
    assert round_trip(tokenizer, TEXTS + strange) == TEXTS + strange


def test_no_token_crosses_a_space_or_an_apostrophe(tokenizer):
    text = "l'homme qu'il n'a, the dog's isn't!"
    pieces = [piece for piece, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text)]
    french = ["l'", "homme", "Ġqu'", "il", "Ġn'", "a", ","]
    assert pieces == [*french, "Ġthe", "Ġdog", "'s", "Ġisn", "'t", "!"]


def test_a_mark_spelled_in_a_text_is_not_a_mark(tokenizer):
    (ids,) = encode_texts(tokenizer, ["[END] [START] [PAD] [UNK]"])
    assert ids.min() > END_ID


def test_decoding_stops_at_the_end_and_leaves_out_the_marks(tokenizer):
    cat, dog = encode_texts(tokenizer, ["le chat", "chien"])
    batch = [np.concatenate([[START_ID], cat, [END_ID], dog, [PAD_ID]]), np.append(dog, PAD_ID)]
    assert decode_texts(tokenizer, batch) == ["le chat", "chien"]


def test_pairs_with_a_long_side_are_left_out(tokenizer):
    english, french = zip(*PAIRS, strict=True)
    lengths = [tuple(len(ids) for ids in encode_texts(tokenizer, [*row])) for row in PAIRS]
    sources, targets, kept = encode_pairs(tokenizer, english, french, max_length=14)
    assert kept.tolist() == [row for row, pair in enumerate(lengths) if max(pair) <= 14]
    assert 0 < len(kept) < len(PAIRS)
    assert decode_texts(tokenizer, sources) == [english[row] for row in kept]
    assert decode_texts(tokenizer, targets) == [french[row] for row in kept]


def test_a_vocabulary_that_the_texts_cannot_fill_is_refused_with_the_largest_possible():
    message = refused(train_subword_tokenizer, TEXTS, vocab_size=50_000)
    assert "--vocab-size 50000" in message
    largest = int(message.split("set it to ")[1].split()[0])
    assert train_subword_tokenizer(TEXTS, vocab_size=largest).get_vocab_size() == largest
    refused(train_subword_tokenizer, TEXTS, vocab_size=largest + 1)
    assert "260" in refused(train_subword_tokenizer, TEXTS, vocab_size=259)
