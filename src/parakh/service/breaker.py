"""A circuit breaker: what keeps failing is left alone for a while, and then tried with one call before all.

closed     calls are made; 5 failures in a row, or more than half of the last 20 calls, open it
open       no call is made for 5 s; after each probe that fails twice as long, up to 60 s
half-open  one call is made, the probe: if it succeeds the breaker closes, if it fails it opens again
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable

__all__ = ["FIRST_WAIT_S", "IN_A_ROW", "LAST", "LONGEST_WAIT_S", "Breaker", "BreakerState", "Clock"]

Clock = Callable[[], float]
"""Seconds of a monotonic clock."""

IN_A_ROW = 5
LAST = 20
FIRST_WAIT_S = 5.0
LONGEST_WAIT_S = 60.0


class BreakerState(enum.IntEnum):
    """In the order of trouble, so that a metric of it can be alerted upon."""

    CLOSED = 0
    HALF_OPEN = 1
    OPEN = 2


class Breaker:
    """The breaker of one callee, for one thread.

    `ask` gives a ticket, with which `succeeded` or `failed` is called once, whatever happens. A ticket from before the
    last change of state says nothing about the state now, and is ignored.

    >>> now = 0.0
    >>> breaker = Breaker(lambda: now)
    >>> for _ in range(5):
    ...     breaker.failed(breaker.ask())
    >>> breaker.state.name, breaker.ask()
    ('OPEN', None)
    >>> now = 5.0
    >>> breaker.succeeded(breaker.ask())
    >>> breaker.state.name
    'CLOSED'
    """

    __slots__ = ("_clock", "_closed", "_epoch", "_in_a_row", "_last", "_probing", "_until", "_wait_s", "opened")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last: deque[bool] = deque(maxlen=LAST)  # True: failed
        self._in_a_row = 0
        self._closed = True
        self._probing = False
        self._until = 0.0
        self._wait_s = FIRST_WAIT_S
        self._epoch = 0
        self.opened = 0
        """How often it has opened, for metrics."""

    @property
    def state(self) -> BreakerState:
        if self._closed:
            return BreakerState.CLOSED
        return BreakerState.OPEN if self._clock() < self._until else BreakerState.HALF_OPEN

    def ask(self) -> int | None:
        """A ticket for a call that may be made now; None where it may not."""
        if self._closed:
            return self._epoch
        if self._probing or self._clock() < self._until:
            return None
        self._probing = True
        return self._epoch

    def succeeded(self, ticket: int | None) -> None:
        if ticket != self._epoch:
            return
        if self._closed:
            self._last.append(False)
            self._in_a_row = 0
        elif self._probing:
            self._epoch += 1
            self._closed, self._probing = True, False
            self._wait_s = FIRST_WAIT_S
            self._in_a_row = 0
            self._last.clear()

    def failed(self, ticket: int | None) -> None:
        if ticket != self._epoch:
            return
        if self._closed:
            self._last.append(True)
            self._in_a_row += 1
            if self._in_a_row >= IN_A_ROW or 2 * sum(self._last) > LAST:
                self._open(FIRST_WAIT_S)
        elif self._probing:
            self._open(min(2 * self._wait_s, LONGEST_WAIT_S))

    def _open(self, wait_s: float) -> None:
        self._epoch += 1
        self._closed, self._probing = False, False
        self._wait_s = wait_s
        self._until = self._clock() + wait_s
        self.opened += 1
