"""Reads sentence pairs from files: two parallel files, or columns between tabs."""

import gzip
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from common.errors import UserError

# Marks a folder or zip whose content a sample command has generated.
GENERATED_NOTE = "GENERATED.txt"


def read_lines(path: Path, *, member: str = "") -> list[str]:
    """Returns the lines of a UTF-8 text: a plain file, a `.gz` file or a `member` of a `.zip`.

    Only line feeds end a line: some corpora have Python's other line ends inside sentences.

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
            f"{len(targets):,}: both must have the same sentences, line by line."
        )
    lines = ["\t".join(map(clean, sides)) for sides in zip(sources, targets, strict=True)]
    return list(read_columns(lines, (0, 1), most=2, name=f"{source_path} or {target_path.name}"))


def read_columns(
    lines: list[str], columns: tuple[int, ...], *, most: int, name: str, first_line: int = 1
) -> Iterator[tuple[str, ...]]:
    """Yields the cells between tabs at `columns`, counted from 0, of each line that is not blank.

    Raises:
        UserError: If one of the cells is empty, or a line has more than `most`; it names the file
            and the line.
    """
    for number, line in enumerate(lines, start=first_line):
        cells = [clean(cell) for cell in line.split("\t")]
        if not any(cells):
            continue
        chosen = tuple(cells[column] for column in columns if column < len(cells))
        if len(cells) > most or len(chosen) < len(columns) or not all(chosen):
            raise UserError(
                f"{name}, line {number}: a cell is empty or there are more than {most}; put one "
                "tab between two columns and none elsewhere, or remove the line."
            )
        yield chosen


def read_tsv(path: Path, languages: tuple[str, str]) -> list[tuple[str, str, str]]:
    """Reads a table whose first line names its columns, such as `en<TAB>fr<TAB>split`.

    Returns:
        Source, target and split of each row; all is `train` where there is no column `split`.

    Raises:
        UserError: If the file cannot be read, or a column or a cell is missing or wrong.
    """
    lines = read_lines(path)
    header = [clean(cell) for cell in "".join(lines[:1]).split("\t")]
    check_languages(path, languages, header)
    columns = [header.index(name) for name in (*languages, "split") if name in header]
    rows = []
    for source, target, *split in read_columns(
        lines[1:], tuple(columns), most=len(header), name=str(path), first_line=2
    ):
        if not (name := split_name(*split or ["train"])):
            raise UserError(
                f'{path}, "{source}": the split is "{split[0]}"; it must be train, validation or '
                "test."
            )
        rows.append((source, target, name))
    return rows


def split_name(name: str) -> str:
    """Returns the split that a file or a cell names, or an empty string."""
    if name in ("val", "valid", "dev"):
        return "validation"
    return name if name in ("train", "validation") or name.startswith("test") else ""


def check_languages(path: Path, languages: tuple[str, str], available: list[str]) -> None:
    """Raises a `UserError` if a corpus lacks one of both languages."""
    for language in languages:
        if language not in available:
            raise UserError(
                f'{path} has the languages {", ".join(available)}, not "{language}": set '
                "--source-language and --target-language to two of them. The first line of a .tsv "
                "file must name its columns, such as en<TAB>fr or en<TAB>fr<TAB>split."
            )


def find_parallel(folder: Path, languages: tuple[str, str]) -> dict[str, tuple[Path, Path]]:
    """Returns the two files `<name>.<language>` or `<name>.<language>.gz` of each name.

    Raises:
        UserError: If there is no `train`, or a name has a file in only one language.
    """
    source, target = (
        {
            path.name.removesuffix(ending): path
            for ending in (f".{language}.gz", f".{language}")
            for path in sorted(folder.glob(f"[!.]*{ending}"))
        }
        for language in languages
    )
    if "train" not in source.keys() & target.keys():
        raise UserError(
            f"{folder} needs train.{languages[0]} and train.{languages[1]} (or both with .gz): add "
            "them, or set --source-language and --target-language to the endings of the files."
        )
    if single := sorted(source.keys() ^ target.keys()):
        path = (source | target)[single[0]]
        raise UserError(f"{path} lacks its counterpart in the other language: add it.")
    return {name: (source[name], target[name]) for name in source}
