"""From a stranger's repository on a Hub to a published patch: guarded reader, loopback Hub, peft's own files."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from symbio_lab.cli import app, market_vouching
from symbio_lab.cli.session import Session
from symbio_lab.config import load_settings
from symbio_lab.deployment.deploy import deploy
from symbio_lab.deployment.registry import ModelRegistry
from symbio_lab.errors import ConfigError, NotFoundError, TrustError
from symbio_lab.marketplace.hub import HubTransport
from symbio_lab.marketplace.hub_folders import HubFolders
from symbio_lab.marketplace.vouching import Adoption
from symbio_lab.store import Database, Ledger
from symbio_lab.testing.loopback_hub import Fault, LoopbackHub
from symbio_lab.testing.tiny_models import NOW, TinyModels
from symbio_lab.testing.tiny_samples import known_samples
from symbio_lab.trust.stored import open_stored
from tests.fixtures_foreign import save_adapter
from tests.fixtures_hub import TOKENS
from tests.fixtures_hub import hub as hub

REPO = "alice/shades-lora"
CARD = b"---\nlicense: apache-2.0\nlibrary_name: peft\n---\n# shades\n"
CODE = b"raise SystemExit('never fetched')\n"


@pytest.fixture
def published(hub: LoopbackHub, tiny: TinyModels, tmp_path: Path) -> tuple[str, Any]:
    """Alice's unsigned adapter on the Hub: its commit, and the peft model that she saved."""
    from huggingface_hub import CommitOperationAdd, HfApi
    from transformers import AutoModelForSequenceClassification

    network = AutoModelForSequenceClassification.from_pretrained(tiny.folder("bert"))
    folder = tmp_path / "alice"
    theirs = save_adapter(network, folder, task_type="SEQ_CLS", target_modules=["query", "value"], use_rslora=True)
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    files |= {"README.md": CARD, "modeling.py": CODE, "adapter_model.bin": b"\x80\x04."}
    api = HfApi(endpoint=hub.endpoint, token="hf_alice")
    api.create_repo(REPO)
    adds = [CommitOperationAdd(name, io.BytesIO(data)) for name, data in files.items()]
    return str(api.create_commit(REPO, adds, commit_message="adapter").oid), theirs


@pytest.fixture
def vouch_from_hub(hub: LoopbackHub, tiny: TinyModels, tmp_home: Path, tmp_path: Path) -> Callable[..., Any]:
    """Bob vouches, without a token: the repository is public."""
    source = HubFolders(HubTransport("hf://", endpoint=hub.endpoint, cache=tmp_path / "cache"))

    def call(address: str, market: Path | None = None, **stated: Any) -> Any:
        return market_vouching.vouch_for(
            Session(load_settings()),
            address,
            str(tiny.folder("bert")),
            Adoption(**stated),
            market=None if market is None else str(market),
            now=NOW,
            source=source,
        )

    return call


def test_a_stranger_s_adapter_becomes_a_patch_that_predicts_the_same(
    hub: LoopbackHub, published: tuple[str, Any], vouch_from_hub: Any, tiny: TinyModels, tmp_path: Path
) -> None:
    commit, theirs = published
    told = vouch_from_hub(f"hf://{REPO}@{commit}", tmp_path / "market", patch_id="bob/shades")
    assert (told["id"], told["licence"]) == ("bob/shades@1", "Apache-2.0")
    assert set(told["not_fetched"]) == {"README.md", "modeling.py", "adapter_model.bin", ".gitattributes"} & {
        *told["not_fetched"], "README.md", "modeling.py", "adapter_model.bin",
    }  # fmt: skip
    assert {"README.md", "modeling.py", "adapter_model.bin"} <= set(told["not_fetched"])
    # The server saw no request for the bytes of anything else.
    resolved = {path.split("?")[0].rsplit("/", 1)[-1] for _, path, _ in hub.requests if "/resolve/" in path}
    assert resolved == {"adapter_config.json", "adapter_model.safetensors"}
    model: Any = tiny.load("bert")
    texts = [sample.text for sample in known_samples(6, seed=5)]
    before = model.logits(texts)[1]
    with model.applied(open_stored(load_settings().settings.patches, told["digest"])):
        ours = model.logits(texts)[1]
    with torch.inference_mode():
        rows = [theirs(input_ids=torch.tensor([ids])).logits[0] for ids in model.encode(texts)]
    torch.testing.assert_close(ours, torch.stack(rows), rtol=1e-4, atol=2e-4)
    assert (ours - before).abs().max() > 0.01


