"""An adapter that peft saved becomes a patch that predicts what peft predicts; what cannot be is refused whole."""

from __future__ import annotations

import getpass
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from torch import nn

from symbio_lab.cli import app as program
from symbio_lab.cli import market_vouching
from symbio_lab.cli.failing import run_guarded
from symbio_lab.cli.session import Session
from symbio_lab.config import Settings, load_settings
from symbio_lab.errors import ConfigError, ModelUnresolvedError, TrustError
from symbio_lab.marketplace.directory import DirectoryTransport
from symbio_lab.marketplace.foreign_folders import parse_pinned
from symbio_lab.marketplace.vouching import UNSIGNED, Adoption, Vouched, vouch
from symbio_lab.records import Patch
from symbio_lab.testing.tiny_models import EXPIRES, ISSUED, NOW, PUBLISHER, TinyModels
from symbio_lab.testing.tiny_samples import generation_samples, known_samples
from symbio_lab.trust import key_storage
from symbio_lab.trust.key_ring import OWN_NAME, KeyRing
from symbio_lab.trust.key_storage import PASSPHRASE_VARIABLE, KdfCost
from symbio_lab.trust.stored import open_stored
from tests.fixtures_foreign import ADDRESS, REPO, SHA, PlainFolders, edit_config, save_adapter

# Sums of float32 in another order: differences of up to 4e-5 were seen.
TOLERANCE = {"rtol": 1e-4, "atol": 2e-4}
TEXTS = {
    "bert": [s.text for s in known_samples(6, seed=3)],
    "llama": [s.text for s in generation_samples(6, seed=3)],
    "gpt2": [s.text for s in generation_samples(6, seed=3)],
}


@pytest.fixture
def folders(tmp_path: Path) -> PlainFolders:
    return PlainFolders(tmp_path / "hub")


def adapter_folder(folders: PlainFolders) -> Path:
    return folders.root / REPO / SHA


def base_folder(tiny: TinyModels, member: str) -> Path:
    """The folder of a tiny model; a GPT-2, whose layers store their weights transposed, is made beside the others."""
    if member != "gpt2":
        return tiny.folder(member)
    target = tiny.root / "gpt2"
    if not target.is_dir():
        from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

        tokenizer = AutoTokenizer.from_pretrained(tiny.folder("llama"))
        config = GPT2Config(
            vocab_size=len(tokenizer), n_positions=64, n_embd=32, n_layer=2, n_head=4, bos_token_id=2, eos_token_id=3,
            initializer_range=0.2,
        )  # fmt: skip
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            GPT2LMHeadModel(config).save_pretrained(target)
        tokenizer.save_pretrained(target)
    return target


def plain_network(tiny: TinyModels, member: str, **options: Any) -> Any:
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    kind = AutoModelForSequenceClassification if member == "bert" else AutoModelForCausalLM
    return kind.from_pretrained(base_folder(tiny, member), **options)


def load(tiny: TinyModels, member: str) -> Any:
    from symbio_lab.models.loading import load_model

    model: Any = load_model(base_folder(tiny, member), device="cpu")
    if member != "bert":
        model.max_new_tokens = 8
    return model


@torch.inference_mode()
def logits_of(network: Any, model: Any, member: str) -> torch.Tensor:
    """Logits of every text by the bare network, without our own batching."""
    rows = [network(input_ids=torch.tensor([ids])).logits[0] for ids in model.encode(TEXTS[member])]
    return torch.stack([row if row.dim() == 1 else row[-1] for row in rows]).float()


@torch.inference_mode()
def patched_logits(model: Any, patch: Patch, member: str) -> torch.Tensor:
    with model.applied(patch):
        if member == "bert":
            return model.logits(TEXTS[member])[1]
        return logits_of(model.module, model, member)


def adopt(folders: PlainFolders, model: Any, store: Path, **stated: Any) -> Vouched:
    return vouch(
        parse_pinned(ADDRESS), folders, model, key=PUBLISHER, store=store, issued=ISSUED, expires=EXPIRES,
        adoption=Adoption(**stated),
    )  # fmt: skip


def refusal(folders: PlainFolders, model: Any, store: Path, **stated: Any) -> TrustError:
    """The refusal of the adapter; nothing of it is left in the store."""
    with pytest.raises(TrustError) as caught:
        adopt(folders, model, store, **stated)
    assert not store.exists() or not list(store.iterdir())
    return caught.value


def add_to_weight(head: nn.Linear) -> None:
    head.weight += torch.randn(head.weight.shape, generator=torch.Generator().manual_seed(1))


