"""The repository speaks of the project alone and builds anywhere."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

from tests.architecture.sources import ROOT, read_text, repository_files

MACHINE_PATH = re.compile(r"(?<![\w.:/~<>-])/(work|tmp|root|home|farm|Users|opt)/[\w.]")
TESTS_MACHINE_PATH = re.compile(r"(?<![\w.:/~<>-])/(work|root|farm)/[\w.]")
LOCAL_VERSION = re.compile(r"==\d[\w.]*\+\w+|\bfile://+\w+[^\s]*\.whl")
PIN = re.compile(r"([A-Za-z0-9._-]+)==([0-9][A-Za-z0-9.]*)")


def texts() -> list[tuple[str, str]]:
    found = [(path.relative_to(ROOT).as_posix(), read_text(path)) for path in repository_files()]
    return [(name, text) for name, text in found if text is not None]


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_no_file_names_a_machine() -> None:
    found = []
    for name, text in texts():
        # Tests may name a path that an attacker would try.
        pattern = TESTS_MACHINE_PATH if name.startswith("tests/") else MACHINE_PATH
        found += [f"{name}:{text[: m.start()].count(chr(10)) + 1}: {m[0]}" for m in pattern.finditer(text)]
    assert not found


def test_no_file_names_a_local_build() -> None:
    assert not [f"{name}: {m[0]}" for name, text in texts() for m in LOCAL_VERSION.finditer(text)]


@pytest.mark.parametrize(
    ("text", "is_found"),
    [
        ("cd /" + "work/main", True),
        ("'/" + "home/me/x'", True),
        ("https://example.org/home/x", False),
        ("~/work/x", False),
        ("../work/x", False),
        ("notebooks/home/x", False),
    ],
)
def test_the_search_for_machine_paths_can_fail(text: str, is_found: bool) -> None:
    assert bool(MACHINE_PATH.search(text)) is is_found


def test_constraints_are_public_pins_sorted_and_unique() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    names = [normal(match[1]) for line in pins if (match := PIN.fullmatch(line))]
    assert len(names) == len(pins)
    assert names == sorted(set(names))


def test_every_dependency_is_locked_within_its_range() -> None:
    from packaging.requirements import Requirement

    locked = {
        normal(match[1]): match[2]
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if (match := PIN.fullmatch(line))
    }
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *(r for extra in project["optional-dependencies"].values() for r in extra)]
    for requirement in map(Requirement, wanted):
        assert normal(requirement.name) in locked, requirement.name
        assert requirement.specifier.contains(locked[normal(requirement.name)]), requirement
        assert "==" not in str(requirement.specifier), f"{requirement}: a library states ranges"


def test_the_conda_file_installs_the_locked_torch() -> None:
    pin = re.search(r"^torch==\S+$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    assert pin is not None
    assert f"- {pin[0]}\n" in (ROOT / "environment.yml").read_text(encoding="utf-8")


def test_the_version_is_stated_once() -> None:
    import symbio_lab

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == symbio_lab.__version__


def test_notebooks_are_committed_without_outputs() -> None:
    for path in repository_files():
        if path.suffix == ".ipynb":
            cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
            assert not [c for c in cells if c.get("outputs") or c.get("execution_count")], path.name


def test_decisions_are_numbered_without_gaps_and_complete() -> None:
    records = sorted((ROOT / "docs" / "adr").glob("*.md"))
    assert [int(path.name[:4]) for path in records] == list(range(1, len(records) + 1))
    for path in records:
        text = path.read_text(encoding="utf-8")
        assert text.startswith(f"# {path.name[:4]}: ")
        positions = [text.find(f"\n## {part}\n") for part in ("Context", "Decision", "Consequences")]
        assert -1 not in positions
        assert positions == sorted(positions)


def test_names_are_legal_on_windows() -> None:
    for path in repository_files():
        relative = path.relative_to(ROOT)
        assert not re.search(r'[<>:"|?*\\]', relative.as_posix()), relative
        assert not [part for part in Path(relative).parts if part.endswith((".", " "))], relative
