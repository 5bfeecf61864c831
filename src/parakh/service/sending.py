"""Sends what is due to its receivers, and writes down what became of it.

Each subscription has a lane: a page of messages that are due and a bound on how many are under way. A receiver that
fails is not besieged: its lane narrows to one message at a time, with pauses that grow to a minute, until one gets
through. What became of tries is written for all that have ended together, so that one sync serves many.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime
from random import Random
from typing import Any, Final, NamedTuple

import httpx

from parakh.service.addresses import RefusedError
from parakh.service.deliveries import DEAD, DELIVERED, PENDING, Deliveries, Delivery, Tried
from parakh.service.logs import get_log
from parakh.service.webhooks import LONGEST_S, State, Subscription, retry_delay_s, signed_headers

__all__ = ["Attempt", "Sender", "attempt", "retry_after_s"]

SECOND: Final = 1_000_000
PAGE: Final = 64
"""Messages of a subscription that are read from the database at once."""
IN_FLIGHT: Final = 64
"""Messages under way to all receivers together; as many connections as the client has."""
NARROW_AFTER: Final = 3
"""Failures in a row after which a receiver is sent one message at a time."""
LONGEST_PAUSE_S: Final = 60
LONGEST_HELD_S: Final = 900
"""A lane is held back no longer than this by failures, and by a receiver's Retry-After; a message may wait longer."""
FAILING_AFTER_US: Final = 3_600 * SECOND
"""A receiver to which nothing got through for so long is said to be failing."""
GRACE_S: Final = 5.0
GONE: Final = 410
_NEVER: Final = 2**62
_ANSWER_BYTES: Final = 16_384
_RECORDED_AT_ONCE: Final = 500
_POLL_S: Final = 1.0
"""The clock may jump; so often it is asked anew."""

_log = get_log("outbox")


