"""An event of a program to the JSON that is sent: exact numbers, UTC times, and no value that JSON does not have.

Decimal becomes its digits, never a float. NaN and infinity are refused with the field's name: JSON would lose them in
silence. Values are walked once before they are encoded, which costs a few microseconds an event.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any, Final, TypeAlias
from uuid import UUID

import msgspec

from parakh.client.errors import NotSent

__all__ = ["Event", "encode_event", "encode_line", "encode_object"]

Event: TypeAlias = "Mapping[str, Any] | msgspec.Struct | bytes | bytearray | memoryview | Any"
"""A mapping, a dataclass, a msgspec Struct, or JSON in bytes, which is sent as it is."""

_DEEPEST: Final = 64
_LARGEST_EXPONENT: Final = 400  # beyond it the digits of a Decimal are a memory bomb, not a sum of money
_LEAVE_OUT: Final = "which JSON does not have; leave the field out or send None (unknown)"
_INT64: Final = range(-(2**63), 2**63)
_encode = msgspec.json.Encoder().encode


def encode_event(event: Event) -> bytes:
    """The bytes of an event; raises NotSent with the field's name.

    >>> encode_event({"id": "p1", "amount": Decimal("10.50"), "at": datetime(2026, 1, 1, 10, tzinfo=UTC)})
    b'{"id":"p1","amount":10.50,"at":"2026-01-01T10:00:00.000000Z"}'
    >>> encode_event({"amount": float("nan")})
    Traceback (most recent call last):
    ...
    parakh.client.errors.NotSent: amount is nan, which JSON does not have; leave the field out or send None (unknown)
    """
    if isinstance(event, bytes | bytearray | memoryview):
        return bytes(event)
    content = _members(event, "", 0)
    if content is None:
        raise NotSent(f"an event is a mapping, a dataclass, a msgspec Struct or JSON bytes, not {_type(event)}")
    for name in content:
        if name.startswith("~"):
            raise NotSent(f"{name}: keys that begin with ~ are reserved", field=name)
    return encode_object(content)


def encode_line(event: Event) -> bytes:
    """The bytes of an event as one line of NDJSON, without the line's end.

    >>> encode_line(b'{"id":\\n "p1"}\\n')
    b'{"id":  "p1"}'
    """
    encoded = encode_event(event).strip()
    if not encoded:
        raise NotSent("an event of no bytes cannot stand in a batch: an empty line is no event")
    # In JSON a line break can stand only between tokens: inside a text it is escaped.
    return encoded.replace(b"\n", b" ").replace(b"\r", b" ") if b"\n" in encoded or b"\r" in encoded else encoded


def encode_object(content: Mapping[str, Any]) -> bytes:
    """The bytes of an object whose values may be anything that an event's may; raises NotSent."""
    walked = {name: _value(value, name, 1) for name, value in content.items()}
    try:
        return _encode(walked)
    except UnicodeEncodeError:
        name = next(name for name, value in walked.items() if not _encodable({name: value}))
        raise NotSent(f"{name} has half of a surrogate pair, which UTF-8 does not have", field=name) from None


def _encodable(value: object) -> bool:
    try:
        _encode(value)
    except UnicodeEncodeError:
        return False
    return True


def _value(value: Any, path: str, depth: int) -> Any:
    """A value as the encoder takes it; `path` names it in messages."""
    kind = type(value)
    if value is None or kind is bool or kind is str:
        return value
    if kind is float:
        return _finite(value, path)
    if isinstance(value, Enum):  # before str and int, which an Enum may be too
        return _value(value.value, path, depth)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int(value) if value in _INT64 else msgspec.Raw(str(int(value)).encode())
    if isinstance(value, Decimal):
        return _decimal(value, path)
    if isinstance(value, datetime):
        return _moment(value, path)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    if hasattr(value, "dtype"):  # before float, which numpy's float64 is too
        return _numpy(value, path, depth)
    if isinstance(value, float):
        return _finite(float(value), path)
    return _structure(value, path, depth)


