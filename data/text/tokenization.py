"""Trains, loads and applies tokenizers; normalisation of text lives in the tokenizer's own JSON."""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

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


def train_tokenizer(
    texts: Iterable[str], *, kind: Literal["word", "bpe"], vocab_size: int
) -> Tokenizer:
    """Trains a tokenizer; the same texts give the same tokenizer.

    Args:
        texts: The training texts, raw.
        kind: `"word"` keeps every word that occurs twice, up to `vocab_size`; `"bpe"` cuts rare
            words into pieces (Sennrich et al., 2016).
        vocab_size: Largest number of tokens, `[PAD]` (0) and `[UNK]` (1) included.

    Raises:
        ValueError: If `kind` is unknown.
    """
    special_tokens = [PAD_TOKEN, UNK_TOKEN]
    if kind == "word":
        tokenizer = Tokenizer(models.WordLevel(unk_token=UNK_TOKEN))
        trainer = trainers.WordLevelTrainer(
            vocab_size=vocab_size,
            min_frequency=2,
            special_tokens=special_tokens,
            show_progress=False,
        )
    elif kind == "bpe":
        # No dropout: it would be stored in the JSON, and a reloaded tokenizer would cut the same
        # text differently each time.
        tokenizer = Tokenizer(models.BPE(unk_token=UNK_TOKEN, dropout=None))
        trainer = trainers.BpeTrainer(
            vocab_size=vocab_size,
            special_tokens=special_tokens,
            limit_alphabet=500,
            show_progress=False,
        )
    else:
        raise ValueError(f'kind is "word" or "bpe", not {kind!r}.')
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
    cut = pre_tokenizers.Split(Regex(TOKEN_PATTERN), behavior="removed", invert=True)
    if kind == "bpe":
        # "▁" marks where a word begins. (With `end_of_word_suffix` the library would number the
        # same tokens differently each time.)
        mark = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always", split=False)
        cut = pre_tokenizers.Sequence([cut, mark])
    tokenizer.pre_tokenizer = cut
    tokenizer.train_from_iterator(texts, trainer)
    return without_special_tokens(json.loads(tokenizer.to_str()))


def without_special_tokens(content: dict) -> Tokenizer:
    """Returns a tokenizer that reads `[PAD]` and the like in a text as any other characters.

    They keep their numbers in the vocabulary.

    Args:
        content: The JSON of a tokenizer.
    """
    return Tokenizer.from_str(json.dumps(content | {"added_tokens": []}))


def load_tokenizer(path: str | Path) -> Tokenizer:
    """Loads a tokenizer that was saved with `tokenizer.save(path)`.

    Raises:
        UserError: If the file is missing or is no tokenizer.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            f"Cannot read the tokenizer {path} ({error.strerror}): point --run to a complete run "
            "folder."
        ) from error
    # Not UTF-8, or no JSON.
    except ValueError:
        content = None
    # `Tokenizer.from_str` reports every fault as a bare `Exception`, so the content is checked
    # before.
    if not _is_tokenizer(content):
        raise UserError(f"{path} is no tokenizer of this project, or is damaged: train again.")
    return without_special_tokens(content)


def _is_tokenizer(content: Any) -> bool:
    """Whether this is the JSON of a tokenizer that `train_tokenizer` could have made."""
    model = content.get("model") if isinstance(content, dict) else None
    vocab = model.get("vocab") if isinstance(model, dict) else None
    if not isinstance(vocab, dict) or {"normalizer", "pre_tokenizer"} - content.keys():
        return False
    return vocab.get(PAD_TOKEN) == PAD_ID and vocab.get(UNK_TOKEN) == UNK_ID


def kept_positions(length: int, max_length: int) -> np.ndarray:
    """The positions of the tokens that a text of `length` tokens keeps.

    A text that is too long keeps a first part of a quarter of `max_length` and a last part of
    three quarters, because a reviewer's verdict stands at the end.

    Returns:
        `(time,)` int64, rising; `time` is at most `max_length`.
    """
    if length <= max_length:
        return np.arange(length)
    head = max_length // 4
    return np.concatenate([np.arange(head), np.arange(length - max_length + head, length)])


def head_and_tail(ids: np.ndarray, max_length: int) -> np.ndarray:
    """Shortens `(length,)` token ids to the `kept_positions`."""
    return ids[kept_positions(len(ids), max_length)]


def encoded(tokenizer: Tokenizer, texts: Sequence[str], *, max_length: int) -> Iterator[np.ndarray]:
    """Encodes raw texts one after the other; one without any token becomes a single `[UNK]`.

    Yields:
        For each text `(time,)` int32 with `1 <= time <= max_length`.

    Raises:
        ValueError: If `max_length` is below 1.
    """
    if max_length < 1:
        raise ValueError(f"max_length must be at least 1, not {max_length}.")
    # In chunks, so that the memory for the library's own records stays small.
    for start in range(0, len(texts), _CHUNK):
        for encoding in tokenizer.encode_batch_fast(texts[start : start + _CHUNK]):
            ids = np.asarray(encoding.ids or [UNK_ID], dtype=np.int32)
            yield head_and_tail(ids, max_length)


def encode(tokenizer: Tokenizer, texts: Sequence[str], *, max_length: int) -> list[np.ndarray]:
    """Returns what `encoded` yields."""
    return list(encoded(tokenizer, texts, max_length=max_length))
