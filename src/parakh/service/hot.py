"""The hot route as a bare ASGI callable: one event in, its decision out, with nothing in between that it does not need.

FastAPI costs two hundred microseconds a request, more than deciding does. All other addresses are its own.
"""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import unquote

from parakh.service.access import Access
from parakh.service.assembly import Service
from parakh.service.guard import SECURITY, mistake
from parakh.service.limits import Limits, Refusal
from parakh.service.problems import Problem, problem
from parakh.service.traces import Traces

__all__ = ["HotRoute"]

_PATH = "/v1/decisions/"
_NAMED = "/v1/decisions/{event_type}"
_OUTCOME = re.compile(rb'"outcome":"([a-z]+)"')
_HEADERS = [(b"content-type", b"application/json"), (b"cache-control", b"no-store"), *SECURITY]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


class HotRoute:
    """POST /v1/decisions/{event_type}, in front of the application that has all other routes."""

    def __init__(self, app: App, service: Service, access: Access, limits: Limits, traces: Traces) -> None:
        self._app = app
        self._service = service
        self._access = access
        self._limits = limits
        self._traces = traces
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
            await self._tell(send, refused, began)
            return
        try:
            told = await self._answer(event_type, scope, receive)
        except Refusal as refusal:
            told = refusal.problem
        except Exception as error:
            told = mistake(error)
        finally:
            self._limits.leave()
        await self._tell(send, told, began)
        if self._traces.active:
            self._trace(event_type, scope, told, time.perf_counter() - began)

    def _trace(self, event_type: str, scope: Message, told: Any, seconds: float) -> None:
        """A span of the request, where it is among those that are traced, and one of the decision in it."""
        parent = next((value for name, value in scope["headers"] if name == b"traceparent"), None)
        ended_ns = time.time_ns()
        begun_ns = ended_ns - int(1e9 * seconds)
        trace = self._traces.begin(parent, begun_ns=begun_ns)
        if trace is None:
            return
        known = event_type if event_type in self._service.live.types else ""
        outcome = _OUTCOME.search(told.body)
        word = outcome.group(1).decode() if outcome and told.status == 200 else ""
        trace.span("decide", begun_ns, ended_ns, event_type=known, outcome=word)
        trace.end(route=_NAMED, status=told.status, ended_ns=ended_ns)

    async def _tell(self, send: Send, told: Any, began: float) -> None:
        body: bytes = told.body
        telemetry = self._service.telemetry
        if isinstance(told, Problem):
            headers = [*told.headers, *SECURITY]
            telemetry.refused(told.code)
            if told.code == "overloaded":
                telemetry.shed()
        else:
            headers = [*_HEADERS, *told.headers]
        headers.append((b"content-length", b"%d" % len(body)))
        await send({"type": "http.response.start", "status": told.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        telemetry.request_done(self._route, time.perf_counter() - began)

    async def _answer(self, event_type: str, scope: Message, receive: Receive) -> Any:
        service, limits = self._service, self._limits
        if service.log.full:
            return problem("log_full", retry_after_s=1)
        if service.too_busy():
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
