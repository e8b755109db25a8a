"""Contributing: nothing leaves when a check fails, everything that leaves is shown, and a killed run is completed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from symbio_lab.errors import ConfigError, DataError, StorageError, SymbioError, TrustError
from symbio_lab.marketplace.contribution import HouseRules, Incident, Measured, contribute, split_digest
from symbio_lab.marketplace.contribution.card_words import shared_words, title_of
from symbio_lab.marketplace.contribution.describing import published_texts
from symbio_lab.marketplace.contribution.house_rules import FIELDS, house_rules, load_house_rules
from symbio_lab.marketplace.directory import DirectoryTransport
from symbio_lab.records import Patch, Sample
from symbio_lab.trust.envelope import ENVELOPE_NAME, peek_payload
from symbio_lab.trust.evaluation_statement import open_evaluation
from symbio_lab.trust.manifest import payload_to_manifest
from symbio_lab.trust.sealing import process_key
from tests.attacks.market_simulator import ALICE, EXPIRES, ISSUED, MALLORY, Market, deltas, seal

LATER = "2026-02-01T00:00:00Z"
TOPICS = (
    "a flight to rome",
    "my hotel in oslo",
    "the train to bonn",
    "a flight to kiev",
    "our hotel",
    "the night train",
)


def samples(kind: str, count: int) -> tuple[Sample, ...]:
    return tuple(
        Sample(f"{kind} request {TOPICS[i % 6]} number {i} please", "book_flight", f"{kind}{i}", "travel")
        for i in range(count)
    )


def incident(**changes: Any) -> Incident:
    fields: dict[str, Any] = {
        "task_type": "text_classification",
        "domain": "travel",
        "description": "Requests about travel are answered wrongly (flight, hotel, oslo)",
        "labels": ("book_flight", "book_hotel"),
        "splits": {
            "repair": samples("repair", 12),
            "replay": samples("replay", 30),
            "selection": samples("selection", 12),
            "control_selection": samples("control", 160),
        },
        "measured": Measured.of((0, 0, 9, 3), (150, 4, 2, 4)),
        "method": "lora_replay",
        "seed": 20260101,
    }
    return Incident(**{**fields, **changes})


class House:
    """A house with a store, a healed patch, and a market outside."""

    def __init__(self, root: Path) -> None:
        self.store = root / "store"
        self.transport = DirectoryTransport(root / "market")
        self.patch = seal(self.store, patch_id="local/lora-replay", training_data="", claims=())
        self.rules = HouseRules(base_licence="Apache-2.0")

    def contribute(self, **changes: Any) -> Any:
        fields: dict[str, Any] = {
            "store": self.store,
            "patch_id": "acme/travel",
            "issued": ISSUED,
            "expires": EXPIRES,
            "rules": self.rules,
        }
        patch = changes.pop("patch", self.patch)
        about = changes.pop("incident", None) or incident()
        key, transport = changes.pop("key", ALICE), changes.pop("transport", self.transport)
        return contribute(patch, about, transport, key, **{**fields, **changes})

    def refuses(self, error: type[SymbioError], **changes: Any) -> str:
        """Return what was said; nothing may have left, and nothing may stay in the store."""
        stored = sorted(self.store.iterdir())
        with pytest.raises(error) as refused:
            self.contribute(**changes)
        assert not self.transport.path.exists()
        assert sorted(self.store.iterdir()) == stored
        return f"{refused.value.code}: {refused.value}"


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_what_stands_in_the_market_is_what_was_measured_and_no_text(house: House) -> None:
    done = house.contribute()
    assert (done.ref, done.published_patch, done.published_evaluation) == ("acme/travel@1", True, True)
    envelope = house.transport.read_manifest("acme/travel")
    said = payload_to_manifest(peek_payload(envelope))
    assert said == done.manifest
    assert said.title == "Repair of travel: book_flight, book_hotel"
    assert said.scope == "Requests about travel are answered wrongly (flight, hotel, oslo)"
    assert (said.labels, said.domain, said.lineage) == (("book_flight", "book_hotel"), "travel", ())
    assert {(c.name, c.value, c.n) for c in said.claims} == {
        ("fix_rate", 0.75, 12),
        ("negative_flip_rate", 0.025974, 154),
    }
    for part in ("lora_replay", "seed 20260101", "12 failures of the base", "30 samples of its other traffic",
                 split_digest(incident().splits["repair"]), "the base org/base: Apache-2.0"):  # fmt: skip
        assert part in said.training_data
    everything = b"".join(path.read_bytes() for path in house.transport.path.rglob("*") if path.is_file())
    assert b"request" not in everything.replace(b"Requests about travel", b"")
    (data,) = house.transport.read_evaluations(done.digest)
    statement = open_evaluation(data, {ALICE.keyid: ALICE.public_key})
    assert statement == done.evaluation
    assert (statement.n, statement.before_ppm, statement.after_ppm) == (172, 895349, 936047)
    assert statement.splits == {
        name: split_digest(incident().splits[name]) for name in ("selection", "control_selection")
    }


def test_a_dry_run_shows_all_that_a_run_publishes(house: House) -> None:
    shown = house.contribute(dry_run=True)
    assert not house.transport.path.exists()
    assert [path.name for path in house.store.iterdir()] == [house.patch.digest]
    done = house.contribute()
    assert shown.leaving() == done.leaving()
    assert (shown.published_patch, shown.published_evaluation) == (False, False)
    assert set(shown.leaving()) == {"ref", "market", "digest", "manifest", "evaluation"}


def test_again_changes_nothing_and_another_patch_is_the_next_version(house: House) -> None:
    first = house.contribute()
    before = {path: path.read_bytes() for path in house.transport.path.rglob("*") if path.is_file()}
    again = house.contribute(issued=LATER, expires="2027-02-01T00:00:00Z")
    assert (again.ref, again.digest) == (first.ref, first.digest)
    assert (again.published_patch, again.published_evaluation) == (False, False)
    other = seal(house.store, patch_id="local/lora-replay", training_data="", claims=(), deltas=deltas(1))
    second = house.contribute(patch=other, issued=LATER)
    assert second.ref == "acme/travel@2"
    assert second.manifest.previous == first.digest
    third = house.contribute(issued=LATER)  # the first again: found, although it is not the newest
    assert third.digest == first.digest
    assert {path: path.read_bytes() for path in before} == before
    assert house.transport.list_versions("acme/travel") == [1, 2]


def test_an_expired_version_does_not_count_as_standing(house: House) -> None:
    house.contribute(expires="2026-01-15T00:00:00Z")
    assert house.contribute(issued=LATER).ref == "acme/travel@2"


class DiesBeforeTheEvaluation(DirectoryTransport):
    def publish_evaluation(self, digest: str, data: bytes) -> None:
        raise StorageError("the connection broke")


def test_a_run_that_died_between_patch_and_evaluation_is_completed(house: House) -> None:
    with pytest.raises(StorageError):
        house.contribute(transport=DiesBeforeTheEvaluation(house.transport.path))
    assert house.transport.list_versions("acme/travel") == [1]
    done = house.contribute(issued=LATER)
    assert (done.ref, done.published_patch, done.published_evaluation) == ("acme/travel@1", False, True)
    assert len(house.transport.read_evaluations(done.digest)) == 1
    assert house.transport.list_versions("acme/travel") == [1]
    assert not list(house.store.glob(".contribution-*"))


def test_a_forged_version_under_our_keyid_is_not_ours(house: House) -> None:
    forger = Market(house.transport.path.parent / "forger")
    folder = forger.publish(patch_id="acme/travel", key=MALLORY)
    house.transport.publish(folder, "acme/travel")
    with pytest.raises(TrustError, match="another key") as refused:
        house.contribute()
    assert refused.value.code == "name_taken"
    envelope = house.transport.path / "patches/acme/travel/v1" / ENVELOPE_NAME
    envelope.write_bytes(envelope.read_bytes().replace(MALLORY.keyid.encode(), ALICE.keyid.encode()))
    with pytest.raises(TrustError, match="another key"):
        house.contribute(dry_run=True)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"domain": "ada@example.org"}, "domain (email)"),
        ({"labels": ("book_flight", "call 0151 2345678")}, "labels[1] (number)"),
        ({"description": "such as: control request the train to bonn number 2"}, "scope (shared_words)"),
        ({"method": "hf_abcdefghijKLMNOP"}, "training_data (token)"),
        ({"domain": "selection request a flight to kiev"}, "domain (shared_words)"),
    ],
)
def test_no_field_carries_private_data(house: House, changes: dict[str, Any], field: str) -> None:
    told = house.refuses(TrustError, incident=incident(**changes))
    assert told.startswith("private_data: ")
    assert field in told


@pytest.mark.parametrize("split", ["repair", "replay", "selection", "control_selection"])
def test_texts_of_every_split_are_compared(house: House, split: str) -> None:
    splits = incident().splits
    secret = Sample("the vault opens with blue herring at dawn", "x", "secret")
    leaky = incident(
        splits={**splits, split: (*splits[split], secret)}, description="the vault opens with blue herring"
    )
    rules = replace(house.rules, min_texts_behind_word=1)
    assert "scope (shared_words)" in house.refuses(TrustError, incident=leaky, rules=rules)
    # By default words of one text alone do not reach the scope at all.
    assert "vault" not in house.contribute(incident=leaky, dry_run=True).manifest.scope


def test_gold_outputs_of_generation_are_private_too(house: House) -> None:
    splits = incident().splits
    answer = Sample("q", "your code word is purple monkey dishwasher", "secret")
    told = incident(
        splits={**splits, "repair": (*splits["repair"], answer)},
        description="your code word is purple monkey",
        task_type="text_generation",
    )
    assert "scope" in house.refuses(TrustError, incident=told, rules=replace(house.rules, min_texts_behind_word=1))


def test_a_house_may_let_a_field_out(house: House) -> None:
    about = incident(description="such as: control request the train to bonn number 2")
    rules = replace(house.rules, may_hold={"scope": frozenset({"shared_words", "shared_characters"})})
    assert house.contribute(incident=about, rules=rules, dry_run=True).manifest.scope.startswith("such as")


def test_the_digest_of_a_tiny_split_could_be_guessed(house: House) -> None:
    about = incident(splits={**incident().splits, "selection": samples("selection", 3)})
    assert house.refuses(TrustError, incident=about).startswith("private_data: the digest of a split of fewer than 4")
    house.contribute(incident=about, rules=replace(house.rules, min_samples_behind_digest=3), dry_run=True)


def test_licences(house: House) -> None:
    assert "the base org/base: its licence is not known here" in house.refuses(ConfigError, rules=HouseRules())
    assert house.refuses(TrustError, rules=HouseRules(base_licence="GPL-3.0-only")).startswith("licence: Apache-2.0")
    done = house.contribute(rules=HouseRules(base_licence="GPL-3.0-only", licence="GPL-3.0-only"), dry_run=True)
    assert done.manifest.licence == "GPL-3.0-only"


def test_the_licence_of_a_lineage_comes_from_the_store_or_is_stated(house: House) -> None:
    parent = seal(house.store, patch_id="bob/parent", licence="CC-BY-SA-4.0")
    gone = "f" * 64
    child = seal(house.store, patch_id="local/merge", lineage=(parent.digest, gone), training_data="", claims=())
    told = house.refuses(ConfigError, patch=child)
    assert told == f"bad_config: patch {gone}: its licence is not known here; state its SPDX id"
    stated = replace(house.rules, lineage_licences={gone: "MIT"})
    assert "derivatives stay under CC-BY-SA-4.0" in house.refuses(TrustError, patch=child, rules=stated)
    done = house.contribute(patch=child, rules=replace(stated, licence="CC-BY-SA-4.0"), dry_run=True)
    assert done.manifest.lineage == (parent.digest, gone)
    assert f"patch {gone}: MIT" in done.manifest.training_data


def adopted(house: House, **changes: Any) -> Patch:
    return seal(house.store, **{"patch_id": "mallory/travel", "key": MALLORY, **changes})


def test_an_adopted_patch_keeps_its_words_and_is_in_the_lineage(house: House) -> None:
    found = adopted(house, training_data=f"account 12345678, sha256 {'ab12' * 16}")
    done = house.contribute(patch=found, incident=incident(method=""))
    assert done.manifest.lineage == (found.digest,)
    assert (done.manifest.title, done.manifest.scope) == (found.manifest.title, found.manifest.scope)
    assert done.manifest.training_data.startswith(f"Adopted unchanged: patch {found.digest} of the key {MALLORY.keyid}")
    assert done.manifest.training_data.endswith(found.manifest.training_data)
    assert done.manifest.keyid == ALICE.keyid
    assert f"patch {found.digest}: Apache-2.0" in done.manifest.training_data


def test_our_own_patch_adopted_back_gets_its_evaluation_only(house: House) -> None:
    ours = seal(house.store, patch_id="acme/travel")
    house.transport.publish(ours.root, "acme/travel")
    done = house.contribute(patch=ours, incident=incident(method=""))
    assert (done.digest, done.published_patch, done.published_evaluation) == (ours.digest, False, True)


def test_only_what_helped_is_contributed(house: House) -> None:
    nothing = Measured.of((0, 0, 0, 12), (158, 0, 2, 0))
    assert "fixed 0 of 12" in house.refuses(DataError, incident=incident(measured=nothing))
    harm = Measured.of((0, 0, 9, 3), (140, 14, 0, 6))
    assert "right answers by -5 of 172" in house.refuses(DataError, incident=incident(measured=harm))


def test_bad_names_and_the_key_of_the_process(house: House) -> None:
    assert house.refuses(TrustError, patch_id="../x").startswith("unsafe_name")
    assert house.refuses(TrustError, key=process_key()).startswith("level_too_low")
    assert house.refuses(TrustError, expires=ISSUED).startswith("bad_manifest")


def test_a_patch_that_changed_on_disk_does_not_leave(house: House) -> None:
    weights = house.patch.root / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x7f")
    assert house.refuses(TrustError).startswith("digest_mismatch")


def test_a_local_path_is_not_the_name_of_a_base(house: House) -> None:
    local = seal(house.store, patch_id="local/lora", base_id="/srv/models/tiny", training_data="", claims=())
    assert "base_id (path)" in house.refuses(TrustError, patch=local)
    done = house.contribute(patch=local, rules=replace(house.rules, base_name="org/tiny"))
    assert done.manifest.base_id == "org/tiny"
    folder = house.transport.path / "patches/acme/travel/v1"
    assert b"/srv" not in b"".join(path.read_bytes() for path in folder.iterdir())
    again = house.contribute(patch=local, rules=replace(house.rules, base_name="org/tiny"), issued=LATER)
    assert (again.digest, again.published_patch) == (done.digest, False)
    verify = Market(house.transport.path.parent / "reader")
    assert verify.verify(folder).manifest == done.manifest


def test_every_text_of_the_manifest_is_screened(house: House) -> None:
    done = house.contribute(dry_run=True)
    texts = published_texts(done.manifest, done.evaluation)
    assert {name.partition("[")[0] for name in texts} <= set(FIELDS)

    def leaves(value: Any) -> list[str]:
        if isinstance(value, dict):
            return [text for item in value.values() for text in leaves(item)]
        if isinstance(value, list):
            return [text for item in value for text in leaves(item)]
        return [value] if isinstance(value, str) else []

    plain = done.leaving()["manifest"]
    fixed = {"F32", "LORA", "text_classification", ISSUED, EXPIRES, done.manifest.base_digest, ALICE.keyid}
    files = {text for entry in plain["files"] for text in (entry["name"], entry["sha256"])}
    assert set(leaves(plain)) - fixed - files <= set(texts.values())


def test_words_of_few_texts_are_left_out() -> None:
    texts = ["the cat sat", "the cat ran", "the dog ran", "Quentin called"]
    assert shared_words("Requests (cat, quentin, dog) about The Zoo", texts, 2) == "Requests (cat) about The Zoo"
    assert shared_words("(quentin)", texts, 2) == ""
    assert shared_words("Requests are answered (quentin)", [*texts, "they answered"], 2) == "Requests are answered"
    assert shared_words("the quentin zone", texts, 2, {"quentin"}) == "the quentin zone"
    assert shared_words("cat-quentin, dog", texts, 1) == "cat-quentin, dog"


def test_titles_are_one_line_of_bounded_length() -> None:
    many = incident(labels=tuple(f"label_{i}" for i in range(9)), domain="")
    assert title_of(many) == "Repair of unnamed traffic: label_0, label_1, label_2, label_3 and 5 more"
    assert len(title_of(incident(domain="x" * 900))) == 300
    assert title_of(incident(labels=())) == "Repair of travel"


def test_digests_of_splits_do_not_depend_on_their_order() -> None:
    some = samples("repair", 5)
    assert split_digest(some) == split_digest(some[::-1]) != split_digest(some[:4])


def test_house_rules_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "house.yaml"
    path.write_text(
        "version: 1\nlicence: MIT\nbase_licence: Apache-2.0\nbase_name: org/model\nlineage_licences:\n  "
        + "a" * 64
        + ": MIT\n"
        "may_hold:\n  labels: [shared_words, whole_text]\nmin_texts_behind_word: 2\n",
        encoding="utf-8",
    )
    assert load_house_rules(path) == HouseRules(
        "MIT", "Apache-2.0", "org/model", {"a" * 64: "MIT"}, {"labels": frozenset({"shared_words", "whole_text"})}, 2
    )
    assert house_rules({}) == HouseRules()


@pytest.mark.parametrize(
    "text", ["- a\n", "licence: MIT\nlicence: GPL-3.0-only\n", "a: [", "x: !!python/object:os.system {}\n"]
)
def test_files_that_are_no_rules(tmp_path: Path, text: str) -> None:
    path = tmp_path / "house.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"house\.yaml"):
        load_house_rules(path)
    with pytest.raises(ConfigError, match=r"none\.yaml"):
        load_house_rules(tmp_path / "none.yaml")


def test_all_problems_of_house_rules_at_once() -> None:
    with pytest.raises(ConfigError) as refused:
        house_rules(
            {
                "version": 2,
                "license": "MIT",
                "base_licence": 3,
                "lineage_licences": {"abc": "MIT"},
                "may_hold": {"scope": ["token", "words"], "body": [], "title": "all"},
                "min_texts_behind_word": True,
                "min_samples_behind_digest": 0,
            }
        )
    assert len(refused.value.problems) == 10
    assert {problem.partition(":")[0] for problem in refused.value.problems} == {
        "license", "version", "base_licence", "lineage_licences.abc", "may_hold.scope", "may_hold.body",
        "may_hold.title", "min_texts_behind_word", "min_samples_behind_digest",
    }  # fmt: skip
