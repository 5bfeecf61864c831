"""`parakh learn`: the loop - a challenger and rules from what became known, proved on later events, for people."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from parakh.cli.console import Console, bold, clean, dim, green, red, yellow
from parakh.cli.history import Asked, history_options
from parakh.cli.loading import await_kernels, load_project, warm_kernels
from parakh.cli.options import LENGTH_OF_TIME, MOMENT, budget_option, page_option, trials_option
from parakh.cli.problems import show_problems
from parakh.cli.progress import Bar
from parakh.cli.promote import show_gates
from parakh.cli.signing import signed_by
from parakh.cli.words import moment, percent, plural, thousands
from parakh.errors import ParakhError, ProjectError

if TYPE_CHECKING:
    from parakh.learning.fitting.model_card import Carded
    from parakh.learning.fitting.training import Trained
    from parakh.learning.loop import Turn, Wish
    from parakh.learning.past import Past
    from parakh.learning.settings import LearningSettings

__all__ = ["command"]


@click.command(
    short_help="The loop: a challenger and rules from new labels, for people to promote.",
    epilog="\b\nExamples\n  parakh learn shop --events payment.ndjson --labels labels.ndjson --out learned.html\n"
    "  parakh learn shop --data /var/lib/parakh --every 7d --out learned.html\n\n"
    "What a promotion needs, costs and limits are read from learning.toml in the project, anew for each turn. With "
    "`people = 0` there, a challenger that passes every gate is promoted by the loop itself. With --every, a turn that "
    "fails is told and the next one comes.",
)
@click.argument("project", type=click.Path(exists=True, file_okay=False, path_type=Path))
@history_options
@click.option("--model", metavar="NAME", help="The model; the one that the policy reads, or EVENT_LABEL, unless said.")
@trials_option
@budget_option
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True, help="Of all that is drawn.")
@click.option(
    "--min-precision",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.5,
    show_default=True,
    help="The least share of frauds among what a suggested rule hits.",
)
@click.option("--most", type=click.IntRange(1, 100), default=5, show_default=True, help="At most so many rules.")
@click.option("--by", metavar="WHO", help="Who asks for a promotion; git's user.email or $USER, unless said.")
@click.option(
    "--at", "at_us", type=MOMENT, metavar="TIME", help="When, for the record, as 2025-01-31; now, unless said."
)
@click.option(
    "--every",
    type=LENGTH_OF_TIME,
    metavar="LENGTH",
    help="Go round again after so long, as 7d, until stopped; once, unless said.",
)
@page_option
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON.")
def command(
    asked: Asked,
    project: Path,
    model: str | None,
    trials: int | None,
    budget: int | None,
    seed: int,
    min_precision: float,
    most: int,
    by: str | None,
    at_us: int | None,
    every: int | None,
    out: Path | None,
    as_json: bool,
) -> int:
    """Learn from the labels that have come: train a challenger, put it into shadow and to the gates, suggest rules.

    The challenger is judged on the last part of what has matured, which its training did not see. What passes is asked
    for; a second person approves it (`parakh promote --approve`). Nothing decides before that.
    """
    if every is not None and asked.data is None:
        raise click.BadParameter("files do not grow: name a service's data (--data)", param_hint="--every")
    errors = Console.stderr()
    asked.expect_page(out)
    asked.past(load_project(project), asked.settings(project))  # what is asked for wrongly is told before all else
    warming = warm_kernels(errors)
    from parakh.learning.extra import needed
    from parakh.learning.fitting.training import TRIALS
    from parakh.learning.loop import Wish
    from parakh.project.project import Project

    for library in ("lightgbm", "sklearn", "optuna", "matplotlib"):
        needed(library)
    signed = signed_by(project, by)
    await_kernels(warming, errors)

    def go_round() -> None:
        settings = asked.settings(project)
        wish = Wish(
            event_type=asked.event_type,
            model=model,
            from_us=asked.from_us,
            to_us=asked.to_us,
            known_by_us=asked.known_by,
            by=signed,
            at_us=time.time_ns() // 1000 if at_us is None else at_us,
            trials=trials or TRIALS,
            budget_s=None if budget is None else budget / 1e6,
            seed=seed,
            precision=min_precision,
            most_rules=most,
        )
        _turn(project, asked.past(Project.load(project), settings), wish, settings, out, as_json, errors)

    if every is None:
        go_round()
        return 0
    while True:
        try:
            go_round()
        except ParakhError as error:
            _tell(error, project, every, errors)
        time.sleep(every / 1e6)


def _tell(error: ParakhError, project: Path, every: int, errors: Console) -> None:
    """Say why a turn failed; the next may do better, as with labels that have come by then."""
    if isinstance(error, ProjectError):
        show_problems(error.problems, errors, project)
    else:
        errors.say(f"{red('error:')} {clean(str(error))}")
    errors.say(dim(f"the next turn is at {moment(time.time_ns() // 1000 + every)}"))


def _turn(
    project: Path,
    past: Past,
    wish: Wish,
    settings: LearningSettings,
    out: Path | None,
    as_json: bool,
    errors: Console,
) -> None:
    from parakh.cli.report.document import write_page
    from parakh.cli.report.learn_page import render
    from parakh.cli.report.model_page import render as model_page
    from parakh.learning.loop import turn
    from parakh.project.project import Project

    def card_page(trained: Trained, carded: Carded, folder: Path) -> None:
        write_page(folder / "card.html", model_page(trained, carded))

    with Bar(errors, "learning") as bar:
        done = turn(
            project,
            past,
            wish,
            settings,
            on_progress=lambda doing, share, words: bar.to(share, words, doing),
            on_trained=card_page,
        )
    if out is not None:
        write_page(out, render(done, project=Project.load(project).definitions.settings.name))
    console = Console.stdout()
    if as_json:
        console.print(json.dumps(done.as_data(), indent=2))
        return
    _show(done, project, console)
    if out is not None:
        console.print(f"{green('wrote')} {bold(clean(str(out)))}")


def _show(done: Turn, project: Path, console: Console) -> None:
    from parakh.cli.report.learn_words import became_words, disagreement_words, verdict

    console.say(bold(verdict(done)))
    console.print(
        dim(
            f"{thousands(done.rows)} matured {done.event_type} events, {plural(done.frauds, done.label)}, as known by "
            f"{moment(done.known_by_us)}; tested from {moment(done.test_from_us)[:10]}"
        ),
        "",
    )
    for item in done.challengers:
        show_gates(item.gates, console)
        console.say(became_words(done, item))
        if item.disagreement is not None:
            console.say(dim(disagreement_words(item.disagreement)))
        console.print("")
    found = {item.name: item for item in done.suggested.suggestions} if done.suggested is not None else {}
    if done.rules:
        rows = [
            [bold(clean(name)), clean(str(found[name].condition)), percent(found[name].precision.value, 1)]
            for name in done.rules
        ]
        console.table(rows, header=["rules in shadow", "when", "precision"], align="<<>")
    else:
        console.say(f"no rule to suggest: {clean(done.no_rules) or 'nothing that holds on later events is missed'}")
    console.print("")
    where = clean(str(project))
    if done.waiting is not None:
        console.print(dim(f"then  parakh promote {where} {done.model} {done.waiting} --approve --by SOMEBODY-ELSE"))
    for name in done.rules[:1]:
        console.print(dim(f"then  parakh suggest {where} --accept {clean(name)} --by WHO"))
    for warning in done.carded.card["dataset"].get("warnings", []):
        console.say(f"{yellow('warning')} {clean(warning)}")
