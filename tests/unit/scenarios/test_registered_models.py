"""A model id leads back to one base, and a deployment to what was predicted around it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from symbio_lab.codec import write_json
from symbio_lab.config import Settings
from symbio_lab.errors import ConfigError, DataError, ModelUnresolvedError
from symbio_lab.records import Deployment
from symbio_lab.scenarios import registered_models as registered

RECORD = registered.ModelRecord("clinc150/travel", "clinc150/travel", 0, None, "b" * 64, 0, 16, 1)


def test_a_record_comes_back_as_it_was(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    registered.save_model(settings, RECORD)
    registered.save_model(settings, replace(RECORD, seed=3))
    assert registered.load_model(settings, "clinc150/travel") == replace(RECORD, seed=3)
    assert (tmp_path / "models" / "clinc150~travel.json").is_file()


def test_one_id_is_one_base(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    registered.save_model(settings, RECORD)
    with pytest.raises(ConfigError, match="names another base"):
        registered.save_model(settings, replace(RECORD, base_digest="c" * 64))
    assert registered.load_model(settings, "clinc150/travel") == RECORD


def test_unknown_and_damaged_records(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    with pytest.raises(ModelUnresolvedError):
        registered.load_model(settings, "nobody")
    write_json(registered.model_file(settings, "broken"), {"schema": 1})
    with pytest.raises(DataError):
        registered.load_model(settings, "broken")


@pytest.mark.parametrize("name", ["../../etc", "a b", "a/b?c", "con.", "x" * 300, "ä", ""])
def test_every_id_is_one_safe_file_name(name: str) -> None:
    part = registered.slug(name)
    assert "/" not in part
    assert not part.startswith(".")
    assert not part.endswith(".")
    assert 0 < len(part) < 100


def test_ids_that_look_alike_have_different_files() -> None:
    names = ["a/b", "a-b", "a~b", "a b", "a?b", "a:b", ".a/b"]
    assert len({registered.slug(name) for name in names}) == len(names)


def test_the_record_is_that_of_the_deployment_that_brought_the_patch(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    first = Deployment("t", "m", "b" * 64, "1" * 64, "a/b", "live", None, "2026-01-01T00:00:00Z")
    second = replace(first, patch_digest="2" * 64, previous=first.deployment_id)
    back = replace(first, stage="rolled_back", created_at="2026-01-02T00:00:00Z")
    kept = registered.DeploymentRecord(first.deployment_id, 0, 16, 1000, "before", "after")
    write_json(registered.deployment_file(settings, first.deployment_id), kept)
    assert registered.record_of(settings, back, [first, second, back]) == kept
    assert registered.record_of(settings, second, [first, second]) is None
