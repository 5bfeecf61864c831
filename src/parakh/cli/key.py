"""`parakh key`: the API keys of a service - make one, list them, revoke one. A running service notices at once."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from parakh.cli.console import Console, bold, clean, dim, green, red, yellow
from parakh.cli.options import LENGTH_OF_TIME, data_folder
from parakh.cli.words import ago, length, moment, plural
from parakh.errors import InputError

if TYPE_CHECKING:
    from parakh.service.api_keys import ApiKey

__all__ = ["command"]


class _Rate(click.ParamType):  # type: ignore[type-arg]
    """A rate: 500/s, 30/m; requests a second."""

    name = "rate"

    def convert(self, value: object, parameter: click.Parameter | None, context: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        from parakh.service.settings import rate_per_s

        rate = rate_per_s(str(value))
        if rate is None:
            self.fail(f"{value!r} is not a rate; write 500/s or 30/m", parameter, context)
        return rate


_data = data_folder(exists=False)
_json = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout.")


@click.group(
    short_help="The API keys of a service.",
    epilog="\b\nExample\n  parakh key create shop --name checkout --scope decide --scope label --expires 90d"
    "\n  parakh key list shop\n  parakh key revoke shop ID",
)
def command() -> None:
    """Make, list and revoke the API keys of a service. DATA is its data folder, or the folder of its project.

    Scopes: decide (events in, decisions out), label, read (decisions, entities, project, metrics), admin (all of
    these, and changes of project and webhooks). Without any key a service serves its own machine alone.
    """


@command.command(short_help="Make a key; it is shown once.")
@_data
@click.option("--name", required=True, help="Whose key it is: a service, a team. It stands in the log of changes.")
@click.option(
    "--scope",
    "scopes",
    required=True,
    multiple=True,
    type=click.Choice(["decide", "read", "label", "admin"]),
    help="What it may do. Repeat for more.",
)
@click.option(
    "--expires", type=LENGTH_OF_TIME, metavar="LENGTH", help="When it ends, from now (90d); never by default."
)
@click.option("--rate", type=_Rate(), metavar="RATE", help="How many requests it may send (500/s, 30/m).")
@_json
def create(
    data: Path, name: str, scopes: tuple[str, ...], expires: int | None, rate: float | None, as_json: bool
) -> int:
    """Make an API key. It is shown once and stored only as a hash: whoever loses it makes another."""
    from parakh.service.api_keys import KeyStore

    now = _now_us()
    if expires is not None and expires <= 0:
        raise click.UsageError("--expires is a length of time from now, such as 90d")
    store = KeyStore(data)
    key, text = store.create(
        name, scopes, now_us=now, expires_us=None if expires is None else now + expires, rate_per_s=rate
    )
    store.close()
    console = Console.stdout()
    if as_json:
        console.print(json.dumps({"key": text, **_as_data(key, now)}, indent=2))
        return 0
    facts = [", ".join(key.scopes)]
    facts.append(f"until {moment(key.expires_us)} UTC" if key.expires_us is not None else "without an end")
    if key.rate_per_s is not None:
        facts.append(_rate_text(key.rate_per_s))
    console.print(
        f"{green('made')} {bold(clean(name))}  {dim(' · '.join(facts))}",
        "",
        f"  {bold(text)}",
        "",
        dim("It is not shown again. Send it as `Authorization: Bearer pk_...`."),
    )
    return 0


@command.command("list", short_help="All keys, and when they were last used.")
@_data
@_json
def list_keys(data: Path, as_json: bool) -> int:
    """List the API keys, without what is secret."""
    from parakh.service.api_keys import KeyStore

    store = KeyStore(data, create=False)
    keys, now = store.all(), _now_us()
    store.close()
    console = Console.stdout()
    if as_json:
        console.print(json.dumps([_as_data(key, now) for key in keys], indent=2))
        return 0
    if not keys:
        console.print("no keys: the service serves its own machine alone")
        return 0
    console.table(
        [
            (
                key.id,
                clean(key.name),
                ", ".join(key.scopes),
                _state_text(key, now),
                _ago(now - key.created_us),
                "never" if key.last_used_us is None else _ago(now - key.last_used_us),
                "" if key.rate_per_s is None else _rate_text(key.rate_per_s),
            )
            for key in keys
        ],
        header=("id", "name", "scopes", "state", "made", "last used", "rate"),
    )
    active = sum(key.state(now) == "active" for key in keys)
    console.print("", dim(f"{plural(len(keys), 'key')}, {active} active"))
    return 0


@command.command(short_help="Revoke a key for good.")
@_data
@click.argument("key_id", metavar="ID")
def revoke(data: Path, key_id: str) -> int:
    """Revoke the key of ID (as `parakh key list` shows it; a whole key will do). It cannot be brought back."""
    from parakh.service.api_keys import KeyStore, key_id_of

    store = KeyStore(data, create=False)
    now = _now_us()
    key = store.revoke(key_id_of(key_id), now_us=now)
    left = sum(other.state(now) == "active" for other in store.all())
    store.close()
    if key is None:
        # What was given may be a secret that was mistyped: it is not repeated.
        raise InputError("there is no key of that id; `parakh key list` shows them")
    Console.stdout().print(
        f"{green('revoked')} {bold(clean(key.name))} {dim(key.id)}", dim(f"{plural(left, 'active key')} left")
    )
    return 0


def _now_us() -> int:
    return time.time_ns() // 1_000


def _ago(microseconds: int) -> str:
    return ago(max(0, microseconds // 1_000_000 * 1_000_000))


def _state_text(key: ApiKey, now_us: int) -> str:
    state = key.state(now_us)
    if state == "active" and key.expires_us is not None:
        return f"{green('active')}, {length(key.expires_us - now_us)} left"
    return {"active": green, "expired": yellow, "revoked": red}[state](state)


def _rate_text(rate: float) -> str:
    return f"{rate:g}/s" if rate >= 1 else f"{rate * 60:g}/m"


def _as_data(key: ApiKey, now_us: int) -> dict[str, Any]:
    def at(time_us: int | None) -> str | None:
        return None if time_us is None else f"{moment(time_us).replace(' ', 'T')}Z"

    return {
        "id": key.id,
        "name": key.name,
        "scopes": list(key.scopes),
        "state": key.state(now_us),
        "created": at(key.created_us),
        "expires": at(key.expires_us),
        "revoked": at(key.revoked_us),
        "last_used": at(key.last_used_us),
        "rate_per_s": key.rate_per_s,
    }
