"""The trust policy of an organisation as a file: rules for everybody, and what is different for single tenants.

Example file (``docs/examples/trust-policy.yaml`` has every setting)::

    version: 1
    default:
      min_level: known_publisher
      licences: [Apache-2.0, MIT, CC-BY-NC-4.0]
      licence_rules: [{licence: CC-BY-NC-4.0, min_level: evaluated}]
      publishers:
        - {name: Alice, key: 8a88e3...6f5c, namespaces: [alice], known: true}
    tenants:
      acme: {min_level: evaluated, min_evaluators: 2}

Rules:
    1. Unknown settings, repeated keys and values of another type are errors; all problems are told at once, each with
       its place (``tenants.acme.max_rank: ...``).
    2. What a tenant sets replaces the default's setting, but lists of people and dangers only grow: ``publishers`` (one
       with the same key is replaced), ``revoked``, ``successions``, ``licence_rules`` and ``protected_names``. No
       tenant can take a revocation back. ``licences`` is an allow-list and is replaced.
    3. A tenant that the file does not name has the default.
    4. ``successions`` are the policy's own decisions, taken before ``revoked``: files of statements signed by both keys
       (paths beside the policy file), or ``{old: KEYID, new: KEYID}`` of two publishers, for a publisher who lost the
       old key.
    5. YAML anchors and aliases are refused: what a tenant may do should be readable where it stands.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

from symbio_lab.errors import ConfigError, StorageError, SymbioError
from symbio_lab.trust.keys import PublicKey
from symbio_lab.trust.policy import Level, PublisherKey, RegistryRequirement, TrustPolicy
from symbio_lab.trust.policy_rules import Namespace, PolicyRules, SuccessionRule, read_model, read_rules
from symbio_lab.trust.succession import MAX_STATEMENT_BYTES, Succession, read_key_statement

MAX_FILE_BYTES = 1 << 20
DEFAULT = "default"


class _Header(BaseModel):
    """The file without what its sections hold."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    version: Literal[1]
    default: Any = None
    tenants: dict[Namespace, Any] = Field(default_factory=dict)


@dataclass(frozen=True)
class PolicyFile:
    """A policy file that was read and found consistent."""

    name: str
    """File name, for messages."""
    default: TrustPolicy
    tenants: Mapping[str, TrustPolicy]
    """Tenants that the file names -> their whole policy."""

    def for_tenant(self, name: str | None = None) -> TrustPolicy:
        """Return the policy of a tenant; of one that the file does not name, and of None, the default."""
        return self.tenants.get(name or DEFAULT, self.default)


def load_policy_file(path: Path) -> PolicyFile:
    """Return the policies in a file.

    Raises:
        StorageError: the file cannot be read.
        ConfigError: everything that is wrong with it.
    """
    try:
        data = _read(path, MAX_FILE_BYTES)
        value = yaml.load(data.decode("utf-8"), Loader=_PlainLoader)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise ConfigError([f"{path.name} is not YAML: {' '.join(str(error).split())}"]) from error
    return parse_policy_file(value, path.parent, path.name)


def parse_policy_file(value: Any, folder: Path, name: str = "the policy file") -> PolicyFile:
    """Return the policies in parsed YAML.

    Args:
        value: what the file holds.
        folder: where statements named by ``successions`` lie.
        name: file name for messages.

    Raises:
        ConfigError: everything that is wrong with it.
    """
    if not isinstance(value, dict):
        raise ConfigError([f"{name} must hold version, default and tenants, not a {type(value).__name__}"])
    problems: list[str] = []
    read_model(_Header, value, "", problems)
    rules, listed = read_rules(value.get(DEFAULT), DEFAULT, problems), value.get("tenants")
    sections = listed if isinstance(listed, dict) else {}
    told = {tenant: read_rules(section, f"tenants.{tenant}", problems) for tenant, section in sections.items()}
    if DEFAULT in sections:
        problems.append(f"tenants.{DEFAULT}: is no tenant; its rules stand under {DEFAULT}")
    # Sections are laid over each other only where both can be read: else one mistake would be told many times.
    default = _build((rules,), DEFAULT, folder, problems) if rules else TrustPolicy()
    tenants = {
        tenant: _build((rules, own), f"tenants.{tenant}", folder, problems)
        for tenant, own in told.items()
        if rules and own
    }
    if problems:
        raise ConfigError(problems)
    return PolicyFile(name, default, tenants)


