"""The layout of one event type's columns: which name stands in which slot of the frame, and of what type.

A frame is one C-contiguous array `words: int64[slots, capacity]`; `words.view(float64)` reads the same memory as
numbers. Rows of one event type are a contiguous range of it, so types may use the same slots for different names.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from parakh.expressions.types import Type

__all__ = ["Column", "Layout"]


@dataclass(frozen=True, slots=True)
class Column:
    """A named column: its slot in the frame and its type."""

    name: str
    slot: int
    type: Type


@dataclass(slots=True)
class Layout:
    """The columns of one event type, in the order in which they were added.

    >>> from parakh.expressions.types import INTEGER
    >>> layout = Layout()
    >>> layout.add("amount", INTEGER).slot, layout.add("night", INTEGER).slot, layout["amount"].slot
    (0, 1, 0)
    """

    columns: dict[str, Column] = field(default_factory=dict)
    width: int = 0

    def add(self, name: str, type: Type) -> Column:
        """A new named column in the next free slot."""
        if name in self.columns:
            raise AssertionError(f"column {name!r} is laid out twice")
        column = Column(name, self.scratch(), type)
        self.columns[name] = column
        return column

    def scratch(self) -> int:
        """A slot without a name."""
        self.width += 1
        return self.width - 1

    def __getitem__(self, name: str) -> Column:
        return self.columns[name]

    def __contains__(self, name: str) -> bool:
        return name in self.columns
