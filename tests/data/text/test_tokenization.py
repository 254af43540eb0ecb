import pytest

from common.errors import UserError
from data.text.tokenization import (
    UNK_ID,
    encode,
    kept_positions,
    load_tokenizer,
    train_tokenizer,
)

TEXTS = [
    "A GOOD film, 7/10!! I can't complain...",
    "a good film: 7/10!! i can't complain...",
    "Not bad at all?<br /><br />Not bad at all?",
] * 2


def test_numbers_contractions_and_runs_of_marks_are_one_token_each():
    tokenizer = train_tokenizer(TEXTS, vocab_size=300)
    assert tokenizer.encode(TEXTS[0]).tokens == [
        "a",
        "good",
        "film",
        ",",
        "7/10",
        "!!",
        "i",
        "can't",
        "complain",
        "...",
    ]


def test_tags_case_and_typographic_quotes_make_no_difference():
    tokenizer = train_tokenizer(TEXTS, vocab_size=300)
    plain = tokenizer.encode("i can't complain ... good film").ids
    for other in ("I CAN\u2019T complain<br />... good film", "I can`t complain... good \ufb01lm"):
        assert tokenizer.encode(other).ids == plain


def test_a_special_token_that_a_review_spells_is_text():
    texts = [*TEXTS, "a [pad] and an [unk]"] * 2
    tokenizer = train_tokenizer(texts, vocab_size=300)
    upper, lower = encode(
        tokenizer, ["A good [PAD] film, [UNK]", "a good [pad] film, [unk]"], max_length=20
    )
    assert upper.tolist() == lower.tolist()
    assert min(upper) > UNK_ID


def test_a_broken_tokenizer_file_is_named(tmp_path):
    path = tmp_path / "tokenizer.json"
    with pytest.raises(UserError, match="Cannot read the tokenizer .*tokenizer.json"):
        load_tokenizer(path)
    train_tokenizer(TEXTS, vocab_size=60).save(str(path))
    whole = path.read_bytes()
    for broken in (b"", b"{}", b"[1]", b"\xff\xfe", whole[: len(whole) // 2]):
        path.write_bytes(broken)
        with pytest.raises(UserError, match="tokenizer.json is not a tokenizer"):
            load_tokenizer(path)


def test_a_long_text_keeps_its_first_quarter_and_its_last_three_quarters():
    assert kept_positions(100, 8).tolist() == [0, 1, 94, 95, 96, 97, 98, 99]
    assert kept_positions(8, 8).tolist() == list(range(8))
    assert kept_positions(9, 1).tolist() == [8]
    assert kept_positions(3, 8).tolist() == [0, 1, 2]
