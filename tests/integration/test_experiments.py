"""The lab's own experiment: committed rows belong to its plan, and hold what an honest row must hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from symbio_lab.reports.sweep.contrasts import registered_contrasts
from symbio_lab.reports.sweep.results import collect_sweep
from symbio_lab.stats.bootstrap import MIN_BLOCKS
from symbio_lab.sweeps.keys import notebook_digest, run_key, versions
from symbio_lab.sweeps.results import made_with, read_rows, rows_of
from symbio_lab.sweeps.spec import find_notebook

FOLDER = Path(__file__).parents[2] / "experiments" / "marketplace-vs-surgery"


@pytest.fixture(scope="module")
def rows():  # type: ignore[no-untyped-def]
    return read_rows(FOLDER)


def test_rows_are_runs_of_the_plan(rows) -> None:  # type: ignore[no-untyped-def]
    """Each run has one row for each arm, and its parameters are a point of the grid."""
    spec = rows.spec
    points = [{**spec.parameters, **point} for point in spec.grid.points()]
    varied = [name for _, name in spec.grid.names]
    arms = {*spec.parameters["strategies"], *spec.parameters["reference_arms"]}
    found = [part for point in points if len(part := rows_of(rows.frame, point, varied))]
    assert sum(map(len, found)) == len(rows.frame)
    for part in found:
        assert part["run_key"].nunique() == 1
        assert sorted(part["strategy"]) == sorted(arms)


def test_keys_are_those_of_this_lab(rows) -> None:  # type: ignore[no-untyped-def]
    """A changed notebook, plan or data set would make the committed rows another experiment's."""
    (made,) = made_with(FOLDER)["versions"]
    if made != dict(versions()):
        pytest.skip("other versions than those that made the rows are installed: keys differ by design")
    digest = notebook_digest(find_notebook(rows.spec.notebook, FOLDER))
    keys = {run_key({**rows.spec.parameters, **point}, digest) for point in rows.spec.grid.points()}
    assert set(rows.frame["run_key"]) <= keys


def test_rows_hold_what_a_claim_needs(rows) -> None:  # type: ignore[no-untyped-def]
    frame = rows.frame
    assert frame["deployed_net_gain_pp"].notna().all()
    assert frame["base_unchanged"].all()
    undeployed = frame[~frame["deployed"].astype(bool)]
    assert (undeployed["deployed_net_gain_pp"] == 0).all()
    # A harmful deployment is one that loses, by the judge's figure.
    assert (
        frame["harmful"].astype(bool) == (frame["deployed"].astype(bool) & (frame["deployed_net_gain_pp"] < 0))
    ).all()
    for arm in ("noop",):
        assert (frame.loc[frame["strategy"] == arm, "deployed_net_gain_pp"] == 0).all()


def test_arms_that_read_no_market_are_the_same_in_every_pool(rows) -> None:  # type: ignore[no-untyped-def]
    for arm in ("prototype_rows", "head_retrain", "lora", "lora_replay", "surgery_only"):
        own = rows.frame[rows.frame["strategy"] == arm]
        assert (own.groupby(["scenario", "n_repair"])["deployed_net_gain_pp"].nunique() == 1).all()


def test_nothing_is_claimed_from_too_few(rows) -> None:  # type: ignore[no-untyped-def]
    contrasts = registered_contrasts(collect_sweep(FOLDER))
    assert {len(c.planned) for c in contrasts} == {13}
    whole = len(contrasts) == 3 * 4 and all(c.is_complete for c in contrasts)
    assert all((c.p is not None) == whole for c in contrasts)
    assert not any("clinc150/small_talk" in {*c.differences, *c.planned} for c in contrasts)
    assert all((c.mean.low is None) == (len(c.differences) < MIN_BLOCKS) for c in contrasts)
