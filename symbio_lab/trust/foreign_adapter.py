"""The tensors of somebody else's LoRA adapter become our deltas and head rows, exactly or not at all.

Rules:
    1. The bytes are read by our own capped reader (``tensors``); no library opens them.
    2. Names are peft's: ``base_model.model.<module>.lora_A.weight`` (r, in) and ``.lora_B.weight`` (out, r), with or
       without the adapter's name ``default``. Shapes are the same for layers that the base stores transposed.
    3. The modules are exactly those that the config targets in this base. A module or a size that the base does not
       have means that the adapter was made for another base.
    4. All ranks are the config's. Whole copies of modules (``modules_to_save``) must equal the base's own, but for the
       classification head:
         - a changed weight is a delta of the head, W' - W = I (W' - W), of as many ranks as rows changed;
         - rows of labels that the base lacks become head rows, if the caller names the rows;
         - a changed bias of one of the base's rows is refused: a patch cannot carry it.
    5. One rank and one factor serve all deltas of a patch: lower ranks are filled with zeros, which changes no product,
       and alpha grows with the rank, so that alpha / r stays.

References:
    Hu et al. (2021), "LoRA: Low-Rank Adaptation of Large Language Models", section 4.1: W + (alpha / r) B A.
    Differs from the paper: nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from symbio_lab.errors import TrustError
from symbio_lab.trust.adapter_files import DELTAS_NAME, PREFIX, Deltas, HeadRows
from symbio_lab.trust.envelope import strict_json
from symbio_lab.trust.foreign_config import MAX_RANK, ForeignConfig, refuse_foreign
from symbio_lab.trust.foreign_head import HeadChange, convert_head
from symbio_lab.trust.foreign_targets import targeted_modules
from symbio_lab.trust.tensors import ITEM_BYTES, MAX_HEADER_BYTES, MAX_TENSORS, Shape, check_tensors

OTHER_BASE = "name the base that it was made for; symbio market vouch --model"
_UNSERVED = {
    ".lora_magnitude_vector": "DoRA rescales the columns of W + BA by their norms, which no low-rank update equals",
    ".lora_embedding_A": "an update of the embeddings is not served",
    ".lora_embedding_B": "an update of the embeddings is not served",
    ".bias": "a bias of its own is not served",
}
"""Ends of the names of tensors that go with LoRA but cannot be part of a patch."""


@dataclass(frozen=True, slots=True)
class BaseModules:
    """What a base is made of, as far as an adapter can touch it."""

    linear: Mapping[str, tuple[int, int]]
    """(out, in) of each linear module by its full name."""
    modules: frozenset[str]
    """Full names of all modules."""
    outputs: frozenset[str]
    """Output embeddings of a generator."""
    head: str
    """Classification head; empty for a generator."""
    labels: tuple[str, ...]
    """Names of the head's rows, (C,)."""
    parameter: Callable[[str], NDArray[np.float32] | None]
    """Returns a parameter by its full name, None where the base has none."""


@dataclass(frozen=True, slots=True, eq=False)
class ConvertedAdapter:
    """Tensors in the form that ``sealing`` takes."""

    deltas: Deltas
    rank: int
    alpha: float
    head_rows: HeadRows | None
    dtype: Literal["F32", "F16"]
    """Precision that holds the values exactly."""
    notes: tuple[str, ...]
    """What the adopter should know of the conversion."""


