"""Conditions that are found in data: terms such as `amount > 220`, as SQL of a project and as a mask over arrays."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from parakh.learning.history import Values

__all__ = ["Condition", "Mask", "Term", "plain", "rounded"]

Mask = NDArray[np.bool_]

_LONGEST = 48
_COMPARED = {">": np.greater, ">=": np.greater_equal, "<": np.less, "<=": np.less_equal}


@dataclass(frozen=True, slots=True)
class Term:
    """One comparison of an input: `sign` is >, >=, <, <=, =, `is null`, `true` or `false`.

    Where the input is unknown a comparison does not hold, as in a rule.

    >>> str(Term("amount", ">", 220.0)), str(Term("country", "=", "O'Neill")), str(Term("night", "false"))
    ('amount > 220', "country = 'O''Neill'", 'not night')
    >>> Term("amount", ">", 220.0).holds(np.array([220.0, 220.01, np.nan])).tolist()
    [False, True, False]
    """

    name: str
    sign: str
    value: float | str | None = None

    def __str__(self) -> str:
        if self.sign == "true":
            return self.name
        if self.sign == "false":
            return f"not {self.name}"
        if self.value is None:
            return f"{self.name} {self.sign}"
        if isinstance(self.value, str):
            return f"{self.name} = '{self.value.replace(chr(39), 2 * chr(39))}'"
        return f"{self.name} {self.sign} {plain(self.value)}"

    def holds(self, values: Values) -> Mask:
        """Where it holds: bool[n]."""
        if isinstance(values, pa.DictionaryArray):
            found = pc.is_null(values) if self.value is None else _equal(values, str(self.value))
            return np.asarray(found.to_numpy(zero_copy_only=False), np.bool_)
        if self.sign == "is null":
            return np.isnan(values)
        if self.sign in ("true", "false"):
            return np.asarray(values == (self.sign == "true"), np.bool_)
        assert isinstance(self.value, float)
        return np.asarray(_COMPARED[self.sign](values, self.value), np.bool_)


@dataclass(frozen=True, slots=True)
class Condition:
    """Terms that all must hold, in the order in which they are written.

    >>> str(Condition((Term("amount", ">", 80.0), Term("card.payments_1d", ">=", 3.0))))
    'amount > 80 and card.payments_1d >= 3'
    """

    terms: tuple[Term, ...]

    def __str__(self) -> str:
        return " and ".join(str(term) for term in self.terms)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(term.name for term in self.terms))

    @property
    def slug(self) -> str:
        """A name made of what it reads, an entity once.

        >>> Condition((Term("card.payments_1d", ">", 3.0), Term("card.countries_1d", ">", 2.0))).slug
        'card_payments_1d_countries_1d'
        """
        words, entity = list[str](), ""
        for name in self.names:
            before, dot, after = name.partition(".")
            words.append(after if dot and before == entity else name)
            entity = before if dot else entity
        text = ""
        for word in words:
            longer = f"{text}_{word}" if text else word
            if len(longer) > _LONGEST and text:
                break
            text = longer[:_LONGEST]
        return re.sub(r"\W+", "_", text).strip("_")

    def holds(self, values: Mapping[str, Values]) -> Mask:
        """Where it holds: bool[n]."""
        found = self.terms[0].holds(values[self.terms[0].name])
        for term in self.terms[1:]:
            found = found & term.holds(values[term.name])
        return found

    def without(self, number: int) -> Condition:
        return Condition(self.terms[:number] + self.terms[number + 1 :])

    def replaced(self, number: int, term: Term) -> Condition:
        return Condition((*self.terms[:number], term, *self.terms[number + 1 :]))

    def as_data(self) -> list[list[Any]]:
        """For JSON; `of_data` reads it."""
        return [[term.name, term.sign, term.value] for term in self.terms]

    @classmethod
    def of_data(cls, data: list[list[Any]]) -> Condition:
        return cls(tuple(Term(str(name), str(sign), value) for name, sign, value in data))


def plain(value: float) -> str:
    """A number as a person writes it, without an exponent.

    >>> plain(220.0), plain(1e-07), plain(1250000.0), plain(0.35)
    ('220', '0.0000001', '1250000', '0.35')
    """
    text = format(Decimal(repr(float(value))), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def rounded(value: float, digits: int) -> tuple[float, float, float]:
    """The nearest number of so many significant digits, and the ones at or below and at or above the value.

    >>> rounded(219.98, 2), rounded(0.4449, 1)
    ((220.0, 210.0, 220.0), (0.4, 0.4, 0.5))
    """
    if value == 0 or not math.isfinite(value):
        return value, value, value
    places = digits - 1 - math.floor(math.log10(abs(value)))
    step = Decimal(1).scaleb(-places)
    units = Decimal(repr(float(value))) / step
    low = math.floor(units)
    nearest = round(units)
    high = math.ceil(units)
    return float(nearest * step), float(low * step), float(high * step)


def _equal(values: pa.DictionaryArray, text: str) -> pa.Array:
    place = values.dictionary.index(text).as_py()
    return pc.fill_null(pc.equal(values.indices, max(place, -1)), False)
