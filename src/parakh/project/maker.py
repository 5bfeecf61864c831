"""What makes a definition of read values has: where it reports, the project's currency, and the files that it names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from parakh.errors import Problem, SourceText
from parakh.expressions.types import STRING, Kind, Type, money
from parakh.project.reading import Reading, Values

__all__ = ["Files", "Maker", "NamedFile"]

Files = Callable[[SourceText], "NamedFile | None"]
"""Reads a file that a definition names, beside the file it stands in; None after reporting why it cannot be read."""


@dataclass(frozen=True, slots=True)
class NamedFile:
    """A file that a definition names: its name in the project, and its bytes."""

    name: str
    content: bytes


class Maker:
    """Makes one definition; `what` is what messages call it."""

    def __init__(self, reading: Reading, currency: str, files: Files, what: str) -> None:
        self.reading = reading
        self.currency = currency
        self.files = files
        self.what = what

    def report(self, message: str, text: object, *, hint: str = "") -> None:
        """Note what is wrong, at the place of a text that knows it."""
        place = text.place if isinstance(text, SourceText | Values) else None
        shown = str(text).partition("\n")[0] if isinstance(text, str) else ""
        self.reading.problems.append(Problem(message, place, shown, hint))

    def type_of(self, values: Values, default: Type = STRING) -> Type:
        """The type that a field, label, list or column declares."""
        word = values.get("type")
        if word is None:
            return default
        kind = Kind(str(word))
        if kind is Kind.MONEY:
            return money(str(values.get("currency", self.currency)))
        if "currency" in values:
            self.report(f"currency is for money; this is {kind.value}", values.get("currency"))
        return Type(kind)