def test_a_branch_is_refused_with_its_commit(published: tuple[str, Any], vouch_from_hub: Any) -> None:
    for address in (f"hf://{REPO}", f"hf://{REPO}@main"):
        with pytest.raises(ConfigError) as caught:
            vouch_from_hub(address)
        assert f"hf://{REPO}@{published[0]}" in caught.value.hint


def test_a_moved_branch_does_not_move_a_pinned_address(
    hub: LoopbackHub, published: tuple[str, Any], vouch_from_hub: Any
) -> None:
    from huggingface_hub import CommitOperationAdd, HfApi

    api = HfApi(endpoint=hub.endpoint, token="hf_alice")
    first = vouch_from_hub(f"hf://{REPO}@{published[0]}")
    later = api.create_commit(
        REPO, [CommitOperationAdd("adapter_config.json", io.BytesIO(b"{}"))], commit_message="moved"
    ).oid
    assert vouch_from_hub(f"hf://{REPO}@{published[0]}")["digest"] == first["digest"]
    with pytest.raises(TrustError) as caught:
        vouch_from_hub(f"hf://{REPO}@{later}")
    assert caught.value.code == "bad_config"


def test_a_commit_that_does_not_exist(published: tuple[str, Any], vouch_from_hub: Any) -> None:
    with pytest.raises(NotFoundError):
        vouch_from_hub(f"hf://{REPO}@{'f' * 40}")


def test_a_flipped_bit_of_the_weights_gives_no_patch_of_the_listed_ones(
    hub: LoopbackHub, published: tuple[str, Any], vouch_from_hub: Any
) -> None:
    hub.faults.add(Fault(method="GET", path=r".*adapter_model\.safetensors.*", kind="bit_flip", times=10))
    with pytest.raises(TrustError) as caught:
        vouch_from_hub(f"hf://{REPO}@{published[0]}")
    assert caught.value.code in ("digest_mismatch", "bad_response")
    assert not load_settings().settings.patches.exists()


# -------------------------------------------------------------------------------------------------- the program


