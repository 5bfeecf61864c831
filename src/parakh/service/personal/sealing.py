"""Derived values that read a personal field, computed from the raw event before the field is treated.

They are computed as everywhere else, by the engine's own decoder and program, over the few fields that they need. The
dictionary of texts that this takes holds personal values: it is never stored, and is made anew when it has grown.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np

from parakh.decisions.definition import Definitions
from parakh.decisions.names import Names
from parakh.decisions.personal import personal_names, reads_personal
from parakh.decisions.plan import Intake, compile_intake
from parakh.decisions.stored import DERIVED_KEY
from parakh.events.definition import ROW_ID, EventType
from parakh.expressions.parse import parse
from parakh.expressions.strings import Strings
from parakh.expressions.syntax import Call, Literal
from parakh.expressions.types import NULL_WORD, Kind, Type
from parakh.expressions.values import from_word

__all__ = ["Sealing"]

_ROWS = 1024
_MOST_TEXTS = 50_000
_MOST_BYTES = 4 * 2**20
_ISO_YEARS_US = (-62_135_596_800_000_000, 253_402_300_800_000_000)  # the years 1 to 9999

Treat = Callable[[str, str | None], str]
"""What is stored of a text: given the text and its treatment (None: it was made from personal values, but is none)."""


class Sealing:
    """The `~derived` of one event type's events. For one thread at a time."""

    def __init__(self, definitions: Definitions, event_type: str, treat: Treat) -> None:
        event = definitions.event_type(event_type)
        kinds = personal_names(event)
        types = Names(definitions).ingest(event).columns
        self._stored = [
            (f'"{name}":'.encode(), name, types[name], kinds.get(name))
            for name in reads_personal(event)
            if kinds.get(name) != "drop"
        ]
        self._treat = treat
        self._definitions = _reduced(definitions, event)
        self._event = event.name
        self._begin()

    def _begin(self) -> None:
        self._strings = Strings()
        self._intake: Intake = compile_intake(self._definitions, self._strings, started_us=None)
        self._empty_bytes = self._strings.nbytes
        layout = self._intake.layouts[self._event]
        self._columns = [(lead, layout[name].slot, type, kind) for lead, name, type, kind in self._stored]
        self._words = np.full((layout.width, _ROWS), NULL_WORD, np.int64)
        self._flags = np.zeros(_ROWS, np.uint8)

    def members(self, bodies: Sequence[bytes]) -> list[bytes]:
        """The member `"~derived":{...}` of each event; empty where no value is known, or the event will be refused."""
        found: list[bytes] = []
        for first in range(0, len(bodies), _ROWS):
            found += self._some(bodies[first : first + _ROWS])
            if len(self._strings) > _MOST_TEXTS or self._strings.nbytes > self._empty_bytes + _MOST_BYTES:
                self._begin()
        return found

    def _some(self, bodies: Sequence[bytes]) -> list[bytes]:
        count = len(bodies)
        lengths = np.fromiter(map(len, bodies), np.int64, count)
        starts = np.cumsum(lengths) - lengths
        buffer = np.frombuffer(bytearray(b"".join(bodies) or b" "), np.uint8)
        decoded = self._intake.decoders[self._event].decode_lines(buffer, starts, lengths, self._words, 0)
        self._flags[:count] = 0
        self._intake.programs[self._event].run(self._words, 0, count, self._flags)
        members = [self._member(row) for row in range(count)]
        return [b"" if problem else member for problem, member in zip(decoded.problem.tolist(), members)]

    def _member(self, row: int) -> bytes:
        parts = []
        for lead, slot, type, kind in self._columns:
            value = self._value(self._words[slot, row], type, kind)
            if value is not None:
                parts.append(lead + value)
        return b'"%s":{%s}' % (DERIVED_KEY.encode(), b",".join(parts)) if parts else b""

    def _value(self, word: Any, type: Type, kind: str | None) -> bytes | None:
        """A word as JSON that is read back as the same word; None for NULL."""
        if type.kind is Kind.TIMESTAMP and word != NULL_WORD:
            return _time(int(word))
        value = from_word(word, type, self._strings)
        if value is None:
            return None
        if isinstance(value, str):
            return msgspec.json.encode(self._treat(value, kind))
        if isinstance(value, bool | int | float):
            return msgspec.json.encode(value)
        return format(value, "f").encode()  # money: every decimal of its minor units


def _time(word: int) -> bytes:
    """A time in ISO 8601; in seconds where that has no year for it."""
    first, after = _ISO_YEARS_US
    if first <= word < after:
        seconds, micros = divmod(word, 1_000_000)
        return f'"{np.datetime64(seconds, "s")}.{micros:06d}Z"'.encode()
    sign = "-" if word < 0 else ""
    return f"{sign}{abs(word) // 1_000_000}.{abs(word) % 1_000_000:06d}".encode()


def _reduced(definitions: Definitions, event: EventType) -> Definitions:
    """What the derived values need, and nothing else: so that little is decoded and few texts are kept."""
    texts = dict(event.derive)
    needed = set(reads_personal(event))
    for name, text in reversed(event.derive):
        if name in needed:
            needed.update(parse(text).names)
    fields = tuple(
        replace(item, personal=None, entity=None)
        for item in event.fields
        if item.name in needed or item.name == event.time
    )
    derive = tuple((name, text) for name, text in event.derive if name in needed)
    named = {
        str(part.value)
        for name, _ in derive
        for node in parse(texts[name]).walk()
        if isinstance(node, Call)
        for part in node.arguments
        if isinstance(part, Literal)
    }
    return Definitions(
        settings=definitions.settings,
        events=(replace(event, id=ROW_ID, fields=fields, derive=derive, labels=()),),
        lists=tuple(item for item in definitions.lists if item.name in named),
        tables=tuple(item for item in definitions.tables if item.name in named),
    )
