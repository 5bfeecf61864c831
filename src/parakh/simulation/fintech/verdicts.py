"""When people learn which payments and transfers were frauds: by analysts, customers, chargebacks; late or never."""

from __future__ import annotations

import numpy as np

from parakh.simulation.fintech.frauds import KINDS
from parakh.simulation.fintech.world import DAY_US, HOUR_US
from parakh.simulation.streams import Integers, Table, concatenate, take

__all__ = ["SOURCES", "verdicts"]

SOURCES = ("analyst", "chargeback", "customer")
ANALYST, CHARGEBACK, CUSTOMER = range(3)

# By kind of fraud: does an analyst find it, does the customer report it at once, does a chargeback come later.
FOUND = {
    "card_testing": (0.25, 0.20, 0.35),
    "compromised_terminal": (0.15, 0.45, 0.80),
    "compromised_card": (0.30, 0.55, 0.80),
    "account_takeover": (0.40, 0.80, 0.00),
    "mule": (0.25, 0.35, 0.00),
}
MISTAKEN = 0.0006
"""How many honest payments are reported as frauds by mistake or in bad faith."""


def verdicts(rng: np.random.Generator, time: Integers, fraud: Integers) -> Table:
    """Label events for rows of one type: `row`, `value` (1, 0; -1 withdraws), `known`, `source`, unordered."""
    chances = np.array([(0.0, 0.0, 0.0)] + [FOUND[kind] for kind in KINDS[1:]])[fraud]
    rows = np.arange(len(time))
    by_analyst = rng.random(len(time)) < chances[:, 0]
    by_customer = rng.random(len(time)) < chances[:, 1]
    by_chargeback = rng.random(len(time)) < chances[:, 2]
    mistaken = (fraud == 0) & (rng.random(len(time)) < MISTAKEN)
    parts = [
        _given(rng, rows[by_analyst], time, value=1, source=ANALYST, median_us=7 * HOUR_US, sigma=0.8),
        _given(rng, rows[by_customer], time, value=1, source=CUSTOMER, median_us=16 * HOUR_US, sigma=1.0),
        _given(rng, rows[by_chargeback], time, value=1, source=CHARGEBACK, median_us=7 * DAY_US, sigma=0.5),
    ]
    # A false report: most are corrected by an analyst or withdrawn by the customer, some stand.
    wrong = _given(rng, rows[mistaken], time, value=1, source=CUSTOMER, median_us=30 * HOUR_US, sigma=0.8)
    fate = rng.random(len(wrong["row"]))
    corrected, withdrawn = take(wrong, fate < 0.5), take(wrong, (fate >= 0.5) & (fate < 0.8))
    corrected["known"] = corrected["known"] + _delays(rng, len(corrected["row"]), 2 * DAY_US, 0.5)
    corrected["value"] = np.zeros_like(corrected["row"])
    corrected["source"] = np.full_like(corrected["row"], ANALYST)
    withdrawn["known"] = withdrawn["known"] + _delays(rng, len(withdrawn["row"]), 3 * DAY_US, 0.5)
    withdrawn["value"] = np.full_like(withdrawn["row"], -1)
    return concatenate([*parts, wrong, corrected, withdrawn])


def _given(
    rng: np.random.Generator, rows: Integers, time: Integers, *, value: int, source: int, median_us: int, sigma: float
) -> Table:
    known = time[rows] + _delays(rng, len(rows), median_us, sigma)
    return {"row": rows, "value": np.full_like(rows, value), "known": known, "source": np.full_like(rows, source)}


def _delays(rng: np.random.Generator, number: int, median_us: int, sigma: float) -> Integers:
    return np.maximum(
        60_000_000, (median_us * np.exp(sigma * rng.normal(0, 1, number))).astype(np.int64) // 1000 * 1000
    )
