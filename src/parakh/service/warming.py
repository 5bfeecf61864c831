"""Everything that a first event would wait for, before there is one: kernels are loaded by deciding on made-up events.

They go over a desk of their own, with an engine and a log that are thrown away.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from parakh.decisions.engine import Engine
from parakh.decisions.warmup import warm_up
from parakh.events.definition import ROW_ID, EventType
from parakh.expressions.types import Kind
from parakh.service.answers import iso
from parakh.service.desk import Desk, Item, Lines
from parakh.service.entry_index import EntryIndex
from parakh.service.personal.plain import Joined, PlainBodies
from parakh.service.versions import LiveProject
from parakh.streams.segments import Entry, frame, read_frame

__all__ = ["Forgetting", "warm"]

_SAMPLES = {Kind.BOOLEAN: True, Kind.INTEGER: 1, Kind.NUMBER: 1.5, Kind.MONEY: 1, Kind.STRING: "warm"}


@dataclass(slots=True)
class Forgetting:
    """A log of one entry, in memory."""

    end: int = 0
    durable: int = 0
    own_s: float = 0.0
    last: bytes = b""

    def append(self, kind: int, payload: bytes, *, arrived_us: int) -> int:
        self.last = frame(kind, payload, position=self.end, durable=0, arrived_us=arrived_us)
        self.end += len(self.last)
        return self.end

    def read(self, position: int, limit_bytes: int = 0) -> list[Entry]:
        entry = read_frame(memoryview(self.last), 0, position)
        return [] if entry is None else [entry]


def warm(version: LiveProject, now_us: int) -> None:
    """Decide on made-up events of every type: alone, together, again, with another body, and on what is no event.

    Before that on the sample, which meets what these do not: reasons of a model, state that grows, keys that are swept.
    """
    warm_up()
    PlainBodies(()).stored_lines(b"{}\n", 1)
    engine = Engine(version, batch_size=64, live=True)
    desk = Desk(engine, Forgetting(), EntryIndex())
    types = [plan.event for plan in engine.plan.types]
    together: list[Item] = []
    for index, event in enumerate(types):
        body = _made_up(event, "one", now_us)
        first = Item(index, body)
        desk.take([first], now_us)
        again = Item(index, body)
        desk.take([again, Item(index, _made_up(event, "one", now_us - 1)), Item(index, b"{}")], now_us)
        if again.stored is not None and event.id != ROW_ID:
            desk.stored_answer(again)
        desk.take(Lines(index, Joined.of([_made_up(event, name, now_us) for name in ("four", "five")])), now_us)
        together += [Item(index, _made_up(event, name, now_us), features=True) for name in ("two", "three")]
    if together:
        desk.take(together[:64], now_us)
    labels = [
        msgspec.json.encode(
            {"event_type": event.name, "event_id": "one", "label": label.name, "value": _SAMPLES.get(label.type.kind),
             "known_at": iso(now_us)}
        )
        for event in types
        for label in event.labels
    ]  # fmt: skip
    if labels:
        desk.take_labels(labels, now_us)


def _made_up(event: EventType, identity: str, now_us: int) -> bytes:
    """An event of a type whose every field has a value."""
    made: dict[str, Any] = {}
    for field in event.fields:
        value = iso(now_us) if field.type.kind is Kind.TIMESTAMP else _SAMPLES[field.type.kind]
        if field.name == event.id:
            value = identity if field.type.kind is Kind.STRING else len(identity)
        made[field.source or field.name] = value
    return msgspec.json.encode(made)
