"""24 hours of traffic by a simulated clock through the core of the service: memory and disk stay within bounds.

The desk, the log and the snapshots are those of `parakh serve`; only arrivals come from a generator and time from it,
so that a day passes in minutes. The project is the benchmark's with windows of at most six hours, and the log keeps
six: what is bounded has stopped growing after a quarter of the day.

    python -m benchmarks.service.soak                     # 2 million payments; writes its section of results.md
    python -m benchmarks.service.soak --events 100000     # a quieter day; writes nothing
    python -m benchmarks.service.soak --plot soak.svg
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import tempfile
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.results import RESULTS, Results, Row, Table, keep_section, machine, say
from benchmarks.run import HEADING
from benchmarks.service.day import Day
from benchmarks.service.drawing import curves
from benchmarks.windows import PROJECT
from parakh import Project
from parakh.decisions.engine import Engine
from parakh.decisions.warmup import warm_up
from parakh.service import snapshots
from parakh.service.desk import Desk, Item
from parakh.service.entry_index import EntryIndex
from parakh.service.upkeep import sweep
from parakh.streams.log import EmbeddedLog

__all__ = ["EVENTS", "KEPT_H", "Sample", "Soak", "bounds", "main", "project", "soak"]

TITLE = "A day of traffic"
EVENTS = 2_000_000
KEPT_H = 6
HOUR_US = 3_600_000_000
_SHORTER = (("7d", f"{KEPT_H}h"), ("1d", "2h"))  # the workload's long windows, so that a day sees events leave them
_MINUTE_S = 60.0
_UNSYNCED = 4 << 20  # bytes of log that may wait for the disk
_SEGMENT = 16 << 20
_REMOVAL_S = 60.0  # that are waited for at most
_RECENT_H = 2  # that devices and merchants look back; cards look back as far as the log is kept

# What the operating guide says a thing takes at most.
RECORD_BYTES, TEXT_BYTES, ID_BYTES, PROCESS_MB = 81, 60, 49, 350
ENTRY_BYTES = 1_000  # of log, an event taken in by itself: body, record and frame
_EMPTY_MB = 2.0  # room that is made at the start
_GROWN = 2.0  # tables double, so that half of one may be empty


@dataclass(frozen=True, slots=True)
class Sample:
    """What is held at the end of an hour. Sizes in MB of 10^6 bytes."""

    hour: int
    events: int
    held_events: int  # of the last six hours, which the log keeps
    recent_events: int  # of the last two
    rss: float
    state: float
    records: int
    keys: int
    ids: int
    texts: int
    log: float  # of entries kept
    log_disk: float  # of files
    snapshots: float
    entry_bytes: float  # of log, an event of this hour


@dataclass(slots=True)
class Soak:
    """The core of the service under a day of traffic."""

    folder: Path
    day: Day
    samples: list[Sample] = field(default_factory=list)
    refused: int = 0
    wall_s: float = 0.0

    def run(self) -> None:
        """The whole day."""
        began = time.monotonic()
        with EmbeddedLog(self.folder / "log", segment_bytes=_SEGMENT) as log:
            engine = Engine(Project.load(project(self.folder / "project")), batch_size=256, live=True)
            desk = Desk(engine, log, EntryIndex())
            kept: deque[tuple[int, int, int]] = deque()  # of each minute: its number, events so far, end of the log
            hour, events, first_us = 0, 0, 0
            for arrived_us, bodies in self.day.ticks():
                first_us = first_us or arrived_us
                minute = (arrived_us - first_us) * 60 // HOUR_US
                if not kept or kept[-1][0] != minute:
                    kept.append((minute, events, log.end))
                    sweep(engine, _MINUTE_S)
                while minute // 60 > hour:
                    hour += 1
                    self._hour(desk, log, kept, hour, events, arrived_us)
                items = [Item(0, body) for body in bodies]
                desk.take(items, arrived_us)
                self.refused += sum(item.answer is None or item.answer.status != 200 for item in items)
                events += len(items)
                if log.end - log.durable > _UNSYNCED:
                    log.wait(log.end)
            self._hour(desk, log, kept, hour + 1, events, arrived_us)
        self.wall_s = time.monotonic() - began

    def _hour(
        self, desk: Desk, log: EmbeddedLog, kept: deque[tuple[int, int, int]], hour: int, events: int, now_us: int
    ) -> None:
        """At the end of an hour: a snapshot, what is too old goes, and a look at what there is."""
        log.wait(log.end)
        snapshots.write(
            self.folder / "snapshots", desk.engine, desk.entries, position=log.end, versions=(), beside=False
        )
        snapshots.prune(self.folder / "snapshots")
        before = self.samples[-1] if self.samples else None
        while kept[0][0] < 60 * (hour - KEPT_H):
            kept.popleft()
        if kept[0][2] > log.first:
            log.wait(desk.trim(kept[0][2], now_us))
            log.trim(kept[0][2])
            _wait_for_removal(self.folder / "log")
        since = log.end - (self._end if before else 0)
        self._end = log.end
        engine = desk.engine
        self.samples.append(
            Sample(
                hour=hour,
                events=events,
                held_events=events - kept[0][1],
                recent_events=events
                - next(count for minute, count, _ in kept if minute >= 60 * (hour - _RECENT_H) - 1),
                rss=_rss(),
                state=engine.nbytes / 1e6,
                records=engine.state.records,
                keys=engine.state.keys,
                ids=len(engine.ids),
                texts=len(engine.strings),
                log=log.nbytes / 1e6,
                log_disk=_size(self.folder / "log"),
                snapshots=_size(self.folder / "snapshots"),
                entry_bytes=since / max(1, events - (before.events if before else 0)),
            )
        )
        say(f"  {hour:2} h: {events:,} events, RSS {self.samples[-1].rss:,.0f} MB, log {self.samples[-1].log:,.0f} MB")

    _end: int = 0


def project(folder: Path) -> Path:
    """A copy of the benchmark's project whose windows, and whose horizon, reach back six hours at most."""
    shutil.copytree(PROJECT, folder)
    for file in (*folder.rglob("*.yaml"), *folder.rglob("*.lgb")):
        text = file.read_text()
        for long, short in _SHORTER:
            text = re.sub(rf"(?<=[_ \[]){long}\b", short, text)  # where it is said, and in names
        file.write_text(text)
    settings = folder / "parakh.toml"
    settings.write_text(settings.read_text() + f'horizon = "{KEPT_H}h"\n')
    return folder


