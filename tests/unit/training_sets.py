"""Small training sets for tests, as `parakh dataset` would write them, with frauds that their inputs tell."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from parakh.expressions.values import iso_time

DAY = 86_400_000_000
START = 1_735_689_600_000_000  # 2025-01-01
DAYS = 40
TEST_FROM = START + 30 * DAY


def columns(rows: int = 6_000, seed: int = 0, *, share: float = 0.05) -> dict[str, Any]:
    """Payments of 40 days: `risk` and `amount` tell of fraud, `noise` of nothing; labels come within five days."""
    rng = np.random.default_rng(seed)
    time = START + np.sort(rng.integers(0, DAYS * DAY, rows))
    risk, amount, noise = rng.normal(size=rows), rng.lognormal(3, 1, rows), rng.normal(size=rows)
    raw = 1.6 * risk + 0.8 * (np.log(amount) - 3) + rng.logistic(size=rows) * 0.7
    fraud = raw > np.quantile(raw, 1 - share)
    risk[rng.random(rows) < 0.1] = np.nan
    known = np.where(fraud, time + rng.integers(0, 5 * DAY, rows), -1)
    split = np.where(time < TEST_FROM - 7 * DAY, "train", np.where(time < TEST_FROM, "gap", "test"))
    return {
        "event_id": pa.array([f"p{number}" for number in range(rows)]),
        "event_time": pa.array(time, pa.timestamp("us", "UTC")),
        "channel": pa.array(np.where(rng.random(rows) < 0.3, "web", "shop")).dictionary_encode(),
        "amount": pa.array(amount),
        "risk": pa.array(risk, from_pandas=True),
        "noise": pa.array(noise),
        "night": pa.array(rng.random(rows) < 0.2),
        "payments": pa.array(rng.integers(0, 9, rows)),
        "first_seen": pa.array(time, pa.timestamp("us", "UTC")),
        "nothing": pa.array([None] * rows, pa.float64()),
        "always": pa.array(np.full(rows, 7.0)),
        "payment.weight": pa.array(rng.normal(size=rows)),
        "label": pa.array(fraud, mask=time > START + 37 * DAY),
        "label_known_at": pa.array(known, pa.timestamp("us", "UTC"), mask=~fraud),
        "matured": pa.array(time <= START + 37 * DAY),
        "split": pa.array(split).dictionary_encode(),
        "weight": pa.array(np.ones(rows)),
    }


_ROLES = {"channel": ("field", "string"), "amount": ("field", "money INR"), "payment.weight": ("field", "number")}
_OWN = ("event_id", "event_time", "label", "label_known_at", "matured", "split", "weight")


def write_set(folder: Path, data: dict[str, Any], **changed: Any) -> Path:
    """Write the columns and their card into a folder; `changed` are keys of the card."""
    folder.mkdir(parents=True, exist_ok=True)
    table = pa.table(data)
    pq.write_table(table, folder / "data.parquet")
    described = []
    for name in table.column_names:
        role, type = ("set", "") if name in _OWN else _ROLES.get(name, ("feature", "number"))
        column = table.column(name)
        facts = {"distinct": len(column.unique())} if pa.types.is_dictionary(column.type) else {}
        described.append({"name": name, "role": role, "type": type, **facts})
    card = {
        "project": {"name": "shop", "hash": "0" * 64},
        "event_type": "payment",
        "label": "fraud",
        "span": {
            "from": None, "to": None, "known_by": iso_time(START + DAYS * DAY), "label_delay_days": 3.0,
            "test_from": iso_time(TEST_FROM), "gap_days": 7.0,
        },
        "counts": {"rows": table.num_rows, "unlabelled": int(0.9 * table.num_rows)},
        "warnings": [],
        "columns": described,
        "data": {"sha256": hashlib.sha256((folder / "data.parquet").read_bytes()).hexdigest()},
    }  # fmt: skip
    (folder / "card.json").write_text(json.dumps(card | changed))
    return folder


def fraud_of(data: dict[str, Any]) -> NDArray[np.bool_]:
    return np.asarray(data["label"].fill_null(False).to_numpy(zero_copy_only=False), np.bool_)
