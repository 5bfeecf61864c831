"""`parakh replay`: past events from files through the engine, and the decisions into a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from parakh.cli.console import Console, bold, clean, green, yellow
from parakh.cli.loading import await_kernels, expect_label_columns, load_project, named_sources, warm_kernels
from parakh.cli.options import event_options
from parakh.cli.progress import Bar
from parakh.cli.words import plural, thousands

if TYPE_CHECKING:
    from parakh.decisions.decisions import Decisions
    from parakh.decisions.replay import Progress

__all__ = ["command"]


@click.command(
    short_help="Decide on past events from files.",
    epilog="\b\nExamples\n  parakh replay shop --events payment.ndjson --out decisions.parquet\n"
    "  parakh replay shop --events payment=2025.csv.gz --events login=logins.parquet \\\n"
    "      --labels labels.ndjson --out decisions.ndjson --features\n"
    "  cat payment.ndjson | parakh replay shop --events payment=- --out - | jq .outcome\n\n"
    "What cannot be read as an event is written to OUT.quarantine.ndjson, with its reason.",
)
@click.argument("project", type=click.Path(exists=True, file_okay=False, path_type=Path))
@event_options()
@click.option("--out", "-o", required=True, metavar="FILE", help="Where to: .parquet, .ndjson, or - for stdout.")
@click.option("--format", "asked", type=click.Choice(["parquet", "ndjson"]), help="Where the name is silent.")
@click.option("--features", is_flag=True, help="One column a feature, under its full name (card.payments_10m).")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def command(
    project: Path,
    events: tuple[str, ...],
    labels: str | None,
    label_delay: int | None,
    out: str,
    asked: str | None,
    features: bool,
    as_json: bool,
) -> int:
    """Decide on past events exactly as live: the same events give the same decisions, bit for bit.

    Ends with a summary: received = accepted + duplicates + quarantined, outcomes and speed; with labels also precision,
    recall, the amount of fraud caught and the false alarms for each fraud.
    """
    errors = Console.stderr()
    loaded = load_project(project)
    sources = named_sources(loaded, events)
    expect_label_columns(loaded, sources, label_delay)
    for name in [source.path for source in sources] + ([labels] if labels else []):
        for written in (out, f"{out}.partial") if out != "-" else ():
            if Path(name).exists() and Path(written).exists() and Path(name).samefile(written):
                raise click.BadParameter(f"{written} is an input: it would be overwritten", param_hint="--out")
    warming = warm_kernels(errors)
    from parakh.cli.output import format_of, open_output
    from parakh.cli.summary import show_summary, summary_as_data
    from parakh.decisions.replay import Replay

    format = format_of(out, asked)
    await_kernels(warming, errors)
    quarantine = Path(f"{'stdin' if out == '-' else out}.quarantine.ndjson")
    replay = Replay(loaded, sources, labels=labels, label_delay_us=label_delay, quarantine=quarantine)
    with open_output(out, format, replay.schema(features=features)) as output, Bar(errors, "replaying") as bar:

        def take(decisions: Decisions, progress: Progress) -> None:
            output.write(decisions.to_arrow(features=features))
            show_progress(bar, progress)

        summary = replay.run(take)
    # Where the decisions go to stdout, nothing else may.
    console = errors if out == "-" else Console.stdout()
    if as_json:
        console.print(json.dumps(summary_as_data(summary), indent=2))
    else:
        show_summary(summary, console)
        if out != "-":
            console.print("", f"{green('wrote')} {bold(clean(out))}: {plural(summary.decided, 'decision')}")
    for step in summary.steps_back:
        errors.print(
            f"{yellow('warning')} {clean(step.file)} begins before the end of {clean(step.before)}, by more than the "
            "lateness: those of its events are late and have no features"
        )
    quarantined = sum(summary.quarantined.values())
    if quarantined:
        errors.print(f"{yellow('quarantined')} {plural(quarantined, 'event')}: {clean(str(quarantine))}")
    return 0


def show_progress(bar: Bar, progress: Progress) -> None:
    """How far a replay is, and how fast."""
    share = progress.done_bytes / progress.total_bytes if progress.total_bytes else None
    speed = round(progress.events / progress.seconds) if progress.seconds else 0
    bar.to(share, f"{thousands(progress.events)} events, {thousands(speed)}/s")
