"""in-toto Statements v1: "about these bytes (subjects), this is said (predicate)".

Rules:
    1. The payload is canonical JSON without floats: sorted keys, no spaces, UTF-8; other bytes are refused, so
       that one statement has exactly one digest.
    2. Subjects are sorted by name and unique; each has a SHA-256 and nothing else.
    3. Unknown fields are refused: a reader must never skip what a publisher meant.

References:
    in-toto (2023), "in-toto Attestation Framework Specification", v1.0, spec/v1/statement.md.
    Differs from the paper: subjects of a patch are also matched by name, not by digest only; unknown fields are
    refused, where the framework ignores them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from symbio_lab.errors import TrustError
from symbio_lab.records import canonical_json
from symbio_lab.trust.envelope import strict_json
from symbio_lab.trust.strict_fields import array, digest_set, refuse, take

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
MAX_SUBJECTS = 64


def write_statement(subjects: Mapping[str, str], predicate_type: str, predicate: Mapping[str, Any]) -> bytes:
    """Return the payload bytes of a statement.

    Args:
        subjects: name -> SHA-256 (hex) of what the statement is about.
        predicate_type: URI that names the schema of the predicate.
        predicate: JSON values without floats.

    Raises:
        TrustError: ``bad_manifest``: the predicate holds a float.
    """
    if _holds_float(predicate):
        _refuse_floats(predicate, "predicate")
    value = {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": subjects[name]}} for name in sorted(subjects)],
        "predicateType": predicate_type,
        "predicate": predicate,
    }
    try:
        return canonical_json(value)
    except UnicodeEncodeError as error:
        raise TrustError("bad_manifest", "the statement holds text that UTF-8 cannot carry") from error


def read_statement(payload: bytes, predicate_type: str) -> tuple[dict[str, str], Any]:
    """Return the subjects (name -> SHA-256) and the predicate of a statement of the given type.

    Raises:
        TrustError: ``duplicate_key``, or ``bad_manifest``: another type, no subject, unsorted or repeated names,
            a float, or bytes that are not the canonical form.
    """
    value = strict_json(payload, "bad_manifest", "statement")
    kind, listed, stated_type, predicate = take(value, "statement", "_type", "subject", "predicateType", "predicate")
    if kind != STATEMENT_TYPE or stated_type != predicate_type:
        raise refuse("statement", f"not a statement of type {predicate_type}")
    if _holds_float(predicate):
        _refuse_floats(predicate, "predicate")
    subjects: dict[str, str] = {}
    for i, item in enumerate(array(listed, "subject", MAX_SUBJECTS)):
        name, digest = take(item, f"subject[{i}]", "name", "digest")
        if not isinstance(name, str) or name in subjects:
            raise refuse(f"subject[{i}]", "the name repeats or is not text")
        subjects[name] = digest_set(digest, f"subject[{i}]")
    if not subjects or list(subjects) != sorted(subjects):
        raise refuse("subject", "subjects are missing or not sorted by name")
    if write_statement(subjects, predicate_type, predicate) != payload:
        raise refuse("statement", "the bytes are not the canonical form of the statement")
    return subjects, predicate


_PLAIN = frozenset({str, int, bool, type(None)})


def _holds_float(value: Any) -> bool:
    """Return whether there may be a float somewhere; naming the place costs ten times as much, so it comes second."""
    kind = type(value)
    if kind in _PLAIN:
        return False
    if kind is dict:
        return any(type(item) not in _PLAIN and _holds_float(item) for item in value.values())
    if kind is list or kind is tuple:
        return any(type(item) not in _PLAIN and _holds_float(item) for item in value)
    return True


def _refuse_floats(value: Any, where: str) -> None:
    if isinstance(value, float):
        raise refuse(where, "floats are not allowed; write parts per million or a rational")
    if isinstance(value, Mapping):
        for key, item in value.items():
            _refuse_floats(item, f"{where}.{key}")
    elif isinstance(value, list | tuple):
        for item in value:
            _refuse_floats(item, where)