def add_to_bias(head: nn.Linear) -> None:
    head.bias += 1.0


# ------------------------------------------------------------------------------------------------- equal to peft


@pytest.mark.parametrize(
    ("member", "options"),
    [
        ("bert", {"task_type": "SEQ_CLS", "target_modules": ["query", "value"]}),
        ("bert", {"task_type": "SEQ_CLS", "target_modules": ["query"], "use_rslora": True, "head": add_to_weight}),
        ("bert", {"task_type": "SEQ_CLS", "target_modules": "all-linear", "r": 8, "head": add_to_weight}),
        ("bert", {"task_type": "SEQ_CLS", "target_modules": ["query"], "layers_to_transform": [1], "lora_alpha": 3}),
        ("bert", {"task_type": "FEATURE_EXTRACTION", "target_modules": ["dense"], "r": 2}),
        ("llama", {"task_type": "CAUSAL_LM", "target_modules": ["q_proj", "v_proj"]}),
        ("llama", {"task_type": "CAUSAL_LM", "target_modules": "all-linear", "use_rslora": True, "r": 3}),
        ("gpt2", {"task_type": "CAUSAL_LM", "target_modules": ["c_attn", "c_fc"], "fan_in_fan_out": True}),
    ],
)
def test_predictions_are_peft_s_own(
    tiny: TinyModels, folders: PlainFolders, tmp_path: Path, member: str, options: dict[str, Any]
) -> None:
    theirs = save_adapter(plain_network(tiny, member), adapter_folder(folders), **options)
    model = load(tiny, member)
    vouched = adopt(folders, model, tmp_path / "store")
    base, ours = logits_of(model.module, model, member), patched_logits(model, vouched.patch, member)
    torch.testing.assert_close(ours, logits_of(theirs, model, member), **TOLERANCE)
    assert (ours - base).abs().max() > 0.01  # an adapter that did nothing would be equal too
    # What peft reads back from disk, and what the store gives back, are the same again.
    from peft import PeftModel

    again = PeftModel.from_pretrained(plain_network(tiny, member), str(adapter_folder(folders))).eval()
    stored = open_stored(tmp_path / "store", vouched.patch.digest)
    torch.testing.assert_close(patched_logits(model, stored, member), logits_of(again, model, member), **TOLERANCE)


def test_generated_answers_are_peft_s_own(tiny: TinyModels, folders: PlainFolders, tmp_path: Path) -> None:
    theirs = save_adapter(
        plain_network(tiny, "llama"), adapter_folder(folders), task_type="CAUSAL_LM", target_modules="all-linear", r=8
    )
    model = load(tiny, "llama")
    before = model.predict(TEXTS["llama"]).outputs
    with model.applied(adopt(folders, model, tmp_path / "store").patch):
        ours = model.predict(TEXTS["llama"]).outputs
    assert ours != before
    for text, answer in zip(TEXTS["llama"], ours, strict=True):
        prompt = torch.tensor(model.encode([text]))
        ids = theirs.generate(
            input_ids=prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=8, do_sample=False
        )
        assert model.tokenizer.decode(ids[0, prompt.shape[1] :], skip_special_tokens=True).strip() == answer


def test_a_head_with_added_rows_is_peft_s_own(tiny: TinyModels, folders: PlainFolders, tmp_path: Path) -> None:
    model = load(tiny, "bert")
    own = model.head

    def extend(head: nn.Linear) -> None:
        head.weight[: own.out_features] = own.weight
        head.bias[: own.out_features] = own.bias
        head.weight[own.out_features :] = torch.randn(2, own.in_features, generator=torch.Generator().manual_seed(2))
        head.bias[own.out_features :] = torch.tensor([0.5, -0.5])

    wider = plain_network(tiny, "bert", num_labels=6, ignore_mismatched_sizes=True)
    theirs = save_adapter(wider, adapter_folder(folders), task_type="SEQ_CLS", target_modules=["query"], head=extend)
    refused = refusal(folders, model, tmp_path / "store")
    assert (refused.code, "--row" in refused.hint) == ("bad_tensors", True)
    patch = adopt(folders, model, tmp_path / "store", row_names=(*model.labels, "cyan", "plum")).patch
    assert (patch.manifest.adapter.head_labels, patch.manifest.labels) == (("cyan", "plum"), ("cyan", "plum"))
    torch.testing.assert_close(patched_logits(model, patch, "bert"), logits_of(theirs, model, "bert"), **TOLERANCE)


