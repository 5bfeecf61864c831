"""`parakh simulate`: events of a made-up fintech, with frauds whose truth is known."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path

import click

from parakh.cli.console import Console, bold, clean, continued, cyan, green
from parakh.cli.progress import Bar
from parakh.cli.words import money, percent, plural, thousands

__all__ = ["command"]


@click.command(
    short_help="Make up events with frauds.",
    epilog="\b\nExample\n  parakh simulate fintech --events 200000 --seed 1 --out events\n\n"
    "The same scenario, number of events and seed give the same bytes.",
)
@click.argument("scenario", default="fintech")
@click.option("--events", "-n", default=200_000, show_default=True, type=click.IntRange(min=1), help="How many events.")
@click.option("--seed", "-s", default=1, show_default=True, type=click.IntRange(min=0), help="Which run of the dice.")
@click.option(
    "--out", "-o", required=True, type=click.Path(file_okay=False, path_type=Path), help="The folder to write to."
)
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON on stdout.")
def command(scenario: str, events: int, seed: int, out: Path, as_json: bool) -> int:
    """Run SCENARIO and write one file of events a type, the labels as people would give them, and the whole truth."""
    from parakh.simulation.scenario import SCENARIOS, simulate

    if scenario not in SCENARIOS:
        raise click.UsageError(f"there is no scenario {scenario!r}; there is {', '.join(SCENARIOS)}")
    began = time.monotonic()
    with Bar(Console.stderr(), "simulating") as bar:
        summary = simulate(scenario, events=events, seed=seed, out=out, progress=bar.step)
    console = Console.stdout()
    if as_json:
        data = asdict(summary) | {"folder": str(summary.folder), "seconds": round(time.monotonic() - began, 3)}
        console.print(json.dumps(data, indent=2, default=dict))
        return 0
    console.print(
        f"{green('wrote')} {bold(clean(str(out)))}: {thousands(summary.total)} events of "
        f"{plural(summary.customers, 'customer')}, {summary.first_event} to {summary.last_event}"
    )
    console.table([[f"{name}", thousands(count)] for name, count in summary.events.items()], align="<>")
    share = percent(summary.fraud_total, summary.judged)
    amount = money(summary.fraud_amount_minor, summary.currency)
    console.print(
        "", f"{plural(summary.fraud_total, 'fraud')} ({share} of payments and transfers), worth {bold(amount)}"
    )
    console.table([[name.replace("_", " "), thousands(count)] for name, count in summary.frauds.items()], align="<>")
    files = [f"--events {out / name}.ndjson" for name in summary.events]
    lines = ["parakh replay PROJECT", *files, f"--labels {out / 'labels.ndjson'}", "--out decisions.parquet"]
    console.print("", "Decide on them:", *(f"  {cyan(clean(line))}" for line in continued(lines)))
    return 0
