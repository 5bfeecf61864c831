"""A gallery of all plots: well-formed, the same twice, nothing fetched, text shown as it is; and a page of them."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from parakh.cli.report.charts import table
from parakh.cli.report.data import Figure
from parakh.cli.report.document import Section, document, write_page
from parakh.cli.report.html import Markup
from parakh.cli.report.plots import Series, bars, heat, histogram, lines, over_time

pytest.importorskip("matplotlib")

HOSTILE = "$\\frac{1}{0}$ <script>alert(1)</script> &\x00 " + "x" * 80
WEEK_US = 7 * 86_400_000_000


def gallery() -> dict[str, Markup]:
    random = np.random.default_rng(3)
    x = np.linspace(0, 1, 60)
    weeks = 1_735_689_600_000_000 + np.arange(9) * WEEK_US
    return {
        "two lines": lines([Series("champion", x, x**0.25), Series("challenger", x, x**0.35, dashed=True)],
                           title="ROC", x="good stopped", y="fraud caught", identity=True),
        "band, log": lines([Series("loss", [0, 1, 10, 100, 1e3, 1e4], [5, 4, 3, np.nan, 5, 6], [4] * 6, [7] * 6)],
                           title="Loss", x="reviewed a day", y="loss", log_x=True, markers=[(100, "capacity")]),
        "hostile": lines([Series(HOSTILE, [0, 1], [0, 1])], title=HOSTILE, x=HOSTILE, y=HOSTILE,
                         markers=[(0.5, HOSTILE)]),
        "bars": bars([HOSTILE, "b", "c"], [3, np.nan, -1], title="Gain", x="gain", low=[2, 0, -2], high=[4, 1, 0]),
        "upright bars": bars([f"segment {i}" for i in range(9)], np.arange(9), title="Parts", x="AUC",
                             horizontal=False),
        "histogram": histogram({"good": random.beta(1, 20, 900), "fraud": np.append(random.beta(5, 2, 90), np.nan)},
                               title="Scores", x="score"),
        "one value": histogram({"train": np.full(5, 2.0)}, title="An input", x="amount", log_y=False),
        "heat": heat(["food", HOSTILE], ["week 1", "week 2"], [[1, -2], [np.nan, 0]], title="Drift"),
        "large heat": heat([f"input {i}" for i in range(40)], [f"{i}" for i in range(30)], np.ones((40, 30)),
                           title="Many"),
        "over time": over_time([Series("auc", weeks, x[:9], x[:9] - 0.1, x[:9] + 0.1)], title="Weeks", y="AUC"),
        "one moment": over_time([Series("auc", weeks[:1], [0.5])], title="A week", y="AUC"),
        "no line": lines([Series("none", [0, 1], [np.nan, np.nan])], title="Nothing", x="x", y="y"),
        "no bar": bars([], [], title="Nothing", x="x"),
        "no group": histogram({}, title="Nothing", x="x"),
        "no grid": heat([], [], np.zeros((0, 0)), title="Nothing"),
        "no time": over_time([], title="Nothing", y="y"),
    }  # fmt: skip


@pytest.fixture(scope="module")
def plots() -> dict[str, Markup]:
    return gallery()


def test_each_is_well_formed_and_fetches_nothing(plots: dict[str, Markup]) -> None:
    for name, plot in plots.items():
        tree = ElementTree.fromstring(plot)
        assert "\x00" not in plot
        assert re.findall(r"https?://[^\"'<> ]*", plot) == ["http://www.w3.org/2000/svg"] * plot.count("<svg"), name
        for drawing in tree.iter("{http://www.w3.org/2000/svg}svg"):
            assert [child.tag.rpartition("}")[2] for child in drawing][:2] == ["title", "desc"]
            assert drawing.get("role") == "img"
        assert "<style" not in plot, name  # it would hold for the whole page
        assert "<script" not in plot, name
        assert not re.search(r"#010[12]0", plot), name
        assert ("Nothing to show" in plot) == name.startswith("no "), name


def test_each_is_the_same_twice_whatever_the_user_has_set(plots: dict[str, Markup]) -> None:
    import matplotlib

    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red", "svg.fonttype": "path"}):
        assert gallery() == plots


def test_text_stays_text_and_names_what_it_shows(plots: dict[str, Markup]) -> None:
    assert "capacity</text>" in plots["band, log"]
    assert "$\\frac" in plots["hostile"]
    assert "fraud 90" in plots["histogram"]
    assert "var(--fraud" in plots["histogram"]
    assert "week 1" in plots["heat"]


def test_names_are_told_apart_between_drawings(plots: dict[str, Markup]) -> None:
    page = "".join(plots.values())
    names = Counter(re.findall(r' id="([^"]+)"', page))
    assert names
    assert max(names.values()) == 1
    assert {used.removeprefix("#") for used in re.findall(r'(?:href="|url\()(#[^")]+)', page)} <= set(names)


def test_numbers_stand_below_thinned_with_their_ends() -> None:
    plot = lines([Series("a", np.arange(1001), np.arange(1001) / 2)], title="t", x="x", y="y")
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", plot)
    assert cells[:2] == ["0", "0"]
    assert "500" in cells
    assert plot.count("<tr>") == 25


def test_a_page_sets_plots_side_by_side_and_lets_tables_scroll(plots: dict[str, Markup], tmp_path: Path) -> None:
    parts = [plots["two lines"], plots["bars"], table(("a", "b"), [("x", 1)]), plots["heat"]]
    sections = [Section("Plots", "All of them", parts), Section("Empty", "Left out", [])]
    page = document(title="A & B", figures=[Figure("AUC", ".9")], sections=sections, facts=[("seed", "0")])
    assert page.count('<div class="plots">') == 2
    assert '<div class="scroll"><table>' in page
    assert "A &amp; B" in page
    assert "Left out" not in page
    write_page(tmp_path / "page.html", page)
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
    assert (tmp_path / "page.html").read_text("utf-8") == page
