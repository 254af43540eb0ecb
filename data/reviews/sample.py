"""Writes generated film reviews in the on-disk format of IMDB, to try everything offline.

`python -m data.reviews.sample --data-dir DIR` takes about ten seconds. The opinion depends on
negation and word order ("not dull", "I expected a dull film, but it was a warm one"): counting
words is not enough, but a small recurrent network learns it in a minute.
"""

import contextlib
import csv
import io
import random
from pathlib import Path

from common.files import atomic_path
from data.download import data_directory, import_tfds, tfds_draft
from data.reviews.imdb import FOLDER, NAME
from data.sample_command import sample_command

GOOD = (
    "good great gripping charming clever funny warm beautiful brilliant touching sharp lively "
    "fresh elegant subtle delightful superb tender witty honest"
).split()
BAD = (
    "bad boring dull flat clumsy lazy wooden silly tedious predictable stale shallow noisy "
    "pointless dreary lifeless messy awful weak hollow"
).split()

# {right} is an adjective of the review's opinion, {wrong} one of the opposite opinion.
PLAIN = (
    "The {aspect} was {right}.",
    "The {aspect} was {right} and {right2}.",
    "I found the {aspect} {right}.",
    "What a {right} {film}!",
)
NEGATED = (
    "The {aspect} was not {wrong}.",
    "The {aspect} was anything but {wrong}.",
    "The {aspect} was far from {wrong}.",
    "There was nothing {wrong} about the {aspect}.",
    "Nobody could call the {aspect} {wrong}.",
    "I did not find the {aspect} {wrong}.",
)
CONTRASTED = (
    "The {aspect} was {right}, not {wrong}.",
    "I expected a {wrong} {film}, but it was a {right} one.",
    "The trailer looked {wrong}, but the {film} itself was {right}.",
    "A friend had called it {wrong}, but I found it {right}.",
    "The {aspect} was {right} rather than {wrong}.",
)
# Shares of the three kinds; counting words solves only the first.
KINDS, SHARES = (PLAIN, NEGATED, CONTRASTED), (5, 2, 3)

NEUTRAL = (
    "My {relative} and I saw it in a small cinema in {place}.",
    "I watched it with my {relative} on a rainy {day}.",
    "The plot follows {hero} who returns to {place} after {number} years.",
    "It runs for about two hours, and {name} plays {hero}.",
    "{name} directed it after {number} years in the theatre.",
    "There is a scene with {hero} at the station of {place}.",
)
WORDS = {
    "aspect": "story,acting,script,dialogue,direction,ending,music,camera work,pacing,humour,"
    "lead actor,first half,final scene,whole cast,editing",
    "film": "film,movie,picture",
    "relative": "sister,brother,mother,father,neighbour,cousin,wife,husband",
    "place": "Lisbon,Prague,Dublin,Naples,Oslo,Boston,Vienna,Glasgow,Havana,Kyoto",
    "day": "Sunday,Monday,Tuesday,Thursday,Friday,Saturday",
    "number": "two,three,four,five,seven,ten,twelve,twenty",
    "hero": "a retired sailor,a young nurse,an old judge,a village teacher,a jazz singer,"
    "a tired detective,a lighthouse keeper,a pianist,a taxi driver",
    "name": "Anna Keller,Paul Moreau,Maria Lindgren,Henry Barnes,Ruth Rossi,Victor Novak,"
    "Clara Hughes,Oscar Tanaka,Nina Silva,Walter Doyle",
}


def review(positive: bool, generator: random.Random) -> str:
    """Returns a review of 15 to 60 words in which every judgement is of the same opinion."""
    pick = generator.choice
    right, wrong = (GOOD, BAD) if positive else (BAD, GOOD)
    templates = [
        pick(kind) for kind in generator.choices(KINDS, SHARES, k=generator.choice((1, 2, 2, 3)))
    ]
    for template in generator.sample(NEUTRAL, generator.choice((1, 2, 2))):
        templates.insert(generator.randrange(len(templates) + 1), template)
    # One review in three has a paragraph break, with the tags of the originals.
    paragraph = generator.randrange(1, 4) if generator.random() < 1 / 3 else 0
    text = ""
    for position, template in enumerate(templates):
        words = {slot: pick(choices.split(",")) for slot, choices in WORDS.items()}
        words["right"], words["right2"] = generator.sample(right, 2)
        if position:
            text += "<br /><br />" if position == paragraph else " "
        text += template.format(wrong=pick(wrong), **words)
    return text


def reviews(count: int, generator: random.Random) -> list[tuple[str, int]]:
    """Returns reviews with their labels, 0 or 1 in equal numbers, shuffled."""
    labels = [number % 2 for number in range(count)]
    generator.shuffle(labels)
    return [(review(bool(label), generator), label) for label in labels]


def write_imdb_sample(
    data_dir: Path, *, train: int = 4_000, test: int = 1_000, unlabelled: int = 1_000, seed: int = 0
) -> Path:
    """Writes a prepared data set of TensorFlow Datasets in place of IMDB; returns its folder.

    An existing data set, the original or a sample, stays as it is. The numbers are of reviews.
    """
    root = data_dir / "tensorflow_datasets"
    folder = root / FOLDER
    if folder.exists():
        return folder
    tfds, _ = import_tfds()
    generator = random.Random(seed)
    splits = {"train": reviews(train, generator), "test": reviews(test, generator)}
    # As in the original: no label and no tags.
    splits["unsupervised"] = [
        (text.replace("<br /><br />", " "), -1) for text, _ in reviews(unlabelled, generator)
    ]
    config = tfds.core.BuilderConfig(name="plain_text", version="1.0.0", description="Plain text")
    features = {
        "text": tfds.features.Text(),
        "label": tfds.features.ClassLabel(names=["neg", "pos"]),
    }
    tfds.disable_progress_bar()
    with tfds_draft(NAME, root) as draft, contextlib.redirect_stdout(io.StringIO()):
        tfds.dataset_builders.store_as_tfds_dataset(
            name="imdb_reviews",
            version="1.0.0",
            config=config,
            data_dir=draft,
            description="Generated film reviews in the format of imdb_reviews.",
            features=tfds.features.FeaturesDict(features),
            split_datasets={
                name: [(key, dict(zip(features, row, strict=True))) for key, row in enumerate(rows)]
                for name, rows in splits.items()
            },
        )
    return folder


def write_reviews_csv(path: Path, *, rows: int = 400, seed: int = 0) -> Path:
    """Writes generated reviews as a file with the columns `text` and `label`."""
    with atomic_path(path) as draft, draft.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("text", "label"))
        for text, label in reviews(rows, random.Random(seed)):
            writer.writerow((text, ("negative", "positive")[label]))
    return path


def main() -> None:
    """Writes the sample where there is no data set yet."""
    with sample_command("Writes generated film reviews in IMDB's format.") as parser:
        print(write_imdb_sample(data_directory(parser.parse_args().data_dir)))


if __name__ == "__main__":
    main()
