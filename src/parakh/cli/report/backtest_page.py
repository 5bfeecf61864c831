"""The page of a back-test: the verdict first, then figures, old against new, rules, overlap, time, segments, events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from parakh.cli.report.backtest_words import (
    about_labels,
    about_stopped,
    change_verdict,
    headline,
    major,
    share,
    signed,
    spread,
    verdict,
)
from parakh.cli.report.charts import table
from parakh.cli.report.data import Figure
from parakh.cli.report.document import Section, document
from parakh.cli.report.html import Markup, element, join
from parakh.cli.report.plots import Series, bars, heat, over_time
from parakh.cli.words import day, moment, plural, thousands

if TYPE_CHECKING:
    from parakh.learning.backtests.backtest import BackTest
    from parakh.learning.backtests.examples import Example
    from parakh.learning.backtests.figures import Figures
    from parakh.learning.backtests.records import Record
    from parakh.learning.backtests.versus import Change

__all__ = ["render"]

_RULES = 60  # rows of the table; all are in --json
_HEATED = 18
_BARS = 14


def render(tested: BackTest, change: Change | None, *, project: str, past: Sequence[dict[str, Any]]) -> str:
    """The whole page as text. The same back-test gives the same page."""
    return document(
        title=f"Back-test of {tested.event_type}",
        subtitle=verdict(tested) if change is None else change_verdict(change, tested.currency),
        figures=_figures(tested, change),
        sections=[
            *([] if change is None else [_change(change, tested.currency)]),
            _outcomes(tested, change),
            _time(tested, change),
            _rules(tested),
            _overlap(tested),
            *(_segment(name, found, tested.currency) for name, found in tested.segments.items()),
            _stopped(tested),
            *_events(tested, change),
        ],
        facts=[
            ("project", f"{project}, version {tested.project_hash[:12]}"),
            *([("against", f"version {change.old_hash[:12]}")] if change is not None else []),
            ("events", f"{day(tested.first_us)} to {day(tested.last_us)}"),
            ("from", ", ".join(" ".join(str(value) for value in item.values()) for item in past)),
            ("labels", f"{tested.label}, as known by {moment(tested.known_by_us)} UTC"),
            ("not matured", thousands(tested.total.all.events - tested.total.all.matured)),
            ("matured, nothing known", thousands(tested.unlabelled)),
        ],
    )


def _figures(tested: BackTest, change: Change | None) -> list[Figure]:
    figures = [Figure(name.capitalize(), value, note) for name, value, note in headline(tested)]
    if change is None:
        return figures
    currency = tested.currency
    told = f"95 % interval {signed(change.cost_change_low, currency)} to {signed(change.cost_change_high, currency)}"
    sure = "" if change.cost_change_low <= 0 <= change.cost_change_high else "good" if change.cost_change < 0 else "bad"
    first = Figure("Cost, new less old", signed(change.cost_change, currency), told, sure)
    return [first, *(item for item in figures if item.label != "Frauds caught")]


def _change(change: Change, currency: str) -> Section:
    old, new = change.before, change.after
    rows = [
        ("Fraud caught", major(old.stopped.fraud_amount, currency), major(new.stopped.fraud_amount, currency),
         signed(new.stopped.fraud_amount - old.stopped.fraud_amount, currency)),
        ("Frauds caught", thousands(old.stopped.frauds), thousands(new.stopped.frauds),
         f"{new.stopped.frauds - old.stopped.frauds:+,}"),
        ("Precision", share(old.stopped.precision), share(new.stopped.precision), ""),
        ("Good events stopped", thousands(old.stopped.good), thousands(new.stopped.good),
         f"{new.stopped.good - old.stopped.good:+,}"),
        ("Reviews a day", f"{change.load_before.mean:.1f}", f"{change.load_after.mean:.1f}",
         f"{change.load_after.mean - change.load_before.mean:+.1f}"),
        ("Most reviews in a day", thousands(change.load_before.largest), thousands(change.load_after.largest),
         f"{change.load_after.largest - change.load_before.largest:+,}"),
        ("Cost", major(old.cost, currency), major(new.cost, currency), signed(new.cost - old.cost, currency)),
    ]  # fmt: skip
    moved = [
        (
            join((_pill(item.before), " → ", _pill(item.after))),
            thousands(item.sums.events),
            major(item.sums.amount, currency),
            thousands(item.sums.frauds),
            major(item.sums.fraud_amount, currency),
            thousands(item.sums.good),
        )
        for item in change.moved
    ]
    people = (
        f"{plural(change.people_gained, 'good customer')} no longer stopped, "
        f"{plural(change.people_lost, 'good customer')} newly stopped. "
        f"The interval of the cost draws {change.resampled} anew."
    )
    parts = [table(("", "Before", "After", "Change"), rows, caption="Before and after")]
    if change.only_old or change.only_new:
        apart = f"{thousands(change.only_old)} events, the new alone {thousands(change.only_new)}"
        people += f" The old alone decided {apart}."
    if moved:
        header = ("Outcome", "Events", "Amount", "Of them fraud", "Fraud amount", "Good")
        parts += [element("h3", "Outcomes that change"), table(header, moved, caption="Outcomes that change")]
    parts.append(element("p", people, class_="note"))
    return Section("Old against new", f"On {plural(change.events, 'event')} that both decided", parts)


def _outcomes(tested: BackTest, change: Change | None) -> Section:
    currency = tested.currency
    rows = [
        (
            _pill(word),
            thousands(sums.events),
            major(sums.amount, currency),
            thousands(sums.matured),
            thousands(sums.frauds),
            share(sums.precision),
            major(sums.fraud_amount, currency),
        )
        for word, sums in tested.outcomes.items()
    ]
    header = ("Outcome", "Events", "Amount", "Matured", "Fraud", "Share", "Fraud amount")
    models = [
        (item.name, item.mode, thousands(item.scored), thousands(item.unknown), f"{item.roc_auc:.3f}",
         f"{item.average_precision:.3f}")
        for item in tested.models
    ]  # fmt: skip
    parts = [table(header, rows, caption="Outcomes")]
    if models:
        heading = ("Model", "Mode", "Scored", "Unknown", "ROC AUC", "Average precision")
        parts += [element("h3", "Models"), table(heading, models, caption="Models", numbers=2)]
    parts.extend(element("p", text, class_="note") for text in about_labels(tested))
    lead = "What was decided, and what became of it" if change is None else verdict(tested)
    return Section("Outcomes", lead, parts)


def _time(tested: BackTest, change: Change | None) -> Section:
    weeks = tested.weeks
    if len(weeks) < 2:
        return Section("Over time", "", [])
    x = [_monday_us(item.name) for item in weeks]
    fraud = [
        Series("stopped", x, [item.stopped.fraud_amount for item in weeks]),
        Series("all fraud", x, [item.all.fraud_amount for item in weeks], dashed=True),
    ]
    cost = [Series("cost" if change is None else "new", x, [item.cost for item in weeks])]
    reviews = [Series("reviews" if change is None else "new", x, [float(item.reviews) for item in weeks])]
    if change is not None:
        before = change.weeks_before
        there = [_monday_us(item.name) for item in before]
        cost.append(Series("old", there, [item.cost for item in before], dashed=True))
        reviews.append(Series("old", there, [float(item.reviews) for item in before], dashed=True))
    parts = [
        over_time(fraud, title="Fraud by week", y=f"amount, {tested.currency}"),
        over_time(cost, title="Cost by week", y=f"cost, {tested.currency}"),
        over_time(reviews, title="Reviews by week", y="events"),
        _figures_table("Week from", weeks, tested.currency),
    ]
    return Section("Over time", "By calendar week; the last weeks have not matured in full", parts)


def _figures_table(first: str, found: Sequence[Figures], currency: str) -> Markup:
    header = (
        first,
        "Events",
        "Stopped",
        "Fraud",
        "Caught",
        "By amount",
        "Precision",
        "Good stopped",
        "Reviews",
        "Cost",
    )
    rows = [
        (
            item.name,
            thousands(item.all.events),
            thousands(item.stopped.events),
            thousands(item.all.frauds),
            share(item.recall),
            share(item.recall_by_amount),
            share(item.stopped.precision),
            share(item.friction),
            thousands(item.reviews),
            major(item.cost, currency),
        )
        for item in found
    ]
    return table(header, rows, caption=first)


def _rules(tested: BackTest) -> Section:
    records = sorted((*tested.rules, *tested.bands), key=lambda item: -item.saved)
    half = _RULES // 2
    shown = records if len(records) <= _RULES else [*records[:half], *records[-half:]]
    header = ("Rule or band", "Asks for", "Hits", "Precision", "Fraud", "Caught", "It alone", "Unknown", "Saves")
    parts = [
        table(header, [_record_row(item, tested.currency) for item in shown], caption="Rules and bands", numbers=2)
    ]
    saving = [item for item in records if item.saved]
    if len(saving) > _BARS:
        saving = [*saving[: _BARS // 2], *saving[-(_BARS // 2) :]]
    if saving:
        title = "What each saves, the rest staying as it is"
        plot = bars([_name(item) for item in saving], [item.saved for item in saving], title=title, x=tested.currency)
        parts.insert(0, plot)
    if len(shown) < len(records):
        parts.append(element("p", f"{len(records) - len(shown)} in the middle are left out here.", class_="note"))
    lead = (
        "What each hit, how often it was right, what it alone stopped - no other rule, band or fallback would have - "
        "and what the policy would cost more without it; for a rule in shadow, less with it"
    )
    return Section("Rules and bands", lead, parts)


def _record_row(item: Record, currency: str) -> tuple[Markup | str, ...]:
    shadow = element("span", item.mode, class_="tag") if item.mode != "live" else Markup("")
    condition = element("code", item.condition, class_="condition") if item.condition else Markup("")
    alone = f"{thousands(item.alone_frauds)} · {major(item.alone_amount, currency)}" if item.alone_frauds else "–"
    return (
        join((element("b", _name(item)), " ", shadow, condition)),
        _pill(item.outcome),
        thousands(item.hits),
        share(item.precision),
        thousands(item.frauds),
        major(item.fraud_amount, currency),
        alone,
        thousands(item.unknown),
        element(
            "span", major(item.saved, currency), class_="good" if item.saved > 0 else "bad" if item.saved < 0 else None
        ),
    )


def _name(item: Record) -> str:
    return item.name if item.kind == "rule" else f"score: {item.name}"


def _overlap(tested: BackTest) -> Section:
    shares = tested.jaccard()
    apart = np.where(np.eye(len(shares), dtype=bool), 0.0, np.nan_to_num(shares))
    closest = apart.max(axis=1) if apart.size else np.zeros(0)
    chosen = sorted(np.argsort(-closest, kind="stable")[:_HEATED].tolist())
    chosen = [number for number in chosen if closest[number] > 0]
    if len(chosen) < 2:
        return Section("Overlap", "", [])
    names = [tested.rules[number].name for number in chosen]
    drawn = heat(
        names,
        names,
        np.round(shares[np.ix_(chosen, chosen)], 2),
        title="Share of events hit by both, of those hit by either",
    )
    lead = "Rules that hit the same events: near 1, one of the two may be spared"
    return Section("Overlap", lead, [drawn])


def _segment(name: str, found: Sequence[Figures], currency: str) -> Section:
    names = [item.name for item in found]
    parts = [
        bars(names, [100 * item.recall_by_amount for item in found], title="Fraud stopped, by amount", x="percent"),
        bars(names, [100 * item.friction for item in found], title="Good events stopped", x="percent"),
        _figures_table(name, found, currency),
    ]
    return Section(f"By {name}", "Where the policy is strong and where it is not", parts)


def _stopped(tested: BackTest) -> Section:
    parts = [element("p", text) for text in about_stopped(tested)]
    found = tested.unblocked
    if found is not None:
        rows = [
            *(("Outcome " + word, spread(estimate)) for word, estimate in found.by_outcome.items() if estimate.events),
            *(("Rule " + name, spread(estimate)) for name, estimate in found.by_rule.items() if estimate.events),
        ]
        if rows:
            parts.append(table(("Precision of", "By the holdout"), rows, caption="Precision by the holdout", numbers=2))
    lead = "Whether what became of stopped events can be known"
    return Section("What was stopped", lead, parts)


def _events(tested: BackTest, change: Change | None) -> list[Section]:
    found = tested.examples if change is None else change.examples
    parts: list[Markup] = []
    for title, examples in found.items():
        if examples:
            parts += [element("h3", title.capitalize()), _example_table(examples, tested.currency)]
    return [Section("Events that matter most", "The largest of each kind, with the rules that hit", parts)]


def _example_table(examples: Sequence[Example], currency: str) -> Markup:
    rows = [
        (
            element("code", item.event_id),
            moment(item.time_us),
            join((*((_pill(item.before), " → ") if item.before else ()), _pill(item.outcome))),
            join(element("div", element("b", name), " ", text) for name, text in item.reasons)
            if item.reasons
            else element("span", " ".join(item.decided_by), class_="note"),
            major(item.amount, currency),
            "–" if np.isnan(item.score) else f"{item.score:.3f}",
        )
        for item in examples
    ]
    return table(("Event", "Time, UTC", "Outcome", "Why", "Amount", "Score"), rows, caption="Events", numbers=4)


def _pill(outcome: str) -> Markup:
    return element("span", outcome, class_=f"pill small {outcome}")


def _monday_us(date: str) -> int:
    return int(np.datetime64(date, "us").astype(np.int64))
