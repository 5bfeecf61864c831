"""`parakh backtest`: a whole policy replayed on the past - what it caught, whom it stopped, what each rule is for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from parakh.cli.backtest_tables import print_json, show
from parakh.cli.console import Console, bold, clean, green, yellow
from parakh.cli.loading import await_kernels, expect_label_columns, given_past, load_project, warm_kernels
from parakh.cli.options import LENGTH_OF_TIME, MOMENT, past_options
from parakh.cli.progress import Bar
from parakh.cli.replay import show_progress

if TYPE_CHECKING:
    from parakh.decisions.definition import Policy
    from parakh.learning.history import History
    from parakh.project.project import Project

__all__ = ["command"]


@click.command(
    short_help="What a policy would have done to past events, and what each rule is for.",
    epilog="\b\nExamples\n  parakh backtest shop --events payment.ndjson --labels labels.ndjson\n"
    "  parakh backtest shop --against main/shop --events payment.ndjson --labels labels.ndjson --out report.html\n"
    "  parakh backtest shop --data /var/lib/parakh --from 2025-01-01 --segment country --json\n\n"
    "Costs, the review capacity and the maturity of labels are read from learning.toml in the project, where there is "
    "one.",
)
@click.argument("project", type=click.Path(exists=True, file_okay=False, path_type=Path))
@past_options()
@click.option(
    "--against",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="OLD",
    help="A project to compare with: the one that was live.",
)
@click.option("--for", "event_type", metavar="TYPE", help="Of which event type; where several have the label.")
@click.option("--label", metavar="NAME", help="The label that says what was fraud (fraud).")
@click.option("--from", "from_us", type=MOMENT, metavar="TIME", help="Events from this time on.")
@click.option("--to", "to_us", type=MOMENT, metavar="TIME", help="Events before this time.")
@click.option(
    "--known-by",
    type=MOMENT,
    metavar="TIME",
    help="The cut-off: nothing that came later counts. The time of the last event, unless said.",
)
@click.option("--maturity", type=LENGTH_OF_TIME, metavar="LENGTH", help="When an event counts as matured (7d).")
@click.option("--segment", "segments", multiple=True, metavar="FIELD", help="Figures by its values. Repeat for more.")
@click.option("--out", "-o", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="A page: HTML.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def command(
    project: Path,
    events: tuple[str, ...],
    labels: str | None,
    label_delay: int | None,
    data: Path | None,
    against: Path | None,
    event_type: str | None,
    label: str | None,
    from_us: int | None,
    to_us: int | None,
    known_by: int | None,
    maturity: int | None,
    segments: tuple[str, ...],
    out: Path | None,
    as_json: bool,
) -> int:
    """Decide on past events with the policy of PROJECT and count what came of it, in events, money and reviews.

    Labels count as they were known by the cut-off, and right and wrong are told on matured events only. With --against
    the same events are decided by OLD too: which outcomes change, and what that means.
    """
    from parakh.learning.past import Files
    from parakh.learning.settings import read_learning

    errors = Console.stderr()
    loaded = load_project(project)
    old = None if against is None else load_project(against)
    if from_us is not None and to_us is not None and from_us >= to_us:
        raise click.BadParameter("nothing lies between --from and --to", param_hint="--to")
    if old is not None and "-" in (item.rpartition("=")[2] for item in events):
        raise click.BadParameter(
            "two policies read the events, and - can be read once: name files", param_hint="--events"
        )
    _expect_page(out, (*events, labels))
    settings = read_learning(project)
    delay = settings.label_delay_us if maturity is None else maturity
    past = given_past(loaded, events, labels, label_delay, data)
    if isinstance(past, Files):
        expect_label_columns(loaded, past.sources, label_delay)
        if labels is None and label_delay is None:
            past = replace(past, label_delay_us=delay)
        if labels is None and not any(label.source for event in loaded.definitions.events for label in event.labels):
            errors.print(f"{yellow('no labels were given')}: what was fraud is not known (--labels)")
    warming = warm_kernels(errors)
    from parakh.learning.backtests.backtest import backtest
    from parakh.learning.backtests.versus import compare
    from parakh.learning.backtests.votes import Votes
    from parakh.learning.history import make_history

    await_kernels(warming, errors)

    def replayed(which: Project, title: str, inputs: tuple[str, ...]) -> History:
        with Bar(errors, title) as bar:
            return make_history(
                which,
                past,
                event_type=event_type,
                label=label or settings.label,
                from_us=from_us,
                to_us=to_us,
                known_by_us=known_by,
                label_delay_us=delay,
                inputs=inputs,
                on_progress=lambda progress: show_progress(bar, progress),
            )

    before = None if old is None else replayed(old, "replaying with the old", ())
    history = replayed(loaded, "replaying" if old is None else "replaying with the new", segments)
    chosen: dict[str, Any] = {"costs": settings.costs, "capacity": settings.review_capacity, "zone": zone_of(loaded)}
    live = None if old is None or before is None else (Votes(before), policy_of(old, before.event_type))
    change = None if before is None else compare(before, history, policy=live[1] if live else None, **chosen)
    same = before is not None and before.ids.equals(history.ids)
    tested = backtest(history, policy_of(loaded, history.event_type), **chosen, live=live if same else None)
    if out is not None:
        from parakh.cli.report.backtest_page import render
        from parakh.cli.report.document import write_page

        write_page(out, render(tested, change, project=loaded.definitions.settings.name, past=past.described()))
    console = Console.stdout()
    if as_json:
        print_json(tested, change, console)
        return 0
    show(tested, console, change)
    if out is not None:
        console.print("", f"{green('wrote')} {bold(clean(str(out)))}")
    return 0


def zone_of(project: Project) -> str:
    """The zone of a project's days and weeks."""
    return project.definitions.settings.time_zone


def policy_of(project: Project, event_type: str) -> Policy:
    """The policy of an event type; where it has none, the one that rules alone follow."""
    from parakh.decisions.definition import Policy

    policies = project.definitions.policies
    return next((item for item in policies if item.event_type == event_type), Policy(event_type=event_type))


def _expect_page(out: Path | None, inputs: tuple[str | None, ...]) -> None:
    """Refuse to write over an input, or where no folder is, before anything is replayed."""
    if out is not None and not out.parent.is_dir():
        raise click.BadParameter(f"there is no folder {out.parent}", param_hint="--out")
    for name in inputs:
        path = Path(name.partition("=")[2] or name) if name else None
        if out is not None and path is not None and path.exists() and out.exists() and path.samefile(out):
            raise click.BadParameter(f"{out} is an input: it would be overwritten", param_hint="--out")
