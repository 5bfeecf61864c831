"""The hash of a project: what its definitions say, whatever files, comments and formatting say it.

Definitions count in the project's order (files by path, then as they stand in a file), since that order fixes the
vector of features in a record; a model counts with its bytes and without its file's name.
"""

from __future__ import annotations

import enum
import hashlib
from dataclasses import MISSING, fields, is_dataclass, replace
from functools import cache
from typing import Any, TypeVar

from parakh.decisions.definition import Definitions, Policy
from parakh.errors import SourceText
from parakh.models.definition import Model
from parakh.rules.definition import Rule

__all__ = ["Memo", "finish", "plain"]

_T = TypeVar("_T")

_LEFT_OUT: dict[type, tuple[str, ...]] = {Model: ("file",)}

_SAID_ONLY: dict[type, tuple[str, ...]] = {Rule: ("holdout",), Policy: ("holdout",)}
"""Keys that came after projects had been hashed: where one is not used, the hash is what it was before."""

Memo = dict[int, tuple[Any, Any, bytes]]
"""What was made of a definition before: its identity -> itself (so that the identity stays its own), plain, digest."""


def finish(definitions: Definitions, before: Memo | None = None) -> tuple[Definitions, str, Memo]:
    """The definitions with plain texts, their hash, and a memo with which a next time costs less.

    The hash is SHA-256, as 64 hexadecimal digits.
    """
    after: Memo = {}
    made: dict[str, Any] = {}
    digest = _new_hash()
    for item in fields(definitions):
        part = getattr(definitions, item.name)
        parts = part if isinstance(part, tuple) else (part,)
        finished = []
        digest.update(f"{item.name}\n".encode())
        for definition in parts:
            held = (before or {}).get(id(definition))
            if held is None or held[0] is not definition:
                whole = plain(definition)
                held = (definition, whole, _digest_of(whole))
            after[id(definition)] = held
            finished.append(held[1])
            digest.update(held[2])
        made[item.name] = tuple(finished) if isinstance(part, tuple) else finished[0]
    return Definitions(**made), digest.hexdigest(), after


def _new_hash() -> hashlib._Hash:
    return hashlib.sha256(b"parakh 1\n")


def _digest_of(definition: Any) -> bytes:
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
        for name, unsaid in _names(type(value)):
            said = getattr(value, name)
            if said == unsaid:
                continue
            parts.append(f"{name}=")
            _write(said, parts)
        parts.append(")")
    else:
        raise AssertionError(f"no canonical form of {type(value)}")


@cache
def _names(kind: type) -> tuple[tuple[str, Any], ...]:
    """The fields that a value is made of, each with the value that it says nothing by (MISSING: none)."""
    left_out, said_only = _LEFT_OUT.get(kind, ()), _SAID_ONLY.get(kind, ())
    return tuple(
        (item.name, item.default if item.name in said_only else MISSING)
        for item in fields(kind)
        if item.init and item.name not in left_out
    )


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
