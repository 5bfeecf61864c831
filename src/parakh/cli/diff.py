"""`parakh diff`: what a change of a project says, and on past events what it does."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from parakh.cli.console import Console, bold, clean, cut, cyan, dim, green, outcome, red, yellow
from parakh.cli.loading import await_kernels, expect_label_columns, load_project, named_sources, warm_kernels
from parakh.cli.options import event_options
from parakh.cli.words import money, plural, thousands

if TYPE_CHECKING:
    from parakh.cli.compare import Comparison
    from parakh.project.diff import Change, ProjectDiff

__all__ = ["command", "show_comparison"]

_SIGNS = {"added": ("+", green), "removed": ("-", red), "changed": ("~", yellow)}


@click.command(
    short_help="What a change says and does.",
    epilog="\b\nExamples\n  parakh diff main/shop shop\n"
    "  parakh diff main/shop shop --events payment.ndjson --labels labels.ndjson",
)
@click.argument("old", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("new", type=click.Path(exists=True, file_okay=False, path_type=Path))
@event_options(required=False)
@click.option("--json", "as_json", is_flag=True, help="Print the differences as JSON on stdout.")
def command(
    old: Path, new: Path, events: tuple[str, ...], labels: str | None, label_delay: int | None, as_json: bool
) -> int:
    """Show what differs between the projects OLD and NEW.

    With --events both decide on the same events: which outcomes change from what to what, the amounts, and with labels
    what it means for fraud and for good customers.
    """
    from parakh.project.diff import diff

    console = Console.stdout()
    before, after = load_project(old), load_project(new)
    differences = diff(before, after)
    comparison = None
    if events:
        errors = Console.stderr()
        sources = named_sources(after, events)
        expect_label_columns(after, sources, label_delay)
        warming = warm_kernels(errors)
        from parakh.cli.compare import compare

        await_kernels(warming, errors)
        comparison = compare(before, after, sources, labels=labels, label_delay_us=label_delay, console=errors)
    elif labels or label_delay is not None:
        raise click.UsageError("--labels and --label-delay say nothing without --events")
    if as_json:
        console.print(json.dumps(_as_data(differences, comparison), indent=2))
        return 0
    _show_differences(differences, console)
    if comparison is not None:
        console.print("")
        show_comparison(comparison, console)
    return 0


def _show_differences(differences: ProjectDiff, console: Console) -> None:
    if not differences:
        console.print("The two projects say the same.")
        return
    for change in differences.changes:
        sign, style = _SIGNS[change.status]
        console.print(f"{style(sign)} {change.kind} {bold(clean(change.name))} {dim(change.status)}")
        if change.status != "removed":
            _show_parts(change, console)
    versions = f"{differences.old_hash[:12]} → {differences.new_hash[:12]}"
    console.print("", dim(f"{plural(len(differences.changes), 'change')}, version {versions}"))


def _show_parts(change: Change, console: Console) -> None:
    room = max(30, console.columns - 8)
    for part in change.parts:
        key = f"{part.key}: "
        if change.status == "changed" and part.before is not None:
            console.print(f"    {key}{red(cut(clean(' '.join(part.before.split())), room))}")
            key = " " * len(key)
        shown = green(cut(clean(" ".join(part.after.split())), room)) if part.after is not None else dim("removed")
        console.print(f"    {key}{shown}")


def show_comparison(comparison: Comparison, console: Console) -> None:
    """Print the outcomes that changed, and what that means for money and for people."""
    total = sum(item.events for item in comparison.movements)
    console.print(bold(f"On {thousands(comparison.decided)} decisions, {plural(total, 'outcome')} changed"))
    if comparison.movements:
        rows = [
            [
                f"{clean(item.event_type)}",
                f"{outcome(item.before)} → {outcome(item.after)}",
                thousands(item.events),
                money(item.amount, comparison.currency),
                *((thousands(item.frauds), thousands(item.events - item.frauds)) if comparison.labelled else ()),
            ]
            for item in comparison.movements
        ]
        header = ["", "outcome", "events", "amount", *(("fraud", "other") if comparison.labelled else ())]
        console.table(rows, header=header, align="<<>>>>")
    if not comparison.labelled:
        console.print(dim("No labels were given, so whether that is better cannot be told (--labels)."))
        return
    old, new, currency = comparison.before, comparison.after, comparison.currency
    gain = new.fraud_amount_stopped - old.fraud_amount_stopped
    console.print("")
    console.table(
        [
            ["fraud stopped", money(old.fraud_amount_stopped, currency), money(new.fraud_amount_stopped, currency),
             _signed(gain, money(gain, currency))],
            ["frauds stopped", thousands(old.frauds_stopped), thousands(new.frauds_stopped),
             _signed(new.frauds_stopped - old.frauds_stopped)],
            ["good events stopped", thousands(old.good_stopped), thousands(new.good_stopped),
             _signed(new.good_stopped - old.good_stopped, better=-1)],
        ],
        header=["", "before", "after", "change"],
        align="<>>>",
    )  # fmt: skip
    console.print(
        "",
        f"good customers no longer stopped: {cyan(thousands(comparison.people_gained))}, "
        f"newly stopped: {cyan(thousands(comparison.people_lost))}",
    )


def _signed(number: int, text: str | None = None, *, better: int = 1) -> str:
    shown = (text or thousands(number)) if number <= 0 else f"+{text or thousands(number)}"
    if number == 0:
        return dim(shown)
    return green(shown) if number * better > 0 else red(shown)


def _as_data(differences: ProjectDiff, comparison: Comparison | None) -> dict[str, Any]:
    data: dict[str, Any] = {
        "old": differences.old_hash,
        "new": differences.new_hash,
        "changes": [asdict(change) for change in differences.changes],
    }
    if comparison is not None:
        data["outcomes"] = asdict(comparison)
    return data