# --------------------------------------------------------------------------------------------- what the patch says


@pytest.fixture
def ready(tiny: TinyModels, folders: PlainFolders) -> Any:
    """A base and a good adapter for it, published by a stranger."""
    save_adapter(plain_network(tiny, "bert"), adapter_folder(folders), task_type="SEQ_CLS", target_modules=["query"])
    return load(tiny, "bert")


def test_the_manifest_says_who_signed_and_who_did_not(ready: Any, folders: PlainFolders, tmp_path: Path) -> None:
    (adapter_folder(folders) / "train.py").write_text("print('never read')")
    vouched = adopt(folders, ready, tmp_path / "store", scope="Heals shades.", domain="shades")
    manifest, card = vouched.patch.manifest, (vouched.patch.root / "README.md").read_text()
    assert manifest.training_data.startswith(f"vouched_by_self: converted from {ADDRESS}, adapter_config.json sha256 ")
    assert all(entry.sha256 in manifest.training_data for entry in vouched.folder.files)
    assert "not signed by its author" in manifest.training_data
    assert (manifest.licence, manifest.lineage, manifest.claims) == ("Apache-2.0", (), ())
    assert manifest.patch_id == f"lab-{PUBLISHER.keyid[:12]}/stranger.adapter"
    assert manifest.keyid == PUBLISHER.keyid
    assert manifest.base_digest == ready.digest
    assert manifest.base_id == "bert"  # the name of the folder, never its path
    assert str(tmp_path.parent) not in manifest.base_id
    assert manifest.scope == f"Heals shades. {UNSIGNED}"
    assert UNSIGNED in card
    assert "README.md" in vouched.folder.left_out
    assert "train.py" in vouched.folder.left_out
    assert any(note.startswith("not fetched, 2 file(s): README.md, train.py") for note in vouched.notes)
    assert folders.fetched == ["adapter_config.json", "adapter_model.safetensors"]
    assert vouched.patch.level == "signed"


def test_the_same_adapter_gives_the_same_bytes(ready: Any, folders: PlainFolders, tmp_path: Path) -> None:
    first, again = (adopt(folders, ready, tmp_path / name).patch.digest for name in ("one", "two"))
    assert first == again
    assert ready.weights_digest() == load_digest(ready)


def load_digest(model: Any) -> str:
    from symbio_lab.models.loading import load_model

    return load_model(model.model_id, device="cpu").weights_digest()


# ------------------------------------------------------------------------------------------------------- refusals


def test_another_base_by_name(ready: Any, folders: PlainFolders, tmp_path: Path) -> None:
    edit_config(adapter_folder(folders), base_model_name_or_path="org/bert-of-the-author")
    refused = refusal(folders, ready, tmp_path / "store")
    assert (refused.code, "--base-is 'org/bert-of-the-author'" in refused.hint) == ("wrong_base", True)
    assert refusal(folders, ready, tmp_path / "store", base_is="org/another").code == "wrong_base"
    patch = adopt(folders, ready, tmp_path / "store", base_is="org/bert-of-the-author").patch
    assert patch.manifest.base_id == "org/bert-of-the-author"


@pytest.mark.parametrize("member", ["pooled", "llama"])
def test_an_orphan_is_told_by_its_modules(
    tiny: TinyModels, ready: Any, folders: PlainFolders, tmp_path: Path, member: str
) -> None:
    edit_config(adapter_folder(folders), base_model_name_or_path="org/any", task_type=None)
    refused = refusal(folders, tiny.load(member), tmp_path / "store", base_is="org/any")
    assert (refused.code, "made for another base" in str(refused)) == ("wrong_base", True)


def test_another_task(tiny: TinyModels, ready: Any, folders: PlainFolders, tmp_path: Path) -> None:
    edit_config(adapter_folder(folders), base_model_name_or_path="org/any")
    assert refusal(folders, tiny.load("llama"), tmp_path / "store", base_is="org/any").code == "wrong_task"


