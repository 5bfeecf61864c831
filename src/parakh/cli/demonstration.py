"""The demo's course: a fintech is made up and judged live, decisions are told, a rule is changed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

from parakh.cli.compare import Comparison, comparison_of
from parakh.cli.console import Console, bold, clean, continued, cut, cyan, dim, green, red
from parakh.cli.diff import show_comparison
from parakh.cli.facts import facts_of_simulation
from parakh.cli.live import LiveView
from parakh.cli.loading import await_kernels, load_project, warm_kernels
from parakh.cli.narrate import narrate
from parakh.cli.progress import Bar
from parakh.cli.replay import show_progress
from parakh.cli.report.data import Story
from parakh.cli.report.page import write
from parakh.cli.reporting import Edit, change_of, report_of, span_of
from parakh.cli.served import show_service
from parakh.cli.stories import show_story
from parakh.cli.verdicts import Facts, Judged, Verdicts
from parakh.cli.words import money, percent, plural, short_money, thousands
from parakh.expressions.zones import Zone

if TYPE_CHECKING:
    from parakh.decisions.decisions import Decisions
    from parakh.decisions.replay import Progress, Source
    from parakh.project.project import Project
    from parakh.simulation.scenario import Summary as Simulated

__all__ = ["demonstrate"]

RULE = "cloned_card"
WAS, BECOMES = "home_km > 150 and amount >= 3000", "home_km > 150 and amount >= 8000"
TITLE = "A swipe far from home is blocked from 8,000 on, where it was from 3,000"

_STORIES = ("card_testing", "account_takeover", "compromised_terminal", "compromised_card", "mule")
_WATCH_S = 14.0
_STEPS = 6


def demonstrate(folder: Path, events: int, seed: int, *, fast: bool = False) -> None:
    """The whole demo: what is printed, and FOLDER/report.html."""
    console = Console.stdout()
    warming = warm_kernels(console)
    simulated = _simulate(folder, events, seed, console)
    project, shop = _project(folder, console)
    sources = _sources(project, simulated)
    facts = facts_of_simulation(project, sources, simulated.folder / "truth.ndjson")
    labels = str(simulated.folder / "labels.ndjson")
    await_kernels(warming, Console.stderr())

    view, before = _watch(project, sources, labels, facts, console, 0.0 if fast else _WATCH_S)
    stories = _tell(project, sources, labels, before, console)
    edit, changed = _change(folder, shop, console)
    after = _replay_again(changed, sources, labels, facts)
    comparison = comparison_of(before, after, dict(facts), project.definitions.settings.currency)
    _show_change(comparison, console)

    _step(5, "The same project as a service: over HTTP, and killed in the middle", console)
    show_service(folder, shop, project, sources, console)

    path = folder / "report.html"
    span = span_of(before.judged(), Zone(project.definitions.settings.time_zone))
    report = report_of(
        before,
        project.definitions,
        title=f"{thousands(simulated.total)} events of a fintech, judged as they came",
        subtitle=f"{span}. A simulation, so that the truth of every event is known.",
        events=view.events,
        speed=view.speed,
        stories=stories,
        change=change_of(edit, comparison),
        facts=(
            ("Scenario", f"{simulated.scenario}, {plural(simulated.total, 'event')}, seed {simulated.seed}"),
            ("Project", f"{project.definitions.settings.name}, version {project.hash[:12]}"),
        ),
    )
    write(report, path)
    _step(6, "All of it as one page", console)
    console.print(f"  {bold(cyan(clean(str(path))))}  {dim('opens in any browser, needs no network')}", "")
    console.print(f"  Your turn: copy {clean(str(shop))}, edit the copy, and see what it would have done:")
    lines = [f"parakh diff {shop} MY_COPY", *(f"--events {source.path}" for source in sources), f"--labels {labels}"]
    console.print(*(f"  {cyan(clean(line))}" for line in continued(lines)))


def _step(number: int, title: str, console: Console) -> None:
    console.print("", f"{dim(f'{number}/{_STEPS}')}  {bold(title)}", "")


def _simulate(folder: Path, events: int, seed: int, console: Console) -> Simulated:
    from parakh.simulation.scenario import simulate

    _step(1, "A fintech is made up", console)
    with Bar(Console.stderr(), "simulating") as bar:
        simulated = simulate("fintech", events=events, seed=seed, out=folder / "events", progress=bar.step)
    console.say(
        f"{bold(thousands(simulated.total))} events of {plural(simulated.customers, 'customer')}, "
        f"{simulated.first_event} to {simulated.last_event}; every person and number is invented.",
        indent="  ",
    )
    console.say(
        f"{bold(thousands(simulated.fraud_total))} of {thousands(simulated.judged)} payments and transfers are frauds, "
        f"worth {bold(short_money(simulated.fraud_amount_minor, simulated.currency))}. Parakh does not know which.",
        indent="  ",
    )
    return simulated


def _project(folder: Path, console: Console) -> tuple[Project, Path]:
    """The demo's project: a copy that stays as it is where there is one already, since somebody may have edited it."""
    from parakh.project.init import create

    shop = folder / "shop"
    if not shop.exists():
        create(shop)
    return load_project(shop), shop


