"""What a rule is, and the lists and lookup tables that rules read."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from parakh.expressions.types import STRING, Type

__all__ = ["STOPPING", "ListEntry", "LookupTable", "Mode", "Outcome", "Rule", "RuleTest", "TableRow", "ValueList"]

Value = bool | int | float | str | None
"""A value as a person writes it: money in major units, timestamps as ISO 8601 text."""


class Outcome(enum.IntEnum):
    """What is decided, the more severe the greater."""

    ALLOW = 0
    CHALLENGE = 1
    REVIEW = 2
    BLOCK = 3

    @property
    def word(self) -> str:
        return self.name.lower()


STOPPING = tuple(outcome for outcome in Outcome if outcome is not Outcome.ALLOW)
"""The outcomes that stop an event, the least severe first."""


class Mode(enum.Enum):
    LIVE = "live"
    SHADOW = "shadow"
    DISABLED = "disabled"


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleTest:
    """A rule's own test: given these values (what is not given is NULL), expect hit, no_hit or unknown."""

    given: tuple[tuple[str, Value], ...]
    expect: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A condition and the outcome that it asks for; without `holdout` what it stops is never let through to learn.

    >>> Rule(name="card_testing", event_types=("payment",), when="card.payments_10m >= 6", then=Outcome.BLOCK,
    ...      reason="R101").mode.value
    'live'
    """

    name: str
    event_types: tuple[str, ...]
    when: str
    then: Outcome
    reason: str = ""
    text: str = ""  # the reason in words, shown to people; the condition in words where it is empty
    mode: Mode = Mode.LIVE
    override: bool = False
    holdout: bool = True
    tests: tuple[RuleTest, ...] = ()
    tags: tuple[str, ...] = ()
    owner: str = ""
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListEntry:
    """A value that is on a list from `since` (inclusive) until `until` (exclusive); microseconds UTC, None: open."""

    value: Value
    since_us: int | None = None
    until_us: int | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueList:
    """A named list of values, read by in_list(field, 'name') as of the event's time."""

    name: str
    type: Type = STRING
    entries: tuple[ListEntry, ...] = ()
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRow:
    """A row of a lookup table: its key, and the values in the order of the table's columns."""

    key: Value
    values: tuple[Value, ...]
    since_us: int | None = None
    until_us: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LookupTable:
    """A named table, read by lookup('name', key, 'column') as of the event's time; NULL where no row holds."""

    name: str
    key: Type = STRING
    columns: tuple[tuple[str, Type], ...] = ()
    rows: tuple[TableRow, ...] = ()
    description: str = ""
