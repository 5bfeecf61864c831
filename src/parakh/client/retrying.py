"""When a request is sent again: a deadline for the whole call, tries within it, and waits that spread callers out.

A call may be sent again where nobody answered, or where the answer was "not now" (429, 503, and 502, 504 of a proxy).
It is always the same bytes under the same event id, which the service decides once. Waits are capped exponential
back-off with full jitter (Brooker, "Exponential Backoff And Jitter", 2015): a uniform share of a limit that doubles, so
that callers who failed together do not come back together. A wait that the service asks for is kept (Retry-After);
where it does not fit before the deadline, the call ends at once, since waiting for nothing helps nobody.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from parakh.client.errors import ClientError, Overloaded, ServerFailed, TimedOut, Unreachable
from parakh.client.exchange import Failure, Plan, Reply, Request, Send, Wait
from parakh.client.results import Refusal

__all__ = ["PASSING", "Budget", "Policy", "ask", "retry_after_s"]

PASSING = frozenset({429, 502, 503, 504})
"""Statuses after which the same request may be answered."""

_SHARE = 0.75
"""Of the time that is left a try may take so much, so that one that hangs leaves time for another."""
_LEAST_SHARE = 0.05
"""With less of the deadline left than this no try is begun: it would be cut off, and hide what the ones before told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How long a call may take with all its tries, and how it is spread: seconds throughout."""

    timeout_s: float = 5.0
    tries: int = 200
    base_s: float = 0.05
    cap_s: float = 2.0
    clock: Callable[[], float] = time.monotonic
    chance: Callable[[], float] = random.random
    today: Callable[[], datetime] = lambda: datetime.now(UTC)

    def within(self, timeout_s: float | None) -> Policy:
        """The same policy with another deadline; this one for None."""
        return self if timeout_s is None else replace(self, timeout_s=timeout_s)


@dataclass(slots=True)
class Budget:
    """What is left of one call: its deadline and its tries."""

    policy: Policy
    deadline: float = field(init=False)
    tries: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.deadline = self.policy.clock() + self.policy.timeout_s

    @property
    def left_s(self) -> float:
        """Seconds until the deadline; negative after it."""
        return self.deadline - self.policy.clock()

    def next_try_s(self) -> float:
        """Begin a try: how long it may take."""
        self.tries += 1
        left = max(self.left_s, 0.0)
        return left if self.tries >= self.policy.tries else left * _SHARE

    def pause_s(self, asked_s: float | None) -> float | None:
        """How long to wait before the next try; None where there is no time or no try left."""
        left = self.left_s
        least = _LEAST_SHARE * self.policy.timeout_s
        if self.tries >= self.policy.tries or left < 2 * least:
            return None
        limit = min(self.policy.cap_s, self.policy.base_s * 2.0 ** min(self.tries - 1, 30))
        pause = self.policy.chance() * min(limit, left / 2)
        if asked_s is not None:
            # What was asked for is a bound from below: chance comes on top, where there is room.
            if asked_s > left - least:
                return None
            pause = min(asked_s + pause, left - least)
        return pause


def ask(request: Request, budget: Budget) -> Plan[Reply]:
    """Send a request until there is an answer that will not change; `budget` may serve several requests of one call.

    Raises Unreachable, TimedOut, Overloaded or ServerFailed where there is none in time.
    """
    before: Reply | Failure | None = None
    while True:
        told: Reply | Failure = yield Send(request, budget.next_try_s())
        if isinstance(told, Reply) and told.status not in PASSING:
            return told
        asked_s = retry_after_s(told, budget.policy.today) if isinstance(told, Reply) else None
        pause_s = budget.pause_s(asked_s)
        if pause_s is None:
            raise given_up(told, budget, asked_s, before)
        before = told
        yield Wait(pause_s)


def retry_after_s(reply: Reply, today: Callable[[], datetime]) -> float | None:
    """The seconds of an answer's Retry-After, which may be a number or a date; None where it has none that makes sense.

    >>> retry_after_s(Reply(503, {"retry-after": "2"}, b""), lambda: datetime.now(UTC))
    2.0
    """
    text = reply.headers.get("retry-after", "").strip()
    if text.isascii() and text.isdecimal():
        return float(text[:9])
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    return max(0.0, ((at if at.tzinfo else at.replace(tzinfo=UTC)) - today()).total_seconds())


def given_up(
    told: Reply | Failure, budget: Budget, asked_s: float | None = None, before: Reply | Failure | None = None
) -> ClientError:
    """The error of a call that is over without an answer: `told` is what its last try came to, `before` the one before.

    >>> refused = Failure("unreachable", "connection refused")
    >>> given_up(Failure("timed_out", "nothing came"), Budget(Policy(clock=lambda: 0.0)), before=refused).args[0][:79]
    'no answer after 1 try in 0 s (nothing came, after connection refused); the even'
    """
    tries = f"{budget.tries} tries" if budget.tries > 1 else "1 try"
    spent = f"{tries} in {budget.policy.timeout_s - max(0.0, budget.left_s):.3g} s"
    if isinstance(told, Failure):
        again = "the event may have been decided: send it again under the same id, or ask for its decision"
        if told.kind == "timed_out":
            earlier = f", after {_words(before)}" if before is not None and _words(before) != told.detail else ""
            return TimedOut(f"no answer after {spent} ({told.detail}{earlier}); {again}")
        if told.kind == "broken":
            return Unreachable(f"the connection broke before the answer, after {spent} ({told.detail}); {again}")
        return Unreachable(f"no connection after {spent} ({told.detail}); is the service running at this address?")
    problem = Refusal.of(told)
    asked = f", which asks for {asked_s:g} s more" if asked_s is not None else ""
    context = f"given up after {spent}{asked}"
    if told.status in (429, 503):
        return Overloaded(problem, context, asked_s)
    return ServerFailed(problem, context)


def _words(told: Reply | Failure) -> str:
    return told.detail if isinstance(told, Failure) else f"HTTP {told.status}"
