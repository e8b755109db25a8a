"""Rows read for ranking, and ranked rows turned into candidates with their manifests.

A manifest is read again from the envelope that was judged; the last few thousand are kept, for the same patches are
found again and again.
"""

from __future__ import annotations

import json
import sqlite3
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from threading import Lock
from typing import Any

from symbio_lab.marketplace.catalogue.card_words import LABEL_SEPARATOR
from symbio_lab.marketplace.catalogue.filtering import Filter, numbers
from symbio_lab.marketplace.catalogue.fusing import CardRow, Ranked
from symbio_lab.marketplace.catalogue.packing import unpack_envelope, unpack_parts
from symbio_lab.records import AdapterSpec, Candidate, ClaimedMetric, FileEntry, PatchManifest
from symbio_lab.trust.envelope import peek_payload
from symbio_lab.trust.manifest import PPM

_KEPT = 4_096


class CandidateReader:
    """Makes candidates; safe to share between threads."""

    def __init__(self) -> None:
        """Start with no manifest kept."""
        self._kept: OrderedDict[bytes, PatchManifest] = OrderedDict()
        self._lock = Lock()

    def candidates(
        self, connection: sqlite3.Connection, ranked: Sequence[Ranked], reason: Callable[[Ranked], str]
    ) -> list[Candidate]:
        """Return a candidate for each ranked row, in order.

        Args:
            connection: of the catalogue, in the state that the rows were read in.
            ranked: rows in their places.
            reason: why a row is where it is.
        """
        if not ranked:
            return []
        statement = (
            "SELECT p.row_id, p.digest, p.problem, p.readable, e.packed FROM patches p "
            f"LEFT JOIN envelopes e ON e.row_id = p.row_id WHERE p.row_id IN ({numbers(r.row.row_id for r in ranked)})"
        )
        stored = {row["row_id"]: row for row in connection.execute(statement)}
        found = []
        for one in ranked:
            row = stored[one.row.row_id]
            manifest = self._manifest(bytes(row["digest"]), row["packed"]) if row["readable"] else None
            problem = row["problem"] or None
            found.append(Candidate(one.row.ref, one.row.market, manifest, one.score, reason(one), problem))
        return found

    def _manifest(self, digest: bytes, packed: bytes) -> PatchManifest:
        with self._lock:
            if digest in self._kept:
                self._kept.move_to_end(digest)
                return self._kept[digest]
        parts = unpack_parts(packed)
        manifest = judged_manifest(parts[0] if parts is not None else peek_payload(unpack_envelope(packed)))
        with self._lock:
            self._kept[digest] = manifest
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return manifest


def judged_manifest(payload: bytes) -> PatchManifest:
    """Return the manifest in a payload that ``payload_to_manifest`` read when its row was judged.

    A tenth of the strict reader's time: what it checks was checked then, and whoever fetches the patch checks again.
    """
    value: Any = json.loads(payload)
    said = value["predicate"]
    patch, adapter, card, sizes = said["patch"], said["adapter"], said["card"], said["sizes"]
    alpha, previous = adapter["alpha"], patch.get("previous")
    return PatchManifest(
        patch_id=patch["id"],
        version=patch["version"],
        base_id=said["base"]["id"],
        base_digest=said["base"]["digest"]["sha256"],
        task_type=said["taskType"],
        adapter=AdapterSpec(
            kind=adapter["kind"],
            rank=adapter["rank"],
            alpha=float(Fraction(alpha) if isinstance(alpha, str) else alpha),
            target_modules=tuple(adapter["targetModules"]),
            head_labels=tuple(adapter["headLabels"]),
            num_features=adapter["numFeatures"],
            dtype=adapter["dtype"],
        ),
        files=tuple(FileEntry(s["name"], s["digest"]["sha256"], sizes[s["name"]]) for s in value["subject"]),
        keyid=said["publisher"]["keyid"],
        title=card["title"],
        scope=card["scope"],
        labels=tuple(card["labels"]),
        domain=card["domain"],
        licence=said["policy"]["licence"],
        training_data=card["trainingData"],
        claims=tuple(ClaimedMetric(c["name"], c["ppm"] / PPM, c["n"]) for c in said["claims"]),
        lineage=tuple(item["sha256"] for item in said["lineage"]),
        issued=said["issued"],
        expires=said["expires"],
        previous=None if previous is None else previous["sha256"],
        schema=said["schema"],
    )


def card_rows(connection: sqlite3.Connection, row_ids: Sequence[int]) -> list[CardRow]:
    """Return what ranking needs of each row, in no particular order."""
    if not row_ids:
        return []
    markets = dict(connection.execute("SELECT market_id, uri FROM markets").fetchall())
    rows = connection.execute(
        "SELECT p.row_id, p.ref, p.market_id, c.words, p.labels, p.readable FROM patches p "
        f"LEFT JOIN cards c ON c.row_id = p.row_id WHERE p.row_id IN ({numbers(row_ids)})"
    )
    return [
        CardRow(row_id, ref, markets[market_id], words or "", frozenset(labels.split(LABEL_SEPARATOR)), bool(readable))
        for row_id, ref, market_id, words, labels, readable in rows
    ]


def first_rows(connection: sqlite3.Connection, wanted: Filter, most: int) -> list[int]:
    """Return the numbers of up to ``most`` rows that pass, whichever come first."""
    statement = f"SELECT p.row_id FROM {wanted.source} WHERE {wanted.clause} LIMIT ?"
    return [int(row[0]) for row in connection.execute(statement, (*wanted.values, most))]


def rows_with_prior(
    connection: sqlite3.Connection, prior: Mapping[str, float], wanted: Filter, depth: int
) -> list[int]:
    """Return the numbers of the passing rows of the ``depth`` patches that the weights speak for most."""
    best = sorted(prior, key=lambda digest: (-prior[digest], digest))[:depth]
    statement = f"SELECT p.row_id FROM patches p WHERE p.digest = ? AND {wanted.clause}"
    values = [(bytes.fromhex(digest), *wanted.values) for digest in best]
    return [int(row[0]) for bound in values for row in connection.execute(statement, bound)]


def prior_of_rows(
    connection: sqlite3.Connection, row_ids: Sequence[int], prior: Mapping[str, float] | None
) -> dict[int, float]:
    """Return row number -> prior, for the rows whose payload has one."""
    if not prior or not row_ids:
        return {}
    rows = connection.execute(f"SELECT row_id, digest FROM patches WHERE row_id IN ({numbers(row_ids)})")
    return {int(row_id): prior[digest.hex()] for row_id, digest in rows if digest.hex() in prior}
