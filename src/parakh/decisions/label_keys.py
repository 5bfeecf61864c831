"""The key that a label names, as the fields of an event hold it: a text, a number, or several parts of a joined key."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from parakh.events.convert import convert
from parakh.events.reasons import Refused
from parakh.expressions.strings import Strings
from parakh.expressions.types import STRING, Type

__all__ = ["key_parts", "key_words"]

_parts = msgspec.json.Decoder(tuple[str, ...]).decode


def key_parts(text: str, count: int) -> tuple[str, ...] | None:
    """The parts of a key as it is written: itself, or of a joined key a JSON array of texts; None where it is none.

    >>> key_parts("c1", 1), key_parts('["c1", "d1"]', 2), key_parts("c1", 2)
    (('c1',), ('c1', 'd1'), None)
    """
    if count == 1:
        return (text,)
    try:
        parts = _parts(text)
    except (msgspec.DecodeError, RecursionError):
        return None
    return parts if len(parts) == count else None


def key_words(code: int, types: Sequence[Type], strings: Strings) -> tuple[int, ...] | None:
    """The words of a key's fields, given the code of its text; None where no event can have it.

    A part that is a text which was never seen has a word that nothing has.
    """
    if len(types) == 1 and types[0] == STRING:
        return (code,)
    parts = key_parts(strings.text(code), len(types))
    if parts is None:
        return None
    words = []
    for part, type in zip(parts, types, strict=True):
        if type == STRING:
            words.append(strings.find(part))
            continue
        try:
            value = convert(part, type)
        except Refused:
            return None
        if not isinstance(value, int):
            return None
        words.append(value)
    return tuple(words)
