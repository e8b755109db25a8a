"""Redaction: what is hashed, dropped or scrubbed before a record is stored.

Rules:
    1. It runs before storage: what a rule removes is never written in clear, not even for a moment.
    2. A hash is keyed (BLAKE2b): equal values stay equal, and without the key nobody can try a dictionary on them.
    3. Answer and ground truth are hashed alike, so that right and wrong can still be told apart.
    4. A content digest of a private record would itself betray it, so the id of a redacted record is keyed too.
    5. Without readable input texts no pattern can be found in words; the store keeps what was removed, so that
       ``symbio monitor status`` can say so.

Example:
    >>> rules = Redaction({"input_sample": "scrub", "metadata.user": "hash"}, key=bytes(32))
    >>> record = PredictionRecord("m", "text_classification", "mail a@b.org", "x", metadata={"user": "ada"})
    >>> found = rules.apply(record)
    >>> found.input_sample, found.metadata["user"][:6]
    ('mail [email]', 'h:bb09')

References:
    Aumasson et al. (2013), "BLAKE2: simpler, smaller, fast as MD5" (RFC 7693), keyed mode. Differs: nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from hashlib import blake2b
from types import MappingProxyType
from typing import Literal, get_args

from symbio_lab.errors import ConfigError
from symbio_lab.records import FailureRecord, PredictionRecord
from symbio_lab.store.predictions import prediction_id_of

RedactionRule = Literal["hash", "drop", "scrub"]
FIELDS = ("input_sample", "output", "domain", "event_id", "model_revision")
"""Fields that a rule may name, besides ``metadata.NAME`` and ``metadata.*``; ``output`` is answer and ground truth."""
_MAY_DROP = ("input_sample", "domain", "model_revision")
MIN_KEY_BYTES = 16
SCRUBS: Mapping[str, re.Pattern[str]] = MappingProxyType(
    {
        # Bounded runs: a scrub of a long text must not take quadratic time.
        "email": re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}"),
        # Card, account and telephone numbers, with the separators that people type.
        "number": re.compile(r"\+?\d(?:[ ()./-]{0,2}\d){5,}"),
    }
)
"""Name that stands for the match -> pattern: e-mail addresses, and six digits or more."""


class Redaction:
    """Rules by field; the same rules and key give the same record, so that storing stays idempotent."""

    def __init__(
        self,
        rules: Mapping[str, RedactionRule],
        *,
        key: bytes | None = None,
        scrubs: Mapping[str, re.Pattern[str]] = SCRUBS,
    ) -> None:
        """Check the rules.

        Args:
            rules: field -> ``hash``, ``drop`` or ``scrub``; fields are ``FIELDS``, ``metadata.NAME``, ``metadata.*``.
            key: secret of at least 16 bytes (``load_or_create_redaction_key``); needed by every rule but ``scrub``.
            scrubs: what ``scrub`` replaces by its name in brackets.

        Raises:
            ConfigError: unknown fields or rules, or a key that is missing or short; all of them at once.
        """
        problems = []
        for name, rule in rules.items():
            if name not in FIELDS and not re.fullmatch(r"metadata\.(?:\*|[^*]+)", name):
                problems.append(f"unknown field {name!r:.60}; known: {', '.join(FIELDS)}, metadata.NAME")
            if rule not in get_args(RedactionRule):
                problems.append(f"unknown rule {rule!r:.60} for {name}; known: {', '.join(get_args(RedactionRule))}")
            if rule == "drop" and name in FIELDS and name not in _MAY_DROP:
                problems.append(f"{name} cannot be dropped: no rate could be stated; hash it")
        # Scrubbing needs it too: a record without an id of its own gets a keyed one.
        if rules and (key is None or len(key) < MIN_KEY_BYTES):
            problems.append(f"redaction needs a secret key of at least {MIN_KEY_BYTES} bytes")
        if problems:
            raise ConfigError(problems, hint="see docs/monitoring.md, private fields")
        self._rules = dict(rules)
        self._key = (key or b"")[:64] if key is None or len(key) <= 64 else blake2b(key).digest()
        self._scrubs = dict(scrubs)

    @property
    def stated(self) -> str:
        """What the store keeps about it, e.g. ``input_sample:scrub metadata.user:hash``; empty without rules."""
        return " ".join(f"{name}:{rule}" for name, rule in sorted(self._rules.items()))

    def apply(self, record: PredictionRecord) -> PredictionRecord:
        """Return the record as it may be stored; the one given is not changed."""
        if not self._rules:
            return record
        identifier = self.prediction_id(record.event_id) if record.event_id else self._digest(prediction_id_of(record))
        expected = record.expected_output
        return replace(
            record,
            input_sample=self._value("input_sample", record.input_sample),
            actual_output=self._value("output", record.actual_output),
            expected_output=None if expected is None else self.expected_output(expected),
            domain=self._value("domain", record.domain),
            model_revision=self._value("model_revision", record.model_revision),
            event_id=identifier,
            metadata=self._metadata(record.metadata),
        )

    def apply_report(self, record: FailureRecord) -> FailureRecord:
        """Return a failure report as it may be stored.

        With a dropped text, reports that differ in it alone become one.
        """
        return replace(
            record,
            input_sample=self._value("input_sample", record.input_sample),
            actual_output=self._value("output", record.actual_output),
            expected_output=self.expected_output(record.expected_output),
            domain=self._value("domain", record.domain),
            model_revision=self._value("model_revision", record.model_revision),
        )

    def prediction_id(self, event_id: str) -> str:
        """Return the id under which an answer with this id of the caller's is stored."""
        return self._value("event_id", event_id)

    def expected_output(self, expected: str) -> str:
        """Return a ground truth as it may be stored."""
        return self._value("output", expected)

    def _metadata(self, metadata: Mapping[str, str]) -> dict[str, str]:
        kept = {}
        for name, value in metadata.items():
            rule = self._rules.get(f"metadata.{name}", self._rules.get("metadata.*"))
            if rule != "drop":
                kept[name] = self._changed(rule, f"metadata.{name}", value)
        return kept

    def _value(self, name: str, value: str) -> str:
        return self._changed(self._rules.get(name), name, value)

    def _changed(self, rule: RedactionRule | None, name: str, value: str) -> str:
        if rule is None or not value:
            return value
        if rule == "drop":
            return ""
        if rule == "hash":
            # The field is part of what is hashed: equal values of two fields cannot be linked.
            return "h:" + self._digest(f"{name}\0{value}")
        for stands_for, pattern in self._scrubs.items():
            value = pattern.sub(f"[{stands_for}]", value)
        return value

    def _digest(self, text: str) -> str:
        return blake2b(text.encode("utf-8"), key=self._key, digest_size=16).hexdigest()
