"""Workload W in plain Python, incrementally: deques and running sums, as one would write them without a library.

Work per event is constant, amortised. Not exact for late events: a late payment is appended as if it had come in time,
so that it sees what is after it, and expires late.
"""

from __future__ import annotations

import time
from collections import deque

import numpy as np

from benchmarks.workload import CARD_WINDOWS_US, DAY_US, FEATURES, SECOND_US, SHORT_WINDOWS_US, Peer, Workload

__all__ = ["Card", "Device", "Merchant", "run"]

NAN = float("nan")


class Amounts:
    """Count, sum and, where asked for, the largest of the amounts of one window."""

    __slots__ = ("items", "largest", "length_us", "total")

    def __init__(self, length_us: int, *, largest: bool) -> None:
        self.length_us = length_us
        self.items: deque[tuple[int, int]] = deque()
        self.total = 0
        self.largest: deque[tuple[int, int]] | None = deque() if largest else None  # falling amounts

    def add(self, now: int, amount: int) -> None:
        items, edge = self.items, now - self.length_us
        items.append((now, amount))
        total = self.total + amount
        while items[0][0] <= edge:
            total -= items.popleft()[1]
        self.total = total
        largest = self.largest
        if largest is not None:
            while largest and largest[-1][1] <= amount:
                largest.pop()
            largest.append((now, amount))
            while largest[0][0] <= edge:
                largest.popleft()


class Different:
    """The number of different values in one window."""

    __slots__ = ("counts", "items", "length_us")

    def __init__(self, length_us: int) -> None:
        self.length_us = length_us
        self.items: deque[tuple[int, int]] = deque()
        self.counts: dict[int, int] = {}

    def add(self, now: int, value: int) -> int:
        items, counts, edge = self.items, self.counts, now - self.length_us
        items.append((now, value))
        counts[value] = counts.get(value, 0) + 1
        while items[0][0] <= edge:
            gone = items.popleft()[1]
            if counts[gone] == 1:
                del counts[gone]
            else:
                counts[gone] -= 1
        return len(counts)


class Card:
    __slots__ = ("countries", "last", "windows")

    def __init__(self) -> None:
        self.windows = [Amounts(length, largest=True) for length in CARD_WINDOWS_US.values()]
        self.countries = Different(DAY_US)
        self.last: int | None = None

    def add(self, now: int, amount: int, country: int) -> tuple[float, ...]:
        windows = self.windows
        for window in windows:
            window.add(now, amount)
        idle = NAN if self.last is None else (now - self.last) / SECOND_US
        self.last = now
        a, b, c, d = windows
        m, n, o, p = len(a.items), len(b.items), len(c.items), len(d.items)
        s, t, u, v = a.total / 100, b.total / 100, c.total / 100, d.total / 100
        largest = [window.largest[0][1] / 100 for window in windows if window.largest]
        return (m, n, o, p, s, t, u, v, s / m, t / n, u / o, v / p, *largest, idle, self.countries.add(now, country))


class Device:
    __slots__ = ("cards", "windows")

    def __init__(self) -> None:
        self.windows = [Amounts(length, largest=False) for length in SHORT_WINDOWS_US.values()]
        self.cards = Different(DAY_US)

    def add(self, now: int, card: int) -> tuple[float, ...]:
        hour, day = self.windows
        hour.add(now, 0)
        day.add(now, 0)
        return len(hour.items), len(day.items), self.cards.add(now, card)


class Merchant:
    __slots__ = ("windows",)

    def __init__(self) -> None:
        self.windows = [Amounts(length, largest=False) for length in SHORT_WINDOWS_US.values()]

    def add(self, now: int, amount: int) -> tuple[float, ...]:
        hour, day = self.windows
        hour.add(now, amount)
        day.add(now, amount)
        m, n = len(hour.items), len(day.items)
        return m, n, hour.total / 100 / m, day.total / 100 / n


def run(stream: Workload) -> Peer:
    columns = (stream.time_us, stream.card, stream.device, stream.merchant, stream.country, stream.amount_minor)
    events = list(zip(*(column.tolist() for column in columns), strict=True))
    cards: dict[int, Card] = {}
    devices: dict[int, Device] = {}
    merchants: dict[int, Merchant] = {}
    rows = []
    started = time.process_time()
    for now, card, device, merchant, country, amount in events:
        by_card = cards.get(card) or cards.setdefault(card, Card())
        by_device = devices.get(device) or devices.setdefault(device, Device())
        by_merchant = merchants.get(merchant) or merchants.setdefault(merchant, Merchant())
        rows.append(by_card.add(now, amount, country) + by_device.add(now, card) + by_merchant.add(now, amount))
    cpu_s = time.process_time() - started
    return Peer(cpu_s, dict(zip(FEATURES, np.array(rows, np.float64).T, strict=True)))
