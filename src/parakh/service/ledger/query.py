"""The ledger as the service asks it: kept up with the log in small slices, and read page by page, the newest first.

Everything here runs on the event loop beside the decisions and gives way often; what takes long (a slice of the log
read, a block written, a file opened for the first time) is done in a thread.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import perf_counter
from typing import Final, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from parakh.decisions.definition import Definitions
from parakh.decisions.record import read_record
from parakh.service.ledger.block import BLOCK_ROWS, UNDECIDED_BIT, Rows, Summary, Tail
from parakh.service.ledger.filters import FLAGS, LedgerFilter, Place, read_cursor, write_cursor
from parakh.service.ledger.index import Block, Index, Log
from parakh.service.ledger.keys import KeyReaders, entity_terms, rule_term
from parakh.service.ledger.scanning import warm_up
from parakh.streams.entries import UNDECIDED, Events, read_events
from parakh.streams.giving_way import one_thread
from parakh.streams.segments import Entry

__all__ = ["Ledger", "Page"]

_T = TypeVar("_T")

SLICE_BYTES: Final = 1 << 18
"""How much of the log is taken in at once, in another thread: some hundreds of events, about two milliseconds."""

CATCH_UP_S: Final = 1.0
IDLE_S: Final = 0.5
BEHIND_BYTES: Final = 1 << 17
REST: Final = 9.0
"""How many times as long as it worked the follower rests while it is behind: it takes a tenth of a core at most."""
_ONE_ENTRY = 4_096
_READS_A_SLICE = 16
_MOST_BLOCKS = 1_000
_MOST_READS = 10_000
_BATCHES_AT_HAND = 8
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Page:
    """Some answers, the newest first, each one JSON object.

    `next_cursor` is None where there is nothing more. A page may have fewer items than were asked for, even none, and
    still a cursor: a search that finds little is cut into pages. `indexed_to` is None where everything that was durable
    when the question came was looked at; else it is the time up to which arrivals were (None before any, in JSON "").
    """

    items: list[bytes]
    next_cursor: str | None = None
    complete: bool = True
    indexed_to_us: int | None = None

    def encode(self) -> bytes:
        """The page as JSON: items, next_cursor and, where something is not yet indexed, indexed_to."""
        behind = {} if self.complete else {"indexed_to": _time(self.indexed_to_us)}
        return msgspec.json.encode(
            {"items": [msgspec.Raw(item) for item in self.items], "next_cursor": self.next_cursor, **behind}
        )


class _TakenIn(msgspec.Struct):
    """What is shown of an event that was taken in and not decided."""

    decision_id: str
    event_type: str
    event_id: str
    event_time: datetime
    taken_in_at: datetime
    status: str = "accepted"


@dataclass(slots=True)
class _Wanted:
    """A filter made ready for columns."""

    asked: LedgerFilter
    entity: NDArray[np.uint32] | None
    rule: NDArray[np.uint32] | None
    outcomes: NDArray[np.bool_] | None  # by the byte that an outcome is
    bits: int
    flag: int

    @classmethod
    def of(cls, asked: LedgerFilter) -> _Wanted:
        allowed = None
        if asked.outcomes or asked.decided is not None:
            allowed = np.zeros(256, np.bool_)
            allowed[list(asked.outcomes) or slice(0, 128)] = True
            if asked.decided is False:
                allowed = np.zeros(256, np.bool_)
                allowed[UNDECIDED & 255] = not asked.outcomes
        bits = UNDECIDED_BIT | 127
        if allowed is not None:
            bits = sum(1 << outcome for outcome in range(7) if allowed[outcome]) + UNDECIDED_BIT * bool(allowed[255])
        return cls(
            asked,
            entity_terms(*asked.entity) if asked.entity is not None else None,
            rule_term(asked.rule) if asked.rule is not None else None,
            allowed,
            bits,
            FLAGS[asked.flag] if asked.flag is not None else 0,
        )

    def possible(self, summary: Summary) -> bool:
        """Whether a block may hold what is wanted."""
        asked = self.asked
        low, high = summary.times if asked.by_event_time else summary.arrived
        return (
            summary.rows > 0
            and (asked.event_type is None or asked.event_type in summary.types)
            and (asked.since_us is None or high >= asked.since_us)
            and (asked.until_us is None or low < asked.until_us)
            and (asked.min_score is None or (summary.max_score is not None and summary.max_score >= asked.min_score))
            and bool(summary.outcomes & self.bits)
            and (not self.flag or bool(summary.flags & self.flag))
        )

    def rows(self, rows: Rows) -> NDArray[np.int64]:
        """The rows that fit, as far as columns tell, ascending."""
        asked = self.asked
        some: NDArray[np.int64] | None = None
        for terms in (self.entity, self.rule):
            if terms is not None:
                found = rows.with_terms(terms)
                some = found if some is None else np.intersect1d(some, found, assume_unique=True)
        pick: slice | NDArray[np.int64] = slice(None) if some is None else some
        fits = np.ones(len(rows.kinds) if some is None else len(some), np.bool_)
        if asked.event_type is not None:
            if asked.event_type not in rows.types:
                return np.empty(0, np.int64)
            fits &= rows.kinds[pick] == rows.types.index(asked.event_type)
        if self.outcomes is not None:
            fits &= self.outcomes[rows.outcomes[pick].view(np.uint8)]
        if self.flag:
            fits &= (rows.flags[pick] & self.flag) != 0
        if asked.min_score is not None:
            fits &= rows.scores[pick] >= asked.min_score
        if asked.since_us is not None or asked.until_us is not None:
            fits &= self._in_time(rows, some, pick)
        places = np.flatnonzero(fits)
        return places if some is None else some[places]

    def _in_time(
        self, rows: Rows, some: NDArray[np.int64] | None, pick: slice | NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        since, until = self.asked.since_us, self.asked.until_us
        values = rows.times[pick] if self.asked.by_event_time else rows.arrived
        fits = np.ones(len(values), np.bool_)
        if since is not None:
            fits &= values >= since
        if until is not None:
            fits &= values < until
        if self.asked.by_event_time:
            return fits
        if some is not None:
            return fits[rows.batches_of(some)]
        return np.repeat(fits, np.diff([*rows.first_rows.tolist(), len(rows.kinds)]))


class Ledger:
    """Finds decisions and taken-in events in the log. For one event loop.

    `folder` is where the index is kept, which may be deleted at any time the service does not run. `definitions_of`
    gives the definitions, as they apply to stored bodies, of a version by its hash; `answer` makes the JSON of a
    record's bytes. `run` keeps up with the log until it is cancelled; a query first catches up by itself. A block is
    written once `block_rows` events are there; the log is followed in slices of `slice_bytes`.
    """

    def __init__(
        self,
        folder: Path,
        log: Log,
        definitions_of: Callable[[str], Definitions],
        answer: Callable[[bytes], bytes],
        *,
        block_rows: int = BLOCK_ROWS,
        slice_bytes: int = SLICE_BYTES,
    ) -> None:
        self._slice_bytes = slice_bytes
        self._log = log
        self._answer = answer
        self._readers = KeyReaders(definitions_of)
        self._index = Index(folder, log, self._readers, block_rows=block_rows)
        self._turn = asyncio.Lock()
        self._thread = one_thread("ledger")
        self._at_hand: OrderedDict[int, tuple[Entry, Events]] = OrderedDict()
        warm_up()

    @property
    def position(self) -> int:
        """How far the log is in the index."""
        return self._index.position

    # -- keeping up ---------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep up with the log until cancelled."""
        while True:
            start = perf_counter()
            await self._follow()
            # Many events at a time cost a tenth of what they cost one by one; who asks has the rest taken in first.
            behind = self._log.durable - self._index.position >= BEHIND_BYTES
            await asyncio.sleep(REST * (perf_counter() - start) if behind else IDLE_S)

    async def catch_up(self, position: int, timeout_s: float = CATCH_UP_S) -> bool:
        """Index the log up to a position; answers whether it is, after `timeout_s` at the latest."""
        end = perf_counter() + timeout_s
        while self._index.position < position and perf_counter() < end and await self._follow():
            await asyncio.sleep(0)
        return self._index.position >= position

    def forget_before(self, position: int) -> None:
        """Leave out what stands before a position, which the log no longer keeps."""
        self._index.forget_before(position)
        self._at_hand.clear()

    async def _beside(self, function: Callable[..., _T], *arguments: object) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)

    async def _follow(self) -> bool:
        """Take in one slice of the log; answers whether there was one."""
        async with self._turn:
            index = self._index
            if index.must_seal:
                tail = index.tail
                block = await self._beside(index.written, tail)
                if index.tail is tail:  # nothing was forgotten or begun anew meanwhile
                    index.seal(block)
            tail = index.tail
            try:
                # In another thread, as events do not wait for it there: it lets them in between.
                found = await self._beside(index.read, tail, self._slice_bytes)
            except IndexError:
                index.restart(self._log.first)
                return True
            if found is not None and index.tail is tail:
                index.enter(*found)
            return found is not None

    # -- asking -------------------------------------------------------------------------------------------------------

    async def query(self, asked: LedgerFilter, cursor: str | None = None, limit: int | None = None) -> Page:
        """A page of what a filter asks for; `cursor` and `limit` in place of its own. Raises BadCursor."""
        cursor = asked.cursor if cursor is None else cursor
        limit = asked.limit if limit is None else limit
        before: Place | None = None
        if cursor is not None:
            before = read_cursor(asked, cursor, self._log.durable)
        durable = self._log.durable
        complete = await self.catch_up(durable if before is None else min(durable, before[0] + 1))
        indexed_to_us = self._index.arrived_us
        if before is None:
            before = (self._index.position, 0)
        items: list[bytes] = []
        places: list[Place] = []
        next_cursor = None
        async with aclosing(self._search(_Wanted.of(asked), before)) as found:
            async for place, item in found:
                if item is None:  # as far as one page looks
                    next_cursor = write_cursor(asked, place)
                    break
                if len(items) == limit:
                    next_cursor = write_cursor(asked, places[-1])
                    break
                items.append(item)
                places.append(place)
        return Page(items, next_cursor, complete, None if complete else indexed_to_us)

    async def _search(self, wanted: _Wanted, before: Place) -> AsyncGenerator[tuple[Place, bytes | None], None]:
        """What fits before a place, the newest first; at last (place, None) where it is cut off there."""
        index = self._index
        loaded = reads = 0
        stretches: list[Block | Tail] = [*index.blocks, index.tail]
        for stretch in reversed(stretches):
            first = stretch.first if isinstance(stretch, Tail) else stretch.summary.first
            if (first, 0) >= before:
                continue
            rows = await self._columns(stretch, wanted)
            if rows is None:
                continue
            loaded += isinstance(stretch, Block)
            found = wanted.rows(rows)
            found = found[: np.searchsorted(found, rows.rows_before(*before))]
            found = found[np.searchsorted(found, rows.rows_before(index.first, 0)) :]
            for row in reversed(found.tolist()):
                batch = int(rows.batches_of(np.array([row]))[0])
                place = (int(rows.positions[batch]), row - int(rows.first_rows[batch]))
                item = self._read(wanted.asked, place)
                if item is not None:
                    yield place, item
                reads += 1
                if reads % _READS_A_SLICE == 0:
                    await asyncio.sleep(0)
                if reads == _MOST_READS:
                    yield place, None
                    return
            if loaded == _MOST_BLOCKS:
                yield (first, 0), None
                return
            await asyncio.sleep(0)

    async def _columns(self, stretch: Block | Tail, wanted: _Wanted) -> Rows | None:
        """The columns of a stretch where it may hold what is wanted, and is still there."""
        if isinstance(stretch, Tail):
            return stretch.rows()
        if not wanted.possible(stretch.summary):
            return None
        rows = self._index.opened(stretch)
        if rows is None:
            try:
                rows = await self._beside(self._index.load, stretch)
            except IndexError:
                return None  # the log was trimmed, this stretch with it
            self._index.keep_open(stretch, rows)
        return rows

    def _read(self, asked: LedgerFilter, place: Place) -> bytes | None:
        """The answer for an event, where it is what was asked for."""
        position, index = place
        held = self._at_hand.get(position)
        if held is None:
            try:
                entry = self._log.read(position, _ONE_ENTRY)[0]
            except IndexError:
                return None  # trimmed meanwhile
            held = self._at_hand[position] = (entry, read_events(entry.payload))
            while len(self._at_hand) > _BATCHES_AT_HAND:
                self._at_hand.popitem(last=False)
        entry, events = held
        event_type = events.types[events.kinds[index]]
        record = events.record(index)
        if asked.entity is not None:
            reader = self._readers.of(events.project, event_type)
            if not reader.carries(events.body(index), *asked.entity):
                return None
        if record is None:
            if asked.rule is not None:
                return None
            id = int(events.id_hi[index]).to_bytes(8, "big") + int(events.id_lo[index]).to_bytes(8, "big")
            return msgspec.json.encode(
                _TakenIn(
                    id.hex(),
                    event_type,
                    self._readers.of(events.project, event_type).event_id(events.body(index)),
                    _EPOCH + timedelta(microseconds=int(events.times_us[index])),
                    _EPOCH + timedelta(microseconds=entry.arrived_us),
                )
            )
        if asked.rule is not None:
            read = read_record(record)
            if asked.rule not in read.hits and asked.rule not in read.shadow_hits:
                return None
        return self._answer(bytes(record))


def _time(us: int | None) -> str:
    return "" if us is None else (_EPOCH + timedelta(microseconds=us)).isoformat().replace("+00:00", "Z")
