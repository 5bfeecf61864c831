"""The lists, lookup tables and time zone of a project, as programs read them."""

from __future__ import annotations

from parakh.decisions.definition import Definitions
from parakh.expressions.lists import ListIndex, TableIndex
from parakh.expressions.program import References
from parakh.expressions.values import Dictionary
from parakh.expressions.zones import Zone

__all__ = ["list_indexes", "references_of", "table_indexes"]


def references_of(definitions: Definitions, strings: Dictionary) -> References:
    """What the programs of one engine read beside columns; texts are given codes by `strings`."""
    return References(
        strings=strings,
        lists=list_indexes(definitions, strings),
        tables=table_indexes(definitions, strings),
        zone=Zone(definitions.settings.time_zone),
    )


def list_indexes(definitions: Definitions, strings: Dictionary) -> dict[str, ListIndex]:
    """Every list by its name."""
    indexes = {item.name: ListIndex(item.type) for item in definitions.lists}
    for item in definitions.lists:
        indexes[item.name].add([(entry.value, entry.since_us, entry.until_us) for entry in item.entries], strings)
    return indexes


def table_indexes(definitions: Definitions, strings: Dictionary) -> dict[str, TableIndex]:
    """Every lookup table by its name."""
    indexes = {item.name: TableIndex(item.key, dict(item.columns)) for item in definitions.tables}
    for item in definitions.tables:
        indexes[item.name].extend([(row.key, row.values, row.since_us, row.until_us) for row in item.rows], strings)
    return indexes
