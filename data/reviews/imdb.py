"""Reviews with their labels: IMDB through TensorFlow Datasets, or a CSV, TSV or Parquet file."""

import hashlib
import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from common.errors import UserError
from data.download import atomic_folder, import_tfds, prepare_tfds, sha256_of
from data.row_files import texts_on_disk
from data.tables import SEPARATORS, read_table
from data.text.tokenization import TAG_PATTERN

SPLITS = ("train", "validation", "test", "unlabelled")
UNLABELLED = -1

_IMDB = "imdb_reviews/plain_text:1.0.0"
_IMDB_FOLDER = Path("imdb_reviews", "plain_text", "1.0.0")
_IMDB_HOST = "http://ai.stanford.edu/"
_IMDB_SPLITS = ("train", "test", "unsupervised")

# Letters and digits, from either end, in which two texts are copies if they agree.
_SAME = 100


@dataclass(frozen=True)
class Reviews:
    """Texts and their labels.

    Attributes:
        texts: One raw text a review; they stay on disk and are read when they are asked for.
        labels: `(batch,)` int32, positions in `label_names`; -1 means unlabelled.
    """

    texts: Sequence[str]
    labels: np.ndarray

    def take(self, chosen: np.ndarray) -> "Reviews":
        """Picks those at which `(batch,)` bool is true."""
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
    """Loads reviews and cuts off what the source does not split itself.

    The cut looks at each text alone: equal texts always land in the same part, and neither the
    order nor the number of the others matters. Unlabelled copies of validation and test reviews are
    left out, also those with other words at one end.

    Args:
        data: `"imdb"`, or the path of a file with the columns `text`, `label` and perhaps `split`.
        data_dir: Folder of downloads; IMDB stands in its `tensorflow_datasets`.
        cache_dir: Folder of derived files, where IMDB is kept as Parquet after its first use.
        validation_share: Share of the texts to validate on, and for a file without `split` also
            the share to test on.
        split_seed: Another seed makes another cut.
        log: Takes a line that says how many unlabelled reviews were left out, if any.

    Raises:
        UserError: If the data cannot be had, read or used.
    """
    if data == "imdb":
        splits, hashes = _load_imdb(data_dir / "tensorflow_datasets", cache_dir)
        label_names = ("negative", "positive")
    else:
        splits, label_names, hashes = _load_file(data, cache_dir)
    splits = _cut(splits, validation_share, split_seed)
    for split in ("train", "validation", "test"):
        if not splits[split].texts:
            raise UserError(
                f"--data {data} leaves no row for the {split} split: give it more rows, another "
                "--validation-share or a column split."
            )
    in_train = set(np.unique(splits["train"].labels))
    for split in ("validation", "test"):
        unknown = set(np.unique(splits[split].labels)) - in_train
        if unknown:
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
    """Loads reviews to score a trained model on.

    Args:
        data: Path of a file with the columns `text`, `label` and perhaps `split`. Without `split`
            all of it is `test`.
        cache_dir: Folder of derived files.

    Raises:
        UserError: If the file cannot be read or used.
    """
    splits, label_names, hashes = _load_file(data, cache_dir)
    if list(splits) == ["train"]:
        splits = {"test": splits["train"]}
    found = {name: reviews for name, reviews in splits.items() if reviews.texts}
    return SentimentData(splits=found, label_names=label_names, hashes=hashes)


def _cut(
    splits: dict[str, Reviews], validation_share: float, split_seed: int
) -> dict[str, Reviews]:
    """Cuts validation, and test where the source has none, off `train`."""
    train = splits["train"]
    positions = np.array([_position(text, split_seed) for text in train.texts])
    if "validation" in splits:
        validation = np.zeros(len(positions), dtype=bool)
    else:
        validation = positions < validation_share
    test = np.zeros(len(positions), dtype=bool)
    if "test" not in splits:
        test = ~validation & (positions < 2 * validation_share)
    parts = {"train": ~validation & ~test, "validation": validation, "test": test}
    cut = {name: train.take(chosen) for name, chosen in parts.items()}
    return cut | {name: reviews for name, reviews in splits.items() if name != "train"}


