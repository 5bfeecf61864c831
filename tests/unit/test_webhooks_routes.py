"""Webhooks over HTTP and on the command line."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from outbox_parts import Clock, ListLog, Receiver, decision, made, receiving, running, until

from parakh.cli.main import FOUND_PROBLEMS, OK, WRONG_USE, run
from parakh.service.deliveries import Deliveries
from parakh.service.outbox import Outbox
from parakh.service.webhook_routes import SCOPES, router
from parakh.service.webhook_secrets import KeySeal, SealError
from parakh.service.webhooks import WebhookError


def application(outbox: Outbox) -> FastAPI:
    app = FastAPI()
    app.include_router(router(outbox))
    return app


@contextlib.asynccontextmanager
async def served(path: Path, log: ListLog, clock: Clock) -> AsyncIterator[tuple[httpx.AsyncClient, Receiver, Outbox]]:
    async with receiving() as receiver, running(made(path, log, clock, [receiver.host], attempts=1)) as outbox:
        transport = httpx.ASGITransport(application(outbox))
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            yield client, receiver, outbox


def test_a_webhook_from_its_beginning_to_its_end(tmp_path: Path) -> None:
    async def story() -> None:
        log, clock = ListLog(), Clock()
        async with served(tmp_path / "db", log, clock) as (client, receiver, outbox):
            answer = await client.post(
                "/v1/webhooks", json={"url": receiver.url, "filter": {"outcomes": ["block"]}, "description": "desk"}
            )
            assert answer.status_code == 201
            held = answer.json()
            assert held.pop("secret").startswith("whsec_")
            address = f"/v1/webhooks/{held['id']}"
            assert (await client.get("/v1/webhooks")).json() == {"webhooks": [held]}
            assert (await client.get(address)).json()["messages"] == {"pending": 0, "delivered": 0, "dead": 0}

            receiver.reply = lambda headers: (400, {})
            log.append(decision(1), decision(2))
            await until(lambda: outbox.counts.dead == 2)
            first = (await client.get(f"{address}/deliveries?state=dead&limit=1")).json()
            second = (await client.get(f"{address}/deliveries?state=dead&limit=1&cursor={first['next']}")).json()
            rows = first["deliveries"] + second["deliveries"]
            assert second["next"] is None
            assert {row["id"] for row in rows} == set(receiver.ids)
            assert {(row["tries"], row["status"], row["state"]) for row in rows} == {(1, 400, "dead")}
            assert (await client.post(f"{address}:test")).json() == {
                "delivered": False, "status": 400, "error": "the receiver answered 400",
            }  # fmt: skip

            receiver.reply = lambda headers: (204, {})
            assert (await client.post(f"{address}:test")).json()["delivered"]
            assert json.loads(receiver.got[-1][1])["type"] == "test"
            again = await client.post(f"{address}:resend", json={"id": rows[0]["id"]})
            assert again.json() == {"resent": 1}
            assert (await client.post(f"{address}:resend", json={"id": rows[0]["id"]})).status_code == 404
            assert (await client.post(f"{address}:resend")).json() == {"resent": 1}
            await until(lambda: outbox.counts.delivered == 2)
            assert (await client.get(f"{address}/deliveries?state=dead")).json()["deliveries"] == []

            assert (await client.post(f"{address}:pause")).json()["state"] == "paused"
            assert (await client.post(f"{address}:resume")).json()["state"] == "active"
            rotated = (await client.post(f"{address}:rotate")).json()
            assert rotated["secret"] != answer.json()["secret"]
            assert (await client.delete(address)).status_code == 204
            assert (await client.get(address)).status_code == 404

    asyncio.run(story())


def test_what_is_wrong_is_a_problem(tmp_path: Path) -> None:
    async def story() -> None:
        log, clock = ListLog(), Clock()
        async with served(tmp_path / "db", log, clock) as (client, receiver, _):
            held = (await client.post("/v1/webhooks", json={"url": receiver.url})).json()
            address = f"/v1/webhooks/{held['id']}"
            nobody = "/v1/webhooks/wh_nobody"
            tried = [
                (await client.post("/v1/webhooks", content=body), 422, "invalid_request")
                for body in (b"", b"{", b"[]", b"\xff\x00", b'{"url": "https://10.0.0.1/"}', b'{"url": "http://x.com/"}',
                             b'{"url": "https://x.com/", "from": 99999999}', b"[" * 60_000)
            ]  # fmt: skip
            tried += [
                (await client.post("/v1/webhooks", content=b" " * 70_000), 413, "body_too_large"),
                (await client.get(f"{address}/deliveries?state=odd"), 400, "bad_filter"),
                (await client.get(f"{address}/deliveries?limit=0"), 400, "bad_filter"),
                (await client.get(f"{address}/deliveries?limit=501"), 400, "bad_filter"),
                (await client.get(f"{address}/deliveries?limit=²"), 400, "bad_filter"),
                (await client.get(f"{address}/deliveries?odd=1"), 400, "bad_filter"),
                (await client.get(f"{address}/deliveries?cursor=-1"), 400, "bad_cursor"),
                (await client.get(f"{address}/deliveries?cursor=99999999999999999999"), 400, "bad_cursor"),
                (await client.post(f"{address}:resend", content=b'{"ids": []}'), 422, "invalid_request"),
                (await client.get(nobody), 404, "not_found"),
                (await client.delete(nobody), 404, "not_found"),
                (await client.get(f"{nobody}/deliveries"), 404, "not_found"),
            ]
            for verb in ("resend", "test", "rotate", "pause", "resume"):
                tried.append((await client.post(f"{nobody}:{verb}"), 404, "not_found"))
            for answer, status, code in tried:
                assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
                assert answer.headers["content-type"] == "application/problem+json"

    asyncio.run(story())


def test_there_is_an_end_to_webhooks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("parakh.service.outbox.MOST_SUBSCRIPTIONS", 3)

    async def story() -> None:
        async with served(tmp_path / "db", ListLog(), Clock()) as (client, receiver, _):
            every = await asyncio.gather(*(client.post("/v1/webhooks", json={"url": receiver.url}) for _ in range(6)))
            assert sorted(answer.status_code for answer in every) == [201] * 3 + [422] * 3

    asyncio.run(story())


def test_every_route_has_a_scope_and_is_documented(tmp_path: Path) -> None:
    outbox = made(tmp_path / "db", ListLog(), Clock())
    routes = {(method, route.path) for route in router(outbox).routes for method in route.methods}  # type: ignore[attr-defined]
    assert routes == set(SCOPES)
    paths = application(outbox).openapi()["paths"]
    for method, path in routes:
        told = paths[path][method.lower()]
        assert told["summary"]
        assert any(status.startswith("2") for status in told["responses"])
    outbox.close()


def test_sealed_secrets_need_their_key(tmp_path: Path) -> None:
    path = tmp_path / "db"

    async def story() -> None:
        outbox = made(path, ListLog(), Clock())
        plain, _ = await outbox.subscribe(b'{"url": "https://hooks.example.com/"}')
        outbox.close()
        outbox = made(path, ListLog(), Clock(), seal=KeySeal(bytes(32)))
        assert outbox.subscription(plain.id) == plain  # what was plain stays readable
        await outbox.pause(plain.id)  # and is sealed when it is written
        outbox.close()

    asyncio.run(story())
    with pytest.raises(WebhookError):
        Deliveries(path)
    with pytest.raises(SealError):
        Deliveries(path, seal=KeySeal(bytes([1]) * 32))
    Deliveries(path, seal=KeySeal(bytes(32))).close()


# -- the command line --------------------------------------------------------------------------------------------------


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Receiver, ListLog]]:
    """A server with webhooks on a port of its own, in a thread of its own."""
    log, clock, ready, ended = ListLog(), Clock(), threading.Event(), threading.Event()
    found: list[tuple[str, Receiver]] = []

    async def story() -> None:
        async with (
            receiving() as receiver,
            running(made(tmp_path / "db", log, clock, [receiver.host], attempts=1)) as o,
        ):
            config = uvicorn.Config(application(o), port=0, log_config=None)
            service = uvicorn.Server(config)
            task = asyncio.create_task(service.serve())
            await until(lambda: service.started)
            port = service.servers[0].sockets[0].getsockname()[1]
            found.append((f"http://127.0.0.1:{port}", receiver))
            ready.set()
            await until(ended.is_set, seconds=60)
            service.should_exit = True
            await task

    thread = threading.Thread(target=asyncio.run, args=(story(),), daemon=True)
    thread.start()
    assert ready.wait(20)
    yield (*found[0], log)
    ended.set()
    thread.join(20)


def test_the_verb_talks_to_a_server(
    server: tuple[str, Receiver, ListLog], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, receiver, log = server
    monkeypatch.setenv("PARAKH_URL", address)

    def told(*words: str, code: int = OK) -> str:
        assert run(["webhook", *words]) == code
        printed = capsys.readouterr()
        return printed.out + printed.err

    assert "no webhooks" in told("list")
    assert "private address" in told("add", "https://10.0.0.1/", code=WRONG_USE)
    made_one = json.loads(told("add", receiver.url, "--outcome", "block", "--min-score", "0.5", "--json"))
    assert made_one["filter"] == {"outcomes": ["block"], "min_score": 0.5}
    name = made_one["id"]
    assert "block; score >= 0.5" in told("list")
    receiver.reply = lambda headers: (500, {})
    assert "the receiver answered 500" in told("test", name, code=FOUND_PROBLEMS)
    log.append(decision(1))
    for _ in range(200):
        rows = json.loads(told("dead", name, "--json"))
        if rows:
            break
        time.sleep(0.05)
    assert rows[0]["id"] in told("dead", name)
    receiver.reply = lambda headers: (204, {})
    assert "taken" in told("test", name)
    assert "1 message to be sent again" in told("resend", name, "--message", rows[0]["id"])
    assert "no dead letters" in told("dead", name)
    assert "whsec_" in told("rotate", name)
    assert "removed" in told("remove", name)
    assert "no webhook of that id" in told("remove", name, code=WRONG_USE)
    monkeypatch.setenv("PARAKH_URL", "http://127.0.0.1:1")
    assert "parakh serve" in told("list", code=FOUND_PROBLEMS)
