"""Starting again: a log that is read back and replayed into state, from SIGKILL to the first answer of /readyz."""

from __future__ import annotations

import signal
import struct
from collections.abc import Callable
from pathlib import Path

from benchmarks.results import Results, Row, Table, say
from benchmarks.service.payments import Payments, batches, many_keys
from benchmarks.service.runs import Bench, Load
from benchmarks.service.servers import SNAPSHOTS_OFF, Server

__all__ = ["fill", "log_bytes", "measure"]

_BATCH = 1_000
_MORE = 5_000
_PIECE = 100_000  # events a run: what is held at once
_DENSITY = 20_000.0
_WITHIN_S = 600.0


def fill(bench: Bench, server: Server, payments: Payments, events: int, *, rate: float) -> None:
    """Events decided in batches, all of them."""
    for at in range(0, events, _PIECE):
        file = bench.write(batches(payments.take(min(_PIECE, events - at), rate=rate), _BATCH))
        run = bench.start(server, file, Load(2, _WITHIN_S)).wait()
        file.unlink()
        if run.sent.failed or not run.sent.answered.all():
            raise RuntimeError(f"{run.sent.failed} batches failed: {run.sent.problem}")


def log_bytes(data: Path) -> int:
    """How far the log is durable: its length, as segments are made longer than what they hold."""
    (length,) = struct.unpack_from("<Q", (data / "log" / "durable").read_bytes())
    return int(length)


def measure(
    results: Results,
    bench: Bench,
    start: Callable[[Path, dict[str, str]], Server],
    *,
    events: int,
    log_mb: float,
    keys: int,
) -> None:
    """A million events replayed, and the log of R8; without a snapshot, which is the longest that a start can take."""
    table = Table(
        "Starting again after SIGKILL, without a snapshot",
        ("log", "events", "MB", "bytes an event", "ready after s", "of which process s", "events/s", "memory MB"),
    )
    table.note = (
        "From the start of the process until /readyz says 200; `process` is that of a start on an empty log: Python, "
        "libraries, compiled kernels."
    )
    say(f"starting again: {events:,} events replayed")
    took = _again(table, bench, start, "workload", Payments.of(), events)
    results.add(_within(f"{events:,} events read back and replayed into state", took, 15, whole=events >= 1_000_000))
    say(f"starting again: {keys:,} keys and {log_mb:.0f} MB of log")
    took = _again(table, bench, start, f"{keys:,} keys", many_keys(keys, keys), keys // 2, log_mb)
    what = f"ready with {keys:,} keys and {log_mb:.0f} MB of log (R8)"
    results.add(_within(what, took, 10, whole=keys >= 200_000 and log_mb >= 100))
    results.tables.append(table)


def _within(what: str, took_s: float, target_s: float, *, whole: bool) -> Row:
    """A time against its target, which is that of the whole amount: a smaller one has none."""
    return Row.at_most(what, took_s, target_s, "s") if whole else Row(what, f"{took_s:.2f} s")


def _again(
    table: Table,
    bench: Bench,
    start: Callable[[Path, dict[str, str]], Server],
    name: str,
    payments: Payments,
    events: int,
    log_mb: float = 0.0,
) -> float:
    """Seconds to be ready again after so many events, and so many more as make the log so long."""
    data = bench.folder / f"restart-{len(table.rows)}"
    with start(data, SNAPSHOTS_OFF) as server:
        empty_s = server.ready()
        fill(bench, server, payments, events, rate=_DENSITY)
        while log_bytes(data) < 1e6 * log_mb:
            fill(bench, server, payments, _MORE, rate=_DENSITY)
            events += _MORE
        server.stop(signal.SIGKILL)
    length = log_bytes(data)
    with start(data, SNAPSHOTS_OFF) as server:
        ready_s = server.ready(within_s=_WITHIN_S)
        memory_mb = server.memory_mb()
    replay_s = ready_s - empty_s
    table.rows.append(
        (
            name, f"{events:,}", f"{length / 1e6:,.0f}", f"{length / events:,.0f}", f"{ready_s:.2f}", f"{empty_s:.2f}",
            f"{events / replay_s:,.0f}" if replay_s > 0.5 else "", f"{memory_mb:,.0f}",
        )
    )  # fmt: skip
    return ready_s
