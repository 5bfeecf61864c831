"""A decision at length, as a part of the page: what it was, its keys' timelines, windows shaded, rules and score."""

from __future__ import annotations

from collections.abc import Sequence

from parakh.cli.report.charts import legend
from parakh.cli.report.data import Clause, Contribution, Story
from parakh.cli.report.html import Markup, element, join
from parakh.cli.timeline import Axis, Mark, Strip, Timeline, describe
from parakh.cli.words import ago

__all__ = ["story"]

_ROW = 30
_FINE = 400  # places across a timeline that can be told apart
_TRUTH = {True: ("yes", "true"), False: ("no", "false"), None: ("unknown", "unknown")}
_SIGN = {True: "✓", False: "✗", None: "?"}


def story(item: Story) -> Markup:
    """One decision as an article."""
    score = element("span", f"score {item.score:.3f}", class_="score") if item.score is not None else Markup("")
    truth = element("span", item.truth, class_="truth") if item.truth else Markup("")
    head = element(
        "header",
        element("span", item.outcome, class_=f"pill {item.outcome}"),
        element("h3", f"{item.event_type.replace('_', ' ').capitalize()} {item.event_id}"),
        element("p", item.time, " · decided by ", item.decided_by, score, truth, class_="note"),
    )
    reasons = element("ul", *(_reason(code, words) for code, words in item.reasons), class_="reasons")
    facts = element("dl", *(element("div", element("dt", n), element("dd", v)) for n, v in item.facts), class_="facts")
    parts = [head, reasons if item.reasons else Markup(""), facts, _timelines(item.timelines), _rules(item)]
    if item.contributions:
        parts.append(_contributions(item.contributions, item.base))
    return element("article", *parts, class_="story")


def _reason(code: str, words: str) -> Markup:
    return element("li", element("code", code) if code else Markup(""), " ", words)


def _timelines(timelines: Sequence[Timeline]) -> Markup:
    if not timelines:
        return Markup("")
    axis = Axis.of(timelines)
    ticks = [*axis.ticks(0.09), ("now", 1.0)]
    scale = element(
        "div",
        element("div", class_="window"),
        element(
            "div",
            *(
                element("span", text, style=f"left:{100 * x:.2f}%", class_="now" if text == "now" else None)
                for text, x in ticks
            ),
            class_="scale",
        ),
        element("div", class_="values"),
        class_="strip head",
        aria_hidden="true",
    )
    words = [("past round", "an event"), ("fraud round", "known as fraud by then"), ("current round", "this event")]
    key = legend([*words, ("shade", "the window")])
    return element("div", key, *(_timeline(item, axis, scale) for item in timelines), class_="timelines")


def _timeline(timeline: Timeline, axis: Axis, scale: Markup) -> Markup:
    rows = []
    said = ""
    for strip in timeline.strips:
        source = f"of {', '.join(strip.sources)}" + (f" where {strip.filter}" if strip.filter else "")
        values = [
            element("span", element("em", name), " ", element("b", value), class_="value")
            for name, value in strip.values
        ]
        if source != said:
            values.append(element("span", source, class_="value source"))
        said = source
        rows.append(
            element(
                "div",
                element("div", strip.window, class_="window"),
                element("div", _drawing(strip, axis), class_="lane"),
                element("div", *values, class_="values"),
                class_="strip",
            )
        )
    heading = element("h4", timeline.entity.replace("_", " "), " ", element("code", timeline.key))
    return element("section", heading, scale, *rows, class_="timeline")


def _drawing(strip: Strip, axis: Axis) -> Markup:
    left = 0.0 if strip.oldest_us is None else axis.place(strip.oldest_us)
    right = axis.place(strip.newest_us)
    middle = _ROW // 2
    marks = [
        element("title", describe(strip)),
        element("line", x1="0", x2="100%", y1=middle, y2=middle, class_="axis"),
        element(
            "rect", x=f"{100 * left:.2f}%", width=f"{100 * (right - left):.2f}%", y=3, height=_ROW - 6, rx=3,
            class_="shade",
        ),
    ]  # fmt: skip
    # Marks that would lie on one another are one; of a key with thousands of events a page could not hold each.
    places: dict[tuple[int, str, str], list[Mark]] = {}
    for mark in sorted(strip.marks, key=lambda mark: (mark.current, -mark.age_us)):
        state = "current" if mark.current else "fraud" if mark.fraud else "past"
        inside = "" if strip.holds(mark) else " out"
        places.setdefault((round(_FINE * axis.place(mark.age_us)), state, inside), []).append(mark)
    for (_, state, inside), (mark, *others) in places.items():
        words = f"{ago(mark.age_us)}: {mark.text or mark.event_type}" + (" (fraud)" if mark.fraud else "")
        words += f", and {len(others):,} more close to it" if others else ""
        marks.append(
            element(
                "circle", element("title", words), cx=f"{100 * axis.place(mark.age_us):.2f}%", cy=middle,
                r=6 if mark.current else 4, class_=f"mark {state}{inside}",
            )
        )  # fmt: skip
    return element("svg", *marks, role="img", width="100%", height=_ROW)


def _rules(item: Story) -> Markup:
    if not item.rules:
        return Markup("")
    order = sorted(item.rules, key=lambda rule: {True: 0, None: 1, False: 2}[rule[1]])
    hits = [rule for rule in order if rule[1]]
    others = [rule for rule in order if not rule[1]]
    parts = [element("h4", "Rules"), *(_rule(*rule) for rule in hits)]
    if not hits:
        parts.append(element("p", "No rule hit.", class_="note"))
    if others:
        summary = element("summary", f"{len(others)} rules that did not hit")
        parts.append(element("details", summary, *(_rule(*rule) for rule in others)))
    return element("section", *parts, class_="rules")


def _rule(name: str, truth: bool | None, clauses: Sequence[Clause]) -> Markup:
    kind, word = _TRUTH[truth]
    lines = join(
        element(
            "li",
            element(
                "i", _SIGN[clause.truth], class_=f"sign {_TRUTH[clause.truth][0]}", aria_label=_TRUTH[clause.truth][1]
            ),
            clause.text,
            style=f"margin-left:{1.2 * clause.depth:.1f}em" if clause.depth else None,
        )
        for clause in clauses
    )
    title = element("p", element("i", _SIGN[truth], class_=f"sign {kind}", aria_label=word), element("b", name))
    return element("div", title, element("ul", lines, class_="clauses"), class_="rule")


def _contributions(contributions: Sequence[Contribution], base: float | None) -> Markup:
    most = max(abs(item.added) for item in contributions) or 1.0
    rows = []
    for item in contributions:
        wide = 50 * abs(item.added) / most
        left = 50 - wide if item.added < 0 else 50
        force = element("i", style=f"left:{left:.2f}%;width:{wide:.2f}%", class_="more" if item.added > 0 else "less")
        bar = element("span", force, class_="force", aria_hidden="true")
        label = element("span", element("em", item.name), " ", element("b", item.value), class_="value")
        rows.append(element("li", label, bar, element("span", f"{item.added:+.3f}", class_="n")))
    note = (
        f"What each input added to the raw score, exactly (SHAP); it begins at {base:+.3f}." if base is not None else ""
    )
    return element(
        "section", element("h4", "Score"), element("p", note, class_="note"), element("ol", *rows, class_="forces"),
        class_="contributions",
    )  # fmt: skip
