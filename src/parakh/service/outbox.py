"""The outbox: decisions and alarms leave the service, at least once, under ids that a receiver can rely on.

The log is the queue. For each subscription the outbox knows up to which position the log was looked at; it reads on
from there, and writes the messages that the subscription's filter lets through together with the new position. From
then on a message is the sender's until it is delivered or dead. A subscription with too many messages waiting is looked
at no further until they are fewer: what comes meanwhile stands in the log, and costs nothing twice.

Matching runs on the event loop in small pieces, since a thread that computes would hold up decisions for longer than
that; files are read and written in a thread of the outbox's own.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any, Final, NamedTuple, Protocol, TypeVar

import httpx

from parakh.decisions.hosts import pins_of
from parakh.decisions.record import read_record
from parakh.errors import ParakhError
from parakh.service.alarms import read_alarm
from parakh.service.deliveries import Counts, Deliveries, NewDelivery, Seal, Shown
from parakh.service.logs import get_log
from parakh.service.sending import Attempt, Sender, attempt
from parakh.service.webhooks import (
    ALARM,
    DECISION,
    Request,
    State,
    Subscription,
    WebhookError,
    body_of,
    message_id,
    new_id,
    new_secret,
    read_request,
    written_secret,
)
from parakh.streams import failpoints
from parakh.streams.entries import ALARMS, EVENTS, UNDECIDED, read_alarms, read_events
from parakh.streams.giving_way import one_thread
from parakh.streams.segments import Entry

__all__ = ["Log", "Outbox", "OutboxCounts"]

MOST_SUBSCRIPTIONS: Final = 100
MOST_PENDING: Final = 100_000
"""Messages of a subscription that wait in the database; beyond, the log is looked at no further for it."""
ROTATION_US: Final = 86_400_000_000
"""The secret that was replaced signs beside the new one for so long."""
LOOK_BYTES: Final = 256 * 1024
"""Of the log at once: its messages are in memory until they are written."""
_KEEP_BYTES: Final = 1 << 20
"""A position is written after so many bytes where there was no message to be written with it."""
_LOOK_EVERY_S: Final = 0.05
_LOOK_FOR_NOBODY_S: Final = 0.5
"""Where there is no subscription: each look costs what a request does, and one that is made now begins at the end."""
_SWEEP_EVERY_S: Final = 60.0
_LONGEST_WAIT_S: Final = 30.0
_YIELD_AFTER: Final = 32
"""Decisions that are matched before others may run."""

_log = get_log("outbox")
_Result = TypeVar("_Result")


class Log(Protocol):
    """What the outbox asks of a log (`parakh.streams.log.EmbeddedLog`). `read` may be called from any thread."""

    @property
    def durable(self) -> int: ...

    @property
    def first(self) -> int: ...

    def read(self, position: int, limit_bytes: int = ...) -> list[Entry]: ...


class OutboxCounts(NamedTuple):
    """For metrics. pending, dead: messages now. delivered, failed: tries since the start. lag_bytes: of the log."""

    subscriptions: int
    pending: int
    dead: int
    delivered: int
    failed: int
    lag_bytes: int


class Outbox:
    """Subscriptions, and the task that serves them.

    db_path: the SQLite file, which others may share. answer: the JSON of a decision from its record's bytes. clock:
    microseconds UTC. rng: spreads retries. client_factory: makes the HTTP client that may reach public hosts and
    `allowed` ones (`parakh.service.addresses.guarded_client`). `public` False: `allowed` hosts alone. seal: wraps
    secrets. timeout_s, attempts, in_flight: for one try, for one message, at once for one subscription. on_result:
    told `delivered`, `retried` or `dead` after each try.

    All methods but the constructor, `stop`, `close` and `counts` are for the event loop.
    """

    def __init__(
        self,
        db_path: Path,
        log: Log,
        answer: Callable[[bytes], bytes],
        *,
        clock: Callable[[], int],
        rng: Random,
        client_factory: Callable[[], httpx.AsyncClient],
        allowed: Sequence[str] = (),
        public: bool = True,
        seal: Seal | None = None,
        timeout_s: float = 10.0,
        attempts: int = 12,
        in_flight: int = 16,
        on_result: Callable[[str], object] = id,
        reach: Callable[[str], object] = failpoints.reach,
    ) -> None:
        pins_of(allowed)  # a mistake in the settings is told at the start, not at the first webhook
        self._deliveries = Deliveries(db_path, seal=seal, reach=reach)
        self._thread = one_thread("outbox")
        self._log = log
        self._answer = answer
        self._clock = clock
        self._client_factory = client_factory
        self._client: httpx.AsyncClient | None = None
        self._allowed = tuple(allowed)
        self._public = public
        self._timeout_s = timeout_s
        self._reach = reach
        self._sender = Sender(
            self._deliveries, self._call, clock=clock, rng=rng, timeout_s=timeout_s, attempts=attempts,
            in_flight=in_flight, on_result=on_result, reach=reach,
        )  # fmt: skip
        self._at: dict[str, int] = {}  # looked at up to here; what is stored may lie a little before
        self._stopping = asyncio.Event()
        # A log that was restored from an older backup ends before what was looked at: what is to come begins there.
        for name, item in self._deliveries.subscriptions.items():
            if item.cursor > log.durable:
                _log.warning("webhook_ahead_of_log", webhook=name, position=item.cursor)
                self._deliveries.change(name, cursor=log.durable)

    # -- running -------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Look at the log and deliver, until `stop`; once. What fails for a while is tried again."""
        # To read the certificates of all authorities takes a tenth of a second.
        async with await asyncio.to_thread(self._client_factory) as client:
            self._client = client
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._sender.run(client))
                    group.create_task(self._keep_looking())
                    group.create_task(self._keep_sweeping())
            finally:
                self._client = None

    def stop(self) -> None:
        """Let `run` end: nothing more is begun, what is under way has five seconds. For the event loop's thread."""
        self._stopping.set()
        self._sender.stop()

    def close(self) -> None:
        """Close the database. Nothing else may be called afterwards."""
        self._thread.shutdown(wait=True)
        self._deliveries.close()

    def wake(self) -> None:
        """Look for what is due now; for tests that move the clock."""
        self._sender.look_again(())

    @property
    def counts(self) -> OutboxCounts:
        """What is to be known of it; cheap, and for any thread."""
        each = self._deliveries.counts.values()
        sender = self._sender
        return OutboxCounts(
            len(self._deliveries.subscriptions),
            sum(counts.pending for counts in each),
            sum(counts.dead for counts in each),
            sender.delivered,
            sender.failed,
            self._lag(),
        )

    def _lag(self) -> int:
        durable = self._log.durable
        return max(
            (
                durable - self._position(item)
                for item in self._deliveries.subscriptions.values()
                if item.state is not State.PAUSED
            ),
            default=0,
        )

    async def _keep_looking(self) -> None:
        wait_s = 0.0
        while not await self._stopped_within(wait_s):
            try:
                more = await self.look()
                wait_s = 0.0 if more else _LOOK_EVERY_S if self._deliveries.subscriptions else _LOOK_FOR_NOBODY_S
            except Exception as error:
                wait_s = min(_LONGEST_WAIT_S, max(1.0, wait_s * 2))
                _log.failed("outbox_not_looking", error, seconds=wait_s)

    async def _keep_sweeping(self) -> None:
        wait_s = 0.0
        while not await self._stopped_within(wait_s):
            try:
                wait_s = _LOOK_EVERY_S if await self._call(self._deliveries.sweep, self._clock()) else _SWEEP_EVERY_S
            except Exception as error:
                wait_s = _SWEEP_EVERY_S
                _log.failed("outbox_not_swept", error)

    async def _stopped_within(self, seconds: float) -> bool:
        if seconds <= 0.0:
            await asyncio.sleep(0)
            return self._stopping.is_set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        return self._stopping.is_set()

    async def _call(self, function: Callable[..., _Result], *arguments: Any) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)

    # -- looking at the log --------------------------------------------------------------------------------------------

    async def look(self) -> bool:
        """Look at one piece of the log for each subscription that is behind; True where there may be more.

        Subscriptions that stand near one another share a piece. One that has far to go takes a piece in each round, as
        all others do, so that it does not hold them up.
        """
        durable = self._log.durable
        waiting = sorted(
            (
                item
                for name, item in self._deliveries.subscriptions.items()
                if item.state is not State.PAUSED and self._position(item) < durable
                and self._deliveries.counts[name].pending < MOST_PENDING
            ),
            key=self._position,
        )  # fmt: skip
        more = bool(waiting)
        while waiting and not self._stopping.is_set():
            begin = await self._kept(waiting)
            entries = await self._call(self._log.read, begin, LOOK_BYTES)
            self._reach("outbox.read")
            if not entries:
                break
            end = entries[-1].next
            taking = [item for item in waiting if self._position(item) < end]
            await self._store(taking, await self._matched(entries, taking), end)
            waiting = waiting[len(taking) :]
        return more

    def _position(self, item: Subscription) -> int:
        return max(self._at.get(item.id, 0), item.cursor)

    async def _kept(self, waiting: Sequence[Subscription]) -> int:
        """Where to read for the first of those that wait; what was trimmed unseen is told as missed."""
        first = self._log.first
        for item in waiting:
            position = self._position(item)
            if position < first:
                _log.warning("webhook_missed", webhook=item.id, position=position, bytes=first - position)
                await self._call(
                    lambda item=item, missed=first - position: self._deliveries.change(
                        item.id, cursor=first, missed_bytes=item.missed_bytes + missed
                    )
                )
                self._at[item.id] = first
        return self._position(waiting[0])

    async def _matched(self, entries: Sequence[Entry], items: Sequence[Subscription]) -> dict[str, list[NewDelivery]]:
        """The messages that a piece of the log has for some subscriptions; each is answered once for all of them."""
        found: dict[str, list[NewDelivery]] = {}
        seen = 0
        for entry in entries:
            if entry.kind not in (EVENTS, ALARMS):
                continue
            takers = [
                item for item in items if self._position(item) <= entry.position and item.since_us <= entry.arrived_us
            ]
            if not takers:
                continue
            if entry.kind == ALARMS:
                self._match_alarms(entry, [item for item in takers if ALARM in item.filter.kinds], found)
                continue
            events = read_events(entry.payload)
            kinds, outcomes = events.kinds.tolist(), events.outcomes.tolist()
            for number, data in enumerate(events.all_records()):
                seen += 1
                if seen % _YIELD_AFTER == 0:
                    await asyncio.sleep(0)
                if data is None or outcomes[number] == UNDECIDED:
                    continue
                event_type = events.types[kinds[number]]
                asked = [item for item in takers if item.filter.is_wanted(event_type, outcomes[number])]
                if not asked:
                    continue
                record = read_record(data)
                told = [item for item in asked if item.filter.matches(record)]
                if told:
                    body = body_of(DECISION, record.decided_at_us, self._answer(bytes(data)))
                    for item in told:
                        message = message_id(record.decision_id, item.id)
                        found.setdefault(item.id, []).append(NewDelivery(message, DECISION, body, entry.position))
        return found

    @staticmethod
    def _match_alarms(entry: Entry, told: Sequence[Subscription], found: dict[str, list[NewDelivery]]) -> None:
        """The messages that an entry of alarms has for those who listen to them."""
        for line in read_alarms(entry.payload).alarms if told else ():
            body, named = body_of(ALARM, entry.arrived_us, line), read_alarm(line).id
            for item in told:
                new = NewDelivery(message_id(named, item.id), ALARM, body, entry.position)
                found.setdefault(item.id, []).append(new)

    async def _store(self, items: Sequence[Subscription], found: Mapping[str, list[NewDelivery]], end: int) -> None:
        self._reach("outbox.matched")
        # A position alone need not be written each time: to look twice at a piece does no harm.
        stored = {item.id: end for item in items if item.id in found or end - item.cursor >= _KEEP_BYTES}
        if stored:
            await self._call(self._deliveries.insert, found, stored, self._clock())
            self._reach("outbox.stored")
        self._at |= {item.id: end for item in items if item.id in self._deliveries.subscriptions}
        self._sender.look_again(found)

    # -- what is asked of it -------------------------------------------------------------------------------------------

    @property
    def subscriptions(self) -> Sequence[Subscription]:
        """All of them, the oldest first."""
        return list(self._deliveries.subscriptions.values())

    def subscription(self, name: str) -> Subscription | None:
        return self._deliveries.subscriptions.get(name)

    def messages(self, name: str) -> Counts:
        """How many messages of a subscription there are by state."""
        return self._deliveries.counts.get(name, Counts())

    async def subscribe(self, body: bytes) -> tuple[Subscription, str]:
        """A new subscription from its JSON (`read_request`), and its secret, which is told only here.

        Raises WebhookError, HostError.
        """
        request = read_request(body, self._allowed, public=self._public)
        cursor = await self._beginning(request)
        item = Subscription(
            id=new_id(), url=request.url, filter=request.filter, description=request.description, cursor=cursor,
            created_us=self._clock(), since_us=request.since_us, secret=new_secret(),
        )  # fmt: skip
        if not await self._call(self._added, item):
            raise WebhookError(f"there are {MOST_SUBSCRIPTIONS} webhooks already", hint="remove one")
        return item, written_secret(item.secret)

    def _added(self, item: Subscription) -> bool:
        # Counted in the thread that adds, where no other can come in between.
        if len(self._deliveries.subscriptions) >= MOST_SUBSCRIPTIONS:
            return False
        self._deliveries.add(item)
        return True

    async def _beginning(self, request: Request) -> int:
        durable = self._log.durable
        if request.start is None:
            return durable
        position = max(request.start, self._log.first)
        if position > durable:
            raise WebhookError("the log does not reach this position yet", field="from")
        if position < durable:
            try:
                await self._call(self._log.read, position, 1)
            except (ParakhError, IndexError):
                raise WebhookError("no entry of the log begins at this position", field="from") from None
        return position

    async def remove(self, name: str) -> bool:
        """Forget a subscription and its messages; False where there is none of that id."""
        self._at.pop(name, None)
        return await self._call(self._deliveries.remove, name)

    async def rotate(self, name: str) -> tuple[Subscription, str] | None:
        """A new secret; the one before it signs as well for a day."""
        old = self.subscription(name)
        if old is None:
            return None
        secret = new_secret()
        until_us = self._clock() + ROTATION_US
        new = await self._call(
            lambda: self._deliveries.change(name, secret=secret, old_secret=old.secret, old_until_us=until_us)
        )
        return None if new is None else (new, written_secret(secret))

    async def pause(self, name: str) -> Subscription | None:
        """Send nothing more; what is decided meanwhile stays in the log for it."""
        return await self._call(lambda: self._deliveries.change(name, state=State.PAUSED))

    async def resume(self, name: str) -> Subscription | None:
        """Send again, from where it was paused."""
        new = await self._call(
            lambda: self._deliveries.change(name, state=State.ACTIVE, failures=0, failing_since_us=None, last_error="")
        )
        self._sender.look_again([name], at_once=True)
        return new

    async def test(self, name: str) -> Attempt | None:
        """Send a message of kind `test` once, now, past all queues; what the receiver said."""
        item = self.subscription(name)
        if item is None or self._client is None:
            return None
        now_us = self._clock()
        message = message_id(b"test" + now_us.to_bytes(12, "big"), name)
        body = body_of("test", now_us, b"{}")
        return await attempt(self._client, item, message, body, now_us=now_us, timeout_s=self._timeout_s)

    async def resend(self, name: str, message: str | None = None) -> int:
        """Send a dead message again, or all of them; how many there were."""
        count = await self._call(self._deliveries.resend, name, message, self._clock())
        self._sender.look_again([name], at_once=True)
        return count

    async def page(self, name: str, *, state: int | None, before: int | None, limit: int) -> list[Shown]:
        """Messages of a subscription, the newest first."""
        return await self._call(self._deliveries.page, name, state, before, limit)

    async def enqueue(self, kind: str, message: str, data: bytes, subscription: str) -> None:
        """Have `data`, a JSON value, sent to a subscription as a message of some kind, once for each `message` id."""
        now_us = self._clock()
        row = NewDelivery(message, kind, body_of(kind, now_us, data))
        await self._call(self._deliveries.insert, {subscription: [row]}, {}, now_us)
        self._sender.look_again([subscription])
