"""The hot route: one event in, its decision out, with nothing in between that it does not need.

A request that comes as nearly all do - HTTP/1.1, a body of a known size, one at a time on its connection - is answered
right at the connection, without a task or an ASGI message: that is half of what a request cost. Where the head is one
that came before there, it is not parsed again. All others go to `HotRoute`, a bare ASGI callable in front of the
application, and all other addresses on to that.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import unquote

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from parakh.service.access import Access
from parakh.service.answers import Answer
from parakh.service.assembly import Service
from parakh.service.connections import Connection
from parakh.service.guard import SECURITY, mistake
from parakh.service.limits import BODY_TIMEOUT_S, Limits, Refusal
from parakh.service.problems import Problem, problem
from parakh.service.traces import Traces

__all__ = ["HotConnection", "HotRoute"]

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
        self.service = service
        self.access = access
        self.limits = limits
        self.traces = traces
        self._app = app
        self._route = service.telemetry.route(_NAMED)

    def done(self, told: Answer | Problem, began: float) -> None:
        """Count a request that was answered."""
        telemetry = self.service.telemetry
        if isinstance(told, Problem):
            telemetry.refused(told.code)
            if told.code == "overloaded":
                telemetry.shed()
        telemetry.request_done(self._route, time.perf_counter() - began)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST":
            path: str = scope["path"]
            if path.startswith(_PATH) and not path.endswith(":batch") and path.count("/") == 3:
                await self._decide(path[len(_PATH) :], scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _decide(self, event_type: str, scope: Message, receive: Receive, send: Send) -> None:
        began = time.perf_counter()
        told = await self._answer(event_type, scope, receive)
        await self._tell(send, told, began)
        if self.traces.active:
            self._trace(event_type, scope, told, time.perf_counter() - began)

    async def _answer(self, event_type: str, scope: Message, receive: Receive) -> Answer | Problem:
        caller = self.access.check(scope["headers"], "decide")
        if isinstance(caller, Problem):
            return caller
        query = scope["query_string"]
        features = query == b"features=true"
        if query and not features and query != b"features=false":
            return problem("bad_filter", "the only parameter here is features, true or false", field="features")
        try:
            # A place is taken when the body is here: who sends none holds none.
            body = await self.limits.read_body(receive, scope["headers"])
            refused = self.limits.enter(caller)
            if refused is not None:
                return refused
            try:
                if self.service.too_busy():
                    return problem("overloaded", "what is asked now would be answered too late", retry_after_s=1)
                return await self.service.decide(unquote(event_type), body, features=features)
            finally:
                self.limits.leave()
        except Refusal as refusal:
            return refusal.problem
        except Exception as error:
            return mistake(error)

    def _trace(self, event_type: str, scope: Message, told: Any, seconds: float) -> None:
        """A span of the request, where it is among those that are traced, and one of the decision in it."""
        parent = next((value for name, value in scope["headers"] if name == b"traceparent"), None)
        ended_ns = time.time_ns()
        begun_ns = ended_ns - int(1e9 * seconds)
        trace = self.traces.begin(parent, begun_ns=begun_ns)
        if trace is None:
            return
        known = event_type if event_type in self.service.live.types else ""
        outcome = _OUTCOME.search(told.body)
        word = outcome.group(1).decode() if outcome and told.status == 200 else ""
        trace.span("decide", begun_ns, ended_ns, event_type=known, outcome=word)
        trace.end(route=_NAMED, status=told.status, ended_ns=ended_ns)

    async def _tell(self, send: Send, told: Any, began: float) -> None:
        body: bytes = told.body
        headers = [*told.headers, *SECURITY] if isinstance(told, Problem) else [*_HEADERS, *told.headers]
        headers.append((b"content-length", b"%d" % len(body)))
        await send({"type": "http.response.start", "status": told.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        self.done(told, began)


# -- at the connection -------------------------------------------------------------------------------------------------

_URL: Final = _PATH.encode()
_WITH_FEATURES: Final = b"?features=true"
_MOST_BYTES: Final = 64 * 2**10
"""A larger body is read with the bounds of ASGI, which stop a caller that sends faster than it is read."""
_NOT_HERE: Final = frozenset((b"transfer-encoding", b"content-encoding", b"expect", b"upgrade"))
"""Headers of requests that go the long way."""


def _head(status: int, headers: Any) -> bytes:
    """The head of an answer, up to its length."""
    lines = [b"HTTP/1.1 %d %s" % (status, HTTPStatus(status).phrase.encode())]
    lines += [name + b": " + value for name, value in headers]
    return b"\r\n".join([*lines, b"content-length: "])


_OK: Final = _head(200, _HEADERS)


class _NobodyWaits:
    """What uvicorn wakes up when more of a body has come: here nobody waits for that."""

    def set(self) -> None:
        pass


_LESSONS: Final = 4
"""A connection whose heads are still others after so many is not looked at any more."""
_LENGTH: Final = re.compile(rb"\r\ncontent-length: ?([0-9]{1,9})\r\n", re.IGNORECASE)
_END: Final = b"\r\n\r\n"
_MOST_DIGITS: Final = 9


@dataclass(frozen=True, slots=True)
class _Head:
    """What the head of a request for here says."""

    event_type: str
    features: bool
    headers: list[tuple[bytes, bytes]]
    keep_alive: bool


@dataclass(frozen=True, slots=True)
class _Known:
    """A head, and its bytes before and after the digits of its content length.

    The same bytes with another length say the same: most callers send them again and again, and the parser need not
    read them.
    """

    before: bytes
    after: bytes
    head: _Head

    @classmethod
    def of(cls, data: bytes, exchange: _Exchange) -> _Known | None:
        """The head of a request that came whole, with nothing else; None where it did not."""
        end = data.find(_END) + len(_END)
        length = _LENGTH.search(data, 0, end)
        if length is None or int(length[1]) != len(data) - end or len(exchange.body) != len(data) - end:
            return None
        return cls(data[: length.start(1)], data[length.end(1) : end], exchange.head)

    def body_of(self, data: bytes, most: int) -> bytes | None:
        """The body, of at most so many bytes, of a request that has this head; None where `data` is anything else."""
        start = len(self.before)
        if not data.startswith(self.before):
            return None
        end = data.find(self.after, start, start + _MOST_DIGITS + len(self.after))
        digits, body = data[start:end], data[end + len(self.after) :]
        if end < 0 or not digits.isdigit() or int(digits) != len(body) or len(body) > most:
            return None
        return body


class _Exchange:
    """One event and its answer, in the place of uvicorn's cycle of a request and its response."""

    __slots__ = (
        "_began", "_route", "_transport",
        "body", "disconnected", "head", "keep_alive", "more_body", "on_response", "response_complete", "timer",
    )  # fmt: skip

    message_event: Final = _NobodyWaits()

    def __init__(
        self,
        route: HotRoute,
        head: _Head,
        transport: asyncio.Transport,
        on_response: Callable[[], object],
    ) -> None:
        self.head = head
        self._route = route
        self._transport = transport
        self._began = 0.0
        self.keep_alive = head.keep_alive
        self.on_response = on_response
        self.body = b""
        self.more_body = True
        self.disconnected = False
        self.response_complete = False
        self.timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """The body is here: let the caller in, and the event to the desk."""
        self.more_body = False
        self._began = time.perf_counter()
        if self.timer is not None:
            self.timer.cancel()
        route, head = self._route, self.head
        try:
            caller = route.access.check(head.headers, "decide")
            refused = caller if isinstance(caller, Problem) else route.limits.enter(caller)
        except Exception as error:  # the keys cannot be read
            refused = mistake(error)
        if refused is not None:
            self._tell(refused)
            return
        try:
            refused = route.service.submit(head.event_type, self.body, head.features, self._told)
        except Exception as error:
            refused = mistake(error)
        if refused is not None:
            self._told([refused])

    def too_slow(self) -> None:
        """The body did not come in time."""
        self._began = time.perf_counter()
        self.keep_alive = False
        self._tell(problem("request_timeout"))

    def _told(self, told: list[Answer | Problem]) -> None:
        self._route.limits.leave()
        self._tell(told[0])

    def _tell(self, told: Answer | Problem) -> None:
        body = told.body
        if isinstance(told, Problem):
            head = _head(told.status, (*told.headers, *SECURITY))
        else:
            head = _OK if not told.headers else _head(told.status, (*_HEADERS, *told.headers))
        self.response_complete = True
        is_open = not self._transport.is_closing()
        if is_open:
            ending = b"\r\n\r\n" if self.keep_alive else b"\r\nconnection: close\r\n\r\n"
            self._transport.write(b"%b%d%b%b" % (head, len(body), ending, body))
        self._route.done(told, self._began)
        if is_open:
            if not self.keep_alive:
                self._transport.close()
            self.on_response()


