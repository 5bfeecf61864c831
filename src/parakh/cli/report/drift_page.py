"""The page of `parakh drift`: what has changed, alarms, a grid of inputs by week, rates with what chance explains."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from parakh.cli.report.charts import table
from parakh.cli.report.data import Figure
from parakh.cli.report.document import Section, document
from parakh.cli.report.html import Markup, element
from parakh.cli.report.plots import Series, bars, heat, histogram, over_time
from parakh.cli.words import plural, thousands
from parakh.decisions.definition import DAY_US
from parakh.learning.changes.drift import ALARM, WATCH, told
from parakh.learning.changes.tracks import Track
from parakh.learning.changes.watching import Drift
from parakh.learning.history import History

__all__ = ["render"]

_MOST_INPUTS = 24
_WORST = 6
_MOST_RULES = 8
_MOST_PERIODS = 26


def render(found: Drift, history: History, *, project: str, past: Sequence[Mapping[str, Any]]) -> str:
    """The whole page as text. The same findings give the same page."""
    sections = [
        Section("Alarms", "What is beyond its bound and beyond chance now", [_alarms(found)]),
        Section(
            "Inputs",
            f"How far each is from the reference, by {found.every}: above {WATCH:g} it may be drifting, above "
            f"{ALARM:g} it has",
            _inputs(found),
        ),
        Section("Those that moved most", f"Their values then, and in the newest {found.every}", _worst(found)),
        Section("Scores", "What the models said of the events, then and now", _scores(found, history)),
        Section(
            "Rates",
            "What was before, and what is watched; shaded is what chance explains, days as they vary included",
            _rates(found, history),
        ),
    ]
    alarms, watched = len(found.alarming), len(found.alarms) - len(found.alarming)
    against = f"the card of {found.model}" if found.model else f"{plural(found.reference, 'event')} before"
    figures = [
        Figure("alarms", thousands(alarms), "beyond bound and chance", "bad" if alarms else "good"),
        Figure("to be watched", thousands(watched), "beyond chance"),
        Figure("events", thousands(int(found.events.sum())), f"in {plural(found.periods.size, found.every)}"),
        Figure("things watched", thousands(len(found.tracks)), "allowed for in each bound"),
    ]
    return document(
        title=f"{project}: drift of {found.event_type}",
        subtitle=f"Since {found.day(found.since_us)}, held against {against}.",
        figures=figures,
        sections=sections,
        facts=_facts(found, history, past),
    )


def _alarms(found: Drift) -> Markup:
    if not found.alarms:
        return element("p", "None: nothing has changed beyond chance.", class_="note")
    rows = [
        (
            element("b", item.level, class_="bad" if item.level == "alarm" else None),
            item.text,
            _number(item.value),
            _number(item.bound),
        )
        for item in found.alarms
    ]
    return table(("", "What", "Is", "Bound"), rows, caption="Alarms", numbers=2)


def _inputs(found: Drift) -> list[Markup]:
    tracks = _by_distance(found.of_kind("stability"))
    if not tracks:
        return []
    shown = tracks[:_MOST_INPUTS]
    kept = slice(max(0, found.periods.size - _MOST_PERIODS), None)
    names = [found.day(at)[5:] for at in found.periods[kept].tolist()]
    rest = len(tracks) - len(shown)
    note = f"Population stability index, by the {found.every} that begins on the day" + (
        f"; the {len(shown)} farthest of {len(tracks)}" if rest else ""
    )
    grid = np.stack([item.value[kept] for item in shown])
    parts = [heat([item.subject for item in shown], names, np.round(grid, 2), title="Spread", note=note)]
    missing = [item for item in found.of_kind("missing") if item.last is not None]
    moved = sorted(missing, key=lambda item: -abs(_change(item)))[:_MOST_INPUTS]
    moved = [item for item in moved if abs(_change(item)) >= 0.001]
    if moved:
        parts.append(
            bars(
                [item.subject for item in moved],
                [100 * _change(item) for item in moved],
                title="Missing values",
                x="points more or fewer",
                note=f"The newest {found.every} against the reference, in percentage points",
            )
        )
    return parts


def _worst(found: Drift) -> list[Markup]:
    tables = [_then_and_now(item) for item in _by_distance(found.of_kind("stability"))[:_WORST]]
    return [element("div", *tables, class_="plots")] if tables else []


def _then_and_now(track: Track) -> Markup:
    """The shares of an input's bins in the reference and in the newest period, as bars beside each other."""
    last = track.last
    assert last is not None, "only what was counted has a distance"
    assert track.baseline is not None, "an input's spread has a baseline"
    assert track.counts is not None, "an input's spread has counts"
    then = track.baseline.expected / track.baseline.expected.sum()
    now = track.counts[last] / track.counts[last].sum()
    most = max(float(then.max()), float(now.max()))
    used = [i for i in range(then.size) if then[i] or now[i]]
    rows = [
        (name, _meter(float(then[i]), most, "plain"), _meter(float(now[i]), most, "good"))
        for i, name in enumerate(track.baseline.names)
        if i in used
    ]
    said = f"index {track.value[last]:.2f}" + (
        f"; mean {told(track.baseline.mean)} then, {told(float(track.mean[last]))} now"
        if track.baseline.mean is not None and track.mean is not None and not math.isnan(track.mean[last])
        else ""
    )
    return element(
        "figure",
        element("figcaption", element("strong", track.subject), element("span", said, class_="note")),
        element("div", table(("values", "then", "now"), rows, caption=track.subject, numbers=9), class_="scroll"),
        class_="chart",
    )


