"""`parakh fmt`: one form for all files of a project, so that reviews show changes and not spaces."""

from __future__ import annotations

import difflib
import json
from pathlib import Path

import click

from parakh.cli.console import Console, clean, cyan, dim, green, red, yellow
from parakh.cli.loading import project_argument
from parakh.cli.problems import problems_as_data, show_problems
from parakh.cli.words import plural
from parakh.errors import Place, Problem, ProjectError

__all__ = ["command"]


@click.command(
    short_help="Bring files into one form.",
    epilog="\b\nExample\n  parakh fmt shop\n  parakh fmt shop --check --diff      in CI",
)
@project_argument
@click.option("--check", is_flag=True, help="Write nothing; exit with 1 where a file would change.")
@click.option("--diff", "show_diff", is_flag=True, help="Show what changes.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout.")
def command(project: Path, check: bool, show_diff: bool, as_json: bool) -> int:
    """Format the YAML files of PROJECT: order of keys and spacing. Comments and quotes stay; meaning never changes."""
    from parakh.project.folder import definition_files
    from parakh.project.format import format_text

    console = Console.stdout()
    errors = Console.stderr()
    changed: list[Path] = []
    unreadable: list[Problem] = []
    paths = definition_files(project)
    for path in paths:
        try:
            before = path.read_bytes().decode("utf-8")
            after = format_text(before, str(path))
        except UnicodeDecodeError as error:
            unreadable.append(Problem(f"not UTF-8 text: {error.reason} at byte {error.start}", Place(str(path), 1, 1)))
            continue
        except ProjectError as error:
            unreadable.extend(error.problems)
            continue
        if after == before:
            continue
        changed.append(path)
        if show_diff:
            _show_diff(before, after, str(path), console)
        if not check:
            temporary = path.with_name(path.name + ".partial")
            temporary.write_bytes(after.encode("utf-8"))
            temporary.replace(path)
    if as_json:
        result = {
            "files": len(paths),
            "changed": [str(path) for path in changed],
            "unreadable": problems_as_data(unreadable),
        }
        console.print(json.dumps(result, indent=2))
    else:
        word = yellow("would change") if check else green("formatted")
        for path in changed:
            console.print(f"{word} {clean(str(path))}")
        console.print(dim(f"{plural(len(paths), 'file')}, {len(changed)} {'to change' if check else 'changed'}"))
    if unreadable and not as_json:
        show_problems(unreadable, errors)
    return 1 if unreadable or (check and changed) else 0


def _show_diff(before: str, after: str, name: str, console: Console) -> None:
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), name, name, lineterm="", n=2)
    for line in lines:
        style = {"+": green, "-": red, "@": cyan}.get(line[:1])
        console.print(style(clean(line)) if style else clean(line))
