"""Workload W in DuckDB: one SELECT with window functions over RANGE frames, on one thread.

A batch, not a stream: the frames are by event time, so that a payment also sees those younger than it in arrival but
older in time, which it could not have known when it arrived.
"""

from __future__ import annotations

import time

import duckdb
import numpy as np
import pyarrow as pa

from benchmarks.workload import CARD_WINDOWS_US, FEATURES, SECOND_US, SHORT_WINDOWS_US, Peer, Workload

__all__ = ["run"]

_AGGREGATES = {
    "card.payments": "count(*)",
    "card.spent": "sum(amount_minor) / 100",
    "card.usual": "avg(amount_minor) / 100",
    "card.largest": "max(amount_minor) / 100",
    "card.countries": "count(DISTINCT country)",
    "device.payments": "count(*)",
    "device.cards": "count(DISTINCT card)",
    "merchant.payments": "count(*)",
    "merchant.usual": "avg(amount_minor) / 100",
}


def query() -> str:
    """The SELECT; frames are whole microseconds, so (t - w, t] is w - 1 PRECEDING."""
    columns = []
    for feature in FEATURES:
        entity = feature.partition(".")[0]
        if feature == "card.idle":
            columns.append(f'(time_us - lag(time_us) OVER by_card) / {SECOND_US} AS "{feature}"')
            continue
        name, _, window = feature.rpartition("_")
        function, _, rest = _AGGREGATES[name].partition(")")
        columns.append(f'{function}) OVER {entity}_{window}{rest} AS "{feature}"')
    windows = ["by_card AS (PARTITION BY card ORDER BY time_us)"]
    for entity, lengths in (("card", CARD_WINDOWS_US), ("device", SHORT_WINDOWS_US), ("merchant", SHORT_WINDOWS_US)):
        windows += [
            f"{entity}_{window} AS (PARTITION BY {entity} ORDER BY time_us "
            f"RANGE BETWEEN {length - 1} PRECEDING AND CURRENT ROW)"
            for window, length in lengths.items()
        ]
    listed = ",\n  ".join(columns)
    return f"SELECT place,\n  {listed}\nFROM payments\nWINDOW {', '.join(windows)}"


def run(stream: Workload) -> Peer:
    columns = {name: getattr(stream, name) for name in ("time_us", "card", "device", "merchant", "country")}
    payments = pa.table(  # noqa: F841 - DuckDB finds it by its name
        {"place": np.arange(len(stream)), **columns, "amount_minor": stream.amount_minor}
    )
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.execute("CREATE TEMP TABLE payments_held AS SELECT * FROM payments")
        statement = query().replace("FROM payments", "FROM payments_held")
        started = time.process_time()
        connection.execute(f"CREATE TEMP TABLE features AS {statement}")
        cpu_s = time.process_time() - started
        found = connection.execute("SELECT * EXCLUDE (place) FROM features ORDER BY place").fetchnumpy()
    return Peer(cpu_s, {name: np.ma.filled(np.ma.asarray(found[name]).astype(np.float64), np.nan) for name in FEATURES})
