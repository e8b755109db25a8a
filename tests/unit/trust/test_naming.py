"""Names: what is accepted can never leave a folder."""

from __future__ import annotations

from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from symbio_lab.errors import TrustError
from symbio_lab.trust.naming import check_file_name, check_module_names, check_patch_id, is_forbidden, split_ref
from tests.attacks.market_simulator import attempt

NASTY = st.text(alphabet="./\\:abcN~@ \n\x00", max_size=12) | st.text(max_size=12)


@given(NASTY)
def test_an_accepted_name_stays_inside(name: str) -> None:
    accepted, code = attempt(lambda: check_file_name(name))
    assert code in ("", "unsafe_name")
    if accepted is None:
        return
    assert (Path("root") / name).resolve().is_relative_to(Path("root").resolve())
    assert ".." not in PurePosixPath(name).parts
    assert not PurePosixPath(name).is_absolute()
    assert not PureWindowsPath(name).is_absolute()
    assert not PureWindowsPath(name).drive


@given(NASTY)
def test_an_accepted_reference_stays_inside(ref: str) -> None:
    parts, code = attempt(lambda: split_ref(ref))
    assert code in ("", "unsafe_name")
    if parts is None:
        return
    namespace, name, version = parts
    assert (Path("root") / namespace / name).resolve().parent.parent == Path("root").resolve()
    assert version is None or version >= 1


@pytest.mark.parametrize("name", ["adapter_config.json", "a/b.md", "-x", "A_1.safetensors"])
def test_ordinary_names(name: str) -> None:
    assert check_file_name(name) == name


@pytest.mark.parametrize("name", ["con.md", "a/NUL", "com1", "x.", "a/.b", "é.md", "a" * 97, "", None, 3])
def test_names_that_some_system_reads_otherwise(name: object) -> None:
    with pytest.raises(TrustError):
        check_file_name(name)


@pytest.mark.parametrize("patch_id", ["alice", "a/b/c", "/b", "a/", "a/..", "a..b/c", "con/x", "a/b.", None])
def test_bad_patch_ids(patch_id: object) -> None:
    with pytest.raises(TrustError):
        check_patch_id(patch_id)


def test_forbidden_suffixes_in_any_place_and_case() -> None:
    assert all(map(is_forbidden, ["a.bin", "a.PKL", "a.tar.gz", "d/x.py", "a.pt.json"]))
    assert not any(map(is_forbidden, ["bin", "py/a.md", "a.safetensors"]))


def test_modules_are_literal() -> None:
    assert check_module_names(["a.b", "a.c"]) == ("a.b", "a.c")
    for bad in (["a.*"], ["b", "a"], ["a", "a"], ["a..b"], [""], [3]):
        with pytest.raises(TrustError):
            check_module_names(bad)