@pytest.fixture
def symbio(hub: LoopbackHub, tmp_home: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Callable[..., Any]:
    """Run the program as Bob, whose endpoint is the loopback Hub; return its exit code and what it printed as JSON."""
    monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
    monkeypatch.setenv("HF_TOKEN", TOKENS["bob"])
    monkeypatch.setattr("symbio_lab.cli.market_search._embedder", lambda: None)

    def call(*arguments: object) -> tuple[int, Any]:
        capsys.readouterr()
        code = app.run(["--device", "cpu", "--num-threads", "1", *map(str, arguments), "--json"])
        return code, json.loads(capsys.readouterr().out)

    return call


@pytest.fixture
def uploaded(hub: LoopbackHub, tiny: TinyModels, tmp_path: Path) -> str:
    """A folder that peft saved, uploaded by the unmodified client as it is; return its commit."""
    from huggingface_hub import HfApi
    from transformers import AutoModelForSequenceClassification

    network = AutoModelForSequenceClassification.from_pretrained(tiny.folder("bert"))
    folder = tmp_path / "alice"
    save_adapter(network, folder, task_type="SEQ_CLS", target_modules=["query", "value"])
    (folder / "README.md").write_bytes(CARD)
    api = HfApi(endpoint=hub.endpoint, token=TOKENS["alice"])
    api.create_repo(REPO)
    return str(api.upload_folder(repo_id=REPO, folder_path=folder).oid)


def test_vouched_found_by_search_installed_elsewhere_and_deployed(
    hub: LoopbackHub, uploaded: str, symbio: Any, tiny: TinyModels, tmp_path: Path
) -> None:
    about = ("--model", tiny.folder("bert"), "--scope", "shades of blue", "--label", "blue")
    code, told = symbio("market", "vouch", f"hf://{REPO}@{uploaded}", *about, "--as", "bob/shades", "--market",
                        "hf://bob")  # fmt: skip
    assert (code, told["id"], told["market"], told["pull_request"]) == (0, "bob/shades@1", "hf://bob", None)
    code, found = symbio("market", "search", "shades of blue", "--market", "hf://bob", "--base", told["base_digest"])
    assert code == 0
    assert [(row["id"], row["digest"], row["verified"]) for row in found] == [("bob/shades", told["digest"], True)]
    code, verdict = symbio("market", "verify", "hf://bob")
    assert (code, verdict["num_accepted"]) == (0, 1)
    # Another installation, which knows Bob's key, installs and deploys it.
    carol = ("--home", tmp_path / "carol", "market")
    assert symbio(*carol, "install", "bob/shades", "--market", "hf://bob")[1]["error"] == "unknown_key"
    symbio(*carol, "enrol", told["public_key"], "--name", "Bob")
    code, installed = symbio(*carol, "install", "bob/shades", "--market", "hf://bob")
    assert (code, installed["digest"], installed["level"]) == (0, told["digest"], "signed")
    patch, model = open_stored(tmp_path / "carol" / "patches", told["digest"]), tiny.load("bert")
    registry, ledger = ModelRegistry(), Ledger(Database(tmp_path / "carol" / "symbio.db"))
    registry.register("bert", model)
    line = deploy(registry, ledger, patch, tenant="carol", model_id="bert", now=NOW)
    texts = [sample.text for sample in known_samples(6, seed=5)]
    with model.applied(patch):
        expected = model.predict(texts).outputs
    assert registry.predict("carol", "bert", texts).outputs == expected
    assert ledger.current("carol", "bert") == line
    assert (line.patch_digest, line.base_digest) == (told["digest"], told["base_digest"])


@pytest.mark.parametrize("revision", ["", "@main"])
def test_the_program_names_the_commit_that_a_branch_stands_at(
    uploaded: str, symbio: Any, tiny: TinyModels, tmp_home: Path, revision: str
) -> None:
    code, told = symbio("market", "vouch", f"hf://{REPO}{revision}", "--model", tiny.folder("bert"))
    assert (code, told["error"], f"hf://{REPO}@{uploaded}" in told["hint"]) == (2, "bad_config", True)
    assert not load_settings().settings.patches.exists()


def test_who_may_not_write_proposes_what_was_vouched_for(
    hub: LoopbackHub, uploaded: str, symbio: Any, tiny: TinyModels
) -> None:
    from huggingface_hub import HfApi

    HfApi(endpoint=hub.endpoint, token=TOKENS["alice"]).create_repo("alice/vouched")
    code, told = symbio("market", "vouch", f"hf://{REPO}@{uploaded}", "--model", tiny.folder("bert"), "--as",
                        "alice/vouched", "--market", "hf://alice")  # fmt: skip
    assert (code, "/alice/vouched/discussions/" in told["pull_request"]) == (0, True)
    # Installed here all the same; in the market only once its owner merges it.
    assert open_stored(load_settings().settings.patches, told["digest"]).patch_id == "alice/vouched"
    rows = {row["id"]: row for row in symbio("market", "list", "--market", "hf://alice")[1]}
    assert not rows.get("alice/vouched", {"verified": False})["verified"]
