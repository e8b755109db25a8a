"""Processes that sync one catalogue: killed in the middle nothing is lost, and two at once agree."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from symbio_lab.marketplace.catalogue.embedding import embed_missing
from symbio_lab.marketplace.catalogue.hybrid import Catalogue, vectors_folder
from symbio_lab.marketplace.catalogue.rejudging import verify_signatures
from symbio_lab.marketplace.catalogue.storing import open_catalogue
from symbio_lab.marketplace.catalogue.syncing import sync_market
from symbio_lab.marketplace.index import build_index
from symbio_lab.records import SearchQuery
from tests.attacks.market_simulator import BASE, NOW, standard_policy
from tests.unit.marketplace.catalogue_market import TokenMarket, generated, letters, rules
from tests.unit.marketplace.test_catalogue_sync import check_whole, verdicts

COUNT = 400
CHILD = """
import sys
from pathlib import Path
from symbio_lab.marketplace.catalogue.embedding import embed_missing
from symbio_lab.marketplace.catalogue.hybrid import vectors_folder
from symbio_lab.marketplace.catalogue.storing import open_catalogue
from symbio_lab.marketplace.catalogue.syncing import sync_market
from tests.unit.marketplace.catalogue_market import TokenMarket, generated, letters, rules

path = Path(sys.argv[1])
database, market = open_catalogue(path), generated(int(sys.argv[2]), market=TokenMarket())
print("ready", flush=True)
sync_market(database, market, rules(), chunk=20, listen=lambda read, total: print("synced", read, flush=True))
tell = lambda number: print("embedded", number, flush=True)
embed_missing(database, vectors_folder(path), letters, "letters", batch=20, listen=tell)
print("done", flush=True)
"""


def start(path: Path) -> subprocess.Popen[str]:
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(path), str(COUNT)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    return child


def check(path: Path) -> None:
    """The catalogue holds what a sync without incident holds, to the last word and vector."""
    database, market = open_catalogue(path), generated(COUNT, market=TokenMarket())
    assert verdicts(database) == {
        entry.ref: entry.problem or "" for entry in build_index(market, standard_policy(), now=NOW).entries
    }
    check_whole(database)
    assert verify_signatures(database, 1, rules(), columns=True).damaged == ()
    reference = path.with_name("reference.db")
    sync_market(open_catalogue(reference), market, rules())
    embed_missing(open_catalogue(reference), vectors_folder(reference), letters, "letters")
    query = SearchQuery("text_classification", "my hotel booking", base_digest=BASE, labels=("travel_hotel",))
    found, expected = (
        [(c.ref, c.score, c.problem) for c in Catalogue(p, letters, "letters").search(query, now=NOW)]
        for p in (path, reference)
    )
    assert found == expected


def test_kills_lose_nothing_and_the_next_sync_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.db"
    reached = 0
    for stop_after in ("synced 100", "synced 260", "embedded 60", "embedded 100"):
        child = start(path)
        assert child.stdout is not None
        with child.stdout:
            kind, number = stop_after.split()
            for line in child.stdout:
                words = line.split()
                if words[0] == kind and int(words[1]) >= int(number):
                    break
            child.send_signal(signal.SIGKILL)
            child.wait(timeout=30)
        assert child.returncode == -signal.SIGKILL
        database = open_catalogue(path)
        check_whole(database)
        stored = len(verdicts(database))
        assert stored >= reached
        reached = stored
    child = start(path)
    out, _ = child.communicate(timeout=120)
    assert child.returncode == 0
    assert "synced" not in out  # everything was stored before
    check(path)


def test_two_processes_may_sync_at_once(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.db"
    children = [start(path), start(path)]
    for child in children:
        out, _ = child.communicate(timeout=120)
        assert child.returncode == 0
        assert out.endswith("done\n")
    check(path)
