"""Labels that wait for their events: the flat arrays against the rule said slowly, label by label."""

from __future__ import annotations

import random

import numpy as np

from parakh.decisions.labelling import Labelling
from parakh.events.ids import NEW, IdIndex
from parakh.events.labels import LabelRows

LATENESS = 5


class SlowRule:
    """Each label by itself: it acts at its place where its event came before it, else right after its event, unless
    the clock moved on by more than the lateness in between.
    """

    def __init__(self) -> None:
        self.clock: int | None = None
        self.first: int | None = None
        self.came: dict[int, int] = {}
        self.waiting: list[tuple[int, int, int | None]] = []  # number of the label, event, clock when it came
        self.acted: list[tuple[int, int]] = []  # number of the label, row of its event
        self.given_up: set[int] = set()

    def event(self, event: int, time: int) -> None:
        before = self.clock
        self.clock = time if before is None else max(before, time)
        self.first = self.clock if self.first is None else self.first
        self.came[event] = len(self.came)
        for number, about, since in [item for item in self.waiting if item[1] == event]:
            self.waiting.remove((number, about, since))
            since = self.first if since is None else since
            if before is not None and before - since > LATENESS:
                self.given_up.add(number)
            else:
                self.acted.append((number, self.came[event]))

    def label(self, number: int, event: int) -> None:
        if event in self.came:
            self.acted.append((number, self.came[event]))
        else:
            self.waiting.append((number, event, self.clock))

    def end_of_batch(self) -> None:
        for item in list(self.waiting):
            since = self.first if item[2] is None else item[2]
            if self.clock is not None and since is not None and self.clock - since > LATENESS:
                self.waiting.remove(item)
                self.given_up.add(item[0])


def hashes(events: list[int]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([7 * event for event in events], np.uint64), np.array(events, np.uint64)


def test_labels_act_and_are_given_up_as_the_slow_rule_says() -> None:
    seed = random.randrange(2**32)
    rng = random.Random(seed)
    for _ in range(150):
        slow, labelling, ids = SlowRule(), Labelling(LATENESS), IdIndex()
        events = list(range(rng.randint(1, 12)))
        rng.shuffle(events)
        acted: list[tuple[int, int]] = []
        said, time, clock = 0, 100, None
        for _ in range(rng.randint(1, 12)):
            kinds = [rng.random() < 0.4 and bool(events) for _ in range(rng.randint(1, 8))]  # whether it is an event
            new, times, about = [], [], []
            first = clock
            clocks = []
            for is_event in kinds:
                if is_event and events:
                    time += rng.randint(-2, 4)
                    new.append(events.pop())
                    times.append(time)
                    clock = time if clock is None else max(clock, time)
                    clocks.append(clock)
                    slow.event(new[-1], time)
                else:
                    about.append(rng.randint(0, 14))
                    slow.label(said + len(about) - 1, about[-1])
            slow.end_of_batch()
            is_new = iter(range(len(new)))
            entries = [number for number, is_event in enumerate(kinds) if is_event and next(is_new, None) is not None]
            high, low = hashes(new)
            status, held = np.empty(len(new), np.uint8), np.empty(len(new), np.int64)
            ids.admit(high, low, np.zeros(len(new), np.uint64), np.ones(len(new), np.bool_), status, held)
            assert (status == NEW).all()
            labels = LabelRows.empty(len(about))
            labels.id_hi[:], labels.id_lo[:] = hashes(about)
            labels.entity[:] = -1
            labels.place[:] = np.arange(said, said + len(about))
            said += len(about)
            placed = labelling.place(
                labels,
                np.array([number for number in range(len(kinds)) if number not in entries], np.int64),
                ids,
                new_entries=np.array(entries, np.int64),
                new_ids=(high, low),
                clocks=np.array(clocks, np.int64),
                first_clock=first,
            )
            if clock is not None:
                labelling.give_up(clock)
            if placed is not None:
                acted += zip(placed.labels.place.tolist(), placed.held.tolist())
            if rng.random() < 0.2:  # a snapshot changes nothing
                again = Labelling(LATENESS)
                again.restore(labelling.arrays(), applied=labelling.applied, given_up=labelling.given_up)
                again.forsaken = labelling.forsaken
                labelling = again
        # Of one event the order is that of the rule; between events of one batch nothing depends on it.
        by_event = {row: [number for number, of in acted if of == row] for _, row in acted}
        expected = {row: [number for number, of in slow.acted if of == row] for _, row in slow.acted}
        assert by_event == expected, f"seed {seed}"
        assert set(labelling.forsaken) == slow.given_up, f"seed {seed}"
        assert labelling.given_up == len(slow.given_up)
        assert labelling.applied == len(slow.acted)
        assert len(labelling) == len(slow.waiting)


def test_many_that_wait_are_few_pieces() -> None:
    labelling, ids = Labelling(LATENESS), IdIndex()
    nothing, none = np.empty(0, np.int64), np.empty(0, np.uint64)
    for batch in range(300):
        labels = LabelRows.empty(100)
        labels.id_hi[:] = labels.id_lo[:] = 3
        labels.entity[:] = -1
        labels.place[:] = np.arange(100 * batch, 100 * batch + 100)
        placed = labelling.place(
            labels, np.arange(100), ids, new_entries=nothing, new_ids=(none, none), clocks=nothing, first_clock=1
        )
        assert placed is None
    assert len(labelling) == 30_000
    assert len(labelling._pieces) < 12
    assert labelling.arrays()["place"].tolist() == list(range(30_000))
    labelling.give_up(1 + LATENESS)
    assert len(labelling) == 30_000
    labelling.give_up(2 + LATENESS)
    assert (len(labelling), labelling.given_up) == (0, 30_000)
