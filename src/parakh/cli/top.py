"""`parakh top`: a running server as it works, in the terminal: speed, outcomes, latencies, log, state and faults."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import click

from parakh.cli.console import OUTCOME_STYLES, Console, clean, dim, outcome
from parakh.cli.gauges import Figures, Reading, Times, figures, read
from parakh.cli.remote import connect, server_option
from parakh.cli.words import length, percent, plural, thousands

if TYPE_CHECKING:
    from rich.console import RenderableType

    from parakh.client import Client

__all__ = ["Watch", "command", "spark"]

_RICH = {"allow": "green", "challenge": "yellow", "review": "magenta", "block": "bold red"}
_BARS = "▁▂▃▄▅▆▇█"
_REMEMBERED = 60
_WINDOW = 10
"""Rates and quantiles are of so many readings: steady enough to be read, short enough to show what is going on."""
_FEW = 5


@click.command(
    short_help="A running server, live in the terminal.",
    epilog="\b\nExamples\n  parakh top\n  parakh top --server https://decisions.internal --interval 5\n"
    "  parakh top --once --json | jq .stages.commit.p99_ms",
)
@server_option
@click.option(
    "--interval", type=click.FloatRange(0.1, 3600), default=1.0, show_default=True, help="Seconds between readings."
)
@click.option("--once", is_flag=True, help="Print one view, of two readings an interval apart, and end.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout: one object, or one a line without --once.")
def command(server: str, interval: float, once: bool, as_json: bool) -> int:
    """Watch a running server: decisions a second, outcomes, latencies of each stage, log, snapshots and state.

    Rates and latencies are of the last ten readings, counts are since the server's start. Shown are names of the
    project and numbers, never an event. Ctrl-C ends it.
    """
    console = Console.stdout()
    with connect(server, timeout_s=max(2.0, interval)) as client:
        watch = Watch(clean(server))
        watch.take(_asked(client))
        if once:
            time.sleep(interval)
            watch.take(_asked(client))
            _print(watch, console, as_json)
            return 0
        try:
            if as_json or not console.terminal:
                for _ in _ticks(interval):
                    watch.ask(lambda: _asked(client))
                    _print(watch, console, as_json, brief=True)
            else:
                _watch_live(watch, lambda: _asked(client), interval, console)
        except KeyboardInterrupt:
            return 0
    return 0


def _asked(client: Client) -> Reading:
    from parakh.client import Unexpected

    text = client.metrics()
    try:
        reading = read(text, time.monotonic())
    except ValueError:
        reading = Reading(0.0, {})
    if not reading.values:
        raise Unexpected("no metrics of Parakh are at this address; is it that of a Parakh server?")
    return reading


def _ticks(interval: float) -> Iterator[None]:
    """One step an interval, without drifting; steps that were missed are left out."""
    due = time.monotonic()
    while True:
        due = max(due + interval, time.monotonic())
        time.sleep(max(0.0, due - time.monotonic()))
        yield


@dataclass(slots=True)
class Watch:
    """What has been read of a server by now, and whether it still answers."""

    server: str
    readings: deque[Reading] = field(default_factory=lambda: deque(maxlen=_WINDOW + 1))
    speeds: deque[float] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))
    silent: str = ""

    def ask(self, reading: Callable[[], Reading]) -> None:
        """Read once more; a server that does not answer is remembered as such."""
        from parakh.client import ClientError

        try:
            self.take(reading())
        except ClientError as error:
            self.silent = str(error)

    def take(self, reading: Reading) -> None:
        """Take a reading in."""
        self.silent = ""
        if self.readings:
            before = self.readings[-1]
            if _restarted(before, reading):
                self.readings.clear()
            else:
                self.speeds.append(figures(before, reading).decided_per_s or 0.0)
        self.readings.append(reading)

    @property
    def figures(self) -> Figures:
        """The figures of the window."""
        first = self.readings[0] if len(self.readings) > 1 else None
        return figures(first, self.readings[-1])

    @property
    def speed(self) -> float | None:
        """Decisions a second between the last two readings; None where there is one alone."""
        return self.speeds[-1] if self.speeds and len(self.readings) > 1 else None


def _restarted(before: Reading, after: Reading) -> bool:
    """Whether another process answers: its counts begin again."""
    name = "parakh_stage_seconds_count"
    return sum(after.by(name).values()) < sum(before.by(name).values())


def spark(values: Iterator[float] | deque[float] | list[float]) -> str:
    """Numbers as a line of bars, the largest at full height.

    >>> spark([0, 1, 2, 4])
    '▁▃▅█'
    """
    row = list(values)
    most = max(row, default=0.0)
    return "".join(_BARS[round((len(_BARS) - 1) * value / most) if most > 0 else 0] for value in row)


# -- plain text and JSON -----------------------------------------------------------------------------------------------


def _print(watch: Watch, console: Console, as_json: bool, *, brief: bool = False) -> None:
    if as_json:
        if watch.silent:
            told: dict[str, Any] = {"server": watch.server, "error": watch.silent}
        else:
            told = {"server": watch.server, "per_s": watch.speed, **asdict(watch.figures)}
        console.print(json.dumps(told, indent=None if brief else 2))
    elif watch.silent:
        console.print(f"no answer: {clean(watch.silent)}")
    elif brief:
        console.print(_line(watch))
    else:
        _print_view(watch, console)


def _line(watch: Watch) -> str:
    """The state in one line, for where there is no terminal."""
    seen = watch.figures
    stages = " ".join(f"{name} {_ms(times.p99_ms)}" for name, times in seen.stages.items() if times.count)
    return (
        f"{_rate(watch.speed)} decisions/s; p99 {stages or '–'}; queue {seen.queue_depth or 0}; "
        f"degraded {sum(seen.degraded.values())}; version {clean(seen.version[:12])}"
    )


def _print_view(watch: Watch, console: Console) -> None:
    seen = watch.figures
    console.print(f"{clean(seen.project)}  version {clean(seen.version[:12])}  {dim(watch.server)}", "")
    console.table([[name, value, dim(note)] for name, value, note, _ in _cells(watch, seen)], align="<><")
    console.print("")
    rows = [
        [clean(event_type), *(thousands(row[word]) for word in OUTCOME_STYLES)]
        for event_type, row in seen.decisions.items()
        if any(row.values())
    ]
    console.table(rows, header=["decisions", *(outcome(word) for word in OUTCOME_STYLES)], align="<>>>>")
    console.print("")
    rows = [[name, thousands(times.count), _ms(times.p50_ms), _ms(times.p99_ms)] for name, times in _timed(seen)]
    console.table(rows, header=["time in", "count", "p50", "p99"], align="<>>>")
    console.print("")
    console.table([[name, clean(text)] for name, text in _facts(seen)])


# -- what is said, wherever it is shown --------------------------------------------------------------------------------


def _cells(watch: Watch, seen: Figures) -> list[tuple[str, str, str, str]]:
    """The large figures: name, value, note, style."""
    decided = sum(sum(row.values()) for row in seen.decisions.values())
    degraded = sum(seen.degraded.values())
    request = seen.routes.get("/v1/decisions/{event_type}") or _slowest(seen.routes)
    queue = "–" if seen.queue_depth is None else thousands(seen.queue_depth)
    p99 = _ms(request.p99_ms) if request is not None else "–"
    p50 = f"p50 {_ms(request.p50_ms)}" if request is not None else ""
    return [
        ("decisions/s", _rate(watch.speed), f"{thousands(decided)} since the start", "bold"),
        ("p99 of a request", p99, p50, "bold"),
        ("waiting", queue, f"{thousands(seen.shed)} sent away" if seen.shed else "none sent away", "bold"),
        (
            "degraded/s",
            _rate(seen.degraded_per_s),
            f"{thousands(degraded)} since the start",
            _amiss(seen.degraded_per_s),
        ),
        ("state", _size(seen.state_bytes), _of_limit(seen), _full(seen)),
    ]


def _slowest(routes: Mapping[str, Times]) -> Times | None:
    return max(routes.values(), key=lambda times: times.count, default=None)


def _timed(seen: Figures) -> list[tuple[str, Times]]:
    """The stages, then the busiest routes."""
    routes = sorted((item for item in seen.routes.items() if item[1].count), key=lambda item: -item[1].count)
    return [*seen.stages.items(), *((clean(name), times) for name, times in routes[:_FEW])]


def _facts(seen: Figures) -> list[tuple[str, str]]:
    """What else there is to say, a line each; what is amiss last, where it is found."""
    growth = f", {_size(seen.log_bytes_per_s)}/s" if seen.log_bytes_per_s is not None else ""
    behind = f", {_size(seen.snapshot_behind_bytes)} behind" if seen.snapshot_behind_bytes is not None else ""
    age = length(int(seen.snapshot_age_s) * 1_000_000) + " old" if seen.snapshot_age_s is not None else "none yet"
    facts = [
        ("log", f"{_size(seen.log_bytes)} durable{growth}"),
        ("snapshot", f"{age}{behind}"),
        ("state", f"{_count(seen.state_records)} records of {_count(seen.state_keys)} keys"),
        ("events", ", ".join(f"{thousands(count)} {status}" for status, count in seen.events.items()) or "none"),
        ("rules", _most(seen.rules) or "none hit"),
    ]
    if seen.webhooks_pending is not None:
        dead = f", {thousands(seen.webhooks_dead)} given up" if seen.webhooks_dead else ""
        facts.append(("webhooks", f"{thousands(seen.webhooks_pending)} wait{dead}"))
    for name, counts in (("refused", seen.refused), ("degraded", seen.degraded)):
        if counts:
            facts.append((name, _most(counts)))
    opened = [f"{name} {state}" for name, state in seen.breakers.items() if state != "closed"]
    return [*facts, ("breakers", ", ".join(opened))] if opened else facts


def _most(counts: Mapping[str, int]) -> str:
    shown = [f"{name} {thousands(count)}" for name, count in list(counts.items())[:_FEW]]
    more = [plural(len(counts) - _FEW, "more", "more")] if len(counts) > _FEW else []
    return ", ".join(shown + more)


def _rate(per_s: float | None) -> str:
    if per_s is None:
        return "–"
    return thousands(round(per_s)) if per_s >= 10 or per_s == 0 else f"{per_s:.1f}"


def _ms(milliseconds: float | None) -> str:
    """A time in milliseconds.

    >>> _ms(0.1234), _ms(7.5), _ms(1234.5), _ms(None)
    ('0.12 ms', '7.5 ms', '1.23 s', '–')
    """
    if milliseconds is None:
        return "–"
    if milliseconds >= 1000:
        return f"{milliseconds / 1000:.2f} s"
    return f"{milliseconds:.{2 if milliseconds < 1 else 1}f} ms"


def _size(size: float | None) -> str:
    """A number of bytes.

    >>> _size(1536), _size(3 * 2**30), _size(None)
    ('1.5 KB', '3.0 GB', '–')
    """
    if size is None:
        return "–"
    for bound, unit in ((2**30, "GB"), (2**20, "MB"), (2**10, "KB")):
        if size >= bound:
            return f"{size / bound:.1f} {unit}"
    return f"{size:.0f} B"


def _count(number: int | None) -> str:
    return "–" if number is None else thousands(number)


def _of_limit(seen: Figures) -> str:
    if seen.state_bytes is None or not seen.state_limit_bytes:
        return ""
    return f"{percent(seen.state_bytes, seen.state_limit_bytes)} of {_size(seen.state_limit_bytes)}"


def _amiss(per_s: float | None) -> str:
    return "bold red" if per_s else "bold"


def _full(seen: Figures) -> str:
    share = (seen.state_bytes or 0) / seen.state_limit_bytes if seen.state_limit_bytes else 0.0
    return "bold red" if share > 0.9 else "bold"


# -- the live view -----------------------------------------------------------------------------------------------------


def _watch_live(watch: Watch, asked: Callable[[], Reading], interval: float, console: Console) -> None:
    from rich.console import Console as RichConsole
    from rich.live import Live

    rich = RichConsole(file=console.stream, no_color=not console.color, force_terminal=True)
    with Live(_view(watch), console=rich, auto_refresh=False, screen=True) as live:
        for _ in _ticks(interval):
            watch.ask(asked)
            live.update(_view(watch), refresh=True)


def _view(watch: Watch) -> RenderableType:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    seen = watch.figures
    head = Table.grid(expand=True, padding=(0, 1))
    head.add_column(ratio=1, no_wrap=True)
    head.add_column(justify="right", no_wrap=True)
    title = Text(clean(seen.project), style="bold").append(f"  version {clean(seen.version[:12])}", style="dim")
    head.add_row(title, Text(watch.server, style="dim"))
    told = Text(f"no answer: {clean(watch.silent)}", style="bold red") if watch.silent else Text("")
    large = Table.grid(expand=True, padding=(0, 2, 0, 0))
    cells = _cells(watch, seen)
    for _ in cells:
        large.add_column(ratio=1, no_wrap=True)
    large.add_row(*(Text(value, style=style) for _, value, _, style in cells))
    large.add_row(*(Text(name) for name, _, _, _ in cells))
    large.add_row(*(Text(note, style="dim") for _, _, note, _ in cells))
    line = Text(spark(watch.speeds), style="cyan", no_wrap=True)
    facts = Table.grid(padding=(0, 2))
    for name, text in _facts(seen):
        bad = name in ("degraded", "breakers") or "given up" in text
        facts.add_row(Text(name, style="dim"), Text(clean(text), style="red" if bad else ""))
    blank = Text("")
    return Group(head, told, large, line, blank, _outcomes(seen), blank, _latencies(seen), blank, facts)


def _outcomes(seen: Figures) -> RenderableType:
    from rich.table import Table

    table = Table(box=None, padding=(0, 2), header_style="dim", pad_edge=False)
    table.add_column("decisions/s")
    for word in OUTCOME_STYLES:
        table.add_column(word, justify="right", style=_RICH[word], min_width=9)
    table.add_column("since the start", justify="right", style="dim")
    for event_type, row in seen.decisions.items():
        if not any(row.values()):
            continue  # a type that is only taken in
        rates = (seen.decisions_per_s or {}).get(event_type, {})
        shown = (_rate(rates.get(word)) for word in OUTCOME_STYLES)
        table.add_row(clean(event_type), *shown, thousands(sum(row.values())))
    return table


def _latencies(seen: Figures) -> RenderableType:
    from rich.table import Table

    table = Table(box=None, padding=(0, 2), header_style="dim", pad_edge=False)
    table.add_column("time in")
    for name in ("p50", "p99", "count"):
        table.add_column(name, justify="right", min_width=9, style="dim" if name == "count" else "")
    for name, times in _timed(seen):
        table.add_row(name, _ms(times.p50_ms), _ms(times.p99_ms), thousands(times.count))
    return table
