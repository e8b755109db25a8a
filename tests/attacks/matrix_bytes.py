"""Lines of the matrix: parsers, file names, servers' answers, configs and tensors."""

from __future__ import annotations

import json
import pickle
import threading
from collections.abc import Callable, Mapping
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

from symbio_lab.trust.adapter_files import CARD_NAME, CONFIG_NAME, DELTAS_NAME
from symbio_lab.trust.envelope import ENVELOPE_NAME, peek_payload, sign_envelope
from symbio_lab.trust.foreign_config import read_foreign_config
from tests.attacks.market_simulator import ALICE, MODULE, resign, safetensors_bytes
from tests.attacks.matrix_case import Line, Place, Refusal, code_of

A_NAME, B_NAME = (f"base_model.model.{MODULE}.lora_{side}.weight" for side in "AB")
HEADER: dict[str, Any] = {
    A_NAME: {"dtype": "F32", "shape": [2, 8], "data_offsets": [0, 64]},
    B_NAME: {"dtype": "F32", "shape": [8, 2], "data_offsets": [64, 128]},
}
BODY = np.ones(32, "<f4").tobytes()
BOMB = "(([a-z])+)+[A-Z]"
"""Backtracking takes exponential time on long names of small letters."""
FOREIGN: dict[str, Any] = {
    "base_model_name_or_path": "org/base",
    "bias": "none",
    "lora_alpha": 8,
    "peft_type": "LORA",
    "r": 2,
    "target_modules": ["query"],
    "task_type": "SEQ_CLS",
}


def signed_files(make: Callable[[], Mapping[str, bytes]]) -> Callable[[Place], Refusal]:
    """An enrolled publisher signs these files."""

    def prepare(place: Place) -> Refusal:
        market = place.market()
        resign(market.publish(version=2), files=make())
        return market.code

    return prepare


def tensors(make: Callable[[], bytes]) -> Callable[[Place], Refusal]:
    """An enrolled publisher signs these weights."""
    return signed_files(lambda: {DELTAS_NAME: make()})


def signed_edit(edit: Callable[[dict[str, Any]], None]) -> Callable[[Place], Refusal]:
    """An enrolled publisher signs this statement."""

    def prepare(place: Place) -> Refusal:
        market = place.market()
        resign(market.publish(version=2), edit=edit)
        return market.code

    return prepare


def signed_config(**changes: Any) -> Callable[[Place], Refusal]:
    """An enrolled publisher signs this config."""

    def prepare(place: Place) -> Refusal:
        market = place.market()
        folder = market.publish(version=2)
        config = {**json.loads((folder / CONFIG_NAME).read_bytes()), **changes}
        resign(folder, files={CONFIG_NAME: json.dumps(config).encode()})
        return market.code

    return prepare


def foreign_config(**changes: Any) -> Callable[[Place], Refusal]:
    """A stranger's unsigned adapter is about to be vouched for."""

    def prepare(place: Place) -> Refusal:
        assert code_of(lambda: read_foreign_config(json.dumps(FOREIGN).encode())) == "accepted"
        data = json.dumps({**FOREIGN, **changes}).encode()
        return lambda: code_of(lambda: read_foreign_config(data))

    return prepare


def duplicate_in_the_envelope(place: Place) -> Refusal:
    market = place.market()
    path = market.folder("alice/travel") / ENVELOPE_NAME
    path.write_bytes(path.read_bytes().replace(b'{"payload":', b'{"payload":"AAAA","payload":', 1))
    return market.code


def duplicate_in_the_statement(place: Place) -> Refusal:
    market = place.market()
    path = market.folder("alice/travel") / ENVELOPE_NAME
    payload = peek_payload(path.read_bytes()).replace(b'"schema":1', b'"schema":1,"schema":1')
    path.write_bytes(sign_envelope(payload, ALICE))
    return market.code


def _twice_named() -> bytes:
    raw = json.dumps(HEADER).encode()
    first = json.dumps(A_NAME).encode() + b": " + json.dumps(HEADER[A_NAME]).encode()
    return safetensors_bytes(raw[:1] + first + b", " + raw[1:], BODY)


