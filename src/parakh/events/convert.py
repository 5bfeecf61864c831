"""What a field takes, said in plain Python: the definition that the kernels keep, and the way of every value that they
are not sure about.

A whole number serves as a string, 0 and 1 as booleans, a time without offset is UTC, a number may be written as text
(as CSV must). Numbers given as times are seconds, milliseconds, microseconds or nanoseconds since 1970, told apart by
their size: between 2000 and 2100 the four cannot be mistaken for one another.
"""

from __future__ import annotations

import datetime
import json
import math
import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Any, NamedTuple

from parakh.events.reasons import Reason, Refused
from parakh.expressions.types import Kind, Type

__all__ = ["Parsed", "convert", "find_path", "parse_json"]

_GREATEST = 2**63 - 1
_WHOLE_FLOAT = 2**53
_MOST_TEXT = 4_000
_MOST_DIGITS = 22
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_EPOCH_DAY = _EPOCH.toordinal()
_MICROSECOND = datetime.timedelta(microseconds=1)
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_NOT_FINITE = re.compile(r"[+-]?(nan|inf|infinity)", re.IGNORECASE)
_TIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)(?:[Tt ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d+))?)?(?: ?(?:(Z|z|UTC)|([+-])(\d\d):?(\d\d)?))?)?",
    re.ASCII,
)
_TRUTH = {"true": 1, "1": 1, "false": 0, "0": 0}


class Parsed(NamedTuple):
    """A JSON text: its value, numbers with a fraction as Decimal; `constants` where NaN or Infinity stood in it."""

    value: object
    constants: bool


def parse_json(line: bytes) -> Parsed:
    """The value of one line; raises Refused where it is not valid JSON. Of a key given twice the last one holds."""
    constants: list[str] = []

    def constant(text: str) -> float:
        constants.append(text)
        return float(text)

    try:
        text = line.decode()
    except UnicodeDecodeError:
        raise Refused(Reason.BAD_UTF8) from None
    try:
        value = json.loads(text, parse_float=_decimal, parse_int=_integer, parse_constant=constant)
    except (json.JSONDecodeError, RecursionError):
        raise Refused(Reason.BAD_JSON) from None
    return Parsed(value, bool(constants))


def find_path(record: Mapping[str, Any], source: str, path: tuple[str, ...]) -> object:
    """The value of a column or JSON path: a key of that very name, else key by key; None where it is absent."""
    if source in record:
        return record[source]
    value: object = record
    for part in path:
        if value is None:
            return None
        if not isinstance(value, Mapping):
            raise Refused(Reason.WRONG_TYPE)
        value = value.get(part)
    return value


def convert(value: object, type: Type) -> int | float | str | None:
    """A value as its field holds it: a word, a float for a number, the text for a string, None for NULL.

    Raises Refused with the reason where the field does not take it.
    """
    if value is None:
        return None
    if isinstance(value, str):
        if type.kind is Kind.STRING:
            try:
                value.encode()
            except UnicodeEncodeError:
                raise Refused(Reason.BAD_UTF8) from None
            return value
        return _from_text(value, type)
    if isinstance(value, bytes):
        try:
            return convert(value.decode(), type)
        except UnicodeDecodeError:
            raise Refused(Reason.BAD_UTF8) from None
    if isinstance(value, bool):
        if type.kind is not Kind.BOOLEAN:
            raise Refused(Reason.WRONG_TYPE)
        return int(value)
    if isinstance(value, datetime.datetime):
        if type.kind is not Kind.TIMESTAMP:
            raise Refused(Reason.WRONG_TYPE)
        aware = value if value.tzinfo is not None else value.replace(tzinfo=datetime.UTC)
        return (aware - _EPOCH) // _MICROSECOND
    if isinstance(value, datetime.date):
        if type.kind is not Kind.TIMESTAMP:
            raise Refused(Reason.WRONG_TYPE)
        return (value.toordinal() - _EPOCH_DAY) * 86_400_000_000
    if isinstance(value, float):
        if not math.isfinite(value):
            raise Refused(Reason.NOT_FINITE)
        return _convert_number(Decimal(repr(value)), type)
    if isinstance(value, int | Decimal):
        return _convert_number(value, type)
    raise Refused(Reason.WRONG_TYPE)


