"""Writes generated English-French sentences in the format of Multi30k, to try everything offline.

`python -m data.pairs.sample --data-dir DIR` takes about a second. No dictionary gets such
sentences right: French articles and adjectives follow the gender and number of their noun, most
adjectives stand behind it, vowels elide ("l'arbre", "n'aime"), a negation stands around the verb
and a pronoun before it, and "de" merges with an article ("du livre") or replaces it ("pas de
livre", "de vieux livres"). A small recurrent network with attention learns that in minutes.
"""

import gzip
import random
from pathlib import Path

from common.errors import UserError
from common.files import atomic_path
from data.download import data_directory
from data.pairs.files import GENERATED_NOTE
from data.pairs.grammar import random_pair
from data.sample_command import sample_command

_NOTE_TEXT = "Sentences that `python -m data.pairs.sample` has made up, not Multi30k.\n"


def pairs(count: int, *, seed: int) -> list[tuple[str, str]]:
    """`count` pairs with distinct English sentences."""
    generator = random.Random(seed)
    found = {}
    while len(found) < count:
        english, french = random_pair(generator)
        found[english] = french
    return list(found.items())


def write_translation_sample(
    data_dir: Path, *, train: int = 6_000, validation: int = 300, test: int = 300, seed: int = 0
) -> Path:
    """Writes the files of a generated Multi30k, which `load_pairs("multi30k", ...)` opens.

    No English sentence stands in two splits.

    Args:
        data_dir: Folder of downloads to write into.
        train: Number of training pairs.
        validation: Number of validation pairs.
        test: Number of pairs in each of the two tests.
        seed: The same seed writes the same bytes.

    Returns:
        The folder of the files.

    Raises:
        UserError: If the folder holds other pairs, which generated ones must not replace.
    """
    folder = data_dir / "multi30k"
    if not (folder / GENERATED_NOTE).exists() and folder.is_dir() and any(folder.iterdir()):
        raise UserError(f"{folder} holds other data already: name another --data-dir.")
    sizes = {"train": train, "val": validation, "test_2016_flickr": test, "test_2017_flickr": test}
    rows = pairs(sum(sizes.values()), seed=seed)
    with atomic_path(folder / GENERATED_NOTE) as draft:
        draft.write_text(_NOTE_TEXT, encoding="utf-8")
    for split, size in sizes.items():
        part, rows = rows[:size], rows[size:]
        for language, sentences in zip(("en", "fr"), zip(*part, strict=True), strict=True):
            text = "".join(f"{sentence}\n" for sentence in sentences)
            with atomic_path(folder / f"{split}.{language}.gz") as draft:
                # No time in the header: the same seed shall write the same bytes.
                draft.write_bytes(gzip.compress(text.encode(), mtime=0))
    return folder


def main() -> None:
    """Writes the sample."""
    with sample_command("Writes generated pairs in Multi30k's format.") as parser:
        print(write_translation_sample(data_directory(parser.parse_args().data_dir)))


if __name__ == "__main__":
    main()
