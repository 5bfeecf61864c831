"""A back-test in the terminal: the verdict, figures at a glance, rules by what they save, old against new."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from parakh.cli.console import Console, bold, clean, cut, dim, green, outcome, red
from parakh.cli.report.backtest_words import (
    about_labels,
    about_stopped,
    change_verdict,
    headline,
    major,
    share,
    signed,
    verdict,
)
from parakh.cli.words import day, plural, thousands

if TYPE_CHECKING:
    from parakh.learning.backtests.backtest import BackTest
    from parakh.learning.backtests.records import Record
    from parakh.learning.backtests.versus import Change

__all__ = ["print_json", "show"]

_MOST_ROWS = 25
_LAST_ROWS = 8


def print_json(tested: BackTest, change: Change | None, console: Console) -> None:
    """Everything, for programs."""
    data = tested.as_data() | {"verdict": verdict(tested), "notes": [*about_labels(tested), *about_stopped(tested)]}
    if change is not None:
        data["change"] = change.as_data() | {"verdict": change_verdict(change, tested.currency)}
    console.print(json.dumps(data, indent=2, allow_nan=False))


def show(tested: BackTest, console: Console, change: Change | None = None) -> None:
    """The verdict first; then old against new, where there is an old one, and the policy itself at a glance."""
    currency, total = tested.currency, tested.total
    console.print(
        f"{bold(plural(total.all.events, tested.event_type))}, {day(tested.first_us)} to {day(tested.last_us)}, "
        f"{tested.label} as known by {day(tested.known_by_us)}",
        "",
    )
    if change is not None:
        console.say(bold(change_verdict(change, currency)))
        show_change(change, currency, console)
        console.print("", bold("The new policy"))
        console.say(verdict(tested))
    else:
        console.say(bold(verdict(tested)))
    console.print("")
    console.table(
        [
            [
                outcome(word),
                thousands(sums.events),
                major(sums.amount, currency),
                thousands(sums.frauds),
                share(sums.precision),
                major(sums.fraud_amount, currency),
            ]
            for word, sums in tested.outcomes.items()
        ],
        header=["", "events", "amount", "fraud", "of matured", "fraud amount"],
        align="<>>>>>",
    )
    console.print("")
    console.table(
        [
            *([name, value, dim(note)] for name, value, note in headline(tested)),
            *([item.name, f"{item.roc_auc:.3f}", f"ROC AUC; average precision {item.average_precision:.3f}"
               + (dim(" shadow") if item.mode == "shadow" else "")] for item in tested.models),
        ],
        align="<><",
    )  # fmt: skip
    if tested.bands or tested.rules:
        console.print("")
        show_records(tested, console)
    console.print("")
    for text in (*about_labels(tested), *about_stopped(tested)):
        console.say(dim(text))


def show_records(tested: BackTest, console: Console) -> None:
    """Rules and bands, those that save most first."""
    records = sorted((*tested.rules, *tested.bands), key=lambda item: -item.saved)
    shown = records if len(records) <= _MOST_ROWS else [*records[: _MOST_ROWS - _LAST_ROWS], *records[-_LAST_ROWS:]]
    console.table(
        [_row(item, tested.currency) for item in shown],
        header=["rule or band", "asks", "hits", "precision", "fraud", "caught", "it alone", "unknown", "saves"],
        align="<<>>>>>>>",
    )
    if len(shown) < len(records):
        console.print(dim(f"  {len(records) - len(shown)} between them are in --json and in the page (--out)"))


def _row(item: Record, currency: str) -> list[str]:
    name = cut(clean(item.name if item.kind == "rule" else f"score: {item.name}"), 28)
    saved = major(item.saved, currency)
    return [
        f"{name} {dim('shadow')}" if item.mode == "shadow" else name,
        outcome(item.outcome),
        thousands(item.hits),
        share(item.precision),
        thousands(item.frauds),
        major(item.fraud_amount, currency),
        f"{thousands(item.alone_frauds)} {dim(major(item.alone_amount, currency))}" if item.alone_frauds else "-",
        thousands(item.unknown),
        green(saved) if item.saved > 0 else red(saved) if item.saved < 0 else dim(saved),
    ]


def show_change(change: Change, currency: str, console: Console) -> None:
    """Old against new."""
    if not change.changed:
        return
    console.print("")
    console.table(
        [
            [
                f"{outcome(item.before)} → {outcome(item.after)}",
                thousands(item.sums.events),
                major(item.sums.amount, currency),
                thousands(item.sums.frauds),
                thousands(item.sums.good),
            ]
            for item in change.moved
        ],
        header=["outcome", "events", "amount", "fraud", "good"],
        align="<>>>>",
    )
    old, new = change.before, change.after
    rows = [
        ("fraud caught", old.stopped.fraud_amount, new.stopped.fraud_amount, True),
        ("cost", old.cost, new.cost, False),
    ]
    console.print("")
    console.table(
        [
            *([word, major(a, currency), major(b, currency), _better(b - a, signed(b - a, currency), more=more)]
              for word, a, b, more in rows),
            ["good stopped", thousands(old.stopped.good), thousands(new.stopped.good),
             _better(new.stopped.good - old.stopped.good, f"{new.stopped.good - old.stopped.good:+,}", more=False)],
            ["reviews a day", f"{change.load_before.mean:.1f}", f"{change.load_after.mean:.1f}",
             _better(change.load_after.mean - change.load_before.mean,
                     f"{change.load_after.mean - change.load_before.mean:+.1f}", more=False)],
        ],
        header=["", "before", "after", "change"],
        align="<>>>",
    )  # fmt: skip
    console.print(
        "",
        f"good customers no longer stopped: {thousands(change.people_gained)}, "
        f"newly stopped: {thousands(change.people_lost)}",
    )
    for title, found in change.examples.items():
        if found:
            first = found[0]
            why = ", ".join(name for name, _ in first.reasons) or " ".join(first.decided_by)
            console.say(
                f"{title}, the largest: {clean(first.event_id)} of {major(first.amount, currency)}, "
                f"{first.before} → {first.outcome} ({clean(why)})",
                hanging="  ",
            )


def _better(change: float, text: str, *, more: bool) -> str:
    """A change in the colour of whether it is for the better."""
    if not change:
        return dim(text)
    return green(text) if (change > 0) == more else red(text)
