"""The 25 windows of workload W: Parakh's kernels beside plain Python, Bytewax, DuckDB and Polars.

What is timed of Parakh is what a batch of decoded events costs until all its features stand in the frame: the programs
that derive and filter, the window kernels and the sweep. The peers are given columns too. Parakh runs in as many pieces
as there are peers, one before each, so that what else the machine does falls on all alike.
"""

from __future__ import annotations

import gc
import importlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.results import Results, Row, Table, say
from benchmarks.workload import EVENTS, FEATURES, Peer, Workload, ndjson, workload
from parakh import Project
from parakh.decisions.engine import Engine
from parakh.expressions.columns import Column
from parakh.expressions.types import NULL_WORD
from parakh.features.state import Entries

__all__ = ["PEERS", "PROJECT", "Competitor", "ParakhWindows", "compare", "run"]

PROJECT = Path(__file__).resolve().parent / "workload"
BATCH = 1024
LATENESS_US = 60_000_000  # of the project


@dataclass(frozen=True, slots=True)
class Competitor:
    """A peer, the events it is given and how many times faster Parakh should be."""

    name: str
    module: str
    events: int
    times: float
    scope: str


PEERS = (
    Competitor("plain Python", "plain_python", 400_000, 15, "incremental; late events not exact"),
    Competitor("Bytewax", "bytewax_maps", 60_000, 40, "three stateful maps around the same Python"),
    Competitor("DuckDB", "duckdb_windows", EVENTS, 3, "one SELECT over RANGE frames; a batch with foresight"),
    Competitor("Polars", "polars_rolling", EVENTS, 2, "rolling by key; a batch with foresight"),
)


class ParakhWindows:
    """The windows of one engine over a stream, taken piece by piece; `cpu_s` is the CPU of those taken so far."""

    def __init__(self, stream: Workload, *, keep: bool = False) -> None:
        self.engine = Engine(Project.load(PROJECT), batch_size=BATCH)
        self.cpu_s = 0.0
        self.taken = 0
        self._plan = self.engine.plan.types[0]
        self._lines = ndjson(stream)
        self._clock_us = -(2**62)
        self._flags = np.zeros(BATCH, np.uint8)
        self._kept: list[NDArray[np.float64]] | None = [] if keep else None
        self._columns = [self._plan.layout[name] for name in FEATURES]

    def take(self, events: int) -> float:
        """Take the next so many events; returns seconds of CPU."""
        before = self.cpu_s
        for count in _batches(events):
            self._take(list(islice(self._lines, count)))
        return self.cpu_s - before

    def _take(self, lines: list[bytes]) -> None:
        words, count = self.engine.words, len(lines)
        lengths = np.array([len(line) for line in lines])
        starts = np.cumsum(lengths) - lengths
        buffer = np.frombuffer(bytearray(b"".join(lines)), np.uint8)
        decoded = self._plan.decoder.decode_lines(buffer, starts, lengths - 1, words, 0)
        assert not decoded.problem.any(), "the workload is well-formed"
        clocks = np.maximum(np.maximum.accumulate(decoded.times), self._clock_us)
        assert (decoded.times >= clocks - LATENESS_US).all(), "the workload's delays are within the lateness"
        self._clock_us = int(clocks[-1])
        flags, rows = self._flags, np.arange(count)
        held = np.arange(self.taken, self.taken + count)
        started = time.thread_time()
        flags[:count] = 0
        self._plan.ingest.run(words, 0, count, flags)
        entries = Entries.of(np.zeros(count, np.int64), rows, decoded.times, held=held)
        self.engine.state.process(words, flags, entries)
        self.engine.state.sweep(1 + count // 8)
        self.cpu_s += time.thread_time() - started
        self.taken += count
        if self._kept is not None:
            self._kept.append(np.stack([_numbers(words, column, count) for column in self._columns]))

    def peer(self) -> Peer:
        """All features so far, where they were to be kept."""
        assert self._kept is not None, "the features were not kept"
        return Peer(self.cpu_s, dict(zip(FEATURES, np.hstack(self._kept), strict=True)))


def run(stream: Workload) -> Peer:
    """Parakh as a peer among peers: the whole stream, features kept."""
    windows = ParakhWindows(stream, keep=True)
    windows.take(len(stream))
    return windows.peer()


def compare(results: Results, *, events: int = EVENTS, quick: bool = False) -> None:
    """Parakh over the whole workload, each peer over its slice."""
    say(f"windows: {events:,} events, 25 features")
    stream = workload(events)
    windows = ParakhWindows(stream)
    pieces: list[tuple[Competitor, float, float]] = []  # peer, its events/s, Parakh's just before
    ours: list[float] = []
    for number, peer in enumerate(PEERS):
        piece = events * (number + 1) // len(PEERS) - windows.taken
        before = windows.take(piece)
        ours.append(piece / before)
        say(f"  Parakh {ours[-1]:,.0f} events/s over the next {piece:,}")
        count = min(events, peer.events if not quick else 20_000)
        theirs = stream if count == len(stream) else workload(count)
        found = importlib.import_module(f"benchmarks.peers.{peer.module}").run(theirs)
        pieces.append((peer, count / found.cpu_s, ours[-1]))
        say(f"  {peer.name} {pieces[-1][1]:,.0f} events/s over {count:,}")
        del theirs, found
        gc.collect()
    rate = windows.taken / windows.cpu_s
    spread = f" ({min(ours) / 1000:,.0f}-{max(ours) / 1000:,.0f} k by quarter)"
    results.add(
        Row("windows, 25 exact features, 20 % late, batches of 1,024", f"{rate / 1000:,.0f} k events/s{spread}")
    )
    table = Table("Windows, 25 features, one core", ("engine", "events", "events/s of CPU", "Parakh is", "scope"))
    table.rows.append(("Parakh", f"{windows.taken:,}", f"{rate:,.0f}", "", "all exact, late events too; incremental"))
    for peer, theirs_rate, _ in pieces:
        times = rate / theirs_rate
        results.add(Row.at_least(f"windows against {peer.name}", times, peer.times, "x"))
        count = min(events, peer.events if not quick else 20_000)
        table.rows.append((peer.name, f"{count:,}", f"{theirs_rate:,.0f}", f"{times:.1f}x faster", peer.scope))
    table.note = (
        "Slow peers are given the beginning of a stream of the same density, whose long windows hold less: that is to "
        "their advantage. All agree on streams without late events (tests/integration/test_benchmarks.py)."
    )
    results.tables.append(table)


def _batches(events: int) -> Iterator[int]:
    while events > 0:
        yield min(BATCH, events)
        events -= BATCH


def _numbers(words: NDArray[np.int64], column: Column, count: int) -> NDArray[np.float64]:
    """A feature as numbers in major units, NaN for NULL."""
    values = words[column.slot, :count]
    if column.type.is_float:
        return values.view(np.float64).copy()
    return np.where(values == NULL_WORD, np.nan, values / 10**column.type.digits)
