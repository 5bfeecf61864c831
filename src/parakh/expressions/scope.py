"""What an expression may read where it stands: columns, lists and lookup tables, by name and type."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from parakh.expressions.types import Type

__all__ = ["Scope", "TableType"]


@dataclass(frozen=True, slots=True)
class TableType:
    """A lookup table's types: its key's and its columns'."""

    key: Type
    columns: Mapping[str, Type]


@dataclass(frozen=True, slots=True)
class Scope:
    """What an expression may read; `unavailable` says of a name why it cannot be read here."""

    columns: Mapping[str, Type]
    lists: Mapping[str, Type] = field(default_factory=dict)
    tables: Mapping[str, TableType] = field(default_factory=dict)
    unavailable: Mapping[str, str] = field(default_factory=dict)
