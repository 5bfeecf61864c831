"""`parakh test`: the tests that stand inside rules, run through the programs that decide."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from parakh.cli.console import Console, bold, clean, cyan, dim, green, red, yellow
from parakh.cli.loading import load_project, project_argument
from parakh.cli.words import plural

if TYPE_CHECKING:
    from parakh.project.rule_tests import RuleTestResult

__all__ = ["command"]

_WORDS = {"hit": "hit", "no_hit": "no hit", "unknown": "unknown"}


@click.command(
    short_help="Run the tests inside the rules.",
    epilog="\b\nExample\n  parakh test shop\n  parakh test shop --rule card_tried",
)
@project_argument
@click.option("--rule", "only", multiple=True, metavar="NAME", help="Only the tests of this rule; repeat for more.")
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON on stdout.")
def command(project: Path, only: tuple[str, ...], as_json: bool) -> int:
    """Run the tests inside the rules of PROJECT (this folder unless said). Exit code 1 where one fails."""
    from parakh.project.rule_tests import run_rule_tests

    loaded = load_project(project)
    rules = {rule.name for rule in loaded.definitions.rules}
    for name in only:
        if name not in rules:
            raise click.BadParameter(
                f"there is no rule {name!r}; rules are {', '.join(sorted(rules))}", param_hint="--rule"
            )
    results = [result for result in run_rule_tests(loaded) if not only or result.rule in only]
    failed = [result for result in results if not result.passed]
    console = Console.stdout()
    if as_json:
        data = [asdict(result) | {"passed": result.passed} for result in results]
        console.print(
            json.dumps({"passed": len(results) - len(failed), "failed": len(failed), "tests": data}, indent=2)
        )
        return 1 if failed else 0
    untested = [rule.name for rule in loaded.definitions.rules if not rule.tests and (not only or rule.name in only)]
    _show_rules(results, untested, console)
    for result in failed:
        _show_failure(result, console)
    summary = f"{plural(len(results) - len(failed), 'test')} passed"
    console.print("", red(f"{len(failed)} failed, {summary}") if failed else green(summary))
    return 1 if failed else 0


def _show_rules(results: list[RuleTestResult], untested: list[str], console: Console) -> None:
    by_rule: dict[str, list[RuleTestResult]] = {}
    for result in results:
        by_rule.setdefault(result.rule, []).append(result)
    rows = []
    for rule, mine in by_rule.items():
        wrong = sum(not result.passed for result in mine)
        sign = red("✗") if wrong else green("✓")
        dots = "".join(green("•") if result.passed else red("✗") for result in mine)
        rows.append(
            [f"{sign} {clean(rule)}", dots, red(f"{wrong} failed") if wrong else dim(plural(len(mine), "test"))]
        )
    rows += [[f"{yellow('–')} {clean(rule)}", "", yellow("no test")] for rule in untested]
    console.table(rows)


def _show_failure(result: RuleTestResult, console: Console) -> None:
    where = f"{result.place.file}:{result.place.line}" if result.place else ""
    title = f"{clean(result.rule)}, test {result.number} on {result.event_type}"
    console.print("", f"{red('✗')} {bold(title)}  {cyan(clean(where))}")
    given = ", ".join(f"{name} = {_value(value)}" for name, value in result.given) or "nothing"
    console.print(f"    given     {clean(given)}")
    console.print(f"    expected  {green(_WORDS.get(result.expected, result.expected))}")
    console.print(f"    got       {red(_WORDS.get(result.got, result.got))}")
    console.print(f"    because   {clean(result.explanation)}")


def _value(value: object) -> str:
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)
