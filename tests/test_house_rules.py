import ast
import dataclasses
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("apps", "common", "data", "models")
ALLOWED = {
    "models": {"models"},
    "data": {"data", "common"},
    "common": {"common"},
    "apps": {"apps", "models", "data", "common"},
}
# What data may take of common, none of which starts a backend.
SHARED_WITH_DATA = {"common.cache", "common.errors", "common.files"}
MAY_JOIN_TASKS = {"studies", "export", "web", "cluster"}
# What a task may take of the export: what reads a graph, and the last step of a training.
SHARED_WITH_TASKS = {"apps.export.runtime", "apps.export.after_training"}


def python_files(*packages):
    return [path for package in packages for path in sorted((ROOT / package).rglob("*.py"))]


def imported_modules(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports by a relative name"
            yield node.module


@pytest.mark.parametrize("path", python_files(*PACKAGES), ids=lambda p: str(p.relative_to(ROOT)))
def test_a_package_imports_only_what_the_house_allows(path):
    package, *inside = path.relative_to(ROOT).parts
    for module in imported_modules(path):
        parts = module.split(".")
        if parts[0] in PACKAGES:
            assert parts[0] in ALLOWED[package], f"{path} imports {module}"
        if (package, parts[0]) == ("data", "common"):
            assert module in SHARED_WITH_DATA, f"{path} imports {module}"
        joins = inside[0] in MAY_JOIN_TASKS or module in SHARED_WITH_TASKS
        if parts[0] == "apps" and len(parts) > 1 and not joins:
            assert parts[1] == inside[0], f"{path} imports another task's {module}"


def test_what_may_join_tasks_exists():
    for name in MAY_JOIN_TASKS:
        assert (ROOT / "apps" / name / "__init__.py").is_file()


@pytest.mark.parametrize("path", python_files(*PACKAGES), ids=lambda p: str(p.relative_to(ROOT)))
def test_no_module_imports_a_backend_when_it_is_imported(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in tree.body:
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module]
        for name in names:
            assert name.split(".")[0] not in ("tensorflow", "jax", "torch", "tensorflow_datasets")


def tasks():
    return [path.parent.name for path in sorted((ROOT / "apps").glob("*/config.py"))]


@pytest.mark.parametrize("task", tasks())
def test_every_setting_is_read(task):
    module = __import__(f"apps.{task}.config", fromlist=["Config"])
    read = set()
    # What tasks share reads the settings of training and of generation.
    shared = [ROOT / "common" / f"{name}.py" for name in ("fitting", "settings")]
    for path in (*(ROOT / "apps" / task).glob("*.py"), *shared):
        if path.name != "config.py":
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Attribute):
                    owner = node.value
                    name = (
                        owner.attr if isinstance(owner, ast.Attribute) else getattr(owner, "id", "")
                    )
                    if name == "config":
                        read.add(node.attr)
    unread = {field.name for field in dataclasses.fields(module.Config)} - read
    assert not unread, f"settings of {task} that nobody reads: {sorted(unread)}"


def readme_commands():
    for path in sorted(ROOT.rglob("*.md")):
        if any(part in (".venv", "runs") for part in path.parts):
            continue
        for block in re.findall(
            r"```(?:sh|bash)\n(.*?)```", path.read_text(encoding="utf-8"), re.S
        ):
            for line in block.replace("\\\n", " ").splitlines():
                # What stands before a pipe or behind a redirection is the shell's.
                for part in re.split(r"\s*[|;]\s*|&&", line):
                    words = shlex.split(part, comments=True)
                    while words and re.match(r"[A-Z_]+=", words[0]):
                        del words[0]
                    if "<" in words:
                        del words[words.index("<") : words.index("<") + 2]
                    if words[:1] in (["make"], ["python"]):
                        yield pytest.param(words, id=f"{path.name}: {part.strip()[:60]}")


def recipe_of(words):
    """The modules and flags that a call of make would run, without running them."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    known = {"DATA_DIR", "CACHE_DIR", "KERAS_BACKEND"}
    known |= set(re.findall(r"\$\(?:?(?:value )?([A-Z_]+)\b", makefile))
    known |= set(re.findall(r"^ifdef (\w+)", makefile, re.M))
    known |= set(re.search(r"^unexport (.*)", makefile, re.M)[1].split())
    for word in words[1:]:
        if "=" in word:
            name = word.partition("=")[0]
            assert name in known, f"the Makefile reads no {name}"
    # Without what the make that runs these tests hands down.
    plain = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    options = {"cwd": ROOT, "env": plain, "capture_output": True, "text": True}
    printed = subprocess.run(["make", "--dry-run", *words[1:]], **options)
    assert printed.returncode == 0, printed.stderr
    for line in printed.stdout.replace("\\\n", " ").splitlines():
        if re.search(r" -m apps\.", line):
            found = shlex.split(line.partition(" < ")[0])
            place = found.index("-m")
            yield found[place + 1], found[place + 2 :]


@pytest.mark.parametrize("words", readme_commands())
def test_every_readme_command_parses(words):
    if words[0] == "make":
        calls = list(recipe_of(words))
    else:
        assert words[1] == "-m", words
        calls = [(words[2], words[3:])]
    for module, arguments in calls:
        if (ROOT / module.replace(".", "/")).is_dir():
            module = f"{module}.__main__"
        assert (ROOT / (module.replace(".", "/") + ".py")).is_file(), f"no module {module}"
        loaded = __import__(module, fromlist=["main"])
        arguments = [argument for argument in arguments if argument != "--help"]
        if hasattr(loaded, "main"):
            from common.cli import parse_call

            parse_call(loaded.main, prog=module, description="", arguments=arguments)


def test_the_tables_of_the_readmes_are_those_of_the_results():
    from apps.studies.cells import fill_cells
    from common.tables import write_tables

    cards = (ROOT / "apps").glob("*/pretrained/README.md")
    for path in (ROOT / "README.md", *sorted((ROOT / "apps").glob("*/README.md")), *cards):
        text = path.read_text(encoding="utf-8")
        again = fill_cells(write_tables(text, ROOT), ROOT)
        assert again == text, f"run `make tables`: {path} is out of date"


def test_versions_that_stand_in_several_files_agree():
    """The backends that are installed by hand or for developers."""
    stated = {"jax": set(), "torch": set()}
    for name in ("Makefile", "README.md", "requirements-dev.txt", "common/device.py"):
        text = (ROOT / name).read_text(encoding="utf-8")
        for package, found in stated.items():
            found |= set(re.findall(rf"{package}==([\d.]+\d)", text))
        stated["torch"] |= set(re.findall(r"^TORCH := ([\d.]+)$", text, re.M))
    assert {package: len(found) for package, found in stated.items()} == {"jax": 1, "torch": 1}


def test_nothing_is_pickled():
    for path in python_files(*PACKAGES):
        source = path.read_text(encoding="utf-8")
        assert "import pickle" not in source
        assert "allow_pickle=True" not in source
        assert "enable_unsafe_deserialization" not in source