def _position(text: str, seed: int) -> float:
    """A number in [0, 1) that depends on the text and the seed alone."""
    salted = f"{seed}:{text}".encode("utf-8", errors="surrogatepass")
    return int.from_bytes(hashlib.blake2b(salted, digest_size=6).digest()) / 2**48


class _LettersAlone(dict):
    """Deletes all but letters and digits, as a table for `str.translate`."""

    def __missing__(self, code: int) -> str | None:
        self[code] = chr(code) if chr(code).isalnum() else None
        return self[code]


def _ends(texts: Iterable[str]) -> np.ndarray:
    """`(batch, 2)` uint64: hashes of the beginning and the end of each text.

    Case, tags and all but letters and digits are ignored, unless there is nothing else.
    """
    letters, hashes = _LettersAlone(), bytearray()
    for text in texts:
        plain = re.sub(TAG_PATTERN, "", text).casefold().translate(letters) or text
        for end in (plain[:_SAME], plain[-_SAME:]):
            key = end.encode("utf-8", errors="surrogatepass")
            hashes += hashlib.blake2b(key, digest_size=8).digest()
    return np.frombuffer(hashes, dtype=np.uint64).reshape(-1, 2)


# ---- IMDB ------------------------------------------------------------------------------------


def _load_imdb(root: Path, cache_dir: Path) -> tuple[dict[str, Reviews], dict[str, str]]:
    """IMDB from the Parquet files, which are made from the prepared TensorFlow data set."""
    folder = root / _IMDB_FOLDER
    if not folder.exists():
        prepare_tfds(_IMDB, root, host=_IMDB_HOST)
    hashes = {path.name: sha256_of(path) for path in sorted(folder.glob("*.tfrecord*"))}
    digest = hashlib.sha256("".join(hashes.values()).encode()).hexdigest()
    cached = cache_dir / f"imdb_reviews-{digest[:12]}"
    if not cached.exists():
        frames = _read_prepared_imdb(root)
        try:
            with atomic_folder(cached) as draft:
                for split, frame in frames.items():
                    path = draft / f"{split}.parquet"
                    frame.to_parquet(path, index=False, write_page_checksum=True)
        except OSError as error:
            raise UserError(
                f"Cannot write {cached} ({error.strerror or error}): make room there, or point "
                "CACHE_DIR to another folder."
            ) from error
    splits = {}
    for split in _IMDB_SPLITS:
        path = cached / f"{split}.parquet"
        try:
            frame = pd.read_parquet(path, page_checksum_verification=True)
        except (OSError, ValueError) as error:
            raise UserError(f"{path} is damaged: delete the folder {cached}, run again.") from error
        labels = frame["label"].to_numpy(dtype=np.int32)
        splits[split] = Reviews(texts=texts_on_disk(frame["text"], cache_dir), labels=labels)
    splits["unlabelled"] = splits.pop("unsupervised")
    return splits, hashes


