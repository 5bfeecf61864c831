"""The types of values, and how each is held in a column: one 64-bit word a value, NULL as a word of its own.

boolean (0/1), integer, money (minor units), timestamp (microseconds since 1970, UTC) and string (a code of
`parakh.expressions.strings.Strings`) are int64 words with NULL_WORD for NULL; number is a float64 with NaN for NULL.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

__all__ = [
    "BOOLEAN",
    "INTEGER",
    "NAN_WORD",
    "NULL_WORD",
    "NUMBER",
    "STRING",
    "TIMESTAMP",
    "Kind",
    "Type",
    "minor_digits",
    "money",
]

NULL_WORD = -(2**63)
NAN_WORD = 0x7FF8000000000000
"""The bits of the one NaN that stands for NULL in numbers."""

# ISO 4217 currencies whose minor unit is not a hundredth.
_BY_DIGITS = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}
_MINOR_DIGITS = {currency: digits for digits, currencies in _BY_DIGITS.items() for currency in currencies.split()}


class Kind(enum.Enum):
    __hash__ = object.__hash__  # as of `Op` in `parakh.expressions.typed`

    BOOLEAN = "boolean"
    INTEGER = "integer"
    NUMBER = "number"
    MONEY = "money"
    TIMESTAMP = "timestamp"
    STRING = "string"


@dataclass(frozen=True, slots=True)
class Type:
    """A value's type; `currency` (ISO 4217) is set for money alone.

    >>> str(money("INR")), money("JPY").digits, NUMBER.is_float
    ('money INR', 0, True)
    """

    kind: Kind
    currency: str | None = None

    @property
    def is_float(self) -> bool:
        return self.kind is Kind.NUMBER

    @property
    def digits(self) -> int:
        """Decimals of the currency's minor unit; 0 for what is not money."""
        return minor_digits(self.currency) if self.currency else 0

    @property
    def null_word(self) -> int:
        """The word that stands for NULL in a column of the type."""
        return NAN_WORD if self.is_float else NULL_WORD

    @property
    def described(self) -> str:
        """The type in a sentence: "a whole number", "money in INR"."""
        return f"money in {self.currency}" if self.currency else _DESCRIBED[self.kind]

    def __str__(self) -> str:
        return f"{self.kind.value} {self.currency}" if self.currency else self.kind.value


_DESCRIBED = {
    Kind.BOOLEAN: "a boolean",
    Kind.INTEGER: "a whole number",
    Kind.NUMBER: "a number",
    Kind.MONEY: "money",
    Kind.TIMESTAMP: "a timestamp",
    Kind.STRING: "a text",
}


BOOLEAN = Type(Kind.BOOLEAN)
INTEGER = Type(Kind.INTEGER)
NUMBER = Type(Kind.NUMBER)
TIMESTAMP = Type(Kind.TIMESTAMP)
STRING = Type(Kind.STRING)


def money(currency: str) -> Type:
    return Type(Kind.MONEY, currency)


def minor_digits(currency: str) -> int:
    """Decimals of a currency's minor unit (ISO 4217): 2 for most."""
    return _MINOR_DIGITS.get(currency, 2)
