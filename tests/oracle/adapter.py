"""The engine behind the oracle's shapes: the same log in, the same answers out, so that the two can be compared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from oracle.log import Entry, Event, LabelEntry
from oracle.sources import as_object, plain
from parakh.decisions.definition import Definitions, Policy
from parakh.expressions.types import NULL_WORD, Kind

if TYPE_CHECKING:
    from parakh.decisions.decisions import Decisions
    from parakh.decisions.engine import Engine
    from parakh.events.labels import LabelRows
    from parakh.events.merge import LogBatch
    from parakh.expressions.strings import Strings

__all__ = ["decided", "run_engine"]


def run_engine(definitions: Definitions, log: Sequence[Entry], batch_size: int) -> list[dict[str, Any]]:
    """One answer an entry of the log, in its order.

    For an event {"status": accepted | duplicate | conflict | quarantined, "late", "overflow", "features"}, where late
    is False and features is {} unless it is accepted; for a label {"status": "label", "late": False, ...}. The run
    starts at `properties.strategies.STARTED_US`. Idle keys are swept between batches.
    """
    from parakh.decisions.engine import Engine
    from properties.strategies import STARTED_US

    # Every type is decided on, so that every feature is seen.
    policies = tuple(Policy(event_type=event.name) for event in definitions.events)
    engine = Engine(_Project(replace(definitions, policies=policies)), batch_size=batch_size, started_us=STARTED_US)
    answers: list[dict[str, Any]] = []
    for start in range(0, len(log), batch_size):
        entries = log[start : start + batch_size]
        decisions = engine.take(_batch(engine, entries))
        engine.state.sweep_all()
        found = decided(decisions, engine.strings)
        statuses = iter(decisions.statuses.tolist())
        for entry in entries:
            if isinstance(entry, LabelEntry):
                answers.append({"status": "label", "late": False, "overflow": False, "features": {}})
                continue
            status = _STATUSES[next(statuses)]
            if status == "accepted":
                answers.append(next(found)[2])
            else:
                answers.append({"status": status, "late": False, "overflow": False, "features": {}})
    engine.counts.check()
    return answers


@dataclass(frozen=True)
class _Project:
    definitions: Definitions
    hash: str = "0"


_STATUSES = ("quarantined", "accepted", "duplicate", "conflict")


def _batch(engine: Engine, entries: Sequence[Entry]) -> LogBatch:
    """Some entries of the log as the engine takes them."""
    from parakh.events.chunks import ObjectRows
    from parakh.events.labels import LabelRows
    from parakh.events.merge import LABEL, EventPart, LogBatch

    kinds = np.empty(len(entries), np.uint8)
    rows = np.empty(len(entries), np.int32)
    labels = []
    parts = []
    start = 0
    for plan in engine.plan.types:
        mine = [n for n, entry in enumerate(entries) if isinstance(entry, Event) and entry.type == plan.event.name]
        if not mine:
            continue
        chunk = ObjectRows("log", [as_object(entries[n], plan.event) for n in mine])  # type: ignore[arg-type]
        decoded = chunk.decode(plan.decoder, 0, len(mine), engine.words, start)
        parts.append(EventPart(plan.index, start, start + len(mine), decoded, plan.decoder, ((chunk, 0, len(mine)),)))
        kinds[mine] = plan.index
        rows[mine] = np.arange(start, start + len(mine))
        start += len(mine)
    for number, entry in enumerate(entries):
        if isinstance(entry, LabelEntry):
            kinds[number] = LABEL
            rows[number] = len(labels)
            labels.append(_label(engine, entry))
    return LogBatch(kinds, rows, tuple(parts), LabelRows.joined(labels))


def _label(engine: Engine, entry: LabelEntry) -> LabelRows:
    from parakh.events.decode import hash_id
    from parakh.events.labels import LabelRows, LabelSchema
    from parakh.events.schema import id_salt
    from parakh.expressions.values import to_word

    definitions = engine.plan.definitions
    plan = engine.plan.by_name[entry.event_type]
    number = next(n for n, label in enumerate(plan.event.labels) if label.name == entry.label)
    rank = LabelSchema((), (), definitions.settings.label_sources).rank(entry.source)
    row = LabelRows.empty(1)
    row.event_type[0], row.label[0] = plan.index, number
    row.entity[0] = -1
    row.key[0] = NULL_WORD
    if entry.entity is not None:
        row.entity[0] = [item.name for item in definitions.entities].index(entry.entity)
        row.key[0] = engine.strings.intern(str(entry.key))
    # A source that is not ranked is quarantined when labels are read; here the label is about an event that never is.
    id = "quarantined" if rank is None else entry.event_id or ""
    row.id_hi[0], row.id_lo[0] = hash_id(id.encode(), id_salt(plan.event.name))
    if rank is None:
        row.entity[0] = -1
    row.value[0] = to_word(entry.value, plan.event.labels[number].type, engine.strings)
    row.rank[0] = rank or 0
    row.known_at[0] = 0
    row.place[0] = 0
    return row


def decided(decisions: Decisions, strings: Strings) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(event type, id, answer) of each decision, in log order; values exact, as the oracle has them."""
    from parakh.decisions.policy import LATE
    from parakh.expressions.instructions import OVERFLOW

    found: dict[int, tuple[str, str, dict[str, Any]]] = {}
    for part in decisions.parts:
        numbers = part.words.view("float64")
        columns = part.schema.features
        for row, (position, id) in enumerate(zip(part.position.tolist(), part.id_texts(), strict=True)):
            features = {}
            for place, column in enumerate(columns):
                word = int(part.words[place, row])
                text = strings.text(word) if column.type.kind is Kind.STRING and word >= 0 else None
                features[column.name] = plain(word, float(numbers[place, row]), column.type, text)
            flags = int(part.flags[row])
            answer = {
                "status": "accepted",
                "late": bool(flags & LATE),
                "overflow": bool(flags & OVERFLOW),
                "features": features,
            }
            found[position] = (part.schema.event_type, id, answer)
    return (found[position] for position in sorted(found))
