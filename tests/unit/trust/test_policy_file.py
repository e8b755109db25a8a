"""Policy files: what they mean, and everything that is wrong with one at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from symbio_lab.errors import ConfigError, StorageError
from symbio_lab.trust.keys import SigningKey
from symbio_lab.trust.policy import LEVELS, PublisherKey, RegistryRequirement, TrustPolicy, reaches
from symbio_lab.trust.policy_file import MAX_FILE_BYTES, PolicyFile, load_policy_file, parse_policy_file
from symbio_lab.trust.succession import sign_revocation, sign_succession
from tests.attacks.market_simulator import ALICE, EVE, MALLORY

EXAMPLE = Path(__file__).parents[3] / "docs" / "examples" / "trust-policy.yaml"
NEW = SigningKey.from_seed(bytes([11]) * 32)
NOWHERE = Path("nowhere")


def publisher(key: SigningKey, name: str = "somebody", **more: Any) -> dict[str, Any]:
    return {"name": name, "key": key.public_hex, **more}


def parse(default: Any = None, tenants: Any = None, folder: Path = NOWHERE, **more: Any) -> PolicyFile:
    value: dict[str, Any] = {"version": 1, **more}
    if default is not None:
        value["default"] = default
    if tenants is not None:
        value["tenants"] = tenants
    return parse_policy_file(value, folder)


def problems(default: Any = None, tenants: Any = None, folder: Path = NOWHERE, **more: Any) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        parse(default, tenants, folder, **more)
    return list(refused.value.problems)


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


# ------------------------------------------------------------------------------------------------------- meaning


def test_the_example_loads_and_uses_every_setting() -> None:
    read = load_policy_file(EXAMPLE)
    assert set(read.tenants) == {"clinic", "playground"}
    policy = read.for_tenant()
    assert (policy.min_level, policy.min_evaluators, policy.max_age_days) == ("known_publisher", 2, 730)
    assert (len(policy.keys), len(policy.revoked), len(policy.successors), len(policy.trusted)) == (4, 1, 1, 1)
    assert policy.licence_levels == {"CC-BY-NC-4.0": "trusted"}
    assert policy.check_lookalikes
    assert policy.refuse_disputed
    clinic = read.for_tenant("clinic")
    assert (clinic.min_level, clinic.max_rank, clinic.max_file_bytes) == ("trusted", 16, 134_217_728)
    assert clinic.licences == {"Apache-2.0"}
    text = EXAMPLE.read_text(encoding="utf-8")
    from symbio_lab.trust.policy_rules import PolicyRules

    assert not [name for name in PolicyRules.model_fields if f"{name}:" not in text]


def test_an_empty_file_is_the_default_policy_that_faces_strangers() -> None:
    assert parse().for_tenant() == TrustPolicy(check_lookalikes=True)
    assert parse({}, {}).for_tenant("anybody") == TrustPolicy(check_lookalikes=True)


def test_every_setting_arrives() -> None:
    policy = parse(
        {
            "min_level": "evaluated",
            "min_signatures": 2,
            "min_evaluators": 3,
            "licences": ["MIT", "CC0-1.0"],
            "licence_rules": [{"licence": "MIT", "min_level": "trusted"}],
            "publishers": [
                publisher(ALICE, "Alice", known=True, trusted=True, namespaces=["alice"]),
                publisher(MALLORY, "Mallory"),
            ],
            "revoked": [EVE.keyid],
            "successions": [{"old": MALLORY.keyid, "new": ALICE.keyid}],
            "check_expiry": False,
            "max_age_days": 30,
            "max_file_bytes": 10,
            "max_total_bytes": 20,
            "max_rank": 4,
            "require_registry": {"uri": "https://registry.example.org", "root_keyids": [ALICE.keyid]},
            "protected_names": ["acme", "acme/travel"],
            "check_lookalikes": False,
            "refuse_disputed": True,
        }
    ).for_tenant()
    assert policy == TrustPolicy(
        keys={
            ALICE.keyid: PublisherKey(ALICE.public_hex, "Alice", known=True, namespaces=("alice",)),
            MALLORY.keyid: PublisherKey(MALLORY.public_hex, "Mallory"),
        },
        revoked=frozenset({EVE.keyid}),
        trusted=frozenset({ALICE.keyid}),
        min_level="evaluated",
        min_evaluators=3,
        licences=frozenset({"MIT", "CC0-1.0"}),
        max_file_bytes=10,
        max_total_bytes=20,
        max_rank=4,
        check_expiry=False,
        min_signatures=2,
        licence_levels={"MIT": "trusted"},
        max_age_days=30,
        refuse_disputed=True,
        check_lookalikes=False,
        protected_names=("acme", "acme/travel"),
        successors={MALLORY.keyid: ALICE.keyid},
        require_registry=RegistryRequirement("https://registry.example.org", (ALICE.keyid,)),
    )


def test_a_tenant_replaces_settings_and_adds_to_lists() -> None:
    read = parse(
        {
            "min_level": "known_publisher",
            "licences": ["MIT"],
            "max_age_days": 30,
            "require_registry": {"uri": "x", "root_keyids": [ALICE.keyid]},
            "publishers": [publisher(ALICE, known=True, trusted=True)],
            "revoked": [EVE.keyid],
            "protected_names": ["acme"],
            "licence_rules": [{"licence": "MIT", "min_level": "evaluated"}],
        },
        {
            "a": {
                "licences": [],
                "max_age_days": None,
                "require_registry": None,
                "publishers": [publisher(ALICE, "Alice of a"), publisher(MALLORY)],
                "revoked": [MALLORY.keyid],
                "protected_names": ["other", "acme"],
                "licence_rules": [{"licence": "CC0-1.0", "min_level": "signed"}],
            },
            "b": None,
            "c": {"revoked": []},
        },
    )
    a = read.for_tenant("a")
    assert (a.min_level, a.licences, a.max_age_days, a.require_registry) == (
        "known_publisher",
        frozenset(),
        None,
        None,
    )
    assert a.keys[ALICE.keyid] == PublisherKey(ALICE.public_hex, "Alice of a")
    assert a.trusted == frozenset()
    assert a.revoked == {EVE.keyid, MALLORY.keyid}
    assert a.protected_names == ("acme", "other")
    assert a.licence_levels == {"MIT": "evaluated", "CC0-1.0": "signed"}
    assert read.for_tenant("b") == read.for_tenant("c") == read.for_tenant("unknown") == read.default


def test_statements_beside_the_file_are_successions(tmp_path: Path) -> None:
    (tmp_path / "statements").mkdir()
    statement = sign_succession(ALICE, NEW, issued="2026-01-31T12:00:00Z")
    (tmp_path / "statements" / "alice.dsse.json").write_bytes(statement)
    rules = {
        "publishers": [publisher(ALICE, "Alice", known=True, namespaces=["alice"])],
        "successions": ["statements/alice.dsse.json"],
        "revoked": [ALICE.keyid],
    }
    path = write(tmp_path / "policy.yaml", yaml.safe_dump({"version": 1, "default": rules}))
    policy = load_policy_file(path).for_tenant()
    assert policy.keys[NEW.keyid] == PublisherKey(NEW.public_hex, "Alice", known=True, namespaces=("alice",))
    assert (policy.revoked, policy.successors) == ({ALICE.keyid}, {ALICE.keyid: NEW.keyid})


# ------------------------------------------------------------------------------------------------------ problems


def test_all_problems_at_once_each_with_its_place() -> None:
    told = problems(
        {
            "min_level": "high",
            "publishers": [publisher(ALICE), {"name": "", "key": "00" * 32}, "bob", {"name": "x", "key": 5}],
            "revoked": ["short"],
            "licences": ["two words"],
            "licence_rules": [{"licence": "MIT", "min_level": "highest"}],
            "successions": [5, {"old": ALICE.keyid}],
            "max_rank": True,
            "max_file_bytes": -1,
            "check_expiry": 1,
            "protected_names": ["../x", "a b"],
            "require_registry": {"uri": "x", "root_keyids": []},
            "colour": "blue",
        },
        {"acme": {"max_rank": 0}, "two words": {}, "other": "strict"},
        version=2,
        extra=1,
    )
    assert [problem.partition(":")[0] for problem in told] == [
        "version",
        "tenants.two words",
        "extra",
        "default.min_level",
        "default.licences[0]",
        "default.licence_rules[0].min_level",
        "default.publishers[1].name",
        "default.publishers[1].key",
        "default.publishers[2]",
        "default.publishers[3].key",
        "default.revoked[0]",
        "default.successions[0]",
        "default.successions[1].new",
        "default.check_expiry",
        "default.max_file_bytes",
        "default.max_rank",
        "default.require_registry.root_keyids",
        "default.protected_names[0]",
        "default.protected_names[1]",
        "default.colour",
        "tenants.acme.max_rank",
        "tenants.other",
    ]


def test_what_settings_say_together_is_checked_too(tmp_path: Path) -> None:
    (tmp_path / "revocation.json").write_bytes(
        sign_revocation(ALICE.keyid, ALICE, reason="x", issued="2026-01-31T12:00:00Z")
    )
    (tmp_path / "large.json").write_bytes(b" " * (65 << 10))
    (tmp_path / "eve.json").write_bytes(sign_succession(EVE, NEW, issued="2026-01-31T12:00:00Z"))
    told = problems(
        {
            "publishers": [publisher(ALICE), publisher(MALLORY), publisher(ALICE)],
            "licences": ["MIT"],
            "licence_rules": [
                {"licence": "MIT", "min_level": "signed"},
                {"licence": "MIT", "min_level": "trusted"},
                {"licence": "CC0-1.0", "min_level": "trusted"},
            ],
            "revoked": [ALICE.public_hex],
            "successions": [
                "absent.json",
                "revocation.json",
                "large.json",
                "eve.json",
                {"old": ALICE.keyid, "new": EVE.keyid},
                {"old": ALICE.keyid, "new": MALLORY.keyid},
                {"old": MALLORY.keyid, "new": ALICE.keyid},
            ],
        },
        {
            "default": {},
            "a": {"successions": [{"old": ALICE.keyid, "new": NEW.keyid}], "revoked": [MALLORY.public_hex]},
        },
        tmp_path,
    )
    assert [problem.partition(": ")[0] for problem in told] == [
        "tenants.default",
        "default.publishers[2].key",
        "default.licence_rules[1].licence",
        "default.licence_rules[2].licence",
        "default.revoked[0]",
        "default.successions[0]",
        "default.successions[1]",
        "default.successions[2]",
        "default.successions[3]",
        "default.successions[4].new",
        "default.successions[6]",
        "tenants.a.revoked[0]",
        "tenants.a.successions[0].new",
    ]
    assert ALICE.keyid in told[4]  # says which keyid was meant
    assert "unknown_key" in told[8]


def test_a_tenant_may_narrow_the_licences_of_a_default_rule() -> None:
    rules = {"licence_rules": [{"licence": "CC0-1.0", "min_level": "trusted"}]}
    assert parse(rules, {"a": {"licences": ["MIT"]}}).for_tenant("a").licences == {"MIT"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "- version: 1",
        "version: 1\nversion: 1",
        "version: 1\ndefault: {max_rank: 8, max_rank: 9}",
        "version: 1\ndefault: &x {max_rank: 8}\ntenants: {a: *x}",
        "version: 1\ntenants: {a: &x {}}",
        "version: 1\ntenants: {? [a] : {}}",
        "version: 1\ntenants: {1: {}}",
        "version: 1\ndefault: !!python/object/apply:os.getcwd []",
        "version: 1\ndefault: [",
        "version: 1\ntenants: " + "[" * 1500,
        "version: '1'",
    ],
)
def test_files_that_are_no_policy(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError):
        load_policy_file(write(tmp_path / "policy.yaml", text))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        load_policy_file(tmp_path / "absent.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"version: \xff")
    with pytest.raises(ConfigError, match="not YAML"):
        load_policy_file(tmp_path / "binary.yaml")
    with pytest.raises(ConfigError, match="more than"):
        load_policy_file(write(tmp_path / "large.yaml", "#" * (MAX_FILE_BYTES + 1)))


# ---------------------------------------------------------------------------------------------------- properties

KEYS = [ALICE, MALLORY, EVE, NEW]
SECTIONS = st.fixed_dictionaries(
    {},
    optional={
        "min_level": st.sampled_from(LEVELS),
        "max_rank": st.integers(1, 64),
        "revoked": st.lists(st.sampled_from([key.keyid for key in KEYS]), max_size=3),
        "protected_names": st.lists(st.sampled_from(["acme", "a/b", "lab"]), max_size=3),
        "publishers": st.lists(
            st.builds(
                publisher,
                st.sampled_from(KEYS),
                known=st.booleans(),
                trusted=st.booleans(),
                namespaces=st.lists(st.sampled_from(["alice", "bob"]), max_size=2),
            ),
            max_size=3,
            unique_by=lambda item: item["key"],
        ),
        "licence_rules": st.lists(
            st.builds(dict, licence=st.sampled_from(["MIT", "CC0-1.0"]), min_level=st.sampled_from(LEVELS)),
            max_size=2,
            unique_by=lambda rule: rule["licence"],
        ),
    },
)


@settings(max_examples=80, deadline=None)
@given(SECTIONS, SECTIONS)
def test_no_tenant_can_take_back_what_protects_everybody(default: dict[str, Any], tenant: dict[str, Any]) -> None:
    read = parse(default, {"a": tenant})
    ours, theirs = read.default, read.for_tenant("a")
    assert ours.revoked <= theirs.revoked
    assert set(ours.protected_names) <= set(theirs.protected_names)
    assert set(ours.keys) <= set(theirs.keys)
    assert set(ours.licence_levels) <= set(theirs.licence_levels)
    assert theirs.max_rank == tenant.get("max_rank", ours.max_rank)
    assert theirs.min_level == tenant.get("min_level", ours.min_level)
    # A key has a right only because the nearest section that lists it says so.
    for keyid, key in theirs.keys.items():
        listed = next(
            item
            for section in (tenant, default)
            for item in section.get("publishers", [])
            if item["key"] == key.public_hex
        )
        assert (key.known, keyid in theirs.trusted, key.namespaces) == (
            listed["known"],
            listed["trusted"],
            tuple(listed["namespaces"]),
        )
    assert all(reaches(theirs.level_asked(licence), theirs.min_level) for licence in theirs.licence_levels)
    assert not theirs.revoked & set(theirs.evaluators)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5) | st.sampled_from(["MIT", ALICE.keyid]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.dictionaries(st.sampled_from(["version", "default", "tenants", "x"]), JSON_VALUES)
    | st.builds(lambda name, value: {"version": 1, "default": {name: value}}, st.text(max_size=8), JSON_VALUES)
    | st.builds(
        lambda name, value: {"version": 1, "default": {name: value}},
        st.sampled_from(["publishers", "revoked", "successions", "licences", "licence_rules", "require_registry"]),
        JSON_VALUES,
    )
)
def test_anything_is_a_policy_or_a_list_of_problems(value: dict[str, Any]) -> None:
    told: list[str] = ["none: it is a policy"]
    try:
        parse_policy_file(value, NOWHERE)
    except ConfigError as error:
        told = list(error.problems)
    assert told
    assert all(": " in problem for problem in told)
