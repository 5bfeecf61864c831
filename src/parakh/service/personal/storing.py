"""From the body that came in to the body that is stored: personal fields treated, nothing kept that is not declared.

The stored body is one JSON object with the declared fields under their source's text, in their order, as
`parakh.decisions.stored` defines them; every number keeps its text. Keys that the project does not declare are left
out: what nobody reads is not kept. Declared texts that are not treated lose the card numbers in them.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from typing import Any

import msgspec

from parakh.decisions.definition import Definitions
from parakh.decisions.label_keys import key_parts
from parakh.decisions.stored import ROW_KEY, sealed
from parakh.errors import ParakhError
from parakh.events.convert import convert, find_path, parse_json
from parakh.events.definition import ROW_ID, EventType
from parakh.events.reasons import Reason, Refused
from parakh.expressions.types import STRING, Kind, Type
from parakh.features.definition import Entity
from parakh.features.reads import key_fields
from parakh.service.personal.cards import has_card_number, mask_card_numbers, may_hold_card_number
from parakh.service.personal.plain import Joined, PlainBodies
from parakh.service.personal.sealing import Sealing
from parakh.service.personal.tokens import is_token

__all__ = ["ReservedKey", "Storing", "extended", "masked"]

_SHOWN, _LEAST_SHOWN = 4, 8
_NULL, _NOTHING, _QUOTE = b"null", b"[]", 34
_NOT_UTF8, _NOT_JSON, _NOT_AN_OBJECT = b"\xff", b"{", b"[]"
_ABSENT = msgspec.Raw(b"")
_LABEL_KEYS = ("event_type", "event_id", "entity", "key", "label", "value", "known_at", "source")

_IN_PLACE = {
    Reason.WRONG_TYPE: _NOTHING,
    Reason.NOT_FINITE: b"NaN",
    Reason.OUT_OF_RANGE: b"1e30",
    Reason.BAD_UTF8: b'"\\ud800"',
}
"""What stands for a personal value that its field does not take: refused for the same reason, and says nothing."""

_by_key = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_text_of = msgspec.json.Decoder(str).decode
_encode = msgspec.json.Encoder().encode


class ReservedKey(ParakhError):
    """An event from outside has a key that begins with ~; only the service writes those."""

    def __init__(self, key: str) -> None:
        self.key = key
        super().__init__("keys that begin with ~ are the service's own")


@dataclass(frozen=True, slots=True)
class _Column:
    """One place of an event's JSON that is read: how it is treated, and what is to be looked at in it."""

    source: str
    path: tuple[str, ...]
    lead: bytes  # the key as JSON, with its colon
    kind: str | None
    type: Type
    is_id: bool
    is_key: bool  # of an entity

    @property
    def looked_at(self) -> bool:
        """Whether card numbers are looked for: in amounts, and in texts that are not treated already and are no id."""
        return self.kind is None and not self.is_id and self.type.kind in (Kind.STRING, Kind.MONEY)


@dataclass(frozen=True, slots=True)
class _Shape:
    """What is stored of an event type. `decoder` reads its columns at once where none is nested."""

    event: EventType
    columns: tuple[_Column, ...]
    decoder: Callable[[bytes], Any] | None
    plain: PlainBodies | None  # where each value stands for itself
    treated: tuple[tuple[str, _Column], ...]  # with the names of `decoder`'s slots, as the next
    texts: tuple[str, ...]
    sealing: Sealing | None = field(default=None)


