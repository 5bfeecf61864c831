"""`parakh explain`: one decision in words."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from parakh.cli.console import Console
from parakh.cli.loading import await_kernels, expect_label_columns, load_project, named_sources, warm_kernels
from parakh.cli.options import event_options
from parakh.cli.progress import Bar

__all__ = ["command"]


@click.command(
    short_help="One decision in words.",
    epilog="\b\nExamples\n  parakh explain shop --events payment.ndjson p000123\n"
    "  parakh explain shop --events payment.ndjson --events login.ndjson --labels labels.ndjson payment:p000123",
)
@click.argument("project", type=click.Path(exists=True, file_okay=False, path_type=Path))
@event_options()
@click.argument("event_id", metavar="[TYPE:]EVENT_ID")
@click.option("--all", "everything", is_flag=True, help="Every feature and every rule, not only those that mattered.")
@click.option("--json", "as_json", is_flag=True, help="Print the explanation as JSON on stdout.")
def command(
    project: Path,
    events: tuple[str, ...],
    labels: str | None,
    label_delay: int | None,
    event_id: str,
    everything: bool,
    as_json: bool,
) -> int:
    """Replay the events up to EVENT_ID and tell the decision on it: the timelines of its keys with the windows marked,
    features, the conditions of rules true and false, and what each input added to the score (exact SHAP).
    """
    errors = Console.stderr()
    loaded = load_project(project)
    sources = named_sources(loaded, events)
    expect_label_columns(loaded, sources, label_delay)
    if any(source.path == "-" for source in sources):
        raise click.BadParameter("standard input cannot be read twice; name a file", param_hint="--events")
    warming = warm_kernels(errors)
    from parakh.cli.narrate import find_event, narrate
    from parakh.cli.stories import show_story

    await_kernels(warming, errors)
    wanted = find_event(loaded, event_id)
    with Bar(errors, "looking back") as bar:
        stories = narrate(
            loaded,
            sources,
            dict.fromkeys(wanted, ""),
            labels=labels,
            label_delay_us=label_delay,
            every_feature=everything,
            bar=bar,
        )
    console = Console.stdout()
    if not stories:
        decided = ", ".join(policy.event_type for policy in loaded.definitions.policies)
        raise click.UsageError(
            f"no event {event_id!r} was decided on in these files (a policy is there for: {decided or 'none'})"
        )
    if as_json:
        console.print(json.dumps([asdict(story) for story in stories], indent=2, ensure_ascii=False))
        return 0
    for number, story in enumerate(stories):
        if number:
            console.print("")
        show_story(story, console, every_rule=everything)
    return 0
