"""The outermost part of the application: no mistake of ours shows its inside, and every answer has its headers.

What goes wrong unexpectedly is answered with an id. Under it the log has the kind of error and where it happened, but
not its message: that may quote what an event carried.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, Protocol

from parakh.service.logs import get_log
from parakh.service.problems import Problem, problem

__all__ = ["REFUSED", "SECURITY", "Guard", "Telemetry", "mistake"]

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Callable[[], Awaitable[Message]], Send], Awaitable[None]]

_LOG = get_log("http")
SECURITY: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
)
_NOTHING: Final = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")
_NO_STORE: Final = (b"cache-control", b"no-store")


REFUSED: Final = "parakh.refused"
"""Where in a request's scope the code of its refusal stands."""


class Telemetry(Protocol):
    """Who counts requests and refusals."""

    def route(self, name: str) -> int: ...
    def request_done(self, route: int, seconds: float) -> None: ...
    def refused(self, reason: str) -> None: ...


class Guard:
    """An ASGI application around another."""

    def __init__(self, app: App, telemetry: Telemetry | None = None) -> None:
        self._app = app
        self._telemetry = telemetry

    async def __call__(self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, begun, seconds = time.perf_counter(), False, 0.0

        async def guarded(message: Message) -> None:
            nonlocal begun, seconds
            if message["type"] == "http.response.start":
                begun, seconds = True, time.perf_counter() - began
                message = {**message, "headers": _with_security(list(message.get("headers", ())))}
            await send(message)

        try:
            await self._app(scope, receive, guarded)
        except Exception as error:
            wrong = mistake(error)
            scope[REFUSED] = wrong.code
            if not begun:  # else the connection ends without the answer's end, which the caller notices
                await _send_problem(wrong, guarded)
        if self._telemetry is not None:
            path = getattr(scope.get("route"), "path", None)
            if path is not None:
                self._telemetry.request_done(self._telemetry.route(path), seconds)
            if REFUSED in scope:
                self._telemetry.refused(scope[REFUSED])


def _with_security(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    names = {name.lower() for name, _ in headers}
    headers += SECURITY
    if b"content-security-policy" not in names:
        headers.append(_NOTHING)
    if b"cache-control" not in names:
        headers.append(_NO_STORE)
    return headers


async def _send_problem(wrong: Problem, send: Send) -> None:
    headers = [*wrong.headers, (b"content-length", str(len(wrong.body)).encode())]
    await send({"type": "http.response.start", "status": wrong.status, "headers": headers})
    await send({"type": "http.response.body", "body": wrong.body})


def mistake(error: BaseException) -> Problem:
    """The problem of a mistake of ours; the log has its kind and its place under the problem's id."""
    known_as = f"e{secrets.token_hex(8)}"
    _LOG.failed("request_failed", error, hash=known_as)
    return problem("internal", hint="whoever runs the service finds this id in its log", id=known_as)
