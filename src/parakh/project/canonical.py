"""The hash of a project: what its definitions say, whatever files, comments and formatting say it.

Definitions count in the project's order (files by path, then as they stand in a file), since that order fixes the
vector of features in a record; a model counts with its bytes and without its file's name.
"""

from __future__ import annotations

import enum
import hashlib
from dataclasses import fields, is_dataclass, replace
from functools import cache
from typing import Any, TypeVar

from parakh.decisions.definition import Definitions
from parakh.errors import SourceText
from parakh.models.definition import Model

__all__ = ["definition_digest", "hash_of", "plain"]

_T = TypeVar("_T")

_LEFT_OUT: dict[type, tuple[str, ...]] = {Model: ("file",)}


def hash_of(definitions: Definitions) -> str:
    """SHA-256 over all definitions, as 64 hexadecimal digits."""
    digest = hashlib.sha256(b"parakh 1\n")
    for item in fields(definitions):
        part = getattr(definitions, item.name)
        digest.update(f"{item.name}\n".encode())
        for definition in part if isinstance(part, tuple) else (part,):
            digest.update(definition_digest(definition))
    return digest.hexdigest()


def definition_digest(definition: Any) -> bytes:
    """SHA-256 over one definition."""
    parts = list[str]()
    _write(definition, parts)
    return hashlib.sha256("".join(parts).encode()).digest()


def _write(value: Any, parts: list[str]) -> None:
    """An unambiguous text of a value: every text has its length, every sequence its number of items."""
    if value is None or isinstance(value, bool):
        parts.append(f"{value};")
    elif isinstance(value, enum.Enum):
        parts.append(f"e{value.name};")
    elif isinstance(value, str):
        parts.append(f"s{len(value)}:{value};")
    elif isinstance(value, int):
        parts.append(f"i{value};")
    elif isinstance(value, float):
        parts.append(f"f{value!r};")
    elif isinstance(value, bytes):
        parts.append(f"b{hashlib.sha256(value).hexdigest()};")
    elif isinstance(value, tuple):
        parts.append(f"t{len(value)}(")
        for item in value:
            _write(item, parts)
        parts.append(")")
    elif is_dataclass(value) and not isinstance(value, type):
        parts.append(f"d{type(value).__name__}(")
        for name in _names(type(value)):
            parts.append(f"{name}=")
            _write(getattr(value, name), parts)
        parts.append(")")
    else:
        raise AssertionError(f"no canonical form of {type(value)}")


@cache
def _names(kind: type) -> tuple[str, ...]:
    """The fields that a value is made of."""
    left_out = _LEFT_OUT.get(kind, ())
    return tuple(item.name for item in fields(kind) if item.init and item.name not in left_out)


@cache
def _all_names(kind: type) -> tuple[str, ...]:
    return tuple(item.name for item in fields(kind) if item.init)


def plain(value: _T) -> _T:
    """The same definition with its texts as plain `str`: places are for messages, not for records and wires."""
    result: _T = _plain(value)
    return result


def _plain(value: Any) -> Any:
    if isinstance(value, SourceText):
        return str(value)
    if isinstance(value, tuple):
        items = [_plain(item) for item in value]
        return value if all(new is old for new, old in zip(items, value)) else tuple(items)
    if is_dataclass(value) and not isinstance(value, type):
        changed = {}
        for name in _all_names(type(value)):
            old = getattr(value, name)
            if isinstance(old, str | tuple) or is_dataclass(old):
                new = _plain(old)
                if new is not old:
                    changed[name] = new
        return replace(value, **changed) if changed else value
    return value
