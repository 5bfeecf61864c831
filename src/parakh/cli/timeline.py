"""The past of a decision's keys: which events stood in which window. Drawn here for a terminal, in `report` for a page.

Time runs to the right on a logarithmic scale of age: ten minutes get as much room as ten days, as the windows do.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from parakh.cli.console import bold, clean, cut, cyan, dim, pad, red, width
from parakh.cli.words import length

__all__ = ["Axis", "Mark", "Strip", "Timeline", "draw"]

_SECOND = 1_000_000
_TICKS = (
    ("1s", _SECOND),
    ("10s", 10 * _SECOND),
    ("1m", 60 * _SECOND),
    ("10m", 600 * _SECOND),
    ("1h", 3_600 * _SECOND),
    ("6h", 6 * 3_600 * _SECOND),
    ("1d", 86_400 * _SECOND),
    ("7d", 7 * 86_400 * _SECOND),
    ("30d", 30 * 86_400 * _SECOND),
    ("90d", 90 * 86_400 * _SECOND),
    ("1y", 365 * 86_400 * _SECOND),
)
_SIGNS = ("• an event", "2-9 so many", "# more", "! known as fraud", "◆ this event", "├─┤ the window")


@dataclass(frozen=True, slots=True)
class Mark:
    """A past event: how old it was when the decision was made, and what to say of it."""

    age_us: int
    event_type: str
    text: str = ""
    fraud: bool | None = None  # what is known of it by now, where labels say
    current: bool = False  # the decided event itself


@dataclass(frozen=True, slots=True, kw_only=True)
class Strip:
    """One window over one key: the events that could stand in it, its two edges as ages, and the features it gives.

    A mark stands in the window where newest_us <= age < oldest_us; `oldest_us` None reaches back without end.
    `values` are the features read from this window, as (name, value in words).
    """

    window: str
    sources: tuple[str, ...]
    marks: tuple[Mark, ...]
    oldest_us: int | None
    newest_us: int = 0
    filter: str = ""
    values: tuple[tuple[str, str], ...] = ()

    def holds(self, mark: Mark) -> bool:
        return mark.age_us >= self.newest_us and (self.oldest_us is None or mark.age_us < self.oldest_us)

    @property
    def inside(self) -> tuple[Mark, ...]:
        return tuple(mark for mark in self.marks if self.holds(mark))


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """The strips of one key, the shortest window first."""

    entity: str
    key: str
    strips: tuple[Strip, ...]


class Axis:
    """A logarithmic scale of ages over a width: age 0 at the right, the oldest at the left.

    >>> axis = Axis(oldest_us=86_400_000_000)
    >>> axis.place(0), axis.place(86_400_000_000), 0 < axis.place(60_000_000) < 1
    (1.0, 0.0, True)
    """

    def __init__(self, *, oldest_us: int, unit_us: int = 5 * _SECOND) -> None:
        self.oldest_us = max(oldest_us, 60 * _SECOND)
        self._unit = unit_us
        self._span = math.log1p(self.oldest_us / unit_us)

    def place(self, age_us: int) -> float:
        """Where an age stands, from 0.0 (the oldest) to 1.0 (now)."""
        age = min(max(age_us, 0), self.oldest_us)
        return 1.0 - math.log1p(age / self._unit) / self._span

    def ticks(self, apart: float) -> list[tuple[str, float]]:
        """Marks of the scale that stand at least `apart` from one another and from both ends, newest first."""
        found: list[tuple[str, float]] = []
        last = 1.0
        for text, age in _TICKS:
            place = self.place(age)
            if age < self.oldest_us and last - place >= apart and place >= apart / 2:
                found.append((text, place))
                last = place
        return found

    @classmethod
    def of(cls, timelines: Sequence[Timeline]) -> Axis:
        """One scale for all strips, so that the same moment stands in the same column everywhere."""
        edges = [strip.oldest_us for timeline in timelines for strip in timeline.strips if strip.oldest_us is not None]
        ages = [mark.age_us for timeline in timelines for strip in timeline.strips for mark in strip.marks]
        return cls(oldest_us=max([*edges, *ages, 60 * _SECOND]) * 5 // 4)


def draw(timelines: Sequence[Timeline], columns: int) -> list[str]:
    """The timelines as lines of a terminal `columns` wide: one line a window, its length underlined.

    A dot is an event, a digit so many in one column, `!` that a fraud is known there, `◆` the decided event.
    """
    axis = Axis.of(timelines)
    # A terminal has room for the scale between the window's name and its values; the values give way first.
    name_columns = 10
    value_columns = max(22, min(46, columns // 3))
    scale = max(16, columns - name_columns - value_columns - 5)
    lines = [dim(pad("", name_columns + 3) + _ticks(axis, scale))]
    for timeline in timelines:
        key = cut(clean(timeline.key), max(8, columns - width(timeline.entity) - 4))
        lines.append(f"{bold(timeline.entity)} {cyan(key)}")
        said = ""
        for strip in timeline.strips:
            name = pad(cut(strip.window, name_columns), name_columns, ">")
            bar = _bar(strip, axis, scale)
            source = f"of {', '.join(strip.sources)}" + (f" where {strip.filter}" if strip.filter else "")
            first, *rest = _wrap(strip, "" if source == said else source, value_columns)
            said = source
            lines.append(f"  {dim(name)} {bar}  {first}")
            lines += [" " * (name_columns + scale + 5) + more for more in rest]
    return [*lines, *(dim(" " * (name_columns + 3) + line) for line in _key(columns - name_columns - 3))]


def _key(columns: int) -> list[str]:
    """What the signs mean, on as few lines as hold it."""
    lines = [""]
    for sign in _SIGNS:
        longer = f"{lines[-1]}   {sign}" if lines[-1] else sign
        if width(longer) <= columns or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(sign)
    return [cut(line, max(1, columns)) for line in lines]


def _ticks(axis: Axis, scale: int) -> str:
    cells = [" "] * scale
    for text, place in axis.ticks(6 / scale):
        at = min(scale - len(text) - 4, max(0, round(place * (scale - 1)) - len(text) // 2))
        if all(cell == " " for cell in cells[max(0, at - 1) : at + len(text) + 1]):
            cells[at : at + len(text)] = text
    cells[scale - 3 : scale] = "now"
    return "".join(cells).rstrip()


def _bar(strip: Strip, axis: Axis, scale: int) -> str:
    def column(age_us: int) -> int:
        return round(axis.place(age_us) * (scale - 1))

    left = 0 if strip.oldest_us is None else column(strip.oldest_us)
    right = column(strip.newest_us)
    crowd: list[list[Mark]] = [[] for _ in range(scale)]
    for mark in strip.marks:
        at = column(mark.age_us)
        # A mark near an edge is drawn on its own side of it, whatever the rounding says.
        at = min(max(at, left), right) if strip.holds(mark) else _outside(at, left, right, scale, mark, strip)
        if 0 <= at < scale:
            crowd[at].append(mark)
    open_end = strip.oldest_us is None or axis.place(strip.oldest_us) <= 0
    cells = []
    for at in range(scale):
        within = left <= at <= right
        marks = crowd[at]
        if not marks:
            edge = ("←" if open_end else "├") if at == left else "┤" if at == right else "─"
            cells.append(cyan(edge) if within else " ")
            continue
        text = _crowd(marks)
        if any(mark.current for mark in marks):
            cells.append(bold(text))
        elif any(mark.fraud for mark in marks):
            cells.append(red(text))
        else:
            cells.append(bold(text) if within else dim(text))
    return "".join(cells)


def _outside(at: int, left: int, right: int, scale: int, mark: Mark, strip: Strip) -> int:
    if mark.age_us < strip.newest_us:
        return min(scale - 1, max(at, right + 1))
    return min(at, left - 1)


def _crowd(marks: Sequence[Mark]) -> str:
    if any(mark.current for mark in marks):
        return "◆"
    if any(mark.fraud for mark in marks):
        return "!"  # not the colour alone: a pipe has none
    if len(marks) == 1:
        return "•"
    return str(len(marks)) if len(marks) < 10 else "#"


def _wrap(strip: Strip, source: str, columns: int) -> list[str]:
    """The values of a strip on as few lines as hold them; what it counts stands last, dimmed."""
    parts = []
    for name, value in strip.values:
        value = cut(clean(value), columns - 6)
        name = cut(name, columns - 1 - width(value))
        parts.append((f"{name} {value}", f"{name} {bold(value)}"))
    if source:
        source = cut(clean(source), columns)
        parts.append((source, dim(source)))
    lines = [""]
    used = 0
    for plain, styled in parts:
        if used and used + 2 + width(plain) > columns:
            lines.append("")
            used = 0
        lines[-1] += ("  " if used else "") + styled
        used += (2 if used else 0) + width(plain)
    return lines


def describe(strip: Strip) -> str:
    """A strip in a sentence, for readers who do not see the drawing.

    >>> describe(Strip(window="10m", sources=("payment",), marks=(Mark(0, "payment"),), oldest_us=600_000_000))
    '10m: 1 of payment; the newest now'
    """
    inside = sorted(strip.inside, key=lambda mark: mark.age_us)
    newest = ""
    if inside:
        newest = "; the newest now" if inside[0].age_us == 0 else f"; the newest {length(inside[0].age_us)} before"
    return f"{strip.window}: {len(inside)} of {', '.join(strip.sources)}{newest}"
