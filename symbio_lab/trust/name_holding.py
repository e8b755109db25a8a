"""Who may publish under a name.

Rules:
    1. A namespace that the policy gives to a key is that key's; a key with namespaces publishes in no other. Revoking
       a key does not free its namespaces.
    2. A name belongs to the holder of the key that it was first accepted from. When that key has a successor, the
       name passes to it, and the old key cannot take it back.
    3. The names of a revoked key are free for its successor only. A publisher who lost the key for good comes back by
       the policy's own decision (``TrustPolicy.succeed``, ``successions`` in a policy file).
    4. A name that can be taken for one of another holder is refused, where the policy asks for it: names accepted
       before (``check_lookalikes``) and names nobody may imitate (``protected_names``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from symbio_lab.errors import TrustError
from symbio_lab.records import PatchManifest
from symbio_lab.trust.lookalike import look_alike
from symbio_lab.trust.naming import split_ref
from symbio_lab.trust.policy import TrustPolicy

if TYPE_CHECKING:
    from symbio_lab.trust.trusted_set import SeenVersion


def check_asked(manifest: PatchManifest, expect_ref: str | None) -> None:
    """Return nothing if the manifest is of the patch that was asked for; None asks for any.

    Raises:
        TrustError: ``wrong_patch``; ``unsafe_name``: what was asked for is no reference.
    """
    if expect_ref is None:
        return
    namespace, name, version = split_ref(expect_ref)
    if manifest.patch_id != f"{namespace}/{name}" or version not in (None, manifest.version):
        raise TrustError("wrong_patch", f"asked for {expect_ref}, offered {manifest.patch_id}@{manifest.version}")


def check_namespace(manifest: PatchManifest, policy: TrustPolicy) -> None:
    """Return nothing if the publisher's key may publish in the patch's namespace.

    Raises:
        TrustError: ``name_taken``: another key has the namespace; ``wrong_patch``: the key has others only.
    """
    namespace = manifest.patch_id.split("/")[0]
    allowed = policy.keys[manifest.keyid].namespaces
    if namespace in allowed:
        return
    if any(namespace in key.namespaces for keyid, key in policy.keys.items() if keyid != manifest.keyid):
        raise TrustError("name_taken", f"the namespace of {manifest.patch_id} belongs to another key")
    if allowed:
        raise TrustError("wrong_patch", f"the key of {manifest.patch_id} may not publish in {namespace!r}")


def check_holder(manifest: PatchManifest, policy: TrustPolicy, known: SeenVersion | None) -> None:
    """Return nothing if the name is new, or its holder publishes.

    Args:
        manifest: what is offered.
        policy: says which key succeeds which.
        known: newest version accepted under this name.

    Raises:
        TrustError: ``name_taken``.
    """
    if known is None or policy.descends(known.keyid, manifest.keyid):
        return
    if policy.descends(manifest.keyid, known.keyid):
        if manifest.version < known.version:
            return  # its holder's own older version: rollback is the better word for it
        raise TrustError("name_taken", f"{manifest.patch_id} has passed to the key that succeeds this one")
    if known.keyid in policy.revoked:
        raise TrustError(
            "name_taken", f"{manifest.patch_id} belongs to a revoked key; only its successor may publish it"
        )
    raise TrustError("name_taken", f"{manifest.patch_id} was published by another key before")


def check_looks(manifest: PatchManifest, policy: TrustPolicy, seen: Mapping[str, SeenVersion]) -> None:
    """Return nothing if the name cannot be taken for one of another holder.

    Args:
        manifest: what is offered.
        policy: says whether to look, and which names are protected.
        seen: newest accepted version by ``patch_id``.

    Raises:
        TrustError: ``lookalike``.
    """
    for name in _names_of_others(manifest, policy, seen):
        if look_alike(manifest.patch_id, name):
            raise TrustError("lookalike", f"{manifest.patch_id} can be taken for {name}, which is another publisher's")


def _names_of_others(manifest: PatchManifest, policy: TrustPolicy, seen: Mapping[str, SeenVersion]) -> Iterator[str]:
    own = policy.keys[manifest.keyid].namespaces
    yield from (name for name in policy.protected_names if name.split("/")[0] not in own)
    # A name that was accepted itself is established: it does not become a look-alike of a later one.
    if policy.check_lookalikes and manifest.patch_id not in seen:
        yield from (
            name
            for name, version in seen.items()
            if version.keyid != manifest.keyid and not policy.same_holder(version.keyid, manifest.keyid)
        )
