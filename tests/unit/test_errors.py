"""Every error has a code and a next step."""

from __future__ import annotations

import inspect

import pytest

from symbio_lab import errors
from symbio_lab.errors import (
    TRUST_CODES,
    ConfigError,
    MissingColumnsError,
    MissingExtraError,
    SymbioError,
    TrustError,
    UnknownDatasetError,
    UnknownLabelsError,
)

CLASSES = [c for _, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, SymbioError)]


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_each_class_has_a_code_a_hint_and_an_exit_code(kind: type[SymbioError]) -> None:
    assert kind.code
    assert kind.code == kind.code.lower()
    assert kind.hint
    assert kind.exit_code in (2, 3, 4, 5)
    assert kind.__name__.endswith("Error")


def test_codes_are_not_shared_by_two_classes() -> None:
    codes = [kind.code for kind in CLASSES if kind is not TrustError]
    assert len(codes) == len(set(codes))


def test_config_error_reports_all_problems_at_once() -> None:
    error = ConfigError(["device: no", "dtype: no"])
    assert error.problems == ("device: no", "dtype: no")
    assert str(error) == "device: no; dtype: no"


@pytest.mark.parametrize("code", TRUST_CODES)
def test_trust_error_carries_its_code_and_next_step(code: str) -> None:
    error = TrustError(code, "refused")
    assert error.to_json() == {"error": code, "message": "refused", "hint": TRUST_CODES[code]}
    assert error.exit_code == 3


def test_an_unknown_trust_code_is_a_programming_error() -> None:
    with pytest.raises(KeyError, match="no_such_code"):
        TrustError("no_such_code", "x")


def test_hints_name_what_would_work() -> None:
    assert "clinc150, helpdesk" in UnknownDatasetError("x", known=("clinc150", "helpdesk")).hint
    assert "it has: a" in MissingColumnsError("rows.csv", ["text"], ["a"]).hint
    assert "symbio-lab[lab]" in MissingExtraError("ipywidgets", "lab").hint
    assert str(UnknownLabelsError([f"label{i}" for i in range(20)])).endswith("...")


def test_a_hint_given_at_raise_time_wins_without_changing_the_class() -> None:
    assert SymbioError("x", hint="do this").hint == "do this"
    assert SymbioError("x").hint == SymbioError.hint
