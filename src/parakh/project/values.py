"""A value as a person writes it -> the value of a type. The type alone says how text is read, never the text's looks.

So `012`, `no` and `10:30` stay texts where a string is wanted, and are refused where a number is.
"""

from __future__ import annotations

import re
from decimal import Decimal

from parakh.errors import Place, SourceText
from parakh.expressions.types import Kind, Type
from parakh.expressions.values import timestamp_us
from parakh.rules.definition import Value

__all__ = ["AMOUNT_PATTERN", "SHARE_PATTERN", "Misread", "RawValue", "instant_us", "read_value", "share_of"]

_INTEGER = re.compile(r"[+-]?(0|[1-9][0-9]{0,18})")
_NUMBER = re.compile(r"[+-]?([0-9]{1,40}(\.[0-9]{0,40})?|\.[0-9]{1,40})([eE][+-]?[0-9]{1,3})?")
_MONEY = re.compile(r"[+-]?(0|[1-9][0-9]{0,18})(\.[0-9]{1,4})?")
SHARE_PATTERN = "^(0|[1-9][0-9]?|100)(\\.[0-9]{1,4})?%$|^0(\\.[0-9]{1,6})?$"
AMOUNT_PATTERN = "^(0|[1-9][0-9]{0,14})(\\.[0-9]{1,4})?$"
_NULL = ("null", "~")


class RawValue(SourceText):
    """A value's text before its type is known; `quoted` tells 'null', the text, from null."""

    __slots__ = ("quoted",)
    quoted: bool

    def __new__(cls, text: str, place: Place, quoted: bool = False) -> RawValue:
        self = super().__new__(cls, text, place)
        assert isinstance(self, RawValue)
        self.quoted = quoted
        return self


class Misread(Exception):
    """A text is no value of the type that is wanted."""

    def __init__(self, message: str, hint: str = "") -> None:
        self.message = message
        self.hint = hint
        super().__init__(message)


def read_value(text: str, type: Type) -> Value:
    """The value of `type` that a text stands for; None for null. Money is in major units, timestamps stay ISO text.

    >>> from parakh.expressions.types import INTEGER, STRING, money
    >>> read_value("012", STRING), read_value("7", INTEGER), read_value("5.00", money("INR"))
    ('012', 7, 5)
    """
    if text in _NULL and not getattr(text, "quoted", False):
        return None
    if type.kind is Kind.STRING:
        return str(text)
    if type.kind is Kind.BOOLEAN:
        return _boolean(text)
    if type.kind is Kind.INTEGER:
        if not _INTEGER.fullmatch(text):
            raise Misread(f"{text!r} is not an integer", "digits alone, without leading zeros, _ or commas")
        if abs(int(text)) >= 2**63:
            raise Misread(f"{text!r} does not fit in 64 bits")
        return int(text)
    if type.kind is Kind.NUMBER:
        if not _NUMBER.fullmatch(text):
            raise Misread(f"{text!r} is not a number", "write it as 12.5 or 1e3; unknown is null")
        number = float(text)
        if number in (float("inf"), float("-inf")):
            raise Misread(f"{text!r} is too large for a number")
        return number
    if type.kind is Kind.MONEY:
        return _money(text, type)
    instant_us(text)
    return str(text)


def _boolean(text: str) -> bool:
    if text in ("true", "1"):
        return True
    if text in ("false", "0"):
        return False
    raise Misread(f"{text!r} is not a boolean", "write true or false")


def _money(text: str, type: Type) -> int | float:
    if not _MONEY.fullmatch(text):
        raise Misread(f"{text!r} is not an amount of {type}", "write it in major units, as 5.00")
    amount = Decimal(text)
    exponent = amount.as_tuple().exponent
    assert isinstance(exponent, int)
    if -exponent > type.digits:
        raise Misread(f"{text!r} has more decimals than {type.currency} has", f"at most {type.digits}")
    if abs(amount.scaleb(type.digits)) >= 2**63:
        raise Misread(f"{text!r} is too large an amount")
    if amount == amount.to_integral_value():
        return int(amount)
    if Decimal(repr(float(amount))) != amount:
        raise Misread(f"{text!r} has more digits than can be kept", "at most 15 digits where there are decimals")
    return float(amount)


def share_of(text: str) -> float | None:
    """The share that a text stands for; None where it is none.

    >>> share_of("1%"), share_of("0.25%"), share_of("0.01"), share_of("1")
    (0.01, 0.0025, 0.01, None)
    """
    if not re.fullmatch(SHARE_PATTERN, text):
        return None
    return float(Decimal(text[:-1]).scaleb(-2) if text.endswith("%") else Decimal(text))


def instant_us(text: str) -> int:
    """Microseconds UTC of an ISO 8601 time; without an offset it is UTC, without a time of day midnight.

    >>> instant_us("2000-01-01"), instant_us("2000-01-01T05:30:00+05:30")
    (946684800000000, 946684800000000)
    """
    found = timestamp_us(text)
    if found is None:
        raise Misread(f"{text!r} is not a time", "write it as 2025-01-31 or 2025-01-31T18:30:00Z")
    return found