def test_a_trained_bias_of_the_head(tiny: TinyModels, folders: PlainFolders, tmp_path: Path) -> None:
    options = {"task_type": "SEQ_CLS", "target_modules": ["query"]}
    save_adapter(plain_network(tiny, "bert"), adapter_folder(folders), head=add_to_bias, **options)
    refused = refusal(folders, load(tiny, "bert"), tmp_path / "store")
    assert (refused.code, "not their biases" in str(refused)) == ("bad_tensors", True)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"use_dora": True}, "DoRA"),
        ({"rank_pattern": {"layer.0.attention.self.query": 2}}, "regular expressions"),
        ({"init_lora_weights": "pissa"}, "weights of the base"),
        ({"init_lora_weights": "olora"}, "weights of the base"),
        ({"bias": "lora_only"}, "biases of the base"),
        ({"task_type": None}, "import a class by name"),
        ({"target_modules": ["query", "word_embeddings"]}, "embeddings"),
    ],
)
def test_kinds_of_lora_that_a_patch_cannot_hold(
    tiny: TinyModels, folders: PlainFolders, tmp_path: Path, options: dict[str, Any], told: str
) -> None:
    plain = {"task_type": "SEQ_CLS", "target_modules": ["query"]}
    save_adapter(plain_network(tiny, "bert"), adapter_folder(folders), **{**plain, **options})
    refused = refusal(folders, load(tiny, "bert"), tmp_path / "store")
    assert (refused.code in ("bad_config", "bad_tensors"), told in str(refused)) == (True, True), refused


@pytest.mark.parametrize(
    ("stated", "given", "licence"),
    [("mit", None, "MIT"), ("odbl", None, "ODbL-1.0"), ("gpl-3.0", "GPL-3.0-only", "GPL-3.0-only"),
     ("MIT", "mit", "mit"), ("other", "LicenseRef-terms", "LicenseRef-terms"), (None, "MIT", "MIT"),
     ("other", None, None), (None, None, None), ("gpl-3.0", None, None), ("cc-by-nc-4.0", "MIT", None)],
)  # fmt: skip
def test_the_licence_is_the_author_s(
    ready: Any, folders: PlainFolders, tmp_path: Path, stated: str | None, given: str | None, licence: str | None
) -> None:
    folders.licence = stated
    if licence is None:
        with pytest.raises(ConfigError) as caught:
            adopt(folders, ready, tmp_path / "store", licence=given)
        assert caught.value.hint
        return
    assert adopt(folders, ready, tmp_path / "store", licence=given).patch.manifest.licence == licence


