"""Which entities an event carries, and the hashes by which the index finds them and the rules that hit.

A hash only says where to look: what is found by one is confirmed by reading the stored event. So equal keys must have
equal hashes whichever way they are written (7 and "7" for a text, an escape in a JSON string); nothing else matters.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from itertools import product
from operator import attrgetter
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from parakh.decisions.definition import Definitions
from parakh.events.convert import convert, find_path, parse_json
from parakh.events.definition import EventType, Field
from parakh.events.reasons import Refused
from parakh.expressions.types import BOOLEAN, INTEGER, STRING, TIMESTAMP, Kind, Type, money
from parakh.features.definition import Entity
from parakh.features.reads import key_fields
from parakh.service.ledger.scanning import hash_spans, mix_in

__all__ = ["KeyReader", "KeyReaders", "entity_terms", "rule_salt", "rule_term"]

Terms = NDArray[np.uint32]
Value = str | int
"""A part of a key as its field holds it: a text, or the word of another type."""

_HALF = np.uint64(32)
_AT_ONCE = 64
"""Bodies that are read before another thread may go on: the event loop waits for as long, some 50 us."""
# A key is asked for as text, whatever the type of its field is (or was, in an older version).
_TYPES: Final = (STRING, INTEGER, BOOLEAN, TIMESTAMP, money("JPY"), money("USD"), money("KWD"), money("UYW"))


class _InexactError(Exception):
    """A number was read as a float, in which whole numbers beyond 2^53 lose digits."""


class KeyReader:
    """Reads the keys of one event type, as one version of a project defines it, from stored bodies."""

    def __init__(self, definitions: Definitions, event: EventType) -> None:
        self._event = event
        entities = {entity.name: entity for entity in definitions.entities}
        for item in event.fields:
            if item.entity is not None:
                entities.setdefault(item.entity, Entity(name=item.entity))
        self.roles = tuple((name, role) for name, entity in entities.items() for role in key_fields(entity, event))
        names = dict.fromkeys(name for _, role in self.roles for name in role)
        self._fields = {name: event.field(name) for name in names}
        self._salts = {name: np.uint64(_salt("entity", name)) for name, _ in self.roles}
        sources = {name: item.source or name for name, item in self._fields.items()}
        self._plain = not any("." in source for source in sources.values())
        attributes = {name: f"k{number}" for number, name in enumerate(sources)}
        keys = msgspec.defstruct(
            "Keys",
            [(attribute, object, None) for attribute in attributes.values()],
            rename={attributes[name]: source for name, source in sources.items()},
            gc=False,
        )
        self._decode = msgspec.json.Decoder(keys).decode
        self._getters: dict[str, Callable[[Any], Any]] = {name: attrgetter(at) for name, at in attributes.items()}

    def terms(self, bodies: Sequence[bytes | memoryview], rows: NDArray[np.int64]) -> list[tuple[Terms, NDArray[Any]]]:
        """The terms of some events, by role: their hashes, and the rows of the events that carry a key."""
        if not self.roles:
            return []
        try:
            hashed = self._hashed(self._columns(bodies))
        except _InexactError:
            hashed = self._hashed(self._read(bodies))
        found = []
        for entity, role in self.roles:
            hashes = np.full(len(bodies), self._salts[entity], np.uint64)
            known: NDArray[np.bool_] | None = None
            for name in role:
                part, present = hashed[name]
                hashes = mix_in(hashes, part)
                if present is not None:
                    known = present if known is None else known & present
            terms = (hashes >> _HALF).astype(np.uint32)
            found.append((terms, rows) if known is None else (terms[known], rows[known]))
        return found

    def carries(self, body: bytes | memoryview, entity: str, key: tuple[str, ...]) -> bool:
        """Whether an event carries this very key of an entity."""
        record = parse_json(bytes(body)).value
        for name, role in self.roles:
            if name == entity and len(role) == len(key):
                parts = [self._fields[part] for part in role]
                wanted = [_converted(text, item.type) for text, item in zip(key, parts)]
                if None not in wanted and [_found(record, item) for item in parts] == wanted:
                    return True
        return False

    def event_id(self, body: bytes | memoryview) -> str:
        """The event's id as text; empty where the source has none."""
        fields = {item.name: item for item in self._event.fields}
        if self._event.id not in fields:
            return ""
        found = _found(parse_json(bytes(body)).value, fields[self._event.id])
        return "" if found is None else str(found)

    def _hashed(self, columns: dict[str, list[Any]]) -> dict[str, tuple[NDArray[np.uint64], NDArray[np.bool_] | None]]:
        return {name: _hashed(column, self._fields[name].type) for name, column in columns.items()}

    def _columns(self, bodies: Sequence[bytes | memoryview]) -> dict[str, list[Any]]:
        """The values of each field that is part of a key, as JSON has them."""
        if self._plain:
            try:
                objects: list[Any] = []
                for start in range(0, len(bodies), _AT_ONCE):
                    objects += map(self._decode, bodies[start : start + _AT_ONCE])
            except msgspec.MsgspecError:
                pass  # what msgspec does not take, such as a number beyond float64, is read as the engine reads it
            else:
                return {name: list(map(get, objects)) for name, get in self._getters.items()}
        return self._read(bodies)

    def _read(self, bodies: Sequence[bytes | memoryview]) -> dict[str, list[Any]]:
        columns: dict[str, list[Any]] = {name: [] for name in self._fields}
        for body in bodies:
            record = parse_json(bytes(body)).value
            for name, item in self._fields.items():
                columns[name].append(_found(record, item))
        return columns


