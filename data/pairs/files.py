"""Reads sentence pairs from files: two parallel files, or columns between tabs."""

import gzip
import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from common.errors import UserError

# Marks a folder or zip whose content a sample command has generated.
GENERATED_NOTE = "GENERATED.txt"

_LANGUAGE = re.compile(r"[a-z]{2,3}([-_][A-Za-z]+)*")


def read_lines(path: Path, *, member: str = "") -> list[str]:
    """Returns the lines of a UTF-8 text, which may be compressed.

    Only line feeds end a line: some corpora have Python's other line ends inside sentences.

    Args:
        path: A plain file, a `.gz` file, or a `.zip` archive.
        member: The file in the archive.

    Raises:
        UserError: If the file is missing, damaged or not UTF-8.
    """
    name = f"{path}, {member}" if member else str(path)
    content = b""
    try:
        if member:
            with zipfile.ZipFile(path) as archive:
                content = archive.read(member)
        else:
            content = path.read_bytes()
            if path.suffix == ".gz":
                content = gzip.decompress(content)
        text = content.decode("utf-8-sig")
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist: check the path.") from error
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(f"{name}, line {line}: not UTF-8; save the file as UTF-8.") from error
    except (KeyError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(
            f"{name} cannot be read ({error}): replace it; a deleted download is fetched again."
        ) from error
    lines = text.split("\n")
    return lines[:-1] if not lines[-1] else lines


def clean(text: str) -> str:
    """Strips a sentence; every run of white space, no-break spaces too, becomes one space."""
    return " ".join(text.split())


def read_parallel(source_path: Path, target_path: Path) -> list[tuple[str, str]]:
    """Returns the pairs of two files whose lines correspond, without lines that are blank in both.

    Raises:
        UserError: If a file cannot be read, the numbers of lines differ, or one side is empty.
    """
    sources, targets = read_lines(source_path), read_lines(target_path)
    if len(sources) != len(targets):
        raise UserError(
            f"{source_path} has {len(sources):,} lines, but {target_path.name} has "
            f"{len(targets):,}: both must hold the same sentences, line by line."
        )
    pairs = []
    for number, sides in enumerate(zip(sources, targets, strict=True), start=1):
        source, target = map(clean, sides)
        if source and target:
            pairs.append((source, target))
        elif source or target:
            raise UserError(
                f"{target_path if source else source_path}, line {number}: empty; fill it in, or "
                "remove the line from both files."
            )
    return pairs


def read_columns(
    lines: list[str], columns: tuple[int, ...], *, most: int, name: str, first_line: int = 1
) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Yields the number of each line that is not blank, and its cells at `columns`.

    Args:
        lines: Cells between tabs; quotes have no meaning.
        columns: Positions of the cells, from 0.
        most: The most cells that a line may have.
        name: What messages call the file.
        first_line: The number of the first line.

    Raises:
        UserError: If a line lacks one of the cells, or has too many.
    """
    for number, line in enumerate(lines, start=first_line):
        cells = [clean(cell) for cell in line.split("\t")]
        if len(cells) > most and any(cells):
            raise UserError(
                f"{name}, line {number}: {len(cells)} columns instead of {most}; put one tab "
                "between two columns and none elsewhere."
            )
        for column in columns if any(cells) else ():
            if not "".join(cells[column : column + 1]):
                raise UserError(
                    f"{name}, line {number}: column {column + 1} is empty; put one tab between "
                    "two columns, or remove the line."
                )
        if any(cells):
            yield number, tuple(cells[column] for column in columns)


def read_tsv(path: Path, languages: tuple[str, str]) -> list[tuple[str, str, str]]:
    """Reads a table whose first line names its columns, such as `en<TAB>fr<TAB>split`.

    Returns:
        Source, target and split of each row; all is `train` where there is no column `split`.

    Raises:
        UserError: If the file cannot be read, or the languages or a cell are missing or wrong.
    """
    lines = read_lines(path)
    header = [clean(cell) for cell in lines[0].split("\t")] if lines else []
    names = [column for column in header if column != "split"]
    if len(names) < 2 or len(set(header)) < len(header) or not all(map(_LANGUAGE.fullmatch, names)):
        raise UserError(
            f"{path}, line 1: the first line must name the languages of the columns, each once, "
            "such as en<TAB>fr or en<TAB>fr<TAB>split; add it."
        )
    check_languages(path, languages, names)
    columns = [header.index(language) for language in languages]
    if "split" in header:
        columns.append(header.index("split"))
    rows = []
    for number, (source, target, *split) in read_columns(
        lines[1:], tuple(columns), most=len(header), name=str(path), first_line=2
    ):
        if not (name := split_name(*split or ["train"])):
            raise UserError(
                f'{path}, line {number}: the split is "{split[0]}"; it must be train, validation '
                "or test."
            )
        rows.append((source, target, name))
    return rows


def split_name(name: str) -> str:
    """Returns the split that a file or a cell names, or an empty string."""
    if name in ("val", "valid", "dev"):
        return "validation"
    return name if name in ("train", "validation") or name.startswith("test") else ""


def check_languages(path: Path, languages: tuple[str, str], available: list[str]) -> None:
    """Makes sure that a corpus has both languages.

    Raises:
        UserError: If it lacks one.
    """
    for language in languages:
        if language not in available:
            raise UserError(
                f'{path} holds the languages {", ".join(available)}, not "{language}": set '
                "--source-language and --target-language to two of them."
            )


def find_parallel(folder: Path, languages: tuple[str, str]) -> dict[str, tuple[Path, Path]]:
    """Returns the two files `<name>.<language>` or `<name>.<language>.gz` of each name.

    Raises:
        UserError: If there is no `train`, or a name has a file in one language alone.
    """
    sides = []
    for language in languages:
        files = {}
        for ending in (f".{language}.gz", f".{language}"):
            for path in sorted(folder.glob(f"[!.]*{ending}")):
                files[path.name.removesuffix(ending)] = path
        sides.append(files)
    source, target = sides
    if "train" not in source.keys() & target.keys():
        raise UserError(
            f"{folder} needs train.{languages[0]} and train.{languages[1]} (or both with .gz): add "
            "them, or set --source-language and --target-language to the endings of the files."
        )
    if single := sorted(source.keys() ^ target.keys()):
        path = (source | target)[single[0]]
        raise UserError(f"{path} lacks its counterpart in the other language: add it.")
    return {name: (source[name], target[name]) for name in source}
