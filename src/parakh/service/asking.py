"""One question by HTTP to one pinned host: GET over connections that are kept, cheap enough to ask for every event.

httpx costs a tenfold of this, which a decision that is due in milliseconds cannot give away. What is left out is what
would be a danger here anyway: redirects, cookies, proxies, compression, bodies without a stated end. Where it connects
to is decided by `addresses`, as for all that leaves the service.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import httptools

from parakh.decisions.hosts import Origin
from parakh.service.addresses import Vetting

__all__ = ["AskError", "Asker", "Reply"]

_HEAD_BYTES = 16 * 1024
_IDLE_S = 30.0  # what lies between may forget a connection that is idle for longer


class AskError(Exception):
    """No reply: nobody there, not HTTP, too large, cut off."""


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    body: bytes
    encoding: str  # the Content-Encoding; empty where there is none


class Asker:
    """Asks one host, `origin`, which `vetting` has to admit. For one event loop.

    `body_bytes` bounds a reply's body. How long a question may take is the caller's to say: put it into
    `asyncio.timeout`; what is cancelled closes its connection.
    """

    def __init__(
        self,
        origin: Origin,
        vetting: Vetting,
        *,
        headers: Mapping[str, str],
        body_bytes: int,
        verify: ssl.SSLContext | None,
    ) -> None:
        self._origin = origin
        self._vetting = vetting
        self._tls = verify if origin.scheme == "https" else None
        if origin.scheme == "https" and verify is None:
            raise ValueError("https needs certificates to trust")
        self._bytes = body_bytes
        host = f"[{origin.host}]" if ":" in origin.host else origin.host
        default = 443 if origin.scheme == "https" else 80
        authority = host if origin.port == default else f"{host}:{origin.port}"
        lines = [f"Host: {authority}", "User-Agent: parakh", "Accept-Encoding: identity"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self._head = "".join(f"{line}\r\n" for line in lines).encode("ascii")
        self._idle: list[_Connection] = []

    async def get(self, target: str) -> Reply:
        """The reply for a path and query, which must be percent-encoded. Raises AskError, or OSError."""
        request = b"GET %b HTTP/1.1\r\n%b\r\n" % (target.encode("ascii"), self._head)
        while (kept := self._kept()) is not None:
            try:
                return await self._exchange(kept, request)
            except AskError:
                if kept.heard:  # else it was closed while it was idle: the question was not taken
                    raise
        return await self._exchange(await self._connect(), request)

    def close(self) -> None:
        """Close the connections that are idle."""
        for connection in self._idle:
            connection.transport.abort()
        self._idle.clear()

    def _kept(self) -> _Connection | None:
        now = asyncio.get_running_loop().time()
        while self._idle:
            connection = self._idle.pop()
            if connection.usable and now - connection.idle_since < _IDLE_S:
                return connection
            connection.transport.abort()
        return None

    async def _connect(self) -> _Connection:
        loop = asyncio.get_running_loop()
        failure: OSError | None = None
        for address in await self._vetting.addresses(self._origin.host, self._origin.port):
            try:
                _, connection = await loop.create_connection(
                    lambda: _Connection(self._bytes),
                    str(address),
                    self._origin.port,
                    ssl=self._tls,
                    server_hostname=self._origin.host if self._tls is not None else None,
                )
                return connection
            except OSError as error:
                failure = error
        raise failure or AskError("no address")

    async def _exchange(self, connection: _Connection, request: bytes) -> Reply:
        whole = False
        try:
            reply = await connection.ask(request)
            whole = True
        finally:
            if whole and connection.usable:
                connection.idle_since = asyncio.get_running_loop().time()
                self._idle.append(connection)
            else:
                connection.transport.abort()
        return reply


class _Connection(asyncio.Protocol):
    """One connection: one question at a time, its reply parsed as it comes."""

    def __init__(self, body_bytes: int) -> None:
        self.transport: asyncio.Transport
        self.usable = True
        self.heard = False
        self.idle_since = 0.0
        self._limit = body_bytes
        self._waiter: asyncio.Future[Reply] | None = None

    def ask(self, request: bytes) -> asyncio.Future[Reply]:
        self._parser = httptools.HttpResponseParser(self)
        self._body = bytearray()
        self._encoding = ""
        self._framed = False
        self._received = 0
        self.heard = False
        waiter = self._waiter = asyncio.get_running_loop().create_future()
        if self.transport.is_closing():
            self._fail("the connection was closed")
        else:
            self.transport.write(request)
        return waiter

    # -- asyncio's calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._waiter is None or self._waiter.done():
            self.usable = False  # nothing was asked: what comes belongs to no question
            self.transport.abort()
            return
        self.heard = True
        self._received += len(data)
        if self._received > 2 * self._limit + _HEAD_BYTES:  # chunks have headers of their own
            self._fail("the reply is too large")
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._fail("the reply is not HTTP")

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail("the connection was closed")

    # -- the parser's calls

    def on_message_begin(self) -> None:
        if self._waiter is None or self._waiter.done():
            self.usable = False  # a second reply behind the first: whose it is cannot be told

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name == b"content-encoding":
            self._encoding = value.decode("latin-1").strip().lower()
        self._framed = self._framed or name in (b"content-length", b"transfer-encoding")

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200 or not (self._framed or status in (204, 304)):
            self._fail("the reply does not say where it ends")

    def on_body(self, body: bytes) -> None:
        self._body += body
        if len(self._body) > self._limit:
            self._fail("the reply is too large")

    def on_message_complete(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self.usable = self.usable and bool(self._parser.should_keep_alive())
            reply = Reply(self._parser.get_status_code(), bytes(self._body), self._encoding)
            self._waiter.set_result(reply)

    def _fail(self, what: str) -> None:
        self.usable = False
        self.transport.abort()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(AskError(what))
