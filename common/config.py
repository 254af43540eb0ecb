"""From a dataclass to flags, to `config.json` and back; and the frame of every command."""

import contextlib
import dataclasses
import functools
import io
import itertools
import os
import shlex
import sys
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import tyro

from common.errors import UserError


def run_command(
    function: Callable[..., Any],
    *,
    prog: str,
    description: str,
    arguments: Sequence[str] | None = None,
) -> None:
    """Runs `function` with the flags of the command line, and ends the process.

    A mistake of the user (`UserError`, or an operating system's error such as a full disk) becomes
    one line on standard error and exit status 2. Ctrl-C becomes one line and exit status 130.

    Args:
        function: Its parameters become flags; a dataclass parameter gives one flag a field.
        prog: The command as the user types it.
        description: What the command does, for `--help`.
        arguments: Instead of the process's own.
    """
    try:
        call = parse_call(function, prog=prog, description=description, arguments=arguments)
        call()
    except UserError as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"{error.filename or 'input/output'}: {error.strerror or error}")
    except KeyboardInterrupt:
        how = "; the training goes on with --resume" if _takes(function, "resume") else ""
        print(f"Stopped{how}.", file=sys.stderr)
        sys.exit(130)


def parse_call(
    function: Callable[..., Any],
    *,
    prog: str,
    description: str,
    arguments: Sequence[str] | None = None,
) -> Callable[[], Any]:
    """Turns flags into a call of `function` that is ready to be made.

    Raises:
        UserError: If a flag is unknown or its value is not accepted.
        SystemExit: After `--help` was printed.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)

    # Parsing and running are kept apart, so that only what the parser prints is held back.
    @functools.wraps(function)
    def prepare(*args: Any, **kwargs: Any) -> Callable[[], Any]:
        return functools.partial(function, *args, **kwargs)

    captured = io.StringIO()
    try:
        with contextlib.redirect_stderr(captured):
            call = tyro.cli(
                prepare,
                prog=prog,
                description=description,
                args=arguments,
                config=(tyro.conf.OmitArgPrefixes,),
            )
            return _with_given(call, arguments)
    except SystemExit as stop:
        if not stop.code:
            raise
    raise UserError(f"{_one_line(captured.getvalue())} All flags: {prog} --help")


def _with_given(call: functools.partial, arguments: Sequence[str]) -> functools.partial:
    """Tells each dataclass argument that has a field `given` which flags were typed."""
    typed = (word[2:].partition("=")[0] for word in arguments if word.startswith("--"))
    names = {name.replace("-", "_") for name in typed}
    # `--no-baselines` gives `baselines` its value.
    given = frozenset(names | {name.removeprefix("no_") for name in names})
    keywords = {
        name: dataclasses.replace(value, given=given) if hasattr(value, "given") else value
        for name, value in call.keywords.items()
    }
    return functools.partial(call.func, *call.args, **keywords)


def check_png(picture: Path | None) -> None:
    """Raises a `UserError` if a picture that is to be written is no PNG file or has no place."""
    if picture is None:
        return
    if picture.suffix.lower() != ".png":
        raise UserError(f"--picture {picture} must end in .png.")
    folder = next(parent for parent in picture.parents if parent.exists())
    if picture.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        what = "is a folder" if picture.is_dir() else f"cannot be written to {folder}"
        raise UserError(f"--picture {picture} {what}: name another file.")


def split_list(text: str) -> tuple[str, ...]:
    """Returns the parts of a list that is separated by commas."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def fields_as_flags(config: Any) -> dict[str, Any]:
    """Returns a settings dataclass as `config.json` holds it: flag name to value, in order."""
    return dataclasses.asdict(config)


def command_of(config: Any, *, prog: str) -> str:
    """Returns the command that trains with these settings, the defaults and the seed left out."""
    command = prog
    default = fields_as_flags(type(config)())
    for name, value in fields_as_flags(config).items():
        if value == default[name] or name == "seed":
            continue
        flag = name.replace("_", "-")
        if isinstance(value, list | tuple):
            command += f" --{flag} {shlex.join(map(str, value))}"
        elif isinstance(value, bool):
            command += f" --{flag}" if value else f" --no-{flag}"
        else:
            command += f" --{flag} {shlex.quote(str(value))}"
    return command


def config_from_flags(config_class: type, values: dict[str, Any], source: Path) -> Any:
    """Builds a settings dataclass from what a `config.json` holds.

    A setting that a newer version added takes its default.

    Raises:
        UserError: If `source` holds a setting that does not exist, or a value of another type.
    """
    known = {field.name for field in dataclasses.fields(config_class)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise UserError(f"{source} holds settings that do not exist: {', '.join(unknown)}.")
    kinds, values = typing.get_type_hints(config_class), dict(values)
    for name, value in values.items():
        if typing.get_origin(kinds[name]) is tuple:
            values[name] = _as_tuple(value, kinds[name], name, source)
            continue
        choices = typing.get_args(kinds[name])
        number = kinds[name] is float and type(value) is int
        if not (value in choices if choices else type(value) is kinds[name] or number):
            raise UserError(f"{source}: {name} cannot be {value!r}; restore the file.")
    return config_class(**values)


def _as_tuple(value: Any, kind: Any, name: str, source: Path) -> tuple:
    """Returns a list of JSON as a tuple of the items that the setting's type names."""
    item = typing.get_args(kind)[0]
    # Settings that take several values now once took one.
    listed = value if isinstance(value, list | tuple) else [value]
    if not all(type(one) is item for one in listed):
        raise UserError(f"{source}: {name} cannot be {value!r}; restore the file.")
    return tuple(listed)


def resumed_config(given_config: Any, stored: Any, run: Path, *, given: frozenset[str]) -> Any:
    """Returns the stored settings of a run that goes on, and refuses flags that contradict them.

    Args:
        given_config: The settings from the command line.
        stored: The settings that the run was started with.
        run: Its folder.
        given: Names of the flags that were typed; others say nothing if they are at their default.

    Raises:
        UserError: If a flag was given another value than the run has.
    """
    default = type(stored)()
    for name in (field.name for field in dataclasses.fields(stored)):
        wanted, held = getattr(given_config, name), getattr(stored, name)
        if wanted != held and (name in given or wanted != getattr(default, name)):
            raise UserError(
                f"--{name.replace('_', '-')} {wanted} differs from the {held} of {run}: --resume"
                " goes on with the run's own settings, so leave the flag out."
            )
    return stored


def _one_line(boxed: str) -> str:
    """Returns the parser's framed message as one line, without what it repeats of the help."""
    lines = [line.strip("│╭╮╰╯─ ") for line in boxed.splitlines()[1:]]
    kept = itertools.takewhile(
        lambda line: not line.startswith(("Argument helptext", "For full helptext")), lines
    )
    message = " ".join(" ".join(kept).split()).removeprefix("Error parsing config: ")
    return message if message.endswith((".", "!")) else f"{message}."


def _takes(function: Callable[..., Any], flag: str) -> bool:
    """Whether one of the parameters, or a field of one, is this flag."""
    kinds = typing.get_type_hints(function)
    fields = itertools.chain.from_iterable(
        dataclasses.fields(kind) for kind in kinds.values() if dataclasses.is_dataclass(kind)
    )
    return flag in kinds or any(field.name == flag for field in fields)


def _fail(message: str) -> None:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)
