"""What every source of captions gives: pictures with their captions, by split."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from common.errors import UserError
from data.pictures.read import PictureFolder, PictureZip


@dataclass(frozen=True)
class CaptionSplit:
    """The names of pictures and, for each, at least one caption: a line of text."""

    names: list[str]
    captions: list[list[str]]


@dataclass(frozen=True)
class Captions:
    """All splits of a data set, and the way to its pictures.

    Attributes:
        splits: `train`, `validation` and `test`; those of your own folder are as `captions.csv`
            names them, such as `test` alone.
        pictures: Where the pictures lie.
        hashes: The SHA-256 of the captions' file and, last, of the pictures.
        warnings: What a user should know of this data set, a line each.
    """

    splits: dict[str, CaptionSplit]
    pictures: PictureZip | PictureFolder
    hashes: dict[str, str]
    warnings: tuple[str, ...]

    def read(self, name: str) -> bytes:
        """Returns the bytes of a picture's file; raises a `UserError` if it cannot be read."""
        return self.pictures.read(name)

    def split(self, name: str) -> CaptionSplit:
        """Returns the split of that name; raises a `UserError` if there is none."""
        if name not in self.splits:
            names = ", ".join(self.splits)
            raise UserError(f"The {name} split is needed, but these data have only {names}.")
        return self.splits[name]


def missing_pictures(path: Path, place: Path, missing: list[str]) -> tuple[str, ...]:
    """Returns a warning if captions in `path` name pictures that are not in `place`."""
    return (f"{path} names {listed(missing)} not in {place}; left out.",) if missing else ()


def listed(names: list[str]) -> str:
    """Returns `3 pictures (a.jpg, b.jpg, c.jpg)`; a long list ends in dots."""
    some = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    return f"{len(names):,} picture{'s' if len(names) > 1 else ''} ({some})"


def joint_sha256(digests: dict[str, str]) -> str:
    """Returns one hash of the names and hashes of many files."""
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items()))
    return hashlib.sha256(lines.encode()).hexdigest()
