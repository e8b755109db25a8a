"""Do pattern finders find the slices that really fail? Planted slices, and four real sets with known groups.

Measured for each method, on the same traffic and embeddings:

- precision at 10: for each known slice, the share of the ten most typical rows of the *best* predicted slice that
  belong to it (Eyuboglu et al. 2022, section 5), averaged over known slices; it favours who predicts many slices;
- found: share of known slices with a precision at 10 of at least .8;
- real share: share of predicted slices whose ten most typical rows lie to at least .6 in one known slice. On real sets
  a predicted slice may be real and yet be none of the groups that the set names, so this is a lower bound there.

Run: ``python benchmarks/slices.py`` (``--quick`` for fewer planted worlds, ``--out FILE`` to keep the figures as JSON).
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from slice_data import REAL, SliceWorld, planted

from symbio_lab.codec import write_json
from symbio_lab.monitor.clusters import Neighbourhood, failure_clusters
from symbio_lab.monitor.mixture import mixture_slices
from symbio_lab.monitor.slices import SliceSettings, find_slices

Rows = NDArray[np.intp]
TARGET_PRECISION, TARGET_REAL = 0.9, 0.95
OUTSIDE_TUNING = range(100, 110)
"""Seeds of the planted worlds that are reported; others may be looked at while a method is built."""


def ours(world: SliceWorld, seed: int) -> list[Rows]:
    """Conditions and gated groups, confirmed on the half that was not searched."""
    found = find_slices(world.traffic, world.embeddings, settings=SliceSettings(seed=seed))
    return [np.array(one.members, dtype=np.intp) for one in found.confirmed]


def ours_unconfirmed(world: SliceWorld, seed: int) -> list[Rows]:
    """The same before confirmation."""
    found = find_slices(world.traffic, world.embeddings, settings=SliceSettings(seed=seed))
    return [np.array(one.members, dtype=np.intp) for one in (*found.confirmed, *found.unconfirmed)]


def ours_without_labels(world: SliceWorld, seed: int) -> list[Rows]:
    """Without conditions on gold labels, which name three of the five planted slices outright."""
    found = find_slices(world.traffic, world.embeddings, settings=SliceSettings(seed=seed, labels=False))
    return [np.array(one.members, dtype=np.intp) for one in found.confirmed]


def conditions_only(world: SliceWorld, seed: int) -> list[Rows]:
    """Conditions without groups."""
    found = find_slices(world.traffic, None, settings=SliceSettings(seed=seed))
    return [np.array(one.members, dtype=np.intp) for one in found.confirmed]


def hdbscan(world: SliceWorld, seed: int) -> list[Rows]:
    """PCA and HDBSCAN on the failures alone."""
    groups = failure_clusters(world.embeddings, world.traffic.failed, gate=False)
    return [_closest(group, world) for group in groups]


def _closest(group: Neighbourhood, world: SliceWorld) -> Rows:
    failures = np.flatnonzero(world.traffic.failed)
    cosines = group.cosines(world.embeddings)[failures]
    inside = cosines >= group.min_cosine
    return failures[inside][np.argsort(-cosines[inside], kind="stable")]


def kmeans(world: SliceWorld, seed: int) -> list[Rows]:
    """Fifteen means of the failures alone (as SEAL, Rajani et al. 2022)."""
    failures = np.flatnonzero(world.traffic.failed)
    points = world.embeddings[failures]
    fitted = KMeans(15, n_init=4, random_state=seed).fit(points)
    found = []
    for number in range(15):
        rows = np.flatnonzero(fitted.labels_ == number)
        centre = points[rows].mean(axis=0)
        found.append(failures[rows][np.argsort(-(points[rows] @ centre), kind="stable")])
    return found


def mixture(world: SliceWorld, seed: int) -> list[Rows]:
    """Error-aware mixture (Domino)."""
    gold = [str(e) for e in world.traffic.expected]
    shares = mixture_slices(world.embeddings, gold, world.traffic.actual, seed=seed)
    return [
        np.argsort(-share - 1e-6 * world.traffic.failed, kind="stable")[: max(10, int(share.sum()))] for share in shares
    ]


METHODS: dict[str, Callable[[SliceWorld, int], list[Rows]]] = {
    "conditions + gated groups, confirmed (ours)": ours,
    "  the same, unconfirmed": ours_unconfirmed,
    "  the same, without gold labels": ours_without_labels,
    "  conditions only, confirmed": conditions_only,
    "HDBSCAN on failures": hdbscan,
    "k-means on failures": kmeans,
    "error-aware mixture (Domino)": mixture,
}
OURS = next(iter(METHODS))
RIVALS = ("HDBSCAN on failures", "k-means on failures", "error-aware mixture (Domino)")


def score(world: SliceWorld, predicted: Sequence[Rows]) -> dict[str, Any]:
    """Return the figures of one method on one world."""
    usable = [rows[:10] for rows in predicted if len(rows) >= 5]
    best = {
        name: max((float(inside[rows].mean()) for rows in usable), default=0.0) for name, inside in world.slices.items()
    }
    real = [
        max((float(inside[rows].mean()) for inside in world.slices.values()), default=0.0) >= 0.6 for rows in usable
    ]
    return {
        "precision_at_10": float(np.mean(list(best.values()))),
        "found": float(np.mean([value >= 0.8 for value in best.values()])),
        "real_share": float(np.mean(real)) if real else None,
        "num_predicted": len(usable),
        "by_slice": best,
    }


def measure(worlds: Sequence[SliceWorld], seeds: Sequence[int]) -> dict[str, Any]:
    """Return, for each method, its figures on each world, one seed a world."""
    table: dict[str, Any] = {}
    for name, method in METHODS.items():
        rows = []
        for world, seed in zip(worlds, seeds, strict=True):
            begun = time.process_time()
            predicted = method(world, seed)
            rows.append({**score(world, predicted), "cpu_s": round(time.process_time() - begun, 3)})
        table[name] = rows
    return table


def mean_of(rows: Sequence[dict[str, Any]], field: str) -> float | None:
    """Return the mean of a field over worlds where it is defined."""
    values = [row[field] for row in rows if row[field] is not None]
    return float(np.mean(values)) if values else None


def show(title: str, table: dict[str, Any]) -> None:
    """Print one table."""
    print(f"\n{title}")
    print(f"{'method':46s} {'P@10':>6s} {'found':>6s} {'real':>6s} {'slices':>7s} {'cpu s':>6s}")
    for name, rows in table.items():
        cells = [mean_of(rows, field) for field in ("precision_at_10", "found", "real_share", "num_predicted", "cpu_s")]
        print(f"{name:46s} " + " ".join("     -" if c is None else f"{c:6.2f}" for c in cells))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two planted worlds")
    parser.add_argument("--tuning", action="store_true", help="other planted worlds than those that are reported")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    seeds = list(range(10) if arguments.tuning else OUTSIDE_TUNING)[: 2 if arguments.quick else None]
    results: dict[str, Any] = {"planted": measure([planted(seed) for seed in seeds], seeds)}
    show(f"planted: {len(seeds)} worlds, five slices each", results["planted"])
    best = results["planted"][OURS]
    precision, real = mean_of(best, "precision_at_10"), mean_of(best, "real_share")
    print(f"targets on planted slices: P@10 {precision:.2f} (at least {TARGET_PRECISION}),")
    print(f"    real share {real:.2f} (at least {TARGET_REAL})")
    for make in REAL:
        world = make()
        results[world.name] = measure([world] * 5, range(5))
        sizes = {
            name: f"{int(rows.sum())} rows, {world.traffic.failed[rows].mean():.2f} wrong"
            for name, rows in world.slices.items()
        }
        show(
            f"{world.name}: {len(world.traffic)} rows, {world.traffic.failed.mean():.2f} wrong; {sizes}",
            results[world.name],
        )
        print("by slice:", json.dumps({m.strip(): _mean_by_slice(rows) for m, rows in results[world.name].items()}))
        for field in ("precision_at_10", "real_share"):
            own = mean_of(results[world.name][OURS], field) or 0.0
            others = [mean_of(results[world.name][name], field) or 0.0 for name in RIVALS]
            place = "best" if own > max(others) else "level with the best" if own == max(others) else "NOT best"
            print(f"{field} on {world.name}: {own:.2f} against at most {max(others):.2f}: {place}")
    if arguments.out:
        write_json(arguments.out, results)


def _mean_by_slice(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    return {name: round(float(np.mean([row["by_slice"][name] for row in rows])), 2) for name in rows[0]["by_slice"]}


if __name__ == "__main__":
    main()
