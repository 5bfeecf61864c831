"""The page of one turn of the loop: what was learned, what the gates found, which rules wait, and what comes next."""

from __future__ import annotations

from parakh.cli.report.charts import table
from parakh.cli.report.data import Figure
from parakh.cli.report.document import Section, document
from parakh.cli.report.html import Markup, element
from parakh.cli.report.learn_words import became_words, disagreement_words, verdict
from parakh.cli.words import moment, percent, plural, short_money, thousands
from parakh.expressions.types import minor_digits
from parakh.learning.loop import Challenger, Turn

__all__ = ["render"]


def render(done: Turn, *, project: str) -> str:
    """The whole page; `project` is the project's name."""
    return document(
        title=f"{project}: what was learned",
        subtitle=verdict(done),
        figures=_figures(done),
        sections=[
            *(_challenger(done, item) for item in sorted(done.challengers, key=lambda item: not item.new)),
            _rules(done),
            _limits(done),
        ],
        facts=_facts(done),
    )


def _figures(done: Turn) -> list[Figure]:
    gates = done.new.gates
    metric = gates.metric.replace("_", " ")
    figures = [
        Figure(label=metric, value=f"{gates.measured[gates.challenger]:.3f}", note="the challenger, on later events")
    ]
    if gates.champion:
        figures.append(Figure(label=metric, value=f"{gates.measured[gates.champion]:.3f}", note="the champion"))
    passed = sum(gate.passed for gate in gates.gates)
    return [
        *figures,
        Figure(
            label="gates passed",
            value=f"{passed} of {len(gates.gates)}",
            note=f"on {thousands(gates.events)} events",
            tone="good" if gates.passed else "bad",
        ),
        Figure(label="rules in shadow", value=str(len(done.rules)), note="suggested by this turn"),
    ]


def _challenger(done: Turn, item: Challenger) -> Section:
    gates = item.gates
    against = gates.champion or "the policy without a model"
    parts = [
        table(
            ("Gate", "", "What was found"),
            [(gate.name, "passed" if gate.passed else "failed", gate.why) for gate in gates.gates],
            numbers=9,
        ),
        element("p", f"{became_words(done, item).capitalize()}."),
    ]
    if item.disagreement is not None:
        parts.append(element("p", f"{disagreement_words(item.disagreement).capitalize()}.", class_="note"))
    lead = (
        f"Against {against} on {thousands(gates.events)} matured events, {thousands(gates.frauds)} of them fraud, "
        f"from {moment(gates.from_us)[:10]} to {moment(gates.to_us)[:10]}"
    )
    return Section(f"Version {item.version}{', new' if item.new else ''}", lead, parts)


def _rules(done: Turn) -> Section:
    if done.suggested is None:
        return Section("Rules", "Too little passes the policy to look for rules", [element("p", done.no_rules)])
    found = {item.name: item for item in done.suggested.suggestions}
    judged = [moment(at)[:10] for at in done.suggested.judged]
    lead = (
        f"Mined on earlier events, judged once on those from {judged[0]} to {judged[1]}: "
        f"{plural(done.suggested.passed_frauds, 'fraud')} passed the policy there"
    )
    if not done.rules:
        return Section("Rules", lead, [element("p", "No condition holds up on events that the search did not see.")])
    unit = 10 ** minor_digits(done.currency)
    rows = [
        (
            name,
            element("code", str(found[name].condition)),
            percent(found[name].precision.value, 1),
            percent(found[name].recall, 1),
            f"{found[name].hits_a_day:.1f}",
            short_money(round(found[name].amount.value * unit), done.currency),
            moment(found[name].expires_us)[:10],
        )
        for name in done.rules
    ]
    head = ("Rule", "When", "Precision", "Recall", "Hits a day", "Fraud caught", "Expires")
    return Section("Rules", lead, [table(head, rows, numbers=2)])


def _limits(done: Turn) -> Section:
    limits = done.carded.card["limits"]
    items: list[Markup] = [element("li", str(text)) for text in limits]
    return Section("Limits", "What the new model was not tried on", [element("ul", *items)] if items else [])


def _facts(done: Turn) -> list[tuple[str, str]]:
    return [
        ("Model", done.model),
        ("Label", f"{done.label} of {done.event_type}"),
        ("Matured", f"{thousands(done.rows)} events, {thousands(done.frauds)} {done.label}"),
        ("Known by", moment(done.known_by_us)),
        ("Tested from", moment(done.test_from_us)),
        ("Champion before", "none" if done.champion_before is None else f"version {done.champion_before}"),
        ("Champion now", "none" if done.champion is None else f"version {done.champion}"),
        ("From", ", ".join("=".join(map(str, item.values())) for item in done.past)),
    ]
