import shutil
import types
from pathlib import Path

import keras
import numpy as np
import pytest
from pycocoevalcap.cider.cider import Cider
from rich.console import Console

from apps.captioning import train
from apps.captioning.cider import CiderD
from apps.captioning.config import Config
from apps.captioning.metrics import normalise
from apps.captioning.second_stage import origin_facts
from apps.captioning.self_critical import (
    END_WORD,
    SelfCriticalBatches,
    advantages,
    fit_self_critical,
    sequence_loss,
)
from common.callbacks import History, read_history
from common.clipping import GradientClipping
from common.config import parse_call
from common.errors import UserError
from common.files import read_json, write_json
from data.pictures.captions import load_captions
from data.text.subwords import END_ID, START_ID, train_subword_tokenizer
from models.attention_decoder import build_attention_decoder
from models.captioning import build_picture_encoder
from models.encoder_decoder import build_encoder_decoder
from tests.helpers import assert_same_training, call, photographed, weights_of

pytestmark = pytest.mark.usefixtures("jax_compiles_once")

# Of each picture a caption that is right, and one that is wrong of all of them.
RIGHT = ["a dog runs in the snow", "two boys kick a ball", "a woman paints", "cats sleep here"]
WRONG = "some men eat"


# ---- CIDEr -----------------------------------------------------------------------------------


def invented(generator, count):
    """Sentences of few words, so that many of their runs of words agree; some have none."""
    words = ["dogs", "like", "snow", "much"]
    return [" ".join(generator.choice(words, size=generator.integers(12))) for _ in range(count)]


@pytest.mark.no_backend
def test_each_caption_scores_as_pycocoevalcap_scores_it_among_the_others():
    generator = np.random.default_rng(0)
    references = [invented(generator, 1 + picture % 5) for picture in range(30)]
    # Two pictures have words that no other has, and one is praised in words that no picture has.
    references[3] = references[3] + ["a most unusual elephant"]
    references[4] = ["nothing like this elephant"]
    hypotheses = invented(generator, 28) + ["unheard of words", "dogs like snow very much indeed"]
    _, expected = Cider().compute_score(
        dict(enumerate(references)), {number: [text] for number, text in enumerate(hypotheses)}
    )
    cider = CiderD(references)
    scores = [cider(number, text) for number, text in enumerate(hypotheses)]
    np.testing.assert_allclose(scores, expected, rtol=1e-9, atol=1e-9)
    assert np.count_nonzero(scores) > 15


@pytest.mark.no_backend
def test_pictures_without_references_are_refused():
    for references in ([], [["a dog"], []]):
        with pytest.raises(ValueError, match="needs a reference"):
            CiderD(references)


# ---- Steps -----------------------------------------------------------------------------------


@pytest.mark.no_backend
def test_an_advantage_is_what_a_sample_earned_beyond_the_mean_of_the_others_by_hand():
    found = advantages(np.array([[1.0, 2.0, 6.0], [0.5, 0.5, 0.5]]))
    np.testing.assert_allclose(found, [[1 - 4, 2 - 3.5, 6 - 1.5], [0, 0, 0]])


def parts_of(vocab_size, *, dropout=0.0):
    encoder = build_picture_encoder(
        features=(2, 4), memory_dim=16, cell="gru", decoder_units=32, dropout=dropout
    )
    decoder = build_attention_decoder(
        vocab_size=vocab_size, embed_dim=32, cell="gru", units=32, memory_dim=16, dropout=dropout
    )
    return encoder, decoder


@pytest.fixture(scope="module")
def tokenizer():
    return train_subword_tokenizer([*RIGHT, WRONG] * 3, vocab_size=305)


@pytest.fixture(scope="module")
def pictures():
    """Four pictures, and the mirror image of each."""
    return np.random.default_rng(1).normal(size=(4, 2, 2, 4)).astype("float16")


def batches_of(parts, tokenizer, pictures, **changed):
    settings = {
        "references": [[text] for text in RIGHT],
        "max_length": 23,
        "samples": 6,
        "pictures_per_batch": 4,
        "buckets": 1,
        "seed": 3,
    }
    return SelfCriticalBatches(*parts, tokenizer, pictures=pictures, **{**settings, **changed})


