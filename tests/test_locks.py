import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.no_backend

ROOT = Path(__file__).parent.parent
LOCKS = sorted(path.name for path in ROOT.glob("requirements*.lock"))
SERVICES = ("requirements-web.lock", "requirements-serve.lock")
PIN = re.compile(r"([a-z0-9][a-z0-9-]*)==(\S+)( ; .+)?")


def lines_of(name):
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return [line for line in (line.partition("#")[0].strip() for line in lines) if line]


def required(name):
    """The name and the version, if there is one, of each requirement of a file."""
    for line in lines_of(name):
        if line.startswith("-r "):
            yield from required(line.removeprefix("-r "))
        else:
            package, _, version = line.partition("==")
            yield re.sub(r"[_.]", "-", package.partition("[")[0].lower()), version


def locked(name):
    """The versions of each package of a lock: some differ between versions of Python."""
    versions = {}
    for line in lines_of(name):
        match = PIN.fullmatch(line)
        assert match, f"{name} pins no version in: {line}"
        versions.setdefault(match[1], set()).add(match[2])
    return versions


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_holds_every_requirement_in_the_version_that_it_pins(lock):
    versions = locked(lock)
    for package, version in required(lock.replace(".lock", ".txt")):
        assert versions.get(package), f"{lock} lacks {package}: run `make lock`"
        if version:
            assert versions[package] == {version}, f"{lock}, {package}: run `make lock`"


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_names_no_host(lock):
    text = (ROOT / lock).read_text(encoding="utf-8")
    # Options are no pins either.
    assert "//" not in text
    assert all(PIN.fullmatch(line) for line in lines_of(lock))


@pytest.mark.parametrize("lock", LOCKS)
def test_every_lock_pins_the_versions_that_a_user_has(lock):
    users, versions = locked("requirements.lock"), locked(lock)
    assert {name: users[name] for name in versions if name in users} == {
        name: versions[name] for name in versions if name in users
    }
    # The service does without most of them.
    assert lock in SERVICES or set(users) <= set(versions)


def test_the_makefile_installs_only_pinned_packages():
    recipes = (ROOT / "Makefile").read_text(encoding="utf-8").splitlines()
    installed = [line for line in recipes if "pip install" in line]
    assert installed
    for line in installed:
        # `$<` is the lock of the rule for the environments of the services.
        assert re.search(r"-r (requirements\S*\.lock|\$<)$|\w==\$\(\w+\)$", line), line
