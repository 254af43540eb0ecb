"""Reads labelled texts from your own CSV or TSV file, some rows at a time."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from common.errors import UserError
from data.row_files import RowFile, texts_on_disk

SPLITS = ("train", "validation", "test", "unlabelled")

_SEPARATORS = {".csv": ",", ".tsv": "\t"}
_COLUMNS = ("text", "label", "split")
# Rows in memory at a time.
_ROWS = 10_000


def read_own_file(
    data: str, cache_dir: Path
) -> tuple[RowFile, np.ndarray, np.ndarray | None, tuple[str, ...]]:
    """Reads and checks a table with the columns `text`, `label` and perhaps `split`.

    Args:
        data: Path of a `.csv` or `.tsv` file.
        cache_dir: Folder in which the texts are kept while they are in use.

    Returns:
        texts: One per row, on disk.
        labels: `(batch,)` int32, positions in `label_names`; -1 means unlabelled.
        splits: `(batch,)` int8, positions in `SPLITS`, or None without that column.
        label_names: The labels, sorted.

    Raises:
        UserError: If the file cannot be read or used; the message names the row if there is one.
    """
    path = Path(data).expanduser()
    if path.suffix.lower() not in _SEPARATORS:
        raise UserError(f'--data {data} is neither "imdb" nor a .csv or .tsv file.')
    if not path.is_file():
        raise UserError(f"--data {path} does not exist or is a folder: name a file.")
    labels, splits = [], []

    def texts() -> Iterator[str]:
        for table in _parts(path):
            table = _checked(table, path)
            names = table["label"]
            if "split" in table:
                names = names.mask(table["split"] == "unlabelled")
                splits.append(pd.Categorical(table["split"], categories=SPLITS).codes)
            labels.append(pd.Categorical(names))
            yield from table["text"]

    try:
        stored = texts_on_disk(texts(), cache_dir)
    except UserError:
        raise
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise UserError(
            f"{path} cannot be read ({reason}): repair it and save it as UTF-8."
        ) from error
    merged = pd.api.types.union_categoricals(labels, sort_categories=True) if labels else None
    if merged is None or len(merged.categories) < 2:
        raise UserError(f"{path} needs rows of two labels or more to train a classifier.")
    split_numbers = np.concatenate(splits) if splits else None
    return stored, merged.codes.astype(np.int32), split_numbers, tuple(merged.categories)


def _parts(path: Path) -> Iterator[pd.DataFrame]:
    """Yields `_ROWS` rows at a time, indexed by their row as a spreadsheet counts."""
    # Texts like "NA" and "null" are texts. Blank lines stay, so that rows can be counted.
    with pd.read_csv(
        path,
        sep=_SEPARATORS[path.suffix.lower()],
        dtype=str,
        keep_default_na=False,
        encoding="utf-8-sig",
        skip_blank_lines=False,
        chunksize=_ROWS,
    ) as parts:
        for part in parts:
            if not isinstance(part.index, pd.RangeIndex):
                raise UserError(
                    f"{path}, row 2 has more fields than the header: quote texts with commas."
                )
            yield part.set_axis(part.index + 2)


def _checked(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Returns the known columns as stripped strings, without blank rows.

    Raises:
        UserError: If a column is missing, or about the first row that cannot be used.
    """
    table = table.rename(columns=str.strip)
    if not {"text", "label"} <= set(table.columns):
        names = ", ".join(map(repr, table.columns))
        raise UserError(f"{path} needs the columns text and label, but has {names}.")
    table = table[[name for name in _COLUMNS if name in table]].fillna("").map(str.strip)
    table = table[(table != "").any(axis=1)]
    split = table["split"] if "split" in table else pd.Series("train", index=table.index)
    for faulty, problem in (
        (table["text"] == "", "the text is empty; fill it in or remove the row."),
        (~split.isin(SPLITS), f"the split must be one of {', '.join(SPLITS)}."),
        (
            (split != "unlabelled") & (table["label"] == ""),
            "the label is missing; fill it in or put the row into the split unlabelled.",
        ),
    ):
        if faulty.any():
            raise UserError(f"{path}, row {faulty.idxmax()}: {problem}")
    return table
