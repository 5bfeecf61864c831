"""The report's charts as inline SVG: horizontal places in percent and heights in pixels, so that text keeps its size.

Every chart has a title and a description for those who hear it, and its numbers as a table below it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from parakh.cli.report.data import OUTCOMES, Kind, Scores, Tally
from parakh.cli.report.html import Markup, element, join
from parakh.cli.words import percent, short_money, thousands

__all__ = ["figure", "kind_chart", "legend", "outcome_chart", "score_chart", "table"]

_STOPPED = OUTCOMES[1:]


def figure(
    title: str,
    description: str,
    drawing: Markup,
    numbers: Markup,
    *,
    key: Markup | None = None,
    plotted: bool = False,
) -> Markup:
    """A drawing under its title, with its key and its numbers, where it has any."""
    below = element("details", element("summary", "Numbers"), element("div", numbers, class_="scroll"))
    return element(
        "figure",
        element("figcaption", element("strong", title), element("span", description, class_="note")),
        key or Markup(""),
        drawing,
        below if numbers else Markup(""),
        class_="chart plotted" if plotted else "chart",
    )


def legend(entries: Sequence[tuple[str, str]]) -> Markup:
    """A key of (class, words)."""
    return element("p", *(element("span", element("i", class_=f"swatch {c}"), w) for c, w in entries), class_="legend")


def table(header: Sequence[str], rows: Sequence[Sequence[object]], *, caption: str = "", numbers: int = 1) -> Markup:
    """A table; columns from `numbers` on hold numbers and stand to the right."""

    def cells(row: Sequence[object], name: str) -> Markup:
        return join(
            element("th" if name == "th" or i == 0 else "td", cell, class_="n" if i >= numbers else None,
                    scope="col" if name == "th" else "row" if i == 0 else None)
            for i, cell in enumerate(row)
        )  # fmt: skip

    body = [element("tr", cells(row, "td")) for row in rows]
    return element(
        "table",
        element("caption", caption, class_="hidden") if caption else Markup(""),
        element("thead", element("tr", cells(header, "th"))),
        element("tbody", *body),
    )


def outcome_chart(event_type: str, tally: Tally, span: str) -> Markup:
    """What was not allowed, a stacked bar a span of time, over how much there was in all."""
    totals = [sum(column) for column in zip(*tally.counts)]
    stopped = [sum(counts[i] for counts in tally.counts[1:]) for i in range(len(totals))]
    top = _ceiling(max(stopped, default=0))
    plot = 150
    marks = [_grid(plot, top, _count)]
    step = 100 / max(1, len(totals))
    for i in range(len(totals)):
        low = float(plot)
        for number, word in enumerate(_STOPPED, 1):
            count = tally.counts[number][i]
            high = count / top * plot
            if count:
                low -= high
                words = f"{tally.labels[i]}: {thousands(count)} {word} of {thousands(totals[i])}"
                marks.append(_bar(i * step, step, low, high, word, words))
    marks.append(_dates(tally.labels, plot + 16))
    total = sum(totals)
    said = f"{thousands(total)} {event_type} events by {span}; {percent(sum(stopped), total)} were not allowed."
    numbers = table(
        (span.capitalize(), *OUTCOMES),
        [(label, *(thousands(counts[i]) for counts in tally.counts)) for i, label in enumerate(tally.labels)],
    )
    key = legend([(w, f"{w} {thousands(sum(tally.counts[n]))}") for n, w in enumerate(OUTCOMES)])
    return figure(
        event_type.capitalize(), said, _svg(marks, plot + 22, f"Outcomes of {event_type}", said), numbers, key=key
    )


def kind_chart(kind: Kind, labels: Sequence[str], currency: str, span: str) -> Markup:
    """One kind of fraud: amounts stopped stand above the line, amounts that passed below it, on one scale."""
    most_caught, most_missed = max(kind.caught, default=0), max(kind.missed, default=0)
    top = max(1, most_caught + most_missed)
    plot = 110
    middle = plot * most_caught / top
    step = 100 / max(1, len(labels))
    marks = [element("line", x1="0", x2="100%", y1=_px(middle), y2=_px(middle), class_="axis")]
    for i, (caught, missed) in enumerate(zip(kind.caught, kind.missed)):
        for amount, side, word in ((caught, -1, "caught"), (missed, 1, "missed")):
            if amount:
                high = max(1.5, amount / top * plot)
                said = f"{labels[i]}: {short_money(amount, currency)} {word}"
                marks.append(_bar(i * step, step, middle - high if side < 0 else middle, high, word, said))
    marks.append(_dates(labels, plot + 18, few=True))
    caught, missed = sum(kind.caught), sum(kind.missed)
    said = (
        f"{percent(caught, caught + missed)} of {short_money(caught + missed, currency)} stopped, "
        f"{thousands(kind.caught_events)} of {thousands(kind.caught_events + kind.missed_events)} events"
    )
    most = f"up to {short_money(max(most_caught, most_missed), currency)} a {span}"
    numbers = table(
        (span.capitalize(), "caught", "missed"),
        [
            (label, short_money(c, currency), short_money(m, currency))
            for label, c, m in zip(labels, kind.caught, kind.missed)
            if c or m
        ],
    )
    title = kind.name.replace("_", " ").capitalize()
    drawing = _svg(marks, plot + 24, f"{title}: caught and missed", f"{said}; {most}.", flat=True)
    return figure(title, said, drawing, numbers, key=element("p", most, class_="legend"))


def score_chart(scores: Scores) -> Markup:
    """A model's scores in bins: fraud above, genuine below, each on a scale of its own powers of ten."""
    bins = len(scores.genuine)
    half = 82
    top = max(1.0, math.log10(1 + max((*scores.genuine, *scores.fraud), default=1)))
    step = 100 / max(1, bins)
    marks = []
    for power in range(1, math.ceil(top) + 1):
        if power <= top:
            for y in (half - power / top * (half - 8), half + power / top * (half - 8)):
                marks.append(element("line", x1="0", x2="100%", y1=_px(y), y2=_px(y), class_="grid"))
                marks.append(element("text", _count(10**power), x=-8, y=_px(y + 4), class_="y"))
    for i in range(bins):
        where = f"score {i / bins:.2f} to {(i + 1) / bins:.2f}"
        for count, side, word in ((scores.fraud[i], -1, "fraud"), (scores.genuine[i], 1, "genuine")):
            if count:
                high = math.log10(1 + count) / top * (half - 8)
                y = half - high if side < 0 else half
                marks.append(_bar(i * step, step, y, high, word, f"{where}: {thousands(count)} {word}"))
    marks.append(element("line", x1="0", x2="100%", y1=half, y2=half, class_="axis"))
    for band in scores.bands:
        x = f"{100 * band.score:.2f}%"
        marks.append(element("line", x1=x, x2=x, y1=0, y2=2 * half, class_=f"band {band.outcome}"))
        marks.append(element("text", band.outcome, x=x, y=10, dx=4, class_="bandname"))
    for tenth in (0, 2, 4, 6, 8, 10):
        anchor = "start" if tenth == 0 else "end" if tenth == 10 else "middle"
        marks.append(
            element("text", f"{tenth / 10:.1f}", x=f"{10 * tenth}%", y=2 * half + 16, class_="x", text_anchor=anchor)
        )
    frauds, genuine = sum(scores.fraud), sum(scores.genuine)
    said = f"{thousands(frauds)} frauds above the line, {thousands(genuine)} genuine below, on scales of powers of ten."
    numbers = table(
        ("Score from", "fraud", "genuine"),
        [(f"{i / bins:.2f}", thousands(scores.fraud[i]), thousands(scores.genuine[i])) for i in range(bins)],
    )
    return figure(scores.model, said, _svg(marks, 2 * half + 22, f"Scores of {scores.model}", said), numbers,
                  key=legend([("fraud", "fraud"), ("genuine", "genuine")]))  # fmt: skip


