"""The report's page: whole, offline, escaped, and heard as well as seen."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from parakh.cli.report.data import (
    Band,
    Change,
    Clause,
    Contribution,
    Figure,
    Kind,
    Movement,
    Report,
    RuleLine,
    Scores,
    Story,
    Tally,
)
from parakh.cli.report.html import Markup, element, text
from parakh.cli.report.page import render, write
from parakh.cli.timeline import Mark, Strip, Timeline

HOSTILE = "</script><script>alert(1)</script>\"'&<img src=x onerror=alert(1)>\x1b[2J\x00"
MINUTE = 60_000_000
VOID = {"meta", "line", "rect", "circle", "path", "br", "hr"}


class _Page(HTMLParser):
    """Reads a page strictly: every element is closed, in order; keeps what tests ask about."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in VOID, f"<{tag}/> is not a void element"
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def names(self) -> set[str]:
        return {name for name, _ in self.elements}


@pytest.fixture
def timeline() -> Timeline:
    marks = (
        Mark(0, "payment", current=True),
        Mark(3 * MINUTE, "payment", text=HOSTILE, fraud=True),
        Mark(90 * MINUTE, "payment"),
    )
    strips = (
        Strip(window="10m", sources=("payment",), marks=marks, oldest_us=10 * MINUTE, values=(("payments_10m", "2"),)),
        Strip(window="ever", sources=("login",), marks=(), oldest_us=None, filter="success < 1"),
    )
    return Timeline(entity="card", key=HOSTILE, strips=strips)


@pytest.fixture
def report(timeline: Timeline) -> Report:
    labels = ("1 Jan", "2 Jan", "3 Jan")
    return Report(
        title=f"Everything {HOSTILE}",
        subtitle="three days",
        currency="INR",
        figures=(Figure("Fraud stopped", "₹1.20 M", "80 % of all", "good"),),
        outcomes=(("payment", Tally(labels=labels, counts=((9, 9, 9), (1, 0, 2), (0, 1, 0), (3, 0, 1)))),),
        kinds_labels=labels,
        kinds=(Kind(name="card_testing", caught=(100, 0, 50), missed=(0, 20, 0), caught_events=3, missed_events=1),),
        scores=(Scores(model="m", genuine=(900, 40, 0, 2), fraud=(1, 0, 3, 40), bands=(Band("block", 0.95),)),),
        rules=(
            RuleLine(name="r1", event_type="payment", outcome="block", mode="live", condition="amount < 5", hits=4,
                     frauds=3, fraud_amount=120_000),
            RuleLine(name="r2", event_type="payment", outcome="allow", mode="shadow", condition=HOSTILE, hits=0,
                     frauds=0, fraud_amount=0),
        ),
        stories=(
            Story(event_type="payment", event_id=HOSTILE, time="2025-01-02 10:00:00 UTC", outcome="block",
                  decided_by="rule r1", score=0.97, facts=(("Amount", "₹4.00"), ("Merchant", HOSTILE)),
                  reasons=(("R1", HOSTILE),), timelines=(timeline,),
                  rules=(("r1", True, (Clause("amount is 4.00, less than 5", True),)),
                         ("r2", None, (Clause("idle is unknown", None),)), ("r3", False, (Clause("x", False),))),
                  base=-3.0, contributions=(Contribution("amount", "4.00", 1.5), Contribution("night", "no", -0.2))),
        ),
        change=Change(title="r1 from 5 to 9", file="rules/a.yaml",
                      lines=(("-", "amount < 5"), ("+", f"amount < {HOSTILE}")),
                      movements=(Movement("payment", "allow", "block", 3, 900, 2, 700),),
                      figures=(Figure("Fraud stopped", "+₹7.00", "", "good"),), before=(1000, 500), after=(1700, -0),
                      customers_gained=0, customers_lost=1),
        facts=(("Seed", "1"),),
    )  # fmt: skip


def test_a_page_is_well_formed_and_says_everything(report: Report) -> None:
    page = _Page(render(report))
    assert not page.open
    said = " ".join(page.text)
    for words in ("Fraud stopped", "₹1.20 M", "Card testing", "amount is 4.00, less than 5",
                  "1 good customer newly stopped", "r1 from 5 to 9", "payments_10m", "score 0.970"):  # fmt: skip
        assert words in said


def test_nothing_is_fetched_and_nothing_runs(report: Report) -> None:
    page = _Page(render(report))
    assert not page.names() & {"script", "link", "img", "iframe", "object", "embed", "form", "base"}
    for name, attributes in page.elements:
        assert not {
            key for key in attributes if key.startswith("on") or key in ("src", "href", "srcset", "xlink:href")
        }, name
    style = render(report).split("<style>")[1].split("</style>")[0]
    assert not re.search(r"url\(|@import|https?:", style)
    assert any("Content-Security-Policy" in attributes.values() for _, attributes in page.elements)


def test_data_cannot_become_markup(report: Report) -> None:
    rendered = render(report)
    assert "<script" not in rendered
    assert "<img" not in rendered
    assert "\x1b" not in rendered
    assert "\x00" not in rendered
    assert "alert(1)" in "".join(_Page(rendered).text)


def test_every_drawing_is_named_and_every_chart_has_its_numbers(report: Report) -> None:
    rendered = render(report)
    drawings = re.findall(r"<svg.*?</svg>", rendered, re.DOTALL)
    assert len(drawings) >= 6
    assert all('role="img"' in drawing and "<title>" in drawing for drawing in drawings)
    charts = re.findall(r'<figure class="chart">.*?</figure>', rendered, re.DOTALL)
    assert len(charts) == 3
    assert all("<details>" in chart and "<table>" in chart for chart in charts)


def test_marks_stand_inside_the_drawing(report: Report) -> None:
    for percent in re.findall(r'(?:x|cx|x1|x2)="(-?[0-9.]+)%"', render(report)):
        assert 0 <= float(percent) <= 100


def test_a_report_of_nothing_is_a_page_too() -> None:
    page = _Page(render(Report(title="Nothing", subtitle="", currency="INR")))
    assert not page.open
    assert "section" not in page.names()


def test_charts_of_empty_and_single_spans(report: Report) -> None:
    empty = Tally(labels=(), counts=((), (), (), ()))
    single = Tally(labels=("1 Jan",), counts=((0,), (0,), (0,), (0,)))
    page = _Page(render(replace(report, outcomes=(("payment", empty), ("transfer", single)))))
    assert not page.open


def test_the_same_report_gives_the_same_page(report: Report, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    write(report, path)
    first = path.read_bytes()
    write(report, path)
    assert path.read_bytes() == first
    assert list(tmp_path.iterdir()) == [path]


def test_elements_escape_and_markup_stays() -> None:
    assert element("p", "a < b", Markup("<i>c</i>"), title='"x"') == '<p title="&quot;x&quot;">a &lt; b<i>c</i></p>'
    assert text("\x9b31m") == "\ufffd31m"
