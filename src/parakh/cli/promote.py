"""`parakh promote`: a version of a model from candidate to shadow to champion, with gates and a second person."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from parakh.cli.console import Console, bold, clean, dim, green, red, yellow
from parakh.cli.loading import await_kernels, given_past, load_project, warm_kernels
from parakh.cli.options import MOMENT, past_options
from parakh.cli.progress import Bar
from parakh.cli.replay import show_progress
from parakh.cli.signing import signed_by
from parakh.cli.words import thousands

if TYPE_CHECKING:
    from parakh.learning.past import Past
    from parakh.learning.promotion.gates import Gates
    from parakh.learning.promotion.registry import Registry
    from parakh.project.project import Project

__all__ = ["command", "show_gates"]

_WAITS = {"shadow": "candidate", "request": "shadow", "approve": "shadow", "retire": "shadow"}


@click.command(
    short_help="Move a version of a model on: into shadow, to champion, back.",
    epilog="\b\nExamples\n  parakh promote shop payment_fraud --shadow\n"
    "  parakh promote shop payment_fraud --request --events payment.ndjson --labels labels.ndjson\n"
    "  parakh promote shop payment_fraud --approve --by ravi@example.com\n"
    "  parakh promote shop payment_fraud --back --reason 'blocks too many'\n\n"
    "Who it is, is taken on trust: version control proves who committed the change, the service who applied it.",
)
@click.argument("project", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("name")
@click.argument("version", type=click.IntRange(1), required=False)
@click.option("--shadow", is_flag=True, help="Let a candidate score beside the champion.")
@click.option("--request", is_flag=True, help="Put it to the gates and ask that it becomes champion.")
@click.option("--approve", is_flag=True, help="Make it champion, as a second person.")
@click.option("--back", is_flag=True, help="Make the champion before it champion again; or rules alone.")
@click.option("--retire", is_flag=True, help="Let a candidate or challenger rest.")
@click.option("--by", metavar="WHO", help="Who does it; git's user.email or $USER, unless said.")
@click.option("--reason", default="", metavar="TEXT", help="Why, for the record.")
@click.option(
    "--despite", default="", metavar="TEXT", help="Ask although gates fail, or without them: why, for the record."
)
@click.option(
    "--at", "at_us", type=MOMENT, metavar="TIME", help="When, for the record, as 2025-01-31; now, unless said."
)
@past_options()
@click.option(
    "--since",
    type=MOMENT,
    metavar="TIME",
    help="Judge on events from this time on, as 2025-01-31; after its training, unless said.",
)
@click.option(
    "--labels-of-stopped", is_flag=True, help="Labels are known of stopped events too: look past the holdout."
)
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON.")
def command(
    project: Path,
    name: str,
    version: int | None,
    by: str | None,
    reason: str,
    despite: str,
    at_us: int | None,
    events: tuple[str, ...],
    labels: str | None,
    label_delay: int | None,
    data: Path | None,
    since: int | None,
    labels_of_stopped: bool,
    as_json: bool,
    **steps: bool,
) -> int:
    """Move VERSION of the model NAME of PROJECT on; the newest that can be, unless said.

    A challenger becomes champion in two steps: --request puts it to the gates on events later than its training, and
    --approve, by a second person unless learning.toml says `people = 1`, points the model's definition to it. Then
    `parakh apply` lets a running service decide by it.
    """
    from parakh.learning.promotion.registry import Registry
    from parakh.learning.settings import read_learning

    asked = [step for step, wanted in steps.items() if wanted]
    if len(asked) != 1:
        said = f", not {' and '.join(f'--{step}' for step in asked)}" if asked else ""
        raise click.UsageError(f"say one step: --shadow, --request, --approve, --back or --retire{said}")
    action = asked[0]
    if despite and not despite.strip():
        raise click.BadParameter("it is blank: say why, for the record", param_hint="--despite")
    errors, console = Console.stderr(), Console.stdout()
    loaded = load_project(project)
    registry = Registry.open(project, name)
    who = signed_by(project, by)
    at = time.time_ns() // 1000 if at_us is None else at_us
    gates = None
    if action == "back":
        done = registry.roll_back(by=who, at_us=at, why=reason)
        return _tell(registry, "back", 0 if done is None else done.number, None, project, as_json, console)
    number = _version(registry, action, version)
    if action == "request":
        if events or data is not None:
            delay = read_learning(project).label_delay_us
            past = given_past(loaded, events, labels, label_delay, data, known_after_us=delay)
            gates = _gates(loaded, registry, number, past, since, labels_of_stopped, errors)
            if not as_json:
                show_gates(gates, console)
        elif not despite:
            raise click.UsageError(
                "to be asked for, a version is put to the gates: name events later than its training (--events and "
                "--labels, or --data), or say why that is not needed (--despite)"
            )
        if gates is not None and not gates.passed and not despite:
            if as_json:
                console.print(json.dumps({"action": "refused", "gates": gates.as_data()}, indent=2))
            errors.print(
                f"{red('refused')}  not all gates are passed; --despite TEXT asks all the same, and is recorded"
            )
            return 1
        registry.request(number, by=who, at_us=at, gates=gates, why=reason, despite=despite)
        if read_learning(project).people <= 1:
            registry.approve(number, by=who, at_us=at, why=reason)
            action = "approve"
    elif action == "shadow":
        registry.shadow(number, by=who, at_us=at, why=reason)
    elif action == "approve":
        registry.approve(number, by=who, at_us=at, why=reason)
    else:
        registry.retire(number, by=who, at_us=at, why=reason)
    return _tell(registry, action, number, gates, project, as_json, console)


def show_gates(gates: Gates, console: Console) -> None:
    """Print each gate with what was found."""
    against = gates.champion or "the policy without a model"
    console.print(
        f"{bold(clean(gates.challenger))} against {clean(against)} on {thousands(gates.events)} events, "
        f"{thousands(gates.frauds)} of them fraud"
    )
    console.table([[green("passed") if gate.passed else red("failed"), gate.name, gate.why] for gate in gates.gates])
    console.print("")


def _gates(
    project: Project,
    registry: Registry,
    number: int,
    past: Past,
    since: int | None,
    labels_of_stopped: bool,
    errors: Console,
) -> Gates:
    """Replay the past, in which challenger and champion both score, and judge by what came after their training.

    Raises InputError where `since` is not after it.
    """
    from parakh.errors import InputError
    from parakh.expressions.values import iso_time
    from parakh.learning.settings import read_learning

    assert project.root is not None
    settings = read_learning(project.root)
    warming = warm_kernels(errors)
    from parakh.learning.history import make_history
    from parakh.learning.promotion.gates import judge, learned_until_us

    card: Mapping[str, Any] = registry.card(number) or {}
    champion = registry.champion
    before = registry.card(champion.number) if champion is not None else None
    cards = {number: card} if champion is None else {number: card, champion.number: before or {}}
    learned = {version: learned_until_us(each) for version, each in cards.items()}
    ended = max((until for until in learned.values() if until is not None), default=None)
    if since is not None and ended is not None and since <= ended:
        raise InputError(
            f"--since {iso_time(since)} is not later than what was learned from, which ended at {iso_time(ended)}: "
            "a model knows the answers there (hint: leave --since out)"
        )
    for version in sorted(version for version, until in learned.items() if until is None):
        errors.print(
            f"{yellow('note')}  no card says when version {version} learned: "
            "it may know the events that it is judged on"
        )
    await_kernels(warming, errors)
    with Bar(errors, "replaying") as bar:
        history = make_history(
            project,
            past,
            event_type=registry.event_type,
            label=settings.label,
            label_delay_us=settings.label_delay_us,
            inputs=registry.version(number).inputs,
            on_progress=lambda progress: show_progress(bar, progress),
        )
    return judge(
        history,
        challenger=registry.shadow_name(number),
        champion=None if champion is None else registry.model,
        card=card,
        policy=project.definitions.policy(registry.event_type),
        settings=settings,
        from_us=since if since is not None or ended is None else ended + 1,
        zone=project.definitions.settings.time_zone,
        labels_of_stopped=labels_of_stopped,
    )


def _version(registry: Registry, action: str, version: int | None) -> int:
    """The version that was named, or the newest in the state that the action takes."""
    from parakh.errors import InputError

    if version is not None:
        return registry.version(version).number
    asked = registry.request_open
    if action == "approve" and asked is not None:
        return asked.version
    state = _WAITS[action]
    there = [each.number for each in registry.versions if each.state == state]
    if action == "retire" and len(there) != 1:
        raise click.UsageError("say which version is to rest: --retire takes a VERSION")
    if not there:
        hint = "`parakh train --project` adds one" if action == "shadow" else "put a candidate into shadow first"
        raise InputError(f"{registry.model} has no version in state {state}: {hint}")
    return max(there)


def _tell(
    registry: Registry, action: str, number: int, gates: Gates | None, project: Path, as_json: bool, console: Console
) -> int:
    """Say what was done, what comes next, and the way back."""
    state = registry.version(number).state if number else "none"
    if as_json:
        said = {
            "model": registry.model, "version": number, "state": state, "action": action,
            "event": registry.history[-1].as_data(), "gates": None if gates is None else gates.as_data(),
        }  # fmt: skip
        console.print(json.dumps(said, indent=2))
        return 0
    where = f"{clean(str(project))} {registry.model}"
    event = registry.history[-1]
    told = {
        "shadow": f"version {number} scores in shadow as {registry.shadow_name(number)}, beside the champion",
        "request": f"version {number} waits for approval by somebody other than {clean(event.who)}",
        "approve": f"version {number} is champion" + (f"; version {event.replaced} rests" if event.replaced else ""),
        "back": (f"version {number} is champion again" if number else "the rules decide alone again")
        + f"; version {event.replaced} rests",
        "retire": f"version {number} rests; its files stay",
    }[action]
    then = {
        "request": f"then  parakh promote {where} {number} --approve",
        "approve": f"then  parakh apply {clean(str(project))}\nback  parakh promote {where} --back",
        "back": f"then  parakh apply {clean(str(project))}",
        "shadow": f"then  parakh apply {clean(str(project))}, and later  parakh promote {where} {number} --request",
        "retire": "",
    }[action]
    console.print(f"{green('done')}  {told}")
    if action == "approve" and not event.replaced:
        console.print(dim(f"no policy reads it yet: parakh tune --model {registry.model} --write gives it bands"))
    for line in then.splitlines():
        console.print(dim(line))
    return 0
