"""What a stranger can put into an adapter's repository: each is refused by its code, quickly and in little memory."""

from __future__ import annotations

import json
import os
import pickle
import resource
import time
import tracemalloc
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save
from torch import nn

from symbio_lab.errors import TrustError
from symbio_lab.marketplace.foreign_folders import ForeignListing, parse_pinned
from symbio_lab.marketplace.vouching import Adoption, Vouched, vouch
from symbio_lab.models.classifier import TextClassifier
from tests.attacks.market_simulator import ALICE, EXPIRES, ISSUED, safetensors_bytes
from tests.fixtures_foreign import ADDRESS, PlainFolders

MOST_SECONDS = 1.0
MOST_BYTES = 200 << 20
CONFIG, TENSORS = "adapter_config.json", "adapter_model.safetensors"
A = "base_model.model.layers.0.query.lora_A.weight"
B = "base_model.model.layers.0.query.lora_B.weight"
PLAIN: dict[str, Any] = {
    "base_model_name_or_path": "org/base",
    "bias": "none",
    "lora_alpha": 8,
    "peft_type": "LORA",
    "r": 2,
    "target_modules": ["query"],
    "task_type": "SEQ_CLS",
}


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.ModuleDict({"query": nn.Linear(8, 8)})])
        self.classifier = nn.Linear(8, 2)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        raise AssertionError("vouching never runs the base")


def a_base() -> TextClassifier:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return TextClassifier(
            Network(), None, ["no", "yes"], head_name="classifier", model_id="org/base", digest="b" * 64
        )


def config_bytes(**changes: Any) -> bytes:
    return json.dumps({**PLAIN, **changes}).encode()


def factors(**changes: np.ndarray) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    plain = {A: rng.normal(size=(2, 8)).astype(np.float32), B: rng.normal(size=(8, 2)).astype(np.float32)}
    return {**plain, **changes}


def header(**changes: Any) -> dict[str, Any]:
    entries: dict[str, Any] = {
        A: {"dtype": "F32", "shape": [2, 8], "data_offsets": [0, 64]},
        B: {"dtype": "F32", "shape": [8, 2], "data_offsets": [64, 128]},
    }
    return {**entries, **changes}


@dataclass
class Repository:
    """A stranger's repository and an adopter who faces it."""

    folders: PlainFolders
    store: Path
    base: TextClassifier

    def put(self, config: bytes | None = None, tensors: bytes | None = None, **more: bytes) -> None:
        good = {CONFIG: config or config_bytes(), TENSORS: tensors or save(factors())}
        self.folders.put({**good, **more})

    def adopt(self, **stated: Any) -> Vouched:
        return vouch(
            parse_pinned(ADDRESS), self.folders, self.base, key=ALICE, store=self.store, issued=ISSUED,
            expires=EXPIRES, adoption=Adoption(**stated),
        )  # fmt: skip

    def code(self, **stated: Any) -> str:
        """Return the code of the refusal, which costs little and leaves nothing."""

        def attack() -> str:
            with pytest.raises(TrustError) as caught:
                self.adopt(**stated)
            assert caught.value.hint
            return caught.value.code

        code = cheaply(attack)
        assert not self.store.exists()
        return code


def cheaply(call: Callable[[], str]) -> str:
    """Return what ``call`` returns twice: once timed, once with its memory measured, Python's and the process's."""
    started = time.perf_counter()
    first = call()
    took = time.perf_counter() - started
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tracemalloc.start()
    try:
        second = call()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert first == second
    assert took < MOST_SECONDS, f"{took:.2f} s"
    assert max(peak, grown) < MOST_BYTES, f"{max(peak, grown) >> 20} MiB"
    return first


