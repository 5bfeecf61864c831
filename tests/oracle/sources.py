"""The oracle's events as a source sends them: a Python object for a notebook, or a line of JSON.

An amount is written with all its decimals and a time as ISO 8601 with microseconds, so that nothing is rounded on the
way in.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from oracle.log import Event, Value
from parakh.events.definition import EventType
from parakh.expressions.types import NULL_WORD, Kind, Type

__all__ = ["as_line", "as_object", "plain"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def as_object(event: Event, event_type: EventType) -> dict[str, Any]:
    """The event's body with `Decimal` for money and an aware datetime for times."""
    return {
        name: _EPOCH + timedelta(microseconds=int(value)) if _is_time(event_type, name) and value is not None else value
        for name, value in _given(event).items()
    }


def as_line(event: Event, event_type: EventType) -> bytes:
    """The event's body as one line of JSON; amounts are number literals with all their digits."""
    pieces = []
    for name, value in as_object(event, event_type).items():
        if isinstance(value, Decimal):
            text = f"{value:f}"
        elif isinstance(value, datetime):
            text = json.dumps(value.isoformat(timespec="microseconds").replace("+00:00", "Z"))
        else:
            text = json.dumps(value)
        pieces.append(f"{json.dumps(name)}:{text}")
    return ("{" + ",".join(pieces) + "}").encode()


def plain(word: int, number: float, type: Type, text: str | None) -> Value:
    """A column's word as the oracle has it: `number` is the same word as a float64, `text` the string that it codes."""
    if type.is_float:
        return None if number != number else number
    if word == NULL_WORD:
        return None
    if type.kind is Kind.STRING:
        return text
    if type.kind is Kind.BOOLEAN:
        return bool(word)
    return Decimal(word).scaleb(-type.digits) if type.kind is Kind.MONEY else word


def _given(event: Event) -> dict[str, Value]:
    """Every other missing value is left out, the rest are null: sources do both."""
    return {name: value for place, (name, value) in enumerate(event.fields.items()) if value is not None or place % 2}


def _is_time(event_type: EventType, name: str) -> bool:
    return event_type.field(name).type.kind is Kind.TIMESTAMP
