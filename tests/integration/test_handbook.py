"""The Fraud Detection Handbook's own feature values, reproduced by `parakh replay` on all 201,295 of their payments.

The data is not ours to copy: it is read from PARAKH_DATA, or from ../shared/data beside the project.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("PARAKH_DATA", ROOT.parent / "shared" / "data")) / "fraud-handbook"
PAYMENTS = DATA / "transactions_2018-06-11_2018-08-14.parquet"
EXPECTED = DATA / "expected_features_2018-07-25_2018-08-14.parquet"
PROJECT = ROOT / "examples" / "fraud-handbook"
COLUMNS = {
    **{f"customer.payments_{days}d": f"CUSTOMER_ID_NB_TX_{days}DAY_WINDOW" for days in (1, 7, 30)},
    **{f"customer.mean_amount_{days}d": f"CUSTOMER_ID_AVG_AMOUNT_{days}DAY_WINDOW" for days in (1, 7, 30)},
    **{f"terminal.payments_{days}d": f"TERMINAL_ID_NB_TX_{days}DAY_WINDOW" for days in (1, 7, 30)},
    **{f"terminal.fraud_share_{days}d": f"TERMINAL_ID_RISK_{days}DAY_WINDOW" for days in (1, 7, 30)},
}

pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(not PAYMENTS.exists(), reason=f"the handbook's data is not at {DATA} (set PARAKH_DATA)"),
]


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    """What `parakh replay` writes for the handbook's payments, its summary checked."""
    out = tmp_path_factory.mktemp("handbook") / "decisions.parquet"
    arguments = ["replay", str(PROJECT), "--events", str(PAYMENTS), "--label-delay", "7d", "--features"]
    command = [
        sys.executable,
        "-c",
        "from parakh.cli.main import main; main()",
        *arguments,
        "--out",
        str(out),
        "--json",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["received"] == 622_892
    assert summary["accepted"] == 622_892
    return pq.read_table(out)


def test_features_equal_the_authors(replayed: pa.Table) -> None:
    expected = pq.read_table(EXPECTED)
    assert expected.num_rows == 201_295
    rows = pc.index_in(pc.cast(expected["TRANSACTION_ID"], pa.string()), value_set=replayed["event_id"])
    assert rows.null_count == 0
    ours = replayed.take(rows)
    for name, theirs in COLUMNS.items():
        values = pc.cast(ours[name], pa.float64())
        if name.startswith("terminal.fraud_share"):
            values = pc.coalesce(values, 0.0)  # the handbook's risk of a terminal without payments
        assert values.null_count == 0, name
        difference = np.abs(values.to_numpy() - expected[theirs].to_numpy().astype(np.float64))
        assert difference.max() <= 1e-9, (name, float(difference.max()))


def test_every_payment_is_decided(replayed: pa.Table) -> None:
    assert replayed.num_rows == 622_892
    assert set(replayed["outcome"].to_pylist()) <= {"allow", "challenge", "review", "block"}
