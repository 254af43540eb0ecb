"""Reads what was exported: a graph that answers with ONNX Runtime, without Keras or a backend."""

import dataclasses
import functools
import hashlib
import importlib.machinery
import importlib.metadata
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np

from common.cli import open_console, warn
from common.errors import UserError
from common.run_folder import EXPORT, MODEL
from models.decode.hypothesis import Hypothesis, hypotheses_of

GRAPH, FACTS = "model.onnx", "export.json"
# Goes up when inputs or outputs of a graph change, so that older exports are refused.
FORMAT = 1

Runtime = Literal["auto", "onnx", "keras"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class RuntimeFlags:
    """What a command takes whose model may answer without Keras."""

    runtime: Runtime = "auto"
    """What computes: the run's exported graph (onnx), its Keras model, or the graph if there is
    one that is up to date (auto)."""
    threads: int = 0
    """Threads of the exported graph. 0: one for each core."""

    def __post_init__(self):
        """Checks what the types cannot say."""
        if self.threads < 0:
            raise UserError("--threads must be 0 or more.")


class Network:
    """An exported graph: arrays by name in, arrays by name out.

    Args:
        path: The graph.
        facts: What `export.json` says of it.
        threads: Threads to compute with; 0 for one a core.

    Raises:
        UserError: If it is damaged, or needs a newer ONNX Runtime.
    """

    def __init__(self, path: Path, facts: dict[str, Any], *, threads: int = 0):
        """See the class."""
        try:
            import onnxruntime
        except ImportError:
            raise UserError(
                f"{path} needs a package: pip install onnxruntime, or use --runtime keras."
            ) from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        # Threads that wait would take the cores from whoever else computes.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # Warnings of it are nothing that a user can mend; errors are raised.
        options.log_severity_level = 4
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # noqa: BLE001 - its classes share no base but this one.
            raise UserError(
                f"{path} cannot be opened by ONNX Runtime {onnxruntime.__version__}"
                f" ({_first_line(error)}): {_remedy(path.parent.parent)}"
            ) from error
        self.facts = facts
        self.parameters = facts.get("parameters", 0)
        self.inputs = {given.name: given for given in self._session.get_inputs()}
        self.outputs = [result.name for result in self._session.get_outputs()]

    def __call__(self, *wanted: str, **inputs: Any) -> dict[str, np.ndarray]:
        """Computes a batch.

        Args:
            wanted: Names of outputs; none for all.
            inputs: All inputs by name.
        """
        names = list(wanted or self.outputs)
        # Scalars too have to be arrays.
        arrays = {name: np.asarray(value) for name, value in inputs.items()}
        return dict(zip(names, self._session.run(names, arrays), strict=True))


class SearchNetwork:
    """A graph that holds the beam search, asked like `models.decode.writer.SequenceWriter`.

    Args:
        graph: From `open_network`.
        load_keras: Returns what samples and keeps n-grams from repeating, as the graph does not.
        feed: Turns the inputs of a batch into those of the graph, if they differ.
    """

    def __init__(
        self,
        graph: Network,
        load_keras: Callable[[], Callable],
        *,
        feed: Callable[[dict], dict] = dict,
    ):
        """See the class."""
        self._graph, self._load_keras, self._feed = graph, functools.cache(load_keras), feed
        self.parameters = graph.parameters

    def __call__(
        self, inputs: dict[str, np.ndarray], *, attention: bool = False, **search: Any
    ) -> list[list[Hypothesis]]:
        """Writes a batch; arguments and result as those of `SequenceWriter`."""
        if search["method"] == "sample":
            return self._keras()(inputs, attention=attention, **search)
        outputs = self._graph(
            **self._feed(inputs),
            beam_size=np.int32(1 if search["method"] == "greedy" else search["beam_size"]),
            length_penalty=np.float32(search["length_penalty"]),
            n_best=np.int32(search["n_best"]),
            attention_wanted=np.bool_(attention),
        )
        if not attention:
            del outputs["attention"]
        return [hypotheses_of(outputs, row) for row in range(len(inputs["length_limit"]))]

    @functools.cache  # noqa: B019 - a command has one.
    def _keras(self) -> Callable:
        warn(open_console(stderr=True), "The exported graph has no --method sample: Keras answers.")
        return self._load_keras()


def open_network(run: Path, *, task: str, threads: int = 0) -> Network:
    """Opens the graph of a run folder, which must have been made from the files beside it.

    Args:
        run: Run folder.
        task: Its task.
        threads: Threads to compute with; 0 for one a core.

    Raises:
        UserError: If it is missing, damaged, of another task or version, or was exported with
            another model, tokenizer or backbone.
    """
    folder = run / EXPORT
    facts = _read_facts(folder, task, run)
    path = folder / GRAPH
    if not path.is_file():
        raise UserError(f"{path} does not exist: {_remedy(run, task)}")
    if sha256(path) != facts["sha256"]:
        raise UserError(
            f"{path} is cut short or not the graph that {FACTS} describes: {_remedy(run, task)}"
        )
    for name, known in {MODEL: facts["model_sha256"], **facts.get("files", {})}.items():
        # A run folder that is only to answer needs neither a Keras model nor a backbone.
        if (run / name).is_file() and sha256(run / name) != known:
            raise UserError(f"{path} was exported with another {name}: {_remedy(run, task)}")
    return Network(path, facts, threads=threads)


def choose(
    run: Path,
    *,
    task: str,
    runtime: Runtime,
    threads: int = 0,
) -> Network | None:
    """Opens the graph of a run folder, or returns None where Keras is to answer.

    A graph that is there and cannot be used is named in a warning.

    Args:
        run: Run folder.
        task: Its task.
        runtime: `auto`, `onnx` or `keras`.
        threads: Of the graph.

    Raises:
        UserError: If `runtime` is `onnx`, or Keras is not installed, and there is no graph to use.
    """
    written = any((run / EXPORT / name).exists() for name in (GRAPH, FACTS))
    if runtime == "keras" or (runtime == "auto" and not written):
        if not _keras_is_installed():
            raise UserError(
                f"{run} is answered by Keras, which is not installed: pip install -r"
                f" requirements.txt, or copy an export here that make export-{task} wrote."
            )
        return None
    try:
        return open_network(run, task=task, threads=threads)
    except UserError as error:
        if runtime == "onnx" or not _keras_is_installed():
            raise
        warn(open_console(stderr=True), f"{error} Keras answers instead.")
        return None


def _keras_is_installed() -> bool:
    return importlib.machinery.PathFinder.find_spec("keras") is not None


def runtime_line() -> str:
    """Returns the line that a command begins with whose model is an exported graph."""
    return f"CPU · onnxruntime {importlib.metadata.version('onnxruntime')}"


def sha256(path: Path) -> str:
    """Returns the SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_facts(folder: Path, task: str, run: Path) -> dict[str, Any]:
    """Returns `export.json`, of this task and this version."""
    path = folder / FACTS
    if not path.is_file():
        raise UserError(f"{path} does not exist: {_remedy(run, task)}")
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        known = {name: facts[name] for name in ("task", "format", "sha256", "model_sha256")}
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path} is not what an export writes: {_remedy(run, task)}") from None
    if known["task"] != task:
        raise UserError(f"{path} is of {known['task']}, not {task}: {_remedy(run, task)}")
    if known["format"] != FORMAT:
        raise UserError(
            f"{path} has format {known['format']}, and this version reads {FORMAT}:"
            f" {_remedy(run, task)}"
        )
    return facts


def _remedy(run: Path, task: str = "") -> str:
    name = f"make export-{task} RUN={run}" if task else f"python -m apps.export --run {run}"
    return f"export it again with {name}, or use --runtime keras."


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
