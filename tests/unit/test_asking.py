"""The plain HTTP of enrichments over sockets of the test: kept connections, TLS, chunks, and replies that mislead."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from enrichment_servers import always, telling
from hypothesis import given, settings
from hypothesis import strategies as st
from test_addresses import _certificate

from parakh.decisions.hosts import Origin, origin_of, pins_of
from parakh.service.addresses import UnreachableError, Vetting
from parakh.service.asking import Asker, AskError, Reply

Answering = Callable[[str, asyncio.StreamWriter], Awaitable[None]]


def run(test: Awaitable[None]) -> None:
    async def whole() -> None:
        async with asyncio.timeout(30):
            await test

    asyncio.run(whole())


def asker_of(origin: Origin | str, *, limit: int = 1000, pins: Sequence[str] = (), **more: Any) -> Asker:
    origin = origin if isinstance(origin, Origin) else origin_of(origin)
    vetting = Vetting(pins_of(pins or [f"{origin.host}:{origin.port}"]), resolve=more.pop("resolve", None))
    return Asker(origin, vetting, headers={"X-A": "b"}, body_bytes=limit, verify=more.pop("verify", None))


@asynccontextmanager
async def asked(answer: Answering, **more: Any) -> Any:
    async with telling(answer) as server:
        asker = asker_of(f"http://127.0.0.1:{server.port}", **more)
        try:
            yield asker, server
        finally:
            asker.close()


def raw(*parts: bytes) -> Answering:
    async def answer(path: str, writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0.001)

    return answer


def test_the_request_is_what_a_server_expects() -> None:
    async def test() -> None:
        async with asked(always(b"{}")) as (asker, server):
            assert await asker.get("/a?b=c%20d") == Reply(200, b"{}", "")
            (head,) = server.headers
            assert (
                head
                == (
                    f"GET /a?b=c%20d HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nUser-Agent: parakh\r\n"
                    "Accept-Encoding: identity\r\nX-A: b\r\n\r\n"
                ).encode()
            )

    run(test())


@given(st.lists(st.binary(min_size=1, max_size=20), max_size=6), st.data())
@settings(max_examples=60, deadline=None)
def test_a_reply_is_the_same_however_it_is_cut(chunks: list[bytes], data: st.DataObject) -> None:
    body = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    whole = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=4)))
    parts = [whole[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(whole)]) if stop > start]

    async def test() -> None:
        async with asked(raw(*parts)) as (asker, server):
            for _ in range(2):
                assert await asker.get("/") == Reply(200, b"".join(chunks), "")
            assert server.connections == 1

    run(test())


@pytest.mark.parametrize(
    "answer",
    [
        always(b"{}", header="Connection: close\r\n"),
        raw(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}"),
        raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n[1]"),
        raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}garbage"),
    ],
)
def test_a_connection_that_should_not_serve_again_does_not(answer: Answering) -> None:
    async def test() -> None:
        async with asked(answer) as (asker, server):
            for _ in range(3):
                assert await asker.get("/") == Reply(200, b"{}", "")
            assert server.connections == 3

    run(test())


def test_what_comes_unasked_on_an_idle_connection_answers_nothing() -> None:
    async def answer(path: str, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n[1]")

    async def test() -> None:
        async with asked(answer) as (asker, server):
            for _ in range(3):
                assert (await asker.get("/")).body == b"{}"
                await asyncio.sleep(0.15)
            assert server.connections == 3

    run(test())


def test_a_connection_that_was_closed_while_idle_costs_no_answer() -> None:
    async def answer(path: str, writer: asyncio.StreamWriter) -> None:
        await always(b"{}")(path, writer)
        await writer.drain()
        writer.close()

    async def test() -> None:
        async with asked(answer) as (asker, server):
            for number in range(20):
                assert (await asker.get(f"/{number}")).body == b"{}"
                await asyncio.sleep(0.002 * (number % 3))
            assert len(set(server.asked)) == 20

    run(test())


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        (always(b"x" * 1001), "too large"),
        (raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 5000), "too large"),
        (raw(b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 50_000), "too large"),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n"), "not HTTP"),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}"), "not HTTP"),
        (raw(b"<html>"), "not HTTP"),
        (raw(b"HTTP/1.1 200 OK\r\n\r\n{}"), "where it ends"),
        (raw(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"), "where it ends"),
    ],
)
def test_a_reply_that_cannot_be_taken_is_said_so_and_its_connection_closed(answer: Answering, what: str) -> None:
    async def test() -> None:
        async with asked(answer) as (asker, server):
            for _ in range(2):
                with pytest.raises(AskError, match=what):
                    await asker.get("/")
            assert server.connections == 2

    run(test())


def test_a_question_that_is_given_up_closes_its_connection() -> None:
    async def test() -> None:
        async with asked(always(b"{}", after_s=0.2)) as (asker, server):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.02):
                    await asker.get("/1")
            assert (await asker.get("/2")).body == b"{}"
            assert server.connections == 2

    run(test())


def test_https_is_the_names_certificate_at_the_vetted_address(tmp_path: Path) -> None:
    certificate, key = _certificate(tmp_path, "localhost")
    serve = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serve.load_cert_chain(certificate, key)
    names: list[str | None] = []
    serve.sni_callback = lambda _socket, name, _context: names.append(name)
    trust = ssl.create_default_context(cafile=str(certificate))

    async def test() -> None:
        async with telling(always(b"{}"), ssl=serve) as server:
            asker = asker_of(f"https://localhost:{server.port}", verify=trust)
            assert (await asker.get("/")).body == b"{}"
            asker.close()
            numbered = asker_of(f"https://127.0.0.1:{server.port}", verify=trust)
            with pytest.raises(ssl.SSLCertVerificationError):
                await numbered.get("/")
            untrusting = asker_of(f"https://localhost:{server.port}", verify=ssl.create_default_context())
            with pytest.raises(ssl.SSLCertVerificationError):
                await untrusting.get("/")
            assert names[0] == "localhost"
            assert len(server.asked) == 1

    run(test())
    with pytest.raises(ValueError, match="certificates"):
        asker_of("https://localhost:1")


def test_a_name_that_resolves_elsewhere_is_not_asked() -> None:
    async def test() -> None:
        async with telling(always(b"{}")) as server:
            for host, answers in (("localhost", ["10.0.0.1"]), ("risk.example.com", ["127.0.0.1", "::1"])):

                async def resolve(host: str, port: int, answers: Sequence[str] = answers) -> Sequence[str]:
                    return answers

                origin = Origin("http", host, server.port)
                with pytest.raises(UnreachableError):
                    await asker_of(origin, resolve=resolve).get("/")
            assert server.connections == 0

    run(test())
