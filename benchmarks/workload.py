"""Workload W: the stream of payments that every benchmark reads, as columns and as lines of JSON.

2 million payments over 14 days; 100,000 cards and 50,000 devices (Zipf, exponent 0.8) and 5,000 merchants (exponent 1:
the hottest has 11 % of all events); 20 % of the events arrive up to 10 s after events that are younger than they. The
same seed gives the same bytes. A slice of N events is a stream of its own, as dense, over N / 2 million of the 14 days:
its long windows hold less than those of the whole.

    python -m benchmarks.workload --events 200000 --out payments.ndjson
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["EVENTS", "FEATURES", "Peer", "Workload", "ndjson", "workload"]

EVENTS = 2_000_000
DAYS = 14
SECOND_US = 1_000_000
HOUR_US = 3600 * SECOND_US
DAY_US = 24 * HOUR_US
START_US = 1_767_571_200_000_000  # 2026-01-05, a Monday

CARD_WINDOWS_US = {"10m": 600 * SECOND_US, "1h": HOUR_US, "1d": DAY_US, "7d": 7 * DAY_US}
SHORT_WINDOWS_US = {"1h": HOUR_US, "1d": DAY_US}

FEATURES: tuple[str, ...] = (
    *(f"card.{name}_{window}" for name in ("payments", "spent", "usual", "largest") for window in CARD_WINDOWS_US),
    "card.idle",
    "card.countries_1d",
    "device.payments_1h",
    "device.payments_1d",
    "device.cards_1d",
    "merchant.payments_1h",
    "merchant.payments_1d",
    "merchant.usual_1h",
    "merchant.usual_1d",
)
"""The 25 features, in the order of the project beside this file: count, sum, mean and largest amount, seconds since the
last payment, different countries and cards. Amounts in major units."""

_COUNTRIES = re.findall("..", "INUSGBAESGDEFRNLAUCAJPBRZANGKELKBDNPMYTHVNPHIDHKKRITESSECHPL")


@dataclass(frozen=True, slots=True)
class Workload:
    """Payments in the order in which they arrive; keys are dense numbers from 0."""

    time_us: NDArray[np.int64]
    card: NDArray[np.int64]
    device: NDArray[np.int64]
    merchant: NDArray[np.int64]
    country: NDArray[np.int64]
    amount_minor: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.time_us)


@dataclass(frozen=True, slots=True)
class Peer:
    """What a peer took and computed: seconds of CPU, all threads, without the preparation of its input; the features
    in the order of arrival, NaN for NULL."""

    cpu_s: float
    features: dict[str, NDArray[np.float64]]


def workload(events: int = EVENTS, *, seed: int = 7, late: float = 0.2) -> Workload:
    """A stream of `events` payments; `late` is the share of those that arrive out of order."""
    random = np.random.default_rng(seed)
    span = max(1, DAYS * DAY_US * events // EVENTS)
    arrival = START_US + np.sort(random.integers(0, span, events))
    delay = np.where(random.random(events) < late, random.integers(0, 10 * SECOND_US, events), 0)
    amount = np.maximum(1, np.exp(random.normal(np.log(2_500), 1.2, events))).astype(np.int64)
    return Workload(
        time_us=arrival - delay,
        card=_zipf(random, 100_000, 0.8, events),
        device=_zipf(random, 50_000, 0.8, events),
        merchant=_zipf(random, 5_000, 1.0, events),
        country=_zipf(random, len(_COUNTRIES), 1.2, events),
        amount_minor=np.minimum(amount, 10_000_000),
    )


def _zipf(random: np.random.Generator, keys: int, exponent: float, events: int) -> NDArray[np.int64]:
    """Keys drawn by rank ** -exponent; which key has which rank is random."""
    weights = np.arange(1, keys + 1) ** -exponent
    ranks = np.searchsorted(np.cumsum(weights) / weights.sum(), random.random(events))
    return random.permutation(keys)[np.minimum(ranks, keys - 1)].astype(np.int64)


def ndjson(stream: Workload) -> Iterator[bytes]:
    """The payments as lines of JSON, 187 bytes each or nearly."""
    columns = (stream.time_us, stream.card, stream.device, stream.merchant, stream.country, stream.amount_minor)
    second, prefix = -1, ""
    for row, (time_us, card, device, merchant, country, amount) in enumerate(
        zip(*(column.tolist() for column in columns), strict=True)
    ):
        if time_us // SECOND_US != second:
            second = time_us // SECOND_US
            prefix = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        yield (
            f'{{"payment_id":"pay-{row:07d}","paid_at":"{prefix}.{time_us % SECOND_US:06d}Z","card":"card-{card:06d}",'
            f'"device":"device-{device:06d}","merchant":"merchant-{merchant:04d}",'
            f'"amount":{amount // 100}.{amount % 100:02d},"country":"{_COUNTRIES[country]}","channel":"app"}}\n'
        ).encode()


def main() -> None:
    parser = argparse.ArgumentParser(description="Write workload W as lines of JSON.")
    parser.add_argument("--events", type=int, default=EVENTS)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    with arguments.out.open("wb") as file:
        file.writelines(ndjson(workload(arguments.events, seed=arguments.seed)))


if __name__ == "__main__":
    main()
