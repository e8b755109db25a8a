"""One row a world: how the base fails, how large every split is, how relevant each pool turned out.

    python experiments/worlds.py --out worlds scan/add-jump banking77/new-intents ...
    python experiments/worlds.py --out worlds --table

Every world writes ``OUT/<world>.json`` when it is done, so a stopped run goes on where it was; ``--table`` prints what
is there as Markdown. Bases and pools are cached in the state folder.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from symbio_lab.codec import read_json, write_json
from symbio_lab.config import load_settings
from symbio_lab.errors import EmptySliceError
from symbio_lab.evaluation.suites import SuiteSizes, failures_of
from symbio_lab.scenarios.catalogue import scenario_names
from symbio_lab.scenarios.recipe import RELEVANCES
from symbio_lab.scenarios.world import World, build_world
from symbio_lab.stats.intervals import to_interval

POOLS = ("high", "medium", "low", "null")


def accuracy(world: World, samples: tuple) -> dict[str, float | int | None]:
    """Return accuracy with its 95 % Clopper-Pearson interval and n."""
    wrong = len(failures_of(world.model, samples))
    found = to_interval(len(samples) - wrong, len(samples))
    return {"value": found.value, "low": found.low, "high": found.high, "n": found.n}


def most_repair(world: World) -> int:
    """Return how many failures an incident can give a healer at most."""
    return len(failures_of(world.model, world.sources.incident.slice_repair))


def describe(name: str, pools: tuple[str, ...]) -> dict:
    """Build one world and its pools and return its row."""
    started = time.perf_counter()
    settings = load_settings().settings
    world = build_world(name, settings=settings)
    row: dict = {"world": name, "notes": world.recipe.notes, "label_shift": world.recipe.label_shift}
    row |= {"task_type": world.recipe.task_type, "disjoint_by": world.recipe.disjoint_by}
    row["base_ready_wall_s"] = time.perf_counter() - started
    sources = world.sources
    row["inside"] = accuracy(world, sources.incident.slice_judge)
    row["outside"] = accuracy(world, sources.incident.control)
    row["failures_for_repair"] = most_repair(world)
    row["sizes"] = {
        "base_train": len(sources.base_train),
        "contributors": len(sources.contributors),
        "repair": len(sources.incident.slice_repair),
        "judge": len(sources.incident.slice_judge),
        "replay": len(sources.incident.replay),
        "control": len(sources.incident.control),
        "probe": len(sources.relevance_probe),
        "probe_control": len(sources.probe_control),
        "out_of_scope": len(sources.incident.out_of_scope),
        "facets": len({s.known_by for s in sources.contributors}),
    }
    try:
        suite = world.incident(SuiteSizes(n_repair=min(16, row["failures_for_repair"])), 0)
        row["gate_controls"] = len(suite.task.control_selection)
    except EmptySliceError as error:
        row["no_incident"] = str(error)
    row["contributor_size"] = world.recipe.contributor_size
    row["pools"] = {}
    for relevance in pools:
        info = world.pool(relevance).info  # type: ignore[arg-type]
        row["pools"][relevance] = {
            "realised_pp": info["realised_relevance_pp"],
            "fix_rate": info["realised_fix_rate"],
            "mean_pp": sum(c["probe_net_gain_pp"] for c in info["contributors"]) / len(info["contributors"]),
            "build_wall_s": info["build_wall_s"],
        }
    return row


def table(out: Path) -> str:
    """Return the finished worlds as a Markdown table."""
    lines = [
        "| world | labels | base inside, outside, % (n) | base train / replay / contributors / repair (failures) / "
        "judge / control / probe / out of scope | facets | realised relevance (best fix rate) high, medium, low, null "
        "| pools, s |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in scenario_names():
        path = out / f"{name.replace('/', '-')}.json"
        if not path.is_file():
            continue
        row = read_json(path)
        n, pools = row["sizes"], row["pools"]
        kind = "outputs" if row["task_type"] == "text_generation" else row["label_shift"]
        shares = ", ".join(f"{100 * row[k]['value']:.1f} ({row[k]['n']})" for k in ("inside", "outside"))
        sizes = (
            f"{n['base_train']} / {n['replay']} / {n['contributors']} / {n['repair']} ({row['failures_for_repair']}) / "
            f"{n['judge']} / {n['control']} / {n['probe']} + {n['probe_control']} / {n['out_of_scope']}"
        )
        gains = ", ".join(
            f"{pools[p]['realised_pp']:+.2f} ({100 * pools[p]['fix_rate']:.0f} %)" if p in pools else "-" for p in POOLS
        )
        seconds = round(sum(p["build_wall_s"] for p in pools.values()))
        lines.append(f"| `{name}` | {kind} | {shares} | {sizes} | {n['facets']} | {gains} | {seconds} |")
    return "\n".join(lines)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("worlds", nargs="*", help="names; none: all")
    parser.add_argument("--out", type=Path, default=Path("worlds"))
    parser.add_argument("--pools", nargs="*", default=list(POOLS), choices=RELEVANCES)
    parser.add_argument("--table", action="store_true", help="print the finished worlds")
    asked = parser.parse_args()
    if not asked.table:
        for name in asked.worlds or scenario_names():
            path = asked.out / f"{name.replace('/', '-')}.json"
            if path.is_file():
                continue
            write_json(path, describe(name, tuple(asked.pools)))
            print(f"{name}: done", flush=True)
    print(table(asked.out))


if __name__ == "__main__":
    main()
