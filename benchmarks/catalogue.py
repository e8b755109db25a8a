"""What discovery costs at a thousand, a hundred thousand and a million patches: sync, search, recall, memory, disk.

For each size a market of generated, really signed manifests (``generated_manifests.py``) is brought into a catalogue:

1. Sync: every envelope read, verified, judged and stored; again with nothing changed; again with 1 in 1,000 changed.
2. Vectors of two kinds (``clustered``, ``hard``), 384 numbers each, appended beside the rows; the derived indexes
   (faiss from 200,000 vectors on, or from any number for the figures; tantivy).
3. Search: failure-like queries (a dozen words of a card and its topic, labels, a vector near the card's), most of them
   for one of the bases; p50 and p95 of the whole search, candidates with their manifests included, in wall time, and
   p50 of the processor's time, for where other work shares the cores:
   FTS5 with exact or pruned vectors, FTS5 with faiss, tantivy with faiss.
4. Recall@10 of the nearest patches that pass the filter, against the exact answer, and the share of the first ten
   candidates that the exact fused search has too.
5. Every signature verified again from the stored envelopes, one core, one process.

Beyond ``JUDGE_UP_TO`` patches the first sync is left out and its rows are stored without asking the trust rules, whose
cost for a manifest does not depend on how many there are; the later syncs and the verification are real there too.

A build is kept under ``--folder`` and used again, so a run that was stopped goes on where it was. Peak memory is that
of this process; ``--sizes`` are run in processes of their own, so that no size sees another's memory.

One thread: with two, the linear algebra's idle thread spins and every search takes twice as long.

Run: ``python benchmarks/catalogue.py`` (1,000, 100,000 and a million: about half an hour; ``--quick`` for 1,000,
``--sizes 1000 100000`` for some; ``--folder DIR`` to keep what was built, ``--out FILE`` to keep the figures as JSON).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
from generated_manifests import (
    BASE_DIGESTS,
    BLOCK,
    NOW,
    NUM_DIMS,
    VOCABULARY,
    GeneratedMarket,
    VectorSpace,
    card_of,
    generated_policy,
    reference,
    topic_words_cached,
)

from symbio_lab.codec import write_json
from symbio_lab.marketplace.catalogue import hybrid
from symbio_lab.marketplace.catalogue.approximate import build_index
from symbio_lab.marketplace.catalogue.dense import DenseIndex, best_by_vector
from symbio_lab.marketplace.catalogue.embedding import embed_missing
from symbio_lab.marketplace.catalogue.filtering import accepted_filter
from symbio_lab.marketplace.catalogue.hybrid import Catalogue, vectors_folder
from symbio_lab.marketplace.catalogue.judging import JudgedOffer, MarketRules
from symbio_lab.marketplace.catalogue.reading import judged_manifest
from symbio_lab.marketplace.catalogue.rejudging import verify_signatures
from symbio_lab.marketplace.catalogue.storing import market_number, open_catalogue, write_offers
from symbio_lab.marketplace.catalogue.syncing import SyncReport, sync_market
from symbio_lab.marketplace.catalogue.tantivy_text import update_text_index
from symbio_lab.marketplace.catalogue.text_search import base_share
from symbio_lab.marketplace.catalogue.vectors import add_vectors, find_set
from symbio_lab.marketplace.index import IndexEntry
from symbio_lab.records import SearchQuery
from symbio_lab.store.database import Database
from symbio_lab.trust.envelope import peek_payload

SIZES = (1_000, 100_000, 1_000_000)
ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
QUERIES = 120
JUDGE_UP_TO = 200_000
"""Patches up to which the first sync judges every manifest; beyond, the rows are stored without (``fill``)."""
KINDS = ("clustered", "hard")
WAYS = {
    "fts5 + pruned": {"tantivy": False, "faiss": False},
    "fts5 + faiss": {"tantivy": False, "faiss": True},
    "tantivy + faiss": {"tantivy": True, "faiss": True},
}
TARGETS_MS = {(100_000, "fts5"): 15.0, (1_000_000, "fts5"): 40.0, (1_000_000, "tantivy"): 5.0}
"""(patches, text index) -> aim for the median search."""
RECALL_TARGET, VERIFY_TARGET_S = 0.99, 120.0


class ChangingMarket(GeneratedMarket):
    """The same market a day later: one offer in ``every`` is signed anew under a new token."""

    def __init__(self, count: int, every: int, day: int) -> None:
        """Name the offers that change."""
        super().__init__(count)
        self.every, self.day = every, day

    def list_tokens(self) -> Mapping[str, str]:
        """Return the tokens; those of the changed offers say the day."""
        tokens = dict(super().list_tokens())
        for ref in list(tokens)[self.day % self.every :: self.every]:
            tokens[ref] += f"d{self.day}"
        return tokens


def peak_mib() -> float:
    """Return the peak resident memory of this process, mapped files included, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """Return the seconds that a call took, and what it returned."""
    begun = time.perf_counter()
    found = call()
    return time.perf_counter() - begun, found


