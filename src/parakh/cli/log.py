"""`parakh log`: the log of a service, checked."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from parakh.cli.console import Console, clean, dim, green, red
from parakh.cli.loading import await_kernels, warm_kernels
from parakh.cli.options import data_folder
from parakh.cli.progress import Bar
from parakh.cli.words import plural, thousands

__all__ = ["command"]


@click.group(
    short_help="Check a service's log.",
    epilog="\b\nExample\n  parakh log verify /var/lib/parakh --decisions",
)
def command() -> None:
    """The log of `parakh serve`: every event, label, decision and version, in the order in which they acted."""


@command.command(
    "verify",
    epilog="\b\nExamples\n  parakh log verify /var/lib/parakh\n  parakh log verify /var/lib/parakh --decisions\n\n"
    "Exit code 1 where something is damaged or differs.",
)
@data_folder(exists=True)
@click.option("--decisions", is_flag=True, help="Make every decision again and compare it, bit for bit.")
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON.")
def verify(data: Path, decisions: bool, as_json: bool) -> int:
    """Check every entry of the log in DATA, which may be served meanwhile."""
    errors = Console.stderr()
    if decisions:
        await_kernels(warm_kernels(errors), errors)
    from parakh.service.backup import verify as verify_log

    with Bar(errors, "checking") as bar:
        found = verify_log(
            data, decisions=decisions, on_progress=lambda what, at, whole: bar.step(f"checking {what}", at, whole or at)
        )
    console = Console.stdout()
    if as_json:
        console.print(json.dumps(asdict(found)))
        return 1 if found.differing else 0
    console.print(
        f"{red('differs') if found.differing else green('whole')}  {clean(str(data))}: "
        f"{plural(found.entries, 'entry', 'entries')}, {plural(found.events, 'event')}, "
        f"{plural(found.decisions, 'decision')}, {plural(found.labels, 'label')}, {plural(found.versions, 'version')}"
    )
    if decisions and not found.differing:
        console.print(dim("every decision was made again, and is the same to the bit"))
    for position, index in found.first_differing:
        console.print(f"  the decision at position {thousands(position)}, event {index} of its batch, is another one")
    return 1 if found.differing else 0
