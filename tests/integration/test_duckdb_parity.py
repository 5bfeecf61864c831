"""The definitions mean in DuckDB what they mean here: RANGE windows of the same SQL texts over the same events.

On streams without late events and tied times, since a SQL engine lets tied rows see each other. Each feature is one
window expression; conditions and arguments go into the query as they were written.
"""

from __future__ import annotations

import os
import secrets
from decimal import Decimal
from random import Random
from typing import Any

import pytest

from oracle.log import Event
from oracle.windows import Near, answers
from parakh.events.definition import EventType
from parakh.expressions.types import Kind
from parakh.features.definition import AggregateKind, Entity, Feature
from parakh.features.reads import Read, key_fields, readable
from properties.strategies import STARTED_US, Scenario, scenario

duckdb = pytest.importorskip("duckdb", reason="DuckDB is an extra: pip install 'parakh[analysis]'")

SQL_TYPES = {
    Kind.BOOLEAN: "BOOLEAN",
    Kind.INTEGER: "BIGINT",
    Kind.NUMBER: "DOUBLE",
    Kind.MONEY: "DECIMAL(18, 2)",
    Kind.TIMESTAMP: "BIGINT",
    Kind.STRING: "VARCHAR",
}
AGGREGATES = {
    AggregateKind.COUNT: "count(x)",
    AggregateKind.DISTINCT: "count(DISTINCT x)",
    AggregateKind.SUM: "sum(x)",
    AggregateKind.AVG: "avg(CAST(x AS DOUBLE))",
    AggregateKind.MIN: "min(x)",
    AggregateKind.MAX: "max(x)",
    AggregateKind.STDDEV: "stddev_samp(CAST(x AS DOUBLE))",
    AggregateKind.FIRST: "arg_min(x, seen)",
    AggregateKind.LAST: "arg_max(x, seen)",
    AggregateKind.SINCE_LAST: "max(seen)",
}
BEFORE_ONLY = (AggregateKind.FIRST, AggregateKind.LAST, AggregateKind.SINCE_LAST)


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    value = int(os.environ.get("PARAKH_SEED", 0)) or secrets.randbelow(2**32)
    print(f"repeat with PARAKH_SEED={value} pytest {request.node.nodeid}")  # noqa: T201
    return value


def test_oracle_equals_duckdb(seed: int) -> None:
    random = Random(seed)
    for _ in range(5):
        case = scenario(random, events=120, in_order=True)
        made = [answer.features for answer in answers(case.definitions, case.log, started_us=STARTED_US)]
        _compare(case, made)


def test_engine_equals_duckdb(seed: int) -> None:
    pytest.importorskip("parakh.decisions.engine")
    from oracle.adapter import run_engine

    random = Random(seed)
    for _ in range(5):
        case = scenario(random, events=400, in_order=True)
        _compare(case, [answer["features"] for answer in run_engine(case.definitions, case.log, 64)])


def _compare(case: Scenario, made: list[dict[str, Any]]) -> None:
    expected = _in_duckdb(case)
    assert len(expected) == len(made) == len(case.log)
    for position, (right, ours) in enumerate(zip(expected, made, strict=True)):
        assert right.keys() == ours.keys()
        for name, value in right.items():
            assert _equal(value, ours[name]), (name, value, ours[name], position, case.log[position], case.definitions)


def _equal(theirs: Any, ours: Any) -> bool:
    if isinstance(ours, Near):
        ours = ours.value
    if theirs is None or ours is None:
        return theirs is ours
    if isinstance(ours, float):
        return abs(float(theirs) - ours) <= 1e-7 * max(1.0, abs(ours))
    return bool(theirs == ours)


def _in_duckdb(case: Scenario) -> list[dict[str, Any]]:
    """The features of each event by name, as DuckDB has them."""
    connection = duckdb.connect()
    connection.execute("SET threads = 1")
    types = {item.name: item for item in case.definitions.events}
    entities = {item.name: item for item in case.definitions.entities}
    for event_type in types.values():
        _load(connection, event_type, case)
    found: list[dict[str, Any]] = [{} for _ in case.log]
    for event_type in types.values():
        for read in readable(case.definitions.entities, event_type):
            query = _query(case, event_type, read, entities[read.feature.entity], types)
            values = dict(connection.execute(query).fetchall())
            for position, entry in enumerate(case.log):
                if isinstance(entry, Event) and entry.type == event_type.name:
                    found[position][read.name] = values.get(position)
    return found