def bounds(samples: list[Sample]) -> list[Row]:
    """What was held against what may be held, at the worst hour of each."""
    return [
        Row.at_most("log, bytes an event", max(sample.entry_bytes for sample in samples), ENTRY_BYTES, "B"),
        _worst("log, files", samples, lambda at: (at.log_disk, _log_bound(at)), "MB"),
        _worst("ids held", samples, lambda at: (at.ids, at.held_events), "ids"),
        _worst("records held", samples, lambda at: (at.records, _most_records(at)), "records"),
        _worst("state", samples, lambda at: (at.state, _state_bound(at)), "MB"),
        _worst("two snapshots", samples, lambda at: (at.snapshots, 2 * _state_bound(at)), "MB"),
        _worst("memory of the process", samples, lambda at: (at.rss, PROCESS_MB + 2 * _state_bound(at)), "MB"),
    ]


def _worst(what: str, samples: list[Sample], of: Callable[[Sample], tuple[float, float]], unit: str) -> Row:
    """The hour that came nearest to its bound."""
    worst = max(samples, key=lambda sample: of(sample)[0] / max(1e-9, of(sample)[1]))
    return Row.at_most(what, *of(worst), unit, note=f" (hour {worst.hour})")


def _most_records(at: Sample) -> int:
    """A record for the card while the log keeps the event, one each for device and merchant for two hours; an eighth
    more, as keys that are idle are swept in turn.
    """
    return (at.held_events + 2 * at.recent_events) * 9 // 8


