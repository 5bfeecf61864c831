"""The speed of the live service: durable decisions over HTTP, beside a server that does nothing, in one run.

Load generator, server and its disk share the machine's cores. Rounds with the two servers take turns; figures are
medians of rounds, and ratios are taken within a round. Every answer is checked: its status, an outcome for each event,
of the events that were asked about, in their order.

    python -m benchmarks.service.measure            # all of it, about ten minutes; writes its section of results.md
    python -m benchmarks.service.measure --quick    # about a minute, to see that it runs; writes nothing
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.results import RESULTS, Results, Row, Table, keep_section, machine, say
from benchmarks.run import BUSY, HEADING
from benchmarks.service import disk, restarts, snapshots
from benchmarks.service.payments import Payments, batches, singles
from benchmarks.service.prepared import Requests
from benchmarks.service.runs import Bench, Load, Run, in_memory, middle, spread
from benchmarks.service.servers import SNAPSHOTS_OFF, Server, noop, parakh
from benchmarks.windows import PROJECT

__all__ = ["FULL", "QUICK", "TITLE", "Scale", "main", "measure", "over_http"]

TITLE = "Service"
CONNECTIONS = 64
OPEN_RATES = (300.0, 1_000.0)
BATCH = 1_000  # events
BATCH_CONNECTIONS = 2
BESIDE = 100.0  # single requests a second
DENSITY = 20_000.0  # events a second of event time, where the rate is whatever the server can


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of everything."""

    rounds: int
    open_rounds: int  # of open loops, whose 99th percentiles scatter: two of 8 s give a ratio to within a third
    seconds: float  # a run
    history: int  # events before anything is measured
    replayed: int  # events read back and replayed into state
    log_mb: float  # R8
    keys: int
    snapshot_rounds: int
    snapshot_s: float  # a run: long enough for one to be written


FULL = Scale(
    rounds=3,
    open_rounds=9,
    seconds=8.0,
    history=200_000,
    replayed=1_000_000,
    log_mb=100,
    keys=200_000,
    snapshot_rounds=3,
    snapshot_s=10.0,
)
QUICK = Scale(
    rounds=3,
    open_rounds=3,
    seconds=1.2,
    history=10_000,
    replayed=50_000,
    log_mb=10,
    keys=20_000,
    snapshot_rounds=1,
    snapshot_s=5.0,
)

Start = Callable[[Path, dict[str, str]], Server]
"""A service on a data directory under settings, started and not waited for."""


def measure(results: Results, *, quick: bool = False) -> None:
    """All of it, on the workload's project: 50 rules, 25 features, a model of 100 trees."""
    over_http(results, QUICK if quick else FULL, lambda data, settings: parakh(PROJECT, data, settings))


def over_http(results: Results, scale: Scale, start: Start) -> None:
    """The measurements against a service that `start` starts."""
    with (
        tempfile.TemporaryDirectory(prefix="parakh-bench-") as folder,
        tempfile.TemporaryDirectory(prefix="parakh-bench-", dir=in_memory()) as held,
    ):
        bench = Bench(Path(folder), Path(held))
        syncs = [disk.sync_ms(bench.folder)]
        payments = Payments.of()
        with ExitStack() as stack:
            nothing = stack.enter_context(noop(bench.folder))
            real = stack.enter_context(start(bench.folder / "data", SNAPSHOTS_OFF))
            say(f"the service is ready after {real.ready():.1f} s; {scale.history:,} payments of history")
            restarts.fill(bench, real, payments, scale.history, rate=DENSITY)
            _one_by_one(results, bench, nothing, real, payments, scale)
            syncs.append(disk.sync_ms(bench.folder))
            _batches(results, bench, real, payments, scale)
            results.add(Row("service, memory after all that", f"{real.memory_mb():,.0f} MB"))
        snapshots.measure(
            results,
            bench,
            start,
            bench.folder / "data",
            payments,
            rounds=scale.snapshot_rounds,
            seconds=scale.snapshot_s,
        )
        restarts.measure(results, bench, start, events=scale.replayed, log_mb=scale.log_mb, keys=scale.keys)
        syncs.append(disk.sync_ms(bench.folder))
        _report_checks(results, bench, syncs)


# -- one by one -------------------------------------------------------------------------------------------------------