def _load(connection: Any, event_type: EventType, case: Scenario) -> None:
    columns = ", ".join(f"{item.name} {SQL_TYPES[item.type.kind]}" for item in event_type.fields)
    derived = "".join(f", {text} AS {name}" for name, text in event_type.derive)
    connection.execute(f"CREATE TABLE {event_type.name}_fields (position BIGINT, {columns})")
    rows = [
        (position, *(entry.fields[item.name] for item in event_type.fields))
        for position, entry in enumerate(case.log)
        if isinstance(entry, Event) and entry.type == event_type.name
    ]
    if rows:
        marks = ", ".join("?" * len(rows[0]))
        connection.executemany(f"INSERT INTO {event_type.name}_fields VALUES ({marks})", rows)
    connection.execute(f"CREATE VIEW {event_type.name} AS SELECT *{derived} FROM {event_type.name}_fields")


def _query(case: Scenario, reader: EventType, read: Read, entity: Entity, types: dict[str, EventType]) -> str:
    """(position, value) for each event that reads the feature: source rows and reading rows in one window."""
    feature, definition = read.feature, read.feature.definition
    argument = definition.aggregate.argument or "1"
    parts = []
    for name in definition.sources:
        (way,) = key_fields(entity, types[name], definition.by)
        parts.append(
            f"SELECT {_key(way)} AS joined, at_time AS seen, ({argument}) AS x, -1 AS reader FROM {name} "
            f"WHERE ({definition.where or 'true'}) AND {_known(way)}"
        )
    parts.append(
        f"SELECT {_key(read.key)}, at_time, NULL, position FROM {reader.name} WHERE {_known(read.key)}",
    )
    current = definition.include_current and definition.aggregate.kind not in BEFORE_ONLY
    high = max(definition.delay_us, 0 if current else 1)
    first = _first_inside(feature, case.definitions.settings.horizon_us)
    value = (
        f"{AGGREGATES[definition.aggregate.kind]} FILTER (WHERE reader = -1 AND x IS NOT NULL) "
        f"OVER (PARTITION BY joined ORDER BY seen RANGE BETWEEN (seen - ({first})) PRECEDING AND {high} PRECEDING)"
    )
    if definition.aggregate.kind is AggregateKind.SINCE_LAST:
        value = f"(seen - {value}) / 1e6"
    windows = f"SELECT reader, {value} AS value FROM ({' UNION ALL '.join(parts)})"
    return f"SELECT reader, value FROM ({windows}) WHERE reader >= 0"


def _first_inside(feature: Feature, horizon_us: int) -> str:
    """The first instant inside the window, as SQL over the reading time `seen`."""
    definition, window = feature.definition, feature.window
    high = f"(seen - {definition.delay_us})"
    if window is not None and window.calendar is not None:
        unit = window.calendar.value.removeprefix("calendar_")
        return f"epoch_us(date_trunc('{unit}', make_timestamp({high})))"
    length = horizon_us if window is None else window.length_us
    if definition.resolution_us is None:
        return f"{high} - {length} + 1"
    return f"(({high} - {length}) // {definition.resolution_us} + 1) * {definition.resolution_us}"


def _key(way: tuple[str, ...]) -> str:
    return " || '|' || ".join(f"CAST({name} AS VARCHAR)" for name in way)


def _known(way: tuple[str, ...]) -> str:
    return " AND ".join(f"{name} IS NOT NULL" for name in way)


def test_the_comparison_can_fail() -> None:
    """A parity test that compares nothing would pass: here a value is bent, and it must be found."""
    case = scenario(Random(5), events=60, in_order=True)
    made = [dict(answer.features) for answer in answers(case.definitions, case.log, started_us=STARTED_US)]
    position, name = next((i, n) for i, row in enumerate(made) for n, v in row.items() if isinstance(v, int | Decimal))
    made[position][name] = made[position][name] + 1  # type: ignore[operator]
    with pytest.raises(AssertionError):
        _compare(case, made)
