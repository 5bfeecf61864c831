"""One event over HTTP in every form that a request can have: at the connection, and where that gives way to ASGI."""

from __future__ import annotations

import json
import re
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.service_process import ServiceProcess, payment, shop

_PATH = b"/v1/decisions/payment"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    folder = tmp_path_factory.mktemp("connections")
    with ServiceProcess(shop(folder / "shop"), folder / "data") as running:
        yield running


def request(number: int, *headers: bytes, path: bytes = _PATH, version: bytes = b"1.1", chunked: bool = False) -> bytes:
    body = json.dumps(payment(number)).encode()
    length = b"transfer-encoding: chunked" if chunked else b"content-length: %d" % len(body)
    if chunked:
        half = len(body) // 2
        body = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:half], body[half:])) + b"0\r\n\r\n"
    head = [b"POST %b HTTP/%b" % (path, version), b"host: x", length, *headers]
    return b"\r\n".join([*head, b"", body])


class Caller:
    """A connection whose answers are read one by one."""

    def __init__(self, service: ServiceProcess) -> None:
        self.socket = socket.create_connection(("127.0.0.1", service.port), timeout=20)
        self.held = b""

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def answer(self) -> tuple[int, dict[str, str], dict[str, object]]:
        while b"\r\n\r\n" not in self.held:
            self._more()
        head, _, rest = self.held.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines[1:])
        length = int(headers["content-length"])
        self.held = rest
        while len(self.held) < length:
            self._more()
        body, self.held = self.held[:length], self.held[length:]
        return int(lines[0].split()[1]), headers, json.loads(body)

    def ended(self) -> bool:
        return self.held == b"" and self.socket.recv(1) == b""

    def _more(self) -> None:
        got = self.socket.recv(1 << 16)
        assert got, "the connection ended within an answer"
        self.held += got


