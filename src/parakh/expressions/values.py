"""Values as people write them, and the words that hold them: 5.00 INR is 500, '2024-01-31' is microseconds.

Money is in major units outside and in minor units inside; texts are codes of the engine's dictionary.
"""

from __future__ import annotations

import math
import re
import struct
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Protocol

from parakh.expressions.types import NAN_WORD, NULL_WORD, Kind, Type

__all__ = ["Dictionary", "Value", "from_word", "iso_time", "timestamp_us", "to_word"]

Value = bool | int | float | Decimal | str | None
"""Money in major units, a timestamp as ISO 8601 text or microseconds since 1970, NULL as None."""

_ISO = re.compile(
    r"\d{4}-\d{2}-\d{2}([ T]\d{2}:\d{2}(:\d{2}([.,]\d{1,9})?)?\s?(Z|z|UTC|[+-]\d{2}(:?\d{2})?)?)?", re.ASCII
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Dictionary(Protocol):
    """What turns texts into codes and back: `parakh.expressions.strings.Strings`."""

    def intern(self, text: str) -> int: ...

    def text(self, code: int) -> str: ...


def timestamp_us(text: str) -> int | None:
    """Microseconds since 1970 of a time in ISO 8601, UTC unless it names an offset; None where it is no time.

    >>> timestamp_us("2024-01-31"), timestamp_us("2024-01-31 05:30:00+05:30"), timestamp_us("soon")
    (1706659200000000, 1706659200000000, None)
    """
    text = text.strip()
    if not _ISO.fullmatch(text):
        return None
    plain = text.replace(",", ".").upper().replace("UTC", "Z").replace(" Z", "Z")
    try:
        time = datetime.fromisoformat(plain)
        if time.tzinfo is None:
            time = time.replace(tzinfo=UTC)
        return (time - _EPOCH) // _MICROSECOND
    except (ValueError, OverflowError):
        return None


def iso_time(microseconds: int) -> str:
    """A time as people read it, in UTC.

    >>> iso_time(1706659200000000)
    '2024-01-31T00:00:00Z'
    """
    try:
        time = _EPOCH + timedelta(microseconds=microseconds)
    except OverflowError:
        return str(microseconds)
    return time.isoformat().replace("+00:00", "Z")


def to_word(value: Value, type: Type, strings: Dictionary) -> int:
    """The word that holds a value, NULL as a column of the type holds it; ValueError where it is not of the type.

    >>> from parakh.expressions.strings import Strings
    >>> from parakh.expressions.types import money
    >>> to_word(5.25, money("INR"), Strings()), to_word("2024-01-31", Type(Kind.TIMESTAMP), Strings())
    (525, 1706659200000000)
    """
    if value is None:
        return type.null_word
    match type.kind:
        case Kind.STRING:
            if isinstance(value, bool | float):
                raise ValueError(f"{value!r} is not a text")
            return strings.intern(str(value))
        case Kind.BOOLEAN:
            if isinstance(value, bool) or (isinstance(value, int) and value in (0, 1)):
                return int(value)
            raise ValueError(f"{value!r} is not true or false")
        case Kind.TIMESTAMP:
            time = timestamp_us(value) if isinstance(value, str) else value if _is_whole(value) else None
            if not isinstance(time, int):
                raise ValueError(f"{value!r} is not a time")
            return _bounded(time)
        case Kind.NUMBER:
            if isinstance(value, bool | str):
                raise ValueError(f"{value!r} is not a number")
            number = float(value)
            return _bits(number) if math.isfinite(number) else NAN_WORD
        case _:
            return _scaled(value, type)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _scaled(value: Value, type: Type) -> int:
    """A whole number, or money in its minor units."""
    if isinstance(value, bool | str) or value is None:
        raise ValueError(f"{value!r} is not {'money' if type.currency else 'a whole number'}")
    try:
        exact = Decimal(str(value)) if isinstance(value, float) else Decimal(value)
        scaled = exact.scaleb(type.digits)
    except InvalidOperation:
        raise ValueError(f"{value!r} is not {type}") from None
    if not scaled.is_finite():
        return NULL_WORD
    if scaled != scaled.to_integral_value():
        raise ValueError(f"{value} has more decimals than {type}")
    return _bounded(int(scaled))


def _bounded(word: int) -> int:
    if not NULL_WORD < word < 2**63:
        raise ValueError(f"{word} is beyond 64 bits")
    return word


def _bits(number: float) -> int:
    return int(struct.unpack("<q", struct.pack("<d", number))[0])


def from_word(word: int, type: Type, strings: Dictionary) -> Value:
    """The value that a word holds: money as a Decimal in major units, a timestamp as ISO 8601 text.

    >>> from parakh.expressions.strings import Strings
    >>> from parakh.expressions.types import NUMBER, money
    >>> from_word(525, money("INR"), Strings()), from_word(NUMBER.null_word, NUMBER, Strings())
    (Decimal('5.25'), None)
    """
    word = int(word)
    if type.kind is Kind.NUMBER:
        number = float(struct.unpack("<d", struct.pack("<q", word))[0])
        return None if math.isnan(number) else number
    if word == NULL_WORD:
        return None
    match type.kind:
        case Kind.BOOLEAN:
            return bool(word)
        case Kind.STRING:
            return strings.text(word)
        case Kind.TIMESTAMP:
            return iso_time(word)
        case Kind.MONEY:
            return Decimal(word).scaleb(-type.digits)
        case _:
            return word