def _one_by_one(
    results: Results, bench: Bench, nothing: Server, real: Server, payments: Payments, scale: Scale
) -> None:
    loads = {
        "64 connections": Load(CONNECTIONS, scale.seconds),
        **{f"{rate:,.0f}/s": Load(CONNECTIONS, scale.seconds, rate) for rate in OPEN_RATES},
    }
    found: dict[tuple[str, bool], list[Run]] = {(name, which): [] for name in loads for which in (False, True)}
    for number in range(scale.open_rounds):
        say(f"one by one, round {number + 1} of {scale.open_rounds}")
        for name, load in loads.items():
            if load.rate is None and number >= scale.rounds:
                continue
            for is_real in (False, True) if number % 2 == 0 else (True, False):
                server = real if is_real else nothing
                found[name, is_real].append(bench.run(server, _singles(payments, load), _for(load, is_real)))
    table = Table(
        "One decision a request, beside a server that does nothing",
        (
            "load",
            "server",
            "requests/s",
            "server CPU us",
            "p50 ms",
            "p99 ms",
            "p99.9 ms",
            "generator late ms",
            "stolen",
        ),
    )
    table.note = (
        f"Medians of {scale.rounds} rounds, of {scale.open_rounds} at a rate, least and most in brackets. Closed loop "
        f"over {CONNECTIONS} connections, then arrivals at random at two rates, whose latency counts from when a "
        "request was due."
    )
    for (name, is_real), runs in found.items():
        table.rows.append((name, "Parakh, durable" if is_real else "does nothing", *_cells(runs)))
    results.tables.append(table)
    _report_one_by_one(results, found)


def _singles(payments: Payments, load: Load) -> Callable[[], Requests]:
    rate = load.rate or DENSITY
    return lambda: singles(payments.take(int(rate * load.seconds * 1.1) + 200, rate=rate))


def _for(load: Load, is_real: bool) -> Load:
    return Load(load.connections, load.seconds, load.rate, named=is_real, seed=load.seed)


def _cells(runs: list[Run], *, of_server: bool = True) -> tuple[str, ...]:
    """A row of a table; the server's CPU is left out where others kept it busy too."""
    return (
        spread(run.rate for run in runs),
        spread(run.cpu_us for run in runs) if of_server else "",
        spread((run.p50_ms for run in runs), 2),
        spread((run.p99_ms for run in runs), 2),
        spread((run.p999_ms for run in runs), 2),
        f"{middle(run.late_ms for run in runs):.2f}",
        f"{middle(run.stolen for run in runs):.1%}",
    )


def _report_one_by_one(results: Results, found: dict[tuple[str, bool], list[Run]]) -> None:
    for name in dict.fromkeys(name for name, _ in found):
        pairs = list(zip(found[name, False], found[name, True], strict=True))
        if name.endswith("/s"):
            ratios = sorted(real.p99_ms / nothing.p99_ms for nothing, real in pairs)
            ratio = middle(ratios)
            note = (
                f" ({middle(real.p99_ms for _, real in pairs):.2f} ms, no-op {middle(n.p99_ms for n, _ in pairs):.2f}; "
                f"{ratios[0]:.1f} to {ratios[-1]:.1f} by round)"
            )
            results.add(
                Row.at_most(f"durable decisions, open loop at {name}, p99 of the no-op's", ratio, 3, "x", note=note)
            )
        else:
            ratio = middle(real.rate / nothing.rate for nothing, real in pairs)
            note = (
                f" ({middle(real.rate for _, real in pairs):,.0f}/s, no-op {middle(n.rate for n, _ in pairs):,.0f}/s)"
            )
            results.add(
                Row.at_least(f"durable decisions, {name}, requests/s of the no-op's", ratio, 0.5, "x", note=note)
            )


# -- batches ----------------------------------------------------------------------------------------------------------


