"""Labels on their way to the events they are about: found by id, or waiting until their event comes.

A label acts from its place in the log. One whose event has not come waits for `lateness` by the clock and then acts
right after its event; one that waited longer is given up. A label about an entity's key is about every event of the
type that was accepted so far with that key.
"""

from __future__ import annotations

from collections.abc import Mapping
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


class Labelling:
    """The labels that wait for their events, by the 128-bit hash of (event type, id).

    `applied` and `given_up` count labels; `forsaken` has the numbers (`LabelRows.place`) of those given up since it was
    last emptied.
    """

    def __init__(self, lateness_us: int) -> None:
        self._lateness_us = lateness_us
        self._waiting: dict[tuple[int, int], list[tuple[int | None, LabelRows]]] = {}
        self.applied = 0
        self.given_up = 0
        self.forsaken: list[int] = []

    def __len__(self) -> int:
        return sum(len(labels) for labels in self._waiting.values())

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What a snapshot keeps: the labels that wait, in order, and since when (NOT_YET before the first event)."""
        waiting = [(since, label) for labels in self._waiting.values() for since, label in labels]
        joined = LabelRows.joined([label for _, label in waiting])
        since = np.array([_NOT_YET if since is None else since for since, _ in waiting], np.int64)
        return {"since": since, **{item.name: getattr(joined, item.name) for item in fields(LabelRows)}}

    def restore(self, arrays: Mapping[str, NDArray[Any]], *, applied: int, given_up: int) -> None:
        """Go on with the labels of a snapshot."""
        labels = LabelRows(*(arrays[item.name] for item in fields(LabelRows)))
        for number, since in enumerate(arrays["since"].tolist()):
            key = int(labels.id_hi[number]), int(labels.id_lo[number])
            label = labels.take(slice(number, number + 1))
            self._waiting.setdefault(key, []).append((None if since == _NOT_YET else since, label))
        self.applied, self.given_up = applied, given_up

    def place(
        self,
        labels: LabelRows,
        entries: NDArray[np.int64],
        ids: IdIndex,
        *,
        new_entries: NDArray[np.int64],
        new_ids: tuple[NDArray[np.uint64], NDArray[np.uint64]],
        clocks: NDArray[np.int64],
        first_clock: int | None,
    ) -> Placed | None:
        """The labels that act in a batch whose events are in `ids` already; None where there are none.

        `entries` are the places of the batch's labels; `new_entries` those of its newly accepted events, which are the
        last of `ids`, and `new_ids` their hashes (high, low). `clocks` is the clock after each new event, `first_clock`
        that before the batch.
        """
        if not labels.count and not self._waiting:
            return None
        parts: list[LabelRows] = []
        held: list[NDArray[np.int64]] = []
        order: list[NDArray[np.int64]] = []
        first_new = len(ids) - new_entries.size

        # Those that waited from before come first: of several for one event the oldest acts first.
        if self._waiting and new_entries.size:
            low = np.array([key[1] for key in self._waiting], np.uint64)
            for number in np.flatnonzero(np.isin(new_ids[1], low)).tolist():
                key = int(new_ids[0][number]), int(new_ids[1][number])
                before = int(clocks[number - 1]) if number else first_clock
                for since, label in self._waiting.pop(key, ()):
                    began = since if since is not None else self._began(clocks)
                    if self._in_time(label, began, before):
                        parts.append(label)
                        held.append(np.array([first_new + number]))
                        order.append(np.array([2 * new_entries[number] + 1]))
        if labels.count:
            about_key = labels.entity >= 0
            found = np.where(about_key, -1, ids.find(labels.id_hi, labels.id_lo))
            at = np.full(labels.count, -1, np.int64)
            fresh = found >= first_new
            at[fresh] = new_entries[found[fresh] - first_new]
            act = about_key | ((found >= 0) & (at < entries))
            for item in np.flatnonzero(~act).tolist():
                label = labels.take(slice(item, item + 1))
                passed = int(np.searchsorted(new_entries, entries[item]))
                clock = int(clocks[passed - 1]) if passed else first_clock
                if found[item] < 0:
                    key = int(labels.id_hi[item]), int(labels.id_lo[item])
                    self._waiting.setdefault(key, []).append((clock, label))
                    continue
                number = int(found[item]) - first_new
                before = int(clocks[number - 1]) if number else first_clock
                if self._in_time(label, clock if clock is not None else self._began(clocks), before):
                    parts.append(label)
                    held.append(found[item : item + 1])
                    order.append(np.array([2 * at[item] + 1]))
            parts.append(labels.take(act))
            held.append(found[act])
            order.append(2 * entries[act])
        self._start_clocks(clocks)
        joined = LabelRows.joined(parts)
        if not joined.count:
            return None
        places = np.concatenate(order)
        sort = np.argsort(places, kind="stable")
        self.applied += int(places.size)
        return Placed(joined.take(sort), np.concatenate(held)[sort].astype(np.int64), places[sort])

    def _in_time(self, label: LabelRows, began: int | None, before: int | None) -> bool:
        """Whether a label waited no longer than the lateness; `before` is the clock just before its event."""
        if began is None or before is None or before - began <= self._lateness_us:
            return True
        self._forsake(label)
        return False

    @staticmethod
    def _began(clocks: NDArray[np.int64]) -> int | None:
        """A label before any event begins to wait with the first event."""
        return int(clocks[0]) if clocks.size else None

    def _start_clocks(self, clocks: NDArray[np.int64]) -> None:
        if clocks.size:
            for key, labels in self._waiting.items():
                if any(since is None for since, _ in labels):
                    first = int(clocks[0])
                    self._waiting[key] = [(first if since is None else since, label) for since, label in labels]

    def give_up(self, clock_us: int) -> None:
        """Drop the labels that waited too long by now."""
        for key in list(self._waiting):
            kept = []
            for since, label in self._waiting[key]:
                if since is not None and clock_us - since > self._lateness_us:
                    self._forsake(label)
                else:
                    kept.append((since, label))
            if kept:
                self._waiting[key] = kept
            else:
                del self._waiting[key]

    def _forsake(self, label: LabelRows) -> None:
        self.given_up += 1
        self.forsaken.append(int(label.place[0]))


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
