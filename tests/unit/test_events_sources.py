"""Files as they come: formats, damage, long lines; every row is taken or refused with its reason and its bytes."""

from __future__ import annotations

import csv
import datetime
import gzip
import io
import json
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from parakh.errors import InputError
from parakh.events.decode import Decoder, lay_out
from parakh.events.definition import EventType, Field, Label
from parakh.events.merge import Merger, Stream, quarantine_part
from parakh.events.quarantine import Quarantine
from parakh.events.reasons import Reason
from parakh.events.sources import LONGEST_LINE, Columns, Source, memory_source, open_source
from parakh.expressions.columns import Layout
from parakh.expressions.strings import Strings
from parakh.expressions.types import BOOLEAN, INTEGER, NULL_WORD, NUMBER, STRING, TIMESTAMP, Kind, money

PAYMENT = EventType(
    name="payment",
    id="id",
    time="at",
    fields=(
        Field(name="id", type=STRING),
        Field(name="at", type=TIMESTAMP),
        Field(name="card", type=STRING),
        Field(name="amount", type=money("INR")),
        Field(name="count", type=INTEGER),
        Field(name="ratio", type=NUMBER),
        Field(name="online", type=BOOLEAN),
    ),
    labels=(Label(name="fraud", source="is_fraud"),),
)
NAMES = ["id", "at", "card", "amount", "count", "ratio", "online", "is_fraud"]
STARTED = int(datetime.datetime(2026, 6, 1, tzinfo=datetime.UTC).timestamp() * 1e6)
Row = dict[str, Any]


def events(number: int) -> list[Row]:
    return [
        {
            "id": f"p{n}", "at": f"2026-01-{1 + n % 28:02}T10:00:{n % 60:02}.{n % 1000:03}000",
            "card": f"c,{n % 7}\"é\n{n % 3}",
            "amount": f"{n}.{n % 100:02}", "count": n, "ratio": n / 8, "online": n % 2 == 0, "is_fraud": n % 5 == 0,
        }
        for n in range(number)
    ]  # fmt: skip


def read(source: Source, event_type: EventType = PAYMENT) -> tuple[list[Row], list[Row]]:
    """(events with their digests, what was quarantined) of a source."""
    layout, strings = Layout(), Strings()
    lay_out(event_type, layout)
    decoder = Decoder(event_type, layout, strings, started_us=STARTED)
    merger = Merger([Stream(0, decoder, source)])
    words = np.empty((layout.width, 512), np.int64)
    lines: list[bytes] = []
    quarantine = Quarantine(lines.append)
    rows: list[Row] = []
    while (batch := merger.next(words)) is not None:
        for part in batch.parts:
            quarantine_part(part, quarantine)
            ids = part.decoded.id_texts()
            for index in np.flatnonzero(part.decoded.problem == 0).tolist():
                row: Row = {"id": ids[index], "digest": int(part.decoded.digest[index])}
                for item in event_type.fields:
                    if item.name != "id":
                        row[item.name] = shown(words[:, part.start + index], layout, item.name, strings)
                if "fraud" in part.decoded.labels:
                    row["fraud"] = int(part.decoded.labels["fraud"][index])
                rows.append(row)
    return rows, [json.loads(line) for line in lines]


def shown(words: np.ndarray, layout: Layout, name: str, strings: Strings) -> Any:
    column = layout[name]
    word = int(words[column.slot])
    if column.type.kind is Kind.NUMBER:
        return float(np.int64(word).view(np.float64))
    return strings.text(word) if column.type.kind is Kind.STRING and word != NULL_WORD else word


def as_ndjson(rows: list[Row]) -> bytes:
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)


