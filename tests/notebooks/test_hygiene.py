"""The committed notebooks: no outputs, one parameters cell, in step with their text twins, nothing but the library."""

from __future__ import annotations

import ast

import nbformat
import pytest

from symbio_lab.comparison.plan import DEFAULT_STRATEGIES, REFERENCE_ARMS, ComparisonPlan
from symbio_lab.errors import NotFoundError
from symbio_lab.kernels.parameters import NOTEBOOKS, notebook_path
from tests.architecture.sources import ROOT

EVERY = pytest.mark.parametrize("name", NOTEBOOKS)


def read(name: str) -> nbformat.NotebookNode:
    return nbformat.read(notebook_path(name), as_version=4)


@EVERY
def test_a_notebook_is_valid_and_has_no_outputs(name: str) -> None:
    notebook = read(name)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    for cell in notebook.cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


@EVERY
def test_a_notebook_has_one_parameters_cell(name: str) -> None:
    tagged = [c for c in read(name).cells if "parameters" in c.metadata.get("tags", ())]
    assert len(tagged) == 1


@EVERY
def test_every_parameter_can_be_set(name: str) -> None:
    import papermill

    (cell,) = [c for c in read(name).cells if "parameters" in c.metadata.get("tags", ())]
    stored = [n for n in ast.walk(ast.parse(cell.source)) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
    assert stored
    # Papermill skips a line that it cannot read, such as one whose value holds an equals sign.
    assert set(papermill.inspect_notebook(str(notebook_path(name)))) == {n.id for n in stored}


@EVERY
def test_a_notebook_equals_its_text_twin(name: str) -> None:
    import jupytext

    path = notebook_path(name)
    twin = jupytext.read(path.with_suffix(".py"))
    cells = [(c.cell_type, c.source, c.metadata.get("tags", [])) for c in read(name).cells]
    assert [(c.cell_type, c.source, c.metadata.get("tags", [])) for c in twin.cells] == cells


@EVERY
def test_a_notebook_defines_nothing(name: str) -> None:
    for cell in read(name).cells:
        if cell.cell_type == "code":
            kinds = [
                node for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.FunctionDef | ast.ClassDef)
            ]
            assert not kinds, "every function that a notebook uses lives in the library"


def test_notebooks_on_disk_are_the_ones_the_lab_knows() -> None:
    assert sorted(p.stem for p in (ROOT / "notebooks").glob("*.ipynb")) == sorted(NOTEBOOKS)
    with pytest.raises(NotFoundError, match="no notebook"):
        notebook_path("../report")


def test_the_parameters_are_those_of_a_comparison() -> None:
    import papermill

    known = papermill.inspect_notebook(str(notebook_path("heal")))
    fields = set(ComparisonPlan.__dataclass_fields__) - {"own_data"}
    assert set(known) == fields | {"out", "shared"}
    defaults = {name: ast.literal_eval(entry["default"]) for name, entry in known.items()}
    assert tuple(defaults["strategies"]) == DEFAULT_STRATEGIES
    assert tuple(defaults["reference_arms"]) == REFERENCE_ARMS
    plan = ComparisonPlan("helpdesk")
    same = fields - {"scenario", "strategies", "reference_arms", "seeds"}
    assert {name: defaults[name] for name in same} == {name: getattr(plan, name) for name in same}
