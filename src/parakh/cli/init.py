"""`parakh init`: a runnable project to begin with."""

from __future__ import annotations

from pathlib import Path

import click

from parakh.cli.console import Console, bold, clean, cyan, green
from parakh.errors import ProjectError

__all__ = ["command"]


@click.command(
    short_help="Begin a project in a new folder.",
    epilog="\b\nExample\n  parakh init shop\n  cd shop && parakh check && parakh test",
)
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
def command(folder: Path) -> None:
    """Write a runnable card-payments project into FOLDER, which must be new or empty."""
    from parakh.project.init import create

    try:
        written = create(folder)
    except ProjectError as error:
        raise click.UsageError(error.problems[0].message) from None
    console = Console.stdout()
    console.print(f"{green('wrote')} {bold(clean(str(folder)))}: {len(written)} files", "", "Next:")
    for line, why in (
        (f"parakh check {folder}", "is it sound?"),
        (f"parakh test {folder}", "do the rules do what they should?"),
        ("parakh simulate fintech --events 50000 --out events", "events to try it on"),
        (f"parakh replay {folder} --events events/payment.ndjson ... --out decisions.parquet", "decide on them"),
    ):
        console.print(f"  {cyan(clean(line))}   {why}")