def as_csv(rows: list[Row]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, ["extra", *NAMES[::-1]], restval="z")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def as_table(rows: list[Row]) -> pa.Table:
    columns = {name: [row[name] for row in rows] for name in NAMES}
    columns["at"] = [datetime.datetime.fromisoformat(at) for at in columns["at"]]
    columns["amount"] = [Decimal(amount) for amount in columns["amount"]]
    return pa.table(columns)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    rows = events(3000)
    contents = {"a.ndjson": as_ndjson(rows), "a.csv": as_csv(rows)}
    contents |= {f"{name}.gz": gzip.compress(content) for name, content in contents.items()}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    pq.write_table(as_table(rows), tmp_path / "a.parquet", row_group_size=700)
    return {path.name: path for path in tmp_path.iterdir()}


def test_every_format_gives_the_same_events_and_digests(files: dict[str, Path]) -> None:
    columns = Columns.of(PAYMENT)
    wanted, refused = read(memory_source(events(3000)))
    assert len(wanted) == 3000
    assert refused == []
    assert wanted[7]["amount"] == 707
    for name, path in files.items():
        source = open_source(path, columns)
        assert read(source) == (wanted, []), name
        assert source.read_bytes == source.total_bytes == path.stat().st_size
    halves = events(3000)
    assert read(memory_source(as_table(halves))) == (wanted, [])
    frame = as_table(halves).to_pandas()
    assert read(memory_source(frame)) == (wanted, [])


def test_the_kind_of_column_does_not_matter(tmp_path: Path) -> None:
    rows = [row | {"card": str(n % 10), "amount": n / 4, "count": n} for n, row in enumerate(events(50))]
    wanted = read(memory_source(rows))[0]
    times = [datetime.datetime.fromisoformat(row["at"]) for row in rows]
    table = as_table([row | {"amount": str(row["amount"])} for row in rows])
    rows_of = range(50)
    variants: dict[str, list[pa.Array]] = {
        "id": [
            pa.array([row["id"] for row in rows]).dictionary_encode(),
            pa.array([row["id"].encode() for row in rows]),
        ],
        "at": [
            pa.array(times, pa.timestamp("ns")), pa.array(times, pa.timestamp("us", tz="Asia/Kolkata")),
            pa.array([row["at"] for row in rows], pa.large_string()),
            pa.array([int(time.replace(tzinfo=datetime.UTC).timestamp() * 1e6) for time in times]),
        ],
        "card": [
            pa.array([n % 10 for n in rows_of], pa.uint8()), pa.array([n % 10 for n in rows_of], pa.float64()),
            pa.array([str(n % 10) for n in rows_of]).dictionary_encode(),
            pa.array([str(n % 10) for n in rows_of], pa.string_view()),
            pa.array([Decimal(n % 10) for n in rows_of]),
        ],
        "amount": [
            pa.array([n / 4 for n in rows_of], pa.float64()), pa.array([n / 4 for n in rows_of], pa.float32()),
            pa.array([str(n / 4) for n in rows_of]), pa.array([Decimal(n) / 4 for n in rows_of], pa.decimal256(40, 5)),
        ],
        "count": [
            pa.array(list(rows_of), pa.int8()), pa.array(list(rows_of), pa.uint64()),
            pa.array(list(rows_of), pa.float32()),
            pa.array([str(n) for n in rows_of]), pa.array([Decimal(n) for n in rows_of], pa.decimal128(20, 3)),
        ],
        "ratio": [pa.array([n / 8 for n in rows_of], pa.float32()), pa.array([str(n / 8) for n in rows_of])],
        "online": [pa.array([(n + 1) % 2 for n in rows_of], pa.int8()), pa.array([str(n % 2 == 0) for n in rows_of])],
        "is_fraud": [pa.array([int(n % 5 == 0) for n in rows_of]), pa.array([float(n % 5 == 0) for n in rows_of])],
    }  # fmt: skip
    assert read(memory_source(table)) == (wanted, [])
    for name, arrays in variants.items():
        for array in arrays:
            other = table.set_column(table.schema.get_field_index(name), name, array)
            assert read(memory_source(other)) == (wanted, []), (name, array.type)
            sliced = pa.concat_tables([other.slice(0, 20), other.slice(20)])
            assert read(memory_source(sliced)) == (wanted, []), (name, array.type)


