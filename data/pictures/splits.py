"""What every source of captions gives: pictures with their captions, by split."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from common.errors import UserError
from data.pictures.read import PictureFolder, PictureZip


@dataclass(frozen=True)
class CaptionSplit:
    """Pictures, each with its captions.

    Attributes:
        names: The name of each picture.
        captions: At least one caption of each, a line of text.
    """

    names: list[str]
    captions: list[list[str]]


@dataclass(frozen=True)
class Captions:
    """All splits of a data set, and the way to its pictures.

    Attributes:
        splits: `train`, `validation` and `test`. A folder of one's own whose `captions.csv` names
            splits may have several that start with `test`, and only those that it names if `train`
            is not among them.
        pictures: Where the pictures lie.
        hashes: The SHA-256 of the captions' file and, last, of the pictures.
        warnings: What a user should know of this data set, a line each.
    """

    splits: dict[str, CaptionSplit]
    pictures: PictureZip | PictureFolder
    hashes: dict[str, str]
    warnings: tuple[str, ...]

    def read(self, name: str) -> bytes:
        """The bytes of a picture's file, as `read_picture` takes them; threads may call this.

        Raises:
            UserError: If it cannot be read.
        """
        return self.pictures.read(name)

    def split(self, name: str) -> CaptionSplit:
        """The split of that name.

        Raises:
            UserError: If there is none.
        """
        if name not in self.splits:
            found = ", ".join(self.splits)
            raise UserError(f"The {name} split is needed, but these data have {found} alone.")
        return self.splits[name]


def missing_pictures(path: Path, place: Path, missing: list[str], strict: bool) -> tuple[str, ...]:
    """Returns a warning of the captioned pictures that are missing, if any.

    Args:
        path: What names them.
        place: Where they are not.
        missing: Their names.
        strict: Whether that is an error.

    Raises:
        UserError: If it is.
    """
    if not missing:
        return ()
    fact = f"{path} names {listed(missing)} not in {place}"
    if strict:
        raise UserError(
            f"{fact}: add what is missing, or go on without it by not setting --strict."
        )
    return (f"{fact}; left out.",)


def listed(names: list[str]) -> str:
    """Returns `3 pictures (a.jpg, b.jpg, c.jpg)`; a long list ends in dots."""
    some = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    return f"{len(names):,} picture{'s' if len(names) > 1 else ''} ({some})"


def joint_sha256(digests: dict[str, str]) -> str:
    """Returns one hash of the names and hashes of many files."""
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items()))
    return hashlib.sha256(lines.encode()).hexdigest()
