"""The hot route as a bare ASGI callable: one event in, its decision out, with nothing in between that it does not need.

FastAPI costs two hundred microseconds a request, more than deciding does. All other addresses are its own.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import unquote

from parakh.service.access import Access
from parakh.service.assembly import Service
from parakh.service.guard import mistake
from parakh.service.limits import Limits, Refusal
from parakh.service.problems import Problem, problem

__all__ = ["HotRoute"]

_PATH = "/v1/decisions/"
_NAMED = "/v1/decisions/{event_type}"
_JSON_HEADERS = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


class HotRoute:
    """POST /v1/decisions/{event_type}, in front of the application that has all other routes."""

    def __init__(self, app: App, service: Service, access: Access, limits: Limits) -> None:
        self._app = app
        self._service = service
        self._access = access
        self._limits = limits
        self._route = service.telemetry.route(_NAMED)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST":
            path: str = scope["path"]
            if path.startswith(_PATH) and not path.endswith(":batch") and path.count("/") == 3:
                await self._decide(path[len(_PATH) :], scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _decide(self, event_type: str, scope: Message, receive: Receive, send: Send) -> None:
        began = time.perf_counter()
        told: Any
        caller = self._access.check(scope["headers"], "decide")
        refused = caller if isinstance(caller, Problem) else self._limits.enter(caller)
        if refused is not None:
            if refused.status == 429:
                self._service.telemetry.shed()
            await _send(send, refused)
            return
        try:
            told = await self._answer(event_type, scope, receive)
        except Refusal as refusal:
            told = refusal.problem
        except Exception as error:
            told = mistake(error)
        finally:
            self._limits.leave()
        await _send(send, told)
        telemetry = self._service.telemetry
        telemetry.request_done(self._route, time.perf_counter() - began)
        if isinstance(told, Problem):
            telemetry.refused(told.code)

    async def _answer(self, event_type: str, scope: Message, receive: Receive) -> Any:
        service, limits = self._service, self._limits
        if service.too_busy():
            service.telemetry.shed()
            return problem("overloaded", "what is asked now would be answered too late", retry_after_s=1)
        message = await limits.first_part(receive)
        body: bytes = message.get("body", b"")
        if message.get("more_body") or len(body) > limits.settings.event_bytes or _is_encoded(scope["headers"]):
            first = [message]

            async def again() -> Message:
                return first.pop() if first else await receive()

            body = await limits.read_body(again, scope["headers"])
        refused = limits.check_json(body)
        if refused is not None:
            return refused
        query = scope["query_string"]
        features = query == b"features=true"
        if query and not features and query != b"features=false":
            return problem("bad_filter", "the only parameter here is features, true or false", field="features")
        future = service.submit(event_type, body, features)
        if future is not None:
            return (await future)[0]
        return await service.decide(unquote(event_type), body, features=features)


def _is_encoded(headers: list[tuple[bytes, bytes]]) -> bool:
    return any(name == b"content-encoding" for name, _ in headers)


async def _send(send: Send, told: Any) -> None:
    body: bytes = told.body
    headers = list(told.headers) if isinstance(told, Problem) else [*_JSON_HEADERS, *told.headers]
    headers.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": told.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