class HotConnection(Connection):
    """A connection that answers events itself, and gives all else to uvicorn."""

    def __init__(self, route: HotRoute, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._route = route
        self._most_bytes = min(route.limits.settings.event_bytes, _MOST_BYTES)

    _idle_since = 0.0
    _idle_timer: asyncio.TimerHandle | None = None
    _known: _Known | None = None
    _lessons = _LESSONS

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._bare = transport
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        known, before = self._known, self.cycle
        is_between = not self._in_head and not self._in_body and before is not None and before.response_complete
        body = known.body_of(data, self._most_bytes) if known is not None and is_between else None
        if known is not None and body is not None and self._goes_on(known.head.event_type):
            exchange = _Exchange(self._route, known.head, self._bare, self._answered)
            exchange.body = body
            self.cycle = exchange  # type: ignore[assignment]
            exchange.begin()
            return
        is_first = before is None and not self._head_bytes
        super().data_received(data)
        after: Any = self.cycle
        if after is before or type(after) is not _Exchange:
            return
        if after.more_body:
            if after.timer is None:
                after.timer = self.loop.call_later(BODY_TIMEOUT_S, after.too_slow)
        elif self._lessons and (is_between or is_first):
            self._lessons -= 1
            self._known = _Known.of(data, after) or self._known

    def _goes_on(self, event_type: str) -> bool:
        """Whether nothing but the next request is to be looked at, an event for here."""
        route = self._route
        is_waited_for = self.timeout_keep_alive_task is not None or self._head_timer is not None
        is_apart = is_waited_for or self.pipeline or self.flow.write_paused or route.traces.active
        return not is_apart and route.service.is_short(event_type)

    def connection_lost(self, exc: Exception | None) -> None:
        exchange: Any = self.cycle
        if type(exchange) is _Exchange and exchange.timer is not None:
            exchange.timer.cancel()
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        # What uvicorn makes of a request is made when it is known that it gets it.
        self._in_head = True
        self.url = b""
        self.expect_100_continue = False
        self.headers = []

    def on_headers_complete(self) -> None:
        exchange: Any = self._exchange()
        if exchange is not None:
            self.head_is_here()
            self.cycle = exchange
            return
        url, headers, expect = self.url, self.headers, self.expect_100_continue
        HttpToolsProtocol.on_message_begin(self)
        self.url, self.expect_100_continue = url, expect
        self.headers += headers  # the list that the scope has
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        exchange: Any = self.cycle
        if type(exchange) is not _Exchange:
            super().on_message_complete()
            return
        self._in_body = False
        if exchange.more_body and not exchange.response_complete:
            exchange.begin()

    def _exchange(self) -> _Exchange | None:
        """An exchange for the request whose head has come, if it is one for here."""
        url, route = self.url, self._route
        if not url.startswith(_URL) or (self.cycle is not None and not self.cycle.response_complete):
            return None
        features = url.endswith(_WITH_FEATURES)
        event_type = (url[len(_URL) : -len(_WITH_FEATURES)] if features else url[len(_URL) :]).decode("latin-1")
        if not route.service.is_short(event_type) or route.traces.active or self.flow.write_paused:
            return None
        parser = self.parser
        if parser.get_method() != b"POST" or parser.get_http_version() != "1.1" or parser.should_upgrade():
            return None
        length = b""
        for name, value in self.headers:
            if name == b"content-length":
                length = value
            elif name in _NOT_HERE:
                return None
        if not length.isdigit() or len(length) > 9 or int(length) > self._most_bytes:
            return None
        head = _Head(event_type, features, self.headers, parser.should_keep_alive())
        return _Exchange(route, head, self._bare, self._answered)

    def _answered(self) -> None:
        """An exchange is over: the next request has its turn, or the connection stays open for a while.

        One timer looks after many exchanges; uvicorn's own would be made and cancelled for each.
        """
        if self.pipeline:
            self.on_response_complete()
            return
        self.server_state.total_requests += 1
        self._idle_since = self.loop.time()
        if self._idle_timer is None:
            self._idle_timer = self.loop.call_later(self.timeout_keep_alive, self._idle)

    def _idle(self) -> None:
        self._idle_timer = None
        if self._head_timer is not None or self.timeout_keep_alive_task is not None or not self.cycle.response_complete:
            return  # something is under way, whose end begins anew or has a time of its own
        left = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self._idle_timer = self.loop.call_later(left, self._idle)
        else:
            self._bare.close()
