"""A connection to the server, within bounds that hold before anybody has said who they are.

uvicorn waits for ever for a request's head and for a caller who does not read, and keeps a head of any length. Here a
head has a size and a time, an answer that nobody reads is given up, and connections leave the log its files.
"""

from __future__ import annotations

import asyncio
import re
import resource
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

__all__ = ["Connection", "spare_files"]

HEAD_BYTES: Final = 64 * 2**10
"""The first line and the headers of a request."""
HEAD_TIMEOUT_S: Final = 30.0
"""How long a head may take to arrive, from the connection or from its first byte on."""
READ_TIMEOUT_S: Final = 60.0
"""How long a caller may leave an answer unread while no more of it fits the connection."""
_CONTINUE: Final = b"HTTP/1.1 100 "
_END_OF_HEAD: Final = b"\r\n\r\n"
_MAY_OFFER: Final = b"pgrade"
_OFFER: Final = re.compile(rb"(?<=\r\n)upgrade(?=[ \t]*:)", re.IGNORECASE)
_NO_OFFER: Final = b"x-offer"
"""An offer to speak another protocol, such as Java's HttpClient makes with each request, is no offer under this name.
The parser would leave the connection to that protocol, and the request's body unread."""
_FILES_KEPT: Final = 256
"""Files that connections leave to the log, snapshots, the index and what is asked of others."""


class _Joining:
    """A transport on which the head of an answer waits for its body, so that both leave with one call of the system."""

    __slots__ = ("_head", "_transport")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._head = b""

    def write(self, data: bytes) -> None:
        if self._head:
            data, self._head = self._head + data, b""
        elif data.startswith(b"HTTP/1.1 ") and data.endswith(b"\r\n\r\n") and not data.startswith(_CONTINUE):
            self._head = data
            return
        self._transport.write(data)

    def close(self) -> None:
        if self._head:
            self.write(b"")
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class Connection(HttpToolsProtocol):
    """A connection with bounds, for uvicorn's `http` setting."""

    most = 1 << 20
    """How many connections there may be; `spare_files` sets it."""

    _in_head = True
    _in_body = False
    _head_bytes = 0
    _head_timer: asyncio.TimerHandle | None = None
    _read_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(_Joining(transport))  # type: ignore[arg-type]
        if len(self.connections) > self.most:
            transport.abort()
            return
        self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timers()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if not self._in_head:
            self._head_bytes = -len(data)  # where a body ends here, the next head has no more than has come
        if not self._in_body and _MAY_OFFER in data:
            head, end, body = data.partition(_END_OF_HEAD)
            data = _OFFER.sub(_NO_OFFER, head) + end + body
        super().data_received(data)
        if self._in_head and not self.transport.is_closing():
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES:
                self.send_400_response("The head of the request is too large.")
            elif self._head_timer is None:
                self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self._give_up)

    def on_message_begin(self) -> None:
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self.head_is_here()
        super().on_headers_complete()

    def head_is_here(self) -> None:
        """The head of a request has come in time."""
        self._in_head = False
        self._in_body = True
        self._head_bytes = 0
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def on_message_complete(self) -> None:
        self._in_body = False
        super().on_message_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._read_timer is None:
            self._read_timer = self.loop.call_later(READ_TIMEOUT_S, self._give_up)

    def resume_writing(self) -> None:
        if self._read_timer is not None:
            self._read_timer.cancel()
            self._read_timer = None
        super().resume_writing()

    def _give_up(self) -> None:
        self._stop_timers()
        self.transport.abort()

    def _stop_timers(self) -> None:
        for timer in (self._head_timer, self._read_timer):
            if timer is not None:
                timer.cancel()
        self._head_timer = self._read_timer = None


def spare_files(connection: Any = Connection) -> int:
    """Let the process open as many files as it may, and connections take all of them but some; answers how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    connection.most = connection.most if soft == resource.RLIM_INFINITY else max(16, soft - _FILES_KEPT)
    most: int = connection.most
    return most
