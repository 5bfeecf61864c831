"""From the bytes of events to the bytes of decisions: the whole path, in one process, on one core.

One engine takes all of workload W. Sizes of batches take turns over the stream, so that each meets the history at every
length and what else the machine does falls on all alike.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

import numpy as np

from benchmarks.results import Results, Row, Table, say
from benchmarks.stages import STAGES, timed
from benchmarks.windows import PROJECT
from benchmarks.workload import EVENTS, ndjson, workload
from parakh import Project
from parakh.decisions.engine import Engine

__all__ = ["Path", "measure", "without_model"]

SIZES = (1, 64, 1_024, 4_096)
_ROUNDS = 10
_WHOSE = getattr(resource, "RUSAGE_THREAD", resource.RUSAGE_SELF)
_LOOK = 0.1  # of the stream: the breakdown and the single events at its end
_ALONE = 2_000  # events one by one, a round


@dataclass(slots=True)
class Calls:
    """What calls with one size of batch took: totals, and of each call CPU and wall in microseconds.

    `switches` counts how often the core was taken away for another program during a call: such a call has its caches to
    fill again, which is the machine's doing.
    """

    events: int = 0
    cpu_s: float = 0.0
    event_bytes: int = 0
    record_bytes: int = 0
    cpu_us: list[float] = field(default_factory=list)
    wall_us: list[float] = field(default_factory=list)
    switches: list[int] = field(default_factory=list)

    @property
    def rate(self) -> float:
        return self.events / self.cpu_s

    def undisturbed_us(self) -> list[float]:
        """CPU of the calls that kept their core."""
        return [us for us, switches in zip(self.cpu_us, self.switches, strict=True) if not switches]


class Path:
    """An engine that takes a stream of JSON lines piece by piece."""

    def __init__(self, project: Project, lines: Iterator[bytes]) -> None:
        self.engine = Engine(project, batch_size=max(SIZES))
        self._lines = lines

    def batches_of(self, size: int, events: int) -> list[bytes]:
        """The next events in batches of a size, which the engine is set to."""
        if self.engine.batch_size != size:
            self.engine.batch_size = size
            self.engine.apply(self.engine.project)  # makes the frame anew
        taken = [list(islice(self._lines, min(size, events - at))) for at in range(0, events, size)]
        return [b"".join(lines) for lines in taken if lines]

    def decide(self, batches: Sequence[bytes], calls: Calls) -> None:
        """Decide on batches and encode the records, with a clock around each."""
        engine = self.engine
        cpu_us, wall_us = calls.cpu_us, calls.wall_us
        began = time.thread_time()
        for data in batches:
            switched = _switches()
            wall, cpu = time.perf_counter(), time.thread_time()
            decisions = engine.decide_lines("payment", data)
            for part in decisions.parts:
                calls.record_bytes += sum(map(len, part.records(engine.strings)))
            cpu_us.append(1e6 * (time.thread_time() - cpu))
            wall_us.append(1e6 * (time.perf_counter() - wall))
            calls.switches.append(_switches() - switched)
            calls.events += len(decisions)
            calls.event_bytes += len(data)
        calls.cpu_s += time.thread_time() - began


def without_model(project: Project) -> Project:
    """The same project, judged by its rules alone."""
    definitions = project.definitions
    policies = tuple(replace(policy, score=None, bands=()) for policy in definitions.policies)
    return Project.of(replace(definitions, models=(), policies=policies))


def measure(results: Results, *, events: int = EVENTS) -> Engine:
    """All of it; returns the engine, which holds the history of the whole stream."""
    say(f"end to end: {events:,} events, 25 features, 50 rules, 100 trees")
    path = Path(Project.load(PROJECT), ndjson(workload(events)))
    found = _turns(path, int(events * (1 - _LOOK)))
    _report_turns(results, found)
    left = events - int(events * (1 - _LOOK))
    _report_breakdown(results, _breakdown(path, left // 2))
    _report_alone(results, path, left // 2)
    path.decide(path.batches_of(max(SIZES), events), Calls())  # what is left of the stream
    _report_memory(results, path.engine)
    return path.engine


def _turns(path: Path, events: int) -> dict[int, Calls]:
    found = {size: Calls() for size in SIZES}
    path.decide(path.batches_of(64, 256), Calls())  # what is loaded and made once
    for number in range(_ROUNDS):
        share = events // _ROUNDS
        alone = min(_ALONE, share // 8)
        counts = {1: alone, 64: share // 4, 1_024: share // 3, 4_096: share - alone - share // 4 - share // 3}
        for size in SIZES:
            path.decide(path.batches_of(size, counts[size]), found[size])
        rates = ", ".join(f"{size}: {calls.rate / 1000:,.0f} k" for size, calls in found.items())
        say(f"  {(number + 1) * share:,} events; events/s by batch: {rates}")
    return found


def _report_turns(results: Results, found: dict[int, Calls]) -> None:
    table = Table(
        "Bytes to decision bytes, by batch",
        ("batch", "events/s of CPU", "us an event", "CPU of a call p50 / p99", "wall of a call p50 / p99"),
    )
    best = max(calls.rate for calls in found.values())
    size_of_best = next(size for size, calls in found.items() if calls.rate == best)
    results.add(
        Row.at_least("bytes to decision bytes, one core, best batch", best / 1000, 100, "k events/s",
                     note=f" (batches of {size_of_best:,})")
    )  # fmt: skip
    for size, calls in found.items():
        results.add(Row(f"bytes to decision bytes, batches of {size:,}", f"{calls.rate / 1000:,.1f} k events/s"))
        table.rows.append(
            (f"{size:,}", f"{calls.rate:,.0f}", f"{1e6 / calls.rate:,.1f}",
             _percentiles(calls.cpu_us), _percentiles(calls.wall_us))
        )  # fmt: skip
    events, read, written = (
        sum(getattr(calls, name) for calls in found.values()) for name in ("events", "event_bytes", "record_bytes")
    )
    table.note = (
        f"An event has {read / events:,.0f} bytes of JSON, its record {written / events:,.0f} bytes of MessagePack."
    )
    results.tables.append(table)


def _breakdown(path: Path, events: int) -> dict[int, dict[str, float]]:
    """Microseconds an event by stage, by size."""
    found: dict[int, dict[str, float]] = {}
    for size in SIZES:
        count = max(size, min(_ALONE, events // 8) if size == 1 else events // 4)
        batches, calls = path.batches_of(size, count), Calls()
        with timed() as stages:
            path.decide(batches, calls)
        stages.total_s = calls.cpu_s
        an_event_us = 1e6 * (calls.cpu_s / max(calls.events, 1))
        found[size] = {name: share * an_event_us for name, share in stages.shares().items()}
    return found


def _report_breakdown(results: Results, found: dict[int, dict[str, float]]) -> None:
    names = (*STAGES, "the rest")
    table = Table("Where the time goes, microseconds an event", ("stage", *(f"batch {size:,}" for size in found)))
    for name in names:
        cells = [f"{us[name]:.2f} ({100 * us[name] / max(sum(us.values()), 1e-9):.0f} %)" for us in found.values()]
        table.rows.append((name, *cells))
    table.rows.append(("all", *(f"{sum(us.values()):.2f}" for us in found.values())))
    table.note = (
        "With a clock around each stage, at the end of the stream. Programs are filters, rules and bands; "
        "contributions are those of what is not allowed; the rest is Python between the stages."
    )
    results.tables.append(table)


def _report_alone(results: Results, path: Path, events: int) -> None:
    """One event at a time, with the model and without, in turns on the same history."""
    whole = Project.load(PROJECT)
    versions = {"50 rules": without_model(whole), "50 rules and 100 trees": whole}
    found = {name: Calls() for name in versions}
    for _ in range(5):
        for name, project in versions.items():
            path.engine.apply(project)
            batches = path.batches_of(1, max(100, min(_ALONE, events // 10)))
            path.decide(batches[:20], Calls())  # the plan is new
            path.decide(batches[20:], found[name])
    table = Table(
        "One event in process, with 25 windows",
        ("judged by", "CPU p50 / p99", "CPU p99 of all", "wall p50 / p99", "events", "disturbed"),
    )
    for name, calls in found.items():
        quiet = calls.undisturbed_us() or calls.cpu_us
        p50, p99 = np.percentile(quiet, (50, 99))
        of_all = float(np.percentile(calls.cpu_us, 99))
        what = f"one event in process, {name}, CPU p99"
        note = f" (p50 {p50:.0f})"
        results.add(Row.at_most(what, float(p99), 60, "us", note=note) if name == "50 rules"
                    else Row(what, f"{p99:.1f} us{note}"))  # fmt: skip
        disturbed = f"{100 * (1 - len(quiet) / calls.events):.1f} %"
        table.rows.append(
            (
                name,
                _percentiles(quiet),
                f"{of_all:,.1f} us",
                _percentiles(calls.wall_us),
                f"{calls.events:,}",
                disturbed,
            )
        )
    table.note = (
        "From the bytes of one event to the bytes of its record. Disturbed are the calls from which the core was taken "
        "for another program: only `all` and wall count them."
    )
    results.tables.append(table)


def _report_memory(results: Results, engine: Engine) -> None:
    records, keys = engine.state.records, engine.state.keys
    windows = engine.state.nbytes / records
    results.add(
        Row.at_most("windows, bytes a held record", windows, 80, "B", note=f" ({records:,} records of {keys:,} keys)"),
        Row("all state, bytes a held record", f"{engine.nbytes / records:,.1f} B (with texts and ids)"),
    )
    table = Table("State at the end", ("part", "holds", "MB", "bytes each"))
    for name, count, size in (
        ("windows", records, engine.state.nbytes),
        ("texts", len(engine.strings), engine.strings.nbytes),
        ("ids", len(engine.ids), engine.ids.nbytes),
    ):
        table.rows.append((name, f"{count:,}", f"{size / 1e6:,.0f}", f"{size / max(count, 1):,.1f}"))
    table.note = (
        "A payment is a record of its card, one of its device and one of its merchant while a window can see it."
    )
    results.tables.append(table)


def _switches() -> int:
    """How often this thread has had its core taken away."""
    return resource.getrusage(_WHOSE).ru_nivcsw


def _percentiles(us: list[float]) -> str:
    low, high = np.percentile(us, (50, 99))
    return f"{low / 1000:,.2f} / {high / 1000:,.2f} ms" if low >= 1000 else f"{low:,.1f} / {high:,.1f} us"