def _state_bound(at: Sample) -> float:
    return (
        _EMPTY_MB
        + _GROWN * (RECORD_BYTES * _most_records(at) + TEXT_BYTES * at.texts + ID_BYTES * at.held_events) / 1e6
    )


def _log_bound(at: Sample) -> float:
    """Entries kept; the oldest segment is only removed whole, the newest and the next are made ahead."""
    return (ENTRY_BYTES * at.held_events + 3 * _SEGMENT) / 1e6


def _wait_for_removal(log: Path) -> None:
    """Wait for what the log gives back beside, which takes seconds: an hour of the clock here may be as short."""
    deadline = time.monotonic() + _REMOVAL_S
    while time.monotonic() < deadline and any(log.glob("*.old")):
        time.sleep(0.01)


def _rss() -> float:
    """Resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _size(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6


def soak(results: Results, *, events: int, hours: int = 24, plot: Path | None = None) -> Soak:
    """A day of so many payments; figures, a table and a drawing of it."""
    with tempfile.TemporaryDirectory(prefix="parakh-soak-") as folder:
        done = Soak(Path(folder), Day(events, hours))
        done.run()
    results.add(*bounds(done.samples))
    results.add(
        Row("answers", f"{events:,} asked for, {done.refused:,} refused", "none refused", float(not done.refused)),
        Row(
            "a day took", f"{done.wall_s:,.0f} s, {1e6 * done.wall_s / events:,.0f} us an event with snapshots and log"
        ),
    )
    table = Table(
        "Hour by hour",
        (
            "hour",
            "events",
            "of 6 h",
            "records",
            "keys",
            "texts",
            "state MB",
            "RSS MB",
            "log MB",
            "files MB",
            "snapshots MB",
        ),
    )
    table.rows += [
        (
            str(at.hour), f"{at.events:,}", f"{at.held_events:,}", f"{at.records:,}", f"{at.keys:,}", f"{at.texts:,}",
            *(f"{size:,.0f}" for size in (at.state, at.rss, at.log, at.log_disk, at.snapshots)),
        )
        for at in done.samples
    ]  # fmt: skip
    table.note = (
        "Texts are those of all keys and compared fields that were ever seen: they alone go on growing, by the "
        "customers who are new."
    )
    results.tables.append(table)
    if plot is not None:
        plot.write_text(drawn(done.samples))
    return done


def drawn(samples: list[Sample]) -> str:
    """The day as an SVG."""
    shown = ("events of 6 h, thousands", [at.held_events / 1e3 for at in samples])
    sizes = [
        (f"{name}, MB", [float(getattr(at, field)) for at in samples])
        for name, field in (("memory of the process", "rss"), ("state", "state"), ("log, files", "log_disk"),
                            ("two snapshots", "snapshots"))
    ]  # fmt: skip
    return curves(TITLE, [at.hour for at in samples], [shown, *sizes])


def main(arguments: list[str] | None = None) -> Results:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.service.soak", description=__doc__.partition("\n")[0])
    parser.add_argument("--events", type=int, default=EVENTS)
    parser.add_argument("--plot", type=Path, help="draw the day into this SVG file")
    given = parser.parse_args(arguments)
    warm_up()
    results = Results(TITLE, "")
    soak(results, events=given.events, plot=given.plot)
    results.intro = (
        f"{machine()}\n{given.events:,} payments in 24 simulated hours through the desk, the log and the snapshots of "
        f"the service. Bounds: {RECORD_BYTES} bytes a record, {TEXT_BYTES} a text, {ID_BYTES} an id, tables half empty "
        f"at worst; {ENTRY_BYTES} bytes of log an event; {PROCESS_MB} MB for the process itself."
    )
    markdown = results.markdown()
    print(markdown)
    if given.events == EVENTS:
        keep_section(RESULTS, markdown, heading=HEADING)
    return results


if __name__ == "__main__":
    main()
