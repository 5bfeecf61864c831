"""The live view of a replay: speed, outcomes, money, the latest stops with their reasons; lines without a terminal."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from parakh.cli.console import OUTCOME_STYLES, Console, clean, cut, dim, outcome
from parakh.cli.verdicts import Facts, Verdicts
from parakh.cli.words import moment, money, percent, short_money, thousands
from parakh.decisions.decisions import Decision, Decisions
from parakh.decisions.parts import Part
from parakh.rules.definition import Rule

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

__all__ = ["LiveView", "Stop"]

_RICH = {"allow": "green", "challenge": "yellow", "review": "magenta", "block": "bold red"}
_LATEST = 9
_LINE_EVERY_S = 5.0


@dataclass(frozen=True, slots=True)
class Stop:
    """An event that was not allowed, as the view shows it."""

    time_us: int
    event_type: str
    event_id: str
    outcome: str
    amount: str
    why: str
    fraud: bool | None


@dataclass(slots=True)
class LiveView:
    """Shows a replay as it runs; `take` is called for each batch. Use it as a context.

    `pace_s` is how long a whole replay is made to last on a terminal, so that it can be watched; the speed that is
    shown is that of the engine alone, waiting and drawing left out.
    """

    console: Console
    verdicts: Verdicts
    facts: Mapping[str, Facts]
    rules: Mapping[str, Rule]
    currency: str
    title: str
    pace_s: float = 0.0
    events: int = 0
    engine_s: float = 0.0
    share: float = 0.0
    clock_us: int = 0
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    latest: deque[Stop] = field(default_factory=lambda: deque(maxlen=_LATEST))
    _live: Live | None = None
    _began: float = 0.0
    _left: float = 0.0
    _said: float = 0.0

    def __enter__(self) -> LiveView:
        self._began = self._left = self._said = time.monotonic()
        if self.console.terminal:
            from rich.console import Console as RichConsole
            from rich.live import Live

            rich = RichConsole(file=self.console.stream, no_color=not self.console.color, force_terminal=True)
            self._live = Live(self._draw(), console=rich, refresh_per_second=8, transient=True)
            self._live.start()
        self._left = time.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.update(self._draw())
            self._live.stop()

    @property
    def speed(self) -> int:
        """Events a second of the engine."""
        return round(self.events / self.engine_s) if self.engine_s else 0

    def take(self, decisions: Decisions, events: int, share: float | None) -> None:
        """Count a batch and show it; `events` and `share` are what has been read by now."""
        self.engine_s += time.monotonic() - self._left
        self.events = events
        self.share = share if share is not None else self.share
        self.verdicts.take(decisions)
        for event_type, row in decisions.counts().items():
            kept = self.counts.setdefault(event_type, dict.fromkeys(OUTCOME_STYLES, 0))
            for word, count in row.items():
                kept[word] += count
        self._gather(decisions)
        if self._live is not None:
            self._live.update(self._draw())
            self._wait()
        elif time.monotonic() - self._said >= _LINE_EVERY_S:
            self._said = time.monotonic()
            self.console.print(dim(self.line()))
        self._left = time.monotonic()

    def _wait(self) -> None:
        ahead = self.pace_s * self.share - (time.monotonic() - self._began)
        if ahead > 0:
            time.sleep(min(ahead, 1.0))

    def _gather(self, decisions: Decisions) -> None:
        """Keep the last stops of the batch."""
        stops: list[tuple[int, Part, int]] = []
        for part in decisions.parts:
            self.clock_us = max(self.clock_us, int(part.event_time_us.max(initial=0)))
            stopped = np.flatnonzero(part.judgement.outcome > 0)[-_LATEST:]
            stops += [(int(part.position[i]), part, int(i)) for i in stopped]
        for position, part, i in sorted(stops, key=lambda stop: stop[0])[-_LATEST:]:
            self.latest.append(self._stop(decisions[position], part, i))

    def _stop(self, decision: Decision, part: Part, i: int) -> Stop:
        facts = self.facts.get(decision.event_type)
        amount, fraud = "", None
        row = int(facts.ids.find(part.id_hi[i : i + 1], part.id_lo[i : i + 1])[0]) if facts is not None else -1
        if facts is not None and row >= 0:
            amount = money(int(facts.amount[row]), facts.currency)
            known = int(facts.fraud[row])
            fraud = None if known < 0 else known == 1
        kind, name = decision.decided_by
        rule = self.rules.get(name) if kind == "rule" else None
        why = (rule.text or rule.name) if rule is not None else f"score {decision.score or 0:.2f}"
        return Stop(
            int(part.event_time_us[i]), decision.event_type, decision.event_id, decision.outcome, amount, why, fraud
        )

    def line(self) -> str:
        """The state in one line."""
        totals = self.verdicts.totals
        return (
            f"{moment(self.clock_us)}  {thousands(self.events)} events, {thousands(self.speed)}/s; "
            f"{thousands(totals.stopped)} stopped, {short_money(totals.fraud_amount_stopped, self.currency)} of fraud "
            f"caught ({percent(totals.fraud_amount_stopped, totals.fraud_amount)})"
        )

    def lines(self) -> list[str]:
        """The latest stops as plain lines, for where there is no live view."""
        return [
            f"  {moment(stop.time_us)}  {outcome(stop.outcome)}  {stop.event_type} {clean(stop.event_id)}  "
            f"{stop.amount}  {clean(stop.why)}"
            for stop in self.latest
        ]

    def _draw(self) -> RenderableType:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        head = Table.grid(expand=True, padding=(0, 1))
        head.add_column(ratio=1)
        head.add_column(justify="right")
        clock = moment(self.clock_us) if self.clock_us else ""
        head.add_row(Text(self.title, style="bold"), Text(clock, style="dim"))
        bar = ProgressBar(total=1.0, completed=self.share, width=None)
        return Group(head, bar, Text(""), self._figures(), Text(""), self._outcomes(), Text(""), self._stops())

    def _figures(self) -> RenderableType:
        totals = self.verdicts.totals
        caught, passed, whole = totals.fraud_amount_stopped, totals.fraud_amount_passed, totals.fraud_amount
        return _columns(
            [
                (thousands(self.speed), "events/s", "one core", "bold"),
                (thousands(self.events), "events", f"{thousands(totals.decided)} decided", "bold"),
                (short_money(caught, self.currency), "fraud caught", percent(caught, whole), "bold green"),
                (short_money(passed, self.currency), "fraud passed", percent(passed, whole), "bold red"),
                (percent(totals.good_stopped, totals.good), "good stopped", "of good events", "bold yellow"),
            ]
        )

    def _outcomes(self) -> RenderableType:
        from rich.table import Table

        table = Table(box=None, padding=(0, 2), header_style="dim", pad_edge=False)
        table.add_column("outcome")
        for word in OUTCOME_STYLES:
            table.add_column(word, justify="right", style=_RICH[word], min_width=9)
        for event_type, row in self.counts.items():
            table.add_row(event_type, *(thousands(row[word]) for word in OUTCOME_STYLES))
        return table

    def _stops(self) -> RenderableType:
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, padding=(0, 1), header_style="dim", pad_edge=False, expand=True)
        for name, justify in (("latest stops", "left"), ("", "left"), ("", "right")):
            table.add_column(name, justify="right" if justify == "right" else "left", no_wrap=True)
        table.add_column("", no_wrap=True, ratio=1)
        table.add_column("in truth", no_wrap=True)
        for stop in reversed(self.latest):
            truth = "" if stop.fraud is None else "fraud" if stop.fraud else "good"
            table.add_row(
                Text(stop.outcome, style=_RICH[stop.outcome]),
                Text(moment(stop.time_us)[11:], style="dim"),
                Text(stop.amount),
                Text(cut(clean(stop.why), 60)),
                Text(truth, style="red" if stop.fraud else "dim"),
            )
        for _ in range(_LATEST - len(self.latest)):
            table.add_row("", "", "", "", "")
        return table


def _columns(cells: list[tuple[str, str, str, str]]) -> Any:
    """Figures side by side, each over its name and a note."""
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(expand=True, padding=(0, 2, 0, 0))
    for _ in cells:
        grid.add_column(ratio=1, no_wrap=True)
    grid.add_row(*(Text(value, style=style) for value, _, _, style in cells))
    grid.add_row(*(Text(name) for _, name, _, _ in cells))
    grid.add_row(*(Text(note, style="dim") for _, _, note, _ in cells))
    return grid
