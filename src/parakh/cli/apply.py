"""`parakh apply`: a project becomes the one by which a running server decides, without a request being dropped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from parakh.cli.console import Console, bold, clean, dim, green
from parakh.cli.loading import load_project, project_argument
from parakh.cli.remote import agreed, connect, project_problems, server_option, show_changes, wait_until_live

if TYPE_CHECKING:
    from parakh.client import Client, ProjectState

__all__ = ["applied", "command", "show_applied"]


@click.command(
    short_help="Let a running server decide by a project.",
    epilog="\b\nExamples\n  parakh apply shop\n  parakh apply shop --server https://decisions.internal --yes\n"
    "  parakh versions --back     # and back again",
)
@project_argument
@server_option
@click.option("--yes", "-y", is_flag=True, help="Apply without asking.")
@click.option("--no-wait", is_flag=True, help="Do not wait until it decides.")
@click.option("--json", "as_json", is_flag=True, help="Print what became of it as JSON on stdout; needs --yes.")
def command(project: Path, server: str, yes: bool, no_wait: bool, as_json: bool) -> int:
    """Check PROJECT (a folder; this one unless said), show what it changes, and let the server decide by it.

    The server goes on deciding by the old version until the history of new features is built; then the new one takes
    over between two events, without a request being dropped. A version that is still being built is given up for the
    one applied last. `parakh versions --back` goes back.
    """
    from parakh.client import ProjectRefused

    if as_json and not yes:
        raise click.UsageError("--json asks nobody: say --yes too")
    console, errors = Console.stdout(), Console.stderr()
    loaded = load_project(project)
    files = dict(loaded.contents())
    with connect(server) as client:
        live = client.project()
        if live.hash == loaded.hash and not live.is_replaced_soon:
            if as_json:
                console.print(json.dumps({"hash": loaded.hash, "state": "live", "changed": False}))
            else:
                console.print(f"{green('live')}  version {loaded.hash[:12]} decides already")
            return 0
        try:
            checked = client.check_project(files)
        except ProjectRefused as error:
            # Checked here it holds: the server knows more (other files, another version of Parakh).
            project_problems(error.problem.problems or [error.problem.detail], errors)
            return 1
        if not as_json:
            if checked.changes is not None:
                show_changes(checked.changes, console)
            how = "; its history is built first" if checked.history == "rebuilt" else ""
            console.print(dim(f"version {live.hash[:12]} → {checked.hash[:12]} on {clean(server)}{how}"))
        agreed("Apply?", yes)
        state = applied(client, client.apply_project(files), no_wait, errors)
    show_applied(state, console, as_json)
    return 0


def applied(client: Client, state: ProjectState, no_wait: bool, errors: Console) -> ProjectState:
    """What became of a version that was applied, once it decides; at once with `no_wait`."""
    if no_wait or state.live:
        return state
    return msgspec.structs.replace(wait_until_live(client, state.hash, errors), replaced=state.replaced)


def show_applied(state: ProjectState, console: Console, as_json: bool) -> None:
    """Say what became of a version that was applied."""
    if as_json:
        said = {"hash": state.hash, "state": state.state, "progress": state.progress, "previous": state.previous}
        console.print(json.dumps({**said, "replaced": state.replaced, "changed": True}))
        return
    if state.replaced:
        console.print(f"given up  version {state.replaced[:12]}, which was being built")
    if state.live:
        before = f"{dim(', before it')} {state.previous[:12]}" if state.previous else ""
        console.print(f"{green('live')}  version {bold(state.hash[:12])} decides{before}")
    else:
        console.print(f"building  version {bold(state.hash[:12])} decides once its history is built (parakh versions)")
