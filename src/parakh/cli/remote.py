"""What verbs that talk to a running server begin with: its address, a client, and waiting until a version decides."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import click

from parakh.cli.console import Console, bold, clean, dim, green, red, yellow
from parakh.cli.progress import Bar
from parakh.cli.words import plural
from parakh.errors import ParakhError

if TYPE_CHECKING:
    from parakh.client import Client, ProjectState

__all__ = ["Named", "agreed", "connect", "project_problems", "server_option", "show_changes", "wait_until_live"]

_SIGNS = {"added": ("+", green), "removed": ("-", red), "changed": ("~", yellow)}
_POLL_S = 0.5
_MOST_CHANGES = 20

server_option = click.option(
    "--server",
    envvar="PARAKH_URL",
    default="http://127.0.0.1:8321",
    show_default=True,
    metavar="URL",
    help="Where the server is (or PARAKH_URL). Its API key is read from PARAKH_API_KEY.",
)


class Named(Protocol):
    """A definition that came, went or changed."""

    @property
    def kind(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def status(self) -> str: ...


def connect(server: str, *, timeout_s: float = 5.0) -> Client:
    """A client of the server at an address; nothing is asked yet."""
    from parakh.client import Client

    return Client(server, timeout=timeout_s)


def agreed(question: str, yes: bool) -> None:
    """Have a person agree; without one (`--yes`, or nobody at a terminal) say how to. Raises Abort."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError("nobody can be asked here; --yes agrees beforehand")
    click.confirm(question, abort=True)


def show_changes(changes: Iterable[Named], console: Console) -> None:
    """What a version changes, in short: a line a definition."""
    listed = list(changes)
    for change in listed[:_MOST_CHANGES]:
        sign, style = _SIGNS.get(change.status, ("~", yellow))
        console.print(f"{style(sign)} {clean(change.kind)} {bold(clean(change.name))} {dim(clean(change.status))}")
    if len(listed) > _MOST_CHANGES:
        console.print(dim(f"  and {plural(len(listed) - _MOST_CHANGES, 'more', 'more')}"))


def project_problems(problems: Iterable[Any], console: Console) -> None:
    """What the server has against a project, as `parakh check` shows it, without the files' lines."""
    for problem in problems:
        told: Mapping[str, Any] = problem if isinstance(problem, Mapping) else {"message": str(problem)}
        console.print(f"{red('error:')} {bold(clean(str(told.get('message', ''))))}")
        if told.get("file"):
            console.print(f"  --> {clean(str(told['file']))}:{told.get('line')}:{told.get('column')}")
        if told.get("hint"):
            console.print(f"      hint: {clean(str(told['hint']))}")


def _why(state: ProjectState, hash: str) -> str:
    """Why a version is not being built any more."""
    if state.building is not None and state.building.hash == hash:
        return state.building.failed
    if state.given_up is not None and state.given_up.hash == hash:
        return f"version {state.given_up.replaced_by[:12]} was applied meanwhile"
    return "another one took its place, or the server was started again"


def wait_until_live(
    client: Client, hash: str, console: Console, *, sleep: Callable[[float], None] = time.sleep
) -> ProjectState:
    """Wait until a version decides; shows how far its history is built. Raises ParakhError where it was given up."""
    from parakh.client import Overloaded, TimedOut, Unreachable

    began, silent_s = time.monotonic(), 0.0
    with Bar(console, "building history") as bar:
        while True:
            try:
                state, silent_s = client.project(), 0.0
            except (Unreachable, TimedOut, Overloaded):
                # A server that is restarted takes the work up again; one that stays away is told about.
                silent_s += _POLL_S
                if silent_s > 30:
                    raise
                sleep(_POLL_S)
                continue
            if state.hash == hash and state.live:
                return state
            building = state.building
            if building is None or building.hash != hash or building.failed:
                raise ParakhError(f"version {hash[:12]} was given up: {_why(state, hash)}; {state.hash[:12]} decides")
            bar.to(building.progress, f"{time.monotonic() - began:.0f} s")
            sleep(_POLL_S)