def size_mib(folder: Path, pattern: str) -> float:
    """Return what files under a folder take on disk, in MiB."""
    return sum(path.stat().st_size for path in folder.glob(pattern) if path.is_file()) / 2**20


def build(folder: Path, count: int) -> dict[str, Any]:
    """Sync and embed; return the seconds of each step. What an earlier call built stays and is not timed again."""
    figures_file = folder / "build.json"
    figures: dict[str, Any] = json.loads(figures_file.read_text()) if figures_file.is_file() else {}
    path = folder / "catalogue.db"
    database, vectors = open_catalogue(path), vectors_folder(path)

    def step(name: str, call: Callable[[], Any]) -> None:
        if name in figures:
            return
        seconds, found = timed(call)
        figures[name] = {"s": seconds, "result": _short(found), "rss_mib": peak_mib()}
        write_json(figures_file, figures)
        print(f"    {name:<28}{seconds:9.2f} s  {_short(found)}", flush=True)

    rules = MarketRules(generated_policy(), NOW)
    if count > JUDGE_UP_TO:
        step("store unjudged", lambda: fill(database, count, rules))
    step("make manifests (1 in 10)", lambda: [GeneratedMarket(count).read_manifest(r) for r in _tenth(count)][:0])
    step("sync", lambda: sync_market(database, GeneratedMarket(count), rules))
    step("sync, nothing new", lambda: sync_market(database, GeneratedMarket(count), rules))
    step("sync, 1 in 1,000 new", lambda: sync_market(database, ChangingMarket(count, min(count, 1_000), 1), rules))
    for kind in KINDS:
        space = VectorSpace(kind)
        if count > JUDGE_UP_TO:
            step(f"store vectors, {kind}", lambda: fill_vectors(database, vectors, space))  # noqa: B023
        step(f"vectors, {kind}", lambda: embed_missing(database, vectors, space.embed, space.name, batch=BLOCK))  # noqa: B023
        step(f"faiss, {kind}", lambda: build_index(database, vectors, space.name, least=1_000))  # noqa: B023
    step("tantivy", lambda: update_text_index(database, vectors))
    return figures


def fill(database: Database, count: int, rules: MarketRules, chunk: int = 5_000) -> int:
    """Store every offer as a sync would, but without asking the trust rules first; return how many were stored.

    Which rules pass costs the same for a manifest at any size, and is measured at the smaller ones. A fill that was
    stopped goes on where it was.
    """
    market = GeneratedMarket(count)
    tokens = market.list_tokens()
    with database.write() as connection:
        market_id = market_number(connection, market.uri)
        known = int(connection.execute("SELECT count(*) FROM patches").fetchone()[0])
    for first in range(known, count, chunk):
        offers = []
        for number in range(first, min(first + chunk, count)):
            ref = reference(number)
            data = market.read_manifest(ref)
            payload = peek_payload(data)
            manifest = judged_manifest(payload)
            digest = hashlib.sha256(payload).hexdigest()
            problem = None if manifest.keyid in rules.policy.keys else "unknown_key"
            entry = IndexEntry(ref, market.uri, manifest, digest, manifest.keyid, problem, problem or "")
            level = "" if problem else "signed"
            offers.append(JudgedOffer(entry, data, level, manifest.expires, tokens[ref]))
        write_offers(database, market_id, rules.digest, offers, {})
        if first % 50_000 == 0:
            print(f"      {first:,} stored", flush=True)
    return count - known


