"""`parakh backtest`: a whole policy replayed on the past - what it caught, whom it stopped, what each rule is for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from parakh.cli.backtest_tables import print_json, show
from parakh.cli.console import Console, bold, clean, green, yellow
from parakh.cli.history import Asked, history_options
from parakh.cli.loading import await_kernels, load_project, warm_kernels
from parakh.cli.options import page_option

if TYPE_CHECKING:
    from parakh.decisions.definition import Policy
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
@history_options
@click.option(
    "--against",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="OLD",
    help="A project to compare with: the one that was live; none, unless said.",
)
@click.option("--segment", "segments", multiple=True, metavar="FIELD", help="Figures by its values. Repeat for more.")
@page_option
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def command(
    asked: Asked,
    project: Path,
    against: Path | None,
    segments: tuple[str, ...],
    out: Path | None,
    as_json: bool,
) -> int:
    """Decide on past events with the policy of PROJECT and count what came of it, in events, money and reviews.

    Labels count as they were known by the cut-off, and right and wrong are told on matured events only. With --against
    the same events are decided by OLD too: which outcomes change, and what that means.
    """
    from parakh.learning.past import Files

    errors = Console.stderr()
    loaded = load_project(project)
    old = None if against is None else load_project(against)
    if old is not None and "-" in (item.rpartition("=")[2] for item in asked.events):
        raise click.BadParameter(
            "two policies read the events, and - can be read once: name files", param_hint="--events"
        )
    asked.expect_page(out)
    settings = asked.settings(project)
    past = asked.past(loaded, settings)
    columns = any(label.source for event in loaded.definitions.events for label in event.labels)
    if isinstance(past, Files) and past.labels is None and not columns:
        errors.print(f"{yellow('no labels were given')}: what was fraud is not known (--labels)")
    warming = warm_kernels(errors)
    from parakh.learning.backtests.backtest import backtest
    from parakh.learning.backtests.versus import compare
    from parakh.learning.backtests.votes import Votes

    await_kernels(warming, errors)
    before = None
    if old is not None:
        before = asked.history(old, past, settings, errors, title="replaying with the old")
    title = "replaying" if old is None else "replaying with the new"
    history = asked.history(loaded, past, settings, errors, title=title, inputs=segments)
    chosen: dict[str, Any] = {
        "costs": settings.costs,
        "capacity": settings.review_capacity,
        "zone": loaded.definitions.settings.time_zone,
    }
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


def policy_of(project: Project, event_type: str) -> Policy:
    """The policy of an event type; where it has none, the one that rules alone follow."""
    from parakh.decisions.definition import Policy

    return project.definitions.policy(event_type) or Policy(event_type=event_type)
