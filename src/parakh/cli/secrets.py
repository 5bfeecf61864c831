"""`parakh secrets`: the keys that protect personal data in a data directory - which they are, and a new master key."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from parakh.cli.console import Console, bold, clean, dim, green, yellow
from parakh.cli.options import data_folder

if TYPE_CHECKING:
    from parakh.service.personal.vault import KeysShown

__all__ = ["command"]

_data = data_folder(exists=True)
_json = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout.")


@click.group(
    short_help="The keys of personal data.",
    epilog="\b\nExample\n  parakh secrets show shop/.parakh\n  parakh secrets rotate shop/.parakh",
)
def command() -> None:
    """The token key and the master key that wraps it, in DATA, the directory of a service. Keys are never shown.

    The master key is PARAKH_MASTER_KEY, or the file that PARAKH_MASTER_KEY_FILE names, or else DATA/keys/master.key.
    """


@command.command(short_help="Where the keys are, and their fingerprints.")
@_data
@_json
def show(data: Path, as_json: bool) -> int:
    """Show where the keys of DATA are, and their fingerprints."""
    from parakh.service.personal.vault import show_keys

    _print(show_keys(data), as_json)
    return 0


@command.command(short_help="Wrap the token key under a new master key.")
@_data
@_json
def rotate(data: Path, as_json: bool) -> int:
    """Wrap the token key of DATA under a new master key. Tokens, and all that was stored with them, stay as they are.

    The new one is PARAKH_NEW_MASTER_KEY, or the file that PARAKH_NEW_MASTER_KEY_FILE names (32 random bytes as Base64).
    Where the old one stands in DATA/keys/master.key and no new one is given, it is made and put there. A running
    service goes on; it needs the new master key when it starts again.
    """
    from parakh.service.personal.vault import rotate_master_key

    shown = rotate_master_key(data)
    _print(shown, as_json)
    if not as_json:
        console = Console.stdout()
        console.print(green("the token key is wrapped anew; the old master key opens nothing more"))
        if not shown.beside_data:
            console.print("set PARAKH_MASTER_KEY, or PARAKH_MASTER_KEY_FILE, to the new one before the next start")
    return 0


def _print(shown: KeysShown, as_json: bool) -> None:
    console = Console.stdout()
    if as_json:
        console.print(json.dumps(asdict(shown), indent=2))
        return
    console.table(
        [
            [bold("token key"), shown.token_fingerprint, dim(clean(shown.token_key))],
            [bold("master key"), shown.master_fingerprint, dim(clean(shown.master_source))],
        ]
    )
    if shown.beside_data:
        console.print(
            yellow("the master key stands beside the data that it protects: give it by PARAKH_MASTER_KEY_FILE"),
            dim("(parakh secrets rotate, with PARAKH_NEW_MASTER_KEY_FILE, moves it there)"),
        )
