"""Workload W in Polars: rolling aggregates by event time within each key, on one thread.

A batch, not a stream, with the same foresight as DuckDB's. POLARS_MAX_THREADS must be 1 before polars is imported; this
module sees to it where it is the first to import it.
"""

from __future__ import annotations

import os
import time

os.environ.setdefault("POLARS_MAX_THREADS", "1")

import numpy as np
import polars as pl

from benchmarks.workload import CARD_WINDOWS_US, FEATURES, SECOND_US, SHORT_WINDOWS_US, Peer, Workload

__all__ = ["run"]


def run(stream: Workload) -> Peer:
    names = ("card", "device", "merchant", "country", "amount_minor")
    payments = pl.DataFrame({"place": np.arange(len(stream)), **{name: getattr(stream, name) for name in names}})
    payments = payments.with_columns(pl.Series("time", stream.time_us).cast(pl.Datetime("us")))
    started = time.process_time()
    payments = payments.sort("time")
    idle = (pl.col("time").diff().over("card").dt.total_microseconds() / SECOND_US).alias("card.idle")
    parts = [payments.select("place", idle)]
    amount = pl.col("amount_minor")
    for window in CARD_WINDOWS_US:
        aggregates = [
            pl.len().alias(f"card.payments_{window}"),
            (amount.sum() / 100).alias(f"card.spent_{window}"),
            (amount.mean() / 100).alias(f"card.usual_{window}"),
            (amount.max() / 100).alias(f"card.largest_{window}"),
        ]
        if window == "1d":
            aggregates.append(pl.col("country").n_unique().alias("card.countries_1d"))
        parts.append(_rolled(payments, "card", window, aggregates))
    for window in SHORT_WINDOWS_US:
        device = [pl.len().alias(f"device.payments_{window}")]
        if window == "1d":
            device.append(pl.col("card").n_unique().alias("device.cards_1d"))
        parts.append(_rolled(payments, "device", window, device))
        merchant = [
            pl.len().alias(f"merchant.payments_{window}"),
            (amount.mean() / 100).alias(f"merchant.usual_{window}"),
        ]
        parts.append(_rolled(payments, "merchant", window, merchant))
    features = pl.concat([part.sort("place").drop("place") for part in parts], how="horizontal")
    cpu_s = time.process_time() - started
    return Peer(cpu_s, {name: features[name].cast(pl.Float64).fill_null(np.nan).to_numpy() for name in FEATURES})


def _rolled(payments: pl.DataFrame, key: str, window: str, aggregates: list[pl.Expr]) -> pl.DataFrame:
    """One row a payment: the aggregates over (t - window, t] of its key."""
    rolled = payments.rolling("time", period=window.replace("1d", "24h").replace("7d", "168h"), group_by=key)
    return rolled.agg(pl.col("place").last(), *aggregates).drop(key, "time")
