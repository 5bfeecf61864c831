"""The queue before the desk: what waits is decided on together, and told when the log is durable - at once, where the
log was written on the way.

Everything here runs on the event loop. Single events, up to 64 at once, take turns with pieces of batches, so that a
request beside a large batch waits for a few milliseconds at most.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from operator import attrgetter
from typing import Any, overload

import msgspec

from parakh.service.answers import Answer
from parakh.service.desk import Desk, Item, Lines, Taken
from parakh.service.guard import mistake
from parakh.service.mistakes import Mistakes
from parakh.service.problems import Problem, problem
from parakh.streams.failpoints import reach
from parakh.streams.log import LogFailed

__all__ = ["DeskQueue", "Said"]

_AT_ONCE = 64
_SMALL_PIECE, _LARGE_PIECE = 48, 256
_BESIDE_S = 1.0
_POSITION = attrgetter("position")
_HOLD = 2
"""So many single events on their way to the disk are enough to let others wait and gather."""

Told = Answer | Problem
Said = list[Told] | bytes
"""What is told of several events: of each, or lines that say it."""
Observer = Callable[[Taken, Sequence[float], float], object]
"""Called after each micro-batch with what became of its events, how long each (or the piece) waited, and the seconds it
took."""


class _Waiting(msgspec.Struct):
    """A request that is not answered yet: one event, or those of a piece."""

    tell: Callable[[Any], object]
    since: float
    single: Item | None = None
    piece: Sequence[Item] | Lines = ()
    decided: float = 0.0

    def __len__(self) -> int:
        return 1 if self.single is not None else len(self.piece)

    @property
    def position(self) -> int:
        """From where on of the log the answers of the piece may be told."""
        if isinstance(self.piece, Lines) and self.piece.answers:
            return self.piece.position
        return max(map(_POSITION, _items(self.piece)))


@dataclass(slots=True)
class DeskQueue:
    """Brings events to the desk and answers back. `now_us` is the wall clock (microseconds UTC)."""

    desk: Desk
    now_us: Callable[[], int]
    observe: Observer | None = None
    committed: Callable[[int, float], object] | None = None
    """Called when more of the log is durable, with how many events that tells and the longest wait since deciding."""
    begin: Callable[[float], object] | None = None
    """Called before each micro-batch with how long its oldest event has waited (seconds)."""
    mistaken: Callable[[Exception], object] | None = None
    """Called where deciding fails by a mistake of ours: the engine may hold now what the log does not."""
    mistakes: Mistakes = field(default_factory=Mistakes)
    _loop: asyncio.AbstractEventLoop = field(init=False)
    _singles: deque[_Waiting] = field(default_factory=deque)
    _pieces: deque[_Waiting] = field(default_factory=deque)
    _undurable: deque[tuple[int, _Waiting]] = field(default_factory=deque)
    _singles_under_way: int = 0
    """Single events that are decided and not durable."""
    _last_single: float = -_BESIDE_S
    _is_turn_of_piece: bool = False
    _is_scheduled: bool = False
    _is_mistaken: bool = False
    _arrived_us: int = 0

    def __post_init__(self) -> None:
        self._loop = asyncio.get_running_loop()

    @property
    def piece(self) -> int:
        """How many lines of a batch make a piece: few where single events come, which wait for as long as it takes."""
        return _SMALL_PIECE if time.perf_counter() - self._last_single < _BESIDE_S else _LARGE_PIECE

    @property
    def depth(self) -> int:
        """Requests that are not answered yet."""
        return len(self._singles) + len(self._pieces) + len(self._undurable)

    @property
    def waited_s(self) -> float:
        """How long the oldest of them has waited."""
        oldest = [queue[0].since for queue in (self._singles, self._pieces) if queue]
        oldest += [self._undurable[0][1].since] if self._undurable else []
        return time.perf_counter() - min(oldest) if oldest else 0.0

    def submit(self, item: Item, tell: Callable[[list[Told]], object]) -> None:
        """One event; `tell` is called with its answer, alone in a list, when it is durable."""
        self._last_single = now = time.perf_counter()
        self._singles.append(_Waiting(tell, now, item))
        self._schedule()

    def put(self, item: Item) -> asyncio.Future[list[Told]]:
        """One event, with a future of its answer."""
        future, tell = self._future()
        self.submit(item, tell)
        return future

    @overload
    def put_piece(self, events: Sequence[Item]) -> asyncio.Future[list[Told]]: ...
    @overload
    def put_piece(self, events: Lines) -> asyncio.Future[Said]: ...
    def put_piece(self, events: Sequence[Item] | Lines) -> Any:
        """A piece of a batch; its answers come together, those of lines as lines where nothing is wrong with any."""
        future, tell = self._future()
        self._pieces.append(_Waiting(tell, time.perf_counter(), None, events))
        self._schedule()
        return future

    def _future(self) -> tuple[asyncio.Future[Any], Callable[[Said], object]]:
        future: asyncio.Future[Said] = self._loop.create_future()
        return future, partial(_settle, future)

    def arrived_us(self) -> int:
        """When what is taken now arrives: the wall clock, which never goes back here."""
        self._arrived_us = max(self._arrived_us, self.now_us())
        return self._arrived_us

    def drain(self) -> None:
        """Decide on everything that waits, now: before something else takes its place in the log."""
        while self._singles:
            self._decide(self._some_singles())
        while self._pieces:
            self._decide([self._pieces.popleft()])

    def when_durable(self, position: int, told: Told) -> asyncio.Future[list[Told]]:
        """Tell something that is no event, when the log is durable up to a position."""
        future, tell = self._future()
        now = time.perf_counter()
        waiting = _Waiting(tell, now, None, (Item(0, b"", answer=told),), now)
        if position <= self.desk.log.durable:
            self._tell(waiting)
        else:
            self._undurable.append((position, waiting))
        return future

    def durable(self, position: int) -> None:
        """The log is on disk up to here: tell those who wait for it."""
        undurable = self._undurable
        if not undurable or undurable[0][0] > position:
            return
        events, oldest = 0, undurable[0][1].decided
        while undurable and undurable[0][0] <= position:
            waiting = undurable.popleft()[1]
            events += len(waiting)
            self._singles_under_way -= waiting.single is not None
            self._tell(waiting)
        self._schedule()
        self._say_committed(events, time.perf_counter() - oldest)

    def fail(self) -> None:
        """The log is lost: nobody is told anything but that."""
        while self._undurable:
            _refuse(self._undurable.popleft()[1])

    def _run(self) -> None:
        self._is_scheduled = False
        self._take()
        self._schedule()

    def _schedule(self) -> None:
        if not self._is_scheduled and self._next() is not None:
            self._is_scheduled = True
            self._loop.call_soon(self._run)

    def _next(self) -> deque[_Waiting] | None:
        """What is decided next: single events, a piece of a batch, or nothing yet.

        Single events wait while several are on their way to the disk: what is decided now would wait for it anyway, and
        what comes meanwhile makes the next micro-batch larger. A piece waits while any is, so that their callers are
        told before it is worked on; then it is its turn, before the single events that came meanwhile, so that neither
        kind stops the other.
        """
        if self._pieces and (self._is_turn_of_piece or not self._singles):
            return None if self._singles_under_way else self._pieces
        if self._singles and (self._singles_under_way < _HOLD or len(self._singles) >= _AT_ONCE):
            return self._singles
        return None

    def _take(self) -> None:
        """Decide on one micro-batch of single events, or on one piece of a batch."""
        queue = self._next()
        if queue is self._pieces:
            self._is_turn_of_piece = False
            self._decide([queue.popleft()])
        elif queue is not None:
            self._is_turn_of_piece = True
            self._decide(self._some_singles())

    def _some_singles(self) -> list[_Waiting]:
        singles = self._singles
        if len(singles) > _AT_ONCE:
            return [singles.popleft() for _ in range(_AT_ONCE)]
        taken = list(singles)
        singles.clear()
        return taken

    def _decide(self, group: list[_Waiting]) -> None:
        if self._is_mistaken:
            for waiting in group:
                _refuse(waiting)
            return
        log = self.desk.log
        events = [waiting.single for waiting in group if waiting.single is not None] or group[0].piece
        begun, own_s, was_durable = time.perf_counter(), log.own_s, log.durable
        waited = begun - group[0].since
        if self.begin is not None:
            self.begin(waited)
        is_apart = bool(self.mistakes.known)
        for run in self.mistakes.apart(_items(events)) if is_apart else (events,):
            try:
                taken = self.desk.take(run, self.arrived_us())
            except LogFailed:
                for waiting in group:
                    _refuse(waiting)
                return
            except Exception as error:
                self._fail(group, run, error)
                return
            waits = [begun - waiting.since for waiting in group]
            if is_apart:
                self.mistakes.decided(_items(run))
                waits = [waited] * len(run)
            if self.observe is not None:
                self.observe(taken, waits, time.perf_counter() - begun - (log.own_s - own_s))
        durable, decided, written = log.durable, time.perf_counter(), 0
        for waiting in group:
            waiting.decided = decided
            single = waiting.single
            position = waiting.position if single is None else single.position
            if position <= durable:
                written += len(waiting) if position > was_durable else 0
                self._tell(waiting)
            else:
                self._undurable.append((position, waiting))
                self._singles_under_way += single is not None
        if log.own_s > own_s:
            self._say_committed(written, log.own_s - own_s)

    def _say_committed(self, events: int, seconds: float) -> None:
        """In the loop's next round: what was told just now leaves at the end of this one."""
        if self.committed is not None:
            self._loop.call_soon(self.committed, events, seconds)

    def _fail(self, group: Sequence[_Waiting], run: Sequence[Item] | Lines, error: Exception) -> None:
        """Deciding on some events failed by a mistake of ours: nothing more is decided on this engine."""
        self._is_mistaken = True
        self.mistakes.failed(_items(run))
        wrong = mistake(error)
        for waiting in group:
            waiting.tell([wrong] * len(waiting))
        if self.mistaken is not None:
            self.mistaken(error)

    def _tell(self, waiting: _Waiting) -> None:
        reach("desk.before_answer")
        single, piece = waiting.single, waiting.piece
        if single is not None:
            waiting.tell([single.answer or self.desk.stored_answer(single)])
        elif isinstance(piece, Lines) and piece.answers:
            waiting.tell(piece.answers)
        else:
            waiting.tell([item.answer or self.desk.stored_answer(item) for item in _items(piece)])


def _items(events: Sequence[Item] | Lines) -> Sequence[Item]:
    if not isinstance(events, Lines):
        return events
    return events.items or events.apart()


def _refuse(waiting: _Waiting) -> None:
    refused = problem("log_full", "the log cannot be written; the same request may be sent again")
    waiting.tell([refused] * len(waiting))


def _settle(future: asyncio.Future[Said], told: Said) -> None:
    if not future.done():  # else the caller has gone
        future.set_result(told)
