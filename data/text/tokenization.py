"""Trains, loads and applies tokenizers; their JSON holds the normalisation of the text."""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

from common.errors import UserError

PAD_ID = 0
UNK_ID = 1
PAD_TOKEN = "[PAD]"
UNK_TOKEN = "[UNK]"

# "7/10", "1,000", "can't", "!!" and "..." are one token each: opinions hang on them.
TOKEN_PATTERN = r"\d+(?:[.,]\d+)*(?:/\d+)?|\w+(?:'\w+)?|[!?.]+|[^\w\s]"
TAG_PATTERN = r"<[^<>]{1,20}>"
_SINGLE_QUOTES = "[`\u00b4\u2018\u2019\u201a\u201b\u02bc]"
_DOUBLE_QUOTES = "[\u201c\u201d\u201e\u201f\u00ab\u00bb]"
_CHUNK = 2_000


def train_tokenizer(texts: Iterable[str], *, vocab_size: int) -> Tokenizer:
    """Trains a tokenizer of whole words; the same texts give the same tokenizer.

    Args:
        texts: The raw training texts.
        vocab_size: Largest number of tokens, `[PAD]` (0) and `[UNK]` (1) included. A word must
            occur twice.
    """
    tokenizer = Tokenizer(models.WordLevel(unk_token=UNK_TOKEN))
    trainer = trainers.WordLevelTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        special_tokens=[PAD_TOKEN, UNK_TOKEN],
        show_progress=False,
    )
    # Quotes come first, because NFKC would turn an acute accent into a space and a mark.
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Replace(Regex(_SINGLE_QUOTES), "'"),
            normalizers.Replace(Regex(_DOUBLE_QUOTES), '"'),
            normalizers.NFKC(),
            normalizers.Replace(Regex(TAG_PATTERN), " "),
            normalizers.Lowercase(),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Split(
        Regex(TOKEN_PATTERN), behavior="removed", invert=True
    )
    tokenizer.train_from_iterator(texts, trainer)
    return without_special_tokens(json.loads(tokenizer.to_str()))


def without_special_tokens(content: dict) -> Tokenizer:
    """Returns a tokenizer, given as JSON, that reads `[PAD]` in a text as plain characters."""
    return Tokenizer.from_str(json.dumps(content | {"added_tokens": []}))


def load_tokenizer(path: str | Path) -> Tokenizer:
    """Loads a tokenizer that was saved with `tokenizer.save(path)`.

    Raises:
        UserError: If the file is missing or not a tokenizer of this project.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        vocabulary = content["model"]["vocab"]
        if (vocabulary[PAD_TOKEN], vocabulary[UNK_TOKEN]) != (PAD_ID, UNK_ID):
            raise ValueError
        return without_special_tokens(content)
    except OSError as error:
        raise UserError(
            f"Cannot read the tokenizer {path} ({error.strerror}): point --run to a complete run "
            "folder."
        ) from error
    except (ValueError, LookupError, TypeError) as error:
        raise UserError(
            f"{path} is not a tokenizer of this project, or is damaged: train again."
        ) from error


def kept_positions(length: int, max_length: int) -> np.ndarray:
    """Returns `<int64>(time,)`, the positions of the tokens that a text keeps, rising.

    A long text keeps a first part of a quarter of `max_length` and a last part of three quarters,
    because a reviewer's verdict stands at the end.
    """
    if length <= max_length:
        return np.arange(length)
    head = max_length // 4
    return np.concatenate([np.arange(head), np.arange(length - max_length + head, length)])


def encoded(tokenizer: Tokenizer, texts: Sequence[str], *, max_length: int) -> Iterator[np.ndarray]:
    """Encodes raw texts one after the other; one without any token becomes a single `[UNK]`.

    Yields:
        For each text `(time,)` int32 with `1 <= time <= max_length`.
    """
    # In chunks, so that the memory for the library's own records stays small.
    for start in range(0, len(texts), _CHUNK):
        for encoding in tokenizer.encode_batch_fast(texts[start : start + _CHUNK]):
            ids = np.asarray(encoding.ids or [UNK_ID], dtype=np.int32)
            yield ids[kept_positions(len(ids), max_length)]


def encode(tokenizer: Tokenizer, texts: Sequence[str], *, max_length: int) -> list[np.ndarray]:
    """Returns what `encoded` yields."""
    return list(encoded(tokenizer, texts, max_length=max_length))
