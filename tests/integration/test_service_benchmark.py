"""The benchmark of the service, on tiny slices: its generator charges for stalls and sees wrong answers; the real
service is driven by it; a small day stays within its bounds.
"""

from __future__ import annotations

import asyncio
import re
import signal
import time

import msgspec
import numpy as np
import pytest
from benchmarks.results import Results
from benchmarks.service import load, restarts, soak
from benchmarks.service.day import Day
from benchmarks.service.drawing import curves
from benchmarks.service.payments import BATCH_PATH, Payments, batches, many_keys, singles
from benchmarks.service.prepared import ANSWERED, BROKEN, REFUSED, REPLAYED, WRONG, Requests, Sent
from benchmarks.service.runs import Bench, Load, spread
from benchmarks.service.servers import SNAPSHOTS_OFF, noop, parakh
from benchmarks.windows import PROJECT

ID = re.compile(rb'"payment_id":"([^"]*)"')


@pytest.fixture(scope="module")
def payments():
    return Payments.of(2_000)


class Fake(asyncio.Protocol):
    """A server of a few lines: what `answer` says to the ids of a request, or nothing."""

    def __init__(self, answer) -> None:
        self.answer = answer
        self.data = b""

    def connection_made(self, transport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.data += data
        head, end, body = self.data.partition(b"\r\n\r\n")
        if end and len(body) >= int(re.search(rb"Content-Length: (\d+)", head)[1]):
            self.data = b""
            self.answer(self.transport, ID.findall(body))


def plain(ids, *, status=b"200 OK", headers=b"") -> bytes:
    body = b"\n".join(b'{"event_id":"%s","outcome":"allow"}' % one for one in ids)
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\n%s\r\n%s" % (status, len(body), headers, body)


def sent_to(answer, requests: Requests, *, connections=4, seconds=5.0, due=None) -> Sent:
    """Requests sent by the generator to a fake server, all in this process."""

    async def session() -> Sent:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Fake(answer), "127.0.0.1", 0)
        try:
            port = server.sockets[0].getsockname()[1]
            return await load.run(load.Load(requests, due, seconds), port, connections)
        finally:
            server.close()

    return asyncio.run(session())


def test_a_closed_loop_sends_everything_and_checks_every_answer(payments) -> None:
    requests = singles(payments.take(300, rate=1_000))
    sent = sent_to(lambda to, ids: to.write(plain(ids)), requests)
    assert sent.answered.all()
    assert sent.failed == 0
    assert sent.problem == ""
    assert (sent.done_ns > sent.sent_ns).all()
    assert sent.rate() > 0
    p50, p99 = sent.latency_ms(50, 99)
    assert 0 < p50 <= p99


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (lambda to, ids: to.write(plain(ids)), ANSWERED),
        (lambda to, ids: to.write(plain(ids, status=b"503 Service Unavailable")), REFUSED),
        (lambda to, ids: to.write(plain([b"another"])), WRONG),
        (lambda to, ids: to.write(plain(ids * 2)), WRONG),
        (lambda to, ids: to.write(plain(ids, headers=b"parakh-replayed: true\r\n")), REPLAYED),
        (lambda to, ids: to.close(), BROKEN),
    ],
)
def test_an_answer_is_judged(payments, answer, verdict) -> None:
    sent = sent_to(answer, singles(payments.take(1, rate=1_000)), connections=1)
    assert sent.verdicts.tolist() == [verdict]
    assert sent.failed == (verdict != ANSWERED)
    assert bool(sent.problem) is (verdict != ANSWERED)
    assert np.isinf(sent.latency_ms(50)[0]) == (verdict != ANSWERED)


@pytest.mark.parametrize("piece", [1, 7, 4_096])
def test_an_answer_in_chunks_is_put_together(payments, piece) -> None:
    def answer(to, ids) -> None:
        body = plain(ids).partition(b"\r\n\r\n")[2]
        parts = [body[at : at + 900] for at in range(0, len(body), 900)]
        chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in [*parts, b""])
        data = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + chunks
        loop = asyncio.get_running_loop()
        for number, at in enumerate(range(0, len(data), piece)):
            loop.call_later(number * 1e-5, to.write, data[at : at + piece])

    count = 25 if piece == 1 else 250
    requests = batches(payments.take(2 * count, rate=1_000), count)
    sent = sent_to(answer, requests, connections=1)
    assert sent.verdicts.tolist() == [ANSWERED] * 2
    assert sent.events.tolist() == [count] * 2


