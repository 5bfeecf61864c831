"""`parakh versions`: the versions by which a running server decided, and the way back to one of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click
import msgspec

from parakh.cli.apply import applied, show_applied
from parakh.cli.console import Console, bold, clean, dim, green, yellow
from parakh.cli.remote import agreed, connect, server_option
from parakh.cli.words import plural
from parakh.errors import InputError

if TYPE_CHECKING:
    from parakh.client import ProjectState, Version

__all__ = ["command"]

_SHORTEST_PREFIX = 4


@click.command(
    short_help="A server's versions, and the way back.",
    epilog="\b\nExamples\n  parakh versions\n  parakh versions --back\n  parakh versions --to 3f9a27c1",
)
@server_option
@click.option("--back", is_flag=True, help="Let the version before the live one decide again.")
@click.option("--to", metavar="HASH", help="Let this version decide again; the beginning of its hash will do.")
@click.option("--yes", "-y", is_flag=True, help="Change without asking.")
@click.option("--no-wait", is_flag=True, help="Do not wait until it decides.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON on stdout.")
def command(server: str, back: bool, to: str | None, yes: bool, no_wait: bool, as_json: bool) -> int:
    """List the versions of the project that the server has, newest first; with --back or --to let one decide again."""
    if back and to is not None:
        raise click.UsageError("--back and --to say two things; say one")
    console, errors = Console.stdout(), Console.stderr()
    with connect(server) as client:
        live, versions = client.project(), client.versions()
        if not back and to is None:
            _show(live, versions, console, as_json)
            return 0
        if as_json and not yes:
            raise click.UsageError("--json asks nobody: say --yes too")
        hash = _before(live) if back else _named(to or "", versions)
        if hash == live.hash and not live.is_replaced_soon:
            raise InputError(f"version {hash[:12]} is the one that decides")
        if not as_json:
            console.print(dim(f"version {live.hash[:12]} → {hash[:12]} on {clean(server)}"))
        agreed("Change?", yes)
        state = applied(client, client.apply_project(version=hash), no_wait, errors)
    show_applied(state, console, as_json)
    return 0


def _before(live: ProjectState) -> str:
    if live.previous is None:
        raise InputError("there is no version before the live one; `parakh versions` lists those that there are")
    return live.previous


def _named(prefix: str, versions: Sequence[Version]) -> str:
    found = list({version.hash: None for version in versions if version.hash.startswith(prefix.lower())})
    if len(prefix) < _SHORTEST_PREFIX:
        raise InputError(f"{prefix!r} is too short to name a version; give {_SHORTEST_PREFIX} digits or more")
    if len(found) != 1:
        what = "several versions begin" if found else "no version begins"
        raise InputError(f"{what} with {prefix!r}; `parakh versions` lists those that there are")
    return found[0]


def _show(live: ProjectState, versions: Sequence[Version], console: Console, as_json: bool) -> None:
    if as_json:
        said = {"live": live.hash, "building": live.building, "given_up": live.given_up, "versions": versions}
        console.print(json.dumps(msgspec.to_builtins(said), indent=2))
        return
    table = []
    if live.building is not None:
        share = f"building {100 * live.building.progress:.0f} %" if live.is_replaced_soon else "failed"
        table.append([bold(live.building.hash[:12]), yellow(share), "", "", ""])
    if live.given_up is not None:
        instead = f"for {live.given_up.replaced_by[:12]}"
        table.append([bold(live.given_up.hash[:12]), yellow("given up"), "", clean(instead), ""])
    for version in versions:
        since = f"{version.applied_at:%Y-%m-%d %H:%M:%S}" if version.applied_at is not None else ""
        state = green("live") if version.state == "live" else ""
        table.append([bold(version.hash[:12]), state, since, clean(version.by), clean(version.name)])
    console.table(table, header=["version", "", "applied", "by", "project"])
    console.print("", dim(f"{plural(len(versions), 'version')}; --back goes to the one before, --to HASH to any"))