def _read_prepared_imdb(root: Path) -> dict[str, pd.DataFrame]:
    """Reads the prepared data set; a frame with the columns `text` and `label` a split."""
    folder = root / _IMDB_FOLDER
    remedy = f"delete the folder {folder} and run again."
    try:
        info = json.loads((folder / "dataset_info.json").read_text(encoding="utf-8"))
        counts = {split["name"]: sum(map(int, split["shardLengths"])) for split in info["splits"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder}/dataset_info.json is missing or damaged: {remedy}") from error
    tfds, tensorflow = import_tfds()
    builder = tfds.builder(_IMDB, data_dir=root)
    frames = {}
    for split in _IMDB_SPLITS:
        try:
            batches = tfds.as_numpy(builder.as_dataset(split=split, batch_size=1_000))
            frame = pd.concat([pd.DataFrame(batch) for batch in batches], ignore_index=True)
            frame["text"] = frame["text"].str.decode("utf-8")
            complete = len(frame) == counts[split]
        except (tensorflow.errors.OpError, OSError, ValueError, KeyError) as error:
            raise UserError(f"{_tfrecord(folder, split)} is damaged: {remedy}") from error
        if not complete:
            raise UserError(f"{_tfrecord(folder, split)} lacks some reviews: {remedy}")
        frames[split] = frame[["text", "label"]]
    return frames


def _tfrecord(folder: Path, split: str) -> Path:
    return next(folder.glob(f"*-{split}.tfrecord*"), folder / f"imdb_reviews-{split}.tfrecord")


# ---- A file of one's own ---------------------------------------------------------------------


def _load_file(
    data: str, cache_dir: Path
) -> tuple[dict[str, Reviews], tuple[str, ...], dict[str, str]]:
    """Reads and checks a table with the columns `text`, `label` and perhaps `split`."""
    path = Path(data).expanduser()
    if path.suffix.lower() not in (*SEPARATORS, ".parquet"):
        raise UserError(f'--data {data} is neither "imdb" nor a .csv, .tsv or .parquet file.')
    if path.is_dir():
        raise UserError(f"--data {path} is a folder: name a file in it.")
    if not path.exists():
        raise UserError(f"--data {path} does not exist: check the path.")
    labels, splits, has_split = [np.empty(0, np.int32)], [np.empty(0, np.int8)], False
    # Each label's number, by the order in which they come.
    numbers: dict[str, int] = {}

    def texts() -> Iterator[str]:
        nonlocal has_split
        for table in read_table(path):
            has_split = "split" in table
            split = table.get("split", pd.Series("train", index=table.index))
            labelled = split != "unlabelled"
            _check_rows(table, split, labelled, path)
            found = [
                numbers.setdefault(name, len(numbers)) if known else UNLABELLED
                for name, known in zip(table["label"], labelled, strict=True)
            ]
            labels.append(np.array(found, dtype=np.int32))
            splits.append(split.map(SPLITS.index).to_numpy(dtype=np.int8))
            yield from table["text"]

    try:
        stored = texts_on_disk(texts(), cache_dir)
    except OSError as error:
        reason = error.strerror or " ".join(str(error).split())
        raise UserError(f"Cannot read {path} ({reason}): check the file.") from error
    label_names = tuple(sorted(numbers))
    if len(label_names) < 2:
        found = f'only the label "{label_names[0]}"' if label_names else "no labelled row"
        raise UserError(f"{path} has {found}: a classifier needs at least two labels.")
    # From the number of a label to that of its name in order; the last is that of no label.
    order = {name: number for number, name in enumerate(label_names)}
    by_name = np.array([*(order[name] for name in numbers), UNLABELLED], dtype=np.int32)
    everything = Reviews(texts=stored, labels=by_name[np.concatenate(labels)])
    parts = {"train": everything}
    if has_split:
        split_numbers = np.concatenate(splits)
        found = {
            name: everything.take(split_numbers == number) for number, name in enumerate(SPLITS)
        }
        needed = {name: part for name, part in found.items() if part.texts}
        parts = {"train": found["train"], "test": found["test"], **needed}
    return parts, label_names, {path.name: sha256_of(path)}


def _check_rows(table: pd.DataFrame, split: pd.Series, labelled: pd.Series, path: Path) -> None:
    """Raises a `UserError` that names the first row of a part that cannot be used."""
    # Rows are counted as a spreadsheet counts them.
    first_row = 1 if path.suffix.lower() == ".parquet" else 2

    def reject(faulty: pd.Series, problem: str) -> None:
        if faulty.any():
            raise UserError(f"{path}, row {faulty.idxmax() + first_row}: {problem}")

    reject(table["text"] == "", "the text is empty; fill it in or remove the row.")
    wrong = ~split.isin(SPLITS)
    found = split[wrong].iloc[0] if wrong.any() else ""
    reject(wrong, f'the split is "{found}"; it must be one of {", ".join(SPLITS)}.')
    problem = "the label is missing; fill it in or put the row into the split unlabelled."
    reject(labelled & (table["label"] == ""), problem)
