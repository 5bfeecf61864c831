"""An entity's features without an event: what an event that counts nowhere would read, and nothing is changed."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import numpy as np
import pytest

from oracle.adapter import _batch
from oracle.log import Event
from parakh.decisions.definition import Definitions, Policy
from parakh.decisions.engine import Engine
from parakh.decisions.peek import peek
from parakh.decisions.samples import sample_events, sample_project
from parakh.errors import InputError, StateLimitError
from parakh.events.definition import EventType, Field
from parakh.expressions.types import STRING, TIMESTAMP, Kind
from parakh.features.definition import Entity
from parakh.features.reads import key_fields
from properties.strategies import STARTED_US, scenario

ROUNDS = int(os.environ.get("PARAKH_ROUNDS", "25"))
MINUTE = 60_000_000


@dataclass(frozen=True)
class Project:
    definitions: Definitions
    hash: str = "0"


def with_glance(definitions: Definitions) -> Definitions:
    """The definitions with an event type more that feeds no feature and carries every entity."""
    own = (Field(name="glance_id", type=STRING), Field(name="glance_at", type=TIMESTAMP))
    parts: dict[str, Field] = {}
    for entity in definitions.entities:
        event, way = way_to_read(definitions, entity)
        for part, name in zip(entity.parts, way):
            parts[part] = Field(name=part, type=event.field(name).type, entity=part)
    glance = EventType(name="glance", id="glance_id", time="glance_at", fields=(*own, *parts.values()))
    events = (*definitions.events, glance)
    return replace(definitions, events=events, policies=tuple(Policy(event_type=item.name) for item in events))


def way_to_read(definitions: Definitions, entity: Entity) -> tuple[EventType, tuple[str, ...]]:
    return next((event, ways[0]) for event in definitions.events if (ways := key_fields(entity, event)))


def everything(engine: Engine) -> dict[str, bytes]:
    """All that a later answer may depend on."""
    state = {name: array.tobytes() for name, array in engine.state.arrays().items()}
    strings = {f"strings.{name}": array.tobytes() for name, array in engine.strings.arrays().items()}
    return {**state, **strings, "counts": repr(engine.counts).encode(), "ids": str(len(engine.ids)).encode()}


def text(value: object) -> str:
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else str(value)


def same(left: Any, right: Any) -> bool:
    return type(left) is type(right) and (left == right or (left != left and right != right))


def check(seed: int, resolution: float) -> int:
    """Takes a random log in batches and looks at random keys in between; returns how many values were compared."""
    random = Random(seed)
    case = scenario(random, events=random.choice((20, 120)), resolution=resolution)
    engine = Engine(Project(with_glance(case.definitions)), batch_size=16, started_us=STARTED_US)
    entities = [entity for entity in case.definitions.entities if entity.features]
    events = [entry for entry in case.log if isinstance(entry, Event)]
    compared = 0
    position = number = 0
    while position < len(case.log) and entities:
        size = random.randint(1, 8)
        engine.take(_batch(engine, case.log[position : position + size]))
        position += size
        if random.random() < 0.3:
            engine.state.sweep_all()
        entity = random.choice(entities)
        event_type, way = way_to_read(case.definitions, entity)
        key: tuple[Any, ...] = tuple(7 if event_type.field(name).type.kind is Kind.INTEGER else "new" for name in way)
        carrying = [event for event in events if event.type == event_type.name]
        if carrying and random.random() < 0.9:
            fields = random.choice(carrying).fields
            key = tuple(fields[name] for name in way)
        if None in key:
            continue
        clock = engine.state.clock_us if engine.state.clock_us > 0 else STARTED_US - 10**14
        now = clock + random.choice((-MINUTE, 0, 1, MINUTE, 60 * MINUTE, 40 * 1440 * MINUTE))
        if max(clock, now) > STARTED_US:
            continue
        before = everything(engine)
        found = peek(engine, entity.name, [text(part) for part in key], now)
        assert everything(engine) == before, f"seed {seed}: looking changed something"
        number += 1
        body = {"glance_id": f"g{number}", "glance_at": max(clock, now), **dict(zip(entity.parts, key))}
        (decision,) = engine.decide([body], event_type="glance")
        for name, value in found.items():
            assert same(value, decision.features[name]), f"seed {seed}: {entity.name} {key}: {name} {value}"
            compared += 1
        assert set(found) == {column.full_name for column in entity.columns()}
    return compared


@pytest.mark.parametrize("resolution", [0.2, 1.0])
def test_what_is_seen_is_what_an_event_that_counts_nowhere_would_read(resolution: float) -> None:
    first = int(os.environ.get("PARAKH_SEED", "7000"))
    assert sum(check(seed, resolution) for seed in range(first, first + ROUNDS)) > 5 * ROUNDS


def test_a_key_with_many_records_is_seen_whole() -> None:
    """More records than a block of the index, than a ring whose values are hashed, and than a block of blocks."""
    engine = Engine(Project(with_glance(sample_project().definitions)))
    events = []
    for n in range(2_500):
        time = f"2026-01-01T{10 + n // 3600:02}:{n // 60 % 60:02}:{n % 60:02}Z"
        country = f"C{n % 90}"
        events.append({
            "payment_id": f"p{n}", "paid_at": time, "card": "c", "device": "d", "amount": n % 100,
            "country": country, "points": n, "ratio": n / 7,
        })  # fmt: skip
    engine.decide(events, event_type="payment")
    for number, now in enumerate((engine.state.clock_us, engine.state.clock_us + 50 * MINUTE)):
        before = everything(engine)
        found = peek(engine, "card", ["c"], now)
        pair = peek(engine, "card_device", ["c", "d"], now)
        assert everything(engine) == before
        body = {"glance_id": f"g{number}", "glance_at": now, "card": "c", "device": "d"}
        (decision,) = engine.decide([body], event_type="glance")
        assert found == {name: decision.features[name] for name in found}
        assert pair == {"card_device.seen": 2_500} == {name: decision.features[name] for name in pair}
    assert found["card.distinct_country_calendar_day"] == 90
    # All that the day's windows can reach is forgotten long after: as if the key had never been.
    later = engine.state.clock_us + 500 * 1440 * MINUTE
    assert peek(engine, "card", ["c"], later) == peek(engine, "card", ["never seen"], later)


def test_a_key_that_was_never_seen_has_counts_of_zero() -> None:
    engine = Engine(sample_project())
    for key in ("x", "", "'; DROP TABLE card --", "\N{SNOWMAN}", "%00", "a" * 10_000):
        found = peek(engine, "card", [key], 0)
        assert found["card.count_events_1h"] == 0
        assert found["card.sum_amount_1h"] is None
    assert len(engine.strings) == len(Engine(sample_project()).strings)
    engine.decide(sample_events())
    known = len(engine.strings)
    assert peek(engine, "card_device", ["c0", "never"], 0) == {"card_device.seen": 0}
    assert peek(engine, "card_device", ["never", "d"], 0) == {"card_device.seen": 0}
    assert peek(engine, "card_device", ["c0", "d"], 0)["card_device.seen"] > 0
    assert len(engine.strings) == known


def test_what_is_no_key_is_refused() -> None:
    engine = Engine(sample_project())
    with pytest.raises(InputError, match="no entity"):
        peek(engine, "nobody", ["x"], 0)
    with pytest.raises(InputError, match="has 2 parts"):
        peek(engine, "card_device", ["x"], 0)
    with pytest.raises(InputError, match="card"):
        peek(engine, "card", ["\ud800"], 0)


def test_an_entity_that_nothing_carries_has_no_features() -> None:
    definitions = sample_project().definitions
    engine = Engine(Project(replace(definitions, entities=(*definitions.entities, Entity(name="phone")))))
    assert peek(engine, "phone", ["1"], 0) == {}


def test_without_room_for_windows_nothing_is_known() -> None:
    engine = Engine(sample_project(), live=True)
    engine.decide(sample_events())
    engine.full = StateLimitError("no room")
    assert set(peek(engine, "card", ["c0"], 0).values()) == {None}


def test_values_are_plain_python() -> None:
    engine = Engine(sample_project())
    engine.decide(sample_events())
    kinds = {type(value) for value in peek(engine, "card", ["c0"], 0).values()}
    assert not any(issubclass(kind, np.generic) for kind in kinds)