def pickle_beside(place: Place) -> Refusal:
    market = place.market()
    (market.folder("alice/travel") / "adapter_model.bin").write_bytes(pickle.dumps({"weights": 1}))
    return market.code


def name_that_leaves(statement: dict[str, Any]) -> None:
    name = "../escaped.safetensors"
    statement["subject"][0]["name"] = name
    statement["subject"].sort(key=lambda item: item["name"])
    sizes = statement["predicate"]["sizes"]
    sizes[name] = sizes.pop(CARD_NAME)


def link(place: Place) -> Refusal:
    market = place.market()
    path = market.folder("alice/travel") / DELTAS_NAME
    path.rename(place.folder / "outside")
    path.symlink_to(place.folder / "outside")  # the same bytes, but a link could point anywhere a moment later
    return market.code


def reference_that_leaves(place: Place) -> Refusal:
    market = place.market()
    return lambda: market.code("alice/../../travel")


def answer_header(place: Place) -> Refusal:
    """A server names the content of a file by something that is no digest."""
    from huggingface_hub import constants

    from symbio_lab.marketplace.hub_calls import HubCalls
    from symbio_lab.marketplace.hub_limits import HubLimits

    place.patch.setattr(constants, "HF_HUB_OFFLINE", False)
    place.patch.delenv("HF_TOKEN", raising=False)
    commit, tag = "a" * 40, ["b" * 40]

    class Answering(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.send_response(200)
            for name, value in (("ETag", f'"{tag[0]}"'), ("X-Repo-Commit", commit), ("Content-Length", "5")):
                self.send_header(name, value)
            self.end_headers()

        def do_GET(self) -> None:
            self.do_HEAD()
            self.wfile.write(b"hello")

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    for step in (thread.join, server.server_close, server.shutdown):  # undone in the opposite order
        place.closing.callback(step)
    limits = HubLimits(timeout_s=0.5, deadline_s=3.0, max_tries=1)
    calls = HubCalls(f"http://127.0.0.1:{server.server_port}", token="hf_x", limits=limits)
    cache = place.folder / "cache"

    def download(name: str) -> str:
        def fetch(api: Any) -> str:
            return str(api.hf_hub_download("a/b", name, revision=commit, cache_dir=cache))

        return code_of(lambda: calls.call("read a/b", fetch))

    assert download("honest.txt") == "accepted"
    tag[0] = "../../../../outside"

    def refusal() -> str:
        code = download("other.txt")
        assert not list(place.folder.parent.rglob("outside*"))
        return code

    return refusal


def _other_first(**changes: Any) -> dict[str, Any]:
    return {**HEADER, A_NAME: {**HEADER[A_NAME], **changes}}


def _weights(value: float) -> bytes:
    weights = np.ones(32, "<f4")
    weights[17] = value
    return safetensors_bytes(HEADER, weights.tobytes())


def _many_empty(count: int) -> bytes:
    empty = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    return safetensors_bytes({f"t{i}": empty for i in range(count)}, b"")


ONE_READING = "duplicate keys are refused before anything is used"
BY_NAME = "pickles, code and archives are refused by name, signed or not"
HEADER_RULES = "our own parser reads the header, under 1 MB and 4,096 tensors, before any library sees it"
CONFIG_RULES = "the config must be the bytes that follow from the signed description; it is never interpreted"
PLAUSIBLE = "every weight must be finite and of a plausible size"
LINES = (
    Line("duplicate-key-envelope", "Duplicate JSON keys: envelope", "Writes a key twice, so that two readers differ.",
         ONE_READING, "duplicate_key", duplicate_in_the_envelope),
    Line("duplicate-key-statement", "Duplicate JSON keys: statement", "Signs a statement that has a key twice.",
         ONE_READING, "duplicate_key", duplicate_in_the_statement),
    Line("duplicate-key-tensors", "Duplicate JSON keys: tensors", "Names a tensor twice in the header.",
         ONE_READING, "duplicate_key", tensors(_twice_named)),
    Line("pickle", "Pickle", "Adds a pickle that a fallback would load.", BY_NAME, "forbidden_file", pickle_beside),
    Line("pickle-signed", "Pickle, signed", "Signs a pickle as a file of the patch.", BY_NAME, "forbidden_file",
         signed_files(lambda: {"adapter_model.bin": pickle.dumps([1])})),
    Line("pickle-as-weights", "Pickle as weights", "Signs a pickle under the name of the weights.", HEADER_RULES,
         "bad_tensors", tensors(partial(pickle.dumps, {"lora_A": [1.0]}, protocol=4))),
    Line("path-file-name", "Path traversal: file name", "Signs a file name that leads out of the folder.",
         "names follow a grammar without `..`, roots and reserved names", "unsafe_name",
         signed_edit(name_that_leaves)),
    Line("path-reference", "Path traversal: reference", "Has a reference asked for that leads out of the market.",
         "references follow the grammar of names", "unsafe_name", reference_that_leaves),
    Line("path-link", "Path traversal: link", "Puts a link in place of a file.", "links are refused, never followed",
         "unsafe_name", link),
    Line("path-answer-header", "Path traversal: header of an answer", "Answers with a header outside the grammar.",
         "the guard refuses answers outside a strict grammar before the client library reads them", "bad_response",
         answer_header),
    Line("header-bomb", "Header bomb: length", "Declares a header of 2^63 bytes.", HEADER_RULES, "bad_tensors",
         tensors(lambda: safetensors_bytes(HEADER, BODY, length=1 << 63))),
    Line("header-bomb-tensors", "Header bomb: tensors", "Lists 300,000 empty tensors.", HEADER_RULES, "bad_tensors",
         tensors(lambda: _many_empty(300_000))),
    Line("header-bomb-nesting", "Header bomb: nesting", "Nests a header 400,000 levels deep.", HEADER_RULES,
         "bad_tensors", tensors(lambda: safetensors_bytes(b"[" * 400_000, BODY))),
    Line("shape-bomb", "Shape bomb", "Declares 2^41 numbers over 64 bytes.", HEADER_RULES, "bad_tensors",
         tensors(lambda: safetensors_bytes(_other_first(shape=[2, 1 << 40]), BODY))),
    Line("rank-bomb", "Rank bomb: statement", "Signs a rank of 20,000,000.", "ranks are bounded by the policy",
         "too_large", signed_edit(lambda statement: statement["predicate"]["adapter"].update(rank=20_000_000))),
    Line("rank-bomb-config", "Rank bomb: config", "Puts the rank into the config only.", CONFIG_RULES, "bad_config",
         signed_config(r=20_000_000)),
    Line("rank-bomb-foreign", "Rank bomb: unsigned adapter", "Offers an adapter of that rank to be vouched for.",
         "a stranger's config is read under a schema with bounds", "too_large", foreign_config(r=20_000_000)),
    Line("regex", "Regex: statement", "Signs a pattern as a module name.",
         "module names are literal; their grammar has no room for a pattern", "bad_manifest",
         signed_edit(lambda statement: statement["predicate"]["adapter"].update(targetModules=[BOMB]))),
    Line("regex-config", "Regex: config", "Puts a pattern into the config.", CONFIG_RULES, "bad_config",
         signed_config(target_modules=BOMB)),
    Line("regex-foreign", "Regex: unsigned adapter", "Offers an adapter with a pattern to be vouched for.",
         "a stranger's config is read under a schema without patterns", "bad_config",
         foreign_config(target_modules=BOMB)),
    Line("nan-weights", "NaN weights", "Signs a weight that is not a number.", PLAUSIBLE, "non_finite",
         tensors(lambda: _weights(float("nan")))),
    Line("scaled-weights", "Scaled weights", "Signs a weight of 1e30.", PLAUSIBLE, "non_finite",
         tensors(lambda: _weights(1e30))),
)  # fmt: skip