def test_an_open_loop_charges_the_server_for_what_a_stall_holds_up(payments) -> None:
    stall_ns, gap_ns = 400_000_000, 10_000_000
    stalled = []

    def answer(to, ids) -> None:
        if len(stalled) == 5:
            time.sleep(stall_ns / 1e9)  # the generator stands still too: it is late, and says so
        stalled.append(ids)
        to.write(plain(ids))

    requests = singles(payments.take(80, rate=100))
    sent = sent_to(answer, requests, connections=2, due=[number * gap_ns for number in range(80)])
    assert sent.answered.all()
    held_up = np.count_nonzero(sent.done_ns - sent.due_ns > stall_ns // 4)
    assert held_up >= stall_ns * 3 // 4 // gap_ns - 3, "all that was due meanwhile waited"
    assert sent.latency_ms(99)[0] >= 300
    assert sent.late_ms(99) >= 200


def test_what_is_never_answered_took_for_ever(payments, monkeypatch) -> None:
    monkeypatch.setattr(load, "_PATIENCE_S", 0.1)
    requests = singles(payments.take(20, rate=100))
    sent = sent_to(lambda to, ids: None, requests, connections=2, seconds=0.1, due=[0] * 20)
    assert sent.failed == 20
    assert "without an answer" in sent.problem
    assert np.isinf(sent.latency_ms(50)[0])


def test_arrivals_are_drawn_beforehand_and_keep_their_rate() -> None:
    due = load.arrivals(1_000, 5, seed=3)
    assert due == load.arrivals(1_000, 5, seed=3) != load.arrivals(1_000, 5, seed=4)
    assert due == sorted(due)
    assert due[-1] < 5e9
    assert len(due) == pytest.approx(5_000, rel=0.1)


def test_requests_and_results_are_files(tmp_path, payments) -> None:
    requests = batches(payments.take(25, rate=1_000), 10)
    requests.write(tmp_path / "r.npz")
    again = Requests.read(tmp_path / "r.npz")
    assert list(again.wire) == list(requests.wire)
    assert list(again.events) == [10, 10, 5]
    assert list(again.ids) == list(requests.ids)
    assert all(one.startswith(f"POST {BATCH_PATH} HTTP/1.1\r\n".encode()) for one in again.wire)


def test_payments_have_ids_of_their_own_and_go_on_in_time() -> None:
    stream = Payments.of(500)
    lines = [msgspec.json.decode(line) for line in stream.take(700, rate=1_000) + stream.take(700, rate=10)]
    assert len({line["payment_id"] for line in lines}) == 1_400
    times = np.array([np.datetime64(line["paid_at"].removesuffix("Z"), "us") for line in lines])
    lateness = np.maximum.accumulate(times) - times
    assert lateness.max() <= np.timedelta64(11, "s")
    assert times[-1] - times[0] > np.timedelta64(60, "s")


def test_many_keys_are_as_many_as_asked_for() -> None:
    held = many_keys(3_000, 1_000).held
    assert len(set(held.card.tolist())) + len(set(held.device.tolist())) == 1_000
    assert len(set(many_keys(300, 1_000).held.card.tolist())) == 300


def test_a_day_has_its_tide_and_all_its_payments() -> None:
    ticks = list(Day(5_000).ticks())
    assert sum(len(lines) for _, lines in ticks) == 5_000
    ends = [end for end, _ in ticks]
    assert ends == sorted(set(ends))
    hours = np.bincount([(end - ends[0]) // soak.HOUR_US for end, lines in ticks for _ in lines], minlength=24)
    assert hours[14:16].mean() > 3 * hours[2:4].mean()
    ids = {msgspec.json.decode(line)["payment_id"] for _, lines in ticks for line in lines}
    assert len(ids) == 5_000


def test_a_small_day_is_taken_in_and_what_is_old_goes() -> None:
    results = Results("A day", "")
    done = soak.soak(results, events=4_000, hours=9)
    assert done.refused == 0
    assert [at.hour for at in done.samples] == list(range(1, 10))
    last = done.samples[-1]
    assert last.events == 4_000
    assert last.held_events < 4_000
    assert all(at.ids >= at.held_events for at in done.samples)
    by_name = {row.what: row for row in results.rows}
    assert by_name["log, bytes an event"].met
    assert by_name["log, files"].met
    drawing = soak.drawn(done.samples)
    assert drawing.startswith("<svg")
    assert drawing.count("<polyline") == 5


def test_a_drawing_escapes_what_it_is_told() -> None:
    assert "&lt;b&gt;" in curves("<b>", [1], [("x", [0.0])])


def test_the_server_that_does_nothing_answers_600_bytes(tmp_path, payments) -> None:
    bench = Bench(tmp_path, tmp_path)
    with noop(tmp_path) as server:
        run = bench.run(server, lambda: singles(payments.take(200, rate=1_000)), Load(4, 5, named=False))
    assert run.answered == 200
    assert bench.failed == 0
    assert 0 <= run.stolen <= run.busy <= 1
    from benchmarks.service.noop import ANSWER

    assert len(ANSWER) == 600
    msgspec.json.decode(ANSWER)


def test_the_service_is_driven_and_found_again_after_a_kill(tmp_path, payments) -> None:
    bench = Bench(tmp_path, tmp_path)
    data = tmp_path / "data"
    with parakh(PROJECT, data, SNAPSHOTS_OFF) as server:
        server.ready()
        restarts.fill(bench, server, payments, 2_000, rate=10_000)
        run = bench.run(server, lambda: singles(payments.take(300, rate=1_000)), Load(16, 5))
        opened = bench.run(server, lambda: singles(payments.take(100, rate=100)), Load(16, 0.5, rate=100.0))
        assert run.answered == 300
        assert opened.answered > 20
        assert bench.failed == 0, bench.problems
        assert server.memory_mb() > 50
        server.stop(signal.SIGKILL)
    length = restarts.log_bytes(data)
    assert length / (2_300 + opened.answered) < soak.ENTRY_BYTES * 1.5
    with parakh(PROJECT, data, SNAPSHOTS_OFF) as server:
        server.ready()
        assert restarts.log_bytes(data) == length


def test_a_spread_is_a_median_between_least_and_most() -> None:
    assert spread([3.0, 1.0, 2.0], 1) == "2.0 (1.0-3.0)"
