"""`parakh suggest`: rules that past events suggest, written in shadow, for a person to accept or to reject."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from parakh.cli.console import Console, bold, clean, dim, green, yellow
from parakh.cli.history import Asked, history_options
from parakh.cli.loading import await_kernels, load_project, warm_kernels
from parakh.cli.progress import Bar
from parakh.cli.words import moment, percent, plural, short_money, thousands

if TYPE_CHECKING:
    from parakh.learning.suggesting.evidence import Range, Suggested, Suggestion
    from parakh.learning.suggesting.proposals import Entry
    from parakh.project.project import Project

__all__ = ["command"]


@click.command(
    short_help="Rules that past events suggest, written in shadow for a person to accept.",
    epilog="\b\nExamples\n  parakh suggest shop --events payment.ndjson --labels labels.ndjson\n"
    "  parakh suggest shop --data /var/lib/parakh --min-precision 0.8 --most 3\n"
    "  parakh suggest shop --accept suggested_amount --by asha\n"
    "  parakh suggest shop --reject suggested_amount --by asha\n\n"
    "Costs and the maturity of labels are read from learning.toml in the project, where there is one; what was "
    "suggested, and what people said to it, stands in suggestions.json.",
)
@click.argument("project", type=click.Path(exists=True, file_okay=False, path_type=Path))
@history_options
@click.option(
    "--min-precision",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.5,
    show_default=True,
    help="The least share of frauds among what a rule hits, and among the last hits that its limits let in.",
)
@click.option("--most", type=click.IntRange(1, 100), default=10, show_default=True, help="At most so many rules.")
@click.option(
    "--then",
    type=click.Choice(["challenge", "review", "block"]),
    default="review",
    show_default=True,
    help="What the rules are to ask for.",
)
@click.option("--seed", type=click.IntRange(0, 2**63), default=0, show_default=True, help="Which good events are seen.")
@click.option("--out", "-o", metavar="FILE", help="A file of rules in the project; rules/suggested.yaml, unless said.")
@click.option("--dry-run", is_flag=True, help="Print, and write nothing.")
@click.option("--accept", metavar="NAME", help="Let a suggestion decide: its rule goes live.")
@click.option("--reject", metavar="NAME", help="Take a suggestion out; it is not made again.")
@click.option("--by", metavar="WHO", default="", help="Who accepts or rejects; to be said with either.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def command(
    asked: Asked,
    project: Path,
    min_precision: float,
    most: int,
    then: str,
    seed: int,
    out: str | None,
    dry_run: bool,
    accept: str | None,
    reject: str | None,
    by: str,
    as_json: bool,
) -> int:
    """Look for readable conditions that tell frauds which the policy lets pass from good events.

    They are mined on the earlier part of what is matured and judged on the later third, which the search does not see.
    What holds there is written as rules in shadow, with its evidence and a time by which it expires; no suggestion
    decides before a person accepts it.
    """
    loaded = load_project(project)
    if accept or reject:
        return _say(loaded, accept, reject, by, as_json)
    errors = Console.stderr()
    settings = asked.settings(project)
    past = asked.past(loaded, settings)
    warming = warm_kernels(errors)
    from parakh.learning.suggesting.evidence import Search
    from parakh.learning.suggesting.proposals import OUT, expired, names_of, place_of_rules, propose, read_memory
    from parakh.learning.suggesting.suggestions import facts_of, suggest
    from parakh.rules.definition import Outcome

    search = Search(
        precision=min_precision, most=most, then=Outcome[then.upper()], delay_us=settings.label_delay_us, seed=seed
    )
    file = OUT if out is None else out
    place_of_rules(file)
    memory = read_memory(project)
    await_kernels(warming, errors)
    history = asked.history(loaded, past, settings, errors, inputs=None)
    with Bar(errors, "searching") as bar:
        found = suggest(
            facts_of(history, loaded),
            search,
            settings.costs,
            names=names_of(loaded, memory),
            rejected=memory.rejected(history.event_type),
            on_progress=lambda done, total: bar.step("searching", done, total),
        )
    over = list(expired(loaded, memory, found.last_us))
    names = []
    if not dry_run:
        names = propose(loaded, found, event_type=history.event_type, currency=history.currency, out=file)
    console = Console.stdout()
    written = file if names else None
    if as_json:
        told = {"file": written, "event_type": history.event_type, "currency": history.currency, **found.as_data()}
        console.print(json.dumps({**told, "expired": [_named(item) for item in over]}, indent=2))
        return 0
    _show(found, history.currency, console)
    if written is not None:
        console.print(f"{green('wrote')} {bold(clean(written))}: {plural(len(names), 'rule')} in shadow")
    for item in over:
        text = f"{item.name} expired on {item.expires[:10]}: look whether it still holds, or take it out"
        console.say(f"{yellow('expired')} {clean(text)}")
    return 0


def _say(project: Project, accept: str | None, reject: str | None, by: str, as_json: bool) -> int:
    """Accept or reject a suggestion."""
    if accept and reject:
        raise click.UsageError("accept one or reject one, at a time")
    if not by.strip():
        raise click.BadParameter("who says so? Name the person", param_hint="--by")
    from parakh.learning.suggesting import proposals

    told = proposals.accept if accept else proposals.reject
    entry = told(project, accept or reject or "", by=by, at_us=time.time_ns() // 1_000)
    console = Console.stdout()
    if as_json:
        console.print(json.dumps(_named(entry), indent=2))
        return 0
    what = "decides: its mode is live" if accept else "is out of the project, and is not suggested again"
    console.print(f"{green(entry.state)} {bold(clean(entry.name))} {what}", f"  {clean(entry.when)}")
    return 0


def _named(entry: Entry) -> dict[str, str]:
    return {
        "name": entry.name, "when": entry.when, "state": entry.state, "by": entry.by, "at": entry.at,
        "expires": entry.expires,
    }  # fmt: skip


def _show(found: Suggested, currency: str, console: Console) -> None:
    mined, judged = (f"{moment(span[0])[:10]} to {moment(span[1])[:10]}" for span in (found.mined, found.judged))
    console.print(
        dim(f"mined on {mined}, judged on {judged}: {plural(found.passed_frauds, 'fraud')} pass there"),
        "",
    )
    for item in found.suggestions:
        _show_one(item, currency, console)
    for when, why in found.fell:
        console.say(dim(f"not {clean(when)}: {clean(why)}"))
    if found.fell:
        console.print("")
    if not found.suggestions:
        console.print("nothing to suggest: no condition holds up on events that the search did not see")


def _show_one(item: Suggestion, currency: str, console: Console) -> None:
    console.print(bold(clean(item.name)), f"  {clean(str(item.condition))}")
    example = item.examples[0]
    rows = [
        ("precision", percent(item.precision.value, 1), _between(item.precision, lambda share: percent(share, 1))),
        ("recall", percent(item.recall, 1), "of the frauds that pass"),
        ("hits", thousands(item.hits), f"{item.hits_a_day:.1f} a day; {plural(item.frauds, 'fraud')}"),
        ("fraud caught", _money(item.amount.value, currency), _between(item.amount, lambda v: _money(v, currency))),
        ("saves", _money(item.saved.value, currency), _between(item.saved, lambda v: _money(v, currency))),
        ("alone", plural(item.alone_frauds, "fraud"), f"{_money(item.alone_amount, currency)}, by no other suggestion"),
        ("expires", moment(item.expires_us)[:10], ""),
        ("such as", clean(example.event_id), _told_example(example.amount, example.time_us, currency)),
    ]  # fmt: skip
    console.table([(dim(name), value, dim(note)) for name, value, note in rows], align="<>")
    console.print("")


def _told_example(amount: float, time_us: int, currency: str) -> str:
    sum_of = "" if amount != amount else f"{_money(amount, currency)}, "
    return f"{sum_of}{moment(time_us)}"


def _between(item: Range, told: Callable[[float], str]) -> str:
    return f"{told(item.low)} to {told(item.high)}"


def _money(amount: float, currency: str) -> str:
    from parakh.expressions.types import minor_digits

    return short_money(round(amount * 10 ** minor_digits(currency)), currency)
