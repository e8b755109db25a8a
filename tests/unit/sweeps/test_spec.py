"""Sweep files: what they may say, all problems at once, and the runs that come of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from symbio_lab.comparison.plan import ComparisonPlan
from symbio_lab.errors import ConfigError, StorageError
from symbio_lab.sweeps.spec import Grid, check_spec, load_spec
from tests.unit.sweeps.made import made_notebook


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made_notebook(tmp_path / "cell.ipynb")
    return tmp_path


def problems_of(data: Any, folder: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        check_spec(data, folder)
    return list(caught.value.problems)


def test_parts_of_a_grid_are_multiplied_with_each_other() -> None:
    grid = Grid.model_validate(
        {"product": {"a": [1, 2], "b": [3]}, "zip": {"c": [4, 5], "d": [6, 7]}, "list": [{"e": 8}, {"f": 9}]}
    )
    points = grid.points()
    assert len(points) == grid.size() == 8
    assert points[0] == {"a": 1, "b": 3, "c": 4, "d": 6, "e": 8}
    assert points[-1] == {"a": 2, "b": 3, "c": 5, "d": 7, "f": 9}


def test_an_empty_grid_is_one_run() -> None:
    assert Grid().points() == [{}]
    assert Grid().size() == 1


def test_a_file_becomes_a_spec(folder: Path) -> None:
    (folder / "sweep.yaml").write_text(
        "name: small\nnotebook: cell.ipynb\nparameters: {text: hello}\ngrid: {product: {number: [1, 2]}}\n"
    )
    spec, notebook = load_spec(folder / "sweep.yaml")
    assert (spec.name, notebook.name, spec.engine.name) == ("small", "cell.ipynb", "local")


def test_every_problem_is_told_at_once(folder: Path) -> None:
    given = {
        "name": "x",
        "notebook": "cell.ipynb",
        "parameters": {"number": 1, "out": "elsewhere", "nonsense": 1, "text": 3},
        "grid": {"product": {"number": [1, "2"]}},
        "contrasts": [["a", "a"]],
    }
    told = "\n".join(problems_of(given, folder))
    for part in (
        "number is set in parameters and in product",
        "out is set by the runner",
        "no parameter 'nonsense'",
        "parameter text must be of type str",
        "parameter number must be of type int, not '2'",
        "contrast of 'a' with itself",
        "contrasts need a primary_metric",
    ):
        assert part in told


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"colour": "red"}, "colour: Extra inputs are not permitted"),
        ({"name": "Not A Name"}, "name: String should match"),
        ({"grid": {"square": {}}}, r"grid.square: Extra inputs"),
        ({"grid": {"product": {"number": []}}}, "at least 1 item"),
        ({"grid": {"zip": {"number": [1], "text": ["a", "b"]}}}, "lists of different lengths: number 1, text 2"),
        ({"grid": {"product": {"number": list(range(1000)), "text": ["a"] * 1000}}}, "1,000,000 runs"),
        ({"notebook": "nowhere.ipynb"}, "there is no notebook 'nowhere.ipynb'"),
        ({"engine": {"name": "cloud"}}, "engine.name: Input should be 'local'"),
        ({"retries": {"transient": -1}}, "retries.transient: Input should be greater than or equal to 0"),
        ({"parameters": {"number": True}}, "parameter number must be of type int, not True"),
        ({"parameters": {"number": 1.5}}, "parameter number must be of type int, not 1.5"),
        ({"parameters": {"items": {"a": float("nan")}}}, "must be plain JSON"),
    ],
)
def test_a_wrong_file_is_an_error_that_says_what_is_wrong(folder: Path, changed: Any, message: str) -> None:
    import re

    told = problems_of({"name": "x", "notebook": "cell.ipynb", **changed}, folder)
    assert any(re.search(message, problem) or message in problem for problem in told), told


@pytest.mark.parametrize(
    ("text", "message"),
    [("name: [", "is not YAML"), ("- a\n- b\n", "must hold keys"), ("name: a\nname: b\n", "duplicate key 'name'")],
)
def test_what_is_no_sweep_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_spec(tmp_path / "a.yaml")


def test_a_file_that_is_not_there_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot read"):
        load_spec(tmp_path / "none.yaml")


SWEEPS = sorted((Path(__file__).parents[3] / "experiments").rglob("*.yaml"))


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_sweep_of_the_repository_can_be_run(path: Path) -> None:
    """Its notebook takes all its parameters, and every point is a comparison that could start."""
    spec, _ = load_spec(path)
    points = spec.grid.points()
    assert len(points) == {"smoke": 8, "gpu-smoke": 2, "marketplace-vs-surgery": 14 * 4 * 4}[spec.name]
    own = {*ComparisonPlan.__dataclass_fields__}
    for point in points:
        given = {**spec.parameters, **point}
        plan = ComparisonPlan(**{k: tuple(v) if isinstance(v, list) else v for k, v in given.items() if k in own})
        plan.check()
    assert spec.primary_metric == "deployed_net_gain_pp"
    assert {arm for pair in spec.contrasts for arm in pair} <= set(spec.parameters["strategies"])


def test_a_key_that_is_no_text_is_a_problem_like_any_other(tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text("{a: 1, [b, c]: 2}\n")
    with pytest.raises(ConfigError, match="a key must be plain text"):
        load_spec(path)
