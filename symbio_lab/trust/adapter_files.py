"""The files of a patch on disk, format 1, readable by peft without conversion.

    README.md                    card, generated from the manifest
    adapter_config.json          pure function of the manifest: compared byte for byte, never interpreted
    adapter_model.safetensors    <prefix><module>.lora_A.weight (r, in), .lora_B.weight (out, r)
    head_rows.safetensors        weight (R, D), bias (R,): one row for each added label, in signed order
    symbio.patch.dsse.json       the envelope, which signs all of the above

``LORA`` patches have the config and the deltas, and rows if they add labels; ``HEAD_ROWS`` patches have rows only.

References:
    Hu et al. (2021), "LoRA: Low-Rank Adaptation of Large Language Models", section 4.1: W + (alpha / r) B A.
    Differs from the paper: nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from symbio_lab.errors import TrustError
from symbio_lab.records import AdapterSpec, PatchManifest
from symbio_lab.trust.tensors import Shape, check_tensors

CARD_NAME = "README.md"
CONFIG_NAME = "adapter_config.json"
DELTAS_NAME = "adapter_model.safetensors"
ROWS_NAME = "head_rows.safetensors"
PREFIX = "base_model.model."
"""What peft puts before every module name in a file."""
# With SEQ_CLS peft demands a copy of the whole head in every adapter; ours carry deltas and added rows only.
_PEFT_TASKS: dict[str, str | None] = {"text_classification": None, "text_generation": "CAUSAL_LM"}
_MARKDOWN = re.compile(r"([\\`*_{}\[\]#|!<>&~:@$^])")

Deltas = dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]]
"""Module name -> (A of shape (r, in), B of shape (out, r))."""


@dataclass(frozen=True, slots=True, eq=False)
class HeadRows:
    """Rows that a patch adds to the classification head."""

    labels: tuple[str, ...]
    """Label name of each row."""
    weight: NDArray[np.float32]
    """(R, D)."""
    bias: NDArray[np.float32]
    """(R,)."""


def expected_files(spec: AdapterSpec) -> tuple[str, ...]:
    """Return the names of the signed files that a patch of this kind has, sorted.

    >>> expected_files(AdapterSpec(kind="HEAD_ROWS", head_labels=("a",), num_features=2))
    ('README.md', 'head_rows.safetensors')
    """
    names = [CARD_NAME]
    if spec.kind == "LORA":
        names += [CONFIG_NAME, DELTAS_NAME]
    if spec.head_labels:
        names.append(ROWS_NAME)
    return tuple(sorted(names))


def adapter_config_bytes(spec: AdapterSpec, base_id: str, task_type: str) -> bytes:
    """Return ``adapter_config.json`` of a ``LORA`` patch: a function of what is signed, and of nothing else.

    There is no pattern, no rank map and no import in it, so no reader can be led astray by it.

    Args:
        spec: signed description of the tensors.
        base_id: id of the base model.
        task_type: ``text_classification`` or ``text_generation``.
    """
    alpha = int(spec.alpha) if float(spec.alpha).is_integer() else spec.alpha
    config: dict[str, Any] = {
        "base_model_name_or_path": base_id,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
        "lora_alpha": alpha,
        "lora_dropout": 0.0,
        "modules_to_save": None,
        "peft_type": "LORA",
        "r": spec.rank,
        "target_modules": list(spec.target_modules),
        "task_type": _PEFT_TASKS[task_type],
        "use_dora": False,
        "use_rslora": False,
    }
    return (json.dumps(config, indent=2, sort_keys=True) + "\n").encode("utf-8")


def delta_shapes(spec: AdapterSpec, module_shapes: Mapping[str, tuple[int, int]] | None = None) -> dict[str, Shape]:
    """Return the tensors that ``adapter_model.safetensors`` must hold.

    Args:
        spec: signed description of the tensors.
        module_shapes: (out, in) of modules of the base where known; other sizes are left open.
    """
    shapes: dict[str, Shape] = {}
    for module in spec.target_modules:
        known: tuple[int | None, int | None] = (module_shapes or {}).get(module, (None, None))
        shapes[f"{PREFIX}{module}.lora_A.weight"] = (spec.rank, known[1])
        shapes[f"{PREFIX}{module}.lora_B.weight"] = (known[0], spec.rank)
    return shapes


def row_shapes(spec: AdapterSpec) -> dict[str, Shape]:
    """Return the tensors that ``head_rows.safetensors`` must hold."""
    num_rows = len(spec.head_labels)
    return {"weight": (num_rows, spec.num_features), "bias": (num_rows,)}


def parse_deltas(data: bytes, spec: AdapterSpec, module_shapes: Mapping[str, tuple[int, int]] | None = None) -> Deltas:
    """Return the low-rank deltas in the bytes of ``adapter_model.safetensors``, checked.

    Args:
        data: verified bytes.
        spec: signed description of the tensors.
        module_shapes: (out, in) by module of the base, to check the fit as well.

    Raises:
        TrustError: ``bad_tensors``, ``duplicate_key`` or ``non_finite``.
    """
    tensors = check_tensors(data, delta_shapes(spec, module_shapes), spec.dtype, what=DELTAS_NAME)
    return {
        module: (tensors[f"{PREFIX}{module}.lora_A.weight"], tensors[f"{PREFIX}{module}.lora_B.weight"])
        for module in spec.target_modules
    }


def parse_head_rows(data: bytes, spec: AdapterSpec) -> HeadRows:
    """Return the head rows in the bytes of ``head_rows.safetensors``, checked.

    Raises:
        TrustError: ``bad_tensors``, ``duplicate_key`` or ``non_finite``.
    """
    tensors = check_tensors(data, row_shapes(spec), spec.dtype, what=ROWS_NAME)
    return HeadRows(spec.head_labels, tensors["weight"], tensors["bias"])


def check_adapter_bytes(manifest: PatchManifest, files: Mapping[str, bytes]) -> None:
    """Return nothing if config and tensors are what the manifest describes.

    Args:
        manifest: accepted manifest.
        files: bytes whose digests were checked, by name.

    Raises:
        TrustError: ``bad_config``, ``bad_tensors``, ``duplicate_key`` or ``non_finite``.
    """
    spec = manifest.adapter
    if spec.kind == "LORA":
        if files[CONFIG_NAME] != adapter_config_bytes(spec, manifest.base_id, manifest.task_type):
            raise TrustError("bad_config", f"{CONFIG_NAME} of {manifest.patch_id} is not what its manifest describes")
        parse_deltas(files[DELTAS_NAME], spec)
    if spec.head_labels:
        parse_head_rows(files[ROWS_NAME], spec)


def card_markdown(manifest: PatchManifest) -> str:
    """Return the model card of a patch; every text of the publisher is escaped, so it stays text.

    The list of files is not part of it: the card is itself one of the signed files.
    """
    spec = manifest.adapter
    rows = [
        ("Patch", f"{manifest.patch_id}, version {manifest.version}"),
        ("Publisher key", manifest.keyid),
        ("Base model", f"{manifest.base_id} (digest {manifest.base_digest})"),
        ("Task", manifest.task_type),
        ("Adapter", f"{spec.kind}, rank {spec.rank}, {len(spec.target_modules)} modules, "
                    f"{len(spec.head_labels)} head rows, {spec.dtype}"),
        ("Domain", manifest.domain),
        ("Labels", ", ".join(manifest.labels)),
        ("Licence", manifest.licence),
        ("Issued, expires", f"{manifest.issued}, {manifest.expires}"),
    ]  # fmt: skip
    lines = [f"# {_escape(manifest.title)}", "", _escape(manifest.scope), "", "| | |", "|---|---|"]
    lines += [f"| {name} | {_escape(value)} |" for name, value in rows]
    lines += ["", "## Training data", "", _escape(manifest.training_data) or "not stated"]
    lines += ["", "## Claims of the publisher", "", "A claim is not evidence; evaluate before you deploy.", ""]
    lines += [f"- {_escape(c.name)}: {c.value:.6g} (n = {c.n})" for c in manifest.claims] or ["none"]
    return "\n".join(lines) + "\n"


def _escape(text: str) -> str:
    """Escape Markdown and HTML, and fold line breaks, so that no text can open a block, a link or a tag."""
    return _MARKDOWN.sub(r"\\\1", " ".join(text.split())).replace("\\<", "&lt;").replace("\\>", "&gt;")
