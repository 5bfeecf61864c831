"""The outbox is stopped between every two of its steps, as by a crash, and begun again on what is on disk.

Nothing is lost, and what arrives twice arrives under the id that it had.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from random import Random

import pytest
from outbox_parts import Clock, ListLog, Receiver, asked, decision, made, receiving

from parakh.service.outbox import Outbox
from parakh.service.webhooks import message_id

STEPS = (
    "outbox.read",
    "outbox.matched",
    "outbox.inserting",
    "outbox.stored",
    "outbox.sending",
    "outbox.delivered",
    "outbox.recording",
    "outbox.recorded",
)


class Killed(BaseException):
    """The end of the process: nothing may catch it."""


class Killer:
    """Ends the process at the `count`-th arrival at a step; remembers the steps that were reached."""

    def __init__(self, step: str, count: int) -> None:
        self.step = step
        self.left = count
        self.seen: Counter[str] = Counter()

    def __call__(self, name: str) -> None:
        self.seen[name] += 1
        if name == self.step:
            self.left -= 1  # below zero: what is dead stays dead
            if self.left <= 0:
                raise Killed(name)


async def lived(outbox: Outbox, done: asyncio.Event) -> bool:
    """Let an outbox run until it is done or killed, even while it stops; whether it lived."""
    task = asyncio.create_task(outbox.run())
    waiting = asyncio.create_task(done.wait())
    await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED, timeout=20)
    waiting.cancel()
    outbox.stop()
    try:
        await task
    except BaseExceptionGroup as failure:
        if failure.subgroup(Killed) is None:
            raise
        return False
    finally:
        outbox.close()
    return True


async def crash_and_go_on(path: Path, killers: list[Killer], flaky: Random | None) -> None:
    log, clock = ListLog(limit=2), Clock()
    async with receiving() as receiver:
        first = made(path, log, clock, [receiver.host])
        both = [(await first.subscribe(asked(receiver.url)))[0].id for _ in range(2)]
        first.close()
        for begin in range(0, 12, 2):
            log.append(decision(begin), decision(begin + 1))
        wanted = {message_id(decision(n).decision_id, name) for n in range(12) for name in both}
        taken: set[str] = set()
        done = asyncio.Event()

        def reply(headers: dict[str, str]) -> tuple[int, dict[str, str]]:
            if flaky is not None and flaky.random() < 0.3:
                return 500, {}
            taken.add(headers["webhook-id"])
            if taken == wanted:
                done.set()
            return 204, {}

        receiver.reply = reply
        for killer in killers:
            await alive_or_killed(path, log, clock, receiver, killer, done)
        last = made(path, log, clock, [receiver.host])
        ticking = asyncio.create_task(tick(clock, last))
        assert await lived(last, done)
        ticking.cancel()
        assert taken == wanted
        assert set(receiver.ids) == wanted  # what came twice came under an id that is known


async def alive_or_killed(
    path: Path, log: ListLog, clock: Clock, receiver: Receiver, killer: Killer, done: asyncio.Event
) -> None:
    outbox = made(path, log, clock, [receiver.host], reach=killer)
    ticking = asyncio.create_task(tick(clock, outbox))
    await lived(outbox, done)
    ticking.cancel()


async def tick(clock: Clock, outbox: Outbox) -> None:
    """Time goes by quickly, so that retries come due."""
    while True:
        await asyncio.sleep(0.01)
        clock.advance(2)
        outbox.wake()


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("step", STEPS)
def test_a_crash_at_every_step_loses_nothing(tmp_path: Path, step: str, count: int) -> None:
    killer = Killer(step, count)
    asyncio.run(crash_and_go_on(tmp_path / "service.db", [killer], None))
    assert killer.seen[step], "the step was not reached"
    assert count > 1 or killer.left <= 0, "nothing was stopped"


@pytest.mark.parametrize("seed", range(6))
def test_many_crashes_with_receivers_that_fail_lose_nothing(tmp_path: Path, seed: int) -> None:
    chance = Random(seed)
    killers = [Killer(chance.choice(STEPS), chance.randrange(1, 6)) for _ in range(8)]
    asyncio.run(crash_and_go_on(tmp_path / "service.db", killers, Random(seed + 100)))


def test_a_killed_transaction_leaves_position_and_messages_as_they_were(tmp_path: Path) -> None:
    async def story() -> None:
        log, clock = ListLog(), Clock()
        outbox = made(tmp_path / "service.db", log, clock, reach=Killer("outbox.inserting", 1))
        item, _ = await outbox.subscribe(asked("https://hooks.example.com/x"))
        log.append(decision(1))
        with pytest.raises(Killed):
            await outbox.look()
        outbox.close()
        again = made(tmp_path / "service.db", log, clock)
        assert again.counts.pending == 0
        held = again.subscription(item.id)
        assert held is not None
        assert held.cursor == 0
        await again.look()
        await again.look()
        assert again.counts.pending == 1
        again.close()

    asyncio.run(story())
