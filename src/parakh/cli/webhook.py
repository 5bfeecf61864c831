"""`parakh webhook`: who is told of decisions and alarms by a running server, and messages that did not get through."""

from __future__ import annotations

import json
import os
from typing import Any
from urllib.parse import quote

import click

from parakh.cli.console import Console, bold, clean, dim, green, red, yellow
from parakh.cli.remote import server_option
from parakh.cli.words import plural
from parakh.errors import InputError, ParakhError

__all__ = ["command"]

_KEY = "PARAKH_API_KEY"
_TIMEOUT_S = 30.0
_OPTIONS = {
    "event_types": "event-type",
    "flags": "flag",
    "min_score": "min-score",
    "outcomes": "outcome",
    "rules": "rule",
}
_STYLES = {"active": green, "paused": yellow, "failing": red}

_json = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout.")
_id = click.argument("webhook", metavar="ID")


@click.group(
    short_help="Who is told of decisions and alarms.",
    epilog="\b\nExample\n  parakh webhook add https://hooks.example.com/parakh --outcome block --outcome review"
    "\n  parakh webhook add https://hooks.example.com/drift --alarms"
    "\n  parakh webhook list\n  parakh webhook dead ID\n  parakh webhook resend ID",
)
def command() -> None:
    """The webhooks of a running server: it sends signed messages of decisions and alarms to URLs, until they are taken.

    An API key with the scope admin is read from PARAKH_API_KEY.
    """


@command.command("list", short_help="All webhooks and how they are.")
@server_option
@_json
def list_webhooks(server: str, as_json: bool) -> int:
    """List the webhooks."""
    found = _ask(server, "GET", "")["webhooks"]
    console = Console.stdout()
    if as_json:
        console.print(json.dumps(found, indent=2))
        return 0
    if not found:
        console.print("no webhooks; `parakh webhook add URL` makes one")
        return 0
    rows = [
        [
            item["id"],
            _STYLES.get(item["state"], dim)(clean(item["state"])),
            clean(item["url"]),
            dim(clean(_filter_text(item["filter"]))),
            clean(item["last_error"] or ""),
        ]
        for item in found
    ]
    console.table(rows, header=("id", "state", "url", "filter", "last error"))
    return 0


@command.command(short_help="Subscribe a URL to decisions or alarms.")
@click.argument("url")
@click.option("--event-type", "event_types", multiple=True, metavar="NAME", help="Only of this type. Repeat for more.")
@click.option(
    "--outcome",
    "outcomes",
    multiple=True,
    type=click.Choice(["allow", "challenge", "review", "block"]),
    help="Only with this outcome. Repeat for more.",
)
@click.option("--rule", "rules", multiple=True, metavar="NAME", help="Only where this rule hit. Repeat for more.")
@click.option("--min-score", type=float, metavar="NUMBER", help="Only with a score no less than this.")
@click.option(
    "--flag",
    "flags",
    multiple=True,
    type=click.Choice(["late", "degraded", "held_out", "overflow"]),
    help="Only with this flag. Repeat for more.",
)
@click.option("--alarms", is_flag=True, help="Alarms of drift, and no decisions.")
@click.option("--decisions", is_flag=True, help="With --alarms: decisions too.")
@click.option("--from", "start", default="now", metavar="WHERE", help="now, start, or a time with its zone.")
@click.option("--description", default="", metavar="TEXT", help="What it is for.")
@server_option
@_json
def add(
    url: str,
    event_types: tuple[str, ...],
    outcomes: tuple[str, ...],
    rules: tuple[str, ...],
    min_score: float | None,
    flags: tuple[str, ...],
    alarms: bool,
    decisions: bool,
    start: str,
    description: str,
    server: str,
    as_json: bool,
) -> int:
    """Subscribe URL to decisions that agree with every option given, or to --alarms. Its secret is shown once."""
    parts = {"event_types": event_types, "outcomes": outcomes, "rules": rules, "flags": flags}
    asked: dict[str, Any] = {name: list(part) for name, part in parts.items() if part}
    if min_score is not None:
        asked["min_score"] = min_score
    if alarms and asked and not decisions:
        raise click.BadParameter(
            "alarms alone were asked for; say --decisions too", param_hint=f"--{_OPTIONS[min(asked)]}"
        )
    if alarms:
        asked["kinds"] = ["decision", "alarm"] if decisions else ["alarm"]
    made = _ask(server, "POST", "", {"url": url, "filter": asked, "from": start, "description": description})
    _show_secret(made, "made", as_json)
    return 0


@command.command(short_help="Remove a webhook and its messages.")
@_id
@server_option
def remove(webhook: str, server: str) -> int:
    """Remove the webhook of ID, and the messages that wait for it."""
    _ask(server, "DELETE", f"/{quote(webhook, safe='')}")
    Console.stdout().print(f"{green('removed')} {clean(webhook)}")
    return 0