def test_arrow_values_that_do_not_fit_are_refused_with_the_reason_that_json_gives() -> None:
    good = events(1)[0]
    table = as_table([good] * 2)
    cases: list[tuple[str, Any, Reason]] = [
        ("amount", pa.array([1.0, 1.005]), Reason.TOO_MANY_DECIMALS),
        ("amount", pa.array([1.0, float("nan")]), Reason.NOT_FINITE),
        ("amount", pa.array([1.0, 1e30]), Reason.OUT_OF_RANGE),
        ("amount", pa.array([1, 2**62]), Reason.OUT_OF_RANGE),
        ("amount", pa.array([True, True]), Reason.WRONG_TYPE),
        ("ratio", pa.array([1.0, float("inf")]), Reason.NOT_FINITE),
        ("count", pa.array([1.0, 1.5]), Reason.WRONG_TYPE),
        ("count", pa.array([1, 2**64 - 1], pa.uint64()), Reason.OUT_OF_RANGE),
        ("count", pa.array([1, -(2**63)]), Reason.OUT_OF_RANGE),
        ("count", pa.array(["1", "one"]), Reason.WRONG_TYPE),
        ("card", pa.array([b"x", b"\xff"]), Reason.BAD_UTF8),
        ("card", pa.array([1.0, 1.5]), Reason.WRONG_TYPE),
        ("card", pa.array([[1], [2]]), Reason.WRONG_TYPE),
        ("online", pa.array([0, 2]), Reason.WRONG_TYPE),
        ("at", pa.array([None, datetime.datetime(1970, 1, 1)]), Reason.TIME_BEFORE_EARLIEST),
        ("at", pa.array([None, datetime.datetime(2100, 1, 1)]), Reason.TIME_IN_FUTURE),
        ("at", pa.array([None, 2**62], pa.timestamp("s")), Reason.OUT_OF_RANGE),
        ("id", pa.array(["x", None]), Reason.MISSING_ID),
        ("id", pa.array(["x", ""]), Reason.MISSING_ID),
        ("is_fraud", pa.array([0.0, 0.5]), Reason.WRONG_TYPE),
    ]
    for name, array, reason in cases:
        _, refused = read(memory_source(table.set_column(table.schema.get_field_index(name), name, array)))
        assert refused, (name, array.type)
        assert refused[-1]["reason"] == reason.code, (name, array.type, refused[-1])
        assert refused[-1]["line"] == 2


def test_struct_columns_and_paths_are_the_same() -> None:
    event_type = EventType(
        name="login", id="id", time="at",
        fields=(
            Field(name="id", type=STRING), Field(name="at", type=TIMESTAMP),
            Field(name="os", type=STRING, source="device.os.name"),
        ),
    )  # fmt: skip
    rows = [
        {"id": "1", "at": "2026-01-01", "device": {"os": {"name": "x"}}},
        {"id": "2", "at": "2026-01-01", "device": None},
        {"id": "3", "at": "2026-01-01", "device": {"os": None}},
    ]
    wanted = read(memory_source(rows), event_type)
    assert [row["os"] for row in wanted[0]] == ["x", NULL_WORD, NULL_WORD]
    assert read(memory_source(pa.Table.from_pylist(rows)), event_type) == wanted
    flat = [{"id": row["id"], "at": "2026-01-01", "device.os.name": "x" if row["id"] == "1" else None} for row in rows]
    assert read(memory_source(flat), event_type) == wanted


def test_rows_without_an_id_are_numbered() -> None:
    event_type = EventType(name="tick", id="row", time="at", fields=(Field(name="at", type=TIMESTAMP),))
    rows = [{"at": "2026-01-01"}, {"at": "never"}, {"at": "2026-01-01"}] * 5
    taken, refused = read(memory_source(rows), event_type)
    assert [row["id"] for row in taken] == [str(n) for n in range(15) if n % 3 != 1]
    assert len(refused) == 5


