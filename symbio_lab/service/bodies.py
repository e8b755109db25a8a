"""Bodies are bounded before anything reads them, chunked ones too."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from symbio_lab.service.problems import Problem, send_problem


class _TooLargeError(Exception):
    pass


class BodyLimit:
    """ASGI middleware: a body beyond the limit is answered by 413, and what follows is not read."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app, self._max_bytes = app, max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        stated = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if stated.isdigit() and int(stated) > self._max_bytes:
            await self._refuse(send)
            return
        seen, started, refused = 0, False, False

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._max_bytes:
                raise _TooLargeError
            return message

        async def noted(message: Message) -> None:
            nonlocal started, refused
            # Whoever read the body may have made an answer of its own of the error.
            if seen > self._max_bytes and not started:
                if not refused:
                    refused = True
                    await self._refuse(send)
                return
            started = True
            await send(message)

        try:
            await self._app(scope, counted, noted)
        except _TooLargeError:
            if not started and not refused:
                await self._refuse(send)

    async def _refuse(self, send: Send) -> None:
        problem = Problem(
            type="about:blank",
            title="Content Too Large",
            status=413,
            code="body_too_large",
            detail=f"a body may have {self._max_bytes} bytes",
            hint="send smaller batches",
        )
        await send_problem(send, problem, (b"connection", b"close"))
