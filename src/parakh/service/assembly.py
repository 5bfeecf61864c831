"""The service: what each address asks of it, over the desk, the log, the ledger and the versions.

Everything runs on one event loop. What is told to a caller is durable; what is refused is a `Problem`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import numpy as np

from parakh.decisions.peek import peek
from parakh.decisions.plan import UNANSWERED
from parakh.errors import InputError
from parakh.events.convert import find_path
from parakh.events.decode import hash_id
from parakh.events.definition import EventType
from parakh.events.reasons import Reason
from parakh.events.schema import id_salt
from parakh.service.alarms import AlarmError, read_alarms
from parakh.service.answers import Answer, iso
from parakh.service.changes import Changes
from parakh.service.desk import Desk, Item, Lines
from parakh.service.enrichment import Enrichments
from parakh.service.ledger import BadCursor, BadFilter, Ledger, LedgerFilter
from parakh.service.limits import Refusal, check_json
from parakh.service.modelguard import ModelGuard
from parakh.service.personal.plain import Joined
from parakh.service.personal.storing import ReservedKey, Storing, extended
from parakh.service.problems import Problem, problem, refusal
from parakh.service.queue import DeskQueue, Said
from parakh.service.telemetry import Telemetry
from parakh.service.upkeep import Upkeep
from parakh.streams.entries import Alarms
from parakh.streams.log import EmbeddedLog

__all__ = ["LiveVersion", "Service"]

_MOST_LABELS = 10_000
_LAST_EVENTS = 20
_FEW = 64
_PATIENCE = 4
_LEAST_PATIENCE_S = 0.2
_PIECES_AHEAD = 4
_BREAK = 10
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
Told = Answer | Problem


@dataclass(frozen=True, slots=True)
class LiveVersion:
    """What goes with the version that decides now, before the desk: its storing, its enrichments, its types - `short`
    those whose events need nothing but the desk.
    """

    storing: Storing
    enrichments: Enrichments
    types: Mapping[str, int]
    short: Mapping[str, int]
    events: Mapping[str, EventType]
    deadline_s: float


@dataclass(slots=True)
class Service:
    """The service behind its addresses; `open_service` puts it together."""

    desk: Desk
    log: EmbeddedLog
    queue: DeskQueue
    ledger: Ledger
    changes: Changes
    upkeep: Upkeep
    telemetry: Telemetry
    live: LiveVersion
    guard: ModelGuard
    now_us: Callable[[], int]
    depth: int
    _asking: dict[tuple[str, str], asyncio.Future[None]] = field(default_factory=dict)

    # -- decisions ----------------------------------------------------------------------------------------------------

    async def decide(self, event_type: str, body: bytes, *, features: bool = False) -> Told:
        """Decide on one event; the answer comes when it is durable."""
        return await self._one(event_type, body, decide=True, features=features)

    async def _one(self, event_type: str, body: bytes, *, decide: bool, features: bool = False) -> Told:
        if event_type not in self.live.types:
            return self._no_type()
        if self.log.full:
            return problem("log_full", retry_after_s=1)
        stored = self._stored(event_type, body)
        if isinstance(stored, Problem):
            return stored
        if self.live.enrichments.asks(event_type):
            live = self.live
            stored = await self._enriched(event_type, stored)
            if live is not self.live:  # another version has come meanwhile: it stores otherwise, and asks others
                return await self._one(event_type, body, decide=decide, features=features)
        item = Item(self.live.types[event_type], stored, decide, features)
        return (await self.queue.put(item))[0]

    def is_short(self, event_type: str) -> bool:
        """Whether events of this type need nothing but the desk, so that `submit` takes them."""
        return event_type in self.live.short

    def submit(
        self, event_type: str, body: bytes, features: bool, tell: Callable[[list[Told]], object]
    ) -> Problem | None:
        """The short way of one event to the desk; `tell` gets its answer, alone in a list, unless there is a problem
        at once."""
        if self.log.full:
            return problem("log_full", retry_after_s=1)
        if self.too_busy():
            return problem("overloaded", "what is asked now would be answered too late", retry_after_s=1)
        kind = self.live.short.get(event_type)
        if kind is None:  # another version has come while the body came
            changed = "the project has changed just now; the same request may be sent again"
            return problem("overloaded", changed, retry_after_s=1) if event_type in self.live.types else self._no_type()
        stored = self._stored(event_type, body)
        if isinstance(stored, Problem):
            return stored
        self.queue.submit(Item(kind, stored, True, features), tell)
        return None

    def too_busy(self) -> bool:
        """Whether what comes now would be answered too late: the oldest that waits has waited too long."""
        return self.queue.depth > _FEW and self.queue.waited_s > max(
            _PATIENCE * self.live.deadline_s, _LEAST_PATIENCE_S
        )

    def _stored(self, event_type: str, body: bytes) -> bytes | Problem:
        """An event as it is kept, with its personal fields treated; or why it is not even looked at."""
        plain = self.live.storing.plain(event_type, body)
        return self._treated(event_type, body) if plain is None else plain

    def _treated(self, event_type: str, body: bytes) -> bytes | Problem:
        refused = check_json(body, self.depth)
        if refused is not None:
            return refused
        began = time.perf_counter()
        try:
            stored = self.live.storing.store(event_type, body)
        except ReservedKey:
            return problem("reserved_key")
        self.telemetry.stage_done("personal", time.perf_counter() - began)
        return stored

    async def _enriched(self, event_type: str, stored: bytes) -> bytes:
        """A stored event with the answers of its enrichments. Of tries with one id, the first asks."""
        event = self.live.events[event_type]
        try:
            kept = _decode(stored)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            return stored  # the desk refuses it
        if not isinstance(kept, dict):
            return stored
        identity = self._identity(event, kept)
        if identity is not None:
            while (asking := self._asking.get((event_type, identity))) is not None:
                await asyncio.shield(asking)
            if self._held(event_type, identity) is not None:
                return stored
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if identity is not None:
            self._asking[event_type, identity] = done
        try:
            began = time.perf_counter()
            # They are asked with what is kept: a card number in a free text goes to nobody outside either.
            answers, missing = await self.live.enrichments.answer(event_type, kept, self.live.deadline_s)
            self.telemetry.stage_done("enrich", time.perf_counter() - began)
        finally:
            done.set_result(None)
            # The one that waited finds the event at the desk: nothing else runs between here and the queue.
            self._asking.pop((event_type, identity or ""), None)
        if missing:
            self.telemetry.degraded("enrichment")
            answers[UNANSWERED] = True
        if not answers:
            return stored
        return extended(stored, _encode(answers)[1:-1])

    @staticmethod
    def _identity(event: EventType, given: Mapping[str, Any]) -> str | None:
        """The id of an event in the form in which it is held."""
        item = next((item for item in event.fields if item.name == event.id), None)
        if item is None:
            return None
        source = item.source or item.name
        value = find_path(given, source, tuple(source.split(".")))
        return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else None

    def _held(self, event_type: str, event_id: str) -> tuple[int, int, int] | None:
        """Where the entry of an event stands, and the hash of its id."""
        high, low = hash_id(event_id.encode(), id_salt(event_type))
        position = self.desk.find(int(high), int(low))
        return None if position is None else (position, int(high), int(low))

    async def decide_lines(
        self, event_type: str, chunks: AsyncIterator[bytes], features: bool = False
    ) -> AsyncIterator[bytes]:
        """Decide on lines of JSON as they come; one line out for each, in order, when it is durable."""
        async for told in self._lines(event_type, chunks, decide=True, features=features):
            yield told

    async def _lines(
        self, event_type: str, chunks: AsyncIterator[bytes], *, decide: bool, features: bool = False
    ) -> AsyncIterator[bytes]:
        if event_type not in self.live.types:
            raise Refusal(self._no_type())
        number = 0
        ahead: deque[tuple[int, asyncio.Task[Said]]] = deque()
        try:
            async for block, count in _pieces(chunks, self.queue):
                piece = self._piece(event_type, block, count, decide, features)
                ahead.append((count, asyncio.ensure_future(piece)))
                if len(ahead) >= _PIECES_AHEAD:
                    out, count = await _next_out(ahead, number)
                    number += count
                    if out:  # of blank lines there is none
                        yield out
            while ahead:
                out, count = await _next_out(ahead, number)
                number += count
                if out:
                    yield out
        finally:
            for _, task in ahead:
                task.cancel()

    async def _piece(self, event_type: str, block: bytes, count: int, decide: bool, features: bool) -> Said:
        """What is told of `count` lines, each with its line break: of each that is not blank, or lines that say it."""
        if event_type not in self.live.types:  # a version without it has come since the batch began
            return [self._no_type()] * len(_lines_in(block))
        if self.live.enrichments.asks(event_type):
            ones = (self._one(event_type, line, decide=decide, features=features) for line in _lines_in(block))
            return list(await asyncio.gather(*ones))
        index = self.live.types[event_type]
        plain = self.live.storing.plain_lines(event_type, block, count)
        if isinstance(plain, Joined):
            if decide and not features:
                return await self.queue.put_piece(Lines(index, plain))
            plain = plain.apart()
        stored = [
            self._treated(event_type, line) if body is None else body
            for line, body in zip(block.split(b"\n"), plain)
            if body is not None or not _is_blank(line)
        ]
        bodies = [body for body in stored if isinstance(body, bytes)]
        if decide and not features and len(bodies) == count:
            return await self.queue.put_piece(Lines(index, Joined.of(bodies)))
        items = [Item(index, body, decide, features) for body in bodies]
        answers = iter(await self.queue.put_piece(items) if items else [])
        return [body if isinstance(body, Problem) else next(answers) for body in stored]

    # -- events and labels --------------------------------------------------------------------------------------------

    async def take_in(self, event_type: str, body: bytes) -> Told:
        """Take events in without deciding: one JSON object, or one a line."""
        lines = _lines_of(body)
        if len(lines) <= 1:
            return await self._one(event_type, body, decide=False)
        if event_type not in self.live.types:
            return self._no_type()

        async def whole() -> AsyncIterator[bytes]:
            yield body

        answered = [part async for part in self._lines(event_type, whole(), decide=False)]
        return Answer(200, b"".join(answered), content_type=b"application/x-ndjson")

    async def labels(self, body: bytes) -> Told:
        """Take labels in: one JSON object, or one a line."""
        lines = _lines_of(body)
        if len(lines) > _MOST_LABELS:
            return problem("body_too_large", f"at most {_MOST_LABELS:,} labels at once; these are {len(lines):,}")
        arrived_us = self.queue.arrived_us()
        self.queue.drain()
        prepared = [self._label(line, arrived_us) for line in lines]
        taken, position, refused = self.desk.take_labels(prepared, arrived_us)
        answer = {
            "accepted": taken,
            "refused": [
                {"line": item.line, "code": item.reason, **({"field": item.field} if item.field else {})}
                for item in refused
            ],
        }
        if not taken and len(lines) == 1 and refused:
            return refusal(Reason[refused[0].reason.upper()], field=refused[0].field)
        told = Answer(200 if not refused else 207, _encode(answer))
        return (await self.queue.when_durable(position, told))[0]

    def _label(self, line: bytes, arrived_us: int) -> bytes:
        """A label as it is kept: it names events as they are stored, and is known when it arrives unless it says."""
        stored = self.live.storing.label(line)
        return stored if b'"known_at"' in stored else extended(stored, b'"known_at":"%s"' % iso(arrived_us).encode())

    async def alarms(self, body: bytes, who: str) -> Told:
        """Take alarms in, {"alarms": [...]}, all of them or none; webhooks that listen to alarms are sent them."""
        try:
            alarms = read_alarms(body)
        except AlarmError as error:
            return problem("invalid_request", error.message, field=error.field)
        if self.log.full:
            return problem("log_full", retry_after_s=1)
        told = Answer(200, _encode({"accepted": len(alarms)}))
        if not alarms:
            return told
        entry = Alarms(tuple(alarm.encode() for alarm in alarms), who)
        position = self.desk.take_alarms(entry, self.queue.arrived_us())
        return (await self.queue.when_durable(position, told))[0]

    # -- looking things up --------------------------------------------------------------------------------------------

    async def decision(self, decision_id: str) -> Told:
        """The decision of an id, as 32 hexadecimal digits."""
        try:
            number = int(decision_id, 16) if len(decision_id) == 32 else -1
        except ValueError:
            number = -1
        if number < 0:
            return problem("not_found", "a decision's id has 32 hexadecimal digits")
        high, low = number >> 64, number & (2**64 - 1)
        position = self.desk.find(high, low)
        return await self._stored_at(None if position is None else (position, high, low), "")

    async def decision_of(self, event_type: str, event_id: str) -> Told:
        """The decision on an event."""
        if event_type not in self.live.types:
            return self._no_type()
        held = self.live.storing.event_id(event_type, event_id)
        return await self._stored_at(self._held(event_type, held), held)

    async def _stored_at(self, place: tuple[int, int, int] | None, event_id: str) -> Told:
        if place is None:
            return self._not_held()
        position, high, low = place
        durable = Answer(200, b"")
        told = (await self.queue.when_durable(position + 1, durable))[0]
        if told is not durable:
            return told
        try:
            answer = self.desk.answer_at(position, high, low, features=True, event_id=event_id)
        except IndexError:  # the log has let it go while this waited
            return self._not_held()
        return Answer(answer.status, answer.body)

    @staticmethod
    def _not_held() -> Problem:
        return problem("not_found", "no such event is held", hint="ids are held as long as the log keeps events")

    async def decisions(self, filter: Mapping[str, str]) -> Told:
        """A page of the ledger."""
        try:
            wanted = LedgerFilter.of(filter)
            if wanted.entity is not None:
                entity, key = wanted.entity
                wanted = replace(wanted, entity=(entity, self._state_key(entity, key)))
            return Answer(200, (await self.ledger.query(wanted)).encode())
        except BadCursor as error:
            return problem("bad_cursor", error.message, hint=error.hint)
        except BadFilter as error:
            return problem("bad_filter", error.message, hint=error.hint, field=error.parameter)

    async def entity(self, entity: str, key: str) -> Told:
        """What is known of one key: its features now, and its last events. A joined key is a JSON array of texts."""
        now_us = self.queue.arrived_us()
        parts: tuple[str, ...] = (key,)
        if key.startswith("["):
            with contextlib.suppress(msgspec.DecodeError, RecursionError):
                given = msgspec.json.decode(key, type=tuple[str, ...])
                parts = given if len(given) > 1 else parts
        held = self._state_key(entity, parts)
        try:
            features = peek(self.desk.engine, entity, held, now_us)
        except InputError as error:
            return problem("not_found", str(error))
        page = await self.ledger.query(LedgerFilter(entity=(entity, held), limit=_LAST_EVENTS))
        said = {
            "entity": entity,
            "as_of": iso(max(now_us, self.desk.engine.state.clock_us)),
            "features": features,
            "events": [msgspec.Raw(item) for item in page.items],
        }
        return Answer(200, _encode(said))

    def _state_key(self, entity: str, parts: Sequence[str]) -> tuple[str, ...]:
        """A key as state and log have it."""
        if len(parts) == 1:
            return (self.live.storing.key(entity, parts[0]),)
        found = next((item for item in self.changes.version.original.definitions.entities if item.name == entity), None)
        names = found.parts if found is not None and len(found.parts) == len(parts) else ("",) * len(parts)
        return tuple(self.live.storing.key(name, part) for name, part in zip(names, parts))

    # -- the project --------------------------------------------------------------------------------------------------

    async def project(self) -> Told:
        return self.changes.shown()

    async def versions(self) -> Told:
        return self.changes.listed()

    async def check_project(self, files: Mapping[str, bytes] | None) -> Told:
        return await self.changes.check(files)

    async def apply_project(self, files: Mapping[str, bytes] | None, version: str | None, who: str) -> Told:
        return await self.changes.apply(files, version, who)

    # -- how it is ----------------------------------------------------------------------------------------------------

    def health(self) -> Told:
        """Whether the process is alive."""
        return Answer(200, b'{"status":"alive"}')

    def ready(self) -> Told:
        """Whether it decides: its state is whole, and its log is written."""
        if self.log.failed is not None or self.log.full:
            return problem("log_full", "the log cannot be written", retry_after_s=1)
        full = self.desk.engine.full
        said = {
            "status": "ready" if full is None else "degraded",
            "project": self.changes.version.hash,
            "position": self.log.durable,
        }
        if full is not None:
            said["detail"] = str(full)
        return Answer(200, json.dumps(said).encode())

    def metrics(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return self.telemetry.exposition()

    def _no_type(self) -> Problem:
        listed = ", ".join(self.live.types)
        return problem("unknown_event_type", hint=f"event types are {listed}"[:500])


async def _next_out(ahead: deque[tuple[int, asyncio.Task[Said]]], before: int) -> tuple[bytes, int]:
    """The answers of the first piece as lines, and how many; a refused one says which line of the batch it was.

    While it is waited for it stays in `ahead`.
    """
    count, piece = ahead[0]
    told = await piece
    ahead.popleft()
    if isinstance(told, bytes):
        return told, count
    bodies = [item.body for item in told]
    for at, item in enumerate(told):
        if isinstance(item, Problem):
            bodies[at] = item.body.rstrip(b"}") + b',"line":%d}' % (before + at + 1)
    bodies.append(b"")
    return b"\n".join(bodies), len(told)


def _lines_of(body: bytes) -> list[bytes]:
    """The JSON texts of a body: the one that may go over several lines, or the lines of NDJSON, good and bad."""
    lines = [line for line in body.splitlines() if line.strip()]
    if len(lines) > 1 and not _is_json(body) and any(line.lstrip()[:1] == b"{" and _is_json(line) for line in lines):
        return lines
    return [body]


def _is_json(text: bytes) -> bool:
    try:
        _decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return False
    return True


async def _pieces(chunks: AsyncIterator[bytes], queue: DeskQueue) -> AsyncIterator[tuple[bytes, int]]:
    """Chunks of bytes as pieces of whole lines, each with its line break, and how many they are."""
    parts: list[bytes] = []
    lines = 0  # in the parts
    async for chunk in chunks:
        breaks = np.flatnonzero(np.frombuffer(chunk, np.uint8) == _BREAK).tolist()
        start = first = 0
        while first < len(breaks) and lines + len(breaks) - first >= (size := queue.piece):
            more = max(1, size - lines)  # it is less now where single events have begun to come
            first += more
            end = breaks[first - 1] + 1
            yield b"".join([*parts, chunk[start:end]]), lines + more
            parts, lines, start = [], 0, end
        parts.append(chunk[start:])
        lines += len(breaks) - first
    rest = b"".join(parts)
    if rest and not rest.isspace():
        yield (rest, lines) if rest.endswith(b"\n") else (rest + b"\n", lines + 1)


def _lines_in(block: bytes) -> list[bytes]:
    return [line for line in block.split(b"\n") if not _is_blank(line)]


def _is_blank(line: bytes) -> bool:
    return not line or line.isspace()
