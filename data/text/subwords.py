"""Subwords for translation: one byte-level BPE for both languages, which decodes to plain text."""

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from common.errors import UserError
from data.text.tokenization import (
    PAD_TOKEN,
    UNK_ID,
    UNK_TOKEN,
    load_tokenizer,
    without_special_tokens,
)

START_ID = 2
END_ID = 3
START_TOKEN = "[START]"
END_TOKEN = "[END]"

_SPECIAL_TOKENS = (PAD_TOKEN, UNK_TOKEN, START_TOKEN, END_TOKEN)
_SMALLEST = len(_SPECIAL_TOKENS) + 256
# No piece crosses these borders. "l'", "d'" and "qu'" go with what follows, "'s" and "'t" with what
# stands before.
_WORDS = (
    r" ?(?:\p{L}\p{M}*|[Qq]u)'(?=\p{L})| ?[\p{L}\p{M}]+|'\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{M}\p{N}]+"
)
_CHUNK = 2_000
# How byte-level BPE writes the space before a word.
_SPACE = "\u0120"


def train_subword_tokenizer(texts: Iterable[str], *, vocab_size: int) -> Tokenizer:
    """Trains byte-level BPE (Sennrich et al., 2016); the same texts give the same tokenizer.

    Every text can be encoded, and `decode_texts` returns it normalised: NFC, single spaces, plain
    apostrophes and quotes (guillemets stay), no invisible characters.

    Args:
        texts: The training texts of both languages.
        vocab_size: The number of tokens: 4 marks, 256 bytes and what BPE joins.

    Raises:
        UserError: If the texts do not give that many tokens.
    """
    if vocab_size < _SMALLEST:
        raise UserError(
            f"--vocab-size must be {_SMALLEST} or more ({len(_SPECIAL_TOKENS)} special tokens and "
            f"256 bytes), not {vocab_size}."
        )
    steps = [
        normalizers.NFC(),
        normalizers.Replace(Regex(r"[\u00ad\u200b\u2060\ufeff]"), ""),
        normalizers.Replace(Regex(r"[\u2018\u2019\u201b\u02bc]"), "'"),
        normalizers.Replace(Regex(r"[\u201c-\u201f]"), '"'),
        normalizers.Replace(Regex(r"[\s\p{Cc}]+"), " "),
        normalizers.Strip(),
        # The first word is the same token as within the sentence.
        normalizers.Prepend(" "),
    ]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence(steps)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        special_tokens=list(_SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    if (size := tokenizer.get_vocab_size()) < vocab_size:
        raise UserError(
            f"--vocab-size {vocab_size} is more than these texts give: set it to {size} or less, "
            "or add texts."
        )
    return without_special_tokens(json.loads(tokenizer.to_str()))


def load_subword_tokenizer(path: str | Path) -> Tokenizer:
    """Loads a tokenizer of subwords that was saved with `tokenizer.save(path)`.

    Raises:
        UserError: If the file is missing or not such a tokenizer.
    """
    tokenizer = load_tokenizer(path)
    if [tokenizer.token_to_id(token) for token in (START_TOKEN, END_TOKEN)] != [START_ID, END_ID]:
        raise UserError(f"{path} is not a tokenizer of subwords, or is damaged: train again.")
    return tokenizer


def encode_texts(
    tokenizer: Tokenizer, texts: list[str], *, max_length: int | None = None
) -> list[np.ndarray]:
    """Encodes texts without `[START]` and `[END]`; a text without any token becomes one `[UNK]`.

    Returns:
        For each text its first `max_length` tokens, or all, `(time,)` int32.
    """
    sequences = []
    # In chunks, so that the memory for the library's own records stays small.
    for start in range(0, len(texts), _CHUNK):
        for encoding in tokenizer.encode_batch_fast(texts[start : start + _CHUNK]):
            ids = encoding.ids[:max_length] or [UNK_ID]
            sequences.append(np.asarray(ids, dtype=np.int32))
    return sequences


def encode_pairs(
    tokenizer: Tokenizer, sources: list[str], targets: list[str], *, max_length: int
) -> tuple[list[np.ndarray], list[np.ndarray], np.ndarray]:
    """Encodes training pairs and leaves out those with a side of more than `max_length` tokens.

    A target that is cut off would teach the model to stop within a sentence.

    Returns:
        sources: `(time,)` int32 for each pair that is kept.
        targets: The same for its other side.
        kept: `(pairs,)` int64, their positions.
    """
    encoded = [encode_texts(tokenizer, side) for side in (sources, targets)]
    fits = [max(map(len, pair)) <= max_length for pair in zip(*encoded, strict=True)]
    kept = np.flatnonzero(fits)
    return [encoded[0][row] for row in kept], [encoded[1][row] for row in kept], kept


def decode_texts(tokenizer: Tokenizer, sequences: Iterable[np.ndarray]) -> list[str]:
    """Returns the text of each sequence up to its first `[END]`, without special tokens."""
    cut = []
    for sequence in sequences:
        ids = np.asarray(sequence)
        ends = np.flatnonzero(ids == END_ID)
        ids = ids[: ends[0]] if len(ends) else ids
        cut.append(ids[ids > END_ID].tolist())
    return [text.removeprefix(" ") for text in tokenizer.decode_batch(cut)]


def split_words(tokenizer: Tokenizer, tokens: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Returns the words and punctuation of a sequence, and which of them each token is part of.

    Returns:
        words: In their order.
        groups: `<int64>(time,)`, rising numbers of words.
    """
    members: list[list[int]] = []
    groups = []
    last = ""
    for token in tokens.tolist():
        text = tokenizer.decode([token])
        begins = (tokenizer.id_to_token(token) or "").startswith(_SPACE)
        stripped = text.strip()
        # Punctuation stands alone; bytes of one letter, which cannot be read alone, stay together.
        if not members or begins or (stripped and last and _is_word(stripped[0]) != _is_word(last)):
            members.append([])
        members[-1].append(token)
        groups.append(len(members) - 1)
        # After a space that is a token by itself, any token continues the same word.
        last = stripped[-1:] or ("" if begins else last)
    words = [text.strip() for text in tokenizer.decode_batch(members)] if members else []
    return words, np.array(groups, dtype=np.int64)


def _is_word(character: str) -> bool:
    return character.isalnum() or character == "\ufffd"
