"""Taking in bodies: small ones into memory, large files onto the disk, refused ones to nowhere.

Rules:
    1. Every body has a limit; the length that a client states is believed only when it is too large.
    2. A file is hashed while it arrives; what ends early leaves nothing behind.
    3. What a refused request still sends is taken in for a while: who is cut off may never read the answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from symbio_lab.testing.loopback_hub.answers import Refusal, Upload
from symbio_lab.testing.loopback_hub.state import HubState

if TYPE_CHECKING:
    from starlette.requests import Request

DRAIN_S = 1.0
"""Seconds that a refused request may pause while it still sends."""


async def receive(hub: HubState, request: Request) -> bytes:
    """Return a body.

    Raises:
        Refusal: 413.
    """
    _check_length(request, hub.limits.body_bytes)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > hub.limits.body_bytes:
            raise Refusal(413, message="the body is too large")
    return bytes(body)


async def drain(request: Request, most: int) -> None:
    """Take in what a refused request still sends: who is cut off while sending may never read the answer."""
    from starlette.requests import ClientDisconnect

    if int(request.headers.get("content-length", "0")) > most:
        return
    # A RuntimeError says that all of it was taken in before.
    with contextlib.suppress(RuntimeError, ClientDisconnect, TimeoutError):
        async for chunk in _in_time(request.stream()):
            most -= len(chunk)
            if most < 0:
                return


async def _in_time(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    while (chunk := await asyncio.wait_for(anext(chunks, None), DRAIN_S)) is not None:
        yield chunk


async def receive_file(hub: HubState, request: Request) -> Upload:
    """Write a body to a file of its own, which the caller removes, and return what it is.

    Raises:
        Refusal: 413.
    """
    _check_length(request, hub.limits.large_file_bytes)
    path, sha256, md5, size = hub.blobs.incoming(), hashlib.sha256(), hashlib.md5(usedforsecurity=False), 0
    try:
        with path.open("wb") as target:
            async for chunk in request.stream():
                size += len(chunk)
                if size > hub.limits.large_file_bytes:
                    raise Refusal(413, message="the file is too large")
                sha256.update(chunk)
                md5.update(chunk)
                target.write(chunk)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return Upload(path, size, sha256.hexdigest(), md5.hexdigest())


def _check_length(request: Request, most: int) -> None:
    length = request.headers.get("content-length", "0")
    if not length.isdigit() or int(length[:20]) > most:
        raise Refusal(413, message="the body is too large")
