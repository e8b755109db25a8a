"""The lab's notebooks by name, and what their parameters may be.

Rules:
    1. Unknown parameters, and values that are not plain JSON, are errors before anything runs.
    2. A value is held to the annotation of its parameter.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from symbio_lab.errors import NotFoundError

NOTEBOOKS = (
    "bring_your_own",
    "compare_strategies",
    "dashboard",
    "heal",
    "healing_bench",
    "hub_llm",
    "marketplace",
    "monitoring",
    "quickstart",
    "report",
    "surgery",
    "sweep",
    "sweep_report",
    "trust_and_keys",
)
PACKAGE = Path(__file__).resolve().parents[1]
"""Folder of the package."""
_TYPES: dict[str, type | tuple[type, ...]] = {
    "str": str,
    "int": int,
    "float": (int, float),
    "bool": bool,
    "list": list,
    "dict": dict,
}
"""Annotations that a value is held to; all others say nothing."""


def notebook_path(name: str) -> Path:
    """Return where a notebook of the lab is: package data of an installed wheel, else the checkout's folder.

    Raises:
        NotFoundError: there is no such notebook.
    """
    folders = (PACKAGE / "_notebooks", PACKAGE.parent / "notebooks")
    for folder in folders:
        path = folder / f"{name}.ipynb"
        if name in NOTEBOOKS and path.is_file():
            return path
    raise NotFoundError(f"there is no notebook {name!r}", hint=f"use one of: {', '.join(NOTEBOOKS)}")


def parameter_problems(path: Path, parameters: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with the parameters of a notebook: unknown, not plain JSON, or of another type.

    Args:
        path: a notebook with one cell tagged ``parameters``; annotations there are held to.
        parameters: values by name.
    """
    known = _parameters_of(path, path.stat().st_mtime_ns)
    problems = []
    for name, value in parameters.items():
        if name not in known:
            problems.append(f"{path.name} has no parameter {name!r}; it has: {', '.join(known) or 'none'}")
        elif not _is_json(value):
            plain = "plain JSON (text, number, true, false, null, list, object)"
            problems.append(f"parameter {name} must be {plain}, not {value!r:.60}")
        elif known[name] in _TYPES and not _is_of(value, _TYPES[known[name]]):
            problems.append(f"parameter {name} must be of type {known[name]}, not {value!r:.60}")
    return problems


@lru_cache(maxsize=64)
def _parameters_of(path: Path, _changed_ns: int) -> dict[str, str]:
    """Return parameter -> annotated type, ``None`` where there is none."""
    import papermill

    found = papermill.inspect_notebook(literal_path(path))
    return {name: str(parameter["inferred_type_name"]) for name, parameter in found.items()}


def _is_of(value: Any, kind: type | tuple[type, ...]) -> bool:
    # True is an int to Python, not to a reader.
    return isinstance(value, kind) and not (isinstance(value, bool) and kind is not bool)


def _is_json(value: Any) -> bool:
    if value is None or isinstance(value, bool | int | str):
        return True
    if isinstance(value, float):
        return math.isfinite(value)
    # No tuples: papermill would inject them as text.
    if isinstance(value, list):
        return all(map(_is_json, value))
    return isinstance(value, dict) and all(isinstance(k, str) and _is_json(v) for k, v in value.items())


def literal_path(path: Path) -> str:
    """Return a path in which papermill finds nothing to fill in."""
    return str(path).replace("{", "{{").replace("}", "}}")
