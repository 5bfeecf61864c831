"""Decisions into files: the lines are JSON that means the table, and a file has its name only when it is whole."""

from __future__ import annotations

import json
import math
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parakh.cli.output import OutputError, format_of, json_lines, open_output

NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "event_id": st.none() | st.text(st.characters(exclude_categories=["Cs"])),
            "score": st.none() | NUMBERS,
            "count": st.none() | st.integers(-(2**63), 2**63 - 1),
            "night": st.none() | st.booleans(),
            "rules": st.none() | st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), max_size=3),
            "amount": st.none() | st.integers(-(10**17), 10**17).map(lambda minor: Decimal(minor).scaleb(-2)),
            "event_time": st.none() | st.integers(-(10**15), 4 * 10**15),
        }
    ),
    max_size=12,
)
TYPES = {
    "event_id": pa.string(),
    "score": pa.float64(),
    "count": pa.int64(),
    "night": pa.bool_(),
    "rules": pa.list_(pa.string()),
    "amount": pa.decimal128(20, 2),
    "event_time": pa.timestamp("us", "UTC"),
}


def table(rows: list[dict[str, object]]) -> pa.Table:
    return pa.table({name: pa.array([row[name] for row in rows], kind) for name, kind in TYPES.items()})


@settings(max_examples=150, deadline=None)
@given(ROWS)
def test_lines_are_json_of_the_same_values(rows: list[dict[str, object]]) -> None:
    lines = json_lines(table(rows)).splitlines()
    assert len(lines) == len(rows)
    for line, row in zip(lines, rows):
        read = json.loads(line, parse_float=Decimal)
        assert list(read) == list(TYPES)
        for name in ("event_id", "count", "night", "rules"):
            assert read[name] == row[name]
        score, amount = row["score"], row["amount"]
        assert (read["score"] is None) == (score is None)
        assert score is None or math.isclose(float(read["score"]), float(str(score)), rel_tol=0, abs_tol=0)
        assert read["amount"] == amount or Decimal(read["amount"]) == amount
        time = pa.scalar(row["event_time"], pa.timestamp("us", "UTC")).as_py()
        assert read["event_time"] == (time and time.strftime("%Y-%m-%dT%H:%M:%S.%fZ").rjust(27, "0"))


def test_lines_do_not_depend_on_how_rows_are_split() -> None:
    whole = table([dict.fromkeys(TYPES) | {"event_id": f"p{i}", "count": i} for i in range(50)])
    parts = b"".join(json_lines(whole.slice(start, 7)) for start in range(0, 50, 7))
    assert parts == json_lines(whole) == json_lines(pa.concat_tables([whole.slice(0, 20), whole.slice(20)]))


@pytest.mark.parametrize("format", ["parquet", "ndjson"])
def test_a_file_has_its_name_only_when_it_is_whole(tmp_path: Path, format: str) -> None:
    path = tmp_path / f"decisions.{format}"
    path.write_bytes(b"of yesterday")
    rows = pa.table({"event_id": ["p1", "p2"], "score": [0.5, None]})

    def half() -> None:
        with open_output(str(path), format, rows.schema) as output:
            output.write(rows)
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        half()
    assert path.read_bytes() == b"of yesterday"
    assert list(tmp_path.iterdir()) == [path]
    with open_output(str(path), format, rows.schema) as output:
        output.write(rows.slice(0, 1))
        output.write(rows.slice(1))
    read = pq.read_table(path) if format == "parquet" else None
    assert read is None or read.equals(rows)
    assert read is not None or [json.loads(line)["event_id"] for line in path.read_text().splitlines()] == ["p1", "p2"]
    assert list(tmp_path.iterdir()) == [path]


def test_row_groups_do_not_depend_on_batches(tmp_path: Path) -> None:
    rows = pa.table({"n": list(range(150_000))})
    groups = []
    for size in (4_096, 70_000, 150_000):
        path = tmp_path / f"{size}.parquet"
        with open_output(str(path), "parquet", rows.schema) as output:
            for start in range(0, rows.num_rows, size):
                output.write(rows.slice(start, size))
        file = pq.ParquetFile(path)
        groups.append([file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)])
        assert pq.read_table(path).equals(rows)
    assert groups[0] == groups[1] == groups[2] == [65_536, 65_536, 18_928]


def test_a_run_without_decisions_writes_an_empty_table(tmp_path: Path) -> None:
    schema = pa.schema([("event_id", pa.string())])
    for format in ("parquet", "ndjson"):
        with open_output(str(tmp_path / format), format, schema):
            pass
    assert pq.read_table(tmp_path / "parquet").schema == schema
    assert (tmp_path / "ndjson").read_bytes() == b""


def test_formats_are_told_by_their_endings(tmp_path: Path) -> None:
    assert format_of("a/b.PARQUET", None) == "parquet"
    assert format_of("a.jsonl", None) == "ndjson"
    assert format_of("-", None) == "ndjson"
    assert format_of("a.dat", "parquet") == "parquet"
    with pytest.raises(OutputError, match="in which format"):
        format_of("a.dat", None)
    with pytest.raises(OutputError, match="NDJSON only"):
        format_of("-", "parquet")
    with pytest.raises(OutputError, match="cannot write"):
        open_output(str(tmp_path / "nowhere" / "a.parquet"), "parquet", pa.schema([]))