class Storing:
    """Makes stored bodies of the events of a project. For one thread at a time.

    `tokenise` gives the token of a text (`Tokens.of`); the definitions are the project's own. `new_id` makes the id of
    an event of a type that has none: each body is another event there.

    >>> from parakh.events.definition import Field
    >>> from parakh.decisions.definition import Settings
    >>> from parakh.expressions.types import TIMESTAMP, money
    >>> payment = EventType(name="payment", id="id", time="at", fields=(
    ...     Field(name="id", type=STRING), Field(name="at", type=TIMESTAMP),
    ...     Field(name="card", type=STRING, personal="mask"), Field(name="amount", type=money("INR"))))
    >>> storing = Storing(Definitions(settings=Settings(name="shop"), events=(payment,)), str.upper)
    >>> body = b'{"id":"p1","amount":5.10,"at":"2026-01-01","card":"4111111111111111","cvv":"123"}'
    >>> storing.store("payment", body).decode()
    '{"id":"p1","at":"2026-01-01","card":"••••••••••••1111","amount":5.10}'
    """

    def __init__(
        self,
        definitions: Definitions,
        tokenise: Callable[[str], str],
        *,
        new_id: Callable[[], str] = lambda: secrets.token_hex(16),
    ) -> None:
        self._tokenise = tokenise
        self._new_id = new_id
        self._entities = {item.name: item for item in definitions.entities}
        self._events = {item.name: item for item in definitions.events}
        self._shapes = {item.name: self._shape(definitions, item) for item in definitions.events}
        self._token_keys = {
            entity.name: any(event.field(name).personal == "token" for event, name in _single_keys(entity, definitions))
            for entity in definitions.entities
        }

    def plain(self, event_type: str, body: bytes) -> bytes | None:
        """The stored body of an event that needs no care, see `parakh.service.personal.plain`; None where it does."""
        bodies = self._shapes[event_type].plain
        return None if bodies is None else bodies.stored(body)

    def plain_lines(self, event_type: str, lines: bytes, count: int) -> Joined | Sequence[bytes | None]:
        """The same of so many, each with a line break after it and none in it."""
        bodies = self._shapes[event_type].plain
        return [None] * count if bodies is None else bodies.stored_lines(lines, count)

    def store(self, event_type: str, body: bytes) -> bytes:
        """The stored body of an event.

        A body that the engine would refuse gives one that it refuses for the same reason and that holds nothing
        personal. Raises ReservedKey where a key of it begins with ~.
        """
        shape = self._shapes[event_type]
        stored = self._identified(shape, self._stored(shape, body))
        return stored if shape.sealing is None else extended(stored, shape.sealing.members([body])[0])

    def store_all(self, event_type: str, bodies: Sequence[bytes]) -> list[bytes]:
        """The stored bodies of many events: `store` of each, but what is derived is computed for all at once."""
        shape = self._shapes[event_type]
        stored = [self._identified(shape, self._stored(shape, body)) for body in bodies]
        if shape.sealing is None:
            return stored
        return [extended(body, member) for body, member in zip(stored, shape.sealing.members(bodies))]

    def event_id(self, event_type: str, identity: str) -> str:
        """An event's id as it is stored: a token where the id is personal, and what is one already stays one."""
        event = self._events[event_type]
        personal = identity and any(item.name == event.id and item.personal == "token" for item in event.fields)
        return self._tokenise(identity) if personal and not is_token(identity) else identity

    def key(self, entity: str, key: str) -> str:
        """An entity's key as it is stored: a token where the key is personal or is a card number."""
        if is_token(key):
            return key
        return self._tokenise(key) if self._token_keys.get(entity) or has_card_number(key) else key

    def _joined_key(self, entity: str, key: str) -> str:
        """A key in a label as it is stored: of a joined one, written as a JSON array, each part as its own entity's."""
        found = self._entities.get(entity)
        parts = None if found is None or len(found.parts) == 1 else key_parts(key, len(found.parts))
        if found is None or parts is None:
            return self.key(entity, key)
        return _encode([self.key(name, part) for name, part in zip(found.parts, parts)]).decode()

    def label(self, body: bytes) -> bytes:
        """The stored form of one label ({event_type, event_id or entity and key, ...}): it names events as stored.

        What is no label is given back as a body that is refused for the same reason.
        """
        try:
            value, constants = parse_json(body)
        except Refused as refused:
            return _NOT_UTF8 if refused.reason is Reason.BAD_UTF8 else _NOT_JSON
        if not isinstance(value, dict):
            return _NOT_JSON if constants else _NOT_AN_OBJECT
        held = {key: value[key] for key in _LABEL_KEYS if key in value}
        identity, key = (_as_text(held.get(name)) for name in ("event_id", "key"))
        event_type, entity = held.get("event_type"), held.get("entity")
        if identity is not None and isinstance(event_type, str) and event_type in self._events:
            held["event_id"] = self.event_id(event_type, identity)
        if key is not None and isinstance(entity, str):
            held["key"] = self._joined_key(entity, key)
        if isinstance(held.get("value"), str):
            held["value"] = mask_card_numbers(held["value"])
        parts = [_encode(name) + b":" + _json(item) for name, item in held.items()]
        return b"{" + b",".join([*parts, *([b'"~":NaN'] if constants else [])]) + b"}"

    def _identified(self, shape: _Shape, stored: bytes) -> bytes:
        """A stored body with the id that its event has none of."""
        if shape.event.id != ROW_ID:
            return stored
        return extended(stored, b'"%s":"%s"' % (ROW_KEY.encode(), self._new_id().encode()))

    # -- one body -----------------------------------------------------------------------------------------------------

    def _stored(self, shape: _Shape, body: bytes) -> bytes:
        if shape.decoder is None or b"\\" in body or b'"~' in body:
            return self._by_columns(shape, body)
        try:
            if not body.isascii():
                body.decode()
            event = shape.decoder(body)
        except (UnicodeDecodeError, msgspec.MsgspecError, RecursionError):
            return self._slowly(shape, body)
        try:
            for name, column in shape.treated:
                raw = getattr(event, name)
                if raw is not _ABSENT:
                    value = self._treated(column, bytes(raw))
                    setattr(event, name, _ABSENT if value is None else msgspec.Raw(value))
        except Refused as refused:
            return _refusing(shape, refused.reason)
        stored = _encode(event)
        # Many digits are often an id or a time. Only where one of the texts has them, all is done again with care.
        if may_hold_card_number(stored) and _has_suspect(shape, event, stored):
            return self._by_columns(shape, body)
        return stored

    def _by_columns(self, shape: _Shape, body: bytes) -> bytes:
        """The stored body, looked for key by key: of what is nested, has escapes or may hold a card number."""
        try:
            body.decode()
            values = _by_key(body)
        except (UnicodeDecodeError, msgspec.MsgspecError, RecursionError):
            return self._slowly(shape, body)
        _expect_no_reserved(values)
        try:
            found = ((column, _nested(values, column)) for column in shape.columns)
            return self._joined((column, value) for column, value in found if value is not None)
        except Refused as refused:
            return _refusing(shape, refused.reason)

    def _slowly(self, shape: _Shape, body: bytes) -> bytes:
        """The same for what msgspec does not read: Python's JSON takes NaN and halves of surrogate pairs."""
        try:
            record, constants = parse_json(body)
        except Refused as refused:
            return _NOT_UTF8 if refused.reason is Reason.BAD_UTF8 else _NOT_JSON
        if not isinstance(record, dict):
            return _NOT_JSON if constants else _NOT_AN_OBJECT
        _expect_no_reserved(record)
        found = [(column, _looked_up(record, column)) for column in shape.columns]
        try:
            stored = self._joined((column, value) for column, value in found if value is not None)
        except Refused as refused:
            return _refusing(shape, refused.reason)
        return extended(stored, b'"~":NaN') if constants else stored

    def _joined(self, values: Iterable[tuple[_Column, bytes]]) -> bytes:
        parts = []
        for column, value in values:
            treated = self._treated(column, value) if column.kind is not None else self._looked_at(column, value)
            if treated is not None:
                parts.append(column.lead + treated)
        return b"{" + b",".join(parts) + b"}"

    # -- one value ----------------------------------------------------------------------------------------------------

    def _treated(self, column: _Column, value: bytes) -> bytes | None:
        """A personal value as it is stored; None where nothing of it is. Raises Refused for a dropped one."""
        if column.kind == "drop":
            if value[0] != _QUOTE or b"\\" in value or column.type.kind is not Kind.STRING:
                convert(_value(value), column.type)
            return None
        if value[0] == _QUOTE and b"\\" not in value:
            text = value[1:-1].decode()
        else:
            try:
                given = convert(_value(value), STRING)
            except Refused as refused:
                return _IN_PLACE.get(refused.reason, _NOTHING)
            if given is None:
                return _NULL
            text = str(given)
        if column.is_id and not text:
            return b'""'
        return _encode(self._tokenise(text) if column.kind == "token" else masked(text))

    def _looked_at(self, column: _Column, value: bytes) -> bytes:
        """A value that is not personal, without the card numbers in it. Raises Refused for one given as an amount."""
        if value[0] in b"[{":
            return _NOTHING  # no field takes it
        if not column.looked_at or not (may_hold_card_number(value) or b"\\" in value):
            return value
        if column.type.kind is Kind.MONEY:
            if has_card_number(str(_value(value))):
                raise Refused(Reason.OUT_OF_RANGE)
            return value
        try:
            text = convert(_value(value), STRING)
        except Refused:
            return value
        if not isinstance(text, str) or (changed := self._without_cards(text, column.is_key)) is text:
            return value
        return _encode(changed)

    def _without_cards(self, text: str, is_key: bool) -> str:
        """A text without card numbers. A key with one becomes a token: masked, two cards would be one key."""
        hidden = mask_card_numbers(text)
        return self._tokenise(text) if is_key and hidden is not text else hidden

    def _derived(self, text: str, kind: str | None) -> str:
        if kind == "token":
            return self._tokenise(text)
        return masked(text) if kind == "mask" else mask_card_numbers(text)

    # -- shapes -------------------------------------------------------------------------------------------------------

    def _shape(self, definitions: Definitions, event: EventType) -> _Shape:
        columns = _columns(event, _key_names(event, self._entities))
        names = {column.source: f"at_{number}" for number, column in enumerate(columns)}
        nested = any(len(column.path) > 1 for column in columns)
        is_sealed = sealed(definitions, event.name)
        plain = PlainBodies(
            (column.source.encode(), column.looked_at, None if column.kind is None else partial(self._treated, column))
            for column in columns
        )
        return _Shape(
            event=event,
            columns=columns,
            decoder=None if nested else _decoder(names),
            plain=None if nested or is_sealed or event.id == ROW_ID else plain,
            treated=tuple((names[column.source], column) for column in columns if column.kind is not None),
            texts=tuple(names[column.source] for column in columns if column.looked_at),
            sealing=Sealing(definitions, event.name, self._derived) if is_sealed else None,
        )


