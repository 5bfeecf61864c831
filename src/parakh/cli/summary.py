"""The last words of a replay: what came in and became of it, what was decided, and how well where labels tell."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from parakh.cli.console import OUTCOME_STYLES, Console, bold, clean, dim, green, outcome, red
from parakh.cli.words import money, percent, plural, thousands
from parakh.expressions.types import minor_digits

if TYPE_CHECKING:
    from parakh.decisions.replay import Judged, Summary

__all__ = ["show_summary", "summary_as_data"]


def show_summary(summary: Summary, console: Console) -> None:
    """Print the counts, the outcomes by event type and the judgement of each type that has labels."""
    quarantined = sum(summary.quarantined.values())
    console.print(
        f"{bold(thousands(summary.received))} received = {thousands(summary.accepted)} accepted"
        f" + {plural(summary.duplicates, 'duplicate')} + {_problems(quarantined)}"
    )
    if quarantined:
        ordered = sorted(summary.quarantined.items(), key=lambda item: -item[1])
        console.table([[clean(reason), thousands(count)] for reason, count in ordered], align="<>")
    if summary.received and not summary.accepted and not summary.duplicates:
        console.print(red("nothing was accepted: are these events of this type?"))
    if summary.late:
        console.print(f"{thousands(summary.late)} came later than the lateness allows: decided without windows")
    if any(summary.labels.values()):
        console.print("labels: " + ", ".join(f"{thousands(count)} {what}" for what, count in summary.labels.items()))
    speed = thousands(round(summary.received / summary.seconds)) if summary.seconds else "–"
    console.print(f"{thousands(summary.decided)} decided in {summary.seconds:.1f} s, {bold(speed)} events/s", "")
    if summary.outcomes:
        console.table(
            [
                [event_type, *(_count(word, row.get(word, 0), sum(row.values())) for word in OUTCOME_STYLES)]
                for event_type, row in summary.outcomes.items()
            ],
            header=["", *OUTCOME_STYLES],
            align="<>>>>",
        )
    for event_type, held_out in summary.held_out.items():
        told = ", ".join(f"{thousands(held_out[word])} {word}" for word in OUTCOME_STYLES if word in held_out)
        console.print(f"held out and allowed of {event_type}: {told}")
    for event_type, judged in summary.judged.items():
        console.print("")
        _show_judged(event_type, judged, console)


def _problems(count: int) -> str:
    text = f"{thousands(count)} quarantined"
    return red(text) if count else text


def _count(word: str, count: int, whole: int) -> str:
    if not count:
        return dim("0")
    return f"{outcome(word, thousands(count))} {dim(f'{percent(count, whole):>6}')}"


def _show_judged(event_type: str, judged: Judged, console: Console) -> None:
    console.print(f"{bold(event_type)} {dim('against its labels')}")
    per_fraud = judged.false_alarms_per_fraud
    rows = [
        ["fraud", plural(judged.frauds, "event"), ""],
        ["stopped", plural(judged.stopped, "event"), dim("not allowed")],
        ["precision", _share(judged.precision), dim("of what was stopped was fraud")],
        ["recall", _share(judged.recall), dim("of the frauds was stopped")],
    ]
    if judged.currency:
        caught, whole = (_minor(amount, judged.currency) for amount in (judged.caught_amount, judged.fraud_amount))
        share = dim(f"{percent(caught, whole)} of the fraud's amount")
        rows.append(["caught", green(money(caught, judged.currency)), share])
        rows.append(["passed", red(money(whole - caught, judged.currency)), ""])
    alarms = "–" if per_fraud is None else f"{per_fraud:.2f}"
    rows.append(["false alarms", alarms, dim("for each fraud that was stopped")])
    console.table(rows)


def _share(value: float | None) -> str:
    return "–" if value is None else percent(value, 1)


def _minor(amount: float, currency: str) -> int:
    return round(amount * 10 ** minor_digits(currency))


def summary_as_data(summary: Summary) -> dict[str, Any]:
    """The summary for a program to read."""
    data = asdict(summary)
    data["events_per_second"] = round(summary.received / summary.seconds) if summary.seconds else None
    for event_type, judged in summary.judged.items():
        data["judged"][event_type] |= {
            "precision": judged.precision,
            "recall": judged.recall,
            "false_alarms_per_fraud": judged.false_alarms_per_fraud,
        }
    return data
