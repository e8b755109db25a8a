"""The grammar of answers: what a server may lead to, and which headers are believed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from symbio_lab.errors import TrustError
from symbio_lab.marketplace.hub_answers import (
    OversizeAnswerError,
    check_answer,
    check_target,
    is_same_origin,
    wait_asked_for,
)

PUBLIC = "https://huggingface.co"
LOCAL = "http://127.0.0.1:8765"
GIT, SHA256 = "a" * 40, "b" * 64


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("https://huggingface.co/api/models", PUBLIC),
        ("https://cdn-lfs.example.org/x?sig=1", PUBLIC),
        ("http://127.0.0.1:8765/api", LOCAL),
        ("http://localhost:9000/cdn", LOCAL),
        ("https://cdn.example.org/x", LOCAL),
    ],
)
def test_targets_that_are_allowed(url: str, endpoint: str) -> None:
    check_target(url, endpoint)


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("http://huggingface.co/api", PUBLIC),
        ("http://localhost/x", PUBLIC),
        ("https://127.0.0.1/x", PUBLIC),
        ("https://[::1]/x", PUBLIC),
        ("https://10.1.2.3/x", PUBLIC),
        ("https://169.254.1.1/x", PUBLIC),
        ("http://example.org/x", LOCAL),
        ("file:///etc/x", LOCAL),
        ("local:///somewhere", LOCAL),
        ("https://[bad", PUBLIC),
    ],
)
def test_targets_that_are_refused(url: str, endpoint: str) -> None:
    with pytest.raises(TrustError) as refused:
        check_target(url, endpoint)
    assert refused.value.code == "bad_response"


def test_the_token_stays_at_its_origin() -> None:
    assert is_same_origin("https://huggingface.co/api", PUBLIC)
    assert not is_same_origin("https://huggingface.co:8443/api", PUBLIC)
    assert not is_same_origin("http://huggingface.co/api", PUBLIC)
    assert not is_same_origin("https://huggingface.co.example.org", PUBLIC)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"etag": f'"{GIT}"', "x-repo-commit": GIT, "content-length": "99"},
        {"etag": f'W/"{GIT}"'},
        {"x-linked-etag": f'"{SHA256}"', "etag": '"0x8D-azure"', "x-linked-size": "100"},
        {"content-range": "bytes 10-19/100"},
        {"content-range": "bytes */100"},
    ],
)
def test_answers_that_are_believed(headers: dict[str, str]) -> None:
    check_answer(headers, method="HEAD", max_bytes=100)


@pytest.mark.parametrize(
    "headers",
    [
        {"etag": '"../../up"'},
        {"etag": f'"{GIT}/../x"'},
        {"etag": '"abc"'},
        {"etag": f'"{GIT.upper()}"'},
        {"x-linked-etag": '"../x"', "etag": f'"{GIT}"'},
        {"x-repo-commit": "main"},
        {"x-repo-commit": "../" + GIT},
        {"content-length": "-1"},
        {"content-length": "1e9"},
        {"content-length": "٣"},
        {"content-length": "101"},
        {"x-linked-size": "101"},
        {"content-range": "bytes 0-9/101"},
        {"content-range": "elephants"},
        {"content-encoding": "gzip"},
    ],
)
def test_answers_that_are_refused(headers: dict[str, str]) -> None:
    with pytest.raises(TrustError) as refused:
        check_answer(headers, method="HEAD", max_bytes=100)
    assert refused.value.code == "bad_response"


def test_tags_that_name_no_content_are_the_server_s_own() -> None:
    check_answer({"etag": 'W/"3f4-Hd+aB/x9"'}, method="GET", max_bytes=100)
    with pytest.raises(TrustError):
        check_answer({"x-linked-etag": 'W/"3f4-Hd+aB/x9"'}, method="GET", max_bytes=100)


def test_only_the_commit_asked_for_is_accepted() -> None:
    check_answer({"x-repo-commit": GIT}, method="GET", max_bytes=1, commit=GIT)
    with pytest.raises(TrustError, match="asked for commit"):
        check_answer({"x-repo-commit": "c" * 40}, method="GET", max_bytes=1, commit=GIT)


def test_an_explanation_may_be_larger_than_a_small_file() -> None:
    check_answer({"content-length": "5000"}, method="GET", max_bytes=10, status=404)
    with pytest.raises(OversizeAnswerError):
        check_answer({"content-length": "5000000"}, method="GET", max_bytes=10, status=404)
    with pytest.raises(OversizeAnswerError):
        check_answer({"x-linked-size": "5000"}, method="HEAD", max_bytes=10, status=302)


@given(st.text(max_size=80))
def test_whatever_is_believed_as_a_tag_is_a_file_name(tag: str) -> None:
    try:
        check_answer({"etag": tag}, method="HEAD", max_bytes=1)
    except TrustError:
        return
    name = tag.removeprefix("W/").strip('"')
    assert len(name) in (40, 64)
    assert set(name) <= set("0123456789abcdef")


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "12"}, 12.0),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "12", "ratelimit": '"api";r=0;t=55'}, 55.0),
        ({"ratelimit": '"api";r=10;t=55'}, None),
        ({}, None),
    ],
)
def test_how_long_a_server_asks_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    assert wait_asked_for(headers) == seconds
