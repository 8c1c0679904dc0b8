"""Turns away requests with a body larger than any question is, before it is read into memory."""

from contextlib import suppress
from typing import Any

BODY_MAX_BYTES = 65_536
ANSWER = b'{"errors":[{"field":"$","reason":"the body is larger than 65536 bytes"}]}'


class TooLarge(Exception):
    """More came than may."""


class BodyLimit:
    """ASGI middleware: 413 by the stated length, or once more than the limit has come."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        stated = dict(scope["headers"]).get(b"content-length", b"0")
        if not stated.isdigit() or int(stated) > BODY_MAX_BYTES:
            await _refuse(send)
            return
        came, begun, refused = 0, False, False

        async def counted() -> Any:
            nonlocal came, refused
            message = await receive()
            came += len(message.get("body", b""))
            if came > BODY_MAX_BYTES:
                refused = True
                raise TooLarge
            return message

        async def noted(message: Any) -> None:
            nonlocal begun
            if refused and not begun:
                return  # what the application makes of the broken body
            begun = True
            await send(message)

        with suppress(TooLarge):
            await self._app(scope, counted, noted)
        if refused and not begun:
            await _refuse(send)


async def _refuse(send: Any) -> None:
    await send(
        {"type": "http.response.start", "status": 413, "headers": [(b"content-type", b"application/json"), (b"connection", b"close")]}
    )
    await send({"type": "http.response.body", "body": ANSWER})
