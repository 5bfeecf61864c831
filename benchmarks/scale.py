"""`make bench-scale`: 5 million keys and 50 million held records in one engine, with ids and labels.

    python -m benchmarks.scale                        # about ten minutes; writes its section of benchmarks/results.md
    python -m benchmarks.scale --events 2000000       # a smaller month; writes nothing

A month of payments is made in chunks of columns and forgotten at once; what stays is the engine's own state: windows,
texts, ids, labels. A payment in twenty is labelled a week later, honest or fraud, and a feature reads that. Keys are
drawn so that a few are busy and all occur: the probability of rank r falls with its square root.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.results import RESULTS, Results, Row, Table, keep_section, machine, say
from benchmarks.run import HEADING
from benchmarks.workload import DAY_US, SECOND_US, START_US
from parakh import Project
from parakh.decisions.engine import Engine
from parakh.decisions.warmup import warm_up
from parakh.events.chunks import Chunk, TableRows
from parakh.events.merge import Merger, Stream
from parakh.events.sources import Source

__all__ = ["EVENTS", "KEYS", "Month", "Passed", "main", "measure"]

PROJECT = Path(__file__).resolve().parent / "scale"
TITLE = "Scale"
EVENTS = 50_000_000
KEYS = 5_050_000  # drawn from; the rarest may not be drawn
KEYS_ASKED = 5_000_000
LABEL_DELAY_US = 7 * DAY_US
_SPAN_US = 29 * DAY_US + 23 * 3600 * SECOND_US  # so that the first is still held at the end
_CHUNK = 1 << 16
_PIECES = 10
_LABELLED, _FRAUD = 0.05, 0.02  # of all payments, of the labelled
_LATE, _LATE_US = 0.2, 10 * SECOND_US
_LIMIT_BYTES = 8e9
_FLAT = 1.25  # the second half may cost so many times the first


@dataclass(slots=True)
class Month:
    """Payments in chunks; `made_s` is the CPU that making them took, which is not the engine's."""

    events: int
    keys: int
    seed: int = 7
    made_s: float = 0.0

    def chunks(self) -> Iterator[Chunk]:
        random = np.random.default_rng(self.seed)
        for first in range(0, self.events, _CHUNK):
            started = time.thread_time()
            table = self._payments(random, first, min(_CHUNK, self.events - first))
            self.made_s += time.thread_time() - started
            yield TableRows("month", first + 1, table)

    def _payments(self, random: np.random.Generator, first: int, count: int) -> pa.RecordBatch:
        places = np.arange(first, first + count)
        arrival = START_US + (places * (_SPAN_US / self.events)).astype(np.int64)
        late = np.where(random.random(count) < _LATE, random.integers(0, _LATE_US, count), 0)
        rank = (self.keys * random.random(count) ** 2).astype(np.int64)
        card = rank * 2_654_435_761 % self.keys if self.keys % 2_654_435_761 else rank
        amount = np.maximum(1, np.exp(random.normal(np.log(2_500), 1.2, count))).astype(np.int64)
        unlabelled = random.random(count) >= _LABELLED
        columns = {
            "payment_id": pc.binary_join_element_wise("pay-", _text(places), ""),
            "paid_at": pa.array(np.maximum(arrival - late, START_US), pa.timestamp("us", "UTC")),
            "card": pc.binary_join_element_wise("card-", _text(card), ""),
            "amount": pa.array(np.minimum(amount, 10_000_000) / 100),
            "fraud": pa.array(random.random(count) < _FRAUD, mask=unlabelled),
        }
        return pa.RecordBatch.from_pydict(columns)


@dataclass(slots=True)
class Passed:
    """What stood after a piece of the stream, and what an event of that piece cost."""

    events: int
    keys: int
    records: int
    labels: int
    event_us: float
    state_bytes: int
    peak_bytes: int


@dataclass(slots=True)
class Scale:
    """A finished run."""

    engine: Engine
    pieces: list[Passed] = field(default_factory=list)

    @property
    def growth(self) -> float:
        """How many times as much an event costs in the second half as in the first, the first piece left out."""
        costs = [piece.event_us for piece in self.pieces[1:]]
        half = len(costs) // 2
        return float(np.mean(costs[half:]) / np.mean(costs[:half])) if half else 1.0