def _build(layers: tuple[PolicyRules, ...], place: str, folder: Path, problems: list[str]) -> TrustPolicy:
    """Return the policy of sections laid over each other; ``place`` is the last one's, and so are its problems."""
    plain: dict[str, Any] = {"check_lookalikes": PolicyRules.model_fields["check_lookalikes"].default}
    keys: dict[str, PublisherKey] = {}
    trusted: set[str] = set()
    levels: dict[str, Level] = {}
    for rules in layers:
        plain |= {name: getattr(rules, name) for name in rules.model_fields_set & _REPLACED}
        levels |= {rule.licence: rule.min_level for rule in rules.licence_rules}
        for publisher in rules.publishers:
            keyid = PublicKey(publisher.key).keyid
            keys[keyid] = PublisherKey(publisher.key, publisher.name, publisher.known, tuple(publisher.namespaces))
            trusted = trusted | {keyid} if publisher.trusted else trusted - {keyid}
    licences, registry = frozenset(plain.pop("licences", ())), plain.pop("require_registry", None)
    policy = TrustPolicy(
        keys=keys,
        trusted=frozenset(trusted),
        licences=licences,
        licence_levels=levels,
        protected_names=tuple(dict.fromkeys(name for rules in layers for name in rules.protected_names)),
        require_registry=RegistryRequirement(registry.uri, tuple(registry.root_keyids)) if registry else None,
        **plain,
    )
    problems += _problems_of(layers[-1], place, policy)
    for rules in layers:
        # What is wrong with the default is told once, where it stands.
        policy = _succeed(policy, rules, place, folder, problems if rules is layers[-1] else [])
    for rules in layers:
        policy = policy.revoke(*rules.revoked)
    return policy


def _problems_of(rules: PolicyRules, place: str, policy: TrustPolicy) -> Iterator[str]:
    """Yield what is wrong with one section that each setting by itself does not show."""
    for i, publisher in enumerate(rules.publishers):
        if publisher.key in [earlier.key for earlier in rules.publishers[:i]]:
            yield f"{place}.publishers[{i}].key: is listed twice"
    for i, rule in enumerate(rules.licence_rules):
        if rule.licence in [earlier.licence for earlier in rules.licence_rules[:i]]:
            yield f"{place}.licence_rules[{i}].licence: {rule.licence} is listed twice"
        if policy.licences and rule.licence not in policy.licences:
            yield f"{place}.licence_rules[{i}].licence: {rule.licence} is not among the licences that are allowed"
    keyids = {key.public_hex: keyid for keyid, key in policy.keys.items()}
    for i, keyid in enumerate(rules.revoked):
        if keyid in keyids:
            yield f"{place}.revoked[{i}]: is a public key; its keyid is {keyids[keyid]}"


_REPLACED = frozenset(PolicyRules.model_fields) - {
    "licence_rules",
    "protected_names",
    "publishers",
    "revoked",
    "successions",
}
"""Settings that a tenant replaces as a whole."""


def _succeed(policy: TrustPolicy, rules: PolicyRules, place: str, folder: Path, problems: list[str]) -> TrustPolicy:
    for i, rule in enumerate(rules.successions):
        where = f"{place}.successions[{i}]"
        try:
            if isinstance(rule, SuccessionRule):
                if rule.new not in policy.keys:
                    problems.append(f"{where}.new: no publisher has this keyid")
                    continue
                policy = policy.succeed(rule.old, policy.keys[rule.new].public_hex)
                continue
            statement = read_key_statement(_read(folder / rule, MAX_STATEMENT_BYTES))
            if not isinstance(statement, Succession):
                problems.append(f"{where}: {rule} is a revocation; name its keyid under revoked")
                continue
            policy = policy.succeed(statement.old, statement.new_hex)
        except (SymbioError, ValueError) as error:
            code = error.code if isinstance(error, SymbioError) else "bad_envelope"
            problems.append(f"{where}: {code}: {error}")
    return policy


def _read(path: Path, most: int) -> bytes:
    try:
        with path.open("rb") as handle:
            data = handle.read(most + 1)
    except OSError as error:
        raise StorageError(
            f"cannot read {path}: {error.strerror or error}", hint="give the path of the file"
        ) from error
    if len(data) > most:
        raise ValueError(f"{path.name} has more than {most} bytes")
    return data


class _PlainLoader(yaml.SafeLoader):
    """YAML without repeated keys, anchors and aliases."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise yaml.composer.ComposerError(None, None, "anchors and aliases are not allowed", event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else None
            if name is None or name in seen:
                problem = "a key is not a word" if name is None else f"duplicate key {name!r}"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            seen.add(name)
        return super().construct_mapping(node, deep)
