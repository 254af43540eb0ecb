"""Reviews with their labels, cut into train, validation, test and unlabelled."""

import hashlib
import itertools
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.errors import UserError
from data.download import sha256_of
from data.reviews.imdb import read_imdb
from data.reviews.own_file import SPLITS, read_own_file
from data.text.tokenization import TAG_PATTERN

# Texts are copies if they agree in so many letters and digits at either end.
_SAME = 100


@dataclass(frozen=True)
class Reviews:
    """Texts and their labels."""

    texts: Sequence[str]
    """The raw texts, read from disk when they are needed."""
    labels: np.ndarray
    """`(batch,)` int32, positions in `label_names`; -1 means unlabelled."""

    def take(self, chosen: np.ndarray) -> "Reviews":
        """Returns the reviews at which `<bool>(batch,)` is true."""
        return Reviews(texts=self.texts.take(chosen), labels=self.labels[chosen])


@dataclass(frozen=True)
class SentimentData:
    """All splits of a data set.

    Attributes:
        splits: `train`, `validation`, `test` and, where there are any, `unlabelled` reviews.
        label_names: The name of each label number.
        hashes: The SHA-256 of each source file, by its name.
    """

    splits: dict[str, Reviews]
    label_names: tuple[str, ...]
    hashes: dict[str, str]


def load_reviews(
    data: str,
    *,
    data_dir: Path,
    cache_dir: Path,
    validation_share: float,
    split_seed: int,
    log: Callable[[str], None] | None = None,
) -> SentimentData:
    """Loads reviews and cuts off the splits that the source does not have.

    The cut depends on each text alone, not on the others. Unlabelled copies of validation and test
    reviews are left out, also if one end differs.

    Args:
        data: `"imdb"`, or the path of a file with the columns `text`, `label` and perhaps `split`.
        data_dir: Folder of downloads; IMDB is in its `tensorflow_datasets`.
        cache_dir: Folder of derived files.
        validation_share: Share of the texts to validate on, and for a file without `split` also
            the share to test on.
        split_seed: Another seed makes another cut.
        log: Takes a line about the unlabelled reviews that were left out.

    Raises:
        UserError: If the data cannot be downloaded, read or used.
    """
    if data == "imdb":
        parts, hashes = read_imdb(data_dir / "tensorflow_datasets", cache_dir)
        splits = {split: Reviews(*part) for split, part in parts.items()}
        label_names = ("negative", "positive")
    else:
        splits, label_names, hashes = _own_splits(data, cache_dir)
    splits = _cut(splits, validation_share, split_seed)
    for split in ("train", "validation", "test"):
        if not splits[split].texts:
            raise UserError(
                f"--data {data} leaves no row for the {split} split: give it more rows, another "
                "--validation-share or a column split."
            )
        if unknown := set(splits[split].labels.tolist()) - set(splits["train"].labels.tolist()):
            raise UserError(
                f'--data {data}: the label "{label_names[min(unknown)]}" occurs in the {split} '
                "split but never in train: give train some rows with it."
            )
    if "unlabelled" in splits:
        unlabelled = splits.pop("unlabelled")
        held_out = itertools.chain(splits["validation"].texts, splits["test"].texts)
        copies = np.isin(_ends(unlabelled.texts), _ends(held_out)).any(axis=1)
        if not copies.all():
            splits["unlabelled"] = unlabelled.take(~copies)
        if log and copies.any():
            log(
                f"{copies.sum():,} of {len(copies):,} unlabelled reviews left out: copies of"
                " validation or test reviews"
            )
    return SentimentData(splits=splits, label_names=label_names, hashes=hashes)


def load_labelled(data: str, *, cache_dir: Path) -> SentimentData:
    """Loads your own file to score a trained model on; without `split` all of it is `test`.

    Raises:
        UserError: If the file cannot be read or used.
    """
    splits, label_names, hashes = _own_splits(data, cache_dir)
    if list(splits) == ["train"]:
        splits = {"test": splits["train"]}
    filled = {name: reviews for name, reviews in splits.items() if reviews.texts}
    return SentimentData(splits=filled, label_names=label_names, hashes=hashes)


def _own_splits(
    data: str, cache_dir: Path
) -> tuple[dict[str, Reviews], tuple[str, ...], dict[str, str]]:
    """Reads the splits of your own file; all of it is `train` if it has no column `split`."""
    texts, labels, split_numbers, label_names = read_own_file(data, cache_dir)
    everything = Reviews(texts=texts, labels=labels)
    splits = {"train": everything}
    if split_numbers is not None:
        # Without validation rows, they are cut off train; without test rows, that is an error.
        splits = {
            name: everything.take(split_numbers == number)
            for number, name in enumerate(SPLITS)
            if name in ("train", "test") or (split_numbers == number).any()
        }
    path = Path(data).expanduser()
    return splits, label_names, {path.name: sha256_of(path)}


def _cut(
    splits: dict[str, Reviews], validation_share: float, split_seed: int
) -> dict[str, Reviews]:
    """Cuts validation, and test where the source has none, off `train`."""
    train = splits["train"]
    positions = np.array([_position(text, split_seed) for text in train.texts])
    validation = (positions < validation_share) & ("validation" not in splits)
    test = ~validation & (positions < 2 * validation_share) & ("test" not in splits)
    parts = {"train": ~validation & ~test, "validation": validation, "test": test}
    cut = {name: train.take(rows) for name, rows in parts.items()}
    return cut | {name: reviews for name, reviews in splits.items() if name != "train"}


def _position(text: str, seed: int) -> float:
    """Returns a number in [0, 1) that depends on the text and the seed alone."""
    salted = f"{seed}:{text}".encode("utf-8", errors="surrogatepass")
    return int.from_bytes(hashlib.blake2b(salted, digest_size=6).digest()) / 2**48


def _ends(texts: Iterable[str]) -> np.ndarray:
    """Returns hashes of the beginning and the end of each text, `<uint64>(batch, 2)`.

    Only letters and digits count, without case and tags, unless there are none.
    """
    hashes = bytearray()
    for text in texts:
        plain = re.sub(r"[\W_]", "", re.sub(TAG_PATTERN, "", text).casefold()) or text
        for end in (plain[:_SAME], plain[-_SAME:]):
            key = end.encode("utf-8", errors="surrogatepass")
            hashes += hashlib.blake2b(key, digest_size=8).digest()
    return np.frombuffer(hashes, dtype=np.uint64).reshape(-1, 2)