BAD_LINES = [
    (b'{"id": "x", "at": "2026-01-01"', "bad_json"),
    (b'["id"]', "not_an_object"),
    (b'{"id": "x", "at": "2026-01-01", "card": "\xff"}', "bad_utf8"),
    (b'{"id": "x", "at": "2026-01-01", "amount": NaN}', "not_finite"),
    (b'{"id": "x", "at": "2026-01-01", "other": NaN}', "bad_json"),
    (b'{"id": "x", "at": "2026-01-01", "ratio": -Infinity}', "not_finite"),
    (b'{"id": "x", "at": "2026-01-01", "amount": 1e30}', "out_of_range"),
    (b'{"id": "x", "at": "2026-01-01", "count": 1e30}', "out_of_range"),
    (b'{"id": "x", "at": "2026-01-01", "ratio": 1e999}', "out_of_range"),
    (b'{"id": "x", "at": "2026-01-01", "amount": 1.005}', "too_many_decimals"),
    (b'{"id": "x", "at": "2026-01-01", "amount": {}}', "wrong_type"),
    (b'{"id": "x", "at": "2026-01-01", "card": true}', "wrong_type"),
    (b'{"id": "x", "at": "2026-01-01", "online": "maybe"}', "wrong_type"),
    (b'{"at": "2026-01-01"}', "missing_id"),
    (b'{"id": "", "at": "2026-01-01"}', "missing_id"),
    (b'{"id": "x"}', "missing_time"),
    (b'{"id": "x", "at": "yesterday"}', "wrong_type"),
    (b'{"id": "x", "at": "1970-01-01"}', "time_before_earliest"),
    (b'{"id": "x", "at": 0}', "time_before_earliest"),
    (b'{"id": "x", "at": "2100-01-01"}', "time_in_future"),
    (b"[" * 100_000, "bad_json"),
    (b'{"id": "' + b"x" * LONGEST_LINE + b'"}', "line_too_long"),
]


def test_lines_that_are_no_events_are_refused_and_the_others_taken(tmp_path: Path) -> None:
    path = tmp_path / "bad.ndjson"
    good = as_ndjson(events(1)).strip()
    content = b"\xef\xbb\xbf" + good + b"\r\n\r\n \n" + b"\n".join(line for line, _ in BAD_LINES) + b"\n" + good
    for ending in (b"", b"\n", b"\n\n"):
        path.write_bytes(content + ending)
        taken, refused = read(open_source(path, Columns.of(PAYMENT)))
        assert [row["id"] for row in taken] == ["p0", "p0"]
        assert [item["reason"] for item in refused] == [reason for _, reason in BAD_LINES]
        assert [item["line"] for item in refused] == [4 + n for n in range(len(BAD_LINES))]
        assert refused[0]["raw"].encode() == BAD_LINES[0][0]
        assert "raw_base64" in refused[2]


def test_a_line_longer_than_a_block_is_refused_alone(tmp_path: Path) -> None:
    path = tmp_path / "long.ndjson"
    good = as_ndjson(events(3)).splitlines()
    path.write_bytes(b"\n".join([good[0], b"x" * (5 * LONGEST_LINE), good[1], b"y" * (3 * LONGEST_LINE)]))
    taken, refused = read(open_source(path, Columns.of(PAYMENT)))
    assert [row["id"] for row in taken] == ["p0", "p1"]
    assert [(item["reason"], item["line"]) for item in refused] == [("line_too_long", 2), ("line_too_long", 4)]