def _sources(project: Project, simulated: Simulated) -> list[Source]:
    from parakh.decisions.replay import Source

    known = {event.name for event in project.definitions.events}
    return [Source(name, str(simulated.folder / f"{name}.ndjson")) for name in simulated.events if name in known]


def _watch(
    project: Project, sources: list[Source], labels: str, facts: dict[str, Facts], console: Console, watch_s: float
) -> tuple[LiveView, Verdicts]:
    from parakh.decisions.replay import Replay

    _step(2, "Its events are judged as they come", console)
    verdicts = Verdicts(facts)
    pace_s = watch_s if console.terminal else 0.0
    view = LiveView(
        console=console,
        verdicts=verdicts,
        facts=facts,
        rules={rule.name: rule for rule in project.definitions.rules},
        currency=project.definitions.settings.currency,
        title=f"{project.definitions.settings.name}: {len(project.definitions.rules)} rules, "
        f"{plural(len(project.definitions.models), 'model')}",
        pace_s=pace_s,
    )
    replay = Replay(project, sources, labels=labels)
    with view:

        def take(decisions: Decisions, progress: Progress) -> None:
            share = progress.done_bytes / progress.total_bytes if progress.total_bytes else None
            view.take(decisions, progress.events, share)

        replay.run(take)
    _show_watched(view, console)
    return view, verdicts


def _show_watched(view: LiveView, console: Console) -> None:
    from parakh.cli.console import OUTCOME_STYLES, outcome

    totals = view.verdicts.totals
    rows = [
        [name, *(outcome(word, thousands(row[word])) for word in OUTCOME_STYLES)] for name, row in view.counts.items()
    ]
    console.table(rows, header=["", *OUTCOME_STYLES], align="<>>>>")
    caught, whole = totals.fraud_amount_stopped, totals.fraud_amount
    console.print("")
    console.say(
        f"{green(short_money(caught, view.currency))} of fraud stopped ({percent(caught, whole)}), "
        f"{red(short_money(whole - caught, view.currency))} passed; "
        f"{percent(totals.frauds_stopped, totals.stopped)} of what was stopped was fraud",
        indent="  ",
    )
    slowed = dim(", slowed down to be watched") if view.pace_s else ""
    console.print(f"  {bold(thousands(view.speed))} events/s on one core{slowed}")
    if not console.terminal:
        console.print("", "  the latest stops", *view.lines())


