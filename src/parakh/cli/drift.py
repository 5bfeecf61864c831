"""`parakh drift`: what has changed since a model learned, or since another span - inputs, scores, rules, labels."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from parakh.cli.console import Console, bold, clean, dim, green, red, yellow
from parakh.cli.history import Asked, history_options
from parakh.cli.loading import await_kernels, load_project, warm_kernels
from parakh.cli.options import MOMENT, page_option
from parakh.cli.remote import connect, server_option
from parakh.cli.words import plural, thousands
from parakh.errors import InputError

if TYPE_CHECKING:
    from parakh.learning.changes.tracks import Track
    from parakh.learning.changes.watching import Drift

__all__ = ["command"]

_MOST_ROWS = 12


@click.command(
    short_help="What has changed: inputs, scores, rules, labels, volume; alarms beyond chance.",
    epilog="\b\nExamples\n  parakh drift shop --events payment.ndjson --labels labels.ndjson --since 2025-03-01\n"
    "  parakh drift shop --data /var/lib/parakh --model payment_fraud --out drift.html\n"
    "  parakh drift shop --data /var/lib/parakh --every day --post --server https://parakh.example.com\n\n"
    "Exit code 1 when there is an alarm, 0 otherwise.",
)
@click.argument("project", type=click.Path(exists=True, file_okay=False, path_type=Path))
@history_options
@click.option(
    "--since",
    "since_us",
    type=MOMENT,
    metavar="TIME",
    help="Watch from this time on, as 2025-01-31; the last four weeks, unless said.",
)
@click.option(
    "--reference-to",
    "reference_to_us",
    type=MOMENT,
    metavar="TIME",
    help="The reference ends at this time, as 2025-01-31; at --since, unless said.",
)
@click.option("--model", metavar="NAME", help="Hold inputs against the card of this model's champion.")
@click.option(
    "--every", type=click.Choice(["week", "day"]), default="week", show_default=True, help="How long a period is."
)
@page_option
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@click.option("--post", is_flag=True, help="Post the alarms to a running server, whose webhooks send them on.")
@server_option
def command(
    asked: Asked,
    project: Path,
    since_us: int | None,
    reference_to_us: int | None,
    model: str | None,
    every: str,
    out: Path | None,
    as_json: bool,
    post: bool,
    server: str,
) -> int:
    """Replay past events through PROJECT and hold what came since a time against what came before it.

    Watched are the spread and the missing values of each input and score, how often each rule hits, how many events
    come, and how many of the matured ones are fraud. An alarm is what is beyond its bound and beyond chance in the
    newest week. Without --since the last four weeks are watched; with --model all since its training ended.
    """
    from parakh.learning.dataset import target_of

    errors = Console.stderr()
    loaded = load_project(project)
    asked.expect_page(out)
    settings = asked.settings(project)
    _expect_order(asked, since_us, reference_to_us)
    past = asked.past(loaded, settings)
    warming = warm_kernels(errors)
    from parakh.learning.changes.watching import usual_beginning, watch, watchable

    target = target_of(loaded.definitions, past.event_types, asked.event_type, settings.label)
    inputs = watchable(loaded, target.name)
    baselines: dict[str, Any] = {}
    scores: dict[str, Any] = {}
    if model is not None:
        baselines, scores, after_us = _of_card(project, model)
        inputs = tuple(name for name in inputs if name in baselines)
        since_us = after_us if since_us is None else since_us
    await_kernels(warming, errors)
    history = asked.history(loaded, past, settings, errors, inputs=inputs)
    zone = loaded.definitions.settings.time_zone
    found = watch(
        history,
        since_us=usual_beginning(history, every=every, zone=zone, to_us=asked.to_us) if since_us is None else since_us,
        reference_to_us=reference_to_us,
        baselines=baselines,
        scores=scores,
        model=model,
        every=every,
        zone=zone,
        to_us=asked.to_us,
    )
    if out is not None:
        from parakh.cli.report.document import write_page
        from parakh.cli.report.drift_page import render

        write_page(out, render(found, history, project=loaded.definitions.settings.name, past=past.described()))
    console = Console.stdout()
    if as_json:
        console.print(json.dumps(found.as_data(), indent=2, allow_nan=False))
    else:
        _show(found, console)
        if out is not None:
            console.print("", f"{green('wrote')} {bold(clean(str(out)))}")
    if post:
        _post(found, server, errors)
    return 1 if found.alarming else 0


def _expect_order(asked: Asked, since_us: int | None, reference_to_us: int | None) -> None:
    """Refuse times that leave nothing to watch, or nothing to hold it against."""
    if since_us is None:
        return
    if asked.to_us is not None and since_us >= asked.to_us:
        raise click.BadParameter("nothing lies between --since and --to", param_hint="--to")
    if asked.from_us is not None and since_us <= asked.from_us:
        raise click.BadParameter("nothing lies between --from and --since: there is no before", param_hint="--since")
    if reference_to_us is not None and reference_to_us > since_us:
        raise click.BadParameter("the reference would hold what is watched: it ends at --since at the latest",
                                 param_hint="--reference-to")  # fmt: skip


def _of_card(project: Path, model: str) -> tuple[dict[str, Any], dict[str, Any], int | None]:
    """The baselines of a model's champion, of its inputs and its score, and from when on it has learned from nothing.

    Raises InputError where there is no champion, or no card of it.
    """
    from parakh.learning.changes.drift import card_baselines
    from parakh.learning.promotion.gates import learned_until_us
    from parakh.learning.promotion.registry import Registry

    registry = Registry.open(project, model)
    champion = registry.champion
    card = None if champion is None else registry.card(champion.number)
    if card is None:
        raise InputError(
            f"model {model} has no champion with a card: nothing says how its inputs were spread (hint: leave --model "
            "out, and what came before --since is the reference)"
        )
    of_inputs, of_score = card_baselines(card)
    until_us = learned_until_us(card)
    return of_inputs, {} if of_score is None else {model: of_score}, None if until_us is None else until_us + 1


def _post(found: Drift, server: str, errors: Console) -> None:
    with connect(server) as client:
        count = client.post_alarms([item.as_data() for item in found.alarming]) if found.alarming else 0
    errors.print(f"{green('posted')} {plural(count, 'alarm')}" if count else dim("no alarm to post"))


def _show(found: Drift, console: Console) -> None:
    against = f"the card of {found.model}" if found.model else f"{plural(found.reference, 'event')} before"
    watched = int(found.events.sum())
    console.print(
        f"{bold(thousands(watched))} {found.event_type} events since {found.day(found.since_us)}, in "
        f"{plural(found.periods.size, found.every)}, against {against}",
        "",
    )
    if not found.alarms:
        console.print(f"{green('no alarm')}  nothing has changed beyond chance")
    for item in found.alarms:
        word = red("alarm") if item.level == "alarm" else yellow("watch")
        console.say(f"{word}  {clean(item.text)}", hanging="       ")
    for title, kind, show in (("inputs", "stability", _input_row), ("rules and rates", "", _rate_row)):
        tracks = [item for item in found.tracks if (item.kind == kind if kind else item.kind in _RATES)]
        rows = [row for track in _worst(tracks) if (row := show(track, found))]
        if rows:
            console.print("")
            header = (title, "index", "missing before", "now", "mean before", "now") if kind else (
                title, "before", "now", "chance from", "to", "")  # fmt: skip
            console.table(rows, header=header, align="<>>>>>" if kind else "<>>>><")
        if len(tracks) > _MOST_ROWS:
            console.print(dim(f"  and {len(tracks) - _MOST_ROWS} more (--json, --out)"))


_RATES = ("hit_rate", "label_rate", "received")


def _worst(tracks: list[Track]) -> list[Track]:
    """The rows to show: those with alarms, then those that moved most."""

    def far(track: Track) -> tuple[int, float]:
        last = track.last
        if last is None:
            return (0, 0.0)
        moved = (
            float(track.value[last]) if track.kind == "stability" else abs(float(track.value[last]) - track.reference)
        )
        return (-int(track.state[last]), -moved if not math.isnan(moved) else 0.0)

    return sorted(tracks, key=far)[:_MOST_ROWS]


def _input_row(track: Track, found: Drift) -> list[str] | None:
    from parakh.learning.changes.drift import told

    last = track.last
    if last is None:
        return None
    missing = next(item for item in found.of_kind("missing") if item.subject == track.subject)
    before = track.baseline.mean if track.baseline is not None else None
    now = None if track.mean is None else float(track.mean[last])
    return [
        clean(track.subject),
        _colour(track, last, f"{track.value[last]:.3f}"),
        _percent(missing.reference),
        _colour(missing, last, _percent(float(missing.value[last]))),
        "" if before is None else told(before),
        "" if now is None or math.isnan(now) else told(now),
    ]


def _rate_row(track: Track, found: Drift) -> list[str] | None:
    last = track.last
    if last is None:
        return None
    say = (lambda value: f"{value:,.0f}") if track.kind == "received" else _percent
    name = {"hit_rate": "rule {}", "label_rate": "{} of matured", "received": "{} a day"}[track.kind]
    low, high = float(track.low[last]), float(track.high[last])
    known = not math.isnan(track.reference)
    return [
        clean(name.format(track.subject)),
        say(track.before(last)) if known else "",
        _colour(track, last, say(float(track.value[last]))),
        say(low) if known else "",
        say(high) if known else "",
        dim(f"in the {found.every} from {found.day(int(found.periods[last]))}")
        if last < found.periods.size - 1
        else "",
    ]


def _colour(track: Track, last: int, text: str) -> str:
    return (str, yellow, red)[int(track.state[last])](text)


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"
