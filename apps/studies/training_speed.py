"""Measures how fast the translation model trains beside the same model in native PyTorch.

    make study-training-speed            # installs PyTorch; about two minutes on two cores

Same sizes, same batches, same loss, same optimizer, same clipping, same number of threads. The
rounds take turns, so that whatever else the machine does meets both.
"""

import importlib.util
import os
import time
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
from rich.console import Console

from apps.translation.config import Config
from apps.translation.evaluate import load_split_pairs
from apps.translation.train import build, learn_subwords
from common.artifact import write_json
from common.config import run_command
from common.device import device_line, xla_beside_products
from common.errors import UserError
from common.optimizers import build_optimizer
from common.provenance import provenance
from common.training import training_callbacks
from data.errors import DataError
from data.pair_batches import pair_batches
from data.subwords import END_ID, START_ID, encode_pairs
from models.encoder_decoder import build_encoder_decoder, smoothed_cross_entropy


def keras_step(config: Config, vocab_size: int, steps: int) -> tuple[Callable, int]:
    """Returns a function that trains on one batch, and the number of parameters."""
    keras.utils.set_random_seed(config.seed)
    encoder, decoder = build(config, vocab_size=vocab_size)
    model = build_encoder_decoder(encoder, decoder)
    model.compile(
        optimizer=build_optimizer(config.optimizer, learning_rate=config.learning_rate),
        loss=smoothed_cross_entropy(config.label_smoothing),
        jit_compile=xla_beside_products(config.jit_compile),
    )
    callbacks = training_callbacks(
        config,
        run=Path("unused"),
        steps=steps,
        monitor="val_bleu",
        mode="max",
        save=lambda _: None,
        console=Console(quiet=True),
    )
    for callback in callbacks:
        if hasattr(callback, "install"):
            callback.install(model)
    return lambda inputs, target_out: model.train_on_batch(inputs, target_out), model.count_params()


def torch_step(config: Config, vocab_size: int, threads: int) -> tuple[Callable, int]:
    """Returns the same for the same model as a user of PyTorch would write it."""
    import torch
    from torch import nn

    torch.manual_seed(config.seed)
    torch.set_num_threads(threads)
    memory_dim = 2 * config.units

    class Translator(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(vocab_size, config.embed_dim, padding_idx=0)
            self.encoder = nn.GRU(
                config.embed_dim, config.units, batch_first=True, bidirectional=True
            )
            self.starts = nn.ModuleList(
                nn.Linear(memory_dim, config.decoder_units) for _ in range(config.decoder_layers)
            )
            self.decoder = nn.GRU(config.embed_dim, config.decoder_units, batch_first=True)
            self.further = nn.ModuleList(
                nn.GRU(config.decoder_units, config.decoder_units, batch_first=True)
                for _ in range(config.decoder_layers - 1)
            )
            self.query = nn.Linear(config.decoder_units, memory_dim, bias=False)
            self.attentional = nn.Linear(
                config.decoder_units + memory_dim, config.decoder_units, bias=False
            )
            same = config.decoder_units == config.embed_dim
            self.projection = (
                nn.Identity()
                if same
                else nn.Linear(config.decoder_units, config.embed_dim, bias=False)
            )
            self.features = nn.Dropout1d(config.embedding_dropout)
            self.dropout = nn.Dropout(config.dropout)

        def embed(self, tokens):
            # The same features at all steps: channels of `(batch, features, time)`.
            vectors = self.embedding(tokens).transpose(1, 2)
            return self.features(vectors).transpose(1, 2)

        def forward(self, source, target_in):
            memory, last = self.encoder(self.embed(source))
            memory = self.dropout(memory)
            summary = self.dropout(torch.cat([last[0], last[1]], dim=-1))
            first, *firsts = [torch.tanh(start(summary))[None] for start in self.starts]
            states, _ = self.decoder(self.embed(target_in), first)
            scores = self.query(states) @ memory.transpose(1, 2)
            scores = scores.masked_fill((source == 0)[:, None, :], -1e9)
            context = torch.softmax(scores, dim=-1) @ memory
            output = torch.tanh(self.attentional(torch.cat([states, context], dim=-1)))
            for layer, first in zip(self.further, firsts, strict=True):
                states, _ = layer(self.dropout(output), first)
                output = output + states
            return self.projection(self.dropout(output)) @ self.embedding.weight.T

    model = Translator()
    optimizer = torch.optim.Adam(model.parameters(), lr=config.learning_rate)
    loss_function = nn.CrossEntropyLoss(ignore_index=0, label_smoothing=config.label_smoothing)

    def step(inputs, target_out):
        optimizer.zero_grad()
        tensors = [torch.from_numpy(inputs[name]).long() for name in ("source", "target_in")]
        logits = model(*tensors)
        target = torch.from_numpy(target_out).long()
        loss = loss_function(logits.reshape(-1, vocab_size), target.reshape(-1))
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), config.clip_threshold)
        optimizer.step()
        return loss.item()

    return step, sum(parameter.numel() for parameter in model.parameters())


