"""Labels on their way to the events they are about: found by id, or waiting until their event comes.

A label acts from its place in the log. One whose event has not come waits for `lateness` by the clock and then acts
right after its event; one that waited longer is given up. A label about an entity's key is about every event of the
type that was accepted so far with that key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parakh.events.ids import IdIndex
from parakh.events.labels import LabelRows
from parakh.expressions.types import NULL_WORD

__all__ = ["Labelling", "Placed", "holding"]


_NOT_YET = -(2**62)


@dataclass(frozen=True, slots=True)
class Placed:
    """Labels that act in a batch, in order.

    `labels` says what they say; `held` the held row of each one's event (-1: about a key); `order` where each acts: 2 i
    just at entry i of the batch, 2 i + 1 right after it.
    """

    labels: LabelRows
    held: NDArray[np.int64]
    order: NDArray[np.int64]


@dataclass(slots=True)
class _Waiting:
    """Labels that wait, in the order in which they came, and since when (the clock, _NOT_YET before any event)."""

    since: NDArray[np.int64]
    labels: LabelRows

    def take(self, which: NDArray[np.bool_] | NDArray[np.int64]) -> _Waiting:
        return _Waiting(self.since[which], self.labels.take(which))

    @classmethod
    def joined(cls, parts: Sequence[_Waiting]) -> _Waiting:
        since = np.concatenate([np.empty(0, np.int64), *(part.since for part in parts)])
        return cls(since, LabelRows.joined([part.labels for part in parts]))


class Labelling:
    """The labels that wait for their events, by the 128-bit hash of (event type, id): some 70 bytes each.

    `applied` and `given_up` count labels; `forsaken` has the numbers (`LabelRows.place`) of those given up since it was
    last emptied.
    """

    def __init__(self, lateness_us: int) -> None:
        self._lateness_us = lateness_us
        self._pieces: list[_Waiting] = []  # each at least twice as long as the one after it, so that they are few
        self._swept_us: int | None = None
        self.applied = 0
        self.given_up = 0
        self.forsaken: list[int] = []

    def __len__(self) -> int:
        return sum([piece.since.size for piece in self._pieces])

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What a snapshot keeps: the labels that wait, in order, and since when (NOT_YET before the first event)."""
        held = _Waiting.joined(self._pieces)
        return {"since": held.since, **{item.name: getattr(held.labels, item.name) for item in fields(LabelRows)}}

    def restore(self, arrays: Mapping[str, NDArray[Any]], *, applied: int, given_up: int) -> None:
        """Go on with the labels of a snapshot."""
        labels = LabelRows(*(arrays[item.name].copy() for item in fields(LabelRows)))
        self._wait(_Waiting(arrays["since"].copy(), labels))
        self.applied, self.given_up = applied, given_up

    def place(
        self,
        labels: LabelRows,
        entries: NDArray[np.int64],
        ids: IdIndex,
        *,
        new_entries: NDArray[np.int64],
        new_ids: Sequence[NDArray[np.uint64]],
        clocks: NDArray[np.int64],
        first_clock: int | None,
    ) -> Placed | None:
        """The labels that act in a batch whose events are in `ids` already; None where there are none.

        `entries` are the places of the batch's labels; `new_entries` those of its newly accepted events, which are the
        last of `ids`, and `new_ids` their hashes (high, low). `clocks` is the clock after each new event, `first_clock`
        that before the batch.
        """
        if not labels.count and not self._pieces:
            return None
        first_new = len(ids) - new_entries.size
        # The clock before each new event, and at last that after all of them.
        before = np.concatenate([[_NOT_YET if first_clock is None else first_clock], clocks])
        parts: list[LabelRows] = []
        held: list[NDArray[np.int64]] = []
        order: list[NDArray[np.int64]] = []

        def act_after(waiting: _Waiting, number: NDArray[np.int64]) -> None:
            """Labels act right after their events, new ones of these numbers, unless they waited too long by then."""
            # A label before any event begins to wait with the first event.
            since = np.where(waiting.since == _NOT_YET, clocks[0], waiting.since)
            in_time = (before[number] == _NOT_YET) | (before[number] - since <= self._lateness_us)
            self._forsake(waiting.labels.place[~in_time])
            parts.append(waiting.labels.take(in_time))
            held.append(first_new + number[in_time])
            order.append(2 * new_entries[number[in_time]] + 1)

        # Those that waited from before come first: of several for one event the oldest acts first.
        if self._pieces and new_entries.size:
            waiting, number = self._called(*new_ids)
            if number.size:
                act_after(waiting, number)
        if labels.count:
            about_key = labels.entity >= 0
            found = np.where(about_key, -1, ids.find(labels.id_hi, labels.id_lo))
            at = np.full(labels.count, -1, np.int64)
            fresh = found >= first_new
            at[fresh] = new_entries[found[fresh] - first_new]
            act = about_key | ((found >= 0) & (at < entries))
            early = np.flatnonzero(~act)
            if early.size:
                since = before[np.searchsorted(new_entries, entries[early])]
                waiting = _Waiting(since, labels.take(early))
                known = found[early] >= 0
                self._wait(waiting.take(~known))
                if known.any():
                    act_after(waiting.take(known), found[early][known] - first_new)
            parts.append(labels.take(act))
            held.append(found[act])
            order.append(2 * entries[act])
        if clocks.size:
            for piece in self._pieces:
                piece.since[piece.since == _NOT_YET] = clocks[0]
        joined = LabelRows.joined(parts)
        if not joined.count:
            return None
        places = np.concatenate(order)
        sort = np.argsort(places, kind="stable")
        self.applied += int(places.size)
        return Placed(joined.take(sort), np.concatenate(held)[sort].astype(np.int64), places[sort])

    def may_act(self, low: NDArray[np.uint64]) -> bool:
        """Whether one that waits may be about new events, of whose hashes these are the lower halves, or begins to wait
        with them. Else placing the labels of a batch that has none changes nothing.
        """
        return any(
            bool((piece.since == _NOT_YET).any() or np.isin(piece.labels.id_lo, low).any()) for piece in self._pieces
        )

    def give_up(self, clock_us: int) -> None:
        """Drop the labels that waited too long by now."""
        if clock_us == self._swept_us:
            return
        self._swept_us = clock_us
        kept = []
        for piece in self._pieces:
            gone = (piece.since != _NOT_YET) & (piece.since < clock_us - self._lateness_us)
            if gone.any():
                self._forsake(piece.labels.place[gone])
                piece = piece.take(~gone)
            if piece.since.size:
                kept.append(piece)
        self._pieces = kept

    def _called(self, high: NDArray[np.uint64], low: NDArray[np.uint64]) -> tuple[_Waiting, NDArray[np.int64]]:
        """The waiting labels about new events, which wait no more, and the number of each one's event."""
        by_low = np.argsort(low)
        called, numbers, left = [], [], []
        for piece in self._pieces:
            mine = np.isin(piece.labels.id_lo, low)
            number = by_low[np.searchsorted(low[by_low], piece.labels.id_lo[mine])]
            same = high[number] == piece.labels.id_hi[mine]
            mine[mine] = same
            called.append(piece.take(mine))
            numbers.append(number[same])
            left.append(piece if not mine.any() else piece.take(~mine))
        self._pieces = [piece for piece in left if piece.since.size]
        return _Waiting.joined(called), np.concatenate(numbers)

    def _wait(self, waiting: _Waiting) -> None:
        """Put labels behind those that wait."""
        if not waiting.since.size:
            return
        self._pieces.append(waiting)
        while len(self._pieces) > 1 and self._pieces[-2].since.size < 2 * self._pieces[-1].since.size:
            last = self._pieces.pop()
            self._pieces[-1] = _Waiting.joined([self._pieces[-1], last])

    def _forsake(self, places: NDArray[np.int64]) -> None:
        self.given_up += int(places.size)
        self.forsaken.extend(places.tolist())


