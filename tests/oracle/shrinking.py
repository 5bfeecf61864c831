"""A failing case made small: entries of a log are left out as long as the case still fails (delta debugging)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

__all__ = ["smallest"]

T = TypeVar("T")


def smallest(items: Sequence[T], fails: Callable[[Sequence[T]], bool], *, tries: int = 400) -> list[T]:
    """A part of `items`, in their order, that still fails and from which no further piece could be left out.

    >>> smallest(range(100), lambda part: 7 in part and 40 in part)
    [7, 40]
    """
    current = list(items)
    size = len(current) // 2
    while size >= 1 and tries > 0:
        position, left_out = 0, False
        while position < len(current) and tries > 0:
            tries -= 1
            shorter = current[:position] + current[position + size :]
            if shorter and fails(shorter):
                current, left_out = shorter, True
            else:
                position += size
        if not left_out or size > 1:
            size = size // 2 if size > 1 else (1 if left_out else 0)
    return current
