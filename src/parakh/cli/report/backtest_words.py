"""What a back-test says in sentences, its money and shares as people read them: terminal and page say them alike."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from parakh.cli.words import percent, plural, short_money, thousands
from parakh.expressions.types import minor_digits

if TYPE_CHECKING:
    from parakh.learning.backtests.backtest import BackTest
    from parakh.learning.backtests.unblocked import Estimate, Unblocked
    from parakh.learning.backtests.versus import Change

__all__ = [
    "about_labels",
    "about_stopped",
    "change_verdict",
    "headline",
    "major",
    "share",
    "signed",
    "spread",
    "verdict",
]


def major(amount: float, currency: str) -> str:
    """An amount in major units, rounded as for a headline.

    >>> major(1234567.8, "INR"), major(float("nan"), "INR")
    ('₹1.23 M', '–')
    """
    return "–" if math.isnan(amount) else short_money(round(amount * 10 ** minor_digits(currency)), currency)


def share(value: float) -> str:
    """A share in percent, a dash where there is none.

    >>> share(0.1234), share(float("nan"))
    ('12.3 %', '–')
    """
    return "–" if math.isnan(value) else percent(value, 1)


def spread(estimate: Estimate) -> str:
    """An estimate with its interval and what it rests on."""
    if not estimate.events:
        return "not known"
    return (
        f"{share(estimate.value)} ({share(estimate.low)} to {share(estimate.high)}, "
        f"from {plural(estimate.events, 'event')})"
    )


def verdict(tested: BackTest) -> str:
    """One sentence on one policy."""
    total, currency = tested.total, tested.currency
    if not total.all.matured:
        return "No event has matured by the cut-off, so that right and wrong cannot be told yet."
    if not total.all.frauds:
        return (
            f"No matured event is known as fraud; of {thousands(total.all.good)} good ones "
            f"{share(total.friction)} were stopped."
        )
    return (
        f"It stopped {share(total.recall_by_amount)} of {major(total.all.fraud_amount, currency)} of fraud "
        f"and {share(total.friction)} of good events; it cost {major(total.cost, currency)}, where letting everything "
        f"through would have cost {major(tested.cost_of_allowing, currency)}."
    )


def change_verdict(change: Change, currency: str) -> str:
    """One sentence on a new policy against an old one."""
    if not change.changed:
        return f"Nothing changes: on {plural(change.events, 'event')} both decide the same."
    if not change.after.all.matured:
        return f"{plural(change.changed, 'outcome')} would change; none has matured, so better or worse cannot be told."
    low, high, by = change.cost_change_low, change.cost_change_high, change.cost_change
    said = f"{major(abs(by), currency)} {'less' if by <= 0 else 'more'}"
    sides = f"95 % interval {signed(low, currency)} to {signed(high, currency)}"
    if low <= 0 <= high:
        first = f"No difference beyond chance: the new policy would have cost {said} ({sides})"
    else:
        word = "better" if by < 0 else "worse"
        first = f"The new policy is {word}: it would have cost {said} ({sides})"
    fraud = change.after.stopped.fraud_amount - change.before.stopped.fraud_amount
    good = change.after.stopped.good - change.before.stopped.good
    more = f"{major(abs(fraud), currency)} {'more' if fraud > 0 else 'less'} fraud" if fraud else "as much fraud"
    fewer = plural(abs(good), f"{'more' if good > 0 else 'fewer'} good event") if good else "as many good events"
    return f"{first}; it stops {more} and {fewer}.{_unseen(change, currency)}"


def _unseen(change: Change, currency: str) -> str:
    """What the labels cannot say of events that the old policy stopped and the new lets through."""
    if not change.unseen:
        return ""
    told = (
        f" {plural(change.unseen, 'matured event')} that the old policy stopped would go through, and what becomes of "
        "stopped events may not be known"
    )
    found = change.by_holdout
    if found is None:
        return f"{told}: without a holdout the new policy may look better than it is."
    sides = f"{signed(found.low, currency)} to {signed(found.high, currency)}"
    return f"{told}: by the holdout its cost changes by {signed(found.value, currency)} ({sides})."


def signed(amount: float, currency: str) -> str:
    """A change of an amount with its sign."""
    return f"+{major(amount, currency)}" if amount > 0 else major(amount, currency)


def headline(tested: BackTest) -> list[tuple[str, str, str]]:
    """The figures that matter most: what each is called, its value and a note."""
    total, load, currency = tested.total, tested.load, tested.currency
    people = f", {thousands(tested.good_people_stopped)} of {plural(tested.good_people, 'customer')}"
    people = people if tested.good_people else ""
    return [
        (
            "fraud caught",
            share(total.recall_by_amount),
            f"{major(total.stopped.fraud_amount, currency)} of {major(total.all.fraud_amount, currency)}",
        ),
        (
            "frauds caught",
            share(total.recall),
            f"{thousands(total.stopped.frauds)} of {plural(total.all.frauds, 'event')}",
        ),
        ("precision", share(total.stopped.precision), f"by amount {share(total.precision_by_amount)}"),
        (
            "good stopped",
            share(total.friction),
            f"{thousands(total.stopped.good)} of {plural(total.all.good, 'event')}{people}",
        ),
        (
            "reviews a day",
            f"{load.mean:.1f}",
            f"most {thousands(load.largest)}, on {load.largest_day}; "
            f"over {load.capacity:g} on {load.over} of {plural(load.days, 'day')}",
        ),
        (
            "cost",
            major(total.cost, currency),
            f"{major(abs(tested.saved), currency)} {'less' if tested.saved >= 0 else 'more'} than letting all through",
        ),
    ]


def about_labels(tested: BackTest) -> list[str]:
    """What the figures leave out, and what they presume."""
    total = tested.total.all
    told = []
    if total.events > total.matured:
        told.append(
            f"{plural(total.events - total.matured, 'event')} had not matured by the cut-off: they count in outcomes "
            "and load, not in what was right or wrong."
        )
    if tested.unlabelled:
        told.append(f"{thousands(tested.unlabelled)} matured of which nothing was known count as good.")
    if tested.late:
        told.append(f"{plural(tested.late, 'event')} came too late for their windows.")
    if tested.degraded:
        told.append(f"{plural(tested.degraded, 'decision')} fell back, for want of a score or an answer.")
    return told


def about_stopped(tested: BackTest) -> list[str]:
    """How far the labels of what was stopped are to be trusted, and what a holdout says instead."""
    found = tested.unblocked
    if found is not None:
        return _by_holdout(found)
    stopped = tested.total.stopped.events
    if not stopped:
        return []
    return [
        f"There is no holdout: what becomes of a stopped event may never be known, and counts as good then. For the "
        f"{thousands(stopped)} stopped here precision, fraud caught, good stopped and cost may be too low or too high; "
        "what was let through is not touched. A policy with `holdout: 1%` learns it."
    ]


def _by_holdout(found: Unblocked) -> list[str]:
    told = [
        f"{thousands(found.held)} events were let through by the holdout of {share(found.share)} "
        f"({thousands(found.held_matured)} matured, {thousands(found.held_frauds)} of them fraud). Weighted by "
        f"1 / {share(found.share)} they stand for all that was stopped: precision {spread(found.precision)}; "
        f"of all frauds stopped {spread(found.recall)}."
    ]
    if found.beyond:
        told.append(
            f"{plural(found.beyond, 'stopped event')} of {thousands(found.stopped)} are of kinds that the holdout "
            "never lets through; for these nothing can be said."
        )
    if found.held_matured < 30:
        told.append("So few events leave wide intervals; a longer span or a larger share narrows them.")
    return told
