"""Rows of a sweep as Weights & Biases runs: kept in a folder (``offline``), or sent at once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from symbio_lab.codec import write_atomic
from symbio_lab.errors import MissingExtraError, NetworkUnavailableError
from symbio_lab.sweeps.results import SweepRows
from symbio_lab.sweeps.tracked_rows import tracked_rows

SENT = "sent.txt"
"""Row ids that are written already, one a line."""


def export_to_wandb(
    rows: SweepRows,
    folder: Path,
    *,
    project: str | None = None,
    entity: str | None = None,
    mode: Literal["offline", "online"] = "offline",
) -> tuple[int, int]:
    """Write the rows that are not written yet, one run each, in one group named like the sweep.

    Args:
        rows: of the sweep, from ``read_rows``.
        folder: where runs are kept; ``wandb sync`` sends offline ones. A run's id is its row's, so that a row which is
            sent from two folders is one run.
        project: name; None takes the sweep's.
        entity: user or team; None takes the account's own.
        mode: ``online`` needs a network and ``wandb login``.

    Returns:
        Runs written now, and runs that were written before.

    Raises:
        MissingExtraError: wandb is not installed.
        NetworkUnavailableError: ``online``, and the service does not answer or refuses.
        StorageError: the folder cannot be written.
    """
    # Read when wandb is imported: errors of its own are told to nobody.
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    try:
        import wandb
    except ImportError as error:
        raise MissingExtraError("wandb", "wandb") from error
    folder = Path(folder)
    note = folder / SENT
    known = note.read_text(encoding="utf-8").split() if note.is_file() else []
    before, quiet = len(known), wandb.Settings(silent=True, console="off")
    for row in tracked_rows(rows):
        if row.row_id in known:
            continue
        folder.mkdir(parents=True, exist_ok=True)
        try:
            run = wandb.init(
                project=project or rows.spec.name,
                entity=entity,
                id=row.row_id,
                name=row.name,
                group=rows.spec.name,
                job_type=row.arm or None,
                config={**row.parameters, **row.tags},
                dir=str(folder),
                mode=mode,
                resume="allow" if mode == "online" else None,
                settings=quiet,
            )
            run.summary.update(row.figures)
            run.finish()
        except (wandb.Error, OSError) as error:
            first = str(error).splitlines()[0] if str(error) else type(error).__name__
            hint = "log in with wandb login, or leave --online out and send the folder later with wandb sync"
            raise NetworkUnavailableError(f"Weights & Biases took no run: {first}", hint=hint) from error
        known.append(row.row_id)
        write_atomic(note, "".join(f"{row_id}\n" for row_id in known).encode())
    return len(known) - before, before
