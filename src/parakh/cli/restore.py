"""`parakh restore`: a backup brought back into a new data directory, and proved."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path

import click

from parakh.cli.console import Console, bold, clean, dim, green
from parakh.cli.loading import await_kernels, warm_kernels
from parakh.cli.progress import Bar
from parakh.cli.words import plural

__all__ = ["command"]


@click.command(
    short_help="Bring a backup back, and prove it.",
    epilog="\b\nExamples\n  parakh restore /backups/2026-11-25 /var/lib/parakh\n"
    "  parakh restore /backups/2026-11-25 /tmp/drill --json      # a drill, for a schedule",
)
@click.argument("backup", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("data", type=click.Path(file_okay=False, path_type=Path))
@click.option("--quick", is_flag=True, help="Check files, entries and state; do not make every decision again.")
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON.")
def command(backup: Path, data: Path, quick: bool, as_json: bool) -> int:
    """Bring BACKUP back into the new directory DATA.

    Everything is proved: the files' digests, every entry of the log, the state, and - unless --quick - every decision,
    made again and compared bit for bit. Where anything differs nothing is left in DATA.
    """
    os.umask(0o077)
    errors = Console.stderr()
    await_kernels(warm_kernels(errors), errors)
    from parakh.service.backup import restore

    with Bar(errors, "restoring") as bar:

        def progress(what: str, at: int, whole: int | None) -> None:
            bar.step(f"checking {what}", at, whole or at)

        found = restore(backup, data, decisions=not quick, on_progress=progress)
    console = Console.stdout()
    if as_json:
        said = {"position": found.position, "events_held": found.events_held, **asdict(found.verified)}
        console.print(json.dumps(said))
        return 0
    verified = found.verified
    console.print(
        f"{green('restored')} {bold(clean(str(data)))}: {plural(verified.events, 'event')}, "
        f"{plural(verified.labels, 'label')}, {plural(verified.versions, 'version')} of the project"
    )
    again = "not made again" if not found.made_again else "every one was made again, and is the same to the bit"
    console.print(dim(f"{plural(verified.decisions, 'decision')}: {again}"))
    return 0
