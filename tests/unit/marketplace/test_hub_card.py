"""The head of a card on a Hub: right in every reader, whatever a publisher writes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from symbio_lab.marketplace.hub_card import front_matter, hub_licence, quote
from symbio_lab.records import ClaimedMetric, PatchManifest
from symbio_lab.trust.adapter_files import CARD_NAME, card_markdown
from symbio_lab.trust.sealing import reseal_patch
from tests.attacks.market_simulator import ALICE, BASE, seal


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> PatchManifest:
    return seal(tmp_path_factory.mktemp("store")).manifest


def parsed(text: str) -> dict[str, Any]:
    empty, body, rest = text.split("---\n")
    assert (empty, rest) == ("", "\n")
    value = yaml.safe_load(body)
    assert isinstance(value, dict)
    return value


def test_the_front_matter_says_what_the_hub_needs(manifest: PatchManifest) -> None:
    value = parsed(front_matter(manifest))
    assert value["library_name"] == "peft"
    assert (value["base_model"], value["base_model_relation"]) == ("org/base", "adapter")
    assert value["license"] == "apache-2.0"
    assert value["pipeline_tag"] == "text-classification"
    assert value["tags"] == [
        "symbio-patch",
        f"base-digest:{BASE[:16]}",
        "task:text_classification",
        "domain:travel",
    ]
    (entry,) = value["model-index"]
    (result,) = entry["results"]
    assert result["metrics"] == [{"type": "fix_rate", "value": 0.5, "args": {"n": 100}, "verified": False}]


def test_the_client_library_reads_it(manifest: PatchManifest) -> None:
    from huggingface_hub import ModelCard

    card = ModelCard(front_matter(manifest) + card_markdown(manifest))
    assert card.data.base_model == "org/base"
    assert card.data.eval_results[0].metric_value == 0.5
    assert card.text.strip().startswith("# Travel intents")


def test_what_cannot_be_said_is_left_out(manifest: PatchManifest) -> None:
    value = parsed(front_matter(replace(manifest, base_id="models/base v2", domain="", claims=())))
    assert not {"base_model", "base_model_relation", "model-index"} & set(value)
    assert not [tag for tag in value["tags"] if tag.startswith("domain:")]


@pytest.mark.parametrize(
    ("spdx", "name"),
    [
        ("MIT", "mit"),
        ("CC-BY-SA-4.0", "cc-by-sa-4.0"),
        ("AGPL-3.0-or-later", "agpl-3.0"),
        ("GPL-2.0-only", "gpl-2.0"),
        ("ODC-By-1.0", "odc-by"),
        ("LicenseRef-ours", "other"),
        ("", "other"),
    ],
)
def test_licences(spdx: str, name: str) -> None:
    assert hub_licence(spdx) == name


def test_another_licence_keeps_its_name(manifest: PatchManifest) -> None:
    value = parsed(front_matter(replace(manifest, licence='LicenseRef "ours": v1\n- x')))
    assert (value["license"], value["license_name"]) == ("other", "licenseref-ours-v1-x")


TEXT = st.text(st.characters(codec="utf-8"), max_size=120) | st.sampled_from(
    [
        "a\n---\nlicense: mit",
        "&x *x",
        "!!python/object:os.system",
        "{a: b}",
        "%YAML 1.1",
        "on",
        "1e3",
        "\u2028- x",
        "\ufeff",
    ]
)


@given(TEXT)
def test_a_quoted_text_is_one_line_and_only_text(text: str) -> None:
    line = quote(text)
    assert len(line.splitlines()) == 1
    value = yaml.safe_load(f"- {line}\n- end\n")
    assert value == [value[0], "end"]
    assert isinstance(value[0], str)


@given(domain=TEXT, licence=TEXT, name=TEXT, base=TEXT)
def test_no_text_adds_a_key_or_ends_the_block(
    manifest: PatchManifest, domain: str, licence: str, name: str, base: str
) -> None:
    changed = replace(
        manifest, domain=domain, licence=licence, base_id=base, claims=(ClaimedMetric(name, 0.25, 4),), title=name
    )
    value = parsed(front_matter(changed))
    allowed = {"library_name", "license", "license_name", "base_model", "base_model_relation", "pipeline_tag", "tags"}
    assert set(value) <= allowed | {"model-index"}
    assert value["tags"][:3] == parsed(front_matter(manifest))["tags"][:3]
    assert all(isinstance(tag, str) for tag in value["tags"])
    assert len(value["model-index"][0]["results"][0]["metrics"]) == 1


def test_without_a_hub_the_card_is_what_it_always_was(tmp_path: Path) -> None:
    patch = seal(tmp_path)
    plain = reseal_patch(tmp_path, patch, ALICE)
    assert plain.digest == patch.digest
    assert (plain.root / CARD_NAME).read_text(encoding="utf-8") == card_markdown(patch.manifest)


def test_the_front_matter_is_signed_with_the_card(tmp_path: Path) -> None:
    patch = seal(tmp_path)
    headed = reseal_patch(tmp_path, patch, ALICE, front_matter=front_matter)
    assert headed.digest != patch.digest
    text = (headed.root / CARD_NAME).read_text(encoding="utf-8")
    assert text == front_matter(patch.manifest) + card_markdown(patch.manifest)
    assert {f.name: f.size_bytes for f in headed.manifest.files}[CARD_NAME] == len(text.encode())