def holding(
    about: NDArray[np.int64], value: NDArray[np.int64], rank: NDArray[np.int16], events: int
) -> NDArray[np.int64]:
    """The number of the label that holds about each of so many events, -1 where none does.

    Labels are in the order in which they acted; `about` is the event of each. A label acts where its source ranks no
    lower than the one that holds; one that withdraws (NULL_WORD) leaves the event without any.

    >>> holding(np.array([0, 0, 1]), np.array([1, 0, NULL_WORD]), np.array([2, 1, 1], np.int16), 2).tolist()
    [0, -1]
    """
    held = np.full(events, -1, np.int64)
    undecided = np.ones(events, np.bool_)
    since = np.full(events, -1, np.int64)
    # The highest source's last word counts whatever else was said. Where it is a verdict it holds; where it withdraws,
    # the next source decides by what it said after that.
    left = np.arange(about.size)
    for source in np.unique(rank)[::-1].tolist():
        left = left[undecided[about[left]] & (left > since[about[left]])]
        mine = left[rank[left] == source]
        last = np.full(events, -1, np.int64)
        last[about[mine]] = mine  # of several the last one stays
        spoken = np.flatnonzero(last >= 0)
        withdrawn = value[last[spoken]] == NULL_WORD
        since[spoken[withdrawn]] = last[spoken[withdrawn]]
        held[spoken[~withdrawn]] = last[spoken[~withdrawn]]
        undecided[spoken[~withdrawn]] = False
    return held
