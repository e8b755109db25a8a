"""What a sweep file may say, and everything that is wrong with one, at once.

Example file::

    name: smoke
    notebook: heal                 # a notebook of the lab, or a path beside this file
    parameters: {n_control: 400}   # the same in every run
    grid:                          # parts are multiplied with each other
      product: {pool: ["null", high], n_repair: [8, 16]}
      zip: {scenario: [helpdesk, helpdesk], seeds: [[0], [1]]}
      list: [{gate: lab}, {gate: strict}]
    primary_metric: deployed_net_gain_pp
    contrasts: [[marketplace_first, surgery_only]]
    contrasts_within: [n_repair]   # one test for each
    contrasts_where: {pool: [high]}

Rules:
    1. Unknown keys are errors; so are parameters that the notebook does not have, and values of another type than the
       parameters cell declares.
    2. A parameter is set in one place only.
    3. Contrasts and primary metric stand here, before the first run: the report calls all else exploratory.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from symbio_lab.errors import ConfigError, StorageError
from symbio_lab.kernels.parameters import NOTEBOOKS, notebook_path, parameter_problems

MOST_RUNS = 100_000
"""A grid beyond this is a slip."""
OWN_PARAMETERS = ("out", "shared")
"""Parameters that the runner sets: where a run puts its results, and where those lie that all runs share. A notebook
without the second one shares nothing."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Grid(_Strict):
    """Three ways to list runs; those that are given are multiplied with each other."""

    product: dict[str, Annotated[list[Any], Field(min_length=1)]] = Field(default_factory=dict)
    """Parameter -> values; every combination."""
    zip: dict[str, Annotated[list[Any], Field(min_length=1)]] = Field(default_factory=dict)
    """Parameter -> values; first with first, second with second: lists of one length."""
    listed: Annotated[list[dict[str, Any]] | None, Field(alias="list", min_length=1)] = None
    """Runs, one by one."""

    @property
    def names(self) -> list[tuple[str, str]]:
        """(part, parameter) in the file's order."""
        names = dict.fromkeys(name for entry in self.listed or () for name in entry)
        parts: dict[str, Sequence[str]] = {"product": [*self.product], "zip": [*self.zip], "list": [*names]}
        return [(part, name) for part, own in parts.items() for name in own]

    def problems(self) -> list[str]:
        """Return what is wrong with the grid."""
        lengths = {name: len(values) for name, values in self.zip.items()}
        found = []
        if len(set(lengths.values())) > 1:
            found.append("grid.zip: lists of different lengths: " + ", ".join(f"{k} {v}" for k, v in lengths.items()))
        if self.size() > MOST_RUNS:
            found.append(f"grid: {self.size():,} runs, more than {MOST_RUNS:,}")
        return found

    def size(self) -> int:
        """Return how many runs there are."""
        size = len(next(iter(self.zip.values()), [0])) * (len(self.listed) if self.listed else 1)
        for values in self.product.values():
            size *= len(values)
        return size

    def points(self) -> list[dict[str, Any]]:
        """Return the parameters of every run, the last parameter varying fastest.

        >>> Grid(product={"n": [4, 16]}, zip={"a": [1, 2], "b": [3, 4]}).points()[1:3]
        [{'n': 4, 'a': 2, 'b': 4}, {'n': 16, 'a': 1, 'b': 3}]
        """
        combined = itertools.product(*self.product.values())
        products = [dict(zip(self.product, values, strict=True)) for values in combined]
        zips = [dict(zip(self.zip, values, strict=True)) for values in zip(*self.zip.values(), strict=True)] or [{}]
        return [{**a, **b, **c} for a, b, c in itertools.product(products, zips, self.listed or [{}])]


class Retries(_Strict):
    """How often a run is started again, by what stopped it."""

    dead_kernel: int = Field(default=2, ge=0)
    out_of_memory: int = Field(default=2, ge=0)
    """Each time on fewer slots."""
    transient: int = Field(default=3, ge=0)
    """Network and file system errors that pass."""


ENGINES = ("local", "ray", "slurm")


class EngineChoice(_Strict):
    """Where runs execute."""

    name: Literal["local", "ray", "slurm"] = "local"
    slots: int | None = Field(default=None, ge=1)
    """Runs at once; None takes one for each device, or one on the CPU."""
    kernels: Literal["fork", "spawn"] = "fork"
    """``fork`` starts kernels from a process that has imported the libraries; where it cannot, they are spawned."""
    threads: int | None = Field(default=None, ge=1)
    """CPU threads of each run; None divides the cores among the slots."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Passed to the engine: an address (Ray), a partition (Slurm)."""