BAD = {b"{}": "missing_id", b"": "bad_json", b'{"a":1,"a":2}': "duplicate_key", b'{"~":1}': "reserved_key"}
FORMS: dict[str, dict[str, object]] = {
    "plain": {},
    "chunked": {"chunked": True},
    "old": {"version": b"1.0"},
    "expect": {"headers": [b"expect: 100-continue"]},
    "http2": {"headers": [b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQAoA"]},
    "escaped": {"path": b"/v1/decisions/paymen%74"},
    "asked": {"path": _PATH + b"?features=false"},
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gets_the_same_answer(service: ServiceProcess, form: str) -> None:
    """The first try in one form, the second in the plain one: one decision, told twice alike."""
    number = 100 + list(FORMS).index(form)
    more = dict(FORMS[form])
    headers = more.pop("headers", [])
    caller = Caller(service)
    caller.send(request(number, *headers, **more))  # type: ignore[misc, arg-type]
    if form == "expect":
        while b"100 Continue\r\n\r\n" not in caller.held:
            caller._more()
        caller.held = caller.held.partition(b"100 Continue\r\n\r\n")[2]
    status, told, first = caller.answer()
    assert status == 200
    assert "parakh-replayed" not in told
    again = Caller(service)
    again.send(request(number))
    status, replayed, second = again.answer()
    assert (status, replayed.pop("parakh-replayed")) == (200, "true")
    assert first == second
    same = {"content-type", "cache-control", "x-content-type-options", "content-length"}
    assert {name: told[name] for name in same} == {name: replayed[name] for name in same}


def test_an_offer_of_another_protocol_comes_with_every_request_of_a_connection(service: ServiceProcess) -> None:
    offer = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQAoA")
    caller = Caller(service)
    for number in range(150, 153):
        head, _, body = request(number, *offer).partition(b"\r\n\r\n")
        caller.send(head + b"\r\n\r\n")
        time.sleep(0.02)  # the body comes apart, as Java sends it
        caller.send(body)
        assert caller.answer()[0] == 200


def test_features_are_told_where_they_are_asked_for(service: ServiceProcess) -> None:
    caller = Caller(service)
    caller.send(request(200, path=_PATH + b"?features=true"))
    features = caller.answer()[2]["features"]
    assert isinstance(features, dict)
    assert features["card.payments_1h"] == 1
    caller.send(request(201, path=_PATH + b"?features=perhaps"))
    assert caller.answer()[0] == 400


def test_requests_that_do_not_wait_are_answered_in_their_order(service: ServiceProcess) -> None:
    """Pipelined, mixed with other addresses and other forms, in one piece and byte by byte."""
    wanted = [
        request(300 + n, chunked=n % 3 == 1) if n % 4 else b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"
        for n in range(24)
    ]
    for pause in (False, True):
        caller = Caller(service)
        data = b"".join(wanted)
        if pause:
            for place in range(0, len(data), 97):
                caller.send(data[place : place + 97])
                if place % 970 == 0:
                    time.sleep(0.001)
        else:
            caller.send(data)
        for number in range(24):
            status, _, told = caller.answer()
            assert status == 200
            assert told.get("event_id") == (f"p{300 + number}" if number % 4 else None)


def test_a_head_that_came_before_is_read_as_it_was_then(service: ServiceProcess) -> None:
    """The parser does not see it again; what is sent otherwise in any way goes to the parser."""
    caller = Caller(service)
    numbers = iter(range(7_000, 8_000))

    def told(data: bytes) -> tuple[int, object]:
        caller.send(data)
        status, _, body = caller.answer()
        return status, body.get("event_id") or body.get("code")

    for number in (next(numbers) for _ in range(6)):
        assert told(request(number)) == (200, payment(number)["payment_id"])
    number = next(numbers)
    assert told(request(number, path=_PATH + b"?features=true")) == (200, payment(number)["payment_id"])
    assert told(request(next(numbers), path=b"/v1/decisions/other")) == (404, "unknown_event_type")
    number = next(numbers)
    assert told(request(number, b"x-more: 1")) == (200, payment(number)["payment_id"])
    assert told(request(0, path=_PATH).replace(b"payment_id", b"payment_no")) == (422, "missing_id")

    one, two, three = (next(numbers) for _ in range(3))
    caller.send(request(one) + request(two))  # together
    assert [caller.answer()[2]["event_id"] for _ in range(2)] == [payment(n)["payment_id"] for n in (one, two)]
    data = request(three)
    for part in (data[:9], data[9:-5], data[-5:]):  # in pieces
        caller.send(part)
        time.sleep(0.05)
    assert caller.answer()[2]["event_id"] == payment(three)["payment_id"]
    one, two = (next(numbers) for _ in range(2))
    data = request(two)
    caller.send(request(one) + data[:30])  # with the beginning of the next
    assert caller.answer()[2]["event_id"] == payment(one)["payment_id"]
    caller.send(data[30:])
    assert caller.answer()[2]["event_id"] == payment(two)["payment_id"]
    number = next(numbers)
    assert told(request(number)) == (200, payment(number)["payment_id"])
    caller.send(request(next(numbers), b"content-length: 1"))
    assert caller.socket.recv(12) == b"HTTP/1.1 400"


def test_a_connection_ends_where_the_caller_says_so(service: ServiceProcess) -> None:
    caller = Caller(service)
    caller.send(request(400, b"connection: close"))
    status, headers, _ = caller.answer()
    assert (status, headers["connection"]) == (200, "close")
    assert caller.ended()


def test_a_connection_that_is_not_used_ends(service: ServiceProcess) -> None:
    """Five seconds after its last answer, whichever kind that was, and not five seconds after its first."""
    last_is_health, last_is_event = Caller(service), Caller(service)
    event = iter(range(410, 420))
    health = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"
    for _ in range(2):
        for caller in (last_is_health, last_is_event):
            caller.send(request(next(event)))
            assert caller.answer()[0] == 200
        time.sleep(3)
    last_is_health.send(health)
    assert last_is_health.answer()[0] == 200
    last_is_event.send(health)
    assert last_is_event.answer()[0] == 200
    last_is_event.send(request(next(event)))
    assert last_is_event.answer()[0] == 200
    began = time.monotonic()
    for caller in (last_is_health, last_is_event):
        assert caller.ended()
        assert 3 < time.monotonic() - began < 8


def test_what_is_refused_is_refused_alike(service: ServiceProcess) -> None:
    for headers in ((), (b"expect: 100-continue",)):
        caller = Caller(service)
        for body, code in BAD.items():
            lines = [b"POST %b HTTP/1.1" % _PATH, b"host: x", b"content-length: %d" % len(body), *headers, b"", body]
            caller.send(b"\r\n".join(lines))
            if headers:
                while b"100 Continue\r\n\r\n" not in caller.held:
                    caller._more()
                caller.held = caller.held.partition(b"100 Continue\r\n\r\n")[2]
            status, told, problem = caller.answer()
            assert (status, problem["code"]) == (422, code)
            assert told["content-type"] == "application/problem+json"
    caller = Caller(service)
    caller.send(b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-length: 900000000\r\n\r\n" % _PATH)
    assert caller.answer()[0] == 413
    caller = Caller(service)
    caller.send(b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n" % _PATH)
    assert b"400" in caller.socket.recv(100)
    caller = Caller(service)
    caller.send(b"POST /v1/decisions/nothing HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}")
    assert caller.answer()[2]["code"] == "unknown_event_type"


def test_who_leaves_before_the_answer_disturbs_nobody(service: ServiceProcess) -> None:
    for number in range(50):
        caller = Caller(service)
        caller.send(request(500 + number))
        caller.socket.close()
    caller = Caller(service)
    for number in range(50):
        caller.send(request(500 + number))
        assert caller.answer()[0] == 200
    assert service.get("/readyz").status_code == 200


def test_answered_and_refused_requests_are_counted(service: ServiceProcess) -> None:
    def counts() -> tuple[float, float, float]:
        text = service.get("/metrics").text
        found = [
            re.search(rf"^{name} ([0-9.e+]+)$", text, re.M)
            for name in (
                r'parakh_request_seconds_count\{route="/v1/decisions/\{event_type\}"\}',
                r'parakh_events_total\{event_type="payment",status="accepted"\}',
                r'parakh_refused_total\{reason="missing_id"\}',
            )
        ]
        return tuple(float(one.group(1)) if one else 0.0 for one in found)  # type: ignore[return-value]

    before = counts()
    caller = Caller(service)
    for data in (request(600), request(601), b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}" % _PATH):
        caller.send(data)
        caller.answer()
    assert tuple(now - then for now, then in zip(counts(), before)) == (3, 2, 1)


def test_a_stop_answers_what_is_under_way(tmp_path: Path) -> None:
    with ServiceProcess(shop(tmp_path / "shop"), tmp_path / "data") as service:
        callers = [Caller(service) for _ in range(20)]
        for number, caller in enumerate(callers):
            caller.send(request(number))
        assert service.process is not None
        time.sleep(0.2)
        service.process.send_signal(signal.SIGTERM)
        for caller in callers:
            assert caller.answer()[0] == 200
        service.process.wait(20)
