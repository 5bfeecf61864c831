"""A page of any report: headline figures, sections of drawings and tables, one file that asks nothing of anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from parakh.cli.report.data import Figure
from parakh.cli.report.html import Markup, element
from parakh.project.writing import write_whole

__all__ = ["Section", "document", "headline", "write_page"]

# No script runs and nothing is fetched, whatever stands in the data.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a page under its title; without parts it is left out.

    Plots that follow each other stand side by side where the page is wide, and a table scrolls where it is narrow.
    """

    title: str
    lead: str
    parts: Sequence[Markup]


def document(
    *,
    title: str,
    subtitle: str = "",
    figures: Sequence[Figure] = (),
    sections: Sequence[Section] = (),
    facts: Sequence[tuple[str, str]] = (),
) -> str:
    """The whole page as text; `facts` stand at its foot and say how it was made. The same arguments give the same page.

    >>> page = document(title="Model card", sections=[Section("Data", "What it learned from", [element("p", "a < b")])])
    >>> page.startswith("<!doctype html>"), "<p>a &lt; b</p>" in page
    (True, True)
    """
    style = Markup(files("parakh.cli.report").joinpath("style.css").read_text("utf-8"))
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name="color-scheme", content="light dark"),
        element("title", f"{title} · Parakh"),
        element("style", style),
    )
    header = element(
        "header",
        element("p", element("span", "परख", lang="hi"), " Parakh", class_="brand"),
        element("h1", title),
        element("p", subtitle, class_="lead"),
        headline(figures),
        class_="top",
    )
    foot = element("dl", *(element("div", element("dt", n), element("dd", v)) for n, v in facts), class_="facts")
    main = element("main", *(_section(item) for item in sections if item.parts))
    body = element("body", header, main, element("footer", foot))
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"


def write_page(path: Path, text: str) -> None:
    """Write a page; an old one is replaced at once, never half."""
    write_whole(path, text.encode())


def headline(figures: Sequence[Figure]) -> Markup:
    """Headline numbers in a row; nothing where there are none."""
    if not figures:
        return Markup("")
    return element(
        "dl",
        *(
            element(
                "div",
                element("dt", item.label),
                element("dd", item.value, class_=item.tone or None),
                element("dd", item.note, class_="note") if item.note else Markup(""),
            )
            for item in figures
        ),
        class_="figures",
    )


def _section(section: Section) -> Markup:
    heading = element("div", element("h2", section.title), element("p", section.lead, class_="lead"), class_="heading")
    parts: list[Markup] = []
    side_by_side: list[Markup] = []
    for part in section.parts:
        if part.startswith('<figure class="chart plotted"'):
            side_by_side.append(part)
            continue
        _set_down(side_by_side, parts)
        parts.append(element("div", part, class_="scroll") if part.startswith("<table") else part)
    _set_down(side_by_side, parts)
    return element("section", heading, *parts)


def _set_down(plots: list[Markup], parts: list[Markup]) -> None:
    if plots:
        parts.append(element("div", *plots, class_="plots"))
        plots.clear()