def sequences_of(tokenizer, texts, *, time):
    """What a generator writes for one picture, `(1, texts, time)`."""
    sequences = np.zeros((1, len(texts), time), "int32")
    for row, text in zip(sequences[0], texts, strict=True):
        tokens = [*tokenizer.encode(text).ids, END_ID]
        row[: len(tokens)] = tokens
    return sequences


@pytest.fixture(scope="module")
def fresh(jax_compiles_once, tokenizer, pictures):
    """Batches of a model that has learnt nothing."""
    keras.utils.set_random_seed(0)
    return batches_of(parts_of(tokenizer.get_vocab_size(), dropout=0.5), tokenizer, pictures)


@pytest.mark.no_backend
def test_a_reward_is_the_cider_of_the_words_and_of_their_end(fresh, tokenizer):
    texts = [RIGHT[1], "two boys kick", "", WRONG]
    rewards = fresh.rewards(np.array([1]), sequences_of(tokenizer, texts, time=24))
    wanted = {number: [f"{text} {END_WORD}"] for number, text in enumerate(RIGHT)}
    for text, reward in zip(texts, rewards[0], strict=True):
        said = {number: [f"{text} {END_WORD}".strip()] for number in range(4)}
        assert reward == pytest.approx(Cider().compute_score(wanted, said)[1][1])
    assert rewards[0, 0] == pytest.approx(10)
    assert normalise(END_WORD) != END_WORD


@pytest.mark.no_backend
def test_each_token_weighs_its_samples_advantage_and_padding_nothing(fresh, tokenizer, pictures):
    sequences = sequences_of(tokenizer, [RIGHT[1], WRONG, ""], time=24)
    inputs, target_out, weights = fresh.weighted(
        pictures[1:2, 0], sequences, np.array([[3.0, 1.0, 2.0]])
    )
    np.testing.assert_array_equal(target_out, sequences[0])
    lengths = (target_out != 0).sum(axis=1)
    assert lengths[2] == 1
    for row, length, weight in zip(weights, lengths, (1.5 / 3, -1.5 / 3, 0), strict=True):
        np.testing.assert_allclose(row, np.repeat([weight, 0], [length, 24 - length]))
    for row, target, length in zip(inputs["target_in"], target_out, lengths, strict=True):
        assert row[0] == START_ID
        np.testing.assert_array_equal(row[1:length], target[: length - 1])
        assert not row[length:].any()


@pytest.mark.no_backend
def test_an_end_that_the_limit_forced_is_not_learnt(fresh, pictures):
    sequences = np.full((1, 2, 24), 9, "int32")
    sequences[:, :, -1] = END_ID
    _, _, weights = fresh.weighted(pictures[1:2, 0], sequences, np.array([[1.0, 0.0]]))
    np.testing.assert_allclose(weights[:, :-1], [[0.5] * 23, [-0.5] * 23])
    assert not weights[:, -1].any()


@pytest.mark.no_backend
def test_samples_are_padded_to_few_lengths(tokenizer, pictures):
    parts = parts_of(tokenizer.get_vocab_size())
    batches = batches_of(parts, tokenizer, pictures, buckets=3)
    lengths = set()
    for words in range(1, 24):
        sequences = np.zeros((1, 2, 24), "int32")
        sequences[0, 1, :words] = 9
        inputs, target_out, _ = batches.weighted(pictures[:1, 0], sequences, np.ones((1, 2)))
        assert words <= target_out.shape[1] == inputs["target_in"].shape[1] <= words + 7
        lengths.add(target_out.shape[1])
    assert lengths == {8, 16, 24}


@pytest.mark.no_backend
def test_an_epoch_shows_each_picture_and_the_last_batch_is_filled_up(tokenizer, pictures):
    parts = parts_of(tokenizer.get_vocab_size())
    batches = batches_of(parts, tokenizer, pictures, pictures_per_batch=3)
    orders = [batches.order(epoch) for epoch in range(20)]
    for numbers, views in orders:
        assert numbers.shape == views.shape == (len(batches), 3) == (2, 3)
        assert set(numbers.ravel()) == {0, 1, 2, 3}
    assert {tuple(numbers[0]) for numbers, _ in orders} > {tuple(orders[0][0][0])}
    assert 0.3 < np.mean([views for _, views in orders]) < 0.7
    np.testing.assert_array_equal(batches.order(7), orders[7])


