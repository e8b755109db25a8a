"""Vectors beside the database: exact answers, kills while appending, files written anew, and lost files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from symbio_lab.errors import DataError, StorageError
from symbio_lab.marketplace.catalogue import vectors
from symbio_lab.marketplace.catalogue.dense import DenseIndex, best_by_vector, unit
from symbio_lab.marketplace.catalogue.embedding import _cards_without, embed_missing
from symbio_lab.marketplace.catalogue.filtering import accepted_filter
from symbio_lab.marketplace.catalogue.pruning import PrunedScan, fit_basis, heads_of
from symbio_lab.marketplace.catalogue.storing import open_catalogue
from symbio_lab.marketplace.catalogue.syncing import sync_market
from symbio_lab.marketplace.catalogue.vectors import add_vectors, find_set, map_vectors
from symbio_lab.records import SearchQuery
from symbio_lab.store.database import Database
from tests.attacks.market_simulator import BASE, NOW
from tests.unit.marketplace.catalogue_market import OTHER_BASE, TokenMarket, generated, letters, rules

RNG = np.random.default_rng(4)


def units(count: int, num_dims: int, power: float = 0.5) -> np.ndarray:
    found = RNG.standard_normal((count, num_dims)) * np.arange(1, num_dims + 1) ** -power
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("power", [0.0, 0.5, 1.5])
@pytest.mark.parametrize("some", [False, True])
def test_pruned_scans_are_exact_where_asked(power: float, some: bool) -> None:
    rows = units(3_000, 96, power)
    basis = fit_basis(rows[::7])
    heads = heads_of(rows, basis)
    among = np.flatnonzero(RNG.random(len(rows)) < 0.2) if some else None
    for _ in range(5):
        query = unit(rows[int(RNG.integers(len(rows)))] + 0.5 * units(1, 96, 0.0)[0])
        scan = PrunedScan(rows, heads, basis, query, among=among, spread=1.0)
        cosines = rows @ query
        numbers = np.arange(len(rows)) if among is None else among
        for k in (1, 10, 400):
            slots, found = scan.best(k)
            expected = numbers[np.lexsort((numbers, -cosines[numbers]))][:k]
            assert slots.tolist() == expected.tolist()
            assert found == pytest.approx(cosines[slots], abs=1e-6)


def test_a_looser_bound_reads_less_and_finds_nearly_all() -> None:
    rows = units(8_000, 128, 0.7)
    basis = fit_basis(rows)
    heads = heads_of(rows, basis)
    hits, read = 0, [0, 0]
    for number in range(20):
        query = unit(rows[number] + 0.3 * units(1, 128, 0.0)[0])
        scans = [PrunedScan(rows, heads, basis, query, spread=spread) for spread in (1.0, 0.3)]
        exact, near = (scan.best(10)[0] for scan in scans)
        hits += len(set(exact.tolist()) & set(near.tolist()))
        read = [total + scan.num_read for total, scan in zip(read, scans, strict=True)]
    assert hits >= 196
    assert read[1] < read[0]


@pytest.fixture
def database(tmp_path: Path) -> Database:
    database = open_catalogue(tmp_path / "catalogue.db")
    sync_market(database, generated(150, seed=6, market=TokenMarket()), rules())
    return database


def embedded(database: Database) -> dict[str, int]:
    """Every accepted row has exactly one vector, in its own slot, and it is that of its card; return ref -> slot."""
    folder = database.path.parent / "v"
    with database.read() as connection:
        found = find_set(connection, "letters")
        assert found is not None
        mapped = map_vectors(folder, found)
        rows = connection.execute(
            "SELECT p.ref, p.row_id, p.base_id, v.slot FROM patches p LEFT JOIN vectors v ON v.row_id = p.row_id "
            "WHERE p.problem = ''"
        ).fetchall()
    cards = dict(
        pair for ids, texts in _cards_without(database, "nobody", 1_000) for pair in zip(ids, texts, strict=True)
    )
    for row in rows:
        assert mapped.rows[row["slot"]] == pytest.approx(unit(letters([cards[row["row_id"]]])[0]), abs=1e-6)
        assert mapped.bases[row["slot"]] == row["base_id"]
    assert mapped.heads == pytest.approx(heads_of(mapped.rows, mapped.basis), abs=1e-5)
    return {row["ref"]: row["slot"] for row in rows}


def test_appending_in_batches_gives_each_row_its_vector(database: Database) -> None:
    told: list[int] = []
    embed_missing(database, database.path.parent / "v", letters, "letters", batch=20, listen=told.append)
    assert told == sorted(told)
    assert told[-1] == len(embedded(database))


def test_a_kill_between_file_and_commit_loses_one_batch_only(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = database.path.parent / "v"
    real, calls = vectors._finish_file, []

    def dies(*arguments: object) -> None:
        calls.append(1)
        real(*arguments)  # type: ignore[arg-type]
        if len(calls) == 8:  # the third batch, between the second file and the third
            raise KeyboardInterrupt

    monkeypatch.setattr(vectors, "_finish_file", dies)
    with pytest.raises(KeyboardInterrupt):
        embed_missing(database, folder, letters, "letters", batch=20)
    monkeypatch.setattr(vectors, "_finish_file", real)
    with database.read() as connection:
        found = find_set(connection, "letters")
        assert found is not None
        assert 0 < found.num_slots <= 40
    embed_missing(database, folder, letters, "letters", batch=20)
    embedded(database)


def test_files_are_written_anew_when_half_is_waste(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "_LEAST_TO_DROP", 10)
    folder = database.path.parent / "v"
    embed_missing(database, folder, letters, "letters")
    before = embedded(database)
    market = generated(150, seed=6, market=TokenMarket())
    for ref in sorted(market.envelopes)[:110]:
        del market.envelopes[ref]
    sync_market(database, market, rules())
    market.envelopes.update(generated(20, seed=7).envelopes)
    sync_market(database, market, rules())
    embed_missing(database, folder, letters, "letters")
    after = embedded(database)
    assert sorted(after.values()) == list(range(len(after))) or max(after.values()) < max(before.values())
    with database.read() as connection:
        found = find_set(connection, "letters")
        assert found is not None
        assert found.generation > 0
    assert {path.name.split("-")[1] for path in folder.glob("*.npy")} == {str(found.generation)}


def test_lost_files_are_made_again(database: Database) -> None:
    folder = database.path.parent / "v"
    num = embed_missing(database, folder, letters, "letters")
    for kind in vectors.KINDS:
        next(folder.glob(f"*-{kind}.npy")).unlink()
        with database.read() as connection, pytest.raises(StorageError):
            DenseIndex(folder, "letters").mapped(connection)
        assert embed_missing(database, folder, letters, "letters") == num
    embedded(database)


@pytest.mark.parametrize("base", [BASE, OTHER_BASE, None])
@pytest.mark.parametrize("depth", [1, 7, 200])
def test_the_nearest_that_pass_the_filter_are_found(database: Database, base: str | None, depth: int) -> None:
    folder = database.path.parent / "v"
    embed_missing(database, folder, letters, "letters")
    query = unit(letters(["refund my hotel booking"])[0])
    with database.read() as connection:
        wanted = accepted_filter(
            connection, SearchQuery("text_classification", "", base_digest=base, licences=("MIT",)), now=NOW
        )
        index = DenseIndex(folder, "letters")
        share = 0.15 if base == OTHER_BASE else 1.0
        scan, mapped = index.scan(connection, query, wanted, share), index.mapped(connection)
        assert scan is not None
        assert mapped is not None
        found = best_by_vector(connection, scan, mapped.described, wanted, depth)
        rows = connection.execute(
            f"SELECT p.row_id, v.slot FROM patches p JOIN vectors v ON v.row_id = p.row_id WHERE {wanted.clause}",
            wanted.values,
        ).fetchall()
    cosines = {row["row_id"]: float(mapped.rows[row["slot"]] @ query) for row in rows}
    slots = {row["row_id"]: row["slot"] for row in rows}
    expected = sorted(cosines, key=lambda row_id: (-cosines[row_id], slots[row_id]))[:depth]
    assert [cosines[row_id] for row_id in found] == pytest.approx([cosines[row_id] for row_id in expected], abs=1e-6)


@pytest.mark.parametrize(
    ("made", "what"),
    [
        (lambda texts: np.ones(len(texts)), "shape"),
        (lambda texts: np.ones((len(texts) + 1, 4)), "shape"),
        (lambda texts: np.full((len(texts), 4), np.nan), "finite"),
    ],
)
def test_a_bad_embedder_is_named(database: Database, made: object, what: str) -> None:
    with pytest.raises(DataError, match=what):
        embed_missing(database, database.path.parent / "v", made, "bad")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="name"):
        embed_missing(database, database.path.parent / "v", letters, "")
    with pytest.raises(DataError, match="shape"):
        add_vectors(database, database.path.parent / "v", "bad", [1], np.ones((2, 3)), num_dims=3)