def _structure(value: Any, path: str, depth: int) -> Any:
    if depth >= _DEEPEST:
        raise NotSent(f"{path[:80]} is nested deeper than {_DEEPEST}", field=path[:80])
    if isinstance(value, list | tuple):
        return [_value(item, f"{path}[{i}]", depth + 1) for i, item in enumerate(value)]
    content = _members(value, path, depth)
    if content is None:
        hint = "; .decode() it" if isinstance(value, bytes | bytearray) else ""
        raise NotSent(f"{path} is {_type(value)}, which JSON does not have{hint}", field=path)
    return {name: _value(item, f"{path}.{name}", depth + 1) for name, item in content.items()}


def _members(value: Any, path: str, depth: int) -> dict[str, Any] | None:
    """The members of what JSON calls an object; None where the value is none."""
    if isinstance(value, Mapping):
        return {_key(name, path): item for name, item in value.items()}
    if isinstance(value, msgspec.Struct):
        config = value.__struct_config__
        members = {config.tag_field: config.tag} if config.tag_field is not None else {}
        for name, sent in zip(value.__struct_fields__, value.__struct_encode_fields__, strict=True):
            item = getattr(value, name)
            if item is not msgspec.UNSET:
                members[sent] = item
        return members
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: getattr(value, item.name) for item in dataclasses.fields(value)}
    return None


def _key(name: Any, path: str) -> str:
    if isinstance(name, Enum):
        name = name.value
    if not isinstance(name, str):
        where = f" of {path}" if path else ""
        raise NotSent(f"a key{where} is {_type(name)}; keys of JSON are texts", field=path)
    return str.__str__(name)


def _finite(value: float, path: str) -> float:
    if not math.isfinite(value):
        raise NotSent(f"{path} is {value}, {_LEAVE_OUT}", field=path)
    return value


def _decimal(value: Decimal, path: str) -> msgspec.Raw:
    if not value.is_finite():
        raise NotSent(f"{path} is {value}, {_LEAVE_OUT}", field=path)
    if abs(value.adjusted()) > _LARGEST_EXPONENT:
        raise NotSent(
            f"{path} is a Decimal of more than {_LARGEST_EXPONENT} digits before or after its point", field=path
        )
    return msgspec.Raw(format(value, "f").encode())


def _moment(value: datetime, path: str) -> str:
    """A time in UTC to the microsecond; one without a zone is in UTC, as in a project's files."""
    if value != value:  # pandas' NaT
        raise NotSent(f"{path} is not a time (NaT); leave the field out or send None (unknown)", field=path)
    if value.tzinfo is not None:
        try:
            value = value.astimezone(UTC)
        except OverflowError:
            raise NotSent(f"{path} is {value}, which is out of range in UTC", field=path) from None
    return value.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def _numpy(value: Any, path: str, depth: int) -> Any:
    """A scalar of numpy by what it holds, without importing numpy; an array with one element is no scalar."""
    if getattr(value, "shape", None) != ():
        raise NotSent(f"{path} is {_type(value)}; fields hold one value, so send .tolist() or one element", field=path)
    kind = value.dtype.kind
    if kind == "M":
        moment = value.astype("datetime64[us]").item()
        if not isinstance(moment, datetime):
            raise NotSent(f"{path} is {value}, which is no time between the years 1 and 9999", field=path)
        return _moment(moment, path)
    if kind == "f":
        finite = _finite(float(value), path)
        # A float32 says 0.1 in its own digits; widened it would say 0.10000000149011612.
        return msgspec.Raw(str(value).encode()) if value.dtype.itemsize < 8 else finite
    if kind in "biuU":
        return _value(value.item(), path, depth)
    raise NotSent(f"{path} is {_type(value)} of numpy type {value.dtype}, which JSON does not have", field=path)


def _type(value: object) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