@pytest.mark.no_backend
def test_samples_depend_on_epoch_step_and_seed_alone(fresh, pictures):
    first = fresh.draw(pictures[:, 0], epoch=2, step=5)
    for epoch, step in ((2, 6), (3, 5)):
        assert np.any(fresh.draw(pictures[:, 0], epoch=epoch, step=step) != first)
    np.testing.assert_array_equal(fresh.draw(pictures[:, 0], epoch=2, step=5), first)
    # Every row ends.
    assert np.all((first == END_ID).sum(axis=2) == 1)


@pytest.mark.no_backend
def test_the_loss_is_the_weighted_sum_of_cross_entropies_whatever_the_padding():
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(3, 4, 7)).astype("float32")
    targets = generator.integers(1, 7, size=(3, 4))
    weights = generator.normal(size=(3, 4)).astype("float32")
    shares = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    chosen = np.take_along_axis(shares, targets[..., None], axis=-1)[..., 0]
    expected = -(weights * np.log(chosen)).sum()
    padded = [np.pad(a, ((0, 0), (0, 5), *[(0, 0)] * (a.ndim - 2))) for a in (targets, logits)]
    for arrays, width in (((targets, logits), 0), (padded, 5)):
        found = sequence_loss()(*arrays, sample_weight=np.pad(weights, ((0, 0), (0, width))))
        assert float(found) == pytest.approx(expected, rel=1e-5)


@pytest.mark.no_backend
def test_the_mean_reward_of_samples_rises(tokenizer, pictures, tmp_path):
    keras.utils.set_random_seed(0)
    parts = parts_of(tokenizer.get_vocab_size())
    batches = batches_of(parts, tokenizer, pictures)
    model = build_encoder_decoder(*parts)
    model.compile(optimizer=keras.optimizers.Adam(1e-2), loss=sequence_loss(), jit_compile="auto")
    clipping = GradientClipping("global_norm", threshold=5.0)
    clipping.install(model)
    # First it learns by cross-entropy to say the right and the wrong caption equally often. The
    # batches are as large as those of the second stage: JAX compiles one step.
    texts = [text for right in RIGHT for text in (right, WRONG) * 3]
    sequences = sequences_of(tokenizer, texts, time=24)
    inputs, targets, _ = batches.weighted(pictures[:1, 0], sequences, np.zeros((1, len(texts))))
    for step in range(120):
        inputs["picture"] = np.repeat(pictures[:, step % 2], 6, axis=0)
        weights = (targets != 0).astype("float32") / len(texts)
        model.train_on_batch(inputs, targets, weights)

    model.optimizer.learning_rate = 3e-3
    fit_self_critical(
        model,
        batches,
        epochs=40,
        initial_epoch=0,
        callbacks=[clipping, History(tmp_path / "history.csv")],
        verbose=0,
    )
    history = read_history(tmp_path / "history.csv")
    # About half of them were right, and 10 is all there is.
    assert 3 < np.mean(history["reward"][:3]) < 7
    assert np.mean(history["reward"][-3:]) > 8
    assert max(history["gradient_norm"]) > 0


# ---- Runs ------------------------------------------------------------------------------------

SHARED = "--max-length 31 --buckets 1 --beam-size 2 --warmup-steps 2".split()
FIRST = [
    *SHARED,
    *"--backbone small_cnn --picture-size 64 --cell gru --decoder-layers 1".split(),
    *"--epochs 3 --vocab-size 330 --embed-dim 32 --memory-dim 24 --decoder-units 48".split(),
    *"--tokens-per-batch 2000 --learning-rate 1e-2 --dropout 0".split(),
]
SECOND = [
    *SHARED,
    *"--objective cider --samples 3 --pictures-per-step 12 --epochs 3".split(),
    *"--learning-rate 1e-3 --dropout 0.2".split(),
]


@pytest.fixture(scope="module")
def first(jax_compiles_once, captions_folder, tmp_path_factory):
    """A run folder of a first stage, by cross-entropy."""
    run = tmp_path_factory.mktemp("runs") / "first"
    call(train.main, *FIRST, "--data", captions_folder, "--run", run)
    return run


