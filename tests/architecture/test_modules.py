"""One concept, one file, one docstring; the spine can be followed."""

from __future__ import annotations

import re

import pytest

from tests.architecture.sources import PACKAGE, ROOT, Module, modules

MOST_LINES = 350
LONGER_FOR_A_REASON: dict[str, str] = {"symbio_lab/records.py": "all records that flow through the lab, in one place"}
"""Module -> why it is one concept although it is long (never above 500 lines)."""
NAMES_THAT_SAY_NOTHING = {"utils", "util", "common", "helpers", "helper", "misc"}
EVERY = pytest.mark.parametrize("module", modules(), ids=lambda module: module.name)


@EVERY
def test_a_module_says_what_it_is_for(module: Module) -> None:
    assert module.docstring.strip(), f"{module.name} has no module docstring"


@EVERY
def test_a_module_is_one_concept_long(module: Module) -> None:
    num_lines = len(module.text.splitlines())
    most = 500 if module.name in LONGER_FOR_A_REASON else MOST_LINES
    assert num_lines <= most, f"{module.name} has {num_lines} lines: look for the second concept"


def test_the_list_of_long_modules_is_not_out_of_date() -> None:
    long = {module.name for module in modules() if len(module.text.splitlines()) > MOST_LINES}
    assert set(LONGER_FOR_A_REASON) <= long


@EVERY
def test_a_module_is_named_for_its_concept(module: Module) -> None:
    assert module.path.stem not in NAMES_THAT_SAY_NOTHING


@EVERY
def test_the_next_file_on_the_spine_exists(module: Module) -> None:
    for target in re.findall(r"^\s*Next:\s*(\S+)", module.docstring, flags=re.MULTILINE):
        path = target.strip("`.,")
        assert (ROOT / path).is_file() or (PACKAGE / path).is_file(), f"{module.name} points to {path}"


def test_the_spine_leads_from_the_records_to_a_deployment() -> None:
    texts = {module.name: module.docstring for module in modules()}
    here, seen = "symbio_lab/records.py", []
    while here:
        assert here not in seen, f"the spine runs in a circle at {here}"
        assert here in texts, f"the spine breaks at {here}"
        seen.append(here)
        match = re.search(r"Next:\s*`*([\w/.-]+\.py)", texts[here])
        here = match[1] if match else ""
    assert seen[-1] == "symbio_lab/deployment/deploy.py", " -> ".join(seen)
    assert len(seen) == 8
