"""Notebooks made for tests of sweeps: seconds long, with real kernels."""

from __future__ import annotations

from pathlib import Path

import nbformat

PARAMETERS = """number: int = 1
text: str = "a"
items: dict = {}
out: str = "out"
marks: str = "marks"
"""
"""Cell of the parameters; ``marks`` is a folder where a run leaves a mark for each start and each end."""
MARK = """import secrets
from pathlib import Path

Path(marks).mkdir(parents=True, exist_ok=True)
(Path(marks) / f"{kind}-{number}-{secrets.token_hex(4)}").touch()
"""
RESULT = """import pandas

pandas.DataFrame({"value": [number * number]}).to_parquet(Path(out) / "results.parquet")
"""


def made_notebook(path: Path, *cells: str) -> Path:
    """Write a notebook that marks its start, runs ``cells``, writes number squared as its result, and marks its end."""
    code = ["kind = 'start'\n" + MARK, *cells, RESULT, "kind = 'end'\n" + MARK]
    notebook = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]}),
            *map(nbformat.v4.new_code_cell, code),
        ],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
    )
    nbformat.write(notebook, path)
    return path


def marks(folder: Path) -> dict[int, tuple[int, int]]:
    """Return number -> (starts, ends)."""
    found: dict[int, list[int]] = {}
    for path in folder.glob("*-*-*"):
        kind, number, _ = path.name.split("-")
        found.setdefault(int(number), [0, 0])[kind == "end"] += 1
    return {number: (starts, ends) for number, (starts, ends) in found.items()}