class Attempt(NamedTuple):
    """What a receiver said to one try. No status where it said nothing; `error` is empty where it took the message."""

    status: int | None
    error: str = ""
    retry_after_s: float | None = None

    @property
    def is_delivered(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


async def attempt(
    client: httpx.AsyncClient, subscription: Subscription, message: str, body: bytes, *, now_us: int, timeout_s: float
) -> Attempt:
    """Send a message once. Never raises for what a receiver or the network does."""
    headers = signed_headers(message, body, subscription.secrets_at(now_us), now_us)
    status: int | None = None
    try:
        async with (
            asyncio.timeout(timeout_s),
            client.stream("POST", subscription.url, content=body, headers=headers, follow_redirects=False) as answer,
        ):
            status = answer.status_code
            after = retry_after_s(answer.headers.get("retry-after", ""), now_us)
            # A short answer is read to its end, so that the connection can be used again; a long one is not.
            left = _ANSWER_BYTES
            async for piece in answer.aiter_raw():
                left -= len(piece)
                if left < 0:
                    break
            if 200 <= status < 300:
                return Attempt(status)
            return Attempt(status, f"the receiver answered {status}", after)
    except TimeoutError:
        return _ended(status, f"no answer within {timeout_s:g} s")
    except RefusedError as error:
        return _ended(status, f"the address may not be called: {error}")
    except httpx.TimeoutException:
        return _ended(status, "the receiver took too long")
    except httpx.ConnectError:
        return _ended(status, "no connection to the receiver")
    except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
        # Only the kind of error: its text may hold the URL, and that a secret of the receiver's.
        return _ended(status, f"the exchange failed ({type(error).__name__})")


def _ended(status: int | None, error: str) -> Attempt:
    """An exchange that broke: a success that was said before stands, whatever became of the rest of the answer."""
    if status is not None and 200 <= status < 300:
        return Attempt(status)
    return Attempt(status, error if status is None else f"the receiver answered {status}")


def retry_after_s(header: str, now_us: int) -> float | None:
    """What a Retry-After header asks for, seconds or a date; None where there is none that can be read.

    >>> retry_after_s("120", 0), retry_after_s("Thu, 01 Jan 1970 00:01:00 GMT", 0), retry_after_s("soon", 0)
    (120.0, 60.0, None)
    """
    text = header.strip()
    if text.isascii() and text.isdigit():
        return float(min(int(text[:9]), LONGEST_S))
    try:
        moment = parsedate_to_datetime(text)
        seconds = moment.timestamp() - now_us / SECOND
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return min(max(0.0, seconds), float(LONGEST_S))


@dataclass(slots=True)
class _Lane:
    """What is in memory for a subscription. `look_at_us`: when the database will have more that is due."""

    queue: deque[Delivery] = field(default_factory=deque)
    flying: set[int] = field(default_factory=set)
    look_at_us: int = 0
    not_before_us: int = 0


class Sender:
    """Delivers until it is stopped. `call` runs a function of `deliveries` in the thread that owns it."""

    def __init__(
        self,
        deliveries: Deliveries,
        call: Callable[..., Awaitable[Any]],
        *,
        clock: Callable[[], int],
        rng: Random,
        timeout_s: float,
        attempts: int,
        in_flight: int,
        on_result: Callable[[str], object],
        reach: Callable[[str], object],
    ) -> None:
        self._deliveries = deliveries
        self._call = call
        self._clock = clock
        self._rng = rng
        self._timeout_s = timeout_s
        self._attempts = attempts
        self._width = in_flight
        self._on_result = on_result
        self._reach = reach
        self._lanes: dict[str, _Lane] = {}
        self._flying = 0
        self._results: deque[tuple[str, Delivery, Attempt]] = deque()
        self._wake = asyncio.Event()
        self._ended = asyncio.Event()
        self._stopping = False
        self._is_over = False
        self.delivered = 0
        self.failed = 0

    def look_again(self, names: Iterable[str], *, at_once: bool = False) -> None:
        """Say that there may be more for these subscriptions; `at_once` lifts the pause after failures."""
        for name in names:
            lane = self._lanes.setdefault(name, _Lane())
            lane.look_at_us = 0
            if at_once:
                lane.not_before_us = 0
        self._wake.set()

    def stop(self) -> None:
        """Begin nothing more; what is under way has a few seconds to end, and is otherwise sent again next time."""
        self._stopping = True
        self._wake.set()

    async def run(self, client: httpx.AsyncClient) -> None:
        """Send what is due, and what will be, until `stop`; once."""
        async with asyncio.TaskGroup() as group:
            recorder = group.create_task(self._record_all())
            tries: set[asyncio.Task[None]] = set()
            while not self._stopping:
                self._wake.clear()
                wait_s = _POLL_S
                try:
                    async for name, delivery in self._due():
                        task = group.create_task(self._send(client, name, delivery))
                        tries.add(task)
                        task.add_done_callback(tries.discard)
                    wait_s = self._wait_s()
                except Exception as error:
                    _log.failed("outbox_unreadable", error)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait_s):
                        await self._wake.wait()
            if tries:
                await asyncio.wait(list(tries), timeout=GRACE_S)
            for task in list(tries):
                task.cancel()
            self._is_over = True
            self._ended.set()
            await recorder

    # -- what is due ---------------------------------------------------------------------------------------------------

    async def _due(self) -> AsyncIterator[tuple[str, Delivery]]:
        """Messages to be sent now, a few of each subscription in turn, within the bounds."""
        subscriptions = self._deliveries.subscriptions
        for name in [name for name in self._lanes if name not in subscriptions]:
            if not self._lanes[name].flying:
                del self._lanes[name]
        now_us = self._clock()
        # Who has least under way goes first, so that no receiver takes all the room from others.
        for name, subscription in sorted(subscriptions.items(), key=lambda item: self._under_way(item[0])):
            lane = self._lanes.setdefault(name, _Lane())
            if subscription.state is State.PAUSED or lane.not_before_us > now_us:
                continue
            width = self._width if subscription.failures < NARROW_AFTER else 1
            while len(lane.flying) < width and self._flying < IN_FLIGHT:
                if not lane.queue:
                    await self._fill(name, lane, now_us)
                    if not lane.queue:
                        break
                delivery = lane.queue.popleft()
                lane.flying.add(delivery.seq)
                self._flying += 1
                yield name, delivery

    def _under_way(self, name: str) -> int:
        lane = self._lanes.get(name)
        return len(lane.flying) if lane is not None else 0

    async def _fill(self, name: str, lane: _Lane, now_us: int) -> None:
        if lane.look_at_us > now_us:
            return
        limit = PAGE + len(lane.flying)
        # Set before the question is asked: what is inserted meanwhile sets it to 0, which must not be lost.
        lane.look_at_us = _NEVER
        try:
            found, later = await self._call(self._deliveries.due, name, now_us, limit)
        except BaseException:
            lane.look_at_us = 0
            raise
        lane.queue.extend(delivery for delivery in found if delivery.seq not in lane.flying)
        following = now_us if len(found) == limit else _NEVER if later is None else later
        lane.look_at_us = min(lane.look_at_us, following)

    def _wait_s(self) -> float:
        """Until when nothing is to be done, unless somebody wakes us."""
        now_us = self._clock()
        paused = {name for name, item in self._deliveries.subscriptions.items() if item.state is State.PAUSED}
        begins = (
            max(lane.not_before_us, now_us if lane.queue else lane.look_at_us)
            for name, lane in self._lanes.items()
            if name not in paused
        )
        # A lane that is due now and was left waits for a try to end, which wakes us.
        first = min((begin_us for begin_us in begins if begin_us > now_us), default=_NEVER)
        return min(_POLL_S, (first - now_us) / SECOND)

    # -- tries ---------------------------------------------------------------------------------------------------------

    async def _send(self, client: httpx.AsyncClient, name: str, delivery: Delivery) -> None:
        subscription = self._deliveries.subscriptions.get(name)
        if subscription is None:
            self._landed(name, delivery.seq)
            return
        self._reach("outbox.sending")
        try:
            result = await attempt(
                client, subscription, delivery.message, delivery.body, now_us=self._clock(), timeout_s=self._timeout_s
            )
        except Exception as error:
            _log.failed("webhook_not_tried", error, webhook=name)
            result = Attempt(None, f"the try failed ({type(error).__name__})")
        if result.is_delivered:
            self._reach("outbox.delivered")
        self._results.append((name, delivery, result))
        self._ended.set()

    def _landed(self, name: str, seq: int) -> None:
        self._flying -= 1
        lane = self._lanes.get(name)
        if lane is not None:
            lane.flying.discard(seq)
        self._wake.set()

    async def _record_all(self) -> None:
        while True:
            await self._ended.wait()
            self._ended.clear()
            while self._results:
                ended = [self._results.popleft() for _ in range(min(len(self._results), _RECORDED_AT_ONCE))]
                await self._record(ended)
            if self._is_over:
                return

    async def _record(self, ended: list[tuple[str, Delivery, Attempt]]) -> None:
        now_us = self._clock()
        tried = [self._judged(name, delivery, result, now_us) for name, delivery, result in ended]
        changed: dict[str, Subscription] = {}
        for name, _, result in ended:
            subscription = changed.get(name) or self._deliveries.subscriptions.get(name)
            if subscription is not None and (new := _after(subscription, result, now_us)) is not subscription:
                changed[name] = new
        while True:
            try:
                await self._call(self._deliveries.record, tried, list(changed.values()))
                break
            except Exception as error:
                # They stay under way until it is written, so that none is sent twice for a disk that is full.
                _log.failed("outbox_unwritable", error)
                await asyncio.sleep(_POLL_S)
        self._reach("outbox.recorded")
        for (name, delivery, result), outcome in zip(ended, tried, strict=True):
            lane = self._lanes.setdefault(name, _Lane())
            if outcome.state == PENDING:
                lane.look_at_us = min(lane.look_at_us, outcome.due_us)
            self._pause(lane, changed.get(name), result, now_us)
            self._count(outcome.state)
            self._landed(name, delivery.seq)

    def _judged(self, name: str, delivery: Delivery, result: Attempt, now_us: int) -> Tried:
        state, due_us = DELIVERED, now_us
        if not result.is_delivered:
            ends_us = delivery.begun_us + LONGEST_S * SECOND
            wait_s = max(retry_delay_s(delivery.tries + 1, self._rng), result.retry_after_s or 0.0)
            if result.status == GONE:
                state = PENDING  # it waits for who takes the subscription up again
            elif delivery.tries + 1 >= self._attempts or now_us >= ends_us:
                state = DEAD
            else:
                state, due_us = PENDING, min(now_us + int(wait_s * SECOND), ends_us)
        return Tried(delivery.seq, name, delivery.message, state, now_us, due_us, result.status, result.error)

    def _pause(self, lane: _Lane, changed: Subscription | None, result: Attempt, now_us: int) -> None:
        """Hold a lane back after failures in a row, or where its receiver asks for it."""
        if result.is_delivered:
            lane.not_before_us = 0
            return
        wait_s = min(result.retry_after_s or 0.0, LONGEST_HELD_S)
        if changed is not None and changed.failures >= NARROW_AFTER:
            wait_s = max(wait_s, min(LONGEST_PAUSE_S, 2 ** min(changed.failures - NARROW_AFTER, 10)))
        lane.not_before_us = max(lane.not_before_us, now_us + int(wait_s * SECOND))

    def _count(self, state: int) -> None:
        if state == DELIVERED:
            self.delivered += 1
        else:
            self.failed += 1
        self._on_result({PENDING: "retried", DELIVERED: "delivered", DEAD: "dead"}[state])


def _after(subscription: Subscription, result: Attempt, now_us: int) -> Subscription:
    """A subscription after one more try; the same object where nothing changed."""
    state = subscription.state
    if result.is_delivered:
        if subscription.failures == 0:
            return subscription
        state = State.ACTIVE if state is State.FAILING else state
        return replace(subscription, state=state, failures=0, failing_since_us=None, last_error="")
    since_us = now_us if subscription.failing_since_us is None else subscription.failing_since_us
    if result.status == GONE:
        state = State.PAUSED
    elif state is State.ACTIVE and now_us - since_us >= FAILING_AFTER_US:
        state = State.FAILING
    failures = subscription.failures + 1
    return replace(subscription, state=state, failures=failures, failing_since_us=since_us, last_error=result.error)