# ----------------------------------------------------------------------------------------------- the command line


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def symbio(tmp_home: Path, folders: PlainFolders, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Callable[..., Ran]:
    """Run the command alone, against plain folders in place of the Hub."""
    monkeypatch.setattr(market_vouching, "_hub", lambda: folders)
    monkeypatch.setattr(market_vouching, "utc_now", lambda: NOW)
    app, market = typer.Typer(), typer.Typer()

    @app.callback()
    def prepare(context: typer.Context) -> None:
        context.obj = Session(load_settings())

    @market.callback()
    def group() -> None:
        """Keep the command's name."""

    market_vouching.add_vouching_commands(market)
    app.add_typer(market, name="market")
    command = typer.main.get_command(app)

    def call(*arguments: object) -> Ran:
        capsys.readouterr()
        given = ["market", "vouch", *map(str, arguments)]
        code = run_guarded(lambda: command.main(args=given, standalone_mode=False), as_json="--json" in given)
        printed = capsys.readouterr()
        return Ran(code, printed.out, printed.err)

    return call


def settings() -> Settings:
    return load_settings().settings


def test_vouch_installs(symbio: Any, ready: Any, tmp_home: Path) -> None:
    arguments = [ADDRESS, "--model", ready.model_id, "--scope", "shades of blue", "--label", "blue"]
    ran = symbio(*arguments, "--json")
    assert ran.code == 0, ran.err + ran.out
    told = ran.json
    patch = open_stored(settings().patches, told["digest"])
    assert told["id"] == f"{patch.patch_id}@1"
    assert (told["source"], told["market"], told["licence"]) == (ADDRESS, None, "Apache-2.0")
    assert told["level"] == "known_publisher"  # what the adopter's own key has, no more
    assert told["notes"][0] == UNSIGNED
    assert told["not_fetched"] == ["README.md"]
    assert patch.manifest.labels == ("blue",)
    assert [path.name for path in settings().patches.iterdir()] == [patch.digest]
    plain = symbio(*arguments)
    assert plain.out.splitlines()[-1] == told["digest"]
    assert UNSIGNED in plain.err


def test_vouch_publishes_signed_once(symbio: Any, ready: Any, tmp_path: Path) -> None:
    market = tmp_path / "market"
    arguments = [ADDRESS, "--model", ready.model_id, "--as", "me/shades", "--market", market, "--json"]
    first, second = symbio(*arguments).json, symbio(*arguments).json
    assert (first["id"], second["id"]) == ("me/shades@1", "me/shades@2")
    assert DirectoryTransport(market).list_versions("me/shades") == [1, 2]
    patch = open_stored(settings().patches, first["digest"])
    assert (patch.manifest.lineage, patch.manifest.claims) == ((), ())
    assert patch.manifest.training_data.startswith("vouched_by_self: ")
    assert {path.name for path in settings().patches.iterdir()} == {first["digest"], second["digest"]}


def test_a_key_with_a_passphrase_vouches(symbio: Any, ready: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    typed = ["correct horse battery", "another horse battery"]
    monkeypatch.setattr(key_storage, "DEFAULT_COST", KdfCost(ops=1, memory_bytes=8192))
    monkeypatch.delenv(PASSPHRASE_VARIABLE, raising=False)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(getpass, "getpass", lambda prompt, stream: typed.pop(0))
    made = KeyRing(settings().keys).create(OWN_NAME, "passphrase", lambda: "correct horse battery")
    told = symbio(ADDRESS, "--model", ready.model_id, "--json").json
    assert told["keyid"] == made.keyid
    ran = symbio(ADDRESS, "--model", ready.model_id, "--json")
    assert (ran.code, ran.json["error"], typed) == (3, "bad_key", [])


def test_a_name_passes_to_the_key_that_succeeds_ours_and_to_no_other(symbio: Any, ready: Any, tmp_path: Path) -> None:
    market = tmp_path / "market"
    arguments = [ADDRESS, "--model", ready.model_id, "--as", "me/shades", "--market", market, "--json"]
    first = symbio(*arguments).json
    assert program.run(["market", "keys", "rotate", "own"]) == 0
    second = symbio(*arguments).json
    assert (second["id"], second["keyid"] != first["keyid"]) == ("me/shades@2", True)
    patch = open_stored(settings().patches, second["digest"])
    assert patch.manifest.previous == first["digest"]
    shutil.rmtree(settings().keys)
    ran = symbio(*arguments)
    assert (ran.code, ran.json["error"]) == (3, "name_taken")
    assert DirectoryTransport(market).list_versions("me/shades") == [1, 2]


@pytest.mark.parametrize("revision", ["", "@main", "@0123abc", f"@{SHA.upper()}", f"@{SHA}0"])
def test_what_is_not_pinned_is_refused_with_the_commit_to_pin(symbio: Any, ready: Any, revision: str) -> None:
    ran = symbio(f"hf://{REPO}{revision}", "--model", ready.model_id, "--json")
    assert (ran.code, ran.json["error"], ADDRESS in ran.json["hint"]) == (2, "bad_config", True)
    assert not settings().patches.exists()


@pytest.mark.parametrize("address", ["hf://", "hf://stranger", "hf://collections/stranger/best@main", "/some/folder"])
def test_what_is_no_repository(symbio: Any, address: str) -> None:
    ran = symbio(address, "--model", "any/base", "--json")
    assert (ran.code, ran.json["error"]) == (2, "bad_config")


def test_an_unknown_repository_cannot_say_where_it_stands(symbio: Any) -> None:
    ran = symbio("hf://nobody/nothing", "--model", "any/base", "--json")
    assert (ran.code, "a branch can be moved" in ran.json["hint"]) == (2, True)


def test_a_base_that_is_not_there(symbio: Any, ready: Any, tmp_path: Path) -> None:
    ran = symbio(ADDRESS, "--model", tmp_path / "nowhere", "--json")
    assert (ran.code, ran.json["error"]) == (4, ModelUnresolvedError.code)


def test_a_refusal_leaves_nothing(symbio: Any, ready: Any, folders: PlainFolders, tmp_path: Path) -> None:
    edit_config(adapter_folder(folders), use_dora=True)
    ran = symbio(ADDRESS, "--model", ready.model_id, "--market", tmp_path / "market", "--json")
    assert (ran.code, ran.json["error"]) == (3, "bad_config")
    assert ran.json["hint"].startswith("a patch is plain LoRA")
    assert not settings().patches.exists()
    assert not (tmp_path / "market").exists()


def test_the_adopter_s_own_rules_hold(symbio: Any, ready: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from symbio_lab.trust import enrolled

    strict = enrolled.enrolled_policy
    monkeypatch.setattr(enrolled, "enrolled_policy", lambda s: replace(strict(s), licences=frozenset({"MIT"})))
    ran = symbio(ADDRESS, "--model", ready.model_id, "--json")
    assert (ran.code, ran.json["error"]) == (3, "licence")
    assert not settings().patches.exists()
