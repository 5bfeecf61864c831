"""`parakh check`: is a project sound? What it defines where it is, every mistake where it is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from parakh.cli.console import Console, bold, cut, dim, green
from parakh.cli.loading import project_argument
from parakh.cli.problems import problems_as_data, show_problems
from parakh.errors import ProjectError
from parakh.rules.definition import Mode

if TYPE_CHECKING:
    from parakh.decisions.definition import Definitions

__all__ = ["command"]


@click.command(
    short_help="Check a project.",
    epilog="\b\nExample\n  parakh check shop\n  parakh check shop --json | jq '.problems[].message'",
)
@project_argument
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout.")
def command(project: Path, as_json: bool) -> int:
    """Check the definitions in PROJECT (a folder; this one unless said). Nothing is run and nothing is written.

    Every mistake of every file is shown at once, with its line and a hint. Exit code 1 where there is one.
    """
    from parakh.project.project import Project

    console = Console.stdout()
    try:
        loaded = Project.load(project)
        if (project / "learning.toml").exists():
            from parakh.learning.settings import read_learning

            read_learning(project)
    except ProjectError as error:
        if as_json:
            console.print(json.dumps({"ok": False, "problems": problems_as_data(error.problems)}, indent=2))
        else:
            show_problems(error.problems, Console.stderr(), project)
        return 1
    definitions = loaded.definitions
    if as_json:
        console.print(json.dumps({"ok": True, "hash": loaded.hash, **_as_data(definitions)}, indent=2))
        return 0
    settings = definitions.settings
    console.print(
        f"{green('sound')}  {bold(settings.name)}  {dim(f'{settings.currency}, {settings.time_zone}, ')}"
        f"{dim(f'version {loaded.hash[:12]}')}"
    )
    tests = sum(len(rule.tests) for rule in definitions.rules)
    table = [
        _row(kind, tests if kind == "rule tests" else len(names), names, console.columns)
        for kind, names in _named(definitions)
    ]
    console.table(table, align="<>")
    return 0


def _row(kind: str, count: int, names: list[str], columns: int) -> list[str]:
    return [kind, str(count), dim(cut(", ".join(names), max(20, columns - 28)))]


def _named(definitions: Definitions) -> list[tuple[str, list[str]]]:
    features = [feature.full_name for entity in definitions.entities for feature in entity.columns()]
    by_mode = {mode: [rule.name for rule in definitions.rules if rule.mode is mode] for mode in Mode}
    rows = [
        ("event types", [event.name for event in definitions.events]),
        ("entities", [entity.name for entity in definitions.entities]),
        ("features", features),
        ("signals", [name for item in definitions.signals for name, _ in item.define]),
        ("live rules", by_mode[Mode.LIVE]),
        ("shadow rules", by_mode[Mode.SHADOW]),
        ("disabled rules", by_mode[Mode.DISABLED]),
        (
            "rule tests",
            [f"{len(rule.tests)} of {rule.name}" for rule in definitions.rules if rule.tests],
        ),
        ("models", [model.name for model in definitions.models]),
        ("policies", [policy.name or policy.event_type for policy in definitions.policies]),
        ("lists", [item.name for item in definitions.lists]),
        ("lookup tables", [table.name for table in definitions.tables]),
        ("enrichments", [enrichment.name for enrichment in definitions.enrichments]),
    ]
    return [(kind, names) for kind, names in rows if names]


def _as_data(definitions: Definitions) -> dict[str, Any]:
    named = {kind.replace(" ", "_"): names for kind, names in _named(definitions) if kind != "rule tests"}
    return {"name": definitions.settings.name, "currency": definitions.settings.currency, **named}