def masked(text: str) -> str:
    """A text of which the last four characters are left, none of a text shorter than eight.

    >>> masked("asha.rao@example.com"), masked("560001")
    ('••••••••••••••••.com', '••••••')
    """
    shown = _SHOWN if len(text) >= _LEAST_SHOWN else 0
    return "•" * (len(text) - shown) + text[len(text) - shown :]


def extended(body: bytes, member: bytes) -> bytes:
    """An object in JSON with one member more at its end; as it is where there is none, or it is no object.

    >>> extended(b'{"id":"p1"}', b'"~degraded":true'), extended(b"{}", b'"a":1'), extended(b"[]", b'"a":1')
    (b'{"id":"p1","~degraded":true}', b'{"a":1}', b'[]')
    """
    end = body.rstrip(b" \t\r\n")
    if not member or end[-1:] != b"}":
        return body
    rest = end[:-1].rstrip(b" \t\r\n")
    return rest + (b"" if rest[-1:] == b"{" else b",") + member + b"}"


def _columns(event: EventType, keys: frozenset[str]) -> tuple[_Column, ...]:
    """The places that an event type is read from, in the order of its fields; several fields may read one."""
    found: dict[str, _Column] = {}
    for item in event.fields:
        source = item.source or item.name
        before = found.get(source)
        text = item.type.kind is Kind.STRING or before is None
        found[source] = _column(
            source,
            kind=item.personal,
            type=item.type if text else before.type if before is not None else item.type,
            is_id=item.name == event.id or (before is not None and before.is_id),
            is_key=item.name in keys or (before is not None and before.is_key),
        )
    for label in event.labels:
        if label.source is not None and label.source not in found:
            found[label.source] = _column(label.source, kind=None, type=label.type, is_id=False, is_key=False)
    return tuple(found.values())


