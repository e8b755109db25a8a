"""A third-party package: installed beside the lab, found by entry points, held to the same contracts."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

EXAMPLE = Path(__file__).parents[1] / "example_plugin"


def install(target: Path, name: str = "symbio-lab-example", **entry_points: str) -> Path:
    """Lay the package out as an installer does: its modules, and the metadata that entry points are read from.

    By hand, since building a wheel would fetch the build backend from an index.
    """
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    groups: dict[str, dict[str, str]] = entry_points.get("groups") or project["entry-points"]  # type: ignore[assignment]
    shutil.copytree(EXAMPLE / "symbio_lab_example", target / "symbio_lab_example", dirs_exist_ok=True)
    metadata = target / f"{name.replace('-', '_')}-{project['version']}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {project['version']}\n")
    lines = [f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in named.items()) for group, named in groups.items()]
    (metadata / "entry_points.txt").write_text("\n".join(lines))
    return target


def run(target: Path, home: Path, *command: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(target), str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "SYMBIO_LAB_HOME": str(home), "HF_HUB_OFFLINE": "1"}
    return subprocess.run(
        [sys.executable, *command], env=environment, capture_output=True, text=True, timeout=600, cwd=home
    )


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(tmp_path_factory.mktemp("site"))


def test_the_package_s_own_tests_pass(installed: Path, tmp_path: Path) -> None:
    done = run(installed, tmp_path, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(EXAMPLE / "test_example.py"))
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    assert "4 passed" in done.stdout


def symbio(*arguments: str) -> list[str]:
    return ["-c", "import sys; from symbio_lab.cli.app import run; sys.exit(run(sys.argv[1:]))", *arguments]


def test_doctor_prints_each_plugin_with_its_package(installed: Path, tmp_path: Path) -> None:
    lines = run(installed, tmp_path, *symbio("doctor")).stdout.splitlines()
    assert [line for line in lines if line.startswith("plugin ")] == [
        "plugin symbio-lab-example 0.1.0: cheapest_patch (strategies): ok",
        "plugin symbio-lab-example 0.1.0: mean_rows (surgery): ok",
        "plugin symbio-lab-example 0.1.0: numbers (worlds): ok",
    ]


def test_doctor_lists_it_and_a_comparison_runs_it(installed: Path, tmp_path: Path) -> None:
    found = json.loads(run(installed, tmp_path, *symbio("doctor", "--json")).stdout)
    assert {(p["kind"], p["name"]) for p in found["plugins"]} == {
        ("strategies", "cheapest_patch"),
        ("surgery", "mean_rows"),
        ("worlds", "numbers"),
    }
    states = {(p["package"], p["version"], p["problem"]) for p in found["plugins"]}
    assert states == {("symbio-lab-example", "0.1.0", "")}
    assert {"cheapest_patch", "mean_rows"} <= set(found["strategies"])
    assert "mean_rows" in found["surgery"]
    assert "numbers" in found["worlds"]
    arguments = [
        "compare",
        "--scenario",
        "numbers",
        "--strategies",
        "noop,mean_rows,cheapest_patch",
        "--n-repair",
        "32",
    ]
    done = run(installed, tmp_path, *symbio(*arguments, "--n-control", "60", "--no-report", "--json", "--out", "out"))
    assert done.returncode == 0, done.stderr[-3000:]
    figures = json.loads(done.stdout)["summary"]["strategies"]
    assert {"mean_rows", "cheapest_patch"} <= set(figures)
    assert figures["mean_rows"]["family"] == "surgery"
    assert figures["mean_rows"]["proposed_fix_rate"] > 0
    assert figures["cheapest_patch"]["proposed_fix_rate"] > 0


@pytest.mark.parametrize(
    ("group", "name", "value", "message"),
    [
        ("symbio_lab.strategies", "broken", "symbio_lab_example.nowhere:Thing", "cannot be loaded"),
        ("symbio_lab.strategies", "noop", "symbio_lab_example.cheapest_patch:CheapestPatch", "taken"),
        ("symbio_lab.worlds", "wrong", "symbio_lab_example.numbers:SMALL", "is a tuple"),
    ],
)
def test_a_plugin_that_cannot_be_used_is_an_error_that_names_its_package(
    tmp_path: Path, group: str, name: str, value: str, message: str
) -> None:
    broken: Any = {group: {name: value}}
    target = install(tmp_path / "site", "broken-package", groups=broken)
    done = run(target, tmp_path, *symbio("doctor", "--json"))
    assert done.returncode == 4
    found = json.loads(done.stdout)
    (problem,) = [p for p in found["problems"] if p.startswith("broken-package")]
    assert message in problem
    assert "update or uninstall" in problem
    assert [(p["package"], message in p["problem"]) for p in found["plugins"]] == [("broken-package", True)]
    refused = run(target, tmp_path, *symbio("compare", "--scenario", "helpdesk", "--json"))
    assert (refused.returncode, json.loads(refused.stdout)["error"]) == (2, "bad_plugin")
    assert "broken-package" in json.loads(refused.stdout)["message"]
