"""Sync: only what changed is read, a verdict follows from today's rules, and nothing stored is lost."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from symbio_lab.errors import StorageError, TrustError
from symbio_lab.marketplace.catalogue import syncing
from symbio_lab.marketplace.catalogue.card_words import text_key
from symbio_lab.marketplace.catalogue.rejudging import verify_signatures
from symbio_lab.marketplace.catalogue.storing import open_catalogue
from symbio_lab.marketplace.catalogue.syncing import SyncReport, sync_market
from symbio_lab.marketplace.index import build_index
from symbio_lab.marketplace.transport import Transport
from symbio_lab.store.database import Database
from symbio_lab.trust.evaluation_payload import EvaluationStatement
from symbio_lab.trust.evaluation_statement import sign_evaluation
from symbio_lab.trust.keys import SigningKey
from symbio_lab.trust.policy import TrustPolicy
from symbio_lab.trust.trusted_set import SeenVersion, TrustedState
from tests.attacks.market_simulator import ALICE, BASE, MALLORY, NOW, Market, standard_policy
from tests.unit.marketplace.catalogue_market import MemoryMarket, TokenMarket, envelope, generated, rules


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return open_catalogue(tmp_path / "catalogue.db")


def verdicts(database: Database) -> dict[str, str]:
    with database.read() as connection:
        return {row["ref"]: row["problem"] for row in connection.execute("SELECT ref, problem FROM patches")}


def row_ids(database: Database) -> dict[str, int]:
    with database.read() as connection:
        return {row["ref"]: row["row_id"] for row in connection.execute("SELECT ref, row_id FROM patches")}


def judged_now(market: Transport, policy: TrustPolicy, now: str = NOW) -> dict[str, str]:
    return {entry.ref: entry.problem or "" for entry in build_index(market, policy, now=now).entries}


def check_whole(database: Database) -> None:
    """Every table says the same about every row, and the counts are those of the rows."""
    with database.read() as connection:
        for part, problem in ((0, "p.problem = ''"), (1, "p.problem <> ''")):
            cards = connection.execute(
                "SELECT c.words, p.base_id, p.task_id FROM cards c JOIN patches p ON p.row_id = c.row_id "
                f"WHERE {problem}"
            ).fetchall()
            counts: dict[str, int] = {}
            for card in cards:
                for word in {*card["words"].split(), f"0base{card['base_id']}", f"0task{card['task_id']}"}:
                    counts[word] = counts.get(word, 0) + 1
            stored = connection.execute("SELECT term, num_rows FROM terms WHERE part = ? AND num_rows <> 0", (part,))
            assert dict(map(tuple, stored)) == counts
            num_words = sum(len(card["words"].split()) for card in cards)
            totals = connection.execute("SELECT num_rows, num_words FROM parts WHERE part = ?", (part,)).fetchone()
            assert tuple(totals) == (len(cards), num_words)
            table = ("accepted_text", "refused_text")[part]
            connection.execute(f"CREATE VIRTUAL TABLE temp.v{part} USING fts5vocab(main, {table}, row)")
            found = connection.execute(f"SELECT term, doc FROM temp.v{part}")
            assert dict(map(tuple, found)) == {text_key(word): count for word, count in counts.items()}
        for table in ("envelopes", "cards", "patch_labels", "vectors"):
            lost = connection.execute(f"SELECT count(*) FROM {table} WHERE row_id NOT IN (SELECT row_id FROM patches)")
            assert lost.fetchone()[0] == 0, table


@pytest.mark.parametrize("kind", [MemoryMarket, TokenMarket])
def test_verdicts_are_those_of_the_trust_rules(database: Database, kind: type[MemoryMarket]) -> None:
    market = generated(120, market=kind())
    report = sync_market(database, market, rules(), chunk=17)
    expected = judged_now(market, standard_policy())
    assert verdicts(database) == expected
    assert {"", "unknown_key", "unsigned", "expired"} <= set(expected.values())
    assert report.num_written == report.num_offered == 120
    assert report.num_accepted == sum(problem == "" for problem in expected.values())
    assert report.num_refused == 120 - report.num_accepted
    check_whole(database)


def test_a_second_sync_reads_nothing_and_changes_nothing(database: Database) -> None:
    market = generated(60, market=TokenMarket())
    sync_market(database, market, rules())
    before, market.num_reads = row_ids(database), 0
    report = sync_market(database, market, rules())
    assert (report.num_read, report.num_written, report.num_removed, report.num_rejudged) == (0, 0, 0, 0)
    assert market.num_reads == 0
    assert row_ids(database) == before
    check_whole(database)


def test_a_market_without_tokens_is_read_but_not_written_again(database: Database) -> None:
    market = generated(40)
    sync_market(database, market, rules())
    before = row_ids(database)
    report = sync_market(database, market, rules())
    assert (report.num_read, report.num_written) == (40, 0)
    assert row_ids(database) == before


def test_only_what_changed_is_read(database: Database) -> None:
    market = generated(50, market=TokenMarket())
    sync_market(database, market, rules())
    before, market.num_reads = row_ids(database), 0
    gone, changed = sorted(market.envelopes)[3], sorted(market.envelopes)[5]
    del market.envelopes[gone]
    market.envelopes[changed] = envelope(patch_id=changed, version=2, scope="quite another scope")
    market.envelopes["alice/new"] = envelope(patch_id="alice/new")
    report = sync_market(database, market, rules())
    assert market.num_reads == report.num_read == report.num_written == 2
    assert report.num_removed == 1
    after = row_ids(database)
    assert gone not in after
    assert "alice/new" in after
    assert after[changed] > before[changed]
    assert {ref: n for ref, n in after.items() if ref not in (changed, "alice/new")} == {
        ref: n for ref, n in before.items() if ref not in (changed, gone)
    }
    check_whole(database)


def test_several_readers_give_the_same_catalogue(tmp_path: Path) -> None:
    markets = [generated(60), generated(60)]
    stores = [open_catalogue(tmp_path / f"{n}.db") for n in range(2)]
    for store, market, readers in zip(stores, markets, (1, 4), strict=True):
        sync_market(store, market, rules(), chunk=7, num_readers=readers)
    assert row_ids(stores[0]) == row_ids(stores[1])
    assert verdicts(stores[0]) == verdicts(stores[1])


def test_one_bad_market_does_not_touch_another(database: Database) -> None:
    first, second = generated(20), generated(20, seed=1, market=MemoryMarket("memory://other"))
    sync_market(database, first, rules())
    sync_market(database, second, rules())
    second.envelopes.clear()
    assert sync_market(database, second, rules()).num_removed == 20
    assert verdicts(database) == judged_now(first, standard_policy())
    check_whole(database)


class FailingMarket(TokenMarket):
    """Fails for good after some reads."""

    def read_manifest(self, ref: str) -> bytes:
        if self.num_reads >= 25:
            raise StorageError("the line is dead")
        return super().read_manifest(ref)


def test_a_sync_that_dies_keeps_what_it_wrote_and_goes_on(database: Database) -> None:
    market = generated(60, market=FailingMarket())
    with pytest.raises(StorageError, match="dead"):
        sync_market(database, market, rules(), chunk=10)
    assert len(verdicts(database)) == 20
    check_whole(database)
    whole = TokenMarket(market.uri, market.envelopes)
    report = sync_market(database, whole, rules(), chunk=10)
    assert report.num_read == 40
    assert verdicts(database) == judged_now(whole, standard_policy())
    check_whole(database)


def test_two_syncs_at_once_agree(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    market = generated(40, market=TokenMarket())
    real = syncing.write_offers
    other: list[SyncReport] = []

    def overtaken(*arguments: object) -> int:
        monkeypatch.setattr(syncing, "write_offers", real)
        other.append(sync_market(database, market, rules(), chunk=40))
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(syncing, "write_offers", overtaken)
    report = sync_market(database, market, rules(), chunk=9)
    assert other[0].num_written == 40
    assert report.num_written == 0
    assert verdicts(database) == judged_now(market, standard_policy())
    check_whole(database)


def test_a_row_added_during_a_sync_is_not_taken_for_withdrawn(database: Database) -> None:
    class Growing(TokenMarket):
        busy = False

        def list_tokens(self) -> dict[str, str]:
            listed = dict(super().list_tokens())
            if not self.busy:
                self.busy = True
                self.envelopes["alice/new"] = envelope(patch_id="alice/new")
                sync_market(database, self, rules())
            return listed

    market = generated(10, market=Growing())
    report = sync_market(database, market, rules())
    assert report.num_removed == 0
    assert "alice/new" in verdicts(database)


def test_a_changed_policy_is_applied_without_the_market(database: Database) -> None:
    market = generated(80, market=TokenMarket())
    sync_market(database, market, rules())
    before = row_ids(database)
    for policy in (
        standard_policy(licences=frozenset({"MIT"})),
        standard_policy(revoked=frozenset({MALLORY.keyid})),
        standard_policy(),
    ):
        market.num_reads = 0
        report = sync_market(database, market, rules(policy=policy), chunk=13)
        assert market.num_reads == 0
        assert report.num_rejudged > 0
        assert verdicts(database) == judged_now(market, policy)
        check_whole(database)
    # A row whose verdict never turned keeps its number.
    mit = judged_now(market, standard_policy(licences=frozenset({"MIT"}), revoked=frozenset({MALLORY.keyid})))
    steady = [ref for ref, problem in mit.items() if problem == ""]
    assert steady
    assert all(row_ids(database)[ref] == before[ref] for ref in steady)
    assert sync_market(database, market, rules()).num_rejudged == 0


def test_revoked_keys_and_old_versions_turn_a_row(database: Database) -> None:
    market = TokenMarket(
        envelopes={"alice/travel": envelope(), "mallory/food": envelope(MALLORY, patch_id="mallory/food")}
    )
    sync_market(database, market, rules())
    assert verdicts(database) == {"alice/travel": "", "mallory/food": ""}
    sync_market(database, market, rules(revoked=frozenset({MALLORY.keyid})))
    assert verdicts(database)["mallory/food"] == "revoked_key"
    newer = TrustedState({"alice/travel": SeenVersion(2, "d" * 64, ALICE.keyid)})
    report = sync_market(database, market, rules(state=newer))
    assert verdicts(database) == {"alice/travel": "rollback", "mallory/food": ""}
    assert report.num_rejudged == 2
    sync_market(database, market, rules())
    assert verdicts(database)["alice/travel"] == ""
    check_whole(database)


def test_time_alone_turns_a_row(database: Database) -> None:
    market = TokenMarket(envelopes={"alice/travel": envelope(expires="2026-07-01T00:00:00Z")})
    sync_market(database, market, rules())
    assert sync_market(database, market, rules(now="2026-06-30T00:00:00Z")).num_rejudged == 0
    report = sync_market(database, market, rules(now="2026-07-02T00:00:00Z"))
    assert report.num_rejudged == 1
    assert verdicts(database) == {"alice/travel": "expired"}


def evaluation(digest: str, key: SigningKey, after: int = 900_000) -> bytes:
    statement = EvaluationStatement(
        "alice/travel", digest, key.keyid, BASE, "5" * 64, 50, 500_000, after, NOW, {"held_out": "7" * 64}
    )
    return sign_evaluation(statement, key)


@pytest.mark.parametrize("kind", [MemoryMarket, TokenMarket])
def test_evaluations_are_kept_and_turn_a_row(database: Database, kind: type[MemoryMarket]) -> None:
    market = kind(envelopes={"alice/travel": envelope()})
    digest = build_index(market, standard_policy(), now=NOW).entries[0].digest
    policy = standard_policy(min_level="evaluated")
    policy = replace(policy, keys={k: replace(p, known=True) for k, p in policy.keys.items()})
    sync_market(database, market, rules(policy=policy))
    assert verdicts(database) == {"alice/travel": "level_too_low"}
    market.publish_evaluation(digest, evaluation(digest, MALLORY))
    report = sync_market(database, market, rules(policy=policy))
    assert report.num_rejudged == 1
    assert verdicts(database) == {"alice/travel": ""} == judged_now(market, policy)
    assert sync_market(database, market, rules(policy=policy)).num_rejudged == 0
    market.evaluations.clear()
    sync_market(database, market, rules(policy=policy))
    assert verdicts(database) == {"alice/travel": "level_too_low"}
    check_whole(database)


def test_a_folder_is_told_apart_by_its_files(database: Database, tmp_path: Path) -> None:
    market = Market(tmp_path / "here")
    market.publish()
    market.publish(patch_id="alice/pizza", scope="order pizza")
    assert sync_market(database, market.transport, rules()).num_read == 2
    assert sync_market(database, market.transport, rules()).num_read == 0
    market.publish(version=2, previous=None, scope="fixes visa requests too")
    report = sync_market(database, market.transport, rules())
    assert (report.num_read, report.num_written, report.num_removed) == (1, 1, 0)
    folder = market.folder("alice/pizza@1")
    envelope_file = folder / "symbio.patch.dsse.json"
    os.replace(envelope_file, folder / "away")
    report = sync_market(database, market.transport, rules())
    assert report.num_read <= 1
    assert verdicts(database)["alice/pizza"] != ""
    check_whole(database)


def test_signatures_are_verified_again(database: Database) -> None:
    market = generated(40, market=TokenMarket())
    sync_market(database, market, rules())
    accepted = sum(problem == "" for problem in verdicts(database).values())
    report = verify_signatures(database, 1, rules(), columns=True)
    assert (report.num_checked, report.damaged) == (accepted, ())
    refs = sorted(ref for ref, problem in verdicts(database).items() if problem == "")[:4]
    with database.write() as connection:
        swap = "UPDATE envelopes SET packed = (SELECT packed FROM envelopes WHERE row_id = ?) WHERE row_id = ?"
        numbers = {row["ref"]: row["row_id"] for row in connection.execute("SELECT ref, row_id FROM patches")}
        connection.execute(swap, (numbers[refs[3]], numbers[refs[0]]))
        connection.execute("UPDATE envelopes SET packed = X'0102' WHERE row_id = ?", (numbers[refs[1]],))
        connection.execute("UPDATE cards SET words = 'free money' WHERE row_id = ?", (numbers[refs[2]],))
    found = dict(verify_signatures(database, 1, rules(), columns=True).damaged)
    assert sorted(found) == refs[:3]
    assert "words" in found[refs[2]]
    # The next sync reads them again and all is well.
    report_of_sync = sync_market(database, market, rules())
    assert report_of_sync.num_read == 3
    assert verify_signatures(database, 1, rules(), columns=True).damaged == ()
    assert verdicts(database) == judged_now(market, standard_policy())
    check_whole(database)


def test_a_damaged_envelope_does_not_stop_a_sync(database: Database) -> None:
    market = TokenMarket(envelopes={"alice/travel": envelope(), "alice/food": envelope(patch_id="alice/food")})
    sync_market(database, market, rules())
    with database.write() as connection:
        connection.execute("UPDATE envelopes SET packed = X'0102' WHERE row_id = 1")
    changed = rules(licences=frozenset({"MIT"}))
    assert sync_market(database, market, changed).num_rejudged == 1
    assert sync_market(database, market, changed).num_read == 1
    assert verdicts(database) == dict.fromkeys(market.envelopes, "licence")
    check_whole(database)


def test_a_market_that_cannot_give_an_offer_is_asked_again_when_it_changes(database: Database) -> None:
    market = TokenMarket(envelopes={"alice/travel": TrustError("unsigned", "no envelope")})
    report: SyncReport = sync_market(database, market, rules())
    assert verdicts(database) == {"alice/travel": "unsigned"}
    assert sync_market(database, market, rules(licences=frozenset({"MIT"}))).num_read == 0
    market.envelopes["alice/travel"] = envelope()
    report = sync_market(database, market, rules())
    assert (report.num_read, report.num_accepted) == (1, 1)
