"""The load generator: a process that sends prepared requests over many connections and checks every answer.

Closed loop: each connection sends its next request when the last was answered. Open loop: requests are due at times
drawn beforehand (exponential gaps, the same for the same seed), whatever the server does, and latency counts from when
a request was due: a server that stalls is charged for all that would have been sent meanwhile. A connection carries one
request at a time; where none is free a due request waits, and the wait counts.

Due times are kept by a timerfd, as the timers of uvloop have a resolution of a millisecond. The process makes all its
bytes beforehand, collects no garbage and writes what it saw only at the end. Linux only.

    python -m benchmarks.service.load --port 8321 --requests FILE --out FILE --connections 64 --seconds 8 [--rate 300]
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import gc
import os
import re
import struct
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import uvloop

from benchmarks.service.prepared import ANSWERED, BROKEN, REFUSED, REPLAYED, UNSENT, WRONG, Requests, Sent

__all__ = ["Connection", "Load", "Timer", "arrivals", "dechunked", "verdict_of"]

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_REPLAYED = re.compile(rb"\r\nparakh-replayed: *true", re.IGNORECASE)
_OUTCOME = b'"outcome":'
_LAST_CHUNK = b"0\r\n\r\n"
_PATIENCE_S = 20.0  # for answers that are still owed at the end


class Load:
    """What is to be sent, by when, and what came back."""

    def __init__(self, requests: Requests, due_ns: list[int] | None, seconds: float) -> None:
        self.requests = requests
        self.open_loop = due_ns is not None
        count = len(requests.wire)
        self.due = due_ns if due_ns is not None else [0] * count
        self.sent = [0] * count
        self.done = [0] * count
        self.verdicts = bytearray(count)
        firsts = np.concatenate([[0], np.cumsum(requests.events)[:-1]]).tolist()
        self.ids = [requests.ids[at : at + n] for at, n in zip(firsts, requests.events)] if requests.ids else []
        self.next = 0  # request
        self.count = count if due_ns is None else min(count, len(due_ns))
        self.seconds = seconds
        self.ends_ns = 0
        self.owed = 0
        self.free: list[Connection] = []
        self.waiting: deque[int] = deque()
        self.problem = ""
        self.over = asyncio.Event()

    def finished(self) -> None:
        """A connection has nothing more to do for now. An open loop ends when all that was to be sent is answered."""
        at_end = self.next >= self.count or (not self.open_loop and time.monotonic_ns() >= self.ends_ns)
        if at_end and not self.owed and not self.waiting:
            self.over.set()

    def result(self, began_ns: int) -> Sent:
        return Sent(
            np.array(self.due, np.int64), np.array(self.sent, np.int64), np.array(self.done, np.int64),
            np.frombuffer(bytes(self.verdicts), np.uint8), np.asarray(self.requests.events, np.int32), began_ns,
            self.problem,
        )  # fmt: skip


class Connection(asyncio.Protocol):
    """One connection, with at most one request on its way."""

    __slots__ = ("load", "number", "parts", "transport")

    def __init__(self, load: Load) -> None:
        self.load = load
        self.number = -1  # of the request on its way
        self.parts: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def send(self, number: int) -> None:
        load = self.load
        self.number = number
        load.owed += 1
        now = time.monotonic_ns()
        load.sent[number] = now
        if not load.open_loop:
            load.due[number] = now
        self.transport.write(load.requests.wire[number])

    def data_received(self, data: bytes) -> None:
        if self.parts:
            self.parts.append(data)
            if data.endswith(_LAST_CHUNK) or len(data) < len(_LAST_CHUNK) or not self._chunked(self.parts[0]):
                data = b"".join(self.parts)
            else:
                return
        head_end = data.find(b"\r\n\r\n") + 4
        if head_end < 4:
            self.parts = [data]
            return
        length = _LENGTH.search(data, 0, head_end)
        if length is not None:
            if len(data) < head_end + int(length[1]):
                self.parts = [data]
                return
            self._answered(data, head_end, data[head_end:])
        elif not data.endswith(_LAST_CHUNK) or (body := dechunked(data, head_end)) is None:
            self.parts = [data]
        else:
            self._answered(data, head_end, body)

    @staticmethod
    def _chunked(first: bytes) -> bool:
        """Whether the head has come and gives no length; a long body is joined only where it may end."""
        head_end = first.find(b"\r\n\r\n")
        return head_end >= 0 and _LENGTH.search(first, 0, head_end + 2) is None

    def _answered(self, data: bytes, head_end: int, body: bytes) -> None:
        now = time.monotonic_ns()
        load, number = self.load, self.number
        if number < 0:
            load.problem = load.problem or f"an answer to no request: {data[:200]!r}"
            return
        ids = load.ids[number] if load.ids else ()
        verdict = verdict_of(data[:head_end], body, load.requests.events[number], ids)
        if verdict != ANSWERED and not load.problem:
            load.problem = data[:1000].decode(errors="replace")
        load.done[number] = now
        load.verdicts[number] = verdict
        load.owed -= 1
        self.number = -1
        self.parts = []
        if load.open_loop:
            if load.waiting:
                self.send(load.waiting.popleft())
            else:
                load.free.append(self)
                load.finished()
        elif load.next < load.count and now < load.ends_ns:
            load.next += 1
            self.send(load.next - 1)
        else:
            load.finished()

    def connection_lost(self, exc: Exception | None) -> None:
        load = self.load
        if self.number >= 0:
            load.verdicts[self.number] = BROKEN
            load.owed -= 1
            load.problem = load.problem or f"connection lost: {exc}"
            self.number = -1
        if self in load.free:
            load.free.remove(self)
        load.finished()


def verdict_of(head: bytes, body: bytes, events: int, ids: Sequence[bytes] = ()) -> int:
    """What an answer is: all outcomes that were asked for, of the events asked about and in their order, or not."""
    if not head.startswith(b"HTTP/1.1 200"):
        return REFUSED
    if body.count(_OUTCOME) != events:
        return WRONG
    if ids:
        lines = body.splitlines() if events > 1 else [body]
        if len(lines) != len(ids) or not all(one in line for one, line in zip(ids, lines)):
            return WRONG
    return REPLAYED if _REPLAYED.search(head) else ANSWERED


def dechunked(data: bytes, at: int) -> bytes | None:
    """A body in chunks put together, or None where its end has not come."""
    pieces: list[bytes] = []
    while True:
        line_end = data.find(b"\r\n", at)
        if line_end < 0:
            return None
        size = int(data[at:line_end].partition(b";")[0], 16)
        at = line_end + 2
        if size == 0:
            return b"".join(pieces)
        if len(data) < at + size + 2:
            return None
        pieces.append(data[at : at + size])
        at += size + 2


def arrivals(rate: float, seconds: float, *, seed: int) -> list[int]:
    """Nanoseconds from the beginning at which requests are due: a Poisson process, drawn beforehand."""
    random = np.random.default_rng(seed)
    gaps = random.exponential(1e9 / rate, int(rate * seconds * 1.2) + 100)
    times = np.cumsum(gaps)
    return [int(at) for at in times[times < seconds * 1e9]]


class Timer:
    """A timerfd on the monotonic clock. Python has one from 3.13 on; before, the C library's."""

    __slots__ = ("_libc", "fd")

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self.fd = self._libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self.fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")

    def set(self, at_ns: int) -> None:
        """Readable at a moment of the monotonic clock; at once where that is past."""
        seconds, nanos = divmod(max(1, at_ns), 1_000_000_000)
        spec = struct.pack("qqqq", 0, 0, seconds, nanos)  # interval, then value
        if self._libc.timerfd_settime(self.fd, 1, spec, None):  # 1: TFD_TIMER_ABSTIME
            raise OSError(ctypes.get_errno(), "timerfd_settime")

    def close(self) -> None:
        os.close(self.fd)


