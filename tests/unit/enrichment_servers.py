"""Local servers that answer an enrichment's questions well, late, badly or never, and the project that asks them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from parakh.decisions.definition import Definitions, Enrichment, EnrichmentColumn, Policy, Settings
from parakh.events.definition import EventType, Field
from parakh.expressions.types import BOOLEAN, INTEGER, NUMBER, STRING, TIMESTAMP, money

GOOD = b'{"score": 0.7, "country": "IN"}'
COLUMNS = (EnrichmentColumn("risk", NUMBER, "score"), EnrichmentColumn("country", STRING))
EVENT = EventType(
    name="payment",
    id="payment_id",
    time="paid_at",
    fields=(
        Field(name="payment_id", type=STRING),
        Field(name="paid_at", type=TIMESTAMP),
        Field(name="ip", type=STRING),
        Field(name="amount", type=money("INR")),
        Field(name="online", type=BOOLEAN, source="how.online"),
        Field(name="count", type=INTEGER),
        Field(name="share", type=NUMBER),
    ),
)


@dataclass(slots=True)
class Teller:
    """A server over plain sockets; `answer` writes what it likes; what was asked is kept."""

    answer: Callable[[str, asyncio.StreamWriter], Awaitable[None]]
    port: int = 0
    asked: list[str] = field(default_factory=list)
    headers: list[bytes] = field(default_factory=list)
    connections: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.asked.append(head.split(b" ")[1].decode())
                self.headers.append(head)
                await self.answer(self.asked[-1], writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def telling(answer: Callable[[str, asyncio.StreamWriter], Awaitable[None]], **tls: Any) -> AsyncIterator[Teller]:
    teller = Teller(answer)
    listener = await asyncio.start_server(teller.serve, "127.0.0.1", 0, **tls)
    teller.port = listener.sockets[0].getsockname()[1]
    async with listener:
        yield teller


def always(
    body: bytes = GOOD, *, status: str = "200 OK", after_s: float = 0.0, header: str = ""
) -> Callable[[str, asyncio.StreamWriter], Awaitable[None]]:
    """An answer to every question."""

    async def answer(path: str, writer: asyncio.StreamWriter) -> None:
        if after_s:
            await asyncio.sleep(after_s)
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{header}\r\n".encode() + body)

    return answer


def project_asking(port: int, *, path: str = "/ip/{ip}", **changed: Any) -> Definitions:
    """A project with one enrichment, `ip_risk` of payment, which asks a local port."""
    enrichment = Enrichment(
        name="ip_risk",
        event_type="payment",
        url=f"http://127.0.0.1:{port}{path}",
        columns=COLUMNS,
        timeout_us=2_000_000,
    )
    return Definitions(
        settings=Settings(name="shop", currency="INR", enrichment_hosts=(f"127.0.0.1:{port}",)),
        events=(EVENT,),
        policies=(Policy(event_type="payment", name="payment", deadline_us=10_000_000),),
        enrichments=(replace(enrichment, **changed),),
    )
