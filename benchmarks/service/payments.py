"""Payments for the service: workload W told at the density of a live stream, each with an id of its own.

The workload's 2 million payments lie 0.6 s apart; a service at 10,000 a second sees them 0.1 ms apart. So each piece of
the stream is told at a rate of its own, from where the last one ended: keys, amounts, and who comes out of order by how
much are the workload's. What 64 connections carry in any order is then as little late as in a live stream.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from benchmarks.service.prepared import Requests, post
from benchmarks.workload import EVENTS, SECOND_US, START_US, Workload, ndjson, workload

__all__ = ["BATCH_PATH", "ID_BYTES", "SINGLE_PATH", "Payments", "batches", "many_keys", "numbered", "singles"]

SINGLE_PATH = "/v1/decisions/payment"
BATCH_PATH = "/v1/decisions/payment:batch"
_ID = slice(len('{"payment_id":"'), len('{"payment_id":"pay-0000000'))
ID_BYTES = _ID.stop - _ID.start
_JITTER_US = 10 * SECOND_US  # how late the workload's payments are at most: pieces do not overlap by more


@dataclass(slots=True)
class Payments:
    """The stream, taken piece by piece. After its last payment it begins again, under other ids."""

    held: Workload
    taken: int = 0
    now_us: int = START_US

    @classmethod
    def of(cls, events: int = EVENTS, *, seed: int = 7) -> Payments:
        return cls(workload(events, seed=seed))

    def take(self, count: int, *, rate: float) -> list[bytes]:
        """The next payments as JSON lines without their ends, told at a rate in events a second."""
        rows = np.arange(self.taken, self.taken + count) % len(self.held)
        delays = _delays_us(self.held)[rows]
        step = 1e6 / rate
        times = self.now_us + (np.arange(count) * step).astype(np.int64) - delays
        piece = Workload(
            times,
            *(getattr(self.held, name)[rows] for name in ("card", "device", "merchant", "country", "amount_minor")),
        )
        lines = [numbered(line, self.taken + row) for row, line in enumerate(ndjson(piece))]
        self.taken += count
        self.now_us += int(count * step) + 1
        return lines


def numbered(line: bytes, number: int) -> bytes:
    """A line under another id of the same width: letters before the digits begin again after each 10 million."""
    return line[: _ID.start] + b"pay%c%07d" % (b"-abcdefghij"[number // 10**7], number % 10**7) + line[_ID.stop : -1]


def _delays_us(stream: Workload) -> NDArray[np.int64]:
    """How long before the youngest payment so far each one was paid."""
    return np.maximum.accumulate(stream.time_us) - stream.time_us


def many_keys(events: int, keys: int) -> Payments:
    """A stream whose cards and devices together have `keys` different keys, or two an event where these are fewer."""
    held = workload(events)
    half = min(events, (keys + 1) // 2)
    random = np.random.default_rng(11)
    return Payments(replace(held, card=random.permutation(events) % half, device=random.permutation(events) % half))


def singles(lines: Sequence[bytes]) -> Requests:
    """A request for each payment."""
    return Requests([post(SINGLE_PATH, line) for line in lines], [1] * len(lines), [line[_ID] for line in lines])


def batches(lines: Sequence[bytes], size: int = 1_000) -> Requests:
    """A request for each `size` payments, as lines of JSON."""
    groups = list(_grouped(lines, size))
    wire = [post(BATCH_PATH, b"\n".join(group) + b"\n", content_type="application/x-ndjson") for group in groups]
    return Requests(wire, [len(group) for group in groups], [line[_ID] for line in lines])


def _grouped(lines: Sequence[bytes], size: int) -> Iterator[list[bytes]]:
    left = iter(lines)
    while group := list(islice(left, size)):
        yield group
