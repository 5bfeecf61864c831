"""Where the command line prints: colours where a terminal shows them, plain text elsewhere, and aligned tables.

Text that comes from events passes through `clean` first: an event must not move the cursor of whoever reads it.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import sys
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TextIO

__all__ = [
    "OUTCOME_STYLES",
    "Console",
    "bold",
    "clean",
    "continued",
    "cut",
    "cyan",
    "dim",
    "green",
    "magenta",
    "outcome",
    "pad",
    "red",
    "thousands",
    "width",
    "wrapped",
    "yellow",
]

_ANSI = re.compile(r"\x1b\[[0-9;]*m")


def _style(code: str, text: str) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if text else ""


def bold(text: str) -> str:
    return _style("1", text)


def dim(text: str) -> str:
    return _style("2", text)


def red(text: str) -> str:
    return _style("1;31", text)


def green(text: str) -> str:
    return _style("32", text)


def yellow(text: str) -> str:
    return _style("33", text)


def magenta(text: str) -> str:
    return _style("35", text)


def cyan(text: str) -> str:
    return _style("36", text)


OUTCOME_STYLES = {"allow": "32", "challenge": "33", "review": "35", "block": "1;31"}


def outcome(word: str, text: str | None = None) -> str:
    """An outcome's word (or another text) in the outcome's colour."""
    return _style(OUTCOME_STYLES.get(word, "0"), word if text is None else text)


def clean(text: str) -> str:
    """Text from outside with its control characters made visible; line breaks and tabs stay.

    >>> clean("a\\x1b[2Jb")
    'a\\\\x1b[2Jb'
    """
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() or character in "\n\t " else f"\\x{ord(character):02x}"
        for character in text
    )


def width(text: str) -> int:
    """The columns that a text takes in a terminal: colours take none, wide characters two, combining marks none."""
    text = _ANSI.sub("", text)
    if text.isascii():
        return len(text)
    return sum(_character_width(character) for character in text)


def _character_width(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def pad(text: str, columns: int, align: str = "<") -> str:
    """The text filled with spaces to `columns`; align "<" or ">"."""
    spaces = " " * max(0, columns - width(text))
    return spaces + text if align == ">" else text + spaces


def cut(text: str, columns: int) -> str:
    """A text without colours, cut to `columns` with an ellipsis.

    >>> cut("merchant_category", 8)
    'merchan…'
    """
    if width(text) <= columns:
        return text
    kept: list[str] = []
    used = 0
    for character in text:
        used += _character_width(character)
        if used > columns - 1:
            break
        kept.append(character)
    return "".join(kept) + "…"


def thousands(number: int) -> str:
    """A whole number with thin grouping, as people read it.

    >>> thousands(1754155)
    '1,754,155'
    """
    return f"{number:,}"


def wrapped(text: str, columns: int, *, indent: str = "", hanging: str | None = None) -> list[str]:
    """A text, colours and all, as lines of at most `columns`, broken between words; `hanging` leads all but the first.

    >>> wrapped("one two three", 9, indent="  ")
    ['  one two', '  three']
    """
    lines = [indent]
    for word in text.split(" "):
        fresh = width(lines[-1]) == width(indent if len(lines) == 1 else hanging or indent)
        if not fresh and width(lines[-1]) + 1 + width(word) > columns:
            lines.append(indent if hanging is None else hanging)
            fresh = True
        lines[-1] += word if fresh else f" {word}"
    return lines


def continued(parts: Sequence[str]) -> list[str]:
    """The parts of a command as lines that a shell takes as one."""
    last = len(parts) - 1
    return [("  " if i else "") + part + (" \\" if i < last else "") for i, part in enumerate(parts)]


@dataclass(slots=True)
class Console:
    """A stream to print on, and what it can show."""

    stream: TextIO
    color: bool
    terminal: bool
    columns: int

    @classmethod
    def stdout(cls) -> Console:
        return cls._on(sys.stdout)

    @classmethod
    def stderr(cls) -> Console:
        return cls._on(sys.stderr)

    @classmethod
    def _on(cls, stream: TextIO | None) -> Console:
        if stream is None:  # closed, as after `>&-`
            stream = io.StringIO()
        try:
            terminal = stream.isatty()
        except (AttributeError, ValueError):
            terminal = False
        dumb = os.environ.get("TERM") == "dumb"
        color = terminal and not os.environ.get("NO_COLOR") and not dumb
        columns = shutil.get_terminal_size((100, 24)).columns if terminal else 100
        return cls(stream, color or bool(os.environ.get("FORCE_COLOR")), terminal and not dumb, max(40, columns))

    def print(self, *lines: str) -> None:
        """Print each text on a line of its own."""
        for line in lines or ("",):
            text = line if self.color else _ANSI.sub("", line)
            try:
                self.stream.write(text + "\n")
            except UnicodeEncodeError:
                encoding = self.stream.encoding or "ascii"
                self.stream.write(text.encode(encoding, "replace").decode(encoding) + "\n")
        self.stream.flush()

    def say(self, text: str, *, indent: str = "", hanging: str | None = None) -> None:
        """Print prose, broken between words to fit a terminal."""
        columns = self.columns if self.terminal else max(self.columns, 120)
        self.print(*wrapped(text, columns, indent=indent, hanging=hanging))

    def table(self, rows: Sequence[Sequence[str]], *, header: Sequence[str] = (), align: str = "") -> None:
        """Print rows in aligned columns; `align` has < or > for each column, < where it is short."""
        every = [list(row) for row in ([header] if header else [])] + [list(row) for row in rows]
        if not every:
            return
        count = max(len(row) for row in every)
        align = (align + "<" * count)[:count]
        widths = [max((width(row[i]) for row in every if i < len(row)), default=0) for i in range(count)]
        for number, row in enumerate(every):
            cells = [pad(cell, widths[i], align[i]) for i, cell in enumerate(row)]
            line = "  ".join(cells).rstrip()
            self.print("  " + (dim(line) if header and number == 0 else line))
