"""The routes of the service: one table says what each address needs and does; what it does is a call of the service.

A handler reads what came, within its limits, and passes the service's answer on as bytes. Nothing is decided here.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar
from urllib.parse import parse_qsl

import msgspec
from fastapi import Request
from starlette.convertors import PathConvertor, register_url_convertor
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from parakh.service.access import Caller
from parakh.service.answers import NDJSON, Answer
from parakh.service.guard import REFUSED, mistake
from parakh.service.limits import Limits, Refusal, check_json
from parakh.service.problems import Problem, problem

__all__ = ["PUBLIC", "ROUTES", "Handler", "Route", "Routed", "Service", "as_response"]

MOST_PARAMETERS: Final = 50
MOST_FILES: Final = 5_000
LONGEST_PATH: Final = 500
MOST_AHEAD: Final = 64 * 2**20
"""How much of a batch is kept while its caller does not read the answers yet."""
PUBLIC: Final = ""
"""The scope of what anybody may have."""


class Service(Protocol):
    """What the routes need of the service."""

    async def decide(self, event_type: str, body: bytes, *, features: bool = False) -> Answer | Problem: ...
    def decide_lines(
        self, event_type: str, chunks: AsyncIterator[bytes], features: bool = False
    ) -> AsyncIterator[bytes]: ...
    async def take_in(self, event_type: str, body: bytes) -> Answer | Problem: ...
    async def labels(self, body: bytes) -> Answer | Problem: ...
    async def alarms(self, body: bytes, who: str) -> Answer | Problem: ...
    async def decision(self, decision_id: str) -> Answer | Problem: ...
    async def decision_of(self, event_type: str, event_id: str) -> Answer | Problem: ...
    async def decisions(self, filter: Mapping[str, str]) -> Answer | Problem: ...
    async def entity(self, entity: str, key: str) -> Answer | Problem: ...
    async def project(self) -> Answer | Problem: ...
    async def check_project(self, files: Mapping[str, bytes] | None) -> Answer | Problem: ...
    async def apply_project(
        self, files: Mapping[str, bytes] | None, version: str | None, who: str
    ) -> Answer | Problem: ...
    async def versions(self) -> Answer | Problem: ...
    def health(self) -> Answer | Problem: ...
    def ready(self) -> Answer | Problem: ...
    def metrics(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Routed:
    """A request that was let in, and what answers it."""

    service: Service
    limits: Limits
    request: Request
    caller: Caller | None

    def path(self, name: str) -> str:
        """A part of the address, decoded."""
        value: str = self.request.path_params[name]
        return value

    def query(self, *allowed: str) -> dict[str, str]:
        """The parameters after the question mark; any may be given where none is named. Raises Refusal."""
        raw = self.request.scope["query_string"].decode("latin-1")
        try:
            pairs = parse_qsl(raw, keep_blank_values=True, max_num_fields=MOST_PARAMETERS)
        except ValueError:
            raise Refusal(problem("bad_filter", f"at most {MOST_PARAMETERS} parameters are taken")) from None
        given = dict(pairs)
        if len(given) != len(pairs):
            raise Refusal(problem("bad_filter", "a parameter is given twice"))
        if allowed and not given.keys() <= set(allowed):
            hint = f"parameters are {', '.join(allowed)}"
            raise Refusal(problem("bad_filter", "a parameter is given that this address does not take", hint=hint))
        return given

    def features(self) -> bool:
        """Whether the answer is to show the features: ?features=true."""
        value = self.query("features").get("features", "false")
        if value not in ("true", "false"):
            raise Refusal(problem("bad_filter", "features is true or false", field="features"))
        return value == "true"

    async def event(self) -> bytes:
        """The body, one event. Raises Refusal."""
        body = await self.limits.read_body(self.request.receive, self.request.scope["headers"])
        refused = check_json(body, self.limits.settings.depth)
        if refused is not None:
            raise Refusal(refused)
        return body

    async def bulk(self) -> bytes:
        """The body: one JSON object, or one a line. Raises Refusal."""
        limit = self.limits.settings.bulk_bytes
        body = await self.limits.read_body(self.request.receive, self.request.scope["headers"], limit)
        if b"\n" not in body.strip():
            refused = check_json(body, self.limits.settings.depth)
            if refused is not None:
                raise Refusal(refused)
        return body


class _Anything(PathConvertor):
    """The rest of an address, with line breaks: Starlette's own stops before one, and would name another event."""

    regex = "(?s:.*)"


register_url_convertor("path", _Anything())

Handler = Callable[[Routed], Awaitable[Answer | Problem | Response]]


@dataclass(frozen=True, slots=True)
class Route:
    """An address: its method and path, the scope that it needs, and what answers."""

    method: str
    path: str
    scope: str
    handler: Handler


# -- decisions, events, labels -----------------------------------------------------------------------------------------