def test_csv_rows_that_are_no_events_are_refused_and_the_others_taken(tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    rows = [
        "id,at,card,amount,count,ratio,online,note",
        "a,2026-01-01,c,1.50,1,0.5,true,",
        "b,2026-01-01,c,1.50",
        "c,2026-01-01,c,1.50,1,0.5,true,,more",
        'd,2026-01-01,"c""x",1.50,1,0.5,1,"line\nbreak"',
        "",
        "e,2026-01-01,,,,,,",
        "f,2026-01-01,c,1.555,1,0.5,true,",
        'g,2026-01-01,"c"x,1.50,1,0.5,true,',
        "h, 2026-01-01 ,c, 1.50 ,+01,.5,TRUE,",
        'i,2026-01-01,"c,1.50,1,0.5,true,',
        "j,2026-01-01,c,1.50,1,0.5,true,",
    ]
    path.write_bytes("\r\n".join(rows).encode())
    taken, refused = read(open_source(path, Columns.of(PAYMENT)))
    assert [row["id"] for row in taken] == ["a", "d", "e", "h", "j"]
    assert [row["card"] for row in taken] == ["c", 'c"x', NULL_WORD, "c", "c"]
    assert {row["amount"] for row in taken if row["id"] != "e"} == {150}
    found = [(item["reason"], item["line"], item["raw"]) for item in refused]
    reasons = ["bad_row", "bad_row", "too_many_decimals", "bad_row", "bad_row"]
    assert found == [
        (reason, line, rows[place]) for reason, line, place in zip(reasons, [3, 4, 9, 10, 12], [2, 3, 7, 8, 10])
    ]


def test_a_quotation_that_never_ends_gives_up_one_line_of_a_large_file(tmp_path: Path) -> None:
    path = tmp_path / "open.csv"
    rows = [f"p{n},2026-01-01,{'c' * 200},1.50,1,0.5,true" for n in range(20_000)]
    rows[100] = 'p100,2026-01-01,"c,1.50,1,0.5,true'
    path.write_text("\n".join(["id,at,card,amount,count,ratio,online", *rows]))
    taken, refused = read(open_source(path, Columns.of(PAYMENT)))
    assert len(taken) == 19_999
    assert [(item["reason"], item["line"]) for item in refused] == [("bad_row", 102)]


def test_a_compressed_file_that_breaks_off_gives_what_it_has_then_an_error(tmp_path: Path) -> None:
    whole = gzip.compress(as_ndjson(events(20_000)))
    path = tmp_path / "cut.ndjson.gz"
    for content, message in ((whole[:-2000], "cut off"), (whole[: len(whole) // 2] + b"\0" * 99, "damaged|cut off")):
        path.write_bytes(content)
        taken: list[int] = []
        with pytest.raises(InputError, match=message):
            drain(open_source(path, Columns.of(PAYMENT)), taken)
        assert 5_000 < sum(taken) < 20_000


def drain(source: Source, taken: list[int]) -> None:
    layout = Layout()
    lay_out(PAYMENT, layout)
    merger = Merger([Stream(0, Decoder(PAYMENT, layout, Strings()), source)])
    words = np.empty((layout.width, 1024), np.int64)
    while (batch := merger.next(words)) is not None:
        assert not any(part.decoded.problem.any() for part in batch.parts)
        taken.append(batch.count)


def test_gzip_of_several_members_is_one_file(tmp_path: Path) -> None:
    path = tmp_path / "members.gz"
    path.write_bytes(gzip.compress(as_ndjson(events(10))) + gzip.compress(as_ndjson(events(20)[10:])) + b"\0" * 10)
    taken, _ = read(open_source(path, Columns.of(PAYMENT)))
    assert [row["id"] for row in taken] == [f"p{n}" for n in range(20)]


def test_files_of_one_type_are_read_one_after_another(tmp_path: Path) -> None:
    (tmp_path / "1.csv").write_bytes(as_csv(events(20)[10:]))
    (tmp_path / "2.ndjson").write_bytes(as_ndjson(events(10)))
    taken, _ = read(open_source([tmp_path / "1.csv", tmp_path / "2.ndjson"], Columns.of(PAYMENT)))
    assert [row["id"] for row in taken] == [f"p{n}" for n in [*range(10, 20), *range(10)]]


def test_standard_input_is_ndjson_compressed_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stdin:
        def __init__(self, content: bytes) -> None:
            self.buffer = io.BytesIO(content)

    for content in (as_ndjson(events(5)), gzip.compress(as_ndjson(events(5)))):
        monkeypatch.setattr(sys, "stdin", Stdin(content))
        source = open_source("-", Columns.of(PAYMENT))
        assert source.total_bytes is None
        assert len(read(source)[0]) == 5
    monkeypatch.setattr(sys, "stdin", Stdin(b""))
    with pytest.raises(InputError, match="standard input holds no events"):
        read(open_source("-", Columns.of(PAYMENT)))


REFUSED_FILES = [
    ("gone.ndjson", None, "there is no such file"),
    ("empty.ndjson", b"", "is empty"),
    ("empty.csv", b"", "is empty"),
    ("empty.parquet", b"", "is empty"),
    ("blank.ndjson", b"\n \n\r\n", "holds no events"),
    ("blank.csv", b"\n\n", "holds no events"),
    ("blank.ndjson.gz", gzip.compress(b""), "holds no events"),
    ("text.parquet", b"PAR1 is how it begins, but no more", "not a Parquet file"),
    ("json.parquet", b'{"id": 1}', "not a Parquet file"),
    ("array.json", b'[{"id": 1}]', "one JSON array"),
    ("array.json.gz", gzip.compress(b'[{"id": 1}]'), "one JSON array"),
    ("other.csv", b"id,AT,card,amount,count,ratio,online\n1,2,3,4,5,6,7\n", "'at' is not there.*did you mean AT"),
    ("semicolons.csv", b"id;at;card\n1;2;3\n", "separated by commas"),
    ("twice.csv", b"id,id,at,card,amount,count,ratio,online\n", "two columns are named 'id'"),
    ("latin.csv", b"id,\xe9\n1,2\n", "header is not UTF-8"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "message"), REFUSED_FILES, ids=[item[0] for item in REFUSED_FILES])
def test_files_that_cannot_be_read_are_refused_clearly(
    tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        read(open_source(tmp_path / name, Columns.of(PAYMENT)))


def test_other_mistakes_with_files(tmp_path: Path) -> None:
    columns = Columns.of(PAYMENT)
    with pytest.raises(InputError, match="is a directory"):
        open_source(tmp_path, columns)
    (tmp_path / "payments.ndjson").write_bytes(b"{}\n")
    with pytest.raises(InputError, match=r"did you mean .*payments\.ndjson"):
        open_source(tmp_path / "payment.ndjson", columns)
    pq.write_table(as_table(events(3)).drop(["amount"]), tmp_path / "a.parquet")
    with pytest.raises(InputError, match="column 'amount' is not there; columns are id, at"):
        open_source(tmp_path / "a.parquet", columns)
    (tmp_path / "a.csv").write_bytes((tmp_path / "a.parquet").read_bytes())
    with pytest.raises(InputError, match="is a Parquet file"):
        open_source(tmp_path / "a.csv", columns)
    with pytest.raises(InputError, match="not a format"):
        open_source(tmp_path / "payments.ndjson", columns, format="xml")
    with pytest.raises(InputError, match="list of dicts or a table, not as int"):
        memory_source(5)
    content = (tmp_path / "a.parquet").read_bytes()
    pq.write_table(as_table(events(5000)), tmp_path / "b.parquet")
    content = bytearray((tmp_path / "b.parquet").read_bytes())
    content[500:4000] = bytes(3500)
    (tmp_path / "b.parquet").write_bytes(content)
    with pytest.raises(InputError, match="damaged"):
        read(open_source(tmp_path / "b.parquet", columns))


def test_the_quarantine_file_is_made_only_when_needed(tmp_path: Path) -> None:
    path = tmp_path / "q.ndjson"
    path.write_text("old")
    with Quarantine.to_file(path) as quarantine:
        assert not path.exists()
        quarantine.add(Reason.BAD_JSON, raw=b"x" * 100_000, source="f", line=3)
        quarantine.add(Reason.WRONG_TYPE, raw=b"{}", field="amount", event_type="payment")
        quarantine.add(Reason.WRONG_TYPE, raw=b"{}", field="amount", event_type="payment")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines[0]["cut_bytes"] == 100_000 - (1 << 16)
    assert quarantine.counts == {"wrong_type": 2, "bad_json": 1}
    assert (lines[1]["field"], lines[1]["event_type"]) == ("amount", "payment")
    assert quarantine.total == 3
