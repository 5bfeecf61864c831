"""Payment card numbers in free text: found by length, issuer prefix and check digit, and masked but for the last four.

A number is 13 to 19 ASCII digits, in one piece or in groups with spaces or dashes between them; it is not looked for
inside a longer run of digits. Each text is gone through once, whatever it holds.
"""

from __future__ import annotations

import re

from stdnum import luhn

__all__ = ["has_card_number", "mask_card_numbers", "may_hold_card_number"]

_LEAST, _MOST, _SHOWN = 13, 19, 4
_RUN = re.compile(r"[0-9](?:[ -]{0,3}[0-9])+")
"""Digits with up to three separators between two of them. Every start matches to its end: nothing is tried twice."""

_GROUP = re.compile(r"[0-9]+")
_DIGITS = bytes(ord("0") if chr(byte) in "0123456789" else ord(".") for byte in range(256))
_SEPARATORS = b" -"
_ENOUGH = b"0" * _LEAST

# The first six digits of an issuer's numbers, from and to, and how long they are (ISO/IEC 7812; the issuers' own lists).
_ISSUERS: tuple[tuple[int, int, frozenset[int]], ...] = (
    (220000, 220499, frozenset(range(16, 20))),  # Mir
    (222100, 272099, frozenset((16,))),  # Mastercard
    (300000, 305999, frozenset(range(14, 20))),  # Diners
    (309500, 309599, frozenset(range(14, 20))),  # Diners
    (340000, 349999, frozenset((15,))),  # American Express
    (352800, 358999, frozenset(range(16, 20))),  # JCB
    (360000, 369999, frozenset(range(14, 20))),  # Diners
    (370000, 379999, frozenset((15,))),  # American Express
    (380000, 399999, frozenset(range(14, 20))),  # Diners
    (400000, 499999, frozenset((13, 16, 19))),  # Visa
    (500000, 509999, frozenset(range(13, 20))),  # Maestro, RuPay, Elo, Verve
    (510000, 559999, frozenset((16,))),  # Mastercard
    (560000, 599999, frozenset(range(13, 20))),  # Maestro
    (600000, 699999, frozenset(range(13, 20))),  # Discover, RuPay, UnionPay, Maestro
    (810000, 829999, frozenset(range(16, 20))),  # UnionPay, RuPay
    (979200, 979299, frozenset((16,))),  # Troy
)


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
            found += _numbers(text, [(group.start(), group.end()) for group in _GROUP.finditer(text, *run.span())])
    if not found:
        return text
    parts = []
    done = 0
    for start, end in found:
        parts += [text[done:start], _masked(text[start:end])]
        done = end
    return "".join((*parts, text[done:]))


def _numbers(text: str, groups: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans of card numbers that are whole groups of digits; of those that begin at one group the longest."""
    found = []
    first = 0
    while first < len(groups):
        last, digits, holds = first, "", -1
        while last < len(groups):
            digits += text[slice(*groups[last])] if groups[last][1] - groups[last][0] <= _MOST else "0" * (_MOST + 1)
            if len(digits) > _MOST:
                break
            if _is_card(digits):
                holds = last
            last += 1
        if holds >= 0:
            found.append((groups[first][0], groups[holds][1]))
            first = holds
        first += 1
    return found


def _is_card(digits: str) -> bool:
    if len(digits) < _LEAST:
        return False
    prefix, length = int(digits[:6]), len(digits)
    plausible = any(low <= prefix <= high and length in lengths for low, high, lengths in _ISSUERS)
    return plausible and bool(luhn.is_valid(digits))


def _masked(number: str) -> str:
    shown = number[-_SHOWN:]
    cut = len(number) - _SHOWN
    if not shown.isdigit():  # a separator stands among the last four digits
        places = [place for place, letter in enumerate(number) if letter.isdigit()]
        cut = places[-_SHOWN]
        shown = number[cut:]
    return re.sub(r"[0-9]", "*", number[:cut]) + shown