class KeyReaders:
    """The readers of all event types of all versions that the log has, made when they are first needed."""

    def __init__(self, definitions_of: Callable[[str], Definitions]) -> None:
        self._definitions_of = definitions_of
        self._readers: dict[tuple[str, str], KeyReader] = {}

    def of(self, project: str, event_type: str) -> KeyReader:
        """The reader for an event type as the version with this hash defines it."""
        reader = self._readers.get((project, event_type))
        if reader is None:
            definitions = self._definitions_of(project)
            reader = KeyReader(definitions, definitions.event_type(event_type))
            self._readers[project, event_type] = reader
        return reader


def entity_terms(entity: str, key: Sequence[str]) -> Terms:
    """Every term under which a key given as text may stand, whichever types its parts have."""
    ways = [dict.fromkeys(value for item in _TYPES if (value := _converted(text, item)) is not None) for text in key]
    salt = np.uint64(_salt("entity", entity))
    found = set()
    hashed = [list(_hash_values(list(way))) for way in ways]
    for parts in product(*hashed):
        term = np.full(1, salt, np.uint64)
        for part in parts:
            term = mix_in(term, np.full(1, part, np.uint64))
        found.add(int(term[0] >> _HALF))
    return np.array(sorted(found), np.uint32)


def rule_salt() -> np.uint64:
    """What tells rules' names from other texts in `scan_records`."""
    return np.uint64(_salt("rule", ""))


def rule_term(name: str) -> Terms:
    """The term of a rule's name."""
    data = name.encode()
    hashes = hash_spans(_buffer(data), np.array([len(data)], np.int64), rule_salt(), np.empty(1, np.uint64))
    return (hashes >> _HALF).astype(np.uint32)


def _salt(kind: str, name: str) -> int:
    digest = hashlib.blake2b(name.encode(), digest_size=8, person=f"parakh {kind}".encode())
    return int.from_bytes(digest.digest(), "little")


def _hashed(values: list[Any], type: Type) -> tuple[NDArray[np.uint64], NDArray[np.bool_] | None]:
    """The hashes of a column's values, and which are known (None: all are)."""
    if type.kind is Kind.STRING:
        try:
            text = "".join(values)
        except TypeError:
            pass
        else:
            if text.isascii():
                return _hash_texts(text.encode(), np.fromiter(map(len, values), np.int64, len(values))), None
            return _hash_values(values), None
    if any(isinstance(value, float) for value in values):
        raise _InexactError
    converted = [_converted(value, type) for value in values]
    if None not in converted:
        return _hash_values(converted), None
    return _hash_values([0 if value is None else value for value in converted]), np.array(
        [value is not None for value in converted], np.bool_
    )


def _hash_values(values: Sequence[Any]) -> NDArray[np.uint64]:
    pieces = [
        value.encode(errors="surrogatepass")
        if isinstance(value, str)
        else b"\0" + value.to_bytes(8, "little", signed=True)
        for value in values
    ]
    return _hash_texts(b"".join(pieces), np.fromiter(map(len, pieces), np.int64, len(pieces)))


def _hash_texts(data: bytes, lengths: NDArray[np.int64]) -> NDArray[np.uint64]:
    found: NDArray[np.uint64] = hash_spans(_buffer(data), lengths, np.uint64(0), np.empty(len(lengths), np.uint64))
    return found


def _buffer(data: bytes) -> NDArray[np.uint8]:
    return np.frombuffer(data or b"\0", np.uint8)


def _converted(value: Any, type: Type) -> Value | None:
    """A value as its field holds it; None where it has none, or one that the field does not take."""
    if type.kind is Kind.STRING:
        if isinstance(value, str):
            return value
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
    try:
        found = convert(value, type)
    except Refused:
        return None
    return None if isinstance(found, float) else found


def _found(record: Any, item: Field) -> Value | None:
    """A field's value in a parsed body."""
    source = item.source or item.name
    try:
        return _converted(find_path(record, source, tuple(source.split("."))), item.type)
    except Refused:
        return None