def main(
    data: str = "multi30k",
    data_dir: str = "",
    vocab_size: int = Config.vocab_size,
    steps: int = 40,
    rounds: int = 3,
    output: Path = Path("apps/studies/results/training_speed.json"),
) -> None:
    """Compares both.

    Args:
        data: `multi30k`, `tatoeba` or your own pairs.
        data_dir: Folder of downloads (default: $DATA_DIR or a cache folder of yours).
        vocab_size: Subwords of both languages together.
        steps: Batches of a round.
        rounds: Times that both take turns.
        output: JSON file to write.
    """
    if min(steps, rounds) < 1:
        raise UserError("--steps and --rounds are at least 1.")
    if importlib.util.find_spec("torch") is None:
        raise UserError("The peer is PyTorch, which is not installed: make study-training-speed.")
    if keras.backend.backend() == "torch":
        raise UserError("Set KERAS_BACKEND to tensorflow or jax: PyTorch is the peer.")
    print(device_line())
    config = Config(data=data, vocab_size=vocab_size)
    pairs = load_split_pairs(config, data=data, data_dir=data_dir)
    tokenizer = learn_subwords(config, pairs, data_dir=data_dir, log=None)
    train = pairs.splits["train"]
    sources, targets, _ = encode_pairs(
        tokenizer, train.source, train.target, max_length=config.max_length
    )
    dataset = pair_batches(
        sources,
        targets,
        start_id=START_ID,
        end_id=END_ID,
        buckets=config.buckets,
        multiple=4,
        tokens_per_batch=config.tokens_per_batch,
        shuffle=True,
        seed=config.seed,
    )
    batches = [dataset[index] for index in range(min(steps, len(dataset)))]
    tokens = sum(np.count_nonzero(target_out) for _, target_out in batches)
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    systems = {
        "keras": keras_step(config, vocab_size, len(dataset)),
        "torch": torch_step(config, vocab_size, threads),
    }
    rates: dict[str, list[float]] = {name: [] for name in systems}
    for turn in range(rounds + 1):
        for name, (step, _) in systems.items():
            begin = time.perf_counter()
            for inputs, target_out in batches:
                step(inputs, target_out)
            # The first round compiles and is not counted.
            if turn:
                rates[name].append(tokens / (time.perf_counter() - begin))
                print(f"{name}: {rates[name][-1]:,.0f} target tokens a second")
    ratio = float(np.median(rates["keras"]) / np.median(rates["torch"]))
    print(f"Keras trains {ratio:.2f} times as fast as native PyTorch")
    command = f"python -m apps.studies.training_speed --data {data} --vocab-size {vocab_size}"
    record = {
        "study": "training_speed",
        **provenance(command, data=pairs.hashes, packages=("torch",)),
        "ratio": ratio,
        "target_tokens_per_second": rates,
        "parameters": {name: parameters for name, (_, parameters) in systems.items()},
        "threads": threads,
    }
    write_json(output, record)


if __name__ == "__main__":
    run_command(
        main,
        prog="python -m apps.studies.training_speed",
        description="Measures training beside the same model in native PyTorch.",
        errors=(DataError,),
    )
