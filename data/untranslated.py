"""Sentences without a translation, for a model that learns from its teacher's: files, Flickr8k."""

from collections.abc import Callable, Iterable
from pathlib import Path

from sacremoses import MosesDetokenizer

from data.errors import DataError
from data.flickr8k import fetch_captions, token_captions
from data.pair_files import clean, read_lines
from data.pair_splits import folded


def load_untranslated(
    name: str,
    *,
    data_dir: Path,
    held_out: Iterable[str],
    known: Iterable[str],
    log: Callable[[str], None] | None = None,
) -> tuple[list[str], Path]:
    """Loads sentences and leaves out what would leak, what is known, and what comes twice.

    Case, marks and spaces make no difference, but spelling does. Multi30k's pictures are of the
    same collection as Flickr8k's, so of a picture with one caption that is held out no other
    caption stays either.

    Args:
        name: `"flickr8k"` for its English captions, put from tokens into plain writing, or a text
            file with a sentence a line.
        data_dir: Folder of downloads.
        held_out: The source sentences of all splits that score.
        known: The source sentences to train on.
        log: What takes a line for each download, and one for what was left out.

    Returns:
        The sentences in their order, and the file that they were read from.

    Raises:
        DataError: If the file cannot be had or read, or nothing is left of it.
    """
    if name == "flickr8k":
        path = fetch_captions(data_dir, log)
        plain = MosesDetokenizer(lang="en")
        groups = [
            [_written(plain, caption) for caption in captions]
            for captions in token_captions(path).values()
        ]
    else:
        path = Path(name).expanduser()
        if not path.is_file():
            raise DataError(f'--untranslated {name} is neither "flickr8k" nor a file: check it.')
        groups = [[clean(line)] for line in read_lines(path)]
    held_out = {folded(sentence) for sentence in held_out}
    seen, found, leaks = {folded(sentence) for sentence in known}, [], 0
    for group in groups:
        group = [sentence for sentence in group if sentence]
        if any(folded(sentence) in held_out for sentence in group):
            leaks += len(group)
            continue
        for sentence in group:
            if (key := folded(sentence)) not in seen:
                seen.add(key)
                found.append(sentence)
    if not found:
        raise DataError(
            f"{path} has no sentence that the training does not know and no split holds out: name"
            " another with --untranslated."
        )
    if log:
        log(
            f"{path}: {len(found):,} sentences to translate; {leaks:,} left out, which are held out"
            " or describe a picture of one that is"
        )
    return found, path


def _written(plain: MosesDetokenizer, caption: str) -> str:
    """A caption as Multi30k writes: a capital first, a full stop last, no space before marks."""
    text = plain.detokenize(caption.split()).replace(" .", ".").strip()
    if not text:
        return ""
    text = text[0].upper() + text[1:]
    return text if text[-1] in ".!?" else f"{text}."
