"""Payment card numbers in free text: found by length, issuer prefix and check digit, and masked but for the last four.

A number is 13 to 19 ASCII digits, in one piece or in groups with spaces or dashes between them; it is not looked for
inside a longer run of digits. Each text is gone through once, whatever it holds.
"""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt
from stdnum import luhn

__all__ = ["has_card_number", "mask_card_numbers", "may_hold_card_number"]

_LEAST, _MOST, _SHOWN = 13, 19, 4
_RUN = re.compile(r"[0-9](?:[ -]{0,3}[0-9])+")
"""Digits with up to three separators between two of them. Every start matches to its end: nothing is tried twice."""

_STARTS = 8_192
_ZERO = ord("0")
_ALL_LENGTHS = np.arange(_LEAST, _MOST + 1)
_DIGITS = bytes(ord("0") if chr(byte) in "0123456789" else ord(".") for byte in range(256))
_SEPARATORS = b" -"
_ENOUGH = b"0" * _LEAST

# The first four digits of an issuer's numbers, from and to, and how long those are (ISO/IEC 7812, the issuers' lists).
_ISSUERS: tuple[tuple[int, int, tuple[int, ...]], ...] = (
    (2200, 2204, (16, 17, 18, 19)),  # Mir
    (2221, 2720, (16,)),  # Mastercard
    (3000, 3059, (14, 16, 17, 18, 19)),  # Diners
    (3095, 3095, (14, 16, 17, 18, 19)),  # Diners
    (3400, 3499, (15,)),  # American Express
    (3528, 3589, (16, 17, 18, 19)),  # JCB
    (3600, 3699, (14, 16, 17, 18, 19)),  # Diners
    (3700, 3799, (15,)),  # American Express
    (3800, 3999, (14, 16, 17, 18, 19)),  # Diners
    (4000, 4999, (13, 16, 19)),  # Visa
    (5000, 5099, (13, 14, 15, 16, 17, 18, 19)),  # Maestro, RuPay, Elo, Verve
    (5100, 5599, (16,)),  # Mastercard
    (5600, 5999, (13, 14, 15, 16, 17, 18, 19)),  # Maestro
    (6000, 6999, (13, 14, 15, 16, 17, 18, 19)),  # Discover, RuPay, UnionPay, Maestro
    (8100, 8299, (16, 17, 18, 19)),  # UnionPay, RuPay
    (9792, 9792, (16,)),  # Troy
)
_LENGTHS = np.zeros((10_000, _MOST + 1), np.bool_)
"""Whether a number that begins with four digits may be so long."""
for _first, _last, _lengths in _ISSUERS:
    _LENGTHS[_first : _last + 1, _lengths] = True
_BEGINS: npt.NDArray[np.bool_] = np.any(_LENGTHS, axis=1)


def may_hold_card_number(body: bytes) -> bool:
    """Whether 13 digits follow one another somewhere, spaces and dashes left out: if not, no card number is there.

    Escapes of JSON are not undone here: a text with a backslash has to be looked at once it is decoded.

    >>> may_hold_card_number(b'"4111-1111 1111 1111"'), may_hold_card_number(b'"2026-01-01T10:00:00Z", 4111')
    (True, False)
    """
    return _ENOUGH in body.translate(_DIGITS, _SEPARATORS)


def has_card_number(text: str) -> bool:
    """Whether there is a card number in a text."""
    return mask_card_numbers(text) is not text


def mask_card_numbers(text: str) -> str:
    """The text with all but the last four digits of each card number as `*`; the very text where there is none.

    >>> mask_card_numbers("paid with 4111 1111 1111 1111, ref 1234567890123456")
    'paid with **** **** **** 1111, ref 1234567890123456'
    """
    if len(text) < _LEAST:
        return text
    found: list[tuple[int, int]] = []
    for run in _RUN.finditer(text):
        if run.end() - run.start() >= _LEAST:
            found += _numbers(run.group(), run.start())
    if not found:
        return text
    parts = []
    done = 0
    for start, end in found:
        parts += [text[done:start], _masked(text[start:end])]
        done = end
    return "".join((*parts, text[done:]))


def _numbers(run: str, offset: int) -> list[tuple[int, int]]:
    """Spans of the card numbers in a run of digits that stands at `offset`.

    Each is made of whole groups; of those that begin at one group the longest is taken.
    """
    if run.isdigit():
        plausible = len(run) <= _MOST and _LENGTHS[int(run[:4]), len(run)] and luhn.is_valid(run)
        return [(offset, offset + len(run))] if plausible else []
    return [(offset + start, offset + end) for start, end in _grouped(run)]


def _grouped(run: str) -> list[tuple[int, int]]:
    """The same for digits in groups, many starts at once: a text may be long, and all digits and spaces."""
    letters = np.frombuffer(b" %b " % run.encode("ascii"), np.uint8)
    places = (letters >= _ZERO).nonzero()[0]
    digits = (letters[places] - _ZERO).astype(np.int64)
    count = digits.size
    # Groups: which digits begin one, and whether one ends before a digit (or at the end of all).
    ends = np.ones(count + 1, np.bool_)
    ends[:count] = letters[places - 1] < _ZERO
    starts = ends[: max(count - _LEAST + 1, 0)].nonzero()[0]
    prefixes = digits[starts] * 1000 + digits[starts + 1] * 100 + digits[starts + 2] * 10 + digits[starts + 3]
    plausible = _BEGINS[prefixes]
    if not plausible.any():
        return []
    starts, prefixes = starts[plausible], prefixes[plausible]
    # Luhn's sum of any part is a difference of two in one row: every second digit is doubled, counted from its end.
    sums = np.zeros((2, count + 1), np.int64)
    doubled = 2 * digits % 10 + digits // 5
    for row in (0, 1):
        counted = digits.copy()
        counted[row::2] = doubled[row::2]
        counted.cumsum(out=sums[row, 1:])
    found = []
    free = 0
    for first in range(0, starts.size, _STARTS):
        start = starts[first : first + _STARTS]
        stop = start[:, None] + _ALL_LENGTHS
        inside = np.minimum(stop, count)
        luhn_sum = sums[inside & 1, inside] - sums[inside & 1, start[:, None]]
        holds = (
            (stop <= count) & ends[inside] & _LENGTHS[prefixes[first : first + _STARTS], _LEAST:] & (luhn_sum % 10 == 0)
        )
        for which in holds.any(axis=1).nonzero()[0].tolist():
            begin = int(start[which])
            if begin >= free:
                length = int(_ALL_LENGTHS[holds[which]][-1])
                number = "".join(map(str, digits[begin : begin + length].tolist()))
                assert luhn.is_valid(number), "two ways to the same sum"
                free = begin + length
                found.append((int(places[begin]) - 1, int(places[free - 1])))
    return found


def _masked(number: str) -> str:
    shown = number[-_SHOWN:]
    cut = len(number) - _SHOWN
    if not shown.isdigit():  # a separator stands among the last four digits
        places = [place for place, letter in enumerate(number) if letter.isdigit()]
        cut = places[-_SHOWN]
        shown = number[cut:]
    return re.sub(r"[0-9]", "*", number[:cut]) + shown
