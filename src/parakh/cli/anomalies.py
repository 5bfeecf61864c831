"""`parakh anomalies`: which segment left its own history, when, and how far - without labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from parakh.cli.console import Console, bold, clean, cut, dim
from parakh.cli.loading import await_kernels, given_past, load_project, warm_kernels
from parakh.cli.options import past_options, span_options
from parakh.cli.progress import Bar
from parakh.cli.replay import show_progress
from parakh.cli.words import plural, short_money, thousands

if TYPE_CHECKING:
    from parakh.learning.changes.anomalies import Anomaly
    from parakh.learning.changes.tallies import Tallies

__all__ = ["command"]

_SHOWN = 20


@click.command(
    short_help="Which segment left its own history, and when; without labels.",
    epilog="\b\nExamples\n  parakh anomalies shop --events payment.ndjson --by country\n"
    "  parakh anomalies shop --data /var/lib/parakh --for payment --by country --by channel --every hour\n"
    "  parakh anomalies shop --events payment.ndjson --by category --distinct device --json",
)
@click.argument("project", type=click.Path(exists=True, file_okay=False, path_type=Path))
@past_options()
@click.option("--for", "event_type", metavar="TYPE", help="Of which event type; the only one there is, unless said.")
@click.option(
    "--by",
    multiple=True,
    metavar="FIELD",
    help="Segments: the values of this field. Repeat for more; all events are one, unless said.",
)
@click.option("--distinct", metavar="FIELD", help="Count the different values of this field too, such as cards.")
@click.option(
    "--every", type=click.Choice(["hour", "day"]), default="day", show_default=True, help="How long a span is."
)
@click.option(
    "--rate",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.05,
    show_default=True,
    help="The expected share of false alarms among what is told.",
)
@span_options
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def command(
    project: Path,
    events: tuple[str, ...],
    labels: str | None,
    label_delay: int | None,
    data: Path | None,
    event_type: str | None,
    by: tuple[str, ...],
    distinct: str | None,
    every: str,
    rate: float,
    from_us: int | None,
    to_us: int | None,
    as_json: bool,
) -> int:
    """Compare each segment's events, stops, amounts and different keys with its own past, hour by hour or day by day.

    Each span is judged by what came before it alone: the same hour of the week in earlier weeks, and how much the
    segment scatters. The first two weeks are history; the last span, which may not be over, is not judged.
    """
    from parakh.decisions.definition import DAY_US, HOUR_US
    from parakh.learning.settings import read_learning

    if from_us is not None and to_us is not None and from_us >= to_us:
        raise click.BadParameter("nothing lies between --from and --to", param_hint="--to")
    errors = Console.stderr()
    loaded = load_project(project)
    delay = read_learning(project).label_delay_us  # for features that read labels in the events
    past = given_past(loaded, events, labels, label_delay, data, known_after_us=delay)
    warming = warm_kernels(errors)
    from parakh.learning.changes.anomalies import anomalies
    from parakh.learning.changes.tallies import tally

    await_kernels(warming, errors)
    with Bar(errors, "replaying") as bar:
        tallies = tally(
            loaded,
            past,
            event_type=event_type,
            by=tuple(dict.fromkeys(by)),
            distinct=distinct,
            every_us=HOUR_US if every == "hour" else DAY_US,
            from_us=from_us,
            to_us=to_us,
            on_progress=lambda progress: show_progress(bar, progress),
        )
    found = anomalies(tallies, rate=rate)
    console = Console.stdout()
    if as_json:
        told = {
            "event_type": tallies.event_type, "every": every, "rate": rate, "segments": len(tallies.segments),
            "left_out": tallies.left_out, "anomalies": [item.as_data() for item in found],
        }  # fmt: skip
        console.print(json.dumps(told, indent=2))
        return 0
    _show(found, tallies, every, loaded.definitions.settings.time_zone, console)
    return 0


def _show(found: list[Anomaly], tallies: Tallies, every: str, zone: str, console: Console) -> None:
    spans = tallies.starts_us.size
    console.print(
        dim(
            f"{plural(int(tallies.events[0].sum()), tallies.event_type)} of {plural(spans, every)}, "
            f"{plural(len(tallies.segments), 'segment')}; times are of {zone}"
        ),
        "",
    )
    if tallies.left_out:
        console.print(dim(f"{plural(tallies.left_out, 'value')} with the fewest events left out"), "")
    if not found:
        console.print("nothing left its own history")
        return
    rows = [_row(item, tallies, zone) for item in found[:_SHOWN]]
    console.table(rows, header=["segment", "what", "from", "to", "seen", "usual", "times", "chance"], align="<<<<>>>>")
    if len(found) > _SHOWN:
        console.print(dim(f"  {thousands(len(found) - _SHOWN)} more: --json has them all"))


def _row(item: Anomaly, tallies: Tallies, zone: str) -> list[str]:
    if item.measure == "amount":
        seen, usual = (_money(amount, tallies.currency) for amount in (item.observed, item.usual))
    else:
        seen = thousands(round(item.observed))
        usual = f"{item.usual:,.1f}" if item.usual < 100 else thousands(round(item.usual))
    what = {"distinct": tallies.distinct_of, "amount": "mean amount"}.get(item.measure, item.measure)
    segment = cut(clean(f"{item.field} {item.value}".strip()), 30)
    return [
        bold(segment), what, _local(item.start_us, zone, tallies), _local(item.end_us, zone, tallies), seen, usual,
        f"{item.times:.1f}" if item.times < 1e6 else "new", _chance(item.chance),
    ]  # fmt: skip


def _chance(chance: float) -> str:
    return "< 1e-9" if chance < 1e-9 else f"{chance:.1g}"


def _local(at_us: int, zone: str, tallies: Tallies) -> str:
    import datetime
    import zoneinfo

    from parakh.decisions.definition import DAY_US

    at = datetime.datetime.fromtimestamp(at_us / 1e6, datetime.UTC).astimezone(zoneinfo.ZoneInfo(zone))
    return f"{at:%Y-%m-%d}" if tallies.every_us == DAY_US else f"{at:%Y-%m-%d %H:%M}"


def _money(amount: float, currency: str) -> str:
    from parakh.expressions.types import minor_digits

    return short_money(round(amount * 10 ** minor_digits(currency)), currency)
