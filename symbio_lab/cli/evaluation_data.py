"""``--suite S`` becomes a model and what an evaluation reads: a scenario, or a user's own table with ``--model``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from symbio_lab.codec import read_json, write_json
from symbio_lab.config import Settings
from symbio_lab.errors import ConfigError, DataError, EmptySliceError

if TYPE_CHECKING:
    from symbio_lab.advice.claims import EvaluationSuite
    from symbio_lab.events import Listener
    from symbio_lab.models.protocol import PatchableModel
    from symbio_lab.records import PatchManifest
    from symbio_lab.scenarios.own_tables import OwnTables
    from symbio_lab.scenarios.world import World

MIN_CONTROLS = 20
"""Rows outside the slice below which a table says nothing about harm."""
_LABELS = "labels of the patch"
HINT = "give more labelled rows of what the patch is for, or name a slice: --slice FIELD=VALUE"


@dataclass(frozen=True, slots=True)
class SuiteRequest:
    """What the user asked to evaluate on."""

    suite: str
    """Scenario, table or Hub id."""
    model: str | None = None
    """Folder or Hub id of the model; only for own data."""
    slice: str | None = None
    text_field: str = "text"
    label_field: str = "label"
    group_field: str | None = None
    task: str | None = None
    world_seed: int = 0
    seed: int = 0

    def is_scenario(self) -> bool:
        """Return whether the suite is a world of the lab or of an installed package."""
        from symbio_lab.scenarios.catalogue import scenario_names

        return self.suite in scenario_names()

    def check(self) -> None:
        """Raise what contradicts itself, everything at once.

        Raises:
            ConfigError: with all problems.
            UnknownDatasetError: neither a scenario nor a table that is there.
        """
        from symbio_lab.errors import UnknownDatasetError
        from symbio_lab.scenarios.catalogue import scenario_names
        from symbio_lab.scenarios.own_tables import OwnData

        problems = [f"--{name} must be 0 or more" for name in ("world_seed", "seed") if getattr(self, name) < 0]
        problems = [problem.replace("_", "-") for problem in problems]
        if self.is_scenario():
            given = {"model": self.model, "slice": self.slice, "group-field": self.group_field, "task": self.task}
            problems += [f"--{name}: a scenario brings its own" for name, value in given.items() if value is not None]
        else:
            problems += OwnData(self.suite, slice=self.slice).problems()
            if self.world_seed:
                problems.append("--world-seed: only scenarios have one")
            if self.model is None and not problems:
                if not Path(self.suite).exists():
                    raise UnknownDatasetError(self.suite, known=scenario_names())
                problems.append("a table needs --model: the base that the patch is for")
        if problems:
            raise ConfigError(problems, hint="a scenario: --suite helpdesk; own data: --suite FILE --model PATH_OR_ID")


def prepare(
    request: SuiteRequest, manifest: PatchManifest, settings: Settings, listener: Listener | None = None
) -> tuple[PatchableModel, EvaluationSuite]:
    """Return the base and what is read, for one patch.

    Args:
        request: checked.
        manifest: of the patch: of a table without ``--slice``, the rows with its labels are the slice.
        settings: state folder, device, threads.
        listener: told about progress.

    Raises:
        BaseMismatchError: the patch was made for another base.
        EmptySliceError: there is too little to evaluate on.
        SymbioError: as ``build_world``, ``read_own``, ``load_model`` and ``own_worlds``.
    """
    from symbio_lab.scenarios.evaluation_suites import world_suite

    if request.is_scenario():
        from symbio_lab.scenarios.world import build_world

        world = build_world(request.suite, world_seed=request.world_seed, settings=settings, listener=listener)
        check_base(world.model, manifest)
    else:
        world = _own_world(request, manifest, settings, listener)
    return world.model, world_suite(world, seed=request.seed)


def check_base(model: PatchableModel, manifest: PatchManifest) -> None:
    """Raise ``BaseMismatchError`` if the patch was made for another base than ``model``."""
    from symbio_lab.errors import BaseMismatchError

    if model.digest != manifest.base_digest:
        raise BaseMismatchError(
            f"{manifest.patch_id} was made for {manifest.base_id} ({manifest.base_digest[:16]}...), "
            f"this model is {model.model_id} ({model.digest[:16]}...)",
            hint="give the base of the patch by --model, or the scenario and --world-seed that it belongs to",
        )


def _own_world(request: SuiteRequest, manifest: PatchManifest, settings: Settings, listener: Listener | None) -> World:
    from symbio_lab.comparison.own_data import MAX_ANSWER_TOKENS, SPARE_TOKENS
    from symbio_lab.models.generator import TextGenerator
    from symbio_lab.models.loading import load_model, use_threads
    from symbio_lab.scenarios.own_data import own_worlds
    from symbio_lab.scenarios.own_tables import OwnData, read_own

    use_threads(settings.num_threads)
    # Tables before the model: a wrong column should not wait for gigabytes of weights.
    fields: dict[str, Any] = {"text_field": request.text_field, "label_field": request.label_field}
    tables = read_own(OwnData(request.suite, slice=request.slice, group_field=request.group_field, **fields))
    model = load_model(request.model or "", task=request.task, device=settings.device, dtype=settings.dtype)
    check_base(model, manifest)
    if isinstance(model, TextGenerator):
        longest = max(len(model.encode_answer(sample.expected)) for sample in tables.data.samples)
        model.max_new_tokens = min(longest + SPARE_TOKENS, MAX_ANSWER_TOKENS)
    if request.slice is None and manifest.labels and model.labels:
        tables = _by_labels(tables, model, manifest)
    try:
        found = own_worlds(
            model, tables, settings, n_repair=2, min_controls=MIN_CONTROLS, task=request.task, listener=listener
        )
    except EmptySliceError as error:
        raise EmptySliceError(f"{tables.data.name} holds too little to evaluate on: {error}", hint=HINT) from error
    return found.worlds[0]


def _by_labels(tables: OwnTables, model: PatchableModel, manifest: PatchManifest) -> OwnTables:
    """Return the tables with the rows that carry the patch's labels as the slice; unchanged if there are none."""
    from symbio_lab.failures.own_labels import match_labels

    samples, _ = match_labels(tables.data.samples, model.labels)
    meant = [sample.expected in manifest.labels for sample in samples]
    if not any(meant):
        return tables
    named = tuple(replace(s, domain=_LABELS if is_meant else "") for s, is_meant in zip(samples, meant, strict=True))
    own = replace(tables.own, slice=f"gold={_LABELS}")
    return replace(tables, own=own, data=replace(tables.data, samples=named))


def remember_suite(settings: Settings, suite: EvaluationSuite, source: Mapping[str, Any]) -> None:
    """Note that a suite can be run here, so that statements on it count in ratings.

    Raises:
        StorageError: the state folder cannot be written.
    """
    value = {
        "schema": 1,
        "name": suite.name,
        "splits": suite.splits,
        "n": len(suite.slice) + len(suite.control),
        "seeds": list(suite.seeds),
        "source": dict(source),
    }
    write_json(settings.home / "suites" / f"{suite.digest}.json", value)


def known_suites(settings: Settings) -> dict[str, str]:
    """Return digest -> name of every suite that was run or named here.

    Raises:
        DataError: a note is damaged.
    """
    found = {}
    for path in sorted((settings.home / "suites").glob("*.json")):
        value = read_json(path)
        if not isinstance(value, dict) or not isinstance(value.get("name"), str):
            raise DataError(f"{path.name} is not the note of a suite", hint="delete it and evaluate again")
        found[path.stem] = value["name"]
    return found
