"""Results that several comparisons have in common, computed once: cells that no pool decides, and judged outputs.

Layout of the shared folder::

    cells/<key>/cell.json     a cell of an arm that reads no market; every pool takes its row from there
    outputs/<key>.parquet     one patch's answers to one list of texts, for the judge

Rules:
    1. Only an arm that declares ``reads_market = False`` is shared, and such an arm is given no market.
    2. Outputs serve the judge alone, whose work no arm pays for: what a healer runs is always run, so that its seconds
       are its own.
    3. Outputs are kept for a list of texts as a whole. Batches decide the last digits of a confidence; answers put
       together from other lists would not be equal to those of a run without this folder.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from filelock import FileLock

from symbio_lab import __version__
from symbio_lab.codec import read_json, write_atomic, write_json
from symbio_lab.comparison.market import Market
from symbio_lab.comparison.plan import FORMAT, REFERENCE_ARMS, ComparisonPlan
from symbio_lab.errors import DataError
from symbio_lab.healing.catalogue import healing_strategy
from symbio_lab.models.protocol import PatchableModel, Predictions
from symbio_lab.records import content_id

_OF_POOL = ("pool", "max_marketplace_patches")
"""Settings of a plan that an arm without a market does not see."""


def reads_market(strategy: str) -> bool:
    """Return whether an arm may look at the market; strategies that say nothing may."""
    return strategy in REFERENCE_ARMS or bool(getattr(healing_strategy(strategy), "reads_market", True))


class SharedResults:
    """A folder of results that runs of one sweep have in common; processes may use it side by side."""

    def __init__(self, folder: Path) -> None:
        """Remember the folder; it is made when something is kept."""
        self._folder = Path(folder)

    def cell(
        self,
        plan: ComparisonPlan,
        strategy: str,
        seed: int,
        world_digest: str,
        pool: Market,
        compute: Callable[[Path], Mapping[str, Any]],
    ) -> dict[str, Any]:
        """Return a cell of an arm that reads no market, as if it had been computed for this pool.

        Args:
            plan: of the comparison that asks.
            strategy: an arm that reads no market.
            seed: of the incident.
            world_digest: of the world.
            pool: whose name and figures the row gets.
            compute: makes the cell in a work folder when nobody has yet.

        Raises:
            StorageError: the folder cannot be written.
        """
        settings = {k: v for k, v in asdict(plan).items() if k not in (*_OF_POOL, "strategies", "seeds")}
        del settings["reference_arms"]
        # The judge measures a pool's trigger on every patch, surgery's too: another trigger is another row.
        trigger = asdict(pool.backdoor) if pool.backdoor else None
        key = content_id([FORMAT, __version__, settings, strategy, seed, world_digest, trigger])[:20]
        folder = self._folder / "cells" / key
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_suffix(".lock")):
            if not (folder / "cell.json").is_file():
                write_json(folder / "cell.json", compute(folder))
        cell: dict[str, Any] = read_json(folder / "cell.json")
        own = {
            "pool": plan.pool,
            "pool_digest": pool.digest,
            "realised_relevance_pp": pool.info.get("realised_relevance_pp"),
        }
        return {**cell, "row": {**cell["row"], **own}}

    def predictions(
        self, model: PatchableModel, patch_digest: str, texts: Sequence[str], predict: Callable[[], Predictions]
    ) -> Predictions:
        """Return a patch's answers to a list of texts, computed by whoever asks first.

        Args:
            model: the base.
            patch_digest: of the patch; empty for the base itself.
            texts: N inputs.
            predict: runs the model.

        Raises:
            DataError: what is kept is damaged; the file's name is in the message.
        """
        made_by = [FORMAT, __version__, model.digest, model.device, model.dtype]
        path = self._folder / "outputs" / f"{content_id([made_by, patch_digest, list(texts)])[:20]}.parquet"
        if path.is_file():
            return _read(path, len(texts))
        found = predict()
        _write(path, found)
        return found


def _write(path: Path, found: Predictions) -> None:
    import pyarrow
    import pyarrow.parquet

    confidences = pyarrow.array(found.confidences, pyarrow.float64())
    table = pyarrow.table({"output": pyarrow.array(found.outputs), "confidence": confidences})
    table = table.replace_schema_metadata({"num_tokens": str(found.num_tokens)})
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, lambda temporary: pyarrow.parquet.write_table(table, temporary))


def _read(path: Path, num_texts: int) -> Predictions:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path)
        outputs, confidences = table["output"].to_pylist(), table["confidence"].to_pylist()
        num_tokens = int(table.schema.metadata[b"num_tokens"])
    except (OSError, KeyError, TypeError, ValueError, pyarrow.ArrowException) as error:
        raise DataError(f"{path} is damaged: {error}", hint="delete the file; it is computed again") from error
    if len(outputs) != num_texts:
        raise DataError(f"{path} holds {len(outputs)} answers, not {num_texts}", hint="delete the file")
    return Predictions(tuple(outputs), tuple(confidences), num_tokens)
