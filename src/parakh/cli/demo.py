"""`parakh demo`: everything at once, on a fintech that is made up."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["command"]


@click.command(
    short_help="See it all.",
    epilog="\b\nExample\n  parakh demo\n  parakh demo --events 1000000 --seed 7 --folder bigger",
)
@click.option(
    "--folder",
    default="demo",
    show_default=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the events, the project and the report go.",
)
@click.option("--events", "-n", default=200_000, show_default=True, type=click.IntRange(min=2_000), help="How many.")
@click.option("--seed", "-s", default=1, show_default=True, type=click.IntRange(min=0), help="Which run of the dice.")
@click.option("--fast", is_flag=True, help="Do not slow the replay down to be watched.")
def command(folder: Path, events: int, seed: int, fast: bool) -> int:
    """Make up a fintech, judge its events live, tell three decisions, change a rule and see what it would have done;
    serve it over HTTP, kill the server in the middle, and see that nothing is lost.

    Nothing leaves the machine. All of it is also written as one page: FOLDER/report.html.
    """
    from parakh.cli.demonstration import demonstrate

    demonstrate(folder, events, seed, fast=fast)
    return 0