async def _decide(routed: Routed) -> Answer | Problem:
    features = routed.features()
    return await routed.service.decide(routed.path("name"), await routed.event(), features=features)


async def _decide_batch(routed: Routed) -> Response:
    """Lines in, lines out. What is wrong before the first line is out has a status; later it is the last line."""
    features = routed.features()
    chunks = _charged(routed, routed.limits.stream_body(routed.request.receive, routed.request.scope["headers"]))
    body = _Ahead(chunks, min(routed.limits.settings.batch_bytes, MOST_AHEAD))
    lines = routed.service.decide_lines(routed.path("event_type"), body.chunks(), features)
    first = await anext(lines, b"")
    return _Lines(_rest(first, lines), body)


async def _charged(routed: Routed, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The chunks of a batch; each of its events counts against the key's rate."""
    uncounted = 1  # the request itself was counted
    async for chunk in chunks:
        if routed.caller is not None and (lines := chunk.count(b"\n")):
            routed.limits.charge(routed.caller, max(0, lines - uncounted))
            uncounted = 0
        yield chunk


class _Ahead:
    """A body that can be read ahead while its answers cannot be sent: many callers send all before they read anything,
    and would wait for the service as it waits for them. At most `most` bytes are kept.
    """

    def __init__(self, chunks: AsyncIterator[bytes], most: int) -> None:
        self._chunks = chunks
        self._most = most
        self._held: deque[bytes] = deque()
        self._size = 0
        self._ended: BaseException | None = None
        self._wanted = False
        self._reading: asyncio.Task[None] | None = None

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body's parts; for one reader, who does not read while `during` runs."""
        while True:
            if not self._held and self._reading is not None:
                await self._reading
                self._reading = None
            if self._held:
                part = self._held.popleft()
                self._size -= len(part)
            elif self._ended is not None:
                if isinstance(self._ended, StopAsyncIteration):
                    return
                raise self._ended
            else:
                next_part = await anext(self._chunks, None)
                if next_part is None:
                    return
                part = next_part
            yield part

    async def during(self, sending: Awaitable[None]) -> None:
        """Send something; while it cannot be sent, read."""
        task = asyncio.ensure_future(sending)
        await asyncio.sleep(0)
        if not task.done() and self._ended is None:
            self._wanted = True
            if self._reading is None or self._reading.done():
                self._reading = asyncio.create_task(self._read())
        try:
            await task
        finally:
            self._wanted = False

    async def close(self) -> None:
        """Read no more."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    async def _read(self) -> None:
        try:
            while self._wanted and self._size < self._most:
                part = await anext(self._chunks)
                self._held.append(part)
                self._size += len(part)
        except Exception as error:  # the reader of `chunks` meets it
            self._ended = error


class _Lines(Response):
    """Lines that are sent as they come.

    The body of the request may still be coming: Starlette's own streaming response would read, and lose, what is left
    of it, as it listens for the caller to leave.
    """

    def __init__(self, lines: AsyncIterator[bytes], body: _Ahead) -> None:
        self.status_code = 200
        self.background = None
        self._lines = lines
        self._body = body
        self.raw_headers = [(b"content-type", NDJSON)]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        try:
            async for line in self._lines:
                await self._body.during(send({"type": "http.response.body", "body": line, "more_body": True}))
        finally:
            await self._body.close()
        await send({"type": "http.response.body", "body": b""})


async def _rest(first: bytes, lines: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    try:
        async for line in lines:
            yield line
    except Refusal as refused:
        yield refused.problem.body + b"\n"
    except Exception as error:
        # The status is long out: the one way to say it is the last line, and the log has the rest.
        yield mistake(error).body + b"\n"
    finally:
        with contextlib.suppress(Exception):
            await lines.aclose()  # type: ignore[attr-defined]


async def _take_in(routed: Routed) -> Answer | Problem:
    routed.query("")
    return await routed.service.take_in(routed.path("event_type"), await routed.bulk())


async def _labels(routed: Routed) -> Answer | Problem:
    routed.query("")
    return await routed.service.labels(await routed.bulk())


async def _alarms(routed: Routed) -> Answer | Problem:
    routed.query("")
    who = routed.caller.name if routed.caller is not None else ""
    return await routed.service.alarms(await routed.event(), who)


# -- reading -----------------------------------------------------------------------------------------------------------


async def _decision(routed: Routed) -> Answer | Problem:
    routed.query("")
    return await routed.service.decision(routed.path("name"))


async def _decision_of(routed: Routed) -> Answer | Problem:
    routed.query("")
    return await routed.service.decision_of(routed.path("event_type"), routed.path("event_id"))


async def _decisions(routed: Routed) -> Answer | Problem:
    return await routed.service.decisions(routed.query())


async def _entity(routed: Routed) -> Answer | Problem:
    routed.query("")
    return await routed.service.entity(routed.path("entity"), routed.path("key"))


# -- the project -------------------------------------------------------------------------------------------------------


class _File(msgspec.Struct, forbid_unknown_fields=True):
    base64: str


class _Check(msgspec.Struct, forbid_unknown_fields=True):
    files: dict[str, str | _File] | None = None


class _Apply(msgspec.Struct, forbid_unknown_fields=True):
    files: dict[str, str | _File] | None = None
    version: str | None = None


_Form = TypeVar("_Form", _Check, _Apply)


async def _project(routed: Routed) -> Answer | Problem:
    routed.query("")
    return await routed.service.project()


async def _versions(routed: Routed) -> Answer | Problem:
    routed.query("")
    return await routed.service.versions()


async def _check_project(routed: Routed) -> Answer | Problem:
    routed.query("")
    form = _form(await routed.bulk(), _Check)
    return await routed.service.check_project(_files(form.files))


async def _apply_project(routed: Routed) -> Answer | Problem:
    routed.query("")
    form = _form(await routed.bulk(), _Apply)
    if form.files is not None and form.version is not None:
        return problem("invalid_request", "either files or a version is applied", field="version")
    who = routed.caller.name if routed.caller is not None else ""
    return await routed.service.apply_project(_files(form.files), form.version, who)


def _form(body: bytes, form: type[_Form]) -> _Form:
    try:
        return msgspec.json.decode(body.strip() or b"{}", type=form)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        # msgspec's message names the place and the types, never the value.
        raise Refusal(problem("invalid_request", str(error).replace("`", ""))) from None


def _files(given: Mapping[str, str | _File] | None) -> dict[str, bytes] | None:
    """The files of a project by their path in it. Raises Refusal where a path leads elsewhere."""
    if given is None:
        return None
    if len(given) > MOST_FILES:
        raise Refusal(problem("invalid_request", f"a project has at most {MOST_FILES:,} files", field="files"))
    files = {}
    for path, content in given.items():
        parts = path.split("/")
        if (
            not 0 < len(path) <= LONGEST_PATH
            or not path.isprintable()
            or "\\" in path
            or ":" in path
            or any(part in ("", ".", "..") for part in parts)
        ):
            raise Refusal(
                problem("invalid_request", "a file's name is its path within the project, such as rules/a.yaml")
            )
        try:
            files[path] = (
                content.encode() if isinstance(content, str) else base64.b64decode(content.base64, validate=True)
            )
        except (UnicodeEncodeError, binascii.Error, ValueError):
            raise Refusal(problem("invalid_request", "a file is text, or Base64 of its bytes", field="files")) from None
    return files


# -- about the service -------------------------------------------------------------------------------------------------


async def _health(routed: Routed) -> Answer | Problem:
    return routed.service.health()


async def _ready(routed: Routed) -> Answer | Problem:
    return routed.service.ready()


async def _metrics(routed: Routed) -> Answer:
    return Answer(200, routed.service.metrics(), content_type=b"text/plain; version=0.0.4; charset=utf-8")


ROUTES: Final = (
    Route("POST", "/v1/decisions/{event_type}:batch", "decide", _decide_batch),
    Route("POST", "/v1/decisions/{name}", "decide", _decide),
    Route("GET", "/v1/decisions", "read", _decisions),
    Route("GET", "/v1/decisions/{name}", "read", _decision),
    Route("GET", "/v1/decisions/{event_type}/{event_id:path}", "read", _decision_of),
    Route("POST", "/v1/events/{event_type}", "decide", _take_in),
    Route("POST", "/v1/labels", "label", _labels),
    Route("POST", "/v1/alarms", "label", _alarms),
    Route("GET", "/v1/entities/{entity}/{key:path}", "read", _entity),
    Route("GET", "/v1/project", "read", _project),
    Route("GET", "/v1/project/versions", "read", _versions),
    Route("POST", "/v1/project:check", "admin", _check_project),
    Route("POST", "/v1/project:apply", "admin", _apply_project),
    Route("GET", "/healthz", PUBLIC, _health),
    Route("GET", "/readyz", PUBLIC, _ready),
    Route("GET", "/metrics", "read", _metrics),
)
"""Every address, in the order in which they are tried."""


def as_response(answer: Answer | Problem | Response, request: Request) -> Response:
    """An answer as Starlette sends it: its bytes and headers as they are. A refusal is noted, to be counted."""
    if isinstance(answer, Response):
        return answer
    response = Response(answer.body, answer.status)
    length = (b"content-length", str(len(answer.body)).encode())
    if isinstance(answer, Problem):
        request.scope[REFUSED] = answer.code
        response.raw_headers = [*answer.headers, length]
    else:
        response.raw_headers = [(b"content-type", answer.content_type), *answer.headers, length]
    return response