@command.command(short_help="Messages that were given up.")
@_id
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="At most so many.")
@server_option
@_json
def dead(webhook: str, limit: int, server: str, as_json: bool) -> int:
    """List the dead letters of the webhook of ID, the newest first."""
    found: list[dict[str, Any]] = []
    cursor = ""
    while len(found) < limit:
        size = min(500, limit - len(found))
        page = _ask(server, "GET", f"/{quote(webhook, safe='')}/deliveries?state=dead&limit={size}{cursor}")
        found += page["deliveries"]
        if page["next"] is None:
            break
        cursor = f"&cursor={page['next']}"
    console = Console.stdout()
    if as_json:
        console.print(json.dumps(found, indent=2))
        return 0
    if not found:
        console.print("no dead letters")
        return 0
    rows = [
        [clean(row["id"]), str(row["tries"]), clean(row["finished"] or ""), clean(row["error"] or "")] for row in found
    ]
    console.table(rows, header=("message", "tries", "given up", "last error"), align="<>")
    return 0


@command.command(short_help="Send dead messages again.")
@_id
@click.option("--message", metavar="MESSAGE", help="Only this one; all dead ones unless said.")
@server_option
def resend(webhook: str, message: str | None, server: str) -> int:
    """Send the dead letters of the webhook of ID again, under the ids that they had."""
    told = _ask(server, "POST", f"/{quote(webhook, safe='')}:resend", {} if message is None else {"id": message})
    Console.stdout().print(f"{green(plural(told['resent'], 'message'))} to be sent again")
    return 0


@command.command(short_help="Send a test message now.")
@_id
@server_option
def test(webhook: str, server: str) -> int:
    """Send one test message to the webhook of ID. Exit code 1 where it is not taken."""
    told = _ask(server, "POST", f"/{quote(webhook, safe='')}:test")
    console = Console.stdout()
    if told["delivered"]:
        console.print(f"{green('taken')}  {dim('the receiver answered ' + str(told['status']))}")
        return 0
    console.print(f"{red('not taken:')} {clean(told['error'] or '')}")
    return 1


@command.command(short_help="Make a new secret.")
@_id
@server_option
@_json
def rotate(webhook: str, server: str, as_json: bool) -> int:
    """Make a new secret for the webhook of ID. The old one signs as well for a day."""
    _show_secret(_ask(server, "POST", f"/{quote(webhook, safe='')}:rotate"), "made a new secret for", as_json)
    return 0


def _show_secret(made: dict[str, Any], what: str, as_json: bool) -> None:
    console = Console.stdout()
    if as_json:
        console.print(json.dumps(made, indent=2))
        return
    console.print(
        f"{green(what)} {bold(clean(made['id']))}  {dim(clean(_filter_text(made['filter'])))}",
        "",
        f"  {bold(clean(made['secret']))}",
        "",
        dim("It is not shown again. The receiver verifies signatures with it: docs/webhooks.md."),
    )


def _filter_text(parts: dict[str, Any]) -> str:
    """A filter in a few words: block or review; rule card_tried; score >= 0.5."""
    if parts.get("kinds") == ["alarm"]:
        return "alarms"
    words = [" or ".join(parts[name]) for name in ("event_types", "outcomes") if parts.get(name)]
    words += [f"rule {' or '.join(parts['rules'])}"] if parts.get("rules") else []
    words += [f"score >= {parts['min_score']:g}"] if parts.get("min_score") is not None else []
    words += [" or ".join(parts["flags"])] if parts.get("flags") else []
    told = "; ".join(words) or "every decision"
    return f"{told}, and alarms" if "alarm" in parts.get("kinds", ()) else told


def _ask(server: str, method: str, path: str, body: object = None) -> Any:
    """Ask the server. Raises InputError for what it refuses, ParakhError where it cannot be reached."""
    import httpx

    key = os.environ.get(_KEY)
    headers = {"authorization": f"Bearer {key}"} if key else {}
    try:
        answer = httpx.request(
            method, f"{server.rstrip('/')}/v1/webhooks{path}", headers=headers, json=body, timeout=_TIMEOUT_S
        )
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
        # Not the error's text, nor the header: a key may have been mistyped into either.
        raise ParakhError(
            f"{clean(server)} cannot be asked ({type(error).__name__}); is `parakh serve` running?"
        ) from None
    if answer.status_code == 204:
        return None
    try:
        told = answer.json()
    except ValueError:
        told = None
    if answer.is_success and told is not None:
        return told
    problem = told if isinstance(told, dict) else {}
    words = problem.get("detail") or problem.get("title") or f"the server answered {answer.status_code}"
    where = f"{problem['field']}: " if problem.get("field") else ""
    hint = f" (hint: {problem['hint']})" if problem.get("hint") else ""
    if answer.status_code == 401 and not key:
        hint = f" (hint: set {_KEY})"
    raise InputError(f"{where}{words}{hint}")
