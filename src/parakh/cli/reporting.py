"""From a replay's verdicts to the report: every number of the page is counted here, and none anywhere else."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from parakh import __version__
from parakh.cli.compare import Comparison
from parakh.cli.report.data import Band, Change, Figure, Report, Scores, Story
from parakh.cli.verdicts import Days, Judged, Totals, Verdicts, rule_lines, score_bins
from parakh.cli.words import day, money, percent, plural, short_money, thousands
from parakh.decisions.definition import Definitions
from parakh.expressions.parse import parse
from parakh.expressions.syntax import Compare, Literal, Name
from parakh.expressions.zones import Zone

__all__ = ["Edit", "change_of", "report_of"]

_BINS = 40


@dataclass(frozen=True, slots=True)
class Edit:
    """A change of one file of a project, and what it is in words."""

    title: str
    file: str
    before: str
    after: str

    def lines(self) -> tuple[tuple[str, str], ...]:
        """The changed lines with their neighbours: ("-" | "+" | " ", text)."""
        found = difflib.unified_diff(self.before.splitlines(), self.after.splitlines(), lineterm="", n=3)
        return tuple((line[:1], line[1:]) for line in found if not line.startswith(("---", "+++", "@@")))


def report_of(
    verdicts: Verdicts,
    definitions: Definitions,
    *,
    title: str,
    subtitle: str,
    events: int,
    speed: int,
    stories: tuple[Story, ...],
    change: Change | None,
    facts: tuple[tuple[str, str], ...],
) -> Report:
    """The report of a replay."""
    judged = verdicts.judged()
    days = Days(judged, Zone(definitions.settings.time_zone))
    currency = definitions.settings.currency
    return Report(
        title=title,
        subtitle=subtitle,
        currency=currency,
        figures=_figures(verdicts.totals, currency, events, speed),
        outcomes=tuple((name, days.tally(item)) for name, item in judged.items()),
        kinds_labels=days.labels,
        kinds=days.kinds(judged),
        scores=tuple(scores for name, item in judged.items() if (scores := _scores(definitions, name, item))),
        rules=tuple(sorted((line for item in judged.values() for line in rule_lines(item)), key=lambda r: -r.hits)),
        stories=stories,
        change=change,
        facts=(*facts, ("Made with", f"Parakh {__version__}")),
    )


def span_of(judged: Mapping[str, Judged], zone: Zone) -> str:
    """The days of a time zone that the judged events span."""
    times = np.concatenate([item.time_us for item in judged.values()])
    local = times + zone.offset_us(times)
    return f"{day(int(local.min()))} to {day(int(local.max()))}"


def _figures(totals: Totals, currency: str, events: int, speed: int) -> tuple[Figure, ...]:
    caught, whole = totals.fraud_amount_stopped, totals.fraud_amount
    wrong = totals.stopped - totals.frauds_stopped
    alarms = f"{wrong / totals.frauds_stopped:.1f}" if totals.frauds_stopped else "–"
    return (
        Figure("Fraud stopped", short_money(caught, currency),
               f"{percent(caught, whole)} of {short_money(whole, currency)}", "good"),
        Figure("Fraud that passed", short_money(whole - caught, currency),
               plural(totals.frauds - totals.frauds_stopped, "event"), "bad"),
        Figure("Right when it stops", percent(totals.frauds_stopped, totals.stopped),
               f"{alarms} false alarms for each fraud stopped"),
        Figure("Good stopped", percent(totals.good_stopped, totals.good),
               f"{thousands(totals.good_stopped)} of {thousands(totals.good)} good events"),
        Figure("Events", thousands(events), f"{thousands(totals.decided)} of them decided on"),
        Figure("Speed", f"{thousands(speed)}/s", "events on one core, windows, rules and model"),
    )  # fmt: skip


def _scores(definitions: Definitions, event_type: str, judged: Judged) -> Scores | None:
    policy = definitions.policy(event_type)
    genuine, fraud = score_bins(judged, _BINS)
    if policy is None or policy.score is None or not sum(genuine) + sum(fraud):
        return None
    bands = [(band.outcome.word, _threshold(band.when)) for band in policy.bands]
    found = tuple(Band(word, score) for word, score in bands if score is not None)
    return Scores(model=policy.score, genuine=genuine, fraud=fraud, bands=found)


def _threshold(condition: str) -> float | None:
    """The score from which on a band `score >= 0.7` holds; None where it says something else."""
    root = parse(condition).root
    if not isinstance(root, Compare) or root.operator not in (">", ">="):
        return None
    if not isinstance(root.left, Name) or root.left.name != "score" or not isinstance(root.right, Literal):
        return None
    return float(root.right.value) if root.right.value is not None else None


def change_of(edit: Edit, comparison: Comparison) -> Change:
    """What a change of a project did."""
    old, new, currency = comparison.before, comparison.after, comparison.currency
    gain = new.fraud_amount_stopped - old.fraud_amount_stopped
    good = new.good_stopped - old.good_stopped
    people = comparison.people_lost - comparison.people_gained
    return Change(
        title=edit.title,
        file=edit.file,
        lines=edit.lines(),
        movements=comparison.movements,
        figures=(
            Figure("Fraud stopped", _signed(gain, money(gain, currency)),
                   f"from {short_money(old.fraud_amount_stopped, currency)}", _tone(gain)),
            Figure("Frauds stopped", _signed(new.frauds_stopped - old.frauds_stopped),
                   f"from {thousands(old.frauds_stopped)}", _tone(new.frauds_stopped - old.frauds_stopped)),
            Figure("Good events stopped", _signed(good), f"from {thousands(old.good_stopped)}", _tone(-good)),
            Figure("Good customers stopped", _signed(people), "who were not stopped before, less those who were",
                   _tone(-people)),
        ),
        before=(old.fraud_amount_stopped, old.fraud_amount_passed),
        after=(new.fraud_amount_stopped, new.fraud_amount_passed),
        customers_gained=comparison.people_gained,
        customers_lost=comparison.people_lost,
    )  # fmt: skip


def _signed(number: int, text: str | None = None) -> str:
    shown = text or thousands(number)
    return f"+{shown}" if number > 0 else shown if number else "no change"


def _tone(better: int) -> str:
    return "good" if better > 0 else "bad" if better < 0 else ""
