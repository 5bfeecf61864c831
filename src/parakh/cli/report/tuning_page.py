"""The page of tuned bands: the verdict, bands of now and chosen, what they do, and the frontier that they lie on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from parakh.cli.report.backtest_words import major, share, signed
from parakh.cli.report.charts import table
from parakh.cli.report.data import Figure
from parakh.cli.report.document import Section, document
from parakh.cli.report.html import Markup, element
from parakh.cli.report.plots import Series, lines
from parakh.cli.words import day, plural, thousands

if TYPE_CHECKING:
    from parakh.learning.promotion.tuning import Measured, Step, Tuning

__all__ = ["render"]

_BANDS = ("block", "review", "challenge")


def render(found: Tuning, *, project: str, past: Sequence[dict[str, Any]], diff: str) -> str:
    """The whole page as text; `diff` is the proposed change of the policy's file. The same tuning, the same page."""
    verdict = "Proposed" if found.proposes else "Nothing is proposed"
    return document(
        title=f"Bands of {found.score}",
        subtitle=f"{verdict}: {found.why}.",
        figures=_figures(found),
        sections=[_bands(found, diff), _measures(found), _frontier(found)],
        facts=[
            ("project", project),
            (
                "chosen on",
                f"{day(found.first_us)} to {day(found.test_from_us)}, {plural(found.frauds_earlier, 'fraud')}",
            ),
            ("measured on", f"from then to {day(found.last_us)}, {plural(found.frauds_later, 'fraud')}"),
            ("from", ", ".join(" ".join(str(value) for value in item.values()) for item in past)),
        ],
    )


def _figures(found: Tuning) -> list[Figure]:
    now, chosen, interval = found.now_later, found.chosen_later, found.saved_interval
    sure = "good" if interval.low > 0 else "bad" if interval.high < 0 else ""
    spread = f"95 % interval {signed(interval.low, found.currency)} to {signed(interval.high, found.currency)}"
    caught = chosen.fraud_amount_stopped / chosen.fraud_amount if chosen.fraud_amount else float("nan")
    before = now.fraud_amount_stopped / now.fraud_amount if now.fraud_amount else float("nan")
    return [
        Figure("Saved on the later part", signed(found.saved, found.currency), spread, sure),
        Figure("Fraud stopped", share(caught), f"of its amount; now {share(before)}"),
        Figure("Reviews a day", f"{chosen.reviews_per_day:.1f}", f"now {now.reviews_per_day:.1f}"),
        Figure("Good events stopped", share(chosen.friction), f"now {share(now.friction)}"),
    ]


def _bands(found: Tuning, diff: str) -> Section:
    rows = [(word, _from(getattr(found.now, word)), _from(getattr(found.chosen, word))) for word in _BANDS]
    parts = [table(("Band", "From score, now", "Chosen"), rows, caption="Bands")]
    if diff:
        parts += [element("h3", "The change of the policy"), element("pre", element("code", diff))]
    return Section("Bands", "From which score on each outcome is asked for", parts)


def _measures(found: Tuning) -> Section:
    measured = (found.now_later, found.chosen_later, found.now_earlier, found.chosen_earlier)

    def row(name: str, words: Sequence[str]) -> tuple[str, ...]:
        return (name, *words)

    rows = [
        row("Loss", [major(item.loss, found.currency) for item in measured]),
        row("Reviews a day", [f"{item.reviews_per_day:.1f}" for item in measured]),
        row("Most reviews in a day", [thousands(item.most_reviews) for item in measured]),
        row("Good events stopped", [share(item.friction) for item in measured]),
        row("Frauds stopped", [thousands(round(item.frauds_stopped)) for item in measured]),
        row("Fraud amount stopped", [major(item.fraud_amount_stopped, found.currency) for item in measured]),
    ]
    header = ("", "Now", "Chosen", "Now, earlier part", "Chosen, earlier part")
    note = (
        "The bands were chosen on the earlier part alone, so that only the later part says what they are worth. "
        "What rules, the fallback and other bands decide is in all figures."
    )
    if found.held_out:
        held = plural(found.held_out, "event")
        note += f" {held} that the holdout let through speak for all that was stopped."
    return Section(
        "What they do", "Measured on events that they were not chosen on, and on those that they were",
        [table(header, rows, caption="What the bands do"), element("p", note, class_="note")],
    )  # fmt: skip


def _frontier(found: Tuning) -> Section:
    parts = [
        drawn
        for drawn in (
            _loss(found, found.by_reviews, "reviews a day", lambda item: item.reviews_per_day),
            _loss(found, found.by_friction, "good events stopped, %", lambda item: 100 * item.friction),
        )
        if drawn
    ]
    if parts:
        parts.append(_steps(found.by_reviews, found.currency))
    lead = "What another limit would cost: bands chosen on the earlier part under each, measured on the later one"
    return Section("The frontier", lead, parts)


def _loss(found: Tuning, steps: Sequence[Step], x: str, value: Callable[[Measured], float]) -> Markup:
    """The loss of the best bands, and where now and the choice stand; nothing where all is one."""
    if len(steps) < 2:
        return Markup("")
    later = sorted((step.later for step in steps), key=value)
    best = Series("best bands", [value(item) for item in later], [item.loss for item in later])
    points = [Series(name, [value(item)], [item.loss]) for name, item in _points(found.now_later, found.chosen_later)]
    return lines([best, *points], title=f"Loss by {x}", x=x, y=f"loss, {found.currency}")


def _points(now: Measured, chosen: Measured) -> list[tuple[str, Measured]]:
    return [("now", now)] if now == chosen else [("now", now), ("chosen", chosen)]


def _steps(steps: Sequence[Step], currency: str) -> Markup:
    rows = [
        (
            f"{step.limits.reviews_per_day:.1f}",
            *(_from(getattr(step.thresholds, word)) for word in _BANDS),
            major(step.later.loss, currency),
            f"{step.later.reviews_per_day:.1f}",
            thousands(step.later.most_reviews),
            share(step.later.friction),
        )
        for step in steps
    ]
    header = ("At most a day", "Block", "Review", "Challenge", "Loss", "Reviews a day", "Most in a day", "Good stopped")
    return table(header, rows, caption="Bands by review capacity", numbers=0)


def _from(threshold: float | None) -> str:
    return "none" if threshold is None else f"{threshold:.10g}"