def convert_adapter(
    data: bytes,
    config: ForeignConfig,
    base: BaseModules,
    *,
    row_names: Sequence[str] | None = None,
    max_rank: int = MAX_RANK,
) -> ConvertedAdapter:
    """Return somebody else's adapter as tensors of a patch for ``base``.

    Args:
        data: bytes of ``adapter_model.safetensors``.
        config: checked config of the same folder.
        base: the base that the patch is to serve.
        row_names: labels of the rows of a head that the file holds, in its order; None: the base's own.
        max_rank: largest rank that the policy accepts.

    Raises:
        TrustError: ``wrong_base``: modules or sizes do not fit; ``bad_config``: the config targets other modules than
            the file holds; ``bad_tensors``, ``duplicate_key``, ``non_finite`` or ``too_large``: the file breaks a
            rule, or holds what a patch cannot express.
    """
    dtype, names = _stated_names(data)
    factors, copies = _sort_names(names)
    _check_modules(factors, config, base)
    stored = {copy: base.parameter(copy) for copy in copies}
    lacking = sorted(copy for copy, parameter in stored.items() if parameter is None)
    if lacking:
        raise _other_base(f"the base has no parameter {lacking[0]!r:.120}")
    expected: dict[str, Shape] = {}
    for (_, side), name in factors.items():
        expected[name] = (config.rank, None) if side == "A" else (None, config.rank)
    for copy, name in copies.items():
        # Any sizes: whether they are the base's is told apart from a damaged file.
        parameter = stored[copy]
        expected[name] = () if parameter is None else (None,) * parameter.ndim
    tensors = check_tensors(data, expected, dtype, what=DELTAS_NAME)
    deltas = _read_deltas(factors, tensors, base)
    head = _read_copies({copy: tensors[name] for copy, name in copies.items()}, stored, config, base, row_names)
    return _combined(deltas, config, base, head, dtype, max_rank)


def _stated_names(data: bytes) -> tuple[str, list[str]]:
    """Return the one dtype and the names that a header states; ``check_tensors`` checks everything else."""
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > min(MAX_HEADER_BYTES, len(data) - 8):
        raise refuse_foreign("bad_tensors", f"{DELTAS_NAME}: the header claims {length} bytes")
    header = strict_json(data[8 : 8 + length], "bad_tensors", DELTAS_NAME)
    if not isinstance(header, dict) or len(header) > MAX_TENSORS + 1:
        raise refuse_foreign("bad_tensors", f"{DELTAS_NAME}: not an object of at most {MAX_TENSORS} tensors")
    entries: dict[str, Any] = {name: entry for name, entry in header.items() if name != "__metadata__"}
    dtypes = {str(entry.get("dtype"))[:20] if isinstance(entry, dict) else "none" for entry in entries.values()}
    if len(dtypes) != 1 or not dtypes <= set(ITEM_BYTES):
        shown = ", ".join(sorted(dtypes)[:5])
        raise refuse_foreign("bad_tensors", f"{DELTAS_NAME}: not all tensors have one dtype of F32, F16, BF16: {shown}")
    return dtypes.pop(), list(entries)


def _sort_names(names: Sequence[str]) -> tuple[dict[tuple[str, str], str], dict[str, str]]:
    """Return the file's names by (module, ``A`` or ``B``), and those of whole copies by the parameter's name."""
    factors: dict[tuple[str, str], str] = {}
    copies: dict[str, str] = {}
    for name in names:
        if not name.startswith(PREFIX):
            raise refuse_foreign("bad_tensors", f"{DELTAS_NAME}: tensor {name!r:.120} does not begin with {PREFIX!r}")
        rest = name.removeprefix(PREFIX)
        # Copies of whole modules: the name of the adapter stands in between, or not.
        plain = rest.replace(".modules_to_save.default.", ".").replace(".lora_A.default.", ".lora_A.")
        plain = plain.replace(".lora_B.default.", ".lora_B.")
        module, dot, leaf = plain.rpartition(".lora_")
        if not dot:
            known: dict[Any, str] = copies
            key: Any = plain
        elif leaf in ("A.weight", "B.weight"):
            known, key = factors, (module, leaf[0])
        else:
            reason = next((why for end, why in _UNSERVED.items() if f".lora_{leaf}".endswith(end)), "it is not known")
            raise refuse_foreign("bad_tensors", f"{DELTAS_NAME}: tensor {name!r:.120}: {reason}")
        if key in known:
            raise refuse_foreign("duplicate_key", f"{DELTAS_NAME}: {name!r:.120} stands there twice, in two forms")
        known[key] = name
    return factors, copies