def _from_text(text: str, type: Type) -> int | float | None:
    """A value that was written as text (a cell of CSV, a JSON string) for a field that is not a string."""
    text = text.strip(" \t")
    if type.kind is Kind.BOOLEAN:
        truth = _TRUTH.get(text.lower())
        if truth is None:
            raise Refused(Reason.WRONG_TYPE)
        return truth
    if type.kind is Kind.TIMESTAMP and (match := _TIME.fullmatch(text)):
        return _time(match)
    if len(text) <= _MOST_TEXT and _NUMBER.fullmatch(text):
        number = _decimal(text)
        return _converted(convert(number, type))
    raise Refused(Reason.NOT_FINITE if _NOT_FINITE.fullmatch(text) else Reason.WRONG_TYPE)


def _convert_number(value: int | Decimal, type: Type) -> int | float | str:
    if isinstance(value, Decimal) and not value.is_finite():
        raise Refused(Reason.NOT_FINITE)
    kind = type.kind
    if kind is Kind.NUMBER:
        try:
            number = float(value)
        except OverflowError:
            raise Refused(Reason.OUT_OF_RANGE) from None
        if not math.isfinite(number):
            raise Refused(Reason.OUT_OF_RANGE)
        return number or 0.0
    if kind is Kind.STRING:
        if isinstance(value, Decimal):
            value = _scaled(value, 0)
            if abs(value) > _WHOLE_FLOAT:
                raise Refused(Reason.WRONG_TYPE)
        return str(value)
    if kind is Kind.BOOLEAN:
        if value != 0 and value != 1:
            raise Refused(Reason.WRONG_TYPE)
        return int(value)
    if kind is Kind.MONEY:
        return _word(_scaled(value, type.digits, Reason.TOO_MANY_DECIMALS))
    if kind is Kind.INTEGER:
        return _word(_scaled(value, 0))
    return _word(_epoch(value))


def _scaled(value: int | Decimal, decimals: int, otherwise: Reason = Reason.WRONG_TYPE) -> int:
    """value * 10^decimals where that is whole; exact, and cheap for 1e1000000 too."""
    if isinstance(value, int):
        return value * 10**decimals
    if not value:
        return 0
    if value.adjusted() > _MOST_DIGITS:
        raise Refused(Reason.OUT_OF_RANGE)
    sign, digits, exponent = value.as_tuple()
    assert isinstance(exponent, int), "finite"
    text = "".join(map(str, digits))
    whole = text.rstrip("0")
    exponent += decimals + len(text) - len(whole)
    if exponent < 0:
        raise Refused(otherwise)
    return (-1 if sign else 1) * int(whole) * 10**exponent


def _word(value: int) -> int:
    if abs(value) > _GREATEST:
        raise Refused(Reason.OUT_OF_RANGE)
    return value


def _epoch(value: int | Decimal) -> int:
    """Microseconds of a number of seconds, ms, us or ns since 1970; `parakh.events.scalars.epoch_us` is its twin."""
    if isinstance(value, Decimal):
        if value and value.adjusted() > _MOST_DIGITS:
            raise Refused(Reason.OUT_OF_RANGE)
        if value and (value.adjusted() < -_MOST_DIGITS or len(value.as_tuple().digits) > 3 * _MOST_DIGITS):
            raise Refused(Reason.WRONG_TYPE)
    exact = Fraction(value)
    size = abs(exact)
    if size > _GREATEST:
        raise Refused(Reason.OUT_OF_RANGE)
    for bound, unit in ((10**11, 1_000_000), (10**14, 1_000), (10**17, 1)):
        if size < bound:
            return math.floor(exact * unit)
    return math.floor(exact / 1_000)


def _time(match: re.Match[str]) -> int:
    year, month, day, hour, minute, second, fraction, _, sign, zone_hour, zone_minute = match.groups()
    try:
        days = datetime.date(int(year), int(month), int(day)).toordinal() - _EPOCH_DAY
        clock = datetime.time(int(hour or 0), int(minute or 0), int(second or 0))
        offset = datetime.time(int(zone_hour or 0), int(zone_minute or 0))
    except ValueError:
        raise Refused(Reason.WRONG_TYPE) from None
    seconds = days * 86_400 + clock.hour * 3_600 + clock.minute * 60 + clock.second
    ahead = (offset.hour * 60 + offset.minute) * (-60 if sign == "-" else 60)
    return (seconds - ahead) * 1_000_000 + int((fraction or "0")[:6].ljust(6, "0"))


def _converted(value: int | float | str | None) -> int | float | None:
    assert not isinstance(value, str), "text is converted for fields that are not strings"
    return value


def _integer(text: str) -> int | Decimal:
    # int() refuses thousands of digits with an error of its own, and takes quadratic time below that.
    return int(text) if len(text) <= 400 else _decimal(text)


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:  # an exponent beyond Decimal's own range
        return Decimal("1e1000" if "-" not in text.lower().rpartition("e")[2] else "0")
