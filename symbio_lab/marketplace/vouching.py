"""An unsigned adapter of a Hub becomes a local patch that its adopter vouches for.

Flow of one call: address pinned to a commit -> two files fetched (``foreign_folders``) -> config read under a schema
(``trust/foreign_config``) -> base compared -> tensors converted (``trust/foreign_adapter``) -> applied once to the base
to prove the fit -> sealed with the adopter's key in the market's own format.

Rules:
    1. What the author published is unsigned, and stays so: manifest and card say that nobody but the adopter signed.
    2. The level is that of the adopter's key, no more. No claim is made, and the lineage is empty.
    3. The base is the one that the adapter names, or one that the adopter says is the same, on purpose.
    4. An adapter whose modules or sizes the base does not have is an orphan (``wrong_base``); nothing is stored.
    5. The patch predicts what the adapter does under peft, to rounding; what cannot be converted exactly is refused.

Differs from verifying a market's patch: no signature exists that could be checked. The commit pins bytes, not people;
who adopts looks at the adapter first, and evaluates the patch like any other.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from symbio_lab.errors import ConfigError, PatchApplyError, StorageError
from symbio_lab.marketplace.foreign_folders import FolderSource, ForeignFolder, choose_licence, read_foreign_folder
from symbio_lab.marketplace.hub_address import HubAddress
from symbio_lab.models.adapters import layer_sizes
from symbio_lab.models.operated import HeadRows as LoadedRows
from symbio_lab.models.operated import Operated
from symbio_lab.records import Patch, content_id
from symbio_lab.trust.adapter_files import CARD_NAME
from symbio_lab.trust.foreign_adapter import BaseModules, ConvertedAdapter, convert_adapter
from symbio_lab.trust.foreign_config import ForeignConfig, read_foreign_config, refuse_foreign
from symbio_lab.trust.keys import SigningKey
from symbio_lab.trust.naming import check_patch_id
from symbio_lab.trust.policy import TrustPolicy
from symbio_lab.trust.sealing import seal_files, seal_patch
from symbio_lab.trust.verifying import reopen

UNSIGNED = "Nobody but the adopter signed it; its author published it without a signature."
_TASKS = {"SEQ_CLS": "text_classification", "CAUSAL_LM": "text_generation", "FEATURE_EXTRACTION": "text_classification"}
_MAX_NAME = 79
_HUB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}(/[A-Za-z0-9][A-Za-z0-9._-]{0,95})?")


@dataclass(frozen=True, slots=True)
class Adoption:
    """What the adopter states; everything else is read from the adapter."""

    patch_id: str | None = None
    """``namespace/name``; None makes one from the adopter's key and the repository."""
    licence: str | None = None
    """SPDX id, where the card does not state one."""
    base_is: str | None = None
    """The name under which the adapter means this base."""
    row_names: tuple[str, ...] = ()
    """Labels of the rows of the head that the adapter holds, in its order; empty: the base's own."""
    scope: str = ""
    """What it heals, in words: a search finds it by them."""
    labels: tuple[str, ...] = ()
    """Labels that it is said to fix."""
    domain: str = ""


@dataclass(frozen=True, slots=True)
class Vouched:
    """A patch, where it came from, and what its adopter should know."""

    patch: Patch
    folder: ForeignFolder
    config: ForeignConfig
    notes: tuple[str, ...]


def vouch(
    address: HubAddress,
    source: FolderSource,
    model: Any,
    *,
    key: SigningKey,
    store: Path,
    issued: str,
    expires: str,
    adoption: Adoption | None = None,
    policy: TrustPolicy | None = None,
) -> Vouched:
    """Return somebody else's adapter as a patch for ``model``, signed by the adopter.

    Args:
        address: repository and commit (``parse_pinned``).
        source: where to fetch from.
        model: the base, a ``PatchableModel``.
        key: the adopter's key.
        store: folder of verified patches.
        issued: UTC time, ``2026-01-31T12:00:00Z``.
        expires: UTC time, later than ``issued``.
        adoption: what the adopter states.
        policy: largest sizes and rank that are accepted.

    Raises:
        ConfigError: the address is not pinned, or the licence is not known.
        TrustError: the folder, the config or the tensors break a rule; ``wrong_base``, ``wrong_task``; nothing is
            stored then.
        NotFoundError: no such repository or commit.
        NetworkUnavailableError: the server does not answer.
        StorageError: the store cannot be written.
    """
    stated, limits = adoption or Adoption(), policy or TrustPolicy()
    repo, sha = address.repo, address.commit
    if repo is None or sha is None:
        raise ConfigError([f"{address.uri!r:.120} is not pinned to a commit"], hint="write hf://ORG/NAME@COMMIT")
    patch_id = check_patch_id(stated.patch_id or _own_name(repo, key))
    try:
        holder = tempfile.TemporaryDirectory(prefix="symbio-vouch-", ignore_cleanup_errors=True)
    except OSError as error:
        raise StorageError(f"cannot make a temporary folder: {error.strerror or error}") from error
    with holder as temporary:
        folder = read_foreign_folder(
            source, repo, sha, Path(temporary) / "adapter", max_file_bytes=limits.max_file_bytes
        )
    licence = choose_licence(folder.licence, stated.licence)
    config = read_foreign_config(folder.config, max_rank=limits.max_rank)
    _check_base(config, model, stated.base_is)
    converted = convert_adapter(
        folder.tensors,
        config,
        describe_base(model),
        row_names=stated.row_names or None,
        max_rank=limits.max_rank,
    )
    _try_on(converted, model, repo)
    rows = converted.head_rows
    patch = seal_patch(
        store=store,
        deltas=converted.deltas,
        rank=converted.rank,
        alpha=converted.alpha,
        head_rows=rows,
        base_id=_base_id(model.model_id, config.base),
        base_digest=model.digest,
        task_type=model.task_type,
        patch_id=patch_id,
        title=f"{repo}, vouched for by its adopter",
        scope=f"{stated.scope} {UNSIGNED}".strip(),
        labels=stated.labels or (rows.labels if rows else ()),
        domain=stated.domain,
        licence=licence,
        training_data=_statement(address.uri, folder, config, converted.notes),
        issued=issued,
        expires=expires,
        key=key,
        dtype=converted.dtype,
    )
    return Vouched(patch, folder, config, (UNSIGNED, *converted.notes, *_left_out(folder)))


