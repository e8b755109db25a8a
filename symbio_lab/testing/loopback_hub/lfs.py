"""Large files: they are announced, uploaded in one piece or in parts, checked, and only then part of a commit.

Rules:
    1. ``objects/batch`` answers with signed addresses; an object that this repository has needs no upload.
    2. The bytes of an address must have the announced size and SHA-256: anything else is refused and forgotten.
    3. Parts are joined in order when all have arrived; the joined file is checked like one piece.

References:
    Git LFS batch API, https://github.com/git-lfs/git-lfs/blob/main/docs/api/batch.md, with the Hub's ``multipart``
    transfer.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from pathlib import Path
from typing import Any

from symbio_lab.testing.loopback_hub.accounts import need_user
from symbio_lab.testing.loopback_hub.answers import HubAnswer, HubRequest, HubRoute, Refusal, json_answer
from symbio_lab.testing.loopback_hub.state import HubState

_TYPE = {"Content-Type": "application/vnd.git-lfs+json"}


def batch(hub: HubState, request: HubRequest) -> HubAnswer:
    """Say where each announced object is to be uploaded."""
    repository = hub.readable(request)
    need_user(request)
    objects = request.json().get("objects")
    if request.json().get("operation") != "upload" or not isinstance(objects, list) or len(objects) > 1000:
        raise Refusal(422, message="only uploads of at most 1000 objects")
    answers = [_answer_object(hub, request, repository.key, value) for value in objects]
    return json_answer({"transfer": "basic", "objects": answers, "hash_algo": "sha256"}, headers=_TYPE)


def _answer_object(hub: HubState, request: HubRequest, key: str, value: Any) -> dict[str, Any]:
    oid, size = (value.get("oid"), value.get("size")) if isinstance(value, dict) else (None, None)
    if not isinstance(oid, str) or not re.fullmatch(r"[0-9a-f]{64}", oid) or not isinstance(size, int) or size < 0:
        raise Refusal(422, message="an object has an oid of 64 hex characters and a size")
    if hub.repositories.has_object(key, oid):
        return {"oid": oid, "size": size}
    if size > hub.limits.large_file_bytes:
        return {"oid": oid, "size": size, "error": {"code": 413, "message": "the file is too large for this Hub"}}
    path = f"{key}/{oid}/{size}"
    verify = {"href": _address(hub, "verify", path), "header": {}}
    if size <= hub.limits.part_bytes:
        return {"oid": oid, "size": size, "actions": {"upload": {"href": _address(hub, "put", path)}, "verify": verify}}
    num_parts = -(-size // hub.limits.part_bytes)
    header = {f"{n:05d}": _address(hub, "part", f"{path}/{n}") for n in range(1, num_parts + 1)}
    upload = {
        "href": _address(hub, "join", f"{path}/{num_parts}"),
        "header": {"chunk_size": str(hub.limits.part_bytes), **header},
    }
    return {"oid": oid, "size": size, "actions": {"upload": upload, "verify": verify}}


def _address(hub: HubState, verb: str, path: str) -> str:
    return f"{hub.endpoint}/_lfs/{verb}/{path}?{hub.sign(f'{verb}/{path}')}"


def _announced(hub: HubState, request: HubRequest, verb: str, *more: str) -> tuple[str, str, int]:
    """Return repository key, digest and size that a signed address names."""
    names = [request.captured[name] for name in ("key", "oid", "size", *more)]
    hub.check_signature(request, "/".join([verb, *names]))
    return names[0], names[1], int(names[2])


def put(hub: HubState, request: HubRequest) -> HubAnswer:
    """Take an object in one piece."""
    key, oid, size = _announced(hub, request, "put")
    assert request.upload is not None
    _keep(hub, key, oid, size, request.upload.path, request.upload.size, request.upload.sha256)
    return HubAnswer(headers={"ETag": f'"{request.upload.md5}"'})


def put_part(hub: HubState, request: HubRequest) -> HubAnswer:
    """Take one part of an object."""
    key, oid, size = _announced(hub, request, "part", "num")
    assert request.upload is not None
    if request.upload.size > hub.limits.part_bytes:
        raise Refusal(400, message="EntityTooLarge")
    folder = _parts(hub, key, oid, size)
    folder.mkdir(parents=True, exist_ok=True)
    request.upload.path.replace(folder / request.captured["num"])
    return HubAnswer(headers={"ETag": f'"{request.upload.md5}"'})


def join(hub: HubState, request: HubRequest) -> HubAnswer:
    """Join the parts of an object."""
    key, oid, size = _announced(hub, request, "join", "num")
    folder, num_parts = _parts(hub, key, oid, size), int(request.captured["num"])
    listed = request.json().get("parts")
    numbers = [part.get("partNumber") for part in listed if isinstance(part, dict)] if isinstance(listed, list) else []
    if numbers != list(range(1, num_parts + 1)):
        raise Refusal(400, message="InvalidPartOrder")
    digest, joined, total = hashlib.sha256(), hub.blobs.incoming(), 0
    try:
        with joined.open("wb") as target:
            for num in numbers:
                part = folder / str(num)
                if not part.is_file():
                    raise Refusal(400, message=f"InvalidPart: {num}")
                with part.open("rb") as source:
                    while chunk := source.read(1 << 20):
                        digest.update(chunk)
                        total += target.write(chunk)
        _keep(hub, key, oid, size, joined, total, digest.hexdigest())
    finally:
        joined.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    return json_answer({})


def verify(hub: HubState, request: HubRequest) -> HubAnswer:
    """Say whether an object has arrived."""
    key, oid, size = _announced(hub, request, "verify")
    if not hub.repositories.has_object(key, oid) or hub.blobs.size(oid) != size:
        raise Refusal(404, message="the object has not arrived")
    return json_answer({}, headers=_TYPE)


def _parts(hub: HubState, key: str, oid: str, size: int) -> Path:
    return hub.folder / "incoming" / f"parts-{key}-{oid}-{size}"


def _keep(hub: HubState, key: str, oid: str, size: int, path: Path, arrived: int, sha256: str) -> None:
    """Store an object that is what was announced, and note whose it is."""
    if (arrived, sha256) != (size, oid):
        raise Refusal(400, message="BadDigest: the bytes are not the ones that were announced")
    hub.blobs.adopt(path, oid)
    with hub.lock:
        hub.repositories.mark_object(key, oid)


_BATCH = "{namespace}/{name}.git/info/lfs/objects/batch"
ROUTES = (
    HubRoute("POST", _BATCH, batch),
    HubRoute("POST", "{kind}/" + _BATCH, batch),
    HubRoute("PUT", "_lfs/put/{key}/{oid}/{size}", put, to_file=True),
    HubRoute("PUT", "_lfs/part/{key}/{oid}/{size}/{num}", put_part, to_file=True),
    HubRoute("POST", "_lfs/join/{key}/{oid}/{size}/{num}", join),
    HubRoute("POST", "_lfs/verify/{key}/{oid}/{size}", verify),
)
