"""The log as the oracle reads it: events and labels in the order in which they act.

Values are plain Python: str, int, bool, float, `Decimal` in major units for money, and for a timestamp microseconds
since 1970 (UTC). None is NULL.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

__all__ = ["Entry", "Event", "LabelEntry", "Value"]

Value = bool | int | float | str | Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event as its source sent it: `fields` holds the id and the time too; both may be missing (None)."""

    type: str
    id: str | None
    time: int | None
    fields: Mapping[str, Value]


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelEntry:
    """A verdict about one event (`event_id`) or about all events so far of one key (`entity` and `key`).

    A value of None withdraws the label.
    """

    event_type: str
    label: str
    value: Value
    source: str | None = None
    event_id: str | None = None
    entity: str | None = None
    key: str | int | None = None


Entry = Event | LabelEntry
