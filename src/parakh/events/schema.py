"""An event type compiled for the decoding kernels: flat tables of its fields, of its JSON paths and of their keys."""

from __future__ import annotations

import itertools
from collections.abc import Set
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from parakh.events.definition import ROW_ID, EventType
from parakh.expressions.columns import Layout
from parakh.expressions.strings import hash_bytes
from parakh.expressions.types import Kind, Type

__all__ = [
    "ATTACHED", "DIGITS", "INTERNED", "KIND", "KIND_NUMBERS", "NEXT", "ROLE", "ROLE_ATTACHED", "ROLE_ID", "ROLE_LABEL",
    "ROLE_TIME", "SALT", "SLOT", "Schema", "SchemaField", "id_salt", "lay_out",
]  # fmt: skip

# Columns of `Schema.fields`: one row a field, then one a label.
KIND, DIGITS, SLOT, ROLE, INTERNED, NEXT, SALT = range(7)
ROLE_PLAIN, ROLE_ID, ROLE_TIME, ROLE_LABEL, ROLE_ATTACHED = range(5)
ATTACHED = "~"
"""What the names of those members of a stored event begin with that its sender did not write: they are not part of its
body's digest."""
KIND_NUMBERS = {kind: number for number, kind in enumerate(Kind)}


@dataclass(frozen=True, slots=True)
class SchemaField:
    """A field or label column as decoding sees it: `slot` is its row in the frame (in the label words for a label)."""

    name: str
    type: Type
    source: str
    path: tuple[str, ...]
    slot: int
    role: int
    interned: bool
    salt: int


@dataclass(frozen=True, slots=True)
class Schema:
    """The tables. A node is one place in the source's JSON: 0 is the event, others are reached by a key.

    fields: int64[fields, 7], see the column numbers above; NEXT chains fields that read the same node.
    nodes: int64[nodes, 3]: first child, number of children, first field (or -1).
    children: int64[children, 4]: the key's first 8 bytes as a word, its length, its start in `keys`, the child's node.
    """

    items: tuple[SchemaField, ...]
    labels: int
    has_id: bool
    fields: npt.NDArray[np.int64]
    nodes: npt.NDArray[np.int64]
    children: npt.NDArray[np.int64]
    keys: npt.NDArray[np.uint8]

    @classmethod
    def compile(cls, event_type: EventType, layout: Layout) -> Schema:
        """The tables of an event type whose wanted fields stand in `layout`."""
        items: list[SchemaField] = []
        for item in event_type.fields:
            role = ROLE_PLAIN
            if item.name == event_type.id:
                role = ROLE_ID
            elif item.name == event_type.time:
                role = ROLE_TIME
            elif (item.source or "").startswith(ATTACHED):
                role = ROLE_ATTACHED
            slot = layout[item.name].slot if item.name in layout else -1
            interned = slot >= 0 and item.type.kind is Kind.STRING
            items.append(_schema_field(item.name, item.type, item.source or item.name, slot, role, interned))
        labels = 0
        for label in event_type.labels:
            if label.source is not None:
                interned = label.type.kind is Kind.STRING
                items.append(_schema_field(label.name, label.type, label.source, labels, ROLE_LABEL, interned))
                labels += 1
        return cls(tuple(items), labels, event_type.id != ROW_ID, *_tables(items))


def lay_out(event_type: EventType, layout: Layout, wanted: Set[str] | None = None) -> None:
    """Give a slot to each field that later stages read (all of them where `wanted` is None) and to the time."""
    for item in event_type.fields:
        if (wanted is None or item.name in wanted or item.name == event_type.time) and item.name not in layout:
            layout.add(item.name, item.type)


def id_salt(event_type: str) -> np.uint64:
    """What tells ids of one event type from those of another."""
    return np.uint64(_hash(f"id of {event_type}"))


def _schema_field(name: str, type: Type, source: str, slot: int, role: int, interned: bool) -> SchemaField:
    return SchemaField(name, type, source, tuple(source.split(".")), slot, role, interned, _hash(f"field {name}"))


def _hash(text: str) -> int:
    encoded = np.frombuffer(text.encode(), np.uint8).copy()
    return int(hash_bytes(encoded, 0, encoded.shape[0], np.uint64(0))[0])


def _tables(items: list[SchemaField]) -> tuple[npt.NDArray[Any], ...]:
    fields = np.zeros((len(items), 7), np.int64)
    tree: list[dict[str, int]] = [{}]
    first_field = [-1]
    for number, item in enumerate(items):
        salt = int(np.uint64(item.salt).astype(np.int64))
        kind = KIND_NUMBERS[item.type.kind]
        fields[number] = kind, item.type.digits, item.slot, item.role, int(item.interned), -1, salt
        for path in dict.fromkeys(((item.source,), item.path)):
            node = 0
            for key in path:
                if key not in tree[node]:
                    tree[node][key] = len(tree)
                    tree.append({})
                    first_field.append(-1)
                node = tree[node][key]
            if first_field[node] < 0:
                first_field[node] = number
    _chain(items, fields)
    nodes = np.zeros((len(tree), 3), np.int64)
    children: list[tuple[int, int, int, int]] = []
    keys = bytearray()
    for node, branches in enumerate(tree):
        nodes[node] = len(children), len(branches), first_field[node]
        for key, child in branches.items():
            encoded = key.encode()
            head = int.from_bytes(encoded[:8].ljust(8, b"\0"), "little")
            children.append((head - (1 << 64) if head >> 63 else head, len(encoded), len(keys), child))
            keys += encoded
    table = np.array(children, np.int64).reshape(len(children), 4)
    return fields, nodes, table, np.frombuffer(bytes(keys) + bytes(8), np.uint8).copy()


def _chain(items: list[SchemaField], fields: npt.NDArray[np.int64]) -> None:
    """Chain the fields of one source; only they share nodes, and they share all of them."""
    by_source: dict[str, list[int]] = {}
    for number, item in enumerate(items):
        by_source.setdefault(item.source, []).append(number)
    for numbers in by_source.values():
        for here, following in itertools.pairwise(numbers):
            fields[here, NEXT] = following
