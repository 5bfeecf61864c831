"""What the ledger is asked: query parameters read into a checked filter, and the cursor that a page ends with.

A refusal names the parameter and what it takes, never the value that was given: values may be personal.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from parakh.decisions.policy import FLAG_NAMES
from parakh.errors import ParakhError
from parakh.events.convert import convert
from parakh.events.reasons import Refused
from parakh.expressions.hints import closest
from parakh.expressions.types import TIMESTAMP
from parakh.rules.definition import Outcome

__all__ = ["FLAGS", "BadCursor", "BadFilter", "LedgerFilter", "Place", "read_cursor", "write_cursor"]

MOST_ITEMS: Final = 500
USUAL_ITEMS: Final = 50
MOST_PARTS: Final = 6
_LONGEST = 4_000
_SHOWN_NAME = 40
FLAGS: Final = {name: bit for bit, name in FLAG_NAMES}
"""Bits of a record's flags."""

_OUTCOMES = {outcome.word: int(outcome) for outcome in Outcome}
_TRUTH = {"true": True, "false": False}
_BY = {"decided": False, "event": True}
_CURSOR = struct.Struct(">BQI4s")
_FORM = 1

Place = tuple[int, int]
"""Where an event stands: the position of its entry in the log, and its index there."""


class BadFilter(ParakhError):
    """A question that the ledger does not understand: `parameter` is to blame, `hint` says what it takes."""

    code = "bad_filter"

    def __init__(self, message: str, *, parameter: str, hint: str = "") -> None:
        self.message = message
        self.parameter = parameter
        self.hint = hint
        super().__init__(message + (f" (hint: {hint})" if hint else ""))


class BadCursor(BadFilter):
    """A cursor that no page of this filter ended with."""

    code = "bad_cursor"

    def __init__(self, message: str) -> None:
        super().__init__(message, parameter="cursor", hint="begin again without a cursor")


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerFilter:
    """Which events are wanted; what is None (or empty) is not asked for. Times are microseconds UTC: [since, until).

    `entity` is an entity's name and its key, one text a part, in the form that the log has it. `by_event_time` says
    which time `since_us` and `until_us` are about: that of the event, or else that of the decision (of what was only
    taken in, its arrival). `rule` is a rule that hit, live or in shadow. An event without a score has none that is
    large enough.

    >>> asked = LedgerFilter.of({"outcome": "block,review", "entity": "card:k1", "limit": "2"})
    >>> asked.outcomes, asked.entity, asked.limit
    ((2, 3), ('card', ('k1',)), 2)
    """

    event_type: str | None = None
    outcomes: tuple[int, ...] = ()
    decided: bool | None = None
    entity: tuple[str, tuple[str, ...]] | None = None
    since_us: int | None = None
    until_us: int | None = None
    by_event_time: bool = False
    rule: str | None = None
    flag: str | None = None
    min_score: float | None = None
    limit: int = USUAL_ITEMS
    cursor: str | None = None

    @classmethod
    def of(cls, parameters: Mapping[str, str]) -> LedgerFilter:
        """The filter that query parameters ask for.

        Takes event_type, outcome (several with commas), decided (true, false), entity (NAME:KEY; of a joined key a
        JSON array of texts, `card_device:["c1","d1"]`), from and to (ISO 8601, the latter excluded), by (decided,
        event), rule, flag, min_score, limit and cursor. Raises BadFilter.
        """
        values: dict[str, Any] = {}
        for name, text in parameters.items():
            if name not in _READERS:
                hint = closest(name[:_SHOWN_NAME], tuple(_READERS)) or f"it takes {', '.join(_READERS)}"
                raise BadFilter("there is no such parameter", parameter=_named(name), hint=hint)
            if len(text) > _LONGEST:
                raise BadFilter(f"{name} has more than {_LONGEST:,} characters", parameter=name)
            if _halved(text):
                raise BadFilter(f"{name} is not valid text", parameter=name, hint="percent-encode UTF-8")
            field, read, takes = _READERS[name]
            try:
                values[field] = read(text)
            except (ValueError, Refused, msgspec.MsgspecError):
                raise BadFilter(f"{name} cannot be understood", parameter=name, hint=f"{name} takes {takes}") from None
        asked = cls(**values)
        if asked.since_us is not None and asked.until_us is not None and asked.since_us >= asked.until_us:
            raise BadFilter("`from` does not lie before `to`", parameter="from", hint="`to` is not included")
        return asked

    @property
    def digest(self) -> bytes:
        """Four bytes that tell what is asked for; limit and cursor are no part of it."""
        asked = (
            self.event_type, self.outcomes, self.decided, self.entity, self.since_us, self.until_us,
            self.by_event_time, self.rule, self.flag, self.min_score,
        )  # fmt: skip
        return hashlib.blake2b(msgspec.msgpack.encode(asked), digest_size=4).digest()


