"""`parakh backup`: a copy of a service's data, taken while it decides."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click

from parakh.cli.console import Console, bold, clean, green, yellow
from parakh.cli.options import data_folder
from parakh.cli.progress import Bar
from parakh.cli.words import plural, thousands

__all__ = ["command"]


@click.command(
    short_help="Copy a service's data while it decides.",
    epilog="\b\nExamples\n  parakh backup /var/lib/parakh /backups/2026-11-25\n"
    "  parakh restore /backups/2026-11-25 /tmp/drill      # proves it",
)
@data_folder(exists=True)
@click.argument("target", type=click.Path(file_okay=False, path_type=Path))
@click.option("--without-master-key", is_flag=True, help="Leave the master key out, where it stands beside the data.")
@click.option("--json", "as_json", is_flag=True, help="Print what was copied as JSON.")
def command(data: Path, target: Path, without_master_key: bool, as_json: bool) -> int:
    """Copy log, newest snapshot, versions, settings and keys of DATA into the new folder TARGET.

    The service may run meanwhile: the copy ends where the log was on disk when it began.
    """
    from parakh.service.backup import back_up

    os.umask(0o077)
    errors = Console.stderr()
    with Bar(errors, "copying") as bar:
        done = back_up(
            data,
            target,
            master_key=not without_master_key,
            on_progress=lambda what, at, whole: bar.step(f"copying {what}", at, whole or at),
        )
    console = Console.stdout()
    if as_json:
        console.print(json.dumps({"folder": str(done.folder), "position": done.position, "files": done.files,
                                  "bytes": done.nbytes, "has_master_key": done.has_master_key}))  # fmt: skip
        return 0
    console.print(
        f"{green('backed up')} {bold(clean(str(done.folder)))}: {plural(done.files, 'file')}, "
        f"{done.nbytes / 2**20:,.1f} MB, the log up to {thousands(done.position)}"
    )
    if done.has_master_key:
        console.print(yellow("it holds the master key: whoever has this folder can make tokens of personal values"))
    return 0
