"""What tests of the outbox share: a log that is a list, receivers on a real port, a clock that is set by hand."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from random import Random

import httpx
import msgspec
import numpy as np

from parakh.decisions.record import Reason, Record
from parakh.service.addresses import guarded_client
from parakh.service.outbox import Outbox
from parakh.streams.entries import EVENTS, UNDECIDED, Events
from parakh.streams.segments import Entry

BEGAN_US = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z


class Clock:
    """Microseconds UTC, moved by hand."""

    def __init__(self) -> None:
        self.now_us = BEGAN_US

    def __call__(self) -> int:
        return self.now_us

    def advance(self, seconds: float) -> None:
        self.now_us += int(seconds * 1_000_000)


def decision(number: int, **changes: object) -> Record:
    """The record of a blocked payment; its id is a function of the number, as a real one is of type and id."""
    parts: dict[str, object] = {
        "decision_id": hashlib.sha256(str(number).encode()).digest()[:16],
        "event_type": "payment",
        "event_id": f"p{number}",
        "event_time_us": BEGAN_US + number,
        "decided_at_us": BEGAN_US + number,
        "outcome": 3,
        "score": 0.9,
        "decided_by": ("rule", "card_tried"),
        "reasons": (Reason("R101", "one card is tried again and again"),),
        "hits": ("card_tried",),
        "unknown": (),
        "shadow_hits": (),
        "shadow_scores": (),
        "features": b"",
        "texts": (),
        "project": "hash",
        "models": (),
        "flags": 0,
    }
    return Record(**(parts | changes))  # type: ignore[arg-type]


def answer(record: bytes) -> bytes:
    """A short answer in place of the service's own."""
    read = msgspec.msgpack.decode(record, type=Record)
    return msgspec.json.encode({"decision_id": read.decision_id.hex(), "outcome": read.outcome_word})


def events(records: Sequence[Record | None]) -> bytes:
    """The payload of an EVENTS entry; None is an event that was only taken in."""
    types = tuple(dict.fromkeys(record.event_type for record in records if record)) or ("payment",)
    encoded = [msgspec.msgpack.encode(record) if record else b"" for record in records]
    ids = [record.decision_id if record else bytes(16) for record in records]
    return Events(
        project="hash",
        types=types,
        unanswered=(),
        kinds=np.array([types.index(record.event_type) if record else 0 for record in records], np.uint8),
        id_hi=np.array([int.from_bytes(item[:8], "big") for item in ids], np.uint64),
        id_lo=np.array([int.from_bytes(item[8:], "big") for item in ids], np.uint64),
        times_us=np.array([record.event_time_us if record else 0 for record in records], np.int64),
        outcomes=np.array([record.outcome if record else UNDECIDED for record in records], np.int8),
        body_lengths=np.array([2] * len(records), np.uint32),
        record_lengths=np.array([len(item) for item in encoded], np.uint32),
        bodies=b"{}" * len(records),
        records=b"".join(encoded),
    ).encode()


class ListLog:
    """A log in memory. `limit` entries are read at once, whatever the bytes."""

    def __init__(self, *, limit: int = 3) -> None:
        self.entries: list[Entry] = []
        self.first = 0
        self.durable = 0
        self._limit = limit

    def append(
        self, *records: Record | None, kind: int = EVENTS, arrived_us: int = BEGAN_US, payload: bytes = b"other"
    ) -> None:
        payload = events(records) if kind == EVENTS else payload
        end = self.durable + len(payload) + 32
        self.entries.append(Entry(self.durable, end, kind, arrived_us, self.durable, memoryview(payload)))
        self.durable = end

    def read(self, position: int, limit_bytes: int = 1 << 20) -> list[Entry]:
        if position < self.first:
            raise IndexError(position)
        found = [entry for entry in self.entries if entry.position >= position][: self._limit]
        assert not found or found[0].position == position, "a position in the middle of an entry"
        return found

    def trim(self, position: int) -> None:
        self.entries = [entry for entry in self.entries if entry.position >= position]
        self.first = self.entries[0].position if self.entries else self.durable


class Receiver:
    """An HTTP server that keeps what it is sent and answers as it is told to: a status, and headers."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.reply: Callable[[dict[str, str]], tuple[int, dict[str, str]]] = lambda headers: (204, {})
        self.delay_s = 0.0
        self.under_way = 0
        self.most_under_way = 0
        self.port = 0
        self._arrived = asyncio.Event()

    @property
    def ids(self) -> list[str]:
        return [headers["webhook-id"] for headers, _ in self.got]

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.host}/hook"

    async def wait_for(self, count: int, seconds: float = 20.0) -> None:
        """Until so many tries have arrived."""
        async with asyncio.timeout(seconds):
            while len(self.got) < count:
                self._arrived.clear()
                await self._arrived.wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                lines = (line.partition(": ") for line in head.split("\r\n")[1:] if line)
                headers = {name.lower(): value for name, _, value in lines}
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                self.under_way += 1
                self.most_under_way = max(self.most_under_way, self.under_way)
                await asyncio.sleep(self.delay_s)
                self.under_way -= 1
                self.got.append((headers, body))
                status, more = self.reply(headers)
                told = "".join(f"{name}: {value}\r\n" for name, value in ({"content-length": "0"} | more).items())
                writer.write(f"HTTP/1.1 {status} X\r\n{told}\r\n".encode())
                await writer.drain()
                self._arrived.set()
        writer.close()


@contextlib.asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """A receiver on a port of its own."""
    receiver = Receiver()
    server = await asyncio.start_server(receiver._serve, "127.0.0.1", 0)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()


def made(path: Path, log: ListLog, clock: Clock, hosts: Sequence[str] = (), **more: object) -> Outbox:
    """An outbox on `path` that may call `hosts` and the public internet."""

    def client() -> httpx.AsyncClient:
        return guarded_client(hosts, timeout_s=5.0, public=True)

    given: dict[str, object] = {"rng": Random(7), "timeout_s": 5.0} | more
    return Outbox(path, log, answer, clock=clock, client_factory=client, allowed=hosts, **given)  # type: ignore[arg-type]


@contextlib.asynccontextmanager
async def running(outbox: Outbox) -> AsyncIterator[Outbox]:
    """The outbox at work; stopped and closed at the end."""
    task = asyncio.create_task(outbox.run())
    try:
        yield outbox
    finally:
        outbox.stop()
        await task
        outbox.close()


async def until(holds: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(seconds):
        while not holds():
            await asyncio.sleep(0.005)


def asked(url: str, **more: object) -> bytes:
    """The body that asks for a subscription; `start` is its `from`."""
    if "start" in more:
        more["from"] = more.pop("start")
    return msgspec.json.encode({"url": url} | more)


def batches(records: Sequence[Record], size: int) -> Iterator[Sequence[Record]]:
    for begin in range(0, len(records), size):
        yield records[begin : begin + size]
