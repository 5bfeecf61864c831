"""The desk: the one place where events, labels and versions enter the log of a live service, in the order they act.

`Desk.take` decides on a micro-batch with the engine, puts it into the log and says what each caller is to be told, and
from which position of the log on: nothing is told before the log is durable up to there. Nothing here asks the clock or
waits for anything but the log, so that a simulation drives the same code as the server.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import sub
from typing import Any, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from parakh.decisions.decisions import Decisions
from parakh.decisions.definition import ProjectLike
from parakh.decisions.engine import Engine, Scoring
from parakh.decisions.express import Lengths, Straight
from parakh.decisions.parts import Judged
from parakh.decisions.plan import Plan, compile_intake, compile_plan
from parakh.decisions.record import read_record
from parakh.events.fields import ID_HIGH, ID_LOW, TIME
from parakh.events.ids import CONFLICT, DUPLICATE, NEW
from parakh.events.merge import LogBatch
from parakh.events.quarantine import Quarantine
from parakh.events.reasons import Reason
from parakh.expressions.strings import Strings
from parakh.service.answer_writer import AnswerWriter
from parakh.service.answers import REPLAYED, Answer, accepted_answer, answer_of, decided_answer
from parakh.service.entry_index import EntryIndex
from parakh.service.personal.plain import Joined
from parakh.service.problems import Problem, problem, refusal
from parakh.service.state import apply_trim, batch_of, batch_of_type, label_batch, read_label_lines, spans
from parakh.streams.entries import (
    ALARMS,
    EVENTS,
    LABELS,
    PROJECT,
    TRIM,
    UNDECIDED,
    WINDOWS,
    Alarms,
    Events,
    Labels,
    ProjectVersion,
    Trim,
    encode_events,
    lengths_of,
    read_events,
)
from parakh.streams.failpoints import reach
from parakh.streams.segments import Entry

__all__ = ["Desk", "Item", "Lines", "RefusedLabel", "Taken"]

_STORED_BYTES = 4096
_ALL_NEW = bytes((NEW,))
_PLAIN = (True, False)
"""What is asked of most events: to decide, without the features."""


class Log(Protocol):
    """What the desk needs of the log."""

    @property
    def end(self) -> int: ...
    @property
    def durable(self) -> int: ...
    @property
    def own_s(self) -> float: ...
    def append(self, kind: int, payload: bytes, *, arrived_us: int) -> int: ...
    def read(self, position: int, limit_bytes: int = ...) -> list[Entry]: ...


class Guarded(Scoring, Protocol):
    """Models that may not answer: `unanswered` names those that did not, for the batch that was taken last."""

    @property
    def unanswered(self) -> set[str]: ...


class Item(msgspec.Struct):
    """An event on its way over the desk.

    `answer` is what its caller is told, once the log is durable up to `position` (at once where it is 0). Of an event
    that came before, `stored` says where its entry stands, and under which id.
    """

    type_index: int
    body: bytes
    decide: bool = True
    features: bool = False
    answer: Answer | Problem | None = None
    position: int = 0
    stored: tuple[int, int, int] | None = None
    event_id: str = ""


@dataclass(slots=True)
class Lines:
    """Events of one type on their way over the desk together, all of them to be decided on.

    Where all of them are new and have nothing unusual about them, `answers` is what their caller is told, a line each,
    once the log is durable up to `position`. Else `items` are made of them, which say it of each.
    """

    type_index: int
    bodies: Joined
    answers: bytes = b""
    position: int = 0
    items: list[Item] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.bodies.lengths)

    def apart(self) -> list[Item]:
        """Make `items` of them."""
        self.items = [Item(self.type_index, body) for body in self.bodies.apart()]
        return self.items


class Taken(msgspec.Struct, frozen=True):
    """What became of a micro-batch: of each event its type's index and its status (`parakh.events.ids`), and what is
    counted of the decisions.
    """

    kinds: bytes
    statuses: bytes
    judged: tuple[Judged, ...]


@dataclass(frozen=True, slots=True)
class RefusedLabel:
    """A label that cannot be taken: its line among those given (from 1), why, and the field that is to blame."""

    line: int
    reason: str
    field: str


@dataclass(slots=True)
class Desk:
    """An engine and its log. For one thread.

    `entries` knows where the entry of each held event stands; `writers` make the answers of each version's records.
    """

    engine: Engine
    log: Log
    entries: EntryIndex
    writers: dict[tuple[str, str], AnswerWriter] = field(default_factory=dict)
    guard: Guarded | None = None

    def __post_init__(self) -> None:
        self._learn(self.engine.plan)

    def learn_version(self, version: ProjectLike) -> None:
        """Know what the records of a version mean that decided before."""
        if not any(hash == version.hash for hash, _ in self.writers):
            definitions = version.definitions
            self._learn(
                compile_plan(definitions, version.hash, compile_intake(definitions, Strings(), started_us=None))
            )

    def _learn(self, plan: Plan) -> None:
        for item in plan.types:
            self.writers[plan.project, item.event.name] = AnswerWriter(item.schema)

    def answer_of(self, record: bytes | memoryview) -> bytes:
        """The answer that a record of the log gives."""
        read = read_record(record)
        return answer_of(read, self.writers[read.project, read.event_type].shape)

    # -- events -------------------------------------------------------------------------------------------------------

    def take(self, events: Sequence[Item] | Lines, arrived_us: int) -> Taken:
        """Decide on events, in this order, and put what is new into the log; says in each item, or in the lines, what
        becomes of them.
        """
        if isinstance(events, Lines):
            return self._take_lines(events, arrived_us)
        bodies = [item.body for item in events]
        kind = events[0].type_index
        if len(events) == 1 or {item.type_index for item in events} == {kind}:
            data = bodies[0] if len(events) == 1 else b"".join(bodies)
            lengths = list(map(len, bodies))
            straight = self._straight(kind, data, lengths, arrived_us)
            if straight is not None:
                self._log_straight(events, data, lengths, straight, arrived_us)
                return Taken(bytes((kind,)) * len(events), _ALL_NEW * len(events), (straight.judged,))
        return self._take_apart(events, bodies, arrived_us)

    def _take_lines(self, lines: Lines, arrived_us: int) -> Taken:
        kind, joined = lines.type_index, lines.bodies
        straight = self._straight(kind, joined.bodies, joined.lengths, arrived_us)
        if straight is None:
            items = lines.apart()
            return self._take_apart(items, [item.body for item in items], arrived_us)
        self._log_lines(lines, straight, arrived_us)
        return Taken(bytes((kind,)) * len(lines), _ALL_NEW * len(lines), (straight.judged,))

    def _straight(self, kind: int, data: bytes, lengths: Lengths, arrived_us: int) -> Straight | None:
        straight = self.engine.take_straight(kind, data, lengths, arrived_us=arrived_us, scoring=self.guard)
        if straight is not None:
            reach("desk.decided")
        return straight

    def _take_apart(self, items: Sequence[Item], bodies: Sequence[bytes], arrived_us: int) -> Taken:
        """As `take`, of events that cannot go straight through."""
        engine = self.engine
        batch = self._batch(items, bodies, arrived_us)
        decisions = engine.take(batch, arrived_us=arrived_us, scoring=self.guard)
        reach("desk.decided")
        statuses = decisions.statuses
        if decisions.accepted == len(items):
            self._log_accepted(items, batch, batch.kinds, batch.rows, decisions, arrived_us)
        elif decisions.accepted:
            mine = np.flatnonzero(statuses == NEW)
            accepted = [items[number] for number in mine.tolist()]
            self._log_accepted(accepted, batch, batch.kinds[mine], batch.rows[mine], decisions, arrived_us)
        if decisions.accepted < len(items):
            self._answer_others(items, batch, statuses)
        kinds = bytes(item.type_index for item in items)
        return Taken(kinds, statuses.tobytes(), tuple(part.judged for part in decisions.parts))

    def _batch(self, items: Sequence[Item], bodies: Sequence[bytes], arrived_us: int) -> LogBatch:
        engine = self.engine
        types = {item.type_index for item in items}
        for type_index in types:
            engine.plan.types[type_index].decoder.started_at(arrived_us)
        placed = spans(bodies)
        if len(types) == 1:
            return batch_of_type(engine, types.pop(), *placed)
        return batch_of(engine, np.fromiter((item.type_index for item in items), np.uint8, len(items)), *placed)

    def _log_lines(self, lines: Lines, straight: Straight, arrived_us: int) -> None:
        """As `_log_straight`, of lines, all of which are decided on."""
        schema = straight.express.plan.schema
        lines.answers = self.writers[schema.project, schema.event_type].lines_straight(straight)
        lengths = lines.bodies.lengths.astype(np.uint32).tobytes()
        sizes = np.diff(straight.ends).astype(np.uint32).tobytes()
        payload = self._entry(straight, lines.bodies.bodies, lengths, straight.records, sizes, straight.judged.outcome)
        lines.position = self._enter(straight.count, payload, arrived_us)

    def _log_straight(
        self, items: Sequence[Item], data: bytes, lengths: Sequence[int], straight: Straight, arrived_us: int
    ) -> None:
        """As `_log_accepted`, of what went straight through: all of it is new."""
        express, count = straight.express, straight.count
        schema = express.plan.schema
        writer = self.writers[schema.project, schema.event_type]
        told = writer.write_straight(straight)
        records, outcomes = straight.records, straight.judged.outcome
        sizes = list(map(sub, straight.ends[1:], straight.ends))
        asked = [(item.decide, item.features) for item in items]
        if asked.count(_PLAIN) < count:
            for row, item in enumerate(items):
                if not item.decide:
                    item.event_id = express.id_text(row, count)
                    told[row] = accepted_answer(schema.event_type, item.event_id)
                elif item.features:
                    told[row] = decided_answer(straight.record(row), writer.shape, features=True)
            records = b"".join(straight.record(row) for row, item in enumerate(items) if item.decide)
            sizes = [size if item.decide else 0 for size, item in zip(sizes, items)]
            outcomes = bytes(outcome if item.decide else UNDECIDED & 255 for outcome, item in zip(outcomes, items))
        for item, answer in zip(items, told):
            item.answer = Answer(200, answer)
        body_lengths, record_lengths = array("I", lengths).tobytes(), array("I", sizes).tobytes()
        payload = self._entry(straight, data, body_lengths, records, record_lengths, outcomes)
        position = self._enter(count, payload, arrived_us)
        for item in items:
            item.position = position

    def _entry(
        self,
        straight: Straight,
        bodies: bytes,
        body_lengths: bytes,
        records: bytes,
        record_lengths: bytes,
        outcomes: bytes,
    ) -> bytes:
        """The entry of what went straight through; lengths are unsigned numbers of four bytes."""
        express, count = straight.express, straight.count
        return encode_events(
            express.plan.schema.project,
            self.engine.plan.names,
            self._unanswered(),
            kinds=bytes((express.plan.index,)) * count,
            body_lengths=body_lengths,
            record_lengths=record_lengths,
            id_hi=express.column(ID_HIGH, count),
            id_lo=express.column(ID_LOW, count),
            times_us=express.column(TIME, count),
            outcomes=outcomes,
            bodies=bodies,
            records=records,
        )

    def _enter(self, count: int, payload: bytes, arrived_us: int) -> int:
        """Put an entry of so many events, which are held already, into the log; answers where it ends."""
        self.entries.add(len(self.engine.ids) - count, self.log.end)
        return self.log.append(EVENTS, payload, arrived_us=arrived_us)

    def _log_accepted(
        self,
        items: Sequence[Item],
        batch: LogBatch,
        kinds: NDArray[np.uint8],
        rows: NDArray[np.int32],
        decisions: Decisions,
        arrived_us: int,
    ) -> None:
        """Put new events of a batch, of these kinds and rows of the frame, and what was decided on them into the log as
        one entry, and say in each item what its caller is told.
        """
        engine, project = self.engine, self.engine.project.hash
        records = [b""] * len(items)
        outcomes = [UNDECIDED] * len(items)
        for part in decisions.parts:
            schema = part.schema
            mine: Sequence[int] = range(len(items))
            if len(batch.parts) > 1:
                mine = np.flatnonzero(kinds == engine.plan.by_name[schema.event_type].index).tolist()
            writer = self.writers[project, schema.event_type]
            written = part.records(engine.strings)
            told = writer.write(part, written)
            for number, record, answer, outcome in zip(mine, written, told, part.judgement.outcome.tolist()):
                item = items[number]
                if item.decide:
                    records[number], outcomes[number] = record, outcome
                    item.answer = Answer(
                        200, decided_answer(record, writer.shape, features=True) if item.features else answer
                    )
        for number, item in enumerate(items):
            if item.answer is None:
                name = engine.plan.types[item.type_index].event.name
                item.event_id = _id_text(batch, int(rows[number]))
                item.answer = Answer(200, accepted_answer(name, item.event_id))
        bodies = [item.body for item in items]
        id_hi, id_lo, times_us = batch.columns(("id_hi", "id_lo", "times"), rows)
        entry = Events(
            project=project,
            types=engine.plan.names,
            unanswered=self._unanswered(),
            kinds=kinds,
            id_hi=id_hi,
            id_lo=id_lo,
            times_us=times_us,
            outcomes=np.array(outcomes, np.int8),
            body_lengths=lengths_of(bodies),
            record_lengths=lengths_of(records),
            bodies=b"".join(bodies),
            records=b"".join(records),
        )
        position = self._enter(len(items), entry.encode(), arrived_us)
        for item in items:
            item.position = position

    def _unanswered(self) -> tuple[str, ...]:
        """What the batch that was taken last was decided without, so that it can be made again."""
        models = self.guard.unanswered if self.guard is not None else ()
        blind = (WINDOWS,) if self.engine.blind else ()
        return (*sorted(models), *blind)

    def _answer_others(self, items: Sequence[Item], batch: LogBatch, statuses: NDArray[np.uint8]) -> None:
        """What is not new: came before, came before with another body, or cannot be read."""
        for number in np.flatnonzero(statuses != NEW).tolist():
            item, row = items[number], int(batch.rows[number])
            part = next(part for part in batch.parts if part.start <= row < part.stop)
            at = row - part.start
            if statuses[number] == DUPLICATE:
                hi, lo = part.decoded.id_hi[at : at + 1], part.decoded.id_lo[at : at + 1]
                entry = self.entries.find(int(self.engine.ids.find(hi, lo)[0]))
                item.stored = (entry, int(hi[0]), int(lo[0]))
                item.event_id = part.decoded.id_texts([at])[0]
                item.position = entry + 1
            elif statuses[number] == CONFLICT:
                item.answer = problem(
                    "conflict",
                    "an event of this id was accepted before with another body",
                    hint="a retry sends the very same body; another event has an id of its own",
                )
            else:
                named = part.decoded.refused.get(at, -1)
                field_name = part.decoder.names[named] if named >= 0 else ""
                reason = Reason(int(part.decoded.problem[at]))
                item.answer = refusal(reason, _what_is_wrong(reason, item.body), field=field_name)

    def stored_answer(self, item: Item) -> Answer:
        """What was told when the event of a duplicate came first; for when the log is durable up to it."""
        assert item.stored is not None, "only a duplicate has a stored answer"
        return self.answer_at(*item.stored, features=item.features, event_id=item.event_id)

    def find(self, id_hi: int, id_lo: int) -> int | None:
        """Where the entry of an event stands in the log; None where no such event is held."""
        row = int(self.engine.ids.find(np.array([id_hi], np.uint64), np.array([id_lo], np.uint64))[0])
        return None if row < 0 else self.entries.find(row)

    def answer_at(self, position: int, id_hi: int, id_lo: int, *, features: bool = False, event_id: str = "") -> Answer:
        """The answer for an event whose entry stands at a position."""
        events = read_events(self.log.read(position, _STORED_BYTES)[0].payload)
        index = events.find(id_hi, id_lo)
        assert index >= 0, "the index of entries and the log differ"
        name = events.types[events.kinds[index]]
        record = events.record(index)
        if record is None:
            return Answer(200, accepted_answer(name, event_id), (REPLAYED,))
        shape = self.writers[events.project, name].shape
        return Answer(200, decided_answer(record, shape, features=features), (REPLAYED,))

    # -- labels, versions, trims --------------------------------------------------------------------------------------

    def take_labels(self, lines: Sequence[bytes], arrived_us: int) -> tuple[int, int, list[RefusedLabel]]:
        """Put labels, one JSON object each with its known_at, into the log; answers how many were taken, from which
        position on that counts, and those that cannot be.
        """
        refused: list[RefusedLabel] = []
        quarantine = Quarantine(lambda line: refused.append(_refused(line)))
        rows = read_label_lines(self.engine, b"\n".join(lines) + b"\n", quarantine)
        if not rows.count:
            return 0, 0, refused
        self.engine.take(label_batch(rows), arrived_us=arrived_us)
        kept = b"\n".join(lines[place] for place in sorted(rows.place.tolist())) + b"\n"
        entry = Labels(self.engine.project.hash, kept, rows.count)
        return rows.count, self.log.append(LABELS, entry.encode(), arrived_us=arrived_us), refused

    def take_alarms(self, alarms: Alarms, arrived_us: int) -> int:
        """Put alarms into the log, which the outbox reads; answers from where on that is kept."""
        return self.log.append(ALARMS, alarms.encode(), arrived_us=arrived_us)

    def switch(self, version: ProjectVersion, arrived_us: int) -> int:
        """Put a version into the log that the engine decides by from now on; answers from where on that is kept."""
        self._learn(self.engine.plan)
        return self.log.append(PROJECT, version.encode(), arrived_us=arrived_us)

    def trim(self, position: int, arrived_us: int) -> int:
        """Forget the ids of all events whose entries stand before a position."""
        trim = Trim(position)
        end = self.log.append(TRIM, trim.encode(), arrived_us=arrived_us)
        apply_trim(self.engine, self.entries, trim)
        return end

    def counts(self) -> Mapping[str, int]:
        """What the desk's engine holds."""
        engine = self.engine
        return {"ids": len(engine.ids), "records": engine.state.records, "keys": engine.state.keys}


def _what_is_wrong(reason: Reason, body: bytes) -> str:
    """Where a body stops being JSON, as far as another reader finds it; nothing for other reasons."""
    if reason is Reason.BAD_JSON:
        try:
            msgspec.json.decode(body)
        except msgspec.DecodeError as error:
            return str(error)
        except (UnicodeDecodeError, RecursionError):
            return ""
    return ""


def _id_text(batch: LogBatch, row: int) -> str:
    part = next(part for part in batch.parts if part.start <= row < part.stop)
    return part.decoded.id_texts([row - part.start])[0]


def _refused(line: bytes) -> RefusedLabel:
    said: dict[str, Any] = msgspec.json.decode(line)
    return RefusedLabel(said["line"], said["reason"], said.get("field", ""))
