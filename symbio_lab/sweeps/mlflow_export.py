"""Rows of a sweep as MLflow runs, on a tracking server or in a database file."""

from __future__ import annotations

import os
from pathlib import Path

from symbio_lab.errors import MissingExtraError, StorageError
from symbio_lab.sweeps.results import SweepRows
from symbio_lab.sweeps.tracked_rows import tracked_as, tracked_rows

ROW_TAG = "symbio.row"
"""Tag that holds a row's content id: what is there already is not sent again."""
_PAGE = 1000


def export_to_mlflow(rows: SweepRows, uri: str, *, experiment: str | None = None) -> tuple[int, int]:
    """Send the rows that are not there yet.

    Args:
        rows: of the sweep, from ``read_rows``.
        uri: of the tracking server (``http://127.0.0.1:5000``), or ``sqlite:///FILE``.
        experiment: name; None takes the sweep's.

    Returns:
        Runs sent now, and runs that were there.

    Raises:
        MissingExtraError: MLflow is not installed.
        StorageError: the server cannot be reached, or the database cannot be written.
    """
    # Read when MLflow is imported: nothing is told to anybody but the server that was named.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    try:
        from mlflow.entities import Metric, Param, RunTag
        from mlflow.exceptions import MlflowException
        from mlflow.tracking import MlflowClient
    except ImportError as error:
        raise MissingExtraError("mlflow", "mlflow") from error
    name, sent = experiment or rows.spec.name, 0
    try:
        client = MlflowClient(tracking_uri=uri)
        found = client.get_experiment_by_name(name)
        # Nothing but figures is sent; a folder is named all the same, or one would be made where the process stands.
        place = (Path(uri.removeprefix("sqlite:///")).absolute().parent / "artifacts").as_uri()
        key = found.experiment_id if found else client.create_experiment(name, place if "sqlite:" in uri else None)
        known = _known(client, key)
        for row in tracked_rows(rows):
            if row.row_id in known:
                continue
            run = client.create_run(key, tags={ROW_TAG: row.row_id}, run_name=row.name)
            at = int(run.info.start_time)
            client.log_batch(
                run.info.run_id,
                metrics=[Metric(name, value, at, 0) for name, value in row.figures.items()],
                params=[Param(name, tracked_as(value)) for name, value in row.parameters.items()],
                tags=[RunTag(name, value) for name, value in row.tags.items()],
            )
            client.set_terminated(run.info.run_id)
            sent += 1
    except (MlflowException, OSError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        hint = "check the address; what was sent stays, and the same command goes on"
        raise StorageError(f"cannot write to MLflow at {uri}: {first}", hint=hint) from error
    return sent, len(known)


def _known(client: object, experiment: str) -> set[str]:
    """Return the row ids of finished runs; one that broke off while it was sent is sent again."""
    known: set[str] = set()
    token = None
    while True:
        page = client.search_runs(  # type: ignore[attr-defined]
            [experiment], filter_string="attributes.status = 'FINISHED'", max_results=_PAGE, page_token=token
        )
        known |= {run.data.tags[ROW_TAG] for run in page if ROW_TAG in run.data.tags}
        token = page.token
        if not token:
            return known
