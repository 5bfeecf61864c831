"""The outbox delivers at least once, in order of due time, and forgets nothing; the clock alone is not real."""

from __future__ import annotations

import asyncio
import json
import stat
from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from outbox_parts import BEGAN_US, Clock, ListLog, asked, decision, made, receiving, running, until

from parakh.service.deliveries import DEAD, DELIVERED, KEEP_DELIVERED_US, PENDING, Deliveries
from parakh.service.webhooks import BACK_OFF_S, LONGEST_S, State, message_id, retry_delay_s
from parakh.streams.entries import LABELS


def go(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(test)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "service.db"


def test_what_matches_is_delivered_once_and_the_rest_is_not(path: Path) -> None:
    async def story() -> None:
        log, clock = ListLog(), Clock()
        log.append(decision(0))  # before the subscription
        async with receiving() as receiver, running(made(path, log, clock, [receiver.host])) as outbox:
            item, _ = await outbox.subscribe(asked(receiver.url, filter={"outcomes": ["block"]}))
            log.append(decision(1), None, decision(2, outcome=0))
            log.append(kind=LABELS)
            log.append(decision(3))
            await receiver.wait_for(2)
            await until(lambda: outbox.counts.delivered == 2)
            assert receiver.ids == [message_id(decision(n).decision_id, item.id) for n in (1, 3)]
            body = json.loads(receiver.got[0][1])
            assert body == {
                "type": "decision",
                "timestamp": "2026-01-01T00:00:00.000001Z",
                "data": {"decision_id": decision(1).decision_id.hex(), "outcome": "block"},
            }
            counts = outbox.counts
            assert (counts.pending, counts.dead, counts.failed, counts.lag_bytes) == (0, 0, 0, 0)

    go(story())


@pytest.mark.parametrize(
    ("start", "numbers"),
    [("now", []), ("start", [0, 1, 2]), ("2026-01-01T00:00:01Z", [1, 2]), ("2026-01-01T05:30:02+05:30", [2])],
)
def test_a_subscription_begins_where_it_is_told(path: Path, start: str, numbers: list[int]) -> None:
    async def story() -> None:
        log, clock = ListLog(), Clock()
        for number in range(3):
            log.append(decision(number), arrived_us=BEGAN_US + number * 1_000_000)
        async with receiving() as receiver, running(made(path, log, clock, [receiver.host])) as outbox:
            item, _ = await outbox.subscribe(asked(receiver.url, start=start))
            log.append(decision(9), arrived_us=BEGAN_US + 9_000_000)
            await receiver.wait_for(len(numbers) + 1)
            assert sorted(receiver.ids) == sorted(message_id(decision(n).decision_id, item.id) for n in (*numbers, 9))

    go(story())


def test_a_subscription_begins_at_a_position(path: Path) -> None:
    async def story() -> None:
        log, clock = ListLog(), Clock()
        for number in range(3):
            log.append(decision(number))
        async with receiving() as receiver, running(made(path, log, clock, [receiver.host])) as outbox:
            item, _ = await outbox.subscribe(asked(receiver.url, start=log.entries[2].position))
            await receiver.wait_for(1)
            assert receiver.ids == [message_id(decision(2).decision_id, item.id)]

    go(story())


def test_retries_come_when_they_are_due_and_then_no_more(path: Path) -> None:
    """Twelve tries under one id, each after the wait that the table says, then the dead letters; then by hand."""

    async def story() -> None:
        log, clock = ListLog(), Clock()
        async with receiving() as receiver, running(made(path, log, clock, [receiver.host])) as outbox:
            receiver.reply = lambda headers: (500, {})
            item, _ = await outbox.subscribe(asked(receiver.url))
            log.append(decision(1))
            chance = Random(7)  # as the outbox's own
            for tries in range(1, 13):
                await receiver.wait_for(tries)
                await until(lambda tries=tries: outbox.counts.failed == tries)  # type: ignore[misc]
                if tries == 12:
                    break
                wait_s = retry_delay_s(tries, chance)
                (row,) = await outbox.page(item.id, state=PENDING, before=None, limit=10)
                assert row.due_us == clock() + int(wait_s * 1e6)
                assert (row.status, row.tries) == (500, tries)
                assert 0.8 * BACK_OFF_S[tries - 1] <= wait_s <= 1.2 * BACK_OFF_S[tries - 1]
                clock.now_us = row.due_us - 1
                outbox.wake()
                await asyncio.sleep(0.02)
                assert len(receiver.got) == tries, "a try before it was due"
                clock.now_us = row.due_us
                outbox.wake()
            assert len(set(receiver.ids)) == 1
            assert (outbox.counts.pending, outbox.counts.dead) == (0, 1)
            held = outbox.subscription(item.id)
            assert held is not None
            assert held.state is State.FAILING
            assert held.failures == 12
            (row,) = await outbox.page(item.id, state=DEAD, before=None, limit=10)
            assert (row.tries, row.status, row.error) == (12, 500, "the receiver answered 500")

            receiver.reply = lambda headers: (200, {})
            assert await outbox.resend(item.id) == 1
            await receiver.wait_for(13)
            await until(lambda: outbox.counts.delivered == 1)
            assert len(set(receiver.ids)) == 1
            held = outbox.subscription(item.id)
            assert held is not None
            assert (held.state, held.failures) == (State.ACTIVE, 0)
            assert outbox.counts.dead == 0

    go(story())


def test_tries_end_after_three_days(path: Path) -> None:
    async def story() -> None:
        log, clock = ListLog(), Clock()
        async with receiving() as receiver, running(made(path, log, clock, [receiver.host])) as outbox:
            receiver.reply = lambda headers: (503, {"retry-after": "999999999"})
            item, _ = await outbox.subscribe(asked(receiver.url))
            log.append(decision(1))
            await until(lambda: outbox.counts.failed == 1)
            (row,) = await outbox.page(item.id, state=PENDING, before=None, limit=10)
            assert row.due_us == BEGAN_US + LONGEST_S * 1_000_000  # no later, whatever the receiver asks for
            clock.now_us = row.due_us
            outbox.wake()
            await until(lambda: outbox.counts.dead == 1)

    go(story())


@pytest.mark.parametrize("header", ["120", "Thu, 01 Jan 2026 00:02:00 GMT"])
def test_retry_after_is_honoured(path: Path, header: str) -> None:
    async def story() -> None:
        log, clock = ListLog(), Clock()
        async with receiving() as receiver, running(made(path, log, clock, [receiver.host], in_flight=1)) as outbox:
            receiver.reply = lambda headers: (429, {"retry-after": header})
            item, _ = await outbox.subscribe(asked(receiver.url))
            log.append(decision(1), decision(2))
            await until(lambda: outbox.counts.failed == 1)
            rows = await outbox.page(item.id, state=PENDING, before=None, limit=10)
            assert sorted(row.due_us - BEGAN_US for row in rows) == [0, 120_000_000]
            clock.advance(119)
            outbox.wake()
            await asyncio.sleep(0.05)
            assert len(receiver.got) == 1  # nor is the other message sent to one who asked for quiet
            clock.advance(1)
            outbox.wake()
            await receiver.wait_for(2)

    go(story())


def test_due_first_is_sent_first(path: Path) -> None:
    """The older message has failed twice and waits for longer than the younger, which failed once."""

    async def story() -> None:
        log, clock = ListLog(), Clock()
        async with receiving() as receiver, running(made(path, log, clock, [receiver.host], in_flight=1)) as outbox:
            receiver.reply = lambda headers: (500, {})
            await outbox.subscribe(asked(receiver.url))
            log.append(decision(1))
            await until(lambda: outbox.counts.failed == 1)
            clock.advance(6)
            outbox.wake()
            await until(lambda: outbox.counts.failed == 2)
            log.append(decision(2))
            await until(lambda: outbox.counts.failed == 3)
            receiver.reply = lambda headers: (204, {})
            clock.advance(3_600)
            outbox.wake()
            await until(lambda: outbox.counts.delivered == 2)
            older, _, younger = receiver.ids[:3]
            assert receiver.ids[3:] == [younger, older]

    go(story())


def test_a_receiver_that_is_down_is_not_besieged(path: Path) -> None:
    async def story() -> None:
        log, clock = ListLog(), Clock()
        async with receiving() as receiver, running(made(path, log, clock, [receiver.host], in_flight=4)) as outbox:
            receiver.reply = lambda headers: (500, {})
            await outbox.subscribe(asked(receiver.url))
            log.append(*(decision(n) for n in range(100)))
            await receiver.wait_for(3)
            await asyncio.sleep(0.2)
            assert len(receiver.got) <= 8, "the lane stays open"
            receiver.reply = lambda headers: (204, {})
            clock.advance(7)
            outbox.wake()
            await until(lambda: outbox.counts.delivered >= 92)
            assert receiver.most_under_way <= 4

    go(story())


def test_a_slow_receiver_does_not_hold_up_another(path: Path) -> None:
    async def story() -> None:
        log, clock = ListLog(), Clock()
        async with receiving() as slow, receiving() as quick:
            slow.delay_s = 3.0
            async with running(made(path, log, clock, [slow.host, quick.host])) as outbox:
                await outbox.subscribe(asked(slow.url))
                await outbox.subscribe(asked(quick.url))
                log.append(*(decision(n) for n in range(50)))
                await quick.wait_for(50, seconds=2.5)
                assert not slow.got
                assert slow.most_under_way <= 16

    go(story())


def test_too_much_that_waits_stays_in_the_log(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A subscription with too much waiting leaves the rest in the log, and takes it up again later."""
    monkeypatch.setattr("parakh.service.outbox.MOST_PENDING", 10)

    async def story() -> None:
        log, clock = ListLog(limit=1), Clock()
        async with receiving() as receiver, running(made(path, log, clock, [receiver.host])) as outbox:
            receiver.reply = lambda headers: (500, {})
            await outbox.subscribe(asked(receiver.url))
            for begin in range(0, 60, 4):
                log.append(*(decision(n) for n in range(begin, begin + 4)))
            await until(lambda: outbox.counts.failed >= 3)
            await asyncio.sleep(0.2)
            assert outbox.counts.pending == 12
            assert outbox.counts.lag_bytes > 0
            receiver.reply = lambda headers: (204, {})
            clock.advance(60)
            outbox.wake()
            await until(lambda: outbox.counts.delivered == 60)
            assert outbox.counts.lag_bytes == 0
            assert len(set(receiver.ids)) == 60

    go(story())


def test_more_than_a_page_is_read_on(path: Path) -> None:
    async def story() -> None:
        log, clock = ListLog(), Clock()
        async with receiving() as receiver, running(made(path, log, clock, [receiver.host])) as outbox:
            await outbox.subscribe(asked(receiver.url))
            log.append(*(decision(n) for n in range(200)))
            await until(lambda: outbox.counts.delivered == 200)
            assert len(set(receiver.ids)) == len(receiver.ids) == 200

    go(story())


def test_a_retry_comes_when_it_is_due_after_a_restart(path: Path) -> None:
    async def story() -> None:
        log, clock = ListLog(), Clock()
        async with receiving() as receiver:
            receiver.reply = lambda headers: (500, {})
            async with running(made(path, log, clock, [receiver.host])) as outbox:
                await outbox.subscribe(asked(receiver.url))
                log.append(decision(1))
                await until(lambda: outbox.counts.failed == 1)
            receiver.reply = lambda headers: (204, {})
            async with running(made(path, log, clock, [receiver.host])) as outbox:
                await asyncio.sleep(0.1)
                assert len(receiver.got) == 1
                clock.advance(6)
                outbox.wake()
                await until(lambda: outbox.counts.delivered == 1)
                assert len(set(receiver.ids)) == 1

    go(story())


def test_who_pauses_during_a_try_has_the_last_word(path: Path) -> None:
    async def story() -> None:
        log, clock = ListLog(), Clock()
        async with receiving() as receiver, running(made(path, log, clock, [receiver.host])) as outbox:
            item, _ = await outbox.subscribe(asked(receiver.url))
            stale = outbox.subscription(item.id)
            assert stale is not None
            await outbox.pause(item.id)
            # The sender writes what it made of the subscription as it was before the pause.
            await outbox._call(outbox._deliveries.record, [], [replace(stale, failures=1)])
            held = outbox.subscription(item.id)
            assert held is not None
            assert (held.state, held.failures) == (State.PAUSED, 1)

    go(story())


def test_paused_waits_in_the_log_and_gone_pauses(path: Path) -> None:
    async def story() -> None:
        log, clock = ListLog(), Clock()
        async with receiving() as receiver, running(made(path, log, clock, [receiver.host])) as outbox:
            item, _ = await outbox.subscribe(asked(receiver.url))
            await outbox.pause(item.id)
            log.append(decision(1))
            await asyncio.sleep(0.15)
            assert not receiver.got
            assert (outbox.counts.pending, outbox.counts.lag_bytes) == (0, 0)
            receiver.reply = lambda headers: (410, {})
            await outbox.resume(item.id)
            await until(lambda: outbox.subscription(item.id).state is State.PAUSED)  # type: ignore[union-attr]
            assert outbox.counts.pending == 1
            receiver.reply = lambda headers: (204, {})
            await outbox.resume(item.id)
            await until(lambda: outbox.counts.delivered == 1)

    go(story())


def test_what_was_trimmed_before_it_was_sent_is_told(path: Path) -> None:
    async def story() -> None:
        log, clock = ListLog(), Clock()
        async with receiving() as receiver, running(made(path, log, clock, [receiver.host])) as outbox:
            item, _ = await outbox.subscribe(asked(receiver.url))
            await outbox.pause(item.id)
            log.append(decision(1))
            log.append(decision(2))
            log.trim(log.entries[1].position)
            await outbox.resume(item.id)
            await receiver.wait_for(1)
            held = outbox.subscription(item.id)
            assert held is not None
            assert held.missed_bytes == log.first
            assert receiver.ids == [message_id(decision(2).decision_id, item.id)]

    go(story())


def test_a_shorter_log_than_was_looked_at_is_taken_up_at_its_end(path: Path) -> None:
    async def story() -> None:
        log, clock = ListLog(), Clock()
        log.append(decision(1))
        log.append(decision(2))
        async with receiving() as receiver:
            async with running(made(path, log, clock, [receiver.host])) as outbox:
                item, _ = await outbox.subscribe(asked(receiver.url))
            shorter = ListLog()
            shorter.append(decision(1))
            async with running(made(path, shorter, clock, [receiver.host])):
                shorter.append(decision(5))
                await receiver.wait_for(1)
                assert receiver.ids == [message_id(decision(5).decision_id, item.id)]

    go(story())


def test_what_goes_away_is_forgotten(path: Path) -> None:
    """Delivered rows after a week, and all rows of a subscription that is removed."""

    async def story() -> None:
        log, clock = ListLog(), Clock()
        async with receiving() as receiver:
            async with running(made(path, log, clock, [receiver.host])) as outbox:
                kept, _ = await outbox.subscribe(asked(receiver.url))
                gone, _ = await outbox.subscribe(asked(receiver.url))
                log.append(decision(1))
                await until(lambda: outbox.counts.delivered == 2)
                assert await outbox.remove(gone.id)
                assert not await outbox.remove(gone.id)
            rows = Deliveries(path)
            while rows.sweep(clock()):
                pass
            assert rows._ask("SELECT DISTINCT subscription FROM deliveries").fetchall() == [(kept.id,)]
            assert rows.counts[kept.id].delivered == 1
            assert rows._ask("SELECT body FROM deliveries").fetchall() == [(None,)]
            assert rows.sweep(clock() + KEEP_DELIVERED_US) == 0
            assert rows.sweep(clock() + KEEP_DELIVERED_US + 1) == 1
            assert rows.counts[kept.id].delivered == 0
            assert not rows.page(kept.id, None, None, 10)
            rows.close()

    go(story())


def test_more_dead_letters_than_are_kept_are_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("parakh.service.deliveries.MOST_KEPT", 3)

    async def story() -> None:
        log, clock = ListLog(), Clock()
        async with receiving() as receiver:
            receiver.reply = lambda headers: (400, {})
            async with running(made(path, log, clock, [receiver.host], attempts=1)) as outbox:
                item, _ = await outbox.subscribe(asked(receiver.url))
                log.append(*(decision(n) for n in range(8)))
                for dead in range(1, 9):
                    await until(lambda dead=dead: outbox.counts.dead >= dead)  # type: ignore[misc]
                    clock.advance(60)
                    outbox.wake()
            rows = Deliveries(path)
            while rows.sweep(clock()):
                pass
            assert rows.counts[item.id].dead == 3
            assert rows.subscriptions[item.id].dropped == 5
            rows.close()
            again = Deliveries(path)
            assert (again.counts[item.id].dead, again.subscriptions[item.id].dropped) == (3, 5)
            again.close()

    go(story())


def test_pages_go_backwards_and_meet(path: Path) -> None:
    async def story() -> None:
        log, clock = ListLog(), Clock()
        async with receiving() as receiver, running(made(path, log, clock, [receiver.host])) as outbox:
            item, _ = await outbox.subscribe(asked(receiver.url))
            log.append(*(decision(n) for n in range(25)))
            await until(lambda: outbox.counts.delivered == 25)
            seen: list[int] = []
            before = None
            while page := await outbox.page(item.id, state=None, before=before, limit=10):
                seen += [row.seq for row in page]
                before = page[-1].seq
            assert seen == sorted(set(seen), reverse=True)
            assert len(seen) == 25
            assert len(await outbox.page(item.id, state=DELIVERED, before=None, limit=100)) == 25

    go(story())


def test_an_effect_of_another_kind_goes_the_same_way(path: Path) -> None:
    async def story() -> None:
        log, clock = ListLog(), Clock()
        async with receiving() as receiver, running(made(path, log, clock, [receiver.host])) as outbox:
            item, _ = await outbox.subscribe(asked(receiver.url))
            for _ in range(2):
                await outbox.enqueue("alarm", "msg_alarm_1", b'{"why":"drift"}', item.id)
            await until(lambda: outbox.counts.delivered == 1)
            assert receiver.ids == ["msg_alarm_1"]
            assert json.loads(receiver.got[0][1])["type"] == "alarm"
            await outbox.enqueue("alarm", "msg_alarm_2", b"{}", "wh_nobody")
            assert outbox.counts.pending == 0

    go(story())


def test_secrets_are_sealed_or_the_file_is_for_its_owner_only(path: Path) -> None:
    class Turned:
        def wrap(self, secret: bytes, context: bytes) -> bytes:
            return context + secret[::-1]

        def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
            assert wrapped.startswith(context)
            return wrapped[len(context) :][::-1]

    async def story() -> None:
        outbox = made(path, ListLog(), Clock(), seal=Turned())
        item, _ = await outbox.subscribe(asked("https://hooks.example.com/x"))
        await outbox.rotate(item.id)
        held = outbox.subscription(item.id)
        assert held is not None
        files = list(path.parent.iterdir())
        assert len(files) == 3  # with -wal and -shm
        assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in files)
        for secret in (held.secret, held.old_secret):
            assert secret is not None
            assert all(secret not in file.read_bytes() for file in files)
        outbox.close()
        again = Deliveries(path, seal=Turned())
        assert again.subscriptions[item.id] == held
        again.close()

    go(story())