def fill_vectors(database: Database, folder: Path, space: VectorSpace) -> int:
    """Store the vectors of all accepted rows, a block at a time, without reading their cards; return how many."""
    num = last = 0
    while True:
        with database.read() as connection:
            found = find_set(connection, space.name)
            rows = connection.execute(
                "SELECT p.row_id, p.ref FROM patches p WHERE p.row_id > ? AND p.problem = '' AND NOT EXISTS "
                "(SELECT 1 FROM vectors v WHERE v.row_id = p.row_id AND v.set_id = ?) ORDER BY p.row_id LIMIT ?",
                (last, found.set_id if found else 0, 5 * BLOCK),
            ).fetchall()
        if not rows:
            return num
        last = rows[-1]["row_id"]
        numbers = [int(row["ref"][-7:]) for row in rows]
        units = np.stack([space.block(n // BLOCK)[n % BLOCK] for n in numbers])
        num += add_vectors(database, folder, space.name, [r["row_id"] for r in rows], units, num_dims=NUM_DIMS)


def _tenth(count: int) -> list[str]:
    return GeneratedMarket(count).list_refs()[::10]


def _short(found: Any) -> str:
    if isinstance(found, SyncReport):
        return f"{found.num_read} read, {found.num_written} written, {found.num_rejudged} judged again"
    return "" if isinstance(found, list) else str(found)


def make_queries(count: int, space: VectorSpace, num: int, seed: int = 1) -> list[tuple[SearchQuery, np.ndarray]]:
    """Return queries like those that a failure pattern gives, each with its vector."""
    rng = np.random.default_rng(seed)
    base_weights = np.arange(1, len(BASE_DIGESTS) + 1) ** -1.1
    base_weights /= base_weights.sum()
    found = []
    for number in rng.integers(0, count, size=num).tolist():
        card = card_of(number)
        own = topic_words_cached(card["topic"])
        words = [*rng.choice(card["scope"].split(), size=8), *rng.choice(own, size=8)]
        words += [VOCABULARY[i] for i in rng.integers(0, 60, size=16)]  # what everybody says
        base = BASE_DIGESTS[int(rng.choice(len(BASE_DIGESTS), p=base_weights))] if rng.random() < 0.8 else None
        query = SearchQuery(
            "text_classification",
            " ".join(words),
            base_digest=base,
            labels=tuple(card["labels"]),
            licences=("MIT", "Apache-2.0") if rng.random() < 0.25 else (),
            max_results=20,
        )
        found.append((query, space.query(number, rng)))
    return found


def measure(
    path: Path, count: int, space: VectorSpace, ways: Mapping[str, dict[str, Any]], num: int = QUERIES
) -> dict[str, Any]:
    """Time every way of searching by turns; compare each with the exact answer."""
    queries = make_queries(count, space, num)
    catalogues: dict[str, Catalogue] = {}
    for name, way in ways.items():
        catalogues[name] = Catalogue(path, None, space.name, use_tantivy=way["tantivy"])
        catalogues[name]._dense = _Dense(vectors_folder(path), space.name, use_faiss=way["faiss"])
    exact = Catalogue(path, None, space.name, use_tantivy=False)
    exact._dense = _Dense(vectors_folder(path), space.name, use_faiss=False)
    times: dict[str, list[float]] = {name: [] for name in ways}
    cpu: dict[str, list[float]] = {name: [] for name in ways}
    overlap: dict[str, list[float]] = {name: [] for name in ways}
    for query, vector in queries[:20]:  # files and manifests are warm after these, as in a process that goes on
        for catalogue in catalogues.values():
            catalogue.search(query, now=NOW, vector=vector)
    for query, vector in queries[20:]:
        first = {c.ref for c in exact.search(replace(query, max_results=10), now=NOW, vector=vector, exact=True)[:10]}
        for name, catalogue in catalogues.items():
            begun = time.process_time()
            seconds, found = timed(lambda: catalogue.search(query, now=NOW, vector=vector))  # noqa: B023
            cpu[name].append(1_000 * (time.process_time() - begun))
            times[name].append(1_000 * seconds)
            if first:
                overlap[name].append(len(first & {c.ref for c in found[:10]}) / len(first))
    figures: dict[str, Any] = {}
    truth = nearest(exact, queries, exact=True)
    for name in ways:
        found_by = nearest(catalogues[name], queries)
        recall = float(np.mean([len(set(t) & set(f)) / len(t) for t, f in zip(truth, found_by, strict=True) if t]))
        figures[name] = {
            "p50_ms": float(np.percentile(times[name], 50)),
            "p95_ms": float(np.percentile(times[name], 95)),
            "p50_cpu_ms": float(np.percentile(cpu[name], 50)),
            "recall_at_10": recall,
            "same_first_10": float(np.mean(overlap[name])),
        }
        shown = figures[name]
        aim = TARGETS_MS.get((count, "tantivy" if ways[name]["tantivy"] else "fts5"))
        print(
            f"    {space.kind:<10}{name:<18}p50 {shown['p50_ms']:7.2f} ms  p95 {shown['p95_ms']:7.2f} ms  "
            f"(p50 of the processor's time {shown['p50_cpu_ms']:6.2f} ms)  "
            f"recall@10 {recall:.4f}  first ten as exact {shown['same_first_10']:.3f}"
            + (f"  (aim {aim:g} ms)" if aim else ""),
            flush=True,
        )
    return figures


class _Dense(DenseIndex):
    """Vectors with or without their faiss index, whatever lies there."""

    def __init__(self, folder: Path, embedder: str, *, use_faiss: bool) -> None:
        super().__init__(folder, embedder)
        self._use_faiss = use_faiss

    def mapped(self, connection: Any) -> Any:
        found = super().mapped(connection)
        if not self._use_faiss:
            self._approximate = None
        return found


def nearest(
    catalogue: Catalogue, queries: list[tuple[SearchQuery, np.ndarray]], *, exact: bool = False
) -> list[list[int]]:
    """Return the ten nearest rows that fit each query, as a search by meaning finds them."""
    found: list[list[int]] = []
    with catalogue.database.read() as connection:
        for query, vector in queries:
            wanted = accepted_filter(connection, query, now=NOW)
            share = base_share(connection, wanted)
            assert catalogue._dense is not None
            mapped = catalogue._dense.mapped(connection)
            scan = catalogue._dense.scan(connection, vector, wanted, share, exact=exact)
            if mapped is None or scan is None:
                found.append([])
                continue
            passing = 1.0 if share < hybrid.FEW else share
            depth = 10 if exact else hybrid.DEPTH
            found.append(best_by_vector(connection, scan, mapped.described, wanted, depth, share=passing)[:10])
    return found


def run_size(count: int, folder: Path) -> dict[str, Any]:
    """Build and measure one size; return its figures."""
    print(f"  {count:,} patches", flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "catalogue.db"
    figures: dict[str, Any] = {"count": count, "build": build(folder, count)}
    figures["search"] = {kind: measure(path, count, VectorSpace(kind), WAYS) for kind in KINDS}
    figures["search_rss_mib"] = peak_mib()
    rules = MarketRules(generated_policy(), NOW)
    seconds, report = timed(lambda: verify_signatures(open_catalogue(path), 1, rules))
    if report.damaged:
        raise SystemExit(f"{len(report.damaged)} signatures do not hold: {report.damaged[:3]}")
    figures["verify"] = {"s": seconds, "num": report.num_checked, "per_s": report.num_checked / seconds}
    figures["disk_mib"] = {
        "database": size_mib(folder, "catalogue.db*"),
        "vectors and heads, each kind": size_mib(vectors_folder(path), "1-*-*.npy"),
        "faiss, each kind": size_mib(vectors_folder(path), "1-*.faiss"),
        "tantivy": size_mib(vectors_folder(path), "text-*/*"),
    }
    print(
        f"    signatures verified again     {seconds:9.2f} s  {report.num_checked / seconds:,.0f} a second"
        f" (aim: a million in {VERIFY_TARGET_S:g} s)"
    )
    print(f"    peak memory {peak_mib():,.0f} MiB; on disk, MiB: {_disk(figures['disk_mib'])}", flush=True)
    return figures


def _disk(sizes: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:,.0f}" for name, value in sizes.items())


def main() -> None:
    """Measure every size in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES), help="patches")
    parser.add_argument("--quick", action="store_true", help="1,000 patches only")
    parser.add_argument("--folder", type=Path, help="keep what is built here and use it again")
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        write_json(arguments.out, run_size(arguments.one, arguments.folder))
        return
    load = os.getloadavg()[0]
    print(f"catalogue: sync and search of generated patches (load before: {load:.1f} on {os.cpu_count()} cores)")
    figures: dict[str, Any] = {"python": platform.python_version(), "load": load, "cores": os.cpu_count(), "sizes": {}}
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        for count in [1_000] if arguments.quick else arguments.sizes:
            out = folder / f"{count}.json"
            command = [sys.executable, __file__, "--one", str(count), "--folder", str(folder / str(count))]
            subprocess.run([*command, "--out", str(out)], check=True, env={**os.environ, **ONE_THREAD})
            figures["sizes"][str(count)] = json.loads(out.read_text(encoding="utf-8"))
    if arguments.out:
        write_json(arguments.out, figures)


if __name__ == "__main__":
    main()