def _check_modules(factors: Mapping[tuple[str, str], str], config: ForeignConfig, base: BaseModules) -> None:
    """Compare three lists: modules with tensors, modules of the base, modules that the config targets."""
    held = {module for module, _ in factors}
    half = sorted(module for module in held if ((module, "A") in factors) != ((module, "B") in factors))
    if half:
        raise refuse_foreign("bad_tensors", f"{DELTAS_NAME}: {half[0]!r:.120} has one factor of two")
    unknown = sorted(held - base.modules)
    if unknown:
        raise _other_base(f"the base has no module {unknown[0]!r:.120}")
    targeted = set(targeted_modules(config, base.modules, base.linear.keys(), base.outputs))
    if not targeted:
        raise _other_base("the base has none of the modules that its config targets")
    odd = sorted(targeted - base.linear.keys())
    if odd:
        raise refuse_foreign("bad_config", f"target_modules means {odd[0]!r:.120}, which is no linear module")
    if held != targeted:
        one = sorted(held ^ targeted)[0]
        side = "no tensors" if one in targeted else "tensors, but the config does not target it"
        raise refuse_foreign("bad_config", f"config and tensors differ: {one!r:.120} has {side}")


def _read_deltas(
    factors: Mapping[tuple[str, str], str], tensors: Mapping[str, NDArray[np.float32]], base: BaseModules
) -> Deltas:
    deltas: Deltas = {}
    for module in sorted({module for module, _ in factors}):
        a, b = tensors[factors[module, "A"]], tensors[factors[module, "B"]]
        if (b.shape[0], a.shape[1]) != base.linear[module]:
            out, num_in = base.linear[module]
            raise _other_base(f"{module} is {out}x{num_in}, the adapter's update {b.shape[0]}x{a.shape[1]}")
        deltas[module] = (a, b)
    return deltas


def _read_copies(
    copies: Mapping[str, NDArray[np.float32]],
    stored: Mapping[str, NDArray[np.float32] | None],
    config: ForeignConfig,
    base: BaseModules,
    row_names: Sequence[str] | None,
) -> HeadChange:
    head = {f"{base.head}.{leaf}": leaf for leaf in ("weight", "bias")} if base.head else {}
    for name, copy in copies.items():
        if not any(f".{saved}." in f".{name}" for saved in config.saved):
            raise refuse_foreign("bad_tensors", f"{DELTAS_NAME}: {name!r:.120} is not part of modules_to_save")
        own_copy = stored[name]
        if own_copy is None or copy.shape[name in head :] != own_copy.shape[name in head :]:
            raise _other_base(f"{name} has another size")  # the rows of a head may be others
        if name not in head and not np.array_equal(copy, own_copy):
            raise refuse_foreign(
                "bad_tensors",
                f"{DELTAS_NAME}: {name!r:.120} is another than the base's; only linear updates are served",
            )
    changed = {head[name]: copy for name, copy in copies.items() if name in head}
    own = {leaf: base.parameter(name) for name, leaf in head.items()}
    if not changed and row_names:
        raise refuse_foreign("bad_tensors", f"{DELTAS_NAME} holds no head whose rows could be named", "name no rows")
    return convert_head(changed, own, base.labels, row_names)


def _combined(
    deltas: Deltas, config: ForeignConfig, base: BaseModules, head: HeadChange, dtype: str, max_rank: int
) -> ConvertedAdapter:
    """Bring all deltas to one rank and one factor."""
    num_changed = 0 if head.delta is None else len(head.delta[0])
    rank = max(config.rank, num_changed)
    if rank > max_rank:
        raise refuse_foreign("too_large", f"the head changes in {num_changed} rows, more than rank {max_rank} can hold")
    combined = {module: (_padded(a, rank, 0), _padded(b, rank, 1)) for module, (a, b) in deltas.items()}
    if head.delta is not None:
        if base.head in combined:
            raise refuse_foreign("bad_tensors", f"{DELTAS_NAME} holds the head twice: whole, and as an update")
        change, selection = head.delta
        # The factor before every product of this patch is taken out of this one.
        divided = (change / np.float32(config.scale)).astype(np.float32)
        combined[base.head] = (_padded(divided, rank, 0), _padded(selection, rank, 1))
    kept: Literal["F32", "F16"] = "F16" if dtype == "F16" and head.delta is None else "F32"
    return ConvertedAdapter(combined, rank, config.scale * rank, head.rows, kept, head.notes)


def _padded(values: NDArray[np.float32], rank: int, axis: int) -> NDArray[np.float32]:
    missing = rank - values.shape[axis]
    if missing == 0:
        return values
    widths = [(0, 0), (0, 0)]
    widths[axis] = (0, missing)
    return np.pad(values, widths)


def _other_base(problem: str) -> TrustError:
    return refuse_foreign("wrong_base", f"the adapter was made for another base: {problem}", OTHER_BASE)
