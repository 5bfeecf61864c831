"""The page itself: one file, no request to anywhere, light and dark, readable at any width."""

from __future__ import annotations

from pathlib import Path

from parakh.cli.report.charts import kind_chart, legend, outcome_chart, score_chart, table
from parakh.cli.report.data import Change, Report, RuleLine
from parakh.cli.report.document import Section, document, headline, write_page
from parakh.cli.report.html import Markup, element, join
from parakh.cli.report.stories import story
from parakh.cli.words import money, percent, plural, short_money, thousands

__all__ = ["render", "write"]


def write(report: Report, path: Path) -> None:
    """Write the page; an old one is replaced at once, never half."""
    write_page(path, render(report))


def render(report: Report) -> str:
    """The whole page as text. The same report gives the same page."""
    sections = [
        Section("Outcomes", "What was not allowed, over time", _outcomes(report)),
        Section("Fraud", "What was caught and what passed, by kind", _kinds(report)),
        Section("Scores", "How well the model tells them apart", [score_chart(scores) for scores in report.scores]),
        Section("Rules", "How often each hit, and how often it was right", _rules(report)),
        Section("Decisions", "Three of them at length, with what the windows held", [story(s) for s in report.stories]),
    ]
    if report.change:
        sections.append(Section("A change", report.change.title, _change(report.change, report.currency)))
    return document(
        title=report.title,
        subtitle=report.subtitle,
        figures=report.figures,
        sections=sections,
        facts=report.facts,
    )


def _outcomes(report: Report) -> list[Markup]:
    return [outcome_chart(event_type, tally, report.span) for event_type, tally in report.outcomes]


def _kinds(report: Report) -> list[Markup]:
    if not report.kinds:
        return []
    charts = [kind_chart(kind, report.kinds_labels, report.currency, report.span) for kind in report.kinds]
    words = [("caught", "caught, above the line"), ("missed", "missed, below it")]
    return [legend(words), element("div", *charts, class_="multiples")]


def _rules(report: Report) -> list[Markup]:
    if not report.rules:
        return []
    most = max((rule.hits for rule in report.rules), default=0)
    rows = [_rule_row(rule, most, report.currency) for rule in report.rules]
    header = ("Rule", "Asks for", "Hits", "Precision", "Fraud in its hits")
    return [element("div", table(header, rows, caption="Rules and their record", numbers=9), class_="scroll ruletable")]


def _rule_row(rule: RuleLine, most: int, currency: str) -> tuple[Markup, ...]:
    shadow = element("span", rule.mode, class_="tag") if rule.mode != "live" else Markup("")
    name = join((element("b", rule.name), " ", shadow, element("code", rule.condition, class_="condition")))
    precision = _meter(rule.frauds, rule.hits, "good", percent(rule.frauds, rule.hits))
    amount = short_money(rule.fraud_amount, currency) if rule.hits else "–"
    return (
        name,
        _pill(rule.outcome),
        _meter(rule.hits, most, "plain", thousands(rule.hits)),
        precision if rule.hits else _dash(),
        element("span", amount, class_="n"),
    )


def _dash() -> Markup:
    return element("span", "–", class_="note")


def _meter(value: int, whole: int, tone: str, words: str) -> Markup:
    share = 100 * value / whole if whole else 0
    bar = element("span", element("i", style=f"width:{share:.1f}%"), class_=f"meter {tone}", aria_hidden="true")
    return element("span", bar, element("span", words, class_="n"), class_="measured")


def _change(change: Change, currency: str) -> list[Markup]:
    lines = join(
        element("span", element("i", sign, aria_hidden="true"), text, class_={"-": "cut", "+": "new"}.get(sign))
        for sign, text in change.lines
    )
    edit = element("figure", element("figcaption", change.file), element("pre", lines), class_="edit")
    moved = [
        (
            join((_words(item.event_type), " ", _pill(item.before), " → ", _pill(item.after))),
            thousands(item.events),
            money(item.amount, currency),
            thousands(item.frauds),
            thousands(item.events - item.frauds),
        )
        for item in change.movements
    ]
    header = ("Outcome", "Events", "Amount", "Of them fraud", "Good")
    moves = element("div", table(header, moved, caption="Outcomes that changed"), class_="scroll")
    if not moved:
        moves = element("p", "No outcome changed.", class_="note")
    return [
        edit,
        headline(change.figures),
        _before_after(change, currency),
        element("h3", "Outcomes that changed"),
        moves,
    ]


def _words(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _pill(outcome: str) -> Markup:
    return element("span", outcome, class_=f"pill small {outcome}")


def _before_after(change: Change, currency: str) -> Markup:
    most = max(sum(change.before), sum(change.after), 1)
    rows = []
    for word, (caught, missed) in (("Before", change.before), ("After", change.after)):
        said = f"{word}: {money(caught, currency)} of fraud stopped, {money(missed, currency)} passed"
        bar = element(
            "svg",
            element("title", said),
            element("rect", x="0", y=0, width=f"{100 * caught / most:.2f}%", height=22, class_="fill caught"),
            element("rect", x=f"{100 * caught / most:.2f}%", y=0, width=f"{100 * missed / most:.2f}%", height=22,
                    class_="fill missed"),
            role="img", width="100%", height=22,
        )  # fmt: skip
        numbers = f"{short_money(caught, currency)} stopped · {short_money(missed, currency)} passed"
        rows.append(element("div", element("b", word), bar, element("span", numbers, class_="note"), class_="compared"))
    customers = (
        f"{plural(change.customers_gained, 'good customer')} no longer stopped, "
        f"{plural(change.customers_lost, 'good customer')} newly stopped."
    )
    key = legend([("caught", "fraud stopped"), ("missed", "fraud that passed")])
    return element("div", key, *rows, element("p", customers, class_="note"), class_="beforeafter")