def measure(events: int = EVENTS, keys: int = KEYS, *, pieces: int = _PIECES) -> Scale:
    """Take a month of events through an engine, piece by piece."""
    engine = Engine(Project.load(PROJECT))
    plan = engine.plan.types[0]
    month = Month(events, keys)
    merger = Merger(
        [Stream(plan.index, plan.decoder, Source(month.chunks(), "month", None))], label_delay_us=LABEL_DELAY_US
    )
    scale = Scale(engine)
    began = time.monotonic()
    for number in range(1, pieces + 1):
        upto, taken_before = events * number // pieces, engine.counts.received
        started, made_before = time.thread_time(), month.made_s
        while engine.counts.received < upto and (batch := merger.next(engine.words, engine.batch_size)) is not None:
            engine.take(batch)
        spent = time.thread_time() - started - (month.made_s - made_before)
        taken = engine.counts.received - taken_before
        piece = Passed(
            events=engine.counts.received,
            keys=engine.state.keys,
            records=engine.state.records,
            labels=engine.labelling.applied,
            event_us=1e6 * spent / max(taken, 1),
            state_bytes=engine.nbytes,
            peak_bytes=peak_bytes(),
        )
        scale.pieces.append(piece)
        passed = time.monotonic() - began
        say(
            f"  {piece.events:,} events, {piece.keys:,} keys, {piece.records:,} records: "
            f"{piece.event_us:.2f} us an event, "
            f"state {piece.state_bytes / 1e9:.2f} GB, peak {piece.peak_bytes / 1e9:.2f} GB; "
            f"{passed * (pieces - number) / number:.0f} s left"
        )
    engine.counts.check()
    assert engine.counts.accepted == events, "every payment of the month is accepted"
    assert engine.counts.late == 0, "no payment of the month is too late"
    return scale


def report(scale: Scale, loads: list[float]) -> Results:
    """The section of results.md."""
    engine, last = scale.engine, scale.pieces[-1]
    results = Results(
        TITLE,
        f"{machine(loads)}\nA month of payments through one engine, in batches of {engine.batch_size:,}; "
        "columns in, decisions out. The peak is that of the whole process, Python and libraries included.",
    )
    results.add(
        Row.at_least("records held", last.records / 1e6, EVENTS / 1e6, "million"),
        Row.at_least("keys", last.keys / 1e6, KEYS_ASKED / 1e6, "million"),
        Row.at_most("peak memory", last.peak_bytes / 1e9, _LIMIT_BYTES / 1e9, "GB"),
        Row.at_most("cost of an event, second half against first", scale.growth, _FLAT, "x"),
        Row("cost of an event", f"{np.mean([piece.event_us for piece in scale.pieces]):.2f} us of CPU"),
        Row("state, bytes a held record", f"{last.state_bytes / last.records:.1f} B, all in"),
        Row("windows and labels, bytes a held record", f"{engine.state.nbytes / last.records:.1f} B"),
        Row("ids, bytes each", f"{engine.ids.nbytes / len(engine.ids):.1f} B ({len(engine.ids):,})"),
        Row("texts, bytes each", f"{engine.strings.nbytes / len(engine.strings):.1f} B ({len(engine.strings):,})"),
        Row("labels applied", f"{last.labels:,}"),
    )
    table = Table("As history grows", ("events", "keys", "records", "labels", "us an event", "state GB", "peak GB"))
    for piece in scale.pieces:
        counts = (piece.events, piece.keys, piece.records, piece.labels)
        sizes = (piece.state_bytes, piece.peak_bytes)
        table.rows.append(
            (*(f"{count:,}" for count in counts), f"{piece.event_us:.2f}", *(f"{size / 1e9:.2f}" for size in sizes))
        )
    results.tables.append(table)
    return results


def peak_bytes() -> int:
    """The most memory that this process has had."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main(arguments: list[str] | None = None) -> Results:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__.partition("\n")[0])
    parser.add_argument("--events", type=int, default=EVENTS)
    parser.add_argument("--out", type=Path, help=f"the file to write the section to (default {RESULTS.name})")
    given = parser.parse_args(arguments)
    loads = [os.getloadavg()[0]]
    warm_up()
    say(f"scale: {given.events:,} events")
    scale = measure(given.events, max(1, KEYS * given.events // EVENTS))
    results = report(scale, loads)
    markdown = results.markdown()
    print(markdown)
    out = given.out or (RESULTS if given.events == EVENTS else None)
    if out is not None:
        keep_section(out, markdown, heading=HEADING)
        say(f"wrote {out}")
    return results


def _text(numbers: np.ndarray) -> pa.Array:
    return pa.array(numbers).cast(pa.string())


if __name__ == "__main__":
    main()
