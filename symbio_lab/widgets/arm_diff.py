"""What two arms answer differently on the samples that judge them; runs in a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from symbio_lab.codec import read_json
from symbio_lab.comparison.compare import world_of
from symbio_lab.errors import HealingCancelledError, NotFoundError
from symbio_lab.evaluation.suites import SuiteSizes
from symbio_lab.events import Listener
from symbio_lab.records import Patch
from symbio_lab.trust.stored import open_stored
from symbio_lab.widgets.plans import plan_from


def diff_arms(
    out: str, first: str, second: str, *, listener: Listener, should_stop: Callable[[], bool]
) -> dict[str, Any]:
    """Return every judged sample of the plan's first seed that the two arms' proposed patches answer differently.

    Returns:
        ``rows``: ``split``, ``text``, ``expected``, the answers of ``base``, ``first`` and ``second``, and whether the
        arms' answers are right; ``n``: samples answered.

    Raises:
        NotFoundError: an arm has no cell, or its patch is gone.
        ConfigError: the comparison is of a user's own data, whose world cannot be built again from its name.
    """
    folder = Path(out)
    plan = plan_from(read_json(folder / "plan.json"))
    world = world_of(plan, listener=listener)
    sizes = SuiteSizes(n_repair=plan.n_repair, n_replay=plan.n_replay, n_control_selection=plan.n_control)
    judge = world.incident(sizes, plan.seeds[0]).judge
    splits = {"slice": judge.slice_holdout, "other": judge.control_holdout}
    patches = {name: _patch(folder, name, plan.seeds[0]) for name in (first, second)}
    rows: list[dict[str, Any]] = []
    total = 0
    for split, samples in splits.items():
        texts = [sample.text for sample in samples]
        answers = []
        for patch in (None, patches[first], patches[second]):
            if should_stop():
                raise HealingCancelledError("stopped while samples were answered")
            with world.model.applied(patch):
                answers.append(world.model.predict(texts).outputs)
        total += len(samples)
        for sample, base, one, other in zip(samples, *answers, strict=True):
            if one != other:
                rows.append(
                    {
                        "split": split,
                        "text": sample.text,
                        "expected": sample.expected,
                        "base": base,
                        "first": one,
                        "second": other,
                        "first_right": world.model.is_correct(one, sample.expected),
                        "second_right": world.model.is_correct(other, sample.expected),
                    }
                )
    return {"rows": rows, "n": total}


def _patch(folder: Path, arm: str, seed: int) -> Patch | None:
    for path in sorted(folder.glob("cells/*/cell.json")):
        row: Mapping[str, Any] = read_json(path)["row"]
        if row["strategy"] == arm and row["seed"] == seed:
            digest = row["proposed_digest"]
            return None if digest is None else open_stored(path.parent / "store", digest)
    raise NotFoundError(f"no cell of {arm}, seed {seed}", hint="run the comparison again")
