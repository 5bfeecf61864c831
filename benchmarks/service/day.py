"""A day of payments by a simulated clock: who arrives in each tick, with a day's tide and customers who are new.

Arrivals follow a day's tide: five times as many at the busiest hour as at the quietest. Payments are workload W's in
keys and amounts; a fifth of them tell a time up to 10 s before their arrival; two in a hundred come from a card that
was never seen and never comes again, so that keys and their texts grow as those of a business do.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from benchmarks.service.payments import numbered
from benchmarks.workload import SECOND_US, START_US, Workload, ndjson, workload

__all__ = ["Day", "Tick"]

_MINUTE_US = 60 * SECOND_US
_TIDE = 2 / 3  # the rate is 1 +- this, of the mean
_BUSIEST_H = 15.0
_LATE, _LATE_US = 0.2, 10 * SECOND_US
_NEW_CARDS = 0.02
_FIRST_NEW_CARD = 1_000_000

Tick = tuple[int, list[bytes]]
"""When a tick ends, in microseconds since 1970, and the payments that arrived in it."""


@dataclass(slots=True)
class Day:
    """`events` payments over `hours` hours, told in ticks of `tick_us`."""

    events: int
    hours: int = 24
    tick_us: int = 100_000
    seed: int = 7
    held: Workload = field(default_factory=lambda: workload(200_000))
    made: int = 0

    def ticks(self) -> Iterator[Tick]:
        """Every tick in which something arrives, minute by minute."""
        random = np.random.default_rng(self.seed)
        for minute, count in enumerate(self._counts()):
            begin = START_US + minute * _MINUTE_US
            arrival = np.sort(random.integers(0, _MINUTE_US, count)) + begin
            lines = self._payments(random, arrival)
            ends = (arrival // self.tick_us + 1) * self.tick_us
            edges = np.flatnonzero(np.diff(ends, prepend=-1, append=-1)).tolist()
            for first, stop in pairwise(edges):
                yield int(ends[first]), lines[first:stop]

    def _counts(self) -> list[int]:
        """Payments of each minute; together all of them."""
        hour = (np.arange(self.hours * 60) + 0.5) / 60
        rate = 1 + _TIDE * np.cos((hour - _BUSIEST_H) * (2 * np.pi / 24))
        edges = np.rint(np.cumsum(rate) / rate.sum() * self.events).astype(int)
        return [int(count) for count in np.diff(edges, prepend=0)]

    def _payments(self, random: np.random.Generator, arrival: NDArray[np.int64]) -> list[bytes]:
        count = len(arrival)
        rows = np.arange(self.made, self.made + count) % len(self.held)
        late = np.where(random.random(count) < _LATE, random.integers(0, _LATE_US, count), 0)
        new = random.random(count) < _NEW_CARDS
        card = np.where(new, _FIRST_NEW_CARD + self.made + np.arange(count), self.held.card[rows])
        piece = Workload(
            arrival - late,
            card,
            *(getattr(self.held, name)[rows] for name in ("device", "merchant", "country", "amount_minor")),
        )
        lines = [numbered(line, self.made + row) for row, line in enumerate(ndjson(piece))]
        self.made += count
        return lines
