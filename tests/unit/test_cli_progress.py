"""Progress: silent while work is short, a line now and then without a terminal, a bar on one."""

from __future__ import annotations

import io

import pytest

from parakh.cli import progress
from parakh.cli.console import Console, wrapped
from parakh.cli.progress import Bar


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def console(*, terminal: bool) -> Console:
    return Console(io.StringIO(), color=terminal, terminal=terminal, columns=80)


def test_short_work_shows_nothing(clock: Clock) -> None:
    for terminal in (False, True):
        shown = console(terminal=terminal)
        with Bar(shown, "replaying") as bar:
            for share in (0.1, 0.6, 1.0):
                clock.now += 0.6
                bar.to(share, "some events")
        assert shown.stream.getvalue() == ""  # type: ignore[attr-defined]


def test_without_a_terminal_a_line_every_ten_seconds(clock: Clock) -> None:
    shown = console(terminal=False)
    with Bar(shown, "replaying") as bar:
        for second in range(60):
            clock.now += 1
            bar.to(second / 60, f"{second} events")
    lines = shown.stream.getvalue().splitlines()  # type: ignore[attr-defined]
    assert 5 <= len(lines) <= 6
    assert lines[0].startswith("replaying: 15 % 9 events")
    assert all("\x1b" not in line for line in lines)


def test_on_a_terminal_a_bar_is_drawn_and_taken_away(clock: Clock) -> None:
    shown = console(terminal=True)
    with Bar(shown, "replaying") as bar:
        clock.now += 3
        bar.step("reading", 300, 1000)
        bar.to(None, "of unknown length")
    drawn = shown.stream.getvalue()  # type: ignore[attr-defined]
    assert "\x1b" in drawn


def test_prose_breaks_between_words() -> None:
    text = "\x1b[1mevery\x1b[0m event is put to the test as it arrives"
    for columns in (12, 20, 80):
        lines = wrapped(text, columns, indent="  ", hanging="    ")
        assert all(len(line.replace("\x1b[1m", "").replace("\x1b[0m", "")) <= columns for line in lines)
        assert " ".join(" ".join(lines).split()) == text
    assert wrapped("averyveryverylongword x", 8) == ["averyveryverylongword", "x"]
    assert wrapped("", 8) == [""]