def unsigned_copy(patch: Patch, store: Path) -> Patch:
    """Return a patch sealed by the key of this process, so that publishing it signs it once and adds no lineage.

    Raises:
        TrustError: ``digest_mismatch``: the patch changed on disk.
        StorageError: the store cannot be written.
    """
    files = {name: data for name, data in reopen(patch).items() if name != CARD_NAME}
    return seal_files(store, patch.manifest, files, None)


def describe_base(model: Any) -> BaseModules:
    """Return the modules of a loaded base, as a foreign adapter is compared with them.

    Args:
        model: a ``PatchableModel``.
    """
    network = model.module
    modules = {name: module for name, module in network.named_modules() if name}
    sizes = {name: layer_sizes(module) for name, module in modules.items()}
    # Tied parameters stand under each of their names.
    parameters = dict(network.named_parameters(remove_duplicate=False))
    output = network.get_output_embeddings() if model.task_type == "text_generation" else None

    def parameter(name: str) -> NDArray[np.float32] | None:
        found = parameters.get(name)
        return None if found is None else np.asarray(found.detach().float().cpu().numpy(), np.float32)

    return BaseModules(
        linear={name: (size[1], size[0]) for name, size in sizes.items() if size is not None},
        modules=frozenset(modules),
        outputs=frozenset(name for name, module in modules.items() if module is output),
        head=getattr(model, "head_name", "") if model.task_type == "text_classification" else "",
        labels=tuple(model.labels),
        parameter=parameter,
    )


def _check_base(config: ForeignConfig, model: Any, base_is: str | None) -> None:
    if config.base not in (model.model_id, base_is):
        raise refuse_foreign(
            "wrong_base",
            f"the adapter was made for {config.base!r:.120}, not for {model.model_id!r:.120}",
            "give that base by --model; if this is the same model under another name, say so: "
            f"--base-is {config.base!r:.120}",
        )
    wanted = _TASKS.get(config.task or "", model.task_type)
    if wanted != model.task_type:
        raise refuse_foreign(
            "wrong_task", f"the adapter is for {wanted}, the base for {model.task_type}", "give a base of its task"
        )


def _try_on(converted: ConvertedAdapter, model: Any, repo: str) -> None:
    """Apply the tensors once, so that nothing is stored that this base would refuse later."""
    rows = converted.head_rows
    operated = Operated(
        repo,
        converted.deltas,
        converted.rank,
        converted.alpha,
        LoadedRows(rows.labels, rows.weight, rows.bias) if rows else None,
    )
    try:
        with model.applied_adapter(operated.to_adapter(), repo):
            pass
    except PatchApplyError as error:
        raise refuse_foreign("wrong_base", f"the adapter does not fit the base: {error}", error.hint) from error


def _own_name(repo: str, key: SigningKey) -> str:
    """Return a name that nobody can take for the author's."""
    name = repo.replace("/", ".")
    short = name if len(name) <= _MAX_NAME else f"{name[: _MAX_NAME - 9].rstrip('.')}-{content_id(repo)[:8]}"
    return f"lab-{key.keyid[:12]}/{re.sub(r'[.]{2,}', '.', short)}"


def _base_id(model_id: str, stated: str) -> str:
    """Return the id of the base for the manifest: a Hub id where one is known, never a path of this machine."""
    for name in (model_id, stated):
        if _HUB_ID.fullmatch(name) and not Path(name).is_dir():
            return name
    return PurePosixPath(Path(stated or model_id).as_posix()).name or "base"


def _statement(uri: str, folder: ForeignFolder, config: ForeignConfig, notes: Sequence[str]) -> str:
    """Return what the manifest says about the origin, in place of a statement about training data."""
    files = ", ".join(f"{entry.name} sha256 {entry.sha256}" for entry in folder.files)
    licence = f"licence stated by its card: {folder.licence}" if folder.licence else "its card states no licence"
    parts = [
        f"vouched_by_self: converted from {uri}, {files}, not signed by its author",
        f"base stated by it: {config.base}",
        licence,
        "its training data are not known to the adopter",
        *notes,
    ]
    return "; ".join(parts)[:8000]


def _left_out(folder: ForeignFolder) -> tuple[str, ...]:
    if not folder.left_out:
        return ()
    # The names are a server's: nothing in them may reach a terminal as it is.
    shown = ", ".join(ascii(name[:80])[1:-1] for name in folder.left_out[:8])
    more = " ..." if len(folder.left_out) > 8 else ""
    return (f"not fetched, {len(folder.left_out)} file(s): {shown}{more}",)