def _tell(
    project: Project, sources: list[Source], labels: str, verdicts: Verdicts, console: Console
) -> tuple[Story, ...]:
    _step(3, "Three decisions, with what the windows held", console)
    chosen = _choose(verdicts.judged())
    with Bar(Console.stderr(), "looking back") as bar:
        stories = narrate(project, sources, chosen, labels=labels, bar=bar)
    for number, story in enumerate(stories):
        if number:
            console.print("", dim("─" * min(console.columns, 100)), "")
        show_story(story, console)
    return stories


def _choose(judged: dict[str, Judged]) -> dict[tuple[int, int], str]:
    """Three stopped frauds of different kinds by the hash of their id, and what they were in words.

    Of each kind the one that was judged most severely and hit by most rules; of equals the latest, whose windows have
    had the most time to fill.
    """
    chosen: dict[tuple[int, int], str] = {}
    for kind in _STORIES:
        best: tuple[int, int, int] | None = None
        where: tuple[int, int] | None = None
        for item in judged.values():
            if kind not in item.facts.kinds:
                continue
            rows = item.facts.kind[item.row] == item.facts.kinds.index(kind)
            hits = np.bitwise_count(item.hits).sum(axis=1)
            for i in np.flatnonzero(rows & (item.outcome > 0)):
                rank = (int(item.outcome[i]), int(hits[i]), int(item.time_us[i]))
                if best is None or rank > best:
                    best, where = rank, item.facts.hash(int(item.row[i]))
        if where is not None and len(chosen) < 3:
            chosen[where] = f"fraud: {kind.replace('_', ' ')}"
    return chosen


def _change(folder: Path, shop: Path, console: Console) -> tuple[Edit, Project]:
    """A copy of the project with one rule changed."""
    _step(4, "One rule is changed, and the same events are judged again", console)
    changed = folder / "shop-changed"
    if changed.exists():
        shutil.rmtree(changed)
    shutil.copytree(shop, changed)
    for path in sorted((changed / "rules").rglob("*.yaml")):
        before = path.read_text("utf-8")
        if WAS in before:
            after = before.replace(WAS, BECOMES, 1)
            path.write_text(after, "utf-8")
            edit = Edit(TITLE, str(path.relative_to(changed)), before, after)
            console.print(f"  {bold(TITLE)}", f"  {dim(clean(str(path)))}")
            for sign, line in edit.lines():
                style = {"-": red, "+": green}.get(sign, dim)
                console.print(f"  {style(cut(f'{sign} {clean(line)}', console.columns - 2))}")
            return edit, load_project(changed)
    raise click.UsageError(
        f"the demo changes {WAS!r} in rule {RULE}, and {shop} has no such text; delete {shop} for a fresh one"
    )


def _replay_again(project: Project, sources: list[Source], labels: str, facts: dict[str, Facts]) -> Verdicts:
    from parakh.decisions.replay import Replay

    verdicts = Verdicts(facts)
    replay = Replay(project, sources, labels=labels)
    with Bar(Console.stderr(), "replaying") as bar:

        def take(decisions: Decisions, progress: Progress) -> None:
            verdicts.take(decisions)
            show_progress(bar, progress)

        replay.run(take)
    return verdicts


def _show_change(comparison: Comparison, console: Console) -> None:
    console.print("")
    show_comparison(comparison, console)
    console.print("")
    console.say(bold(_verdict(comparison)), indent="  ")


def _verdict(comparison: Comparison) -> str:
    """What the change is worth, in a sentence."""
    gain = comparison.after.fraud_amount_stopped - comparison.before.fraud_amount_stopped
    amount = money(abs(gain), comparison.currency)
    fraud = f"{amount} more" if gain > 0 else f"{amount} less" if gain < 0 else "Just as much"
    lost = comparison.people_lost - comparison.people_gained
    people = "good customer" if abs(lost) == 1 else "good customers"
    trouble = (
        f"{lost:,} more {people}" if lost > 0 else f"{-lost:,} fewer {people}" if lost < 0 else f"as many {people}"
    )
    return f"{fraud} fraud would have been stopped, and {trouble}."
