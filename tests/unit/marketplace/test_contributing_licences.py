"""Which licences a contribution may carry, and what it is told where that is not known."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from symbio_lab.errors import ConfigError, TrustError
from symbio_lab.marketplace.contribution.licence_terms import LICENCES, check_licence, known


def refusal(licence: str, **sources: str | None) -> str:
    with pytest.raises(TrustError) as refused:
        check_licence(licence, sources)
    assert refused.value.code == "licence"
    return str(refused.value)


@pytest.mark.parametrize("licence", ["MIT", "GPL-3.0-only", "CC-BY-NC-4.0", "apache-2.0"])
def test_permissive_sources_allow_anything_and_ask_for_their_notices(licence: str) -> None:
    terms = check_licence(licence, {"the base": "Apache-2.0", "patch a": "MIT"})
    assert terms.licence.lower() == licence.lower()
    assert terms.licence in LICENCES
    assert terms.keep_notices == ("the base: Apache-2.0", "patch a: MIT")


@pytest.mark.parametrize(
    ("source", "licence", "allowed"),
    [
        ("GPL-3.0-only", "GPL-3.0-only", True),
        ("GPL-3.0-only", "MIT", False),
        ("GPL-2.0-or-later", "GPL-3.0-only", True),
        ("GPL-2.0-only", "GPL-3.0-only", False),
        ("LGPL-2.1-or-later", "GPL-3.0-or-later", True),
        ("GPL-3.0-only", "LGPL-3.0-only", False),
        ("CC-BY-SA-3.0", "CC-BY-SA-4.0", True),
        ("CC-BY-SA-4.0", "CC-BY-SA-3.0", False),
        ("CC-BY-SA-4.0", "GPL-3.0-only", True),
        ("CC-BY-SA-4.0", "CC-BY-4.0", False),
        ("AGPL-3.0-only", "GPL-3.0-only", False),
        ("ODbL-1.0", "ODbL-1.0", True),
    ],
)
def test_copyleft_stays(source: str, licence: str, allowed: bool) -> None:
    if allowed:
        assert check_licence(licence, {"x": source}).licence == licence
    else:
        assert "derivatives stay under" in refusal(licence, x=source)


@pytest.mark.parametrize(
    ("source", "kind"),
    [("CC-BY-NC-4.0", "non-commercial"), ("CC-BY-ND-4.0", "no-derivatives"), ("CC-BY-NC-SA-4.0", "non-commercial")],
)
def test_non_commercial_and_no_derivatives_stop_whatever_is_chosen(source: str, kind: str) -> None:
    for licence in LICENCES:
        assert kind in refusal(licence, x=source)


def test_expressions() -> None:
    check_licence("MIT", {"x": "GPL-3.0-only OR MIT"})
    check_licence("CC-BY-SA-4.0", {"x": "CC-BY-4.0 AND CC-BY-SA-4.0"})
    check_licence("MIT", {"x": "(GPL-3.0-only AND MIT) OR Apache-2.0"})
    assert "GPL-3.0-only" in refusal("MIT", x="MIT AND (GPL-3.0-only OR CC-BY-NC-4.0)")
    assert "derivatives" in refusal("MIT", x="Apache-2.0 and GPL-2.0-only")
    # AND binds tighter: the right side alone would allow it only together.
    check_licence("MIT", {"x": "MIT OR GPL-3.0-only AND CC-BY-NC-4.0"})


def test_every_source_that_refuses_is_named() -> None:
    told = refusal("MIT", base="GPL-3.0-only", first="MIT", second="CC-BY-NC-4.0")
    assert "base (GPL-3.0-only)" in told
    assert "second (CC-BY-NC-4.0)" in told
    assert "first" not in told


@pytest.mark.parametrize(
    "expression",
    [None, "", "llama3", "LicenseRef-ours", "GPL-2.0-only WITH Classpath-exception-2.0", "MIT AND", "(MIT", "MIT MIT",
     "MIT/Apache-2.0", "MIT OR llama3", "\u202eMIT"],
)  # fmt: skip
def test_what_is_not_known_says_what_to_state(expression: str | None) -> None:
    with pytest.raises(ConfigError) as refused:
        check_licence("nobody's", {"the base": expression, "patch a": "MIT"})
    assert len(refused.value.problems) == 2
    assert refused.value.problems[0].startswith("the patch: the licence")
    assert refused.value.problems[1].startswith("the base: ")
    assert "state" in refused.value.problems[1]
    assert "Apache-2.0" in refused.value.hint


def test_a_patch_has_one_licence() -> None:
    with pytest.raises(ConfigError, match="one SPDX id"):
        check_licence("MIT OR Apache-2.0", {})


@given(st.sampled_from(sorted(LICENCES)), st.sampled_from(sorted(LICENCES)), st.sampled_from(sorted(LICENCES)))
def test_one_more_source_never_allows_more(licence: str, one: str, two: str) -> None:
    def allows(*sources: str) -> bool:
        try:
            check_licence(licence, {str(i): source for i, source in enumerate(sources)})
        except TrustError:
            return False
        return True

    assert allows(one, two) == (allows(one) and allows(two))
    assert known(licence)
    if LICENCES[licence] == "copyleft":
        assert allows(licence)
