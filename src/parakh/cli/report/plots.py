"""Plots of measured curves and spreads as inline SVG: the same bytes for the same numbers, in the page's own colours.

Matplotlib draws them; `plot_text` takes from its output what an HTML page should not have. Every plot has a title, and
its numbers as a table below it. Text of the user is shown as it is, never read as a formula.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from parakh.cli.report.charts import figure, table
from parakh.cli.report.html import Markup, element
from parakh.cli.report.plot_text import FAINT, INK, LESS, LINE, MORE, SOFT, coloured, colours, in_page, said, short
from parakh.learning.extra import needed

__all__ = ["Series", "bars", "heat", "histogram", "lines", "over_time"]

_WIDTH = 5.0  # inches of 72 units: 360 across, so that 10 units of text stay legible on a phone
_HEIGHT = 3.0
_SHOWN = 24  # rows of a series in the table of numbers
_RC = {
    "svg.fonttype": "none",
    "svg.hashsalt": "parakh",
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.parse_math": False,
    "text.color": SOFT,
    "axes.labelcolor": SOFT,
    "axes.edgecolor": SOFT,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.7,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "lines.linewidth": 2.0,
    "lines.solid_capstyle": "round",
    "path.simplify": False,
    "timezone": "UTC",
}


@dataclass(frozen=True, slots=True)
class Series:
    """A line: `x` and `y` of one length, NaN where it has a gap; `low` to `high` is shaded where both are given."""

    name: str
    x: npt.ArrayLike
    y: npt.ArrayLike
    low: npt.ArrayLike | None = None
    high: npt.ArrayLike | None = None
    dashed: bool = False


def lines(
    series: Sequence[Series],
    *,
    title: str,
    x: str,
    y: str,
    log_x: bool = False,
    identity: bool = False,
    markers: Sequence[tuple[float, str]] = (),
    note: str = "",
) -> Markup:
    """Curves over a number. `identity` adds the line x = y, `markers` upright lines at (x, name).

    Points that are not finite are gaps; on `log_x`, so are those at or below 0. Raises InputError where the extra is
    missing, as all plots do.
    """

    def draw(axes: Any) -> None:
        if identity:
            axes.plot([0, 1], [0, 1], color=SOFT, linewidth=1, linestyle=(0, (2, 3)), zorder=1)
        _curves(axes, series, positive=log_x)
        for place, name in markers:
            axes.axvline(place, color=SOFT, linewidth=1, linestyle=(0, (4, 3)))
            axes.annotate(
                short(name, 24), (place, 1), xycoords=("data", "axes fraction"), xytext=(4, -2),
                textcoords="offset points", va="top", fontsize=9,
            )  # fmt: skip
        axes.set_xlabel(short(x, 48))
        axes.set_ylabel(short(y, 32))
        if log_x:
            axes.set_xscale("log")
        _ticks(axes, "x", log=log_x)
        _ticks(axes, "y")

    numbers = table(("Series", x, y, "from", "to"), [row for item in series for row in _rows(item, said)], numbers=1)
    return _plot(draw, title, note or f"{y} over {x}", numbers, _key(series), empty=not _any(series))


def over_time(series: Sequence[Series], *, title: str, y: str, note: str = "") -> Markup:
    """Curves over time; `x` is in microseconds UTC."""

    def draw(axes: Any) -> None:
        dates = needed("matplotlib.dates")
        _curves(axes, series, time=True)
        locator = dates.AutoDateLocator(minticks=3, maxticks=6)
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator))
        axes.set_ylabel(short(y, 32))
        _ticks(axes, "y")

    def when(value: float) -> str:
        return str(np.datetime64(int(value), "us").astype("datetime64[m]")).replace("T", " ")

    numbers = table(("Series", "Time", y, "from", "to"), [row for item in series for row in _rows(item, when)])
    return _plot(draw, title, note or f"{y} over time, UTC", numbers, _key(series), empty=not _any(series))


def bars(
    labels: Sequence[str],
    values: npt.ArrayLike,
    *,
    title: str,
    x: str,
    horizontal: bool = True,
    low: npt.ArrayLike | None = None,
    high: npt.ArrayLike | None = None,
    note: str = "",
) -> Markup:
    """A bar a label, the first on top (or to the left); `x` names the values, `low` to `high` is a whisker."""
    size = _numbers(values)
    ends = None if low is None or high is None else np.stack([_numbers(low), _numbers(high)])
    there = np.isfinite(size)

    def draw(axes: Any) -> None:
        place = np.arange(size.size)
        bar = axes.barh if horizontal else axes.bar
        bar(place[there], size[there], 0.68, color=[MORE if v >= 0 else LESS for v in size[there]])
        if ends is not None:
            known = there & np.isfinite(ends).all(axis=0)
            whisker = axes.hlines if horizontal else axes.vlines
            whisker(place[known], *ends[:, known], color=SOFT, linewidth=1.4)
        names = [short(label, 26 if horizontal else 14) for label in labels]
        if horizontal:
            axes.set_yticks(place, names)
            axes.set_ylim(size.size - 0.4, -0.6)
            axes.set_xlabel(short(x, 48))
        else:
            steep = sum(map(len, names)) > 44
            axes.set_xticks(place, names, rotation=40 if steep else 0, ha="right" if steep else "center")
            axes.set_ylabel(short(x, 32))
        axes.grid(visible=False, axis="y" if horizontal else "x")
        _ticks(axes, "x" if horizontal else "y")

    whiskers = [("", "")] * size.size if ends is None else [(said(a), said(b)) for a, b in ends.T]
    rows = [(label, said(value), *pair) for label, value, pair in zip(labels, size, whiskers)]
    height = max(1.2, 0.6 + 0.27 * size.size) if horizontal else _HEIGHT
    return _plot(draw, title, note or x, table(("", x, "from", "to"), rows), empty=not there.any(), height=height)


def histogram(
    groups: Mapping[str, npt.ArrayLike], *, title: str, x: str, bins: int = 40, log_y: bool = True, note: str = ""
) -> Markup:
    """How the values of each group spread over the same bins; values that are not finite are left out."""
    held = {name: values[np.isfinite(values)] for name, values in ((n, _numbers(v)) for n, v in groups.items())}
    everything = np.concatenate([*held.values(), np.zeros(0)])
    edges = np.histogram_bin_edges(everything, bins) if everything.size else np.linspace(0, 1, bins + 1)
    counts = {name: np.histogram(values, edges)[0] for name, values in held.items()}

    inks = colours(counts)

    def draw(axes: Any) -> None:
        base = 0.5 if log_y else 0
        for count, ink in zip(counts.values(), inks):
            axes.stairs(np.maximum(count, base), edges, baseline=base, fill=True, color=ink, alpha=0.3, linewidth=0)
            axes.stairs(np.maximum(count, base), edges, baseline=base, color=ink, linewidth=1.6)
        if log_y:
            axes.set_yscale("log")
            axes.set_ylim(bottom=0.5)
        axes.set_xlabel(short(x, 48))
        axes.set_ylabel("events")
        _ticks(axes, "x")
        _ticks(axes, "y", log=log_y)

    rows = [
        (f"{said(edges[i])} to {said(edges[i + 1])}", *(f"{count[i]:,}" for count in counts.values()))
        for i in range(edges.size - 1)
        if any(count[i] for count in counts.values())
    ]
    words = note or f"Events by {x}" + (", on a scale of powers of ten" if log_y else "")
    key = _keys([(f"{name} {values.size:,}", ink, False) for (name, values), ink in zip(held.items(), inks)])
    return _plot(draw, title, words, table((x, *counts), rows), key, empty=not everything.size)


def heat(rows: Sequence[str], columns: Sequence[str], values: npt.ArrayLike, *, title: str, note: str = "") -> Markup:
    """A grid of `values[row, column]`, the stronger the further from 0; negative ones in another colour, NaN blank."""
    grid = _numbers(values).reshape(len(rows), len(columns))
    most = float(np.nanmax(np.abs(grid), initial=0.0)) or 1.0
    written = len(columns) <= 9

    def draw(axes: Any) -> None:
        patches = needed("matplotlib.patches")
        for (i, j), value in np.ndenumerate(grid):
            known = bool(np.isfinite(value))
            ink = FAINT if not known else MORE if value >= 0 else LESS
            strength = 0.08 + 0.62 * abs(float(value)) / most if known else 0.6
            axes.add_patch(patches.Rectangle((j + 0.03, i + 0.03), 0.94, 0.94, color=ink, alpha=strength, linewidth=0))
            if written:
                axes.text(j + 0.5, i + 0.5, said(value), ha="center", va="center", fontsize=9, color=INK)
        every = -(-len(columns) // 14)  # labels that would stand on each other are left out
        names = [short(name, 14) for name in columns[::every]]
        steep = sum(map(len, names)) > 38
        axes.set_xlim(0, len(columns))
        axes.set_ylim(len(rows), 0)
        axes.set_xticks(np.arange(len(columns))[::every] + 0.5, names, rotation=40 if steep else 0,
                        ha="right" if steep else "center")  # fmt: skip
        axes.set_yticks(np.arange(len(rows)) + 0.5, [short(name, 24) for name in rows])
        axes.grid(visible=False)
        axes.tick_params(length=0)
        for side in axes.spines.values():
            side.set_visible(False)

    numbers = table(("", *columns), [(name, *map(said, line)) for name, line in zip(rows, grid)])
    height = min(9.0, 0.8 + 0.32 * len(rows))
    return _plot(draw, title, note or "The stronger, the further from 0", numbers, empty=not grid.size, height=height)


def _plot(
    draw: Callable[[Any], None],
    title: str,
    description: str,
    numbers: Markup,
    key: Markup | None = None,
    *,
    empty: bool = False,
    height: float = _HEIGHT,
) -> Markup:
    """A figure of the page: title, key, drawing, numbers."""
    if empty:
        drawing, numbers = element("p", "Nothing to show: no values.", class_="note"), Markup("")
    else:
        drawing = in_page(_drawn(draw, height), title, description)
    return figure(title, description, drawing, numbers, key=key, plotted=True)


def _drawn(draw: Callable[[Any], None], height: float) -> str:
    matplotlib, figures = needed("matplotlib"), needed("matplotlib.figure")
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # letters that its font lacks are in the page's
        matplotlib.rcdefaults()  # not those of the user: the same numbers give the same bytes
        matplotlib.rcParams.update(_RC)
        whole = figures.Figure(figsize=(_WIDTH, height), layout="constrained")
        draw(whole.add_subplot())
        text = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        whole.savefig(text, format="svg", transparent=True, metadata=nothing)
    return text.getvalue()


def _curves(axes: Any, series: Sequence[Series], *, positive: bool = False, time: bool = False) -> None:
    for item, ink in zip(series, colours(item.name for item in series)):
        place, height = _numbers(item.x), _numbers(item.y)
        shown = np.isfinite(place) & (place > 0 if positive else True)
        at = place.astype("datetime64[us]") if time else np.where(shown, place, np.nan)
        height = np.where(shown & np.isfinite(height), height, np.nan)
        if item.low is not None and item.high is not None:
            low, high = _numbers(item.low), _numbers(item.high)
            axes.fill_between(at, low, high, where=np.isfinite(low) & np.isfinite(high), color=ink, alpha=0.18,
                              linewidth=0)  # fmt: skip
        dash = (0, (4, 3)) if item.dashed else "-"
        axes.plot(at, height, color=ink, linestyle=dash, marker="o" if place.size <= 40 else None, markersize=3.5)


def _ticks(axes: Any, which: str, *, log: bool = False) -> None:
    """Plain numbers at few places."""
    ticker = needed("matplotlib.ticker")
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(ticker.LogLocator(10, numticks=6) if log else ticker.MaxNLocator(5))
    axis.set_minor_locator(ticker.NullLocator())
    axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: said(value)))


def _key(series: Sequence[Series]) -> Markup:
    return _keys([(item.name, ink, item.dashed) for item, ink in zip(series, colours(item.name for item in series))])


def _keys(entries: Sequence[tuple[str, str, bool]]) -> Markup:
    """Which colour is which, as text of the page: it wraps where the page is narrow."""
    shown = [
        element("span", element("i", class_="key", style=f"border-top: 3px {'dashed' if d else 'solid'} {ink}"), name)
        for name, ink, d in entries
    ]
    return coloured(element("p", *shown, class_="legend"))


def _rows(item: Series, place: Callable[[float], str]) -> list[tuple[str, ...]]:
    """The numbers of a series, thinned; its ends stay."""
    at, height = _numbers(item.x), _numbers(item.y)
    low, high = (None if v is None else _numbers(v) for v in (item.low, item.high))
    shown = np.flatnonzero(np.isfinite(at))
    shown = shown[np.unique(np.linspace(0, shown.size - 1, min(_SHOWN, shown.size)).round().astype(np.int64))]
    ends = [("", "") if low is None or high is None else (said(low[i]), said(high[i])) for i in shown]
    return [(item.name, place(at[i]), said(height[i]), *pair) for i, pair in zip(shown, ends)]


def _any(series: Sequence[Series]) -> bool:
    return any(bool(np.isfinite(_numbers(item.y)).any()) for item in series)


def _numbers(values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    return np.asarray(values, dtype=np.float64)