@pytest.fixture(scope="module", autouse=True)
def _imports(tmp_path_factory: pytest.TempPathFactory) -> None:
    """One honest adapter first: what is imported on the way is not what an attack costs."""
    repository = Repository(PlainFolders(tmp_path_factory.mktemp("warm")), tmp_path_factory.mktemp("store"), a_base())
    repository.put()
    assert repository.adopt().patch.level == "signed"


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(PlainFolders(tmp_path / "hub"), tmp_path / "store", a_base())


# ------------------------------------------------------------------------------------------------ files and servers


class Touch:
    """A pickle of this runs code when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("name", ["adapter_model.bin", "adapter_model.pt", "weights/adapter.pkl"])
def test_a_pickle_and_nothing_else(repository: Repository, tmp_path: Path, name: str) -> None:
    repository.folders.put({CONFIG: config_bytes(), name: pickle.dumps(Touch(tmp_path / "ran"))})
    assert repository.code() == "forbidden_file"
    assert repository.folders.fetched == []
    assert not (tmp_path / "ran").exists()


def test_a_pickle_under_the_name_of_the_weights(repository: Repository, tmp_path: Path) -> None:
    repository.put(tensors=pickle.dumps(Touch(tmp_path / "ran"), protocol=4))
    assert repository.code() == "bad_tensors"
    assert not (tmp_path / "ran").exists()


def test_code_beside_the_adapter_is_left_where_it_is(repository: Repository) -> None:
    extra = {
        "modeling.py": b"import os",
        "adapter_model.bin": b"\x80\x04.",
        "\x1b[31mred.py": b"",
        "sub/setup.sh": b"#!",
    }
    repository.put(**extra)
    vouched = repository.adopt()
    assert repository.folders.fetched == [CONFIG, TENSORS]
    assert set(vouched.folder.left_out) == set(extra)
    told = vouched.notes[-1]
    assert "not fetched, 4 file(s)" in told
    assert "modeling.py" in told
    assert "\x1b" not in told
    assert sorted(path.name for path in vouched.patch.root.iterdir()) == [
        "README.md", CONFIG, TENSORS, "symbio.patch.dsse.json",
    ]  # fmt: skip


@pytest.mark.parametrize("missing", [CONFIG, TENSORS])
def test_half_an_adapter(repository: Repository, missing: str) -> None:
    repository.put()
    os.unlink(repository.folders.root / "stranger" / "adapter" / ADDRESS[-40:] / missing)
    assert repository.code() == "missing_file"


@pytest.mark.parametrize(("name", "size"), [(CONFIG, (256 << 10) + 1), (TENSORS, (256 << 20) + 1)])
def test_a_file_that_is_listed_too_large_is_not_fetched(repository: Repository, name: str, size: int) -> None:
    repository.put()
    listed = repository.folders.list_files
    repository.folders.list_files = (  # type: ignore[method-assign]
        lambda repo, sha: ForeignListing({**listed(repo, sha).sizes, name: size})
    )
    assert repository.code() == "too_large"
    assert repository.folders.fetched == []


class LyingFolders(PlainFolders):
    """A server that delivers something else than it lists."""

    def __init__(self, root: Path, lie: Callable[[Path], None]) -> None:
        super().__init__(root)
        self.lie = lie

    def fetch_folder(self, repo: str, sha: str, into: Path, max_bytes: int) -> None:
        super().fetch_folder(repo, sha, into, max_bytes)
        self.lie(into)


def _link(into: Path) -> None:
    (into / TENSORS).unlink()
    (into / TENSORS).symlink_to("/etc/hostname")


@pytest.mark.parametrize(
    ("lie", "code"),
    [
        (lambda into: (into / "setup.py").write_text("x"), "extra_file"),
        (lambda into: (into / CONFIG).unlink(), "missing_file"),
        (lambda into: (into / TENSORS).write_bytes(b"\0" * 200), "size_mismatch"),
        (lambda into: (into / CONFIG).write_bytes(b" " * (300 << 10)), "too_large"),
        (_link, "unsafe_name"),
    ],
)
def test_a_server_that_delivers_another_thing_than_it_lists(
    repository: Repository, lie: Callable[[Path], None], code: str
) -> None:
    repository.folders = LyingFolders(repository.folders.root, lie)
    repository.put()
    assert repository.code() == code


# ----------------------------------------------------------------------------------------------------- the config

BOMB = "(([a-z])+)+[A-Z]"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"target_modules": BOMB}, "bad_config"),
        ({"target_modules": [BOMB]}, "bad_config"),
        ({"target_modules": [BOMB] * 2000}, "bad_config"),
        ({"exclude_modules": BOMB}, "bad_config"),
        ({"modules_to_save": [BOMB]}, "bad_config"),
        ({"layers_pattern": BOMB, "layers_to_transform": [0]}, "bad_config"),
        ({"rank_pattern": {BOMB: 4}}, "bad_config"),
        ({"alpha_pattern": {BOMB: 4}}, "bad_config"),
        ({"r": 20_000_000}, "too_large"),
        ({"r": 10**4000}, "too_large"),
        ({"lora_alpha": 1e300}, "too_large"),
        ({"lora_alpha": 10**4000}, "too_large"),
        ({"auto_mapping": {"parent_library": "os", "base_model_class": "system"}}, "bad_config"),
        ({"megatron_config": {"x": 1}, "megatron_core": "evil.core"}, "bad_config"),
        ({"target_modules": [f"m{i}.query" for i in range(2048)], "exclude_modules": ["query"] * 1}, "wrong_base"),
        ({"exclude_modules": [f"m{i}" for i in range(2048)], "target_modules": ["nothing"]}, "wrong_base"),
    ],
)
def test_configs(repository: Repository, changes: dict[str, Any], code: str) -> None:
    repository.put(config=config_bytes(**changes))
    assert repository.code() == code


@pytest.mark.parametrize(
    ("config", "code"),
    [
        (b'{"r": 1, ' + config_bytes()[1:], "duplicate_key"),
        (b"[" * 200_000, "bad_config"),
        (b'{"a":' * 40_000, "bad_config"),
        (b'{"r": ' + b"1" * 200_000 + b"}", "bad_config"),
        (b"\xff\xfe{", "bad_config"),
        (pickle.dumps({"r": 1}), "bad_config"),
    ],
)
def test_files_that_are_no_config(repository: Repository, config: bytes, code: str) -> None:
    repository.put(config=config)
    assert repository.code() == code


def test_text_of_the_config_stays_text(repository: Repository) -> None:
    name = "<script>x</script> [y](javascript:z)\n# title"
    repository.put(config=config_bytes(base_model_name_or_path=name))
    assert repository.code() == "wrong_base"
    card = (repository.adopt(base_is=name).patch.root / "README.md").read_text()
    assert "<script>" not in card
    assert "[y]" not in card
    assert r"\[y\](" in card
    assert "\n# title" not in card


# ---------------------------------------------------------------------------------------------------- the tensors


def _many(count: int) -> bytes:
    entry = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    return safetensors_bytes({f"t{i}": entry for i in range(count)}, b"")


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (safetensors_bytes({}, b"", length=1 << 63), "bad_tensors"),
        (safetensors_bytes({}, b"", length=1 << 20), "bad_tensors"),
        (_many(5_000), "bad_tensors"),
        (_many(300_000), "bad_tensors"),
        (safetensors_bytes(b'{"a":' * 100_000, b""), "bad_tensors"),
        (safetensors_bytes(b"[" * 500_000, b""), "bad_tensors"),
        (safetensors_bytes({}, b""), "bad_tensors"),
        (b"\0" * 4, "bad_tensors"),
        (save(factors()) + b"PK\x03\x04", "bad_tensors"),
        (safetensors_bytes(header(**{A: {"dtype": "F32", "shape": [2, 1 << 40], "data_offsets": [0, 64]}}),
                           b"\0" * 128), "bad_tensors"),
        (safetensors_bytes(header(**{A: {"dtype": "F32", "shape": [20_000_000, 8], "data_offsets": [0, 64]}}),
                           b"\0" * 128), "bad_tensors"),
        (safetensors_bytes(header(**{B: {"dtype": "F32", "shape": [8, 2], "data_offsets": [0, 64]}}), b"\0" * 128),
         "bad_tensors"),
        (safetensors_bytes(header(**{A: {"dtype": ["F32"], "shape": [2, 8], "data_offsets": [0, 64]}}), b"\0" * 128),
         "bad_tensors"),
        (safetensors_bytes(header(__metadata__={"run": "me"}), b"\0" * 128), "bad_tensors"),
        (safetensors_bytes(json.dumps(header()).encode().replace(b'{"base', b'{"' + A.encode() + b'": 1, "base', 1),
                           b"\0" * 128), "duplicate_key"),
        (save({**factors(), A.replace("lora_A", "lora_A.default"): factors()[A]}), "duplicate_key"),
        (save({**factors(), "base_model.model.os.system.weight": np.ones(3, np.float32)}), "wrong_base"),
        (save({**factors(), "../../escaped.lora_A.weight": np.ones((2, 8), np.float32)}), "bad_tensors"),
        (save({A + "x" * 60_000: factors()[A], B: factors()[B]}), "bad_tensors"),
    ],
)  # fmt: skip
def test_headers(repository: Repository, data: bytes, code: str) -> None:
    repository.put(tensors=data)
    assert repository.code() == code


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30, -20_000.0])
@pytest.mark.parametrize("name", [A, B])
def test_weights_that_are_no_weights(repository: Repository, name: str, value: float) -> None:
    tensors = factors()
    tensors[name].flat[3] = value
    repository.put(tensors=save(tensors))
    assert repository.code() == "non_finite"


def test_weights_scaled_beyond_use(repository: Repository) -> None:
    repository.put(tensors=save({name: (tensor * 1e30).astype(np.float32) for name, tensor in factors().items()}))
    assert repository.code() == "non_finite"


def test_a_large_file_of_nan(repository: Repository) -> None:
    """Thirty megabytes that look right until the last value."""
    wide: Mapping[str, np.ndarray] = factors(**{A: np.zeros((2, 4_000_000), np.float32)})
    wide[A][-1, -1] = np.nan
    repository.put(tensors=save(dict(wide)))
    assert repository.code() == "non_finite"


# -------------------------------------------------------------------------------------------------- the wrong base


def test_an_adapter_of_another_base(repository: Repository) -> None:
    repository.put(config=config_bytes(base_model_name_or_path="org/other"))
    assert repository.code() == "wrong_base"


def test_an_adapter_of_another_base_under_the_right_name(repository: Repository) -> None:
    wide = {A: np.ones((2, 16), np.float32), B: np.ones((8, 2), np.float32)}
    repository.put(tensors=save(wide))
    assert repository.code() == "wrong_base"
    deeper = {name.replace("layers.0", "layers.1"): tensor for name, tensor in factors().items()}
    repository.put(tensors=save(deeper))
    assert repository.code() == "wrong_base"


def test_saying_that_it_is_the_same_base_does_not_make_it_fit(repository: Repository) -> None:
    wide = {A: np.ones((2, 16), np.float32), B: np.ones((8, 2), np.float32)}
    repository.put(config=config_bytes(base_model_name_or_path="org/other"), tensors=save(wide))
    assert repository.code(base_is="org/other") == "wrong_base"


def test_a_head_of_a_million_rows(repository: Repository) -> None:
    head = {"base_model.model.classifier.weight": np.ones((1_000_000, 8), np.float32)}
    repository.put(config=config_bytes(modules_to_save=["classifier"]), tensors=save({**factors(), **head}))
    assert repository.code() == "bad_tensors"
