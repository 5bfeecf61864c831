"""What a benchmark found: rows of figures beside their targets, the machine they were taken on, and results.md.

`results.md` has one section a benchmark; writing one leaves the others as they are.
"""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

__all__ = ["RESULTS", "Results", "Row", "Table", "keep_section", "machine", "say"]

RESULTS = Path(__file__).resolve().parent / "results.md"
_LIBRARIES = ("parakh", "numpy", "numba", "pyarrow", "msgspec", "lightgbm", "duckdb", "polars", "bytewax")
_SECTION = re.compile(r"^(?=## )", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Row:
    """One figure. `ratio` is how many times better than its target it is: below 1 the target is missed."""

    what: str
    reached: str
    target: str = ""
    ratio: float | None = None

    @classmethod
    def at_least(cls, what: str, value: float, target: float, unit: str, *, note: str = "") -> Row:
        """A figure that should be large."""
        return cls(what, _with(value, unit) + note, f"at least {_with(target, unit)}", value / target)

    @classmethod
    def at_most(cls, what: str, value: float, target: float, unit: str, *, note: str = "") -> Row:
        """A figure that should be small."""
        return cls(what, _with(value, unit) + note, f"at most {_with(target, unit)}", target / max(value, 1e-12))

    @property
    def met(self) -> bool | None:
        return None if self.ratio is None else self.ratio >= 1

    def cells(self) -> tuple[str, ...]:
        met = {None: "", True: "yes", False: "**no**"}[self.met]
        return (self.what, self.reached, self.target, "" if self.ratio is None else f"{self.ratio:.2f}", met)


@dataclass(slots=True)
class Table:
    """A titled table; `note` stands below the title."""

    title: str
    heads: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)
    note: str = ""

    def markdown(self) -> str:
        widths = [max(len(str(row[place])) for row in (self.heads, *self.rows)) for place in range(len(self.heads))]
        lines = [_line(self.heads, widths), "|" + "|".join("-" * (width + 2) for width in widths) + "|"]
        lines += [_line(row, widths) for row in self.rows]
        return "\n".join([f"### {self.title}\n", *([self.note + "\n"] if self.note else []), *lines]) + "\n"


@dataclass(slots=True)
class Results:
    """The section of one benchmark: figures against targets first, then tables that say more."""

    title: str
    intro: str
    rows: list[Row] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)

    def add(self, *rows: Row) -> None:
        for row in rows:
            mark = {None: "", True: "  met", False: "  MISSED"}[row.met]
            say(f"  {row.what}: {row.reached}{f' (target {row.target})' if row.target else ''}{mark}")
        self.rows += rows

    def markdown(self) -> str:
        asked = [row for row in self.rows if row.met is not None]
        table = Table(
            "Against the targets",
            ("what", "reached", "target", "ratio", "met"),
            [row.cells() for row in self.rows],
            f"{sum(bool(row.met) for row in asked)} of {len(asked)} targets met. "
            "The ratio is how many times better than its target a figure is.",
        )
        return "\n".join(
            [f"## {self.title}\n", self.intro + "\n", *(item.markdown() for item in (table, *self.tables))]
        )


def keep_section(path: Path, markdown: str, *, heading: str) -> None:
    """Write a section into a file of sections: in the place of the one of the same title, else at the end.

    `heading` is what stands above all sections.
    """
    title = markdown.partition("\n")[0]
    held = _SECTION.split(path.read_text())[1:] if path.exists() else []
    sections = [part.rstrip("\n") + "\n" for part in held]
    place = next((number for number, part in enumerate(sections) if part.partition("\n")[0] == title), len(sections))
    sections[place : place + 1] = [markdown.rstrip("\n") + "\n"]
    path.write_text("\n".join([heading.rstrip("\n") + "\n", *sections]))


def machine(loads: Iterable[float] = (), *, also: Sequence[str] = ()) -> str:
    """A paragraph on where and with what figures were taken, with a warning where the machine was busy meanwhile.

    `loads` are load averages seen on the way; what runs the benchmark makes one itself. `also` names more
    libraries whose versions matter.
    """
    seen = [*loads, os.getloadavg()[0]]
    libraries = ", ".join(f"{name} {found}" for name in (*_LIBRARIES, *also) if (found := _version(name)))
    lines = [
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC; {_processor()}, {os.cpu_count()} cores, {_memory_gb():.0f} GB; "
        f"{platform.system()} {platform.release()}; Python {platform.python_version()}; {libraries}.",
        f"Load average {min(seen):.1f} to {max(seen):.1f}.",
    ]
    if max(seen) > 1.5:
        lines.append(
            "**The machine was busy with other work**: caches and memory were shared, so that figures are worse than "
            "on an idle one (by up to a half); ratios within the run hold better."
        )
    return "\n".join(lines)


def say(text: str) -> None:
    """Progress, on stderr."""
    print(text, file=sys.stderr, flush=True)


def _with(value: float, unit: str) -> str:
    digits = 0 if abs(value) >= 100 or value == round(value) else 1 if abs(value) >= 10 else 2
    space = "" if unit in ("x", "%") else " "
    return f"{value:,.{digits}f}{space}{unit}"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "| " + " | ".join(str(cell).ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")), "")


def _memory_gb() -> float:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    except (ValueError, OSError):
        return 0.0