def _batches(results: Results, bench: Bench, real: Server, payments: Payments, scale: Scale) -> None:
    """Lines of JSON, 1,000 a request: alone, and with single requests beside them, whose latency is looked at."""
    load = Load(BATCH_CONNECTIONS, scale.seconds)
    alone: list[Run] = []
    beside: list[tuple[Run, Run]] = []
    for number in range(scale.rounds):
        say(f"batches, round {number + 1} of {scale.rounds}")
        alone.append(bench.run(real, lambda: _in_batches(payments, load), load))
        few, many = _interleaved(payments, load)
        files = [bench.write(few), bench.write(many)]
        under = [
            bench.start(real, file, each) for file, each in zip(files, (Load(CONNECTIONS, scale.seconds, BESIDE), load))
        ]
        ones, lots = (each.wait() for each in under)
        beside.append((ones, lots))
        for file in files:
            file.unlink()
    results.add(
        Row.at_least(
            f"durable decisions/s in batches of {BATCH:,}", middle(run.rate for run in alone), 35_000, "/s",
            note=f" ({min(run.rate for run in alone):,.0f}-{max(run.rate for run in alone):,.0f})",
        ),
        Row.at_most(
            f"single requests at {BESIDE:.0f}/s beside the batches, p99",
            middle(ones.p99_ms for ones, _ in beside), 10, "ms",
            note=f" (batches meanwhile {middle(lots.rate for _, lots in beside):,.0f}/s)",
        ),
    )  # fmt: skip
    table = Table(
        "Batches of lines",
        (
            "load",
            "events/s",
            "server CPU us an event",
            "request p50 ms",
            "p99 ms",
            "p99.9 ms",
            "generator late ms",
            "stolen",
        ),
    )
    table.note = f"Bodies of {BATCH:,} events over {BATCH_CONNECTIONS} connections."
    table.rows += [
        ("batches alone", *_cells(alone)),
        ("batches, singles beside", *_cells([lots for _, lots in beside])),
        ("singles beside batches", *_cells([ones for ones, _ in beside], of_server=False)),
    ]
    results.tables.append(table)


def _in_batches(payments: Payments, load: Load) -> Requests:
    return batches(payments.take(int(load.seconds * 2.5 * DENSITY), rate=DENSITY), BATCH)


def _interleaved(payments: Payments, load: Load) -> tuple[Requests, Requests]:
    """Batches and singles of the same piece of the stream, so that neither is late beside the other."""
    rate = 2.5 * DENSITY
    lines = payments.take(int(load.seconds * rate), rate=rate)
    step = int(rate / (1.2 * BESIDE))
    return singles(lines[::step]), batches([line for row, line in enumerate(lines) if row % step], BATCH)


def _report_checks(results: Results, bench: Bench, syncs: list[tuple[float, float]]) -> None:
    results.add(
        Row(
            "answers checked",
            f"{bench.answered:,} events; {bench.failed:,} requests failed",
            "none failed",
            1.0 if not bench.failed else 0.0,
        ),
        Row(
            "one record written and synced (fdatasync), p50 and p99",
            "; ".join(f"{p50:.2f} and {p99:.2f} ms" for p50, p99 in syncs) + " (begin, middle, end)",
        ),
        Row("time stolen by the host", f"{middle(bench.stolen):.1%}, at most {max(bench.stolen):.1%} in a run"),
    )
    if bench.problems:
        quoted = "\n".join(f"    {problem[:300]!r}" for problem in bench.problems)
        say(f"answers that were not as they should be:\n{quoted}")


def main(arguments: list[str] | None = None) -> Results:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.service.measure", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--quick", action="store_true", help="short runs and little history, nothing written")
    parser.add_argument("--out", type=Path, help=f"the file to write the section to (default {RESULTS.name})")
    given = parser.parse_args(arguments)
    loads = [os.getloadavg()[0]]
    if loads[0] > BUSY:
        say(f"the machine is busy (load average {loads[0]:.1f}): figures will be worse than on an idle one")
    began = time.monotonic()
    results = Results(TITLE, "")
    measure(results, quick=given.quick)
    results.intro = (
        f"{machine(loads, also=('uvicorn', 'uvloop', 'httptools'))}\n"
        f"The run took {(time.monotonic() - began) / 60:.1f} minutes. The load generator and the server share the "
        "cores, so that the load average is theirs too; ratios are taken within a round."
    )
    markdown = results.markdown()
    print(markdown)
    out = given.out or (None if given.quick else RESULTS)
    if out is not None:
        keep_section(out, markdown, heading=HEADING)
        say(f"wrote {out}")
    return results


if __name__ == "__main__":
    main()