class SweepSpec(_Strict):
    """A sweep file."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
    notebook: str = "heal"
    description: str = ""
    parameters: dict[str, Any] = Field(default_factory=dict)
    grid: Grid = Field(default_factory=Grid)
    engine: EngineChoice = Field(default_factory=lambda: EngineChoice())
    retries: Retries = Field(default_factory=lambda: Retries())
    timeout_s: float | None = Field(default=None, gt=0)
    """Seconds that one run may take; it is stopped then and counts as failed."""
    primary_metric: str | None = None
    contrasts: list[Annotated[list[str], Field(min_length=2, max_length=2)]] = Field(default_factory=list)
    """Pairs of arms compared on the primary metric, registered before the first run."""
    contrasts_within: list[str] = Field(default_factory=list)
    """Parameters whose values do not mix: each combination of them is a test of its own, all tests one family."""
    contrasts_where: dict[str, Annotated[list[Any], Field(min_length=1)]] = Field(default_factory=dict)
    """Parameter -> values of the rows that registered contrasts read; all else is exploratory."""


def load_spec(path: Path) -> tuple[SweepSpec, Path]:
    """Read a sweep file and check it against its notebook.

    Args:
        path: YAML.

    Returns:
        The spec and its notebook.

    Raises:
        StorageError: the file cannot be read.
        ConfigError: everything that is wrong with it.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        hint = "give a sweep file, e.g. experiments/smoke.yaml"
        raise StorageError(f"cannot read {path}: {error}", hint=hint) from error
    try:
        data = yaml.load(text, Loader=_UniqueKeys)
    except yaml.YAMLError as error:
        raise ConfigError([f"{path.name} is not YAML: {' '.join(str(error).split())}"]) from error
    return check_spec(data, path.parent, path.name)


def check_spec(data: Any, folder: Path, name: str = "the sweep") -> tuple[SweepSpec, Path]:
    """Return the spec of parsed YAML and its notebook; see ``load_spec``."""
    if not isinstance(data, dict):
        raise ConfigError([f"{name} must hold keys and values, not a {type(data).__name__}"])
    try:
        spec = SweepSpec.model_validate(data)
    except ValidationError as error:
        problems = [f"{name}: {_where(e['loc'])}{e['msg']}" for e in error.errors()]
        raise ConfigError(problems) from error
    problems = [f"{name}: {problem}" for problem in spec.grid.problems()]
    try:
        notebook = find_notebook(spec.notebook, folder)
    except ConfigError as error:
        raise ConfigError([*problems, *error.problems]) from error
    if not problems:
        problems = [f"{name}: {problem}" for problem in _parameter_problems(spec, notebook)]
    problems += [f"{name}: contrast of {a!r} with itself" for a, b in spec.contrasts if a == b]
    if spec.contrasts and spec.primary_metric is None:
        problems.append(f"{name}: contrasts need a primary_metric")
    varied = {parameter for _, parameter in spec.grid.names} | set(spec.parameters)
    problems += [
        f"{name}: {field} names {parameter!r}, which the sweep does not set"
        for field in ("contrasts_within", "contrasts_where")
        for parameter in getattr(spec, field)
        if parameter not in varied
    ]
    if problems:
        raise ConfigError(problems)
    return spec, notebook


def find_notebook(name: str, folder: Path) -> Path:
    """Return a notebook of the lab by name, or of the user's by path.

    Raises:
        ConfigError: there is none.
    """
    if name in NOTEBOOKS:
        return notebook_path(name)
    path = (folder / name).resolve()
    if path.suffix != ".ipynb" or not path.is_file():
        known = ", ".join(NOTEBOOKS)
        raise ConfigError([f"there is no notebook {name!r}; use one of {known}, or the path of an .ipynb"])
    return path


def _parameter_problems(spec: SweepSpec, notebook: Path) -> list[str]:
    sources: dict[str, list[str]] = {}
    for part, name in [*(("parameters", name) for name in spec.parameters), *spec.grid.names]:
        sources.setdefault(name, []).append(part)
    problems = [f"{name} is set in {' and in '.join(parts)}" for name, parts in sources.items() if len(parts) > 1]
    problems += [f"{name} is set by the runner" for name in sources if name in OWN_PARAMETERS]
    # Each value once, not each run: a grid of thousands of runs has few values.
    values: list[Mapping[str, Any]] = [spec.parameters, *(spec.grid.listed or ())]
    values += [{name: v} for part in (spec.grid.product, spec.grid.zip) for name, vs in part.items() for v in vs]
    return list(dict.fromkeys([*problems, *(p for given in values for p in parameter_problems(notebook, given))]))


def _where(location: tuple[int | str, ...]) -> str:
    return "".join(f"{part}." if isinstance(part, str) else f"[{part}]." for part in location).rstrip(".") + ": "


class _UniqueKeys(yaml.SafeLoader):
    """YAML without repeated keys: two readers must never see two sweeps."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key must be plain text", key.start_mark)
            name = key.value
            if name in seen:
                raise yaml.constructor.ConstructorError(None, None, f"duplicate key {name!r}", key.start_mark)
            seen.add(name)
        return super().construct_mapping(node, deep)