@pytest.fixture(scope="module")
def whole(first, captions_folder, tmp_path_factory):
    """A run folder of a second stage, trained without a stop; beside it what it once was."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    with photographed(run):
        call(train.main, *SECOND, "--init-from", first, "--data", captions_folder, "--run", run)
    return run


@pytest.mark.slow
@pytest.mark.no_backend
def test_a_second_stage_leaves_a_run_folder_as_the_first_did(first, whole):
    assert read_json(whole / "config.json")["objective"] == "cider"
    history = read_history(whole / "history.csv")
    assert {"loss", "reward", "val_cider", "gradient_norm", "learning_rate"} <= set(history)
    assert min(history["reward"]) > 0
    assert history["clipped_share"] and min(history["gradient_norm"]) > 0
    for name in ("learning_curves", "optimisation"):
        assert (whole / "plots" / f"{name}.png").stat().st_size > 5000
    metrics = read_json(whole / "metrics.json")
    # The best epoch is what stands on disk.
    assert metrics["metrics"]["validation"]["cider_greedy"] == pytest.approx(
        max(history["val_cider"]), abs=0.02
    )
    origin = metrics["init_from"]
    assert (origin["run"], origin["data"]) == (str(first), metrics["data"])
    assert "known" not in origin
    assert any(
        np.any(one != other)
        for one, other in zip(weights_of(first), weights_of(whole), strict=True)
    )


@pytest.mark.slow
@pytest.mark.no_backend
def test_a_second_stage_that_was_stopped_goes_on_to_the_same_result(
    first, whole, captions_folder, tmp_path
):
    stopped = Path(shutil.copytree(whole.with_name("stopped"), tmp_path / "stopped"))
    assert len(read_history(stopped / "history.csv")["loss"]) == 1
    flags = ["--init-from", first, "--data", captions_folder, "--run", stopped]
    call(train.main, *SECOND, *flags, "--resume")
    assert_same_training(whole, stopped)


@pytest.mark.no_backend
@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--objective cider", "name a run that was trained by cross-entropy with --init-from"),
        ("--objective cider --init-from x --scheduled-sampling 0.1", "--scheduled-sampling is for"),
        ("--samples 1", "--samples must be at least 2"),
        ("--pictures-per-step 0", "--pictures-per-step must be at least 1"),
        ("--objective bleu", "cross_entropy"),
    ],
)
def test_a_wrong_setting_is_explained_in_one_line(flags, message):
    with pytest.raises(UserError, match=message) as caught:
        parse_call(train.main, prog="train", description="", arguments=flags.split())
    assert "\n" not in str(caught.value)


@pytest.mark.no_backend
@pytest.mark.parametrize("flags", ["--split-seed 2", "--test-share 0.2"])
def test_a_second_stage_of_another_cut_of_the_same_data_is_refused(
    flags, first, captions_folder, tmp_path
):
    data = ["--init-from", first, "--data", captions_folder, "--run", tmp_path / "run"]
    with pytest.raises(UserError, match=f"--init-from .*{flags.split()[0]}"):
        call(train.main, *SHARED, *flags.split(), *data)
    assert not (tmp_path / "run").exists()


@pytest.mark.no_backend
def test_held_out_pictures_that_the_first_stage_has_learned_are_counted(
    captions_folder, tmp_path, capsys
):
    captions = load_captions(str(captions_folder), data_dir=tmp_path)
    learned = captions.split("train").names
    folder = tmp_path / "more"
    folder.mkdir()
    lines = ["image,caption,split"]
    # Under other names; of the last three the files differ by a byte.
    splits = ["test", "test", "test", "train", "validation", "test"]
    for number, split in enumerate(splits):
        picture = (captions_folder / learned[number]).read_bytes() + b"." * (number > 2)
        (folder / f"{number}.jpg").write_bytes(picture)
        lines.append(f"{number}.jpg,something else,{split}")
    (folder / "captions.csv").write_text("\n".join(lines))
    run = tmp_path / "first"
    write_json(run / "metrics.json", {"data": captions.hashes})
    (run / "model.keras").write_bytes(b"")
    start = types.SimpleNamespace(config=Config(data=str(captions_folder)))
    config = Config(data=str(folder), init_from=str(run))

    def begun():
        more = load_captions(str(folder), data_dir=tmp_path)
        options = {"data_dir": str(tmp_path), "console": Console(width=999)}
        return origin_facts(config, start, more, **options), capsys.readouterr().out

    facts, said = begun()
    assert facts["known"] == {"validation": 0, "test": 3}
    assert "warning:" in said and "0 of 1 in validation, 3 of 4 in test" in said
    start.config = Config(data=str(tmp_path / "gone"))
    facts, said = begun()
    assert "known" not in facts
    assert "warning:" in said and "gone" in said