def _column(source: str, *, kind: str | None, type: Type, is_id: bool, is_key: bool) -> _Column:
    return _Column(source, tuple(source.split(".")), _encode(source) + b":", kind, type, is_id, is_key)


def _decoder(names: Mapping[str, str]) -> Callable[[bytes], Any]:
    """Reads an object into one of slots, which keep the text of each value."""
    event = msgspec.defstruct(
        "Event",
        [(name, msgspec.Raw, _ABSENT) for name in names.values()],
        rename={name: source for source, name in names.items()},
        omit_defaults=True,
        gc=False,
    )
    return msgspec.json.Decoder(event).decode


def _key_names(event: EventType, entities: Mapping[str, Entity]) -> frozenset[str]:
    """The fields that are the key of an entity, or a part of one."""
    names = {item.name for item in event.fields if item.entity is not None}
    for entity in entities.values():
        by = {item.by for item in entity.features if event.name in item.sources}
        names.update(name for fields in {None, *by} for role in key_fields(entity, event, fields) for name in role)
    return frozenset(names)


def _single_keys(entity: Entity, definitions: Definitions) -> list[tuple[EventType, str]]:
    """The fields that carry the key of an entity whose key is one field."""
    roles = ((event, role) for event in definitions.events for role in key_fields(entity, event))
    return [(event, role[0]) for event, role in roles if len(role) == 1]


