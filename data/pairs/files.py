"""Reads sentence pairs from files: two parallel files, or columns between tabs."""

import gzip
import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from common.errors import UserError

# Stands in a folder whose files `data.pairs.sample` has made up.
GENERATED_NOTE = "GENERATED.txt"

_LANGUAGE = re.compile(r"[a-z]{2,3}([-_][A-Za-z]+)*")


def read_lines(path: Path, *, member: str = "") -> list[str]:
    """The lines of a UTF-8 text, which may be compressed.

    Only line feeds part lines: other characters that Python takes for line ends stand within the
    sentences of some corpora.

    Args:
        path: A plain file, one that ends in `.gz`, or a `.zip` archive.
        member: The file in the archive.

    Raises:
        UserError: If the file is missing, damaged or not UTF-8.
    """
    name = f"{path}, {member}" if member else str(path)
    try:
        if member:
            with zipfile.ZipFile(path) as archive:
                content = archive.read(member)
        elif path.suffix == ".gz":
            content = gzip.decompress(path.read_bytes())
        else:
            content = path.read_bytes()
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist: check the path.") from error
    except KeyError as error:
        raise UserError(
            f"{path} holds no {member}: replace it; a download comes anew when it is deleted."
        ) from error
    except (gzip.BadGzipFile, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise UserError(
            f"{path} is damaged: replace it; a download comes anew when it is deleted."
        ) from error
    except OSError as error:
        raise UserError(f"Cannot read {path} ({error.strerror or error}): check it.") from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(f"{name}, line {line}: not UTF-8; save the file as UTF-8.") from error
    lines = text.split("\n")
    return lines[:-1] if not lines[-1] else lines


def clean(text: str) -> str:
    """Strips a sentence; every run of white space, no-break spaces too, becomes one space."""
    return " ".join(text.split())


def read_parallel(source_path: Path, target_path: Path) -> list[tuple[str, str]]:
    """The pairs of two files whose lines correspond; lines that are blank in both are left out.

    Raises:
        UserError: If a file cannot be read, the numbers of lines differ, or one side is empty.
    """
    sources, targets = read_lines(source_path), read_lines(target_path)
    if len(sources) != len(targets):
        raise UserError(
            f"{source_path} has {len(sources):,} lines, but {target_path.name} has "
            f"{len(targets):,}: line by line, they must hold the same sentences."
        )
    pairs = []
    for number, sides in enumerate(zip(sources, targets, strict=True), start=1):
        source, target = map(clean, sides)
        if source and target:
            pairs.append((source, target))
        elif source or target:
            path = target_path if source else source_path
            raise UserError(
                f"{path}, line {number}: empty; fill it in, or remove the line from both files."
            )
    return pairs


def read_columns(
    lines: list[str], columns: tuple[int, ...], *, most: int, name: str, first_line: int = 1
) -> Iterator[tuple[int, tuple[str, ...]]]:
    """The number of each line that is not blank, and its cells at `columns`.

    Args:
        lines: Cells between tabs; quotes have no meaning.
        columns: Positions of the cells that are needed, from 0.
        most: The most cells that a line may have.
        name: What messages call the file.
        first_line: The number of the first line.

    Raises:
        UserError: If a line has too few cells or too many, or one of those needed is empty.
    """
    needed = max(columns) + 1
    for number, line in enumerate(lines, start=first_line):
        cells = line.split("\t")
        if needed <= len(cells) <= most:
            chosen = tuple(clean(cells[column]) for column in columns)
            if all(chosen):
                yield number, chosen
            elif line.strip():
                raise UserError(
                    f"{name}, line {number}: column {columns[chosen.index('')] + 1} is empty; fill "
                    "it in or remove the line."
                )
        elif line.strip():
            least_to_most = str(needed) if needed == most else f"{needed} to {most}"
            raise UserError(
                f"{name}, line {number}: {len(cells)} columns instead of {least_to_most}; put one "
                "tab between two columns and none elsewhere."
            )


def read_tsv(path: Path, languages: tuple[str, str]) -> list[tuple[str, str, str]]:
    """The rows of a table whose first line names its columns, such as `en<TAB>fr<TAB>split`.

    Returns:
        Source, target and split of each row; all is `train` where there is no column `split`.

    Raises:
        UserError: If the file cannot be read, or the languages or a cell are missing or wrong.
    """
    lines = read_lines(path)
    header = [clean(cell) for cell in lines[0].split("\t")] if lines else []
    found = [column for column in header if column != "split"]
    if len(found) < 2 or not all(_LANGUAGE.fullmatch(column) for column in found):
        raise UserError(
            f"{path}, line 1: the first line names the languages of the columns, such as "
            "en<TAB>fr or en<TAB>fr<TAB>split; add it."
        )
    if len(set(header)) < len(header):
        raise UserError(f"{path}, line 1: a column is named twice; rename or remove one.")
    if missing := [language for language in languages if language not in found]:
        raise no_language(path, missing[0], found)
    columns = [header.index(language) for language in languages]
    if "split" in header:
        columns.append(header.index("split"))
    rows = []
    for number, (source, target, *split) in read_columns(
        lines[1:], tuple(columns), most=len(header), name=str(path), first_line=2
    ):
        if not (chosen := split_name(*split or ["train"])):
            raise UserError(
                f'{path}, line {number}: the split is "{split[0]}"; it must be train, validation '
                "or test."
            )
        rows.append((source, target, chosen))
    return rows


def split_name(name: str) -> str:
    """The split that a file or a cell names, empty if it is none."""
    if name in ("val", "valid", "dev"):
        return "validation"
    return name if name in ("train", "validation") or name.startswith("test") else ""


def no_language(path: Path, missing: str, found: list[str]) -> UserError:
    """The error for a language that a corpus does not have."""
    return UserError(
        f'{path} holds the languages {", ".join(found)}, not "{missing}": set --source-language '
        "and --target-language to two of them."
    )


def find_parallel(
    folder: Path, languages: tuple[str, str]
) -> tuple[dict[str, tuple[Path, Path]], list[Path]]:
    """Finds the files `<name>.<language>` and `<name>.<language>.gz` of two languages.

    Returns:
        pairs: The two files of each name that both languages have.
        single: The files of the names that only one language has.
    """
    sides = []
    for language in languages:
        found = {}
        for ending in (f".{language}.gz", f".{language}"):
            for path in sorted(folder.glob(f"[!.]*{ending}")):
                found[path.name.removesuffix(ending)] = path
        sides.append(found)
    source, target = sides
    pairs = {name: (source[name], target[name]) for name in source if name in target}
    single = [side[name] for side in sides for name in sorted(side) if name not in pairs]
    return pairs, single