def write_cursor(asked: LedgerFilter, place: Place) -> str:
    """The cursor of a page whose last item stands at `place`."""
    return base64.urlsafe_b64encode(_CURSOR.pack(_FORM, *place, asked.digest)).decode().rstrip("=")


def read_cursor(asked: LedgerFilter, cursor: str, end: int) -> Place:
    """The place that a cursor names. Raises BadCursor where it is none, another filter's, or beyond the log's end."""
    try:
        data = base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True)
        form, position, index, digest = _CURSOR.unpack(data)
    except (ValueError, binascii.Error, struct.error):
        raise BadCursor("the cursor cannot be read") from None
    if form != _FORM or position > end:
        raise BadCursor("the cursor is not one of this log")
    if digest != asked.digest:
        raise BadCursor("the cursor belongs to another filter")
    if write_cursor(asked, (position, index)) != cursor:
        raise BadCursor("the cursor cannot be read")
    return position, index


def _name(text: str) -> str:
    if not text:
        raise ValueError
    return text


def _outcomes(text: str) -> tuple[int, ...]:
    return tuple(sorted({_of(_OUTCOMES)(word) for word in text.split(",")}))


def _of(words: Mapping[str, Any]) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        if text not in words:
            raise ValueError
        return words[text]

    return read


def _entity(text: str) -> tuple[str, tuple[str, ...]]:
    name, colon, key = text.partition(":")
    if not name or not colon:
        raise ValueError
    parts: tuple[str, ...] = (key,)
    if key.startswith("["):
        try:
            parts = msgspec.json.decode(key, type=tuple[str, ...])
        except msgspec.MsgspecError:
            return name, (key,)
    if not 1 <= len(parts) <= MOST_PARTS:
        raise ValueError
    return name, parts


def _time(text: str) -> int:
    if text[4:5] != "-":  # a number would be taken for seconds, ms, us or ns
        raise ValueError
    value = convert(text, TIMESTAMP)
    assert isinstance(value, int), "times are whole microseconds"
    return value


def _score(text: str) -> float:
    value = float(text)
    if not math.isfinite(value) or "_" in text:
        raise ValueError
    return value


def _limit(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and 1 <= int(text) <= MOST_ITEMS):
        raise ValueError
    return int(text)


def _flag(text: str) -> str:
    _of(FLAGS)(text)
    return text


def _halved(text: str) -> bool:
    """Whether half of a surrogate pair stands in it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _named(name: str) -> str:
    return name if name.isascii() and name.isprintable() and len(name) <= _SHOWN_NAME else "?"


_READERS: Final[dict[str, tuple[str, Callable[[str], Any], str]]] = {
    "event_type": ("event_type", _name, "the name of an event type"),
    "outcome": ("outcomes", _outcomes, f"some of {', '.join(_OUTCOMES)}, with commas"),
    "decided": ("decided", _of(_TRUTH), "true or false"),
    "entity": ("entity", _entity, 'NAME:KEY, or NAME:["PART","PART"] where a key is joined of several'),
    "from": ("since_us", _time, "a time such as 2026-01-31T12:00:00Z"),
    "to": ("until_us", _time, "a time such as 2026-01-31T12:00:00Z"),
    "by": ("by_event_time", _of(_BY), "decided or event"),
    "rule": ("rule", _name, "the name of a rule"),
    "flag": ("flag", _flag, f"one of {', '.join(FLAGS)}"),
    "min_score": ("min_score", _score, "a number"),
    "limit": ("limit", _limit, f"a whole number from 1 to {MOST_ITEMS}"),
    "cursor": ("cursor", _name, "the next_cursor of a page"),
}