def _nested(values: Mapping[str, msgspec.Raw], column: _Column) -> bytes | None:
    """The text of the value at a column's place, found as `find_path` finds it."""
    raw = values.get(column.source)
    if raw is not None:
        return bytes(raw)
    if len(column.path) == 1:
        return None
    for number, part in enumerate(column.path):
        raw = values.get(part)
        value = _NULL if raw is None else bytes(raw)
        if value == _NULL or number == len(column.path) - 1:
            return None if raw is None else value
        if value[:1] != b"{":
            return _NOTHING
        values = _by_key(value)
    return None


def _looked_up(record: Mapping[str, Any], column: _Column) -> bytes | None:
    try:
        value = find_path(record, column.source, column.path)
    except Refused:
        return _NOTHING
    return None if value is None else _json(value)


def _json(value: object) -> bytes:
    """A value of `parse_json` as JSON; of an object or a list only that it is one."""
    if isinstance(value, dict | list):
        return _NOTHING
    if isinstance(value, Decimal):
        return str(value).encode()
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value).encode()
    return json.dumps(value).encode()


def _value(text: bytes) -> object:
    """The value that a JSON text says, as `convert` takes it."""
    return _text_of(text) if text[0] == _QUOTE and b"\\u" not in text else parse_json(text).value


def _as_text(value: object) -> str | None:
    """A label's id or key as text; None where it is none, and the label is refused."""
    try:
        text = convert(value, STRING)
    except Refused:
        return None
    return text if isinstance(text, str) else None


def _has_suspect(shape: _Shape, event: object, stored: bytes) -> bool:
    """Whether a card number may stand in a text of an event that is not treated, or in what no field takes."""
    if b":{" in stored or b":[" in stored:
        return True
    return any(may_hold_card_number(bytes(getattr(event, name))) for name in shape.texts)


def _expect_no_reserved(keys: Iterable[str]) -> None:
    for key in keys:
        if key.startswith("~"):
            raise ReservedKey(key)


def _refusing(shape: _Shape, reason: Reason) -> bytes:
    """A body that the engine refuses for a reason found in a field that is dropped, of which it can see nothing."""
    if reason is Reason.BAD_UTF8:
        return _NOT_UTF8
    time = shape.event.field(shape.event.time)
    return b"{" + _encode(time.source or time.name) + b":" + _IN_PLACE.get(reason, _NOTHING) + b"}"