def _scores(found: Drift, history: History) -> list[Markup]:
    parts = []
    before, after = history.time_us < found.since_us, history.time_us >= int(found.periods[-1])
    for name, score in history.scores.items():
        held = {f"newest {found.every}": score[after]}
        if before.any():
            held = {"before": score[before]} | held
        if any(np.isfinite(values).any() for values in held.values()):
            parts.append(histogram(held, title=name, x="score"))
    return parts


def _rates(found: Drift, history: History) -> list[Markup]:
    rules = sorted(
        (item for item in found.of_kind("hit_rate") if item.last is not None),
        key=lambda item: (-int(item.state.max()), -float(np.nansum(item.value * item.count))),
    )
    hit = [item for item in rules if np.nansum(item.value) or item.reference]
    shown = [*found.of_kind("label_rate"), *found.of_kind("received"), *hit[:_MOST_RULES]]
    return [_rate(item, found, history) for item in shown if item.last is not None]


def _rate(track: Track, found: Drift, history: History) -> Markup:
    words = {
        "label_rate": (f"{track.subject} of matured events", "% of matured"),
        "received": (f"{track.subject} events", "events a day"),
        "hit_rate": (f"rule {track.subject}", "% of events"),
    }
    title, unit = words[track.kind]
    scale = 1.0 if track.kind == "received" else 100.0
    at, value = found.periods, scale * track.value
    finite = np.isfinite(track.low) & np.isfinite(track.high)
    low, high = (np.where(finite, scale * bound, np.nan) for bound in (track.low, track.high))
    series = [Series("watched", at, value, low, high)]
    earlier, rates = _before(track, found, history)
    if earlier.size:
        series.append(Series("before", earlier, scale * rates))
    return over_time(series, title=title, y=unit, note=f"{unit}, by {found.every}")


def _before(track: Track, found: Drift, history: History) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """The same rate before what is watched, in whole weeks or days counted back from there: their beginnings, rates."""
    length = DAY_US * (days := 7 if found.every == "week" else 1)
    whole = int(min(max(0, (found.since_us - int(history.time_us.min())) // length), _MOST_PERIODS))
    starts = found.since_us - length * np.arange(whole, 0, -1)
    all_of_them = np.ones(len(history), np.bool_)
    of = history.matured if track.kind == "label_rate" else all_of_them
    place = (history.time_us - found.since_us) // length + whole
    rows = np.flatnonzero(of & (place >= 0) & (history.time_us < found.since_us))
    events = np.bincount(place[rows], minlength=whole).astype(np.float64)
    if track.kind == "received":
        return starts, events / days
    names = [rule.name for rule in history.rules]
    hits = history.fraud if track.kind == "label_rate" else history.hit(names.index(track.subject))
    rate = np.divide(
        np.bincount(place[rows], hits[rows], minlength=whole), events, out=np.full(whole, np.nan), where=events > 0
    )
    return starts, rate


def _by_distance(tracks: Sequence[Track]) -> list[Track]:
    counted = [item for item in tracks if item.last is not None]
    return sorted(counted, key=lambda item: (-float(item.value[item.last or 0]), item.subject))


def _change(track: Track) -> float:
    last = track.last
    return 0.0 if last is None or math.isnan(track.reference) else float(track.value[last]) - track.reference


def _meter(share: float, most: float, tone: str) -> Markup:
    wide = 100 * share / most if most else 0
    bar = element("span", element("i", style=f"width:{wide:.1f}%"), class_=f"meter {tone}", aria_hidden="true")
    return element("span", bar, element("span", f"{100 * share:.1f} %", class_="n"), class_="measured")


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _facts(found: Drift, history: History, past: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    refused = ", ".join(f"{reason} {thousands(count)}" for reason, count in found.received["quarantined"].items())
    return [
        ("Project", history.project_hash[:12]),
        ("From", ", ".join(" ".join(map(str, item.values())) for item in past)),
        ("Received", f"{thousands(found.received['received'])}, {thousands(found.received['accepted'])} accepted"),
        ("Quarantined", refused or "none"),
        ("Label", f"{found.label}, of matured events alone"),
        ("Chance", "5 % for any alarm at all where nothing has changed"),
    ]
