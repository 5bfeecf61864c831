"""`parakh models`: the versions of a project's models, which of them decides, and who said so."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from parakh.cli.console import Console, bold, clean, dim, green, yellow
from parakh.cli.loading import load_project

if TYPE_CHECKING:
    from parakh.learning.promotion.registry import Event, Registry, Version

__all__ = ["command", "show_versions"]

_STYLES = {"champion": green, "shadow": yellow, "retired": dim}


@click.command(
    short_help="The versions of a project's models, and which of them decides.",
    epilog="\b\nExamples\n  parakh models shop\n  parakh models shop payment_fraud\n\n"
    "`parakh train --project` adds a version, `parakh promote` moves it on.",
)
@click.argument("project", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def command(project: Path, name: str | None, as_json: bool) -> int:
    """Show the versions of PROJECT's models, or of the model NAME with what happened to them."""
    from parakh.errors import InputError
    from parakh.learning.promotion.registry import Registry, models_in

    console = Console.stdout()
    names = models_in(load_project(project))
    if name is not None and name not in names:
        raise InputError(f"there is no model {name}; there are {', '.join(names) or 'none'}")
    found = [Registry.open(project, each) for each in ([name] if name is not None else names)]
    if as_json:
        console.print(json.dumps([_as_data(each) for each in found], indent=2))
        return 0
    if not found:
        console.print("The project has no models; `parakh train --project` adds one.")
    for number, each in enumerate(found):
        if number:
            console.print("")
        show_versions(each, console, history=name is not None)
    return 0


def show_versions(registry: Registry, console: Console, *, history: bool = False) -> None:
    """Print a model's versions as a table, and what happened to them where `history` asks for it."""
    console.print(f"{bold(clean(registry.model))} {dim(f'scores {registry.event_type}')}")
    console.table(
        [_row(registry, version) for version in registry.versions],
        header=["version", "state", "kind", "inputs", "average precision", "measured on", "since"],
        align="><<>><<",
    )
    asked = registry.request_open
    if asked is not None:
        console.print(dim(f"version {asked.version} waits for approval; {clean(asked.who)} asked for it"))
    if history and registry.history:
        console.print("")
        for event in registry.history:
            more = [event.why, f"despite the gates: {event.despite}" if event.despite else ""]
            told = "; ".join(clean(text) for text in more if text)
            console.say(
                f"{event.at[:19].replace('T', ' ')}  {event.what} {bold(str(event.version))}  {clean(event.who)}"
                + (f"  {dim(told)}" if told else ""),
                indent="  ",
            )


def _row(registry: Registry, version: Version) -> list[str]:
    style = _STYLES.get(version.state, str)
    since = next((event for event in reversed(registry.history) if _moved(event, version.number)), None)
    figure, where = measured(registry.card(version.number))
    return [
        str(version.number),
        style(version.state),
        version.kind,
        str(len(version.inputs)),
        figure,
        where,
        f"{since.at[:10]} {clean(since.who)}" if since else dim("before the registry"),
    ]


def _moved(event: Event, number: int) -> bool:
    """Whether an event gave the version its state; a request gives none."""
    displaced = event.what in ("approved", "back") and event.replaced == number
    return displaced or (event.version == number and event.what != "request")


def measured(card: Mapping[str, Any] | None, name: str = "average_precision") -> tuple[str, str]:
    """A figure of a card with its interval, and where it was measured: the test, or else the folds."""
    if card is None:
        return "", dim("no card")
    for where, found in (("test", card.get("test")), ("validation", (card.get("validation") or {}).get("metrics"))):
        figure = ((found or {}).get("metrics") or {}).get(name) or {}
        if figure.get("value") is not None:
            low, high = figure.get("low"), figure.get("high")
            spread = f" ({low:.3f} to {high:.3f})" if low is not None and high is not None else ""
            return f"{figure['value']:.3f}{spread}", where
    return "", dim("not said")


def _as_data(registry: Registry) -> dict[str, Any]:
    return {
        "model": registry.model,
        "event_type": registry.event_type,
        "versions": [
            {
                "number": each.number, "state": each.state, "kind": each.kind, "file": each.file,
                "sha256": each.sha256, "inputs": list(each.inputs), "card": registry.card(each.number),
            }
            for each in registry.versions
        ],
        "history": [event.as_data() for event in registry.history],
    }  # fmt: skip
