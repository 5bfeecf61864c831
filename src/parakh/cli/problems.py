"""A project's mistakes as a reader wants them: what, where, the line itself with the text marked, and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from parakh.cli.console import Console, bold, clean, cyan, dim, red, thousands, width
from parakh.errors import Problem

__all__ = ["problems_as_data", "show_problems"]


def show_problems(problems: Sequence[Problem], console: Console, root: Path | None = None) -> None:
    """Print every problem with the lines that it stands in; `root` is where the places' files are relative to."""
    sources: dict[str, list[str]] = {}
    for problem in problems:
        console.print(*problem_lines(problem, sources, root, console.columns), "")
    files = len({problem.place.file for problem in problems if problem.place})
    if len(problems) > 1:
        within = f" in {thousands(files)} files" if files > 1 else ""
        console.print(bold(f"{thousands(len(problems))} problems{within}"))


def problem_lines(problem: Problem, sources: dict[str, list[str]], root: Path | None, columns: int) -> list[str]:
    """One problem as lines; `sources` keeps the files that were read already."""
    lines = [f"{red('error:')} {bold(clean(problem.message))}"]
    place = problem.place
    if place is not None:
        lines.append(f"  {cyan('-->')} {clean(place.file)}:{place.line}:{place.column}")
        source = _line_of(place.file, place.line, sources, root)
        if source is not None:
            lines += _excerpt(source, place.line, place.column, problem.text, columns)
        elif problem.text:
            lines.append(f"      {clean(problem.text)}")
    elif problem.text:
        lines.append(f"      {clean(problem.text)}")
    if problem.hint:
        lines.append(f"      {cyan('hint:')} {clean(problem.hint)}")
    return lines


def _line_of(file: str, line: int, sources: dict[str, list[str]], root: Path | None) -> str | None:
    if file not in sources:
        sources[file] = []
        for path in ((root / file) if root else None, Path(file)):
            if path is not None and path.is_file():
                sources[file] = path.read_text("utf-8", errors="replace").splitlines()
                break
    lines = sources[file]
    return lines[line - 1] if 0 < line <= len(lines) else None


def _excerpt(source: str, line: int, column: int, text: str, columns: int) -> list[str]:
    """The line and, below it, carets under the offending text; a long line is shown around the text."""
    number = f"{line:>4}"
    room = max(30, columns - 8)
    before = max(0, column - 1)
    first = max(0, before - room // 2) if len(source) > room else 0
    shown = clean(source[first : first + room].replace("\t", " "))
    lead = clean(source[first:before].replace("\t", " "))
    marked = text.split("\n", 1)[0] if text else ""
    if not marked or not source[before:].startswith(marked):
        marked = source[before : before + 1]
    marked = clean(marked[: max(1, room - (before - first))])
    carets = "^" * max(1, width(marked))
    return [
        f"{dim(number + ' |')} {'…' if first else ''}{shown}",
        f"{dim('     |')} {' ' * (width(lead) + (1 if first else 0))}{red(carets)}",
    ]


def problems_as_data(problems: Sequence[Problem]) -> list[dict[str, Any]]:
    """Problems for a program to read."""
    return [asdict(problem) for problem in problems]
