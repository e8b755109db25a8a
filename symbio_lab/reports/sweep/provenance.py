"""Where a sweep's figures come from: the plan, digests, seeds, devices, versions."""

from __future__ import annotations

from typing import Any

from symbio_lab.display.bundles import Bundle
from symbio_lab.display.prose import fold
from symbio_lab.display.table import Column, TableRow, name, table
from symbio_lab.records import content_id
from symbio_lab.reports.provenance import lock_digest, versions
from symbio_lab.reports.sweep.results import SweepResults
from symbio_lab.sweeps.results import made_with

DIGESTS = ("dataset_digest", "base_digest", "pool_digest", "judge_digest")


def sweep_provenance(results: SweepResults) -> Bundle:
    """Return everything needed to run the sweep again, folded."""
    frame, spec = results.frame, results.rows.spec
    entries = [("sweep", spec.name), ("plan (content id)", content_id(spec.model_dump(mode="json")))]
    entries += [("runs", f"{results.rows.num_finished:,} of {results.rows.num_runs:,}"), ("rows", f"{len(frame):,}")]
    entries += [(key.replace("_", " "), _show(value)) for key, value in sorted(spec.parameters.items())]
    for column, title in (("seed", "incident seeds"), ("world_seed", "world seeds"), ("gate", "gate")):
        entries.append((title, ", ".join(sorted({str(v) for v in frame[column]}))))
    placed = frame[["device", "dtype"]].drop_duplicates().itertuples(index=False)
    entries.append(("device, dtype", "; ".join(sorted(f"{device}, {dtype}" for device, dtype in placed))))
    if "base_unchanged" in frame.columns:
        entries.append(
            ("base weights unchanged after every arm", "yes" if bool(frame["base_unchanged"].all()) else "NO")
        )
    made, modes = _made_with(results)
    entries += [("versions that made the figures", made)] if made else []
    entries += [("kernels", modes)] if modes else []
    entries += [("versions that made this report", versions()), ("lock (constraints.txt)", lock_digest())]
    rows: list[TableRow] = [[label, name(value)] for label, value in entries]
    return fold(
        "Provenance: plan, digests, seeds, versions",
        [table([Column("what"), Column("value")], rows), _digests(frame)],
    )


def _digests(frame: Any) -> Bundle:
    present = [c for c in DIGESTS if c in frame.columns]
    columns = [Column("incident"), *(Column(c.replace("_", " ")) for c in present)]
    rows: list[TableRow] = []
    for scenario, part in frame.groupby("scenario", sort=True):
        found = [", ".join(sorted({str(v)[:16] for v in part[c].dropna()})) for c in present]
        rows.append([name(scenario), *(name(value) for value in found)])
    return table(columns, rows, "First 16 digits; one pool digest for each pool, one judge digest for each seed.")


def _made_with(results: SweepResults) -> tuple[str, str]:
    """Return the versions that made the figures, and in which kind of kernel; empty where nothing is known."""
    found = made_with(results.rows.folder)
    listed = [", ".join(f"{k} {v}" for k, v in sorted(versions.items())) for versions in found["versions"]]
    return "; ".join(listed), ", ".join(found["kernel_modes"])


def _show(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return "default" if value is None else str(value)
