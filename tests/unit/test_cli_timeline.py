"""Timelines: what a window holds, where a mark stands, and that a drawing keeps to its columns."""

from __future__ import annotations

import itertools
import random

import pytest

from parakh.cli.console import width
from parakh.cli.timeline import Axis, Mark, Strip, Timeline, draw

SECOND = 1_000_000
HOUR = 3_600 * SECOND


def strip(marks: tuple[Mark, ...], oldest: int | None, newest: int = 0, **more: object) -> Strip:
    return Strip(window="w", sources=("payment",), marks=marks, oldest_us=oldest, newest_us=newest, **more)  # type: ignore[arg-type]


def test_a_window_is_open_at_its_far_edge_and_closed_at_the_near_one() -> None:
    marks = tuple(Mark(age, "payment") for age in (0, 1, HOUR - 1, HOUR, HOUR + 1))
    assert [mark.age_us for mark in strip(marks, HOUR).inside] == [0, 1, HOUR - 1]
    delayed = strip(marks, 2 * HOUR, HOUR)
    assert [mark.age_us for mark in delayed.inside] == [HOUR, HOUR + 1]
    assert len(strip(marks, None).inside) == 5


def test_the_axis_is_monotonic_and_ends_where_it_should() -> None:
    axis = Axis(oldest_us=30 * 24 * HOUR)
    places = [axis.place(age) for age in sorted(random.Random(1).randrange(30 * 24 * HOUR) for _ in range(500))]
    assert places == sorted(places, reverse=True)
    assert axis.place(0) == 1.0
    assert axis.place(30 * 24 * HOUR) == 0.0
    assert axis.place(10**18) == 0.0


def test_ticks_keep_their_distance() -> None:
    for oldest in (60 * SECOND, HOUR, 24 * HOUR, 400 * 24 * HOUR):
        places = [place for _, place in Axis(oldest_us=oldest).ticks(0.1)]
        assert all(a - b >= 0.1 for a, b in itertools.pairwise(places))


@pytest.mark.parametrize("columns", [60, 80, 100, 120, 200])
@pytest.mark.parametrize("seed", range(4))
def test_a_drawing_keeps_to_its_columns(columns: int, seed: int) -> None:
    dice = random.Random(seed)
    ages = [int(10 ** dice.uniform(0, 12.5)) for _ in range(200)]
    marks = (Mark(0, "payment", current=True), *(Mark(age, "payment", fraud=dice.random() < 0.1) for age in ages))
    values = (("payments_10m", "7"), ("a_feature_of_a_very_long_name_7d", "₹1,234,567.89"))
    strips = tuple(
        strip(marks, oldest, newest, values=values)
        for oldest, newest in ((600 * SECOND, 0), (24 * HOUR, 0), (14 * 24 * HOUR, 7 * 24 * HOUR), (None, 0))
    )
    lines = draw([Timeline(entity="card", key="k" * 300, strips=strips)], columns)
    assert max(width(line) for line in lines) <= columns
    bars = [line for line in lines if "◆" in line and "◆ this event" not in line]
    assert len(bars) == 4
    places = {_plain(line).rindex("◆") for line in bars}
    assert len(places) == 1, "the same moment stands in the same column everywhere"


def test_marks_stand_on_their_own_side_of_an_edge() -> None:
    marks = (Mark(HOUR - 1, "payment"), Mark(HOUR, "payment"))
    (_, _, line, *_) = draw([Timeline(entity="card", key="c", strips=(strip(marks, HOUR),))], 80)
    bar = _plain(line)[13:]
    outside, inside = bar.index("•"), bar.rindex("•")
    assert outside + 1 == inside
    assert "─" not in bar[:inside]
    assert "─" in bar[inside:]


def test_a_known_fraud_is_seen_in_a_crowd_without_colours() -> None:
    marks = tuple(Mark(10 * HOUR, "payment", fraud=fraud) for fraud in (None, True, False))
    (_, _, line, *_) = draw([Timeline(entity="card", key="c", strips=(strip(marks, 24 * HOUR),))], 80)
    assert _plain(line).count("!") == 1
    assert "3" not in _plain(line)


@pytest.mark.parametrize("columns", [40, 60, 80, 120])
def test_no_sign_of_the_key_is_cut(columns: int) -> None:
    lines = draw([Timeline(entity="card", key="c", strips=(strip((), HOUR),))], columns)
    key = "   ".join(_plain(line).strip() for line in lines[3:])
    assert key == "• an event   2-9 so many   # more   ! known as fraud   ◆ this event   ├─┤ the window"
    assert max(width(line) for line in lines[3:]) <= columns


def _plain(line: str) -> str:
    import click

    return click.unstyle(line)
