"""What a snapshot does to the requests beside it: the same load with and without one under way, in turns."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.results import Results, Row, Table, say
from benchmarks.service.payments import Payments, singles
from benchmarks.service.restarts import fill
from benchmarks.service.runs import Bench, Load, Run, middle, spread
from benchmarks.service.servers import SNAPSHOTS_OFF, Server

__all__ = ["measure"]

RATE = 1_000.0
_CONNECTIONS = 64
_WITHIN_S = 300.0
_OFTEN = {**SNAPSHOTS_OFF, "PARAKH_SNAPSHOTS_EVENTS": "500"}  # the next one begins half a second after the last


def measure(
    results: Results,
    bench: Bench,
    start: Callable[[Path, dict[str, str]], Server],
    data: Path,
    payments: Payments,
    *,
    rounds: int,
    seconds: float,
) -> None:
    """Single requests at 1,000/s against a service with the history in `data`; it is started again for each run.

    A first snapshot is written beforehand: it reads the whole log, those that follow go on from it, as in a service
    that has run for a while.
    """
    _first(bench, start, data, payments)
    found: dict[bool, list[Run]] = {False: [], True: []}
    written: list[int] = []  # in a run, or begun in it; at least so many, as older ones are deleted
    size_mb = 0.0
    for number in range(rounds):
        say(f"with and without snapshots, round {number + 1} of {rounds}")
        for often in (False, True) if number % 2 == 0 else (True, False):
            with start(data, _OFTEN if often else SNAPSHOTS_OFF) as server:
                server.ready()
                before = _names(data)
                load = Load(_CONNECTIONS, seconds, RATE)
                found[often].append(
                    bench.run(server, lambda: singles(payments.take(int(RATE * seconds * 1.2) + 200, rate=RATE)), load)
                )
                if often:
                    written.append(len(_names(data) - before) + server.children())
                    size_mb = _size_mb(data)
    factor = middle(often.p99_ms / never.p99_ms for never, often in zip(found[False], found[True], strict=True))
    note = (
        f" ({middle(run.p99_ms for run in found[False]):.2f} ms, with snapshots under way "
        f"{middle(run.p99_ms for run in found[True]):.2f} ms)"
    )
    results.add(Row.at_most("p99 at 1,000/s while snapshots are written, of that without", factor, 3, "x", note=note))
    if not min(written, default=0):
        results.add(Row("snapshots in each run", f"{min(written)} to {max(written)}", "at least 1", 0.0))
    table = Table(
        "Snapshots beside requests at 1,000/s", ("snapshots", "p50 ms", "p99 ms", "p99.9 ms", "CPU us", "stolen")
    )
    table.note = (
        f"A snapshot of {size_mb:,.0f} MB; {min(written)} to {max(written)} of them in a run of {seconds:.0f} s."
    )
    table.rows += [
        (
            "one after another" if often else "none",
            *(spread((getattr(run, field) for run in runs), 2) for field in ("p50_ms", "p99_ms", "p999_ms")),
            spread(run.cpu_us for run in runs),
            f"{middle(run.stolen for run in runs):.1%}",
        )
        for often, runs in found.items()
    ]
    results.tables.append(table)


def _first(bench: Bench, start: Callable[[Path, dict[str, str]], Server], data: Path, payments: Payments) -> None:
    with start(data, _OFTEN) as server:
        server.ready()
        fill(bench, server, payments, 2_000, rate=RATE)
        ends = time.monotonic() + _WITHIN_S
        while not _names(data):
            if time.monotonic() > ends:
                raise TimeoutError(f"no snapshot was written:\n{server.said()}")
            time.sleep(0.1)


def _names(data: Path) -> set[str]:
    """The whole snapshots there are: those that have their manifest."""
    return {entry.parent.name for entry in (data / "snapshots").glob("*/manifest.json")}


def _size_mb(data: Path) -> float:
    newest = max(_names(data), default="")
    folder = data / "snapshots" / newest
    return sum(os.path.getsize(file) for file in folder.rglob("*") if file.is_file()) / 1e6 if newest else 0.0
