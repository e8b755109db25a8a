"""From a sweep file to the runs it asks for, each with its key; kept in the sweep's folder so that it can go on.

Rules:
    1. The folder holds its own copy of the notebook: resuming runs the source that the sweep was started with.
    2. Runs of equal keys are one run, however often the grid lists them.
    3. A folder of another sweep is refused; the same sweep with other runs keeps what is finished under equal keys.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from symbio_lab.codec import read_json, write_atomic, write_json
from symbio_lab.errors import ConfigError, NotFoundError
from symbio_lab.sweeps.keys import notebook_digest, run_key
from symbio_lab.sweeps.spec import SweepSpec, check_spec, load_spec

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class SweepPlan:
    """A sweep and its runs."""

    folder: Path
    spec: SweepSpec
    runs: Mapping[str, Mapping[str, Any]]
    """Key -> parameters, in running order."""

    def only(self, wanted: Sequence[str]) -> SweepPlan:
        """Return the part of the sweep whose parameters have given values, for a machine or an hour that does a share.

        Args:
            wanted: ``NAME=VALUE`` each; values of one name are alternatives, all names must match.

        Raises:
            ConfigError: what is no ``NAME=VALUE`` or fits no run; all at once.
        """
        values: dict[str, list[str]] = {}
        problems = [f"{text!r} is not NAME=VALUE" for text in wanted if "=" not in text]
        for name, _, value in (text.partition("=") for text in wanted if "=" in text):
            values.setdefault(name, []).append(value)
            there = sorted({_text(run[name]) for run in self.runs.values() if name in run})
            if value not in there:
                problems.append(
                    f"no run has {name}={value}" + (f"; there are {', '.join(there[:20])}" if there else "")
                )
        if problems:
            raise ConfigError(problems)
        runs = {
            key: run
            for key, run in self.runs.items()
            if all(name in run and _text(run[name]) in given for name, given in values.items())
        }
        if not runs:
            raise ConfigError([f"no run has {' and '.join(wanted)}"])
        return replace(self, runs=runs)


def make_plan(file: Path, folder: Path) -> SweepPlan:
    """Read a sweep file and lay its folder out.

    Args:
        file: YAML.
        folder: where the sweep lives.

    Returns:
        The plan, also in ``folder/sweep.json``.

    Raises:
        ConfigError: what is wrong with the file, or the folder holds another sweep.
        UnknownDatasetError: a run names no world.
        StorageError: the file cannot be read or the folder cannot be written.
    """
    spec, notebook = load_spec(file)
    folder = Path(folder).absolute()
    if (folder / "sweep.json").is_file():
        name = read_json(folder / "sweep.json")["spec"]["name"]
        if name != spec.name:
            raise ConfigError([f"{folder} holds the sweep {name!r}, not {spec.name!r}; use another folder"])
    elif folder.is_dir() and any(folder.iterdir()):
        raise ConfigError([f"{folder} is not empty and holds no sweep; use another folder"])
    digest = notebook_digest(notebook)
    runs: dict[str, Mapping[str, Any]] = {}
    for point in spec.grid.points():
        parameters = {**spec.parameters, **point}
        runs.setdefault(run_key(parameters, digest), parameters)
    copy_notebook(notebook, folder)
    listed = [{"key": key, "parameters": dict(parameters)} for key, parameters in runs.items()]
    write_json(
        folder / "sweep.json",
        {
            "schema": SCHEMA,
            "spec": spec.model_dump(mode="json", by_alias=True),
            "notebook_digest": digest,
            "runs": listed,
        },
    )
    return SweepPlan(folder, spec, runs)


def read_plan(folder: Path) -> SweepPlan:
    """Return the plan that a folder was laid out with.

    Raises:
        NotFoundError: the folder holds no sweep.
        ConfigError: its plan is damaged or of another release.
    """
    folder = Path(folder).absolute()
    if not (folder / "sweep.json").is_file():
        raise NotFoundError(f"there is no sweep in {folder}", hint="start one: symbio sweep run FILE --out DIR")
    data = read_json(folder / "sweep.json")
    if data.get("schema") != SCHEMA:
        raise ConfigError([f"{folder / 'sweep.json'} has schema {data.get('schema')}, this release reads {SCHEMA}"])
    spec, _ = check_spec({**data["spec"], "notebook": "notebook.ipynb"}, folder, "sweep.json")
    if notebook_digest(folder / "notebook.ipynb") != data["notebook_digest"]:
        raise ConfigError([f"{folder / 'notebook.ipynb'} was changed since the sweep started; start another sweep"])
    return SweepPlan(folder, spec, {run["key"]: run["parameters"] for run in data["runs"]})


def copy_notebook(source: Path, folder: Path) -> None:
    """Give a sweep's folder its own copy of the notebook."""
    write_atomic(folder / "notebook.ipynb", lambda path: _copy(source, path))


def _copy(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)


def _text(value: Any) -> str:
    """Return a parameter's value as a sweep file spells it."""
    return value if isinstance(value, str) else json.dumps(value)