def _svg(marks: Sequence[Markup], height: int, title: str, description: str, *, flat: bool = False) -> Markup:
    drawing = element(
        "svg", element("title", title), element("desc", description), *marks, role="img", height=height, width="100%"
    )
    return element("div", drawing, class_="plot flat" if flat else "plot")


def _bar(x: float, step: float, y: float, height: float, name: str, said: str) -> Markup:
    gap = min(step * 0.18, 0.5)
    return element(
        "rect", element("title", said), x=f"{x + gap / 2:.3f}%", width=f"{step - gap:.3f}%", y=_px(y),
        height=_px(height), class_=f"fill {name}",
    )  # fmt: skip


def _grid(plot: int, top: float, words: Callable[[float], str]) -> Markup:
    marks = []
    for quarter in range(5):
        y = plot - quarter * plot / 4 + (0.5 if quarter == 4 else 0)
        marks.append(element("line", x1="0", x2="100%", y1=_px(y), y2=_px(y), class_="grid" if quarter else "axis"))
        if quarter in (2, 4):
            marks.append(
                element("text", words(top * quarter / 4), x=-8, y=_px(y + 4 + (4 if quarter == 4 else 0)), class_="y")
            )
    return join(marks)


def _dates(labels: Sequence[str], y: int, *, few: bool = False) -> Markup:
    """The first and the last label, and on a wide chart some between that a narrow page leaves out."""
    if not labels:
        return Markup("")
    last = len(labels) - 1
    marks = [element("text", labels[0], x="0%", y=y, class_="x", text_anchor="start")]
    if last:
        marks.append(element("text", labels[last], x="100%", y=y, class_="x", text_anchor="end"))
    if not few:
        for part in range(1, 5):
            i = round(last * part / 5)
            if 0 < i < last:
                x = f"{(i + 0.5) / len(labels) * 100:.2f}%"
                marks.append(element("text", labels[i], x=x, y=y, class_="x between", text_anchor="middle"))
    return join(marks)


def _ceiling(value: float) -> float:
    """The next round number that four grid lines divide evenly."""
    if value <= 4:
        return 4.0
    power = 10.0 ** math.floor(math.log10(value))
    for factor in (1, 1.2, 1.6, 2, 2.4, 3.2, 4, 6, 8, 10):
        if value <= factor * power:
            return factor * power
    return 10 * power


def _count(value: float) -> str:
    if value >= 1e6:
        return f"{value / 1e6:g} M"
    return f"{value / 1e3:g} k" if value >= 10_000 else f"{value:,.0f}" if value >= 10 else f"{value:g}"


def _px(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")
