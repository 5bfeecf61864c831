"""The service under callers who mean harm, or whose clients are careless: it answers, and goes on for the others."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from integration.service_process import ServiceProcess, payment, shop
from parakh.service import connections
from parakh.service.answers import iso
from parakh.service.backup import verify
from parakh.service.desk import Item
from parakh.service.problems import Problem
from parakh.service.queue import DeskQueue
from parakh.service.settings import LogSettings, ServiceSettings
from parakh.service.startup import open_service

WITHOUT_IDS = {
    "events__tick_yaml": "event: tick\nid: row\ntime: at\nfields:\n  at: timestamp\n"
    "  device: {type: string, entity: device}\n",
    "features__device_yaml": "entity: device\nfeatures:\n  ticks: {from: tick, aggregate: count(*), over: 1d}\n",
    "policies__tick_yaml": "policy: tick\nfor: tick\notherwise: allow\n",
}
_POST = b"POST /v1/decisions/payment HTTP/1.1\r\nhost: x\r\n"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[ServiceProcess]:
    with ServiceProcess(shop(tmp_path / "shop", **WITHOUT_IDS), tmp_path / "data") as running:
        yield running


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """One for tests that leave nothing behind which another would meet."""
    folder = tmp_path_factory.mktemp("shared")
    with ServiceProcess(shop(folder / "shop"), folder / "data") as running:
        yield running


def raw(service: ServiceProcess, *parts: bytes, timeout_s: float = 10) -> bytes:
    """What comes back for bytes sent over one connection; the rest is not sent where the server has closed it."""
    found = b""
    with socket.create_connection(("127.0.0.1", service.port), timeout=timeout_s) as connection:
        try:
            for part in parts:
                connection.sendall(part)
        except OSError:
            pass
        try:
            while got := connection.recv(1 << 16):
                found += got
        except ConnectionResetError:
            pass
    return found


def memory_mb(service: ServiceProcess) -> int:
    assert service.process is not None
    status = Path(f"/proc/{service.process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) >> 10


def test_a_caller_who_sends_all_before_reading_is_answered(service: ServiceProcess) -> None:
    """httpx reads nothing before its body is out: 50 MB of answers fit no socket, and neither side would move."""
    lines = [json.dumps(payment(number, card=number % 500)).encode() for number in range(60_000)]
    before = memory_mb(service)
    answer = httpx.post(f"{service.url}/v1/decisions/payment:batch", content=b"\n".join(lines), timeout=90)
    told = answer.content.splitlines()
    assert len(told) == len(lines)
    assert json.loads(told[-1])["event_id"] == "p59999"
    assert memory_mb(service) - before < 150


def test_events_without_ids_are_never_confused(service: ServiceProcess) -> None:
    """Each body is another event, also after a restart and after bodies that were refused."""
    tick = {"at": "2026-01-05T10:00:00Z", "device": "d"}
    told = []
    for _ in range(2):
        for _ in range(3):
            told.append(service.decide(tick, "tick", features="true").json())
            assert service.decide({**tick, "at": "never"}, "tick").status_code == 422
        service.kill()
        service.start()
    assert len({item["decision_id"] for item in told}) == 6
    assert [item["features"]["device.ticks_1d"] for item in told] == [1, 2, 3, 4, 5, 6]
    assert service.get(f"/v1/decisions/tick/{told[1]['event_id']}").json()["decision_id"] == told[1]["decision_id"]
    service.stop()
    assert verify(service.data, decisions=True).differing == 0


@pytest.mark.parametrize("identity", ["a/b", "a%2Fb", "..", "a b", "日本", "a?b#c", "p\n", "a\nb", "//", "\x00", "[1]"])
def test_any_id_is_found_again(shared: ServiceProcess, identity: str) -> None:
    shared.decide({**payment(1), "payment_id": "p"})
    told = shared.decide({**payment(1), "payment_id": identity, "terminal": identity}).json()
    path = quote(identity, safe="")
    found = raw(shared, f"GET /v1/decisions/payment/{path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
    assert json.loads(found.split(b"\r\n\r\n", 1)[1])["decision_id"] == told["decision_id"]
    found = raw(shared, f"GET /v1/entities/terminal/{path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
    events = json.loads(found.split(b"\r\n\r\n", 1)[1])["events"]
    assert [item["event_id"] for item in events] == [identity]


def test_lines_of_a_body_are_looked_at_one_by_one(service: ServiceProcess) -> None:
    twice = json.dumps(payment(1)).encode()[:-1] + b',"amount":99}'
    deep = b'{"a":' * 100_000
    for path in ("decisions/payment:batch", "events/payment"):
        answer = service.post(f"/v1/{path}", twice + b"\n" + json.dumps(payment(2)).encode() + b"\n" + deep)
        told = [json.loads(line) for line in answer.content.splitlines()]
        assert [item.get("code", "") for item in told] == ["duplicate_key", "", "too_deep"]
    broken = b"{]\n" + json.dumps(payment(5)).encode() + b"\n\n" + json.dumps(payment(6)).encode()
    told = [json.loads(line) for line in service.post("/v1/events/payment", broken).content.splitlines()]
    assert [item.get("code", "") for item in told] == ["bad_json", "", ""]
    over_lines = json.dumps(payment(7))[:-1].encode() + b',"more":\n{"x":1}\n}'
    assert service.post("/v1/events/payment", over_lines).json()["event_id"] == "p7"
    for path, code in (("events/payment", "too_deep"), ("labels", "bad_json")):
        refused = service.post(f"/v1/{path}", deep + b"\n" + deep)
        assert (refused.status_code, refused.json()["code"]) == (422, code)
    assert service.decide(payment(3)).status_code == 200


def test_a_head_has_a_size(service: ServiceProcess) -> None:
    before = memory_mb(service)
    for part in (b"GET /healthz HTTP/1.1\r\nx: ", b"GET /healthz HTTP/1.1\r\n" + b"x: y\r\n" * 20_000):
        began = time.monotonic()
        assert not raw(service, part, *[b"a" * (1 << 20)] * 64).startswith(b"HTTP/1.1 200")
        assert time.monotonic() - began < 5
    assert memory_mb(service) - before < 20
    assert service.decide(payment(1)).status_code == 200


def test_bodies_and_heads_that_never_come_hold_no_places(tmp_path: Path) -> None:
    """Forty callers announce a body and send none, twenty send half a head: others are answered, these given up."""
    data = tmp_path / "data"
    data.mkdir()
    (data / "service.toml").write_text("[limits]\nin_flight = 20\n")
    ways = (b"content-length: 100\r\n\r\n", b"transfer-encoding: chunked\r\n\r\n", b"")
    names = ("connections.HEAD_TIMEOUT_S", "hot.BODY_TIMEOUT_S", "limits.BODY_TIMEOUT_S")  # half a minute each
    soon = {f"parakh.service.{name}": 3.0 for name in names}
    with ServiceProcess(shop(tmp_path / "shop"), data, constants=soon) as service:
        held = [socket.create_connection(("127.0.0.1", service.port)) for _ in range(60)]
        for number, connection in enumerate(held):
            connection.sendall(_POST + ways[number % 3])
        time.sleep(0.5)
        assert service.decide(payment(1)).status_code == 200
        for number, connection in enumerate(held):
            connection.settimeout(20)
            said = connection.recv(1 << 16)
            if number % 3 == 2:
                assert said == b""
            else:
                assert said.startswith(b"HTTP/1.1 408 "), said
            connection.close()


def test_connections_leave_the_log_its_files(tmp_path: Path) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(512, hard), hard))
        kept = connections.Connection.most

        class Counted:
            most = kept

        assert connections.spare_files(Counted) == Counted.most
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == hard
        assert Counted.most <= max(16, hard - 256)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_mistake_while_deciding_is_told_and_ends_the_process() -> None:
    """The engine may hold what the log does not: nothing is decided on it any more, and nobody waits for ever."""

    class Log:
        durable = 0
        own_s = 0.0

    class Broken:
        log = Log()

        def take(self, items: object, arrived_us: int) -> None:
            raise RuntimeError("a mistake")

    async def run() -> None:
        said: list[Exception] = []
        queue = DeskQueue(Broken(), lambda: 0, mistaken=said.append)  # type: ignore[arg-type]
        told = (await asyncio.wait_for(queue.put(Item(0, b"{}")), 5))[0]
        assert isinstance(told, Problem)
        assert told.code == "internal"
        after = (await asyncio.wait_for(queue.put(Item(0, b"{}")), 5))[0]
        assert isinstance(after, Problem)
        assert after.status == 503
        assert len(said) == 1

    asyncio.run(run())


def test_a_clock_that_jumps_ahead_lets_nothing_go(tmp_path: Path) -> None:
    """Two days ahead for a moment: the log is kept, and what was told can be asked for."""
    now_us = 1_767_607_200_000_000
    settings = ServiceSettings(tmp_path / "data", log=LogSettings(segment_bytes=1 << 16, keep_us=3_600_000_000))

    async def run() -> None:
        nonlocal now_us
        async with open_service(shop(tmp_path / "shop"), settings, now_us=lambda: now_us) as opened:
            service = opened.service
            bodies = []
            for number in range(400):
                now_us += 1_000_000
                body = json.dumps({**payment(number), "paid_at": iso(now_us)}).encode()
                bodies.append((body, (await service.decide("payment", body)).body))
            assert await service.upkeep.snapshot()
            assert len(service.log.segments()) > 2
            assert service.upkeep.trim(now_us + 2 * 86_400_000_000) is None
            for body, told in bodies:
                assert (await service.decide("payment", body)).body == told
            # When events have come that far, too, it is trimmed, and an id of old is another event.
            now_us += 2 * 86_400_000_000
            last = json.dumps({**payment(900), "paid_at": iso(now_us)}).encode()
            await service.decide("payment", last)
            assert service.upkeep.trim(now_us) is not None
            again = await service.decide("payment", bodies[0][0])
            assert again.status == 200
            assert again.headers == ()
            first = again.body
        async with open_service(tmp_path / "shop", settings, now_us=lambda: now_us) as opened:
            assert (await opened.service.decide("payment", bodies[0][0])).body == first
            assert (await opened.service.decide("payment", last)).headers != ()

    asyncio.run(run())


def test_a_full_state_is_told_and_remembered(tmp_path: Path) -> None:
    """Beyond its bound a decision has no windows, and says so; what has windows has whole ones, also after starts in
    between; and every decision can be made again, though a start finds its bound at another event.
    """
    project, data = shop(tmp_path / "shop"), tmp_path / "data"
    settings = project / "parakh.toml"
    settings.write_text(settings.read_text() + '[limits]\nstate = "1MB"\n')
    data.mkdir()
    (data / "service.toml").write_text("[snapshots]\nevents = 500\n")
    sent, degraded = 0, []
    with ServiceProcess(project, data) as service:
        for number in range(12):
            lines = [payment(sent + at, card=sent + at, terminal=sent + at) for at in range(350)]
            sent += len(lines)
            service.post("/v1/decisions/payment:batch", "\n".join(map(json.dumps, lines)).encode())
            told = service.decide({**payment(sent), "payment_id": f"x{number}", "card": "x"}, features="true").json()
            degraded.append(told["flags"] == ["degraded"])
            assert told["features"]["card.payments_1h"] == (None if degraded[-1] else number + 1)
            if number % 2:
                time.sleep(0.7)  # a snapshot may be begun
                service.kill()
                service.start()
        assert service.get("/readyz").json()["status"] == "degraded"
        assert not degraded[0]
        assert degraded[-1]
    assert verify(data, decisions=True).differing == 0


def test_a_stop_under_load_loses_nothing_that_was_told(service: ServiceProcess) -> None:
    told: dict[int, bytes] = {}

    def send(first: int) -> None:
        with httpx.Client(timeout=20) as client:
            for number in range(first, first + 10_000):
                try:
                    answer = client.post(f"{service.url}/v1/decisions/payment", json=payment(number))
                except httpx.TransportError:
                    return
                if answer.status_code == 200:
                    told[number] = answer.content

    senders = [threading.Thread(target=send, args=(number * 10_000,)) for number in range(4)]
    for sender in senders:
        sender.start()
    time.sleep(1)
    service.stop()
    for sender in senders:
        sender.join()
    assert len(told) > 50
    service.start()
    for number, content in told.items():
        assert service.decide(payment(number)).content == content
