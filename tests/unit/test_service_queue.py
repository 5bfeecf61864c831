"""Who is decided when: single events and pieces of batches take turns, and what is under way lets others gather."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from parakh.service.answers import Answer
from parakh.service.desk import Item, Lines
from parakh.service.personal.plain import Joined
from parakh.service.problems import Problem
from parakh.service.queue import DeskQueue
from parakh.service.upkeep import cut

_TOLD = Answer(200, b"{}")


class Disk:
    """A log that is durable when the test says so, or by itself at once."""

    def __init__(self) -> None:
        self.end = 0
        self.durable = 0
        self.writes_itself = False
        self.own_s = 0.0

    def append(self) -> None:
        if self.writes_itself and self.durable == self.end:
            self.durable += 1
            self.own_s += 0.25
        self.end += 1


class Desk:
    """Puts each micro-batch into the log, and remembers of how many events it was."""

    def __init__(self) -> None:
        self.log = Disk()
        self.taken: list[int] = []
        self.is_plain = True

    def take(self, events: Sequence[Item] | Lines, arrived_us: int) -> None:
        self.taken.append(len(events))
        self.log.append()
        if isinstance(events, Lines) and self.is_plain:
            events.answers, events.position = b"told\n" * len(events), self.log.end
            return
        items = events.apart() if isinstance(events, Lines) else events
        for item in items:
            item.answer, item.position = _TOLD, self.log.end


def run(test: Callable[[DeskQueue, Desk], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        desk = Desk()
        await test(DeskQueue(desk, lambda: 0), desk)  # type: ignore[arg-type]

    asyncio.run(main())


def item() -> Item:
    return Item(0, b"{}")


def lines(count: int) -> Lines:
    return Lines(0, Joined.of([b"{}"] * count))


async def turns(count: int = 3) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def synced(queue: DeskQueue, desk: Desk) -> None:
    desk.log.durable = desk.log.end
    queue.durable(desk.log.end)


def test_what_waits_together_is_decided_together_and_told_when_it_is_durable() -> None:
    async def test(queue: DeskQueue, desk: Desk) -> None:
        told = [queue.put(item()) for _ in range(100)]
        await turns()
        assert desk.taken == [64]
        assert not any(one.done() for one in told)
        synced(queue, desk)
        assert sum(one.done() for one in told) == 64
        await turns()
        assert desk.taken == [64, 36]
        synced(queue, desk)
        assert [await one for one in told] == [[_TOLD]] * 100
        assert queue.depth == 0

    run(test)


def test_a_few_under_way_let_others_gather() -> None:
    async def test(queue: DeskQueue, desk: Desk) -> None:
        for number in range(2):
            queue.put(item())
            await turns()
            assert desk.taken == [1] * (number + 1)
        for _ in range(10):
            queue.put(item())
            await turns()
        assert desk.taken == [1, 1]
        synced(queue, desk)
        await turns()
        assert desk.taken == [1, 1, 10]

    run(test)


def test_pieces_and_single_events_take_turns() -> None:
    async def test(queue: DeskQueue, desk: Desk) -> None:
        pieces = [queue.put_piece([item()] * 20) for _ in range(3)]
        single = queue.put(item())
        await turns()
        assert desk.taken == [1], "the single event goes first, and no piece while it is on its way to the disk"
        queue.put(item())
        await turns()
        assert desk.taken == [1], "it is the piece's turn: what comes now waits for it"
        synced(queue, desk)
        assert single.done()
        await turns()
        assert desk.taken[:3] == [1, 20, 1]
        for _ in range(8):
            # One more event is on its way whenever one is told: without end, and never none of them.
            queue.put(item())
            await turns()
            desk.log.durable += 1
            queue.durable(desk.log.durable)
            await turns()
        synced(queue, desk)
        assert all(piece.done() for piece in pieces), "single events without end do not stop the pieces"

    run(test)


def test_pieces_alone_do_not_wait_for_the_disk() -> None:
    async def test(queue: DeskQueue, desk: Desk) -> None:
        for _ in range(5):
            queue.put_piece([item()] * 20)
        await turns(8)
        assert desk.taken == [20] * 5

    run(test)


def test_pieces_are_small_beside_single_events() -> None:
    async def test(queue: DeskQueue, desk: Desk) -> None:
        large = queue.piece
        queue.put(item())
        small = queue.piece
        assert small * 4 < large
        queue._last_single -= 2
        assert queue.piece == large

    run(test)


def test_what_the_log_wrote_on_the_way_is_told_at_once() -> None:
    async def test(queue: DeskQueue, desk: Desk) -> None:
        committed: list[tuple[int, float]] = []
        queue.committed = lambda events, seconds: committed.append((events, seconds))
        took: list[float] = []
        queue.observe = lambda taken, waits, took_s: took.append(took_s)
        desk.log.writes_itself = True
        told = [queue.put(item()) for _ in range(3)]
        await turns()
        assert all(one.done() for one in told)
        assert committed == [(3, 0.25)]
        assert took[0] < 0, "the time that the log took is not the decision's"
        desk.log.writes_itself = False
        later = queue.put_piece([item()] * 5)
        await turns()
        desk.log.writes_itself = True
        last = queue.put(item())
        await turns()
        assert desk.taken == [3, 5, 1]
        assert not later.done()
        assert not last.done(), "what comes behind an entry that the writer has waits for it too"
        synced(queue, desk)
        assert later.done()
        assert last.done()
        await turns()
        assert [events for events, _ in committed] == [3, 6]

    run(test)


def test_lines_are_told_as_lines_unless_something_is_wrong_with_one() -> None:
    async def test(queue: DeskQueue, desk: Desk) -> None:
        told = queue.put_piece(lines(5))
        await turns()
        assert not told.done()
        synced(queue, desk)
        assert await told == b"told\n" * 5
        desk.is_plain = False
        apart = queue.put_piece(lines(5))
        await turns()
        assert not apart.done()
        synced(queue, desk)
        assert await apart == [_TOLD] * 5
        refused = queue.put_piece(lines(3))
        await turns()
        queue.fail()
        assert len(await refused) == 3
        assert desk.taken == [5, 5, 3]

    run(test)


def test_who_waits_is_told_before_the_log_lets_go_what_the_answer_is_read_from() -> None:
    async def test(queue: DeskQueue, desk: Desk) -> None:
        told = [queue.put_piece(lines(3)), queue.put(item())]

        class Log:
            end = durable = 0

            def wait(self, position: int) -> None:
                self.end = self.durable = desk.log.durable = desk.log.end

            def trim(self, position: int) -> int:
                assert desk.taken == [1, 3]
                assert all(one.done() for one in told)
                return position

        desk.trim = lambda position, now_us: None  # type: ignore[attr-defined]
        assert cut(desk, queue, Log(), 7, 0) == 7  # type: ignore[arg-type]

    run(test)


def test_a_drain_leaves_nothing_waiting() -> None:
    async def test(queue: DeskQueue, desk: Desk) -> None:
        waiting = [queue.put(item()) for _ in range(70)] + [queue.put_piece([item()] * 9)]
        queue.drain()
        assert desk.taken == [64, 6, 9]
        synced(queue, desk)
        assert all(one.done() for one in waiting)
        await turns()
        assert desk.taken == [64, 6, 9]

    run(test)


def test_a_log_that_is_lost_tells_all_who_wait() -> None:
    async def test(queue: DeskQueue, desk: Desk) -> None:
        single, piece = queue.put(item()), queue.put_piece([item()] * 3)
        queue.drain()
        queue.fail()
        for future, count in ((single, 1), (piece, 3)):
            told = await future
            assert len(told) == count
            assert all(isinstance(one, Problem) and one.status == 503 for one in told)

    run(test)
