"""What can go wrong, said so that the reader can mend it: message, place, offending text and hint.

    ParakhError                 everything Parakh raises on purpose
    |-- ProjectError            definitions that do not hold; carries all problems of all files
    |-- ExpressionError         one expression that does not hold; place is an offset in its text
    |-- InputError              a source that cannot be read at all (a directory, a missing column, a broken gzip)
    |-- ModelError              a model file that cannot be loaded
    `-- StateLimitError         the state would outgrow its bound

A single bad event is not an exception: it is quarantined with a reason (`parakh.events`).
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "ExpressionError",
    "InputError",
    "ModelError",
    "ParakhError",
    "Place",
    "Problem",
    "ProjectError",
    "SourceText",
    "StateLimitError",
]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a text stands in a file; lines and columns count from 1."""

    file: str
    line: int
    column: int


class SourceText(str):
    """A string read from a file that remembers its place; otherwise a plain `str`.

    `lines` is true where line breaks of the text are line breaks of the file (a literal block), so that
    an offset inside the text can be turned into a line and a column.

    >>> text = SourceText("amount > 5", Place("rules/a.yaml", 3, 7))
    >>> text == "amount > 5", text.at(9)
    (True, Place(file='rules/a.yaml', line=3, column=16))
    """

    __slots__ = ("place",)
    place: Place

    def __new__(cls, text: str, place: Place) -> SourceText:
        self = super().__new__(cls, text)
        self.place = place
        return self

    def at(self, offset: int) -> Place:
        """The place of the character at `offset`."""
        before = self[:offset]
        line = before.count("\n")
        column = self.place.column + offset - (before.rfind("\n") + 1)
        return Place(self.place.file, self.place.line + line, column)


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in a project: where, what is wrong, the offending text and what to do about it."""

    message: str
    place: Place | None = None
    text: str = ""
    hint: str = ""

    def __str__(self) -> str:
        where = f"{self.place.file}:{self.place.line}:{self.place.column}: " if self.place else ""
        text = f"\n    {self.text}" if self.text else ""
        hint = f"\n    hint: {self.hint}" if self.hint else ""
        return f"{where}{self.message}{text}{hint}"


class ParakhError(Exception):
    """Everything Parakh raises on purpose."""


class ProjectError(ParakhError):
    """Definitions that do not hold; `problems` has all of them, in file order."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        self.problems = problems
        super().__init__("\n".join(str(problem) for problem in problems))


class ExpressionError(ParakhError):
    """One expression that does not hold; `start` and `end` are offsets into its text."""

    def __init__(self, message: str, *, start: int = 0, end: int = 0, hint: str = "") -> None:
        self.message = message
        self.start = start
        self.end = end
        self.hint = hint
        super().__init__(message + (f" (hint: {hint})" if hint else ""))


class InputError(ParakhError):
    """A source of events that cannot be read at all."""


class ModelError(ParakhError):
    """A model file that cannot be loaded, or asks for something Parakh does not run."""


class StateLimitError(ParakhError):
    """The state would outgrow the bound that the project sets (`[limits] state` in parakh.toml)."""