def _keep_to(load: Load, loop: asyncio.AbstractEventLoop, timer: Timer) -> None:
    """Send what is due whenever it is."""
    due, count = load.due, load.count

    def ring() -> None:
        try:
            os.read(timer.fd, 8)
        except BlockingIOError:
            return
        now = time.monotonic_ns()
        while load.next < count and due[load.next] <= now:
            number = load.next
            load.next += 1
            if load.free:
                load.free.pop().send(number)
            else:
                load.waiting.append(number)
        if load.next < count:
            timer.set(due[load.next])
        else:
            load.finished()

    loop.add_reader(timer.fd, ring)
    timer.set(due[0])


async def run(load: Load, port: int, connections: int) -> Sent:
    loop = asyncio.get_running_loop()
    made = [(await loop.create_connection(lambda: Connection(load), "127.0.0.1", port))[1] for _ in range(connections)]
    began = time.monotonic_ns() + 50_000_000
    load.ends_ns = began + int(1e9 * load.seconds)
    timer = Timer()
    if load.open_loop:
        load.due = [began + at for at in load.due[: load.count]] + [0] * (len(load.sent) - load.count)
        load.free = list(made)
        _keep_to(load, loop, timer)
    else:
        await asyncio.sleep(0.05)
        began = time.monotonic_ns()
        load.ends_ns = began + int(1e9 * load.seconds)
        for connection in made[: load.count]:
            load.next += 1
            connection.send(load.next - 1)
    try:
        await asyncio.wait_for(load.over.wait(), load.seconds + _PATIENCE_S)
    except TimeoutError:
        load.problem = load.problem or f"{load.owed + len(load.waiting)} requests without an answer at the end"
    if load.open_loop:
        loop.remove_reader(timer.fd)
    timer.close()
    for number in load.waiting:  # due and never sent: they count as having taken for ever
        load.sent[number] = load.due[number]
        load.verdicts[number] = UNSENT
    result = load.result(began)
    for connection in made:
        connection.transport.abort()
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--requests", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--rate", type=float, help="requests a second, open loop; without it the loop is closed")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--unnamed", action="store_true", help="answers name no events: the server that does nothing")
    given = parser.parse_args()
    due = arrivals(given.rate, given.seconds, seed=given.seed) if given.rate else None
    requests = Requests.read(given.requests)
    if given.unnamed:
        requests = replace(requests, ids=())

    async def session() -> Sent:
        return await run(Load(requests, due, given.seconds), given.port, given.connections)

    gc.collect()
    gc.freeze()
    gc.disable()
    uvloop.run(session()).write(given.out)


if __name__ == "__main__":
    main()
