"""Bad input of every kind: refused with a clear error or quarantined with its reason, never a traceback or a loss."""

from __future__ import annotations

import base64
import gzip
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from parakh import Engine, Project
from parakh.cli.main import FOUND_PROBLEMS, OK, WRONG_USE, run
from parakh.errors import InputError
from parakh.events.quarantine import Quarantine

SHOP = {
    "parakh.toml": 'name = "shop"\ncurrency = "INR"\n[labels]\nsources = ["analyst", "customer"]\n',
    "events/payment.yaml": """\
event: payment
id: payment_id
time: paid_at
fields:
  payment_id: string
  paid_at: timestamp
  card: {type: string, entity: card}
  amount: {type: money, currency: INR}
  share: number
  tries: integer
  online: boolean
labels:
  fraud: boolean
  loss: {type: money, currency: INR}
""",
    "features/card.yaml": """\
entity: card
features:
  payments: {from: payment, aggregate: count(*), over: 1h}
  frauds: {from: payment, aggregate: count(*), where: fraud, over: 30d}
""",
    "rules/many.yaml": "rule: many\nfor: payment\nwhen: card.payments_1h >= 3\nthen: review\nreason: R1\n",
    "policies/payment.yaml": "policy: payment\nfor: payment\notherwise: allow\n",
}
PYTHON = [sys.executable, "-m", "parakh"]


def payment(name: object, **changed: Any) -> dict[str, Any]:
    return {
        "payment_id": name, "paid_at": "2025-01-01T10:00:00Z", "card": "c1", "amount": 5.25,
        "share": 0.5, "tries": 1, "online": True, **changed,
    }  # fmt: skip


def line(name: object = "bad", **changed: Any) -> bytes:
    return json.dumps(payment(name, **changed)).encode()


def literal(field: str, text: str) -> bytes:
    """A payment whose field holds this text, as it stands."""
    return line(**{field: "@@"}).replace(b'"@@"', text.encode("utf-8", "surrogatepass"))


MEGABYTES_2 = line(note="x" * 2_000_000)

REFUSED: dict[str, tuple[bytes, str]] = {
    "amount is a text": (line(amount="much"), "wrong_type"),
    "amount is a boolean": (line(amount=True), "wrong_type"),
    "card is a list": (line(card=["c1"]), "wrong_type"),
    "card is an object": (line(card={"number": "c1"}), "wrong_type"),
    "time is a boolean": (line(paid_at=True), "wrong_type"),
    "time is a word": (line(paid_at="yesterday"), "wrong_type"),
    "time is no day": (line(paid_at="2025-02-30T10:00:00Z"), "wrong_type"),
    "integer is a fraction": (line(tries=1.5), "wrong_type"),
    "boolean is two": (line(online=2), "wrong_type"),
    "no id": (line(None), "missing_id"),
    "empty id": (line(""), "missing_id"),
    "no time": (line(paid_at=None), "missing_time"),
    "NaN": (line(share=float("nan")), "not_finite"),
    "infinity": (line(amount=float("inf")), "not_finite"),
    "minus infinity": (line(share=float("-inf")), "not_finite"),
    "10^30": (line(amount=1e30), "out_of_range"),
    "a whole number of 31 digits": (line(tries=10**30), "out_of_range"),
    "a number of 5,000 digits": (literal("amount", "9" * 5_000), "out_of_range"),
    "10^400": (literal("share", "1e400"), "out_of_range"),
    "an exponent of a million": (literal("amount", "1e1000000"), "out_of_range"),
    "time of 31 digits": (line(paid_at=10**30), "out_of_range"),
    "three decimals": (line(amount=1.005), "too_many_decimals"),
    "1970": (line(paid_at="1970-01-01T00:00:00Z"), "time_before_earliest"),
    "the zero of time": (line(paid_at=0), "time_before_earliest"),
    "2100": (line(paid_at="2100-01-01T00:00:00Z"), "time_in_future"),
    "no UTF-8": (line(card="@@").replace(b"@@", b"\xff\xfe"), "bad_utf8"),
    "half a surrogate": (literal("card", '"\\ud800"'), "bad_utf8"),
    "100,000 open brackets": (b"[" * 100_000, "bad_json"),
    "100,000 nested objects": (b'{"a":' * 100_000, "bad_json"),
    "100,000 nested lists": (literal("note", "[" * 100_000 + "]" * 100_000), "bad_json"),
    "2 MB": (MEGABYTES_2, "line_too_long"),
    "cut off": (line()[:-5], "bad_json"),
    "more behind it": (line() + b" x", "bad_json"),
    "a NUL": (line() + b"\0", "bad_json"),
    "a byte-order mark inside": (b"\xef\xbb\xbf" + line(), "bad_json"),
    "a raw tab in a text": (literal("card", '"a\tb"'), "bad_json"),
    "a list": (b"[1, 2]", "not_an_object"),
    "a number": (b"5", "not_an_object"),
    "null": (b"null", "not_an_object"),
    "another body under a known id": (line("g0", amount=6), "conflict"),
}
TAKEN: dict[str, bytes] = {
    "amount as a text": line("t1", amount="5.25"),
    "whole number as a float": line("t2", tries=3.0),
    "id as a number of 31 digits": line(10**30),
    "0 and 1 as boolean": line("t4", online=0),
    "time in ms": line("t5", paid_at=1_735_725_600_000),
    "an exponent": literal("amount", "1E2").replace(b"bad", b"t6"),
    "what nobody declared": line("t7", note={"deep": [[[1]]]}),
    "minus zero": literal("share", "-0.0").replace(b"bad", b"t8"),
    "a key twice: the last one holds, as in every JSON reader": line("t9").replace(b"{", b'{"card": "c2", ', 1),
    "carriage return": line("t10") + b"\r",
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project.load(write_project(tmp_path_factory.mktemp("project")))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_project(tmp_path)
    return tmp_path


def write_project(folder: Path) -> Path:
    for name, text in SHOP.items():
        path = folder / "shop" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder / "shop"


def replay(capsys: pytest.CaptureFixture[str], *arguments: str, events: str = "payment.ndjson") -> dict[str, Any]:
    """A replay that succeeds: its summary, which accounts for everything."""
    assert run(["replay", "shop", "--events", events, "--out", "out.ndjson", "--json", *arguments]) == OK
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    summary = json.loads(captured.out)
    assert summary["received"] == summary["accepted"] + summary["duplicates"] + sum(summary["quarantined"].values())
    assert summary["decided"] == summary["accepted"] == len(Path("out.ndjson").read_bytes().splitlines())
    assert isinstance(summary, dict)
    return summary


def quarantined(path: str = "out.ndjson.quarantine.ndjson") -> list[dict[str, Any]]:
    return [json.loads(text) for text in Path(path).read_text().splitlines()] if Path(path).exists() else []


def raw(record: dict[str, Any]) -> bytes:
    return base64.b64decode(record["raw_base64"]) if "raw_base64" in record else str(record["raw"]).encode()


def refused(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = WRONG_USE) -> str:
    """A command that is refused: what it says, in words meant for the reader."""
    assert run(list(arguments)) == code
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert "internal error" not in said
    return said


# -- one bad event among good ones ----------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".ndjson", ".ndjson.gz"])
def test_each_bad_line_is_quarantined_with_its_reason_and_its_bytes(
    here: Path, capsys: pytest.CaptureFixture[str], suffix: str
) -> None:
    lines = [line("g0")]
    for number, (bad, _) in enumerate(REFUSED.values()):
        lines += [bad, line(f"g{number + 1}")]
    data = b"\n".join([*lines, *TAKEN.values(), line("g0"), line("g1"), b"", b"   ", b"\r"])
    Path(f"payment{suffix}").write_bytes(gzip.compress(data) if suffix.endswith("gz") else data)
    summary = replay(capsys, events=f"payment{suffix}")
    assert summary["quarantined"] == Counter(reason for _, reason in REFUSED.values())
    assert summary["accepted"] == len(REFUSED) + 1 + len(TAKEN)
    assert summary["duplicates"] == 2
    kept = {record["line"]: record for record in quarantined()}
    assert len(kept) == len(REFUSED)
    for number, (what, (bad, reason)) in enumerate(REFUSED.items()):
        record = kept[2 * number + 2]
        assert record["reason"] == reason, what
        assert record["event_type"] == "payment", what
        assert raw(record) == bad[:65_536], what
        assert record.get("cut_bytes", 0) == max(len(bad) - 65_536, 0), what


@pytest.mark.parametrize("what", [what for what in REFUSED if "mark" not in what])
def test_a_bad_line_alone_disturbs_neither_engine_nor_the_next_event(project: Project, what: str) -> None:
    bad, reason = REFUSED[what]
    engine = Engine(project, batch_size=4, started_us=time.time_ns() // 1000)
    engine.decide_lines("payment", line("g0"))
    assert len(engine.decide_lines("payment", bad)) == 0
    decisions = engine.decide(b"\n".join([bad, line("g1"), bad]))
    assert [decision.event_id for decision in decisions] == ["g1"]
    assert decisions.quarantined == {reason: 2}
    engine.counts.check()
    assert engine.counts.quarantined == {reason: 3}
    assert engine.counts.received == 5


class Shy:
    """What a notebook may hold by mistake: no value of JSON, and its own opinion of everything."""

    def __repr__(self) -> str:
        return "shy"


UNFIT: list[tuple[Any, str]] = [
    (payment("x", amount=float("nan")), "not_finite"),
    (payment("x", amount=np.float64("inf")), "not_finite"),
    (payment("x", amount=Decimal("NaN")), "not_finite"),
    (payment("x", amount=Decimal("1E+30")), "out_of_range"),
    (payment("x", amount=Decimal("1.005")), "too_many_decimals"),
    (payment("x", tries=2**64), "out_of_range"),
    (payment("x", tries=-(2**63)), "out_of_range"),
    (payment("x", amount=object()), "wrong_type"),
    (payment("x", card=Shy()), "wrong_type"),
    (payment("x", card=b"\xff"), "bad_utf8"),
    (payment("x", paid_at=date(1970, 1, 1)), "time_before_earliest"),
    (payment("x", paid_at=datetime(2100, 1, 1, tzinfo=UTC)), "time_in_future"),
    (payment("x", paid_at=pd.NaT), "missing_time"),
    (payment(None), "missing_id"),
    ({}, "missing_id"),
    (None, "not_an_object"),
    (["payment_id", "x"], "not_an_object"),
    ("x", "not_an_object"),
]


@pytest.mark.parametrize(("event", "reason"), UNFIT)
def test_objects_of_a_notebook_are_refused_with_a_reason(project: Project, event: Any, reason: str) -> None:
    quarantine = Quarantine((kept := []).append)
    engine = Engine(project, started_us=time.time_ns() // 1000, quarantine=quarantine)
    decisions = engine.decide([payment("a"), event, payment("b")])
    assert [decision.event_id for decision in decisions] == ["a", "b"]
    assert decisions.quarantined == {reason: 1}
    assert json.loads(kept[0])["reason"] == reason
    assert json.loads(kept[0])["line"] == 2


@pytest.mark.parametrize("events", [5, None, {"payment_id": "x"}, object()])
def test_what_is_no_list_of_events_is_refused(project: Project, events: Any) -> None:
    with pytest.raises(InputError, match=r"list of dicts or a table|one event alone is given as \[event\]"):
        Engine(project).decide(events)


def test_types_that_the_project_does_not_have_are_named(project: Project) -> None:
    with pytest.raises(InputError, match="no event type 'refund'"):
        Engine(project).decide([payment("a")], event_type="refund")
    with pytest.raises(InputError, match="no event type 'refund'"):
        Engine(project).decide_lines("refund", line("a"))


# -- the same body, another body ------------------------------------------------------------------------------------


def test_duplicates_and_conflicts_whatever_the_batches(project: Project) -> None:
    lines = [line("a"), line("a"), line("a", amount=9), line("b"), line("a"), line("b", card="c2"), line("b", note=1)]
    for size in (1, 2, 3, 16):
        engine = Engine(project, batch_size=size)
        decisions = engine.decide(b"\n".join(lines))
        assert [decision.event_id for decision in decisions] == ["a", "b"]
        # What nobody declared is no part of the body.
        assert (engine.counts.duplicates, dict(engine.counts.quarantined)) == (3, {"conflict": 2})
        assert engine.decide([payment("b")]).quarantined == {}
        assert engine.counts.duplicates == 4


def test_a_refused_event_may_come_again_mended(project: Project) -> None:
    engine = Engine(project)
    assert len(engine.decide([payment("a", amount="much")])) == 0
    assert len(engine.decide([payment("a")])) == 1
    assert engine.counts.duplicates == 0


# -- CSV --------------------------------------------------------------------------------------------------------------

HEADER = b"payment_id,paid_at,card,amount,share,tries,online"


def row(name: str, **changed: str) -> bytes:
    cells = {"paid_at": "2025-01-01T10:00:00Z", "card": "c1", "amount": "5.25", "share": "0.5", "tries": "1",
             "online": "true", **changed}  # fmt: skip
    return ",".join([name, *cells.values()]).encode()


def test_csv_of_every_kind(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = [
        row("g1"), row("g2", card='"a ""b"", c"'), row("g3", card='"two\nlines"'), row("g4", card="ünï"),
        row("g5", share=""), row("g6", card='"two\r\nlines"'), b"", row('"g7"', tries="1.0"),
    ]  # fmt: skip
    bad = [
        (b"b1,2025-01-01T10:00:00Z,c1", "bad_row"),
        (row("b2") + b",extra", "bad_row"),
        (row("b3", card='"open"x'), "bad_row"),
        (row("b4", amount="NaN"), "not_finite"),
        (row("b5", amount="1e30"), "out_of_range"),
        (row("b6", online="perhaps"), "wrong_type"),
        (row("b7", tries="-"), "wrong_type"),
        (row("b8", card="@@").replace(b"@@", b"\xff"), "bad_utf8"),
        (row(""), "missing_id"),
        (row("b10", paid_at=""), "missing_time"),
        (row("b11", paid_at="1970-01-01"), "time_before_earliest"),
        (row("b12", amount='"1,5"'), "wrong_type"),
    ]
    for breaks in (b"\n", b"\r\n"):
        body = [good[0], *(item for pair in zip((text for text, _ in bad), [*good[1:], *[b""] * 9]) for item in pair)]
        Path("payment.csv").write_bytes(b"\xef\xbb\xbf" + HEADER + breaks + breaks.join(body))
        summary = replay(capsys, events="payment.csv")
        assert summary["accepted"] == 7
        assert [(record["reason"], raw(record)) for record in quarantined()] == [(why, text) for text, why in bad]
        decided = [json.loads(text)["event_id"] for text in Path("out.ndjson").read_text().splitlines()]
        assert decided == [f"g{number}" for number in range(1, 8)]


def test_a_quotation_that_never_ends_costs_its_line_alone(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [row(f"p{number}") for number in range(40_000)]
    rows[3] = row("open", card='"never')
    Path("payment.csv").write_bytes(b"\n".join([HEADER, *rows]))
    summary = replay(capsys, events="payment.csv")
    assert summary["received"] == 40_000
    assert summary["quarantined"] == {"bad_row": 1}
    assert [raw(record) for record in quarantined()] == [rows[3]]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"payment_id,paid_at,amount,share,tries,online\n", "did you mean"),
        (HEADER.replace(b",", b";") + b"\n", "separated by commas"),
        (HEADER + b",card\n", "two columns are named 'card'"),
        (b"payment\xff_id,paid_at\n", "header is not UTF-8"),
        (b'"payment_id,paid_at\n', "header cannot be read"),
        (b"\n\n", "not even a header"),
        (b"\xef\xbb\xbf", "not even a header"),
        (b"", "is empty"),
    ],
)
def test_csv_that_cannot_be_read_at_all(here: Path, capsys: pytest.CaptureFixture[str], text: bytes, says: str) -> None:
    Path("payment.csv").write_bytes(text.replace(b"paid_at,amount", b"paid_at,Card,amount"))
    said = refused(capsys, "replay", "shop", "--events", "payment.csv", "--out", "out.ndjson")
    assert says in said
    assert not Path("out.ndjson").exists()


# -- Parquet ----------------------------------------------------------------------------------------------------------


def columns(count: int = 3, **changed: Any) -> dict[str, Any]:
    return {
        "payment_id": [f"p{number}" for number in range(count)],
        "paid_at": [datetime(2025, 1, 1, tzinfo=UTC) + timedelta(minutes=number) for number in range(count)],
        "card": ["c1"] * count, "amount": [5.25] * count, "share": [0.5] * count, "tries": [1] * count,
        "online": [True] * count, **changed,
    }  # fmt: skip


TYPED = [
    ({"paid_at": pa.array([1_735_725_600 + n for n in range(3)], pa.int32())}, {}),
    ({"paid_at": pa.array([date(2025, 1, 1)] * 3, pa.date32())}, {}),
    ({"paid_at": pa.array([datetime(2025, 1, 1)] * 3, pa.timestamp("ns"))}, {}),
    (
        {"paid_at": pa.array([10**15, None, 1_735_725_600_000], pa.timestamp("ms"))},
        {"out_of_range": 1, "missing_time": 1},
    ),
    ({"card": pa.array(["c1", None, "c2"]).dictionary_encode()}, {}),
    ({"card": pa.array([b"c1", b"\xff", None], pa.binary())}, {"bad_utf8": 1}),
    ({"card": pa.array([1, 2, 3], pa.int8())}, {}),
    ({"card": pa.array([[1], None, [2]], pa.list_(pa.int64()))}, {"wrong_type": 2}),
    ({"card": pa.array([{"a": 1}, None, {"a": 2}])}, {"wrong_type": 2}),
    ({"amount": pa.array([Decimal("1.25"), None, Decimal("1.255")], pa.decimal128(10, 3))}, {"too_many_decimals": 1}),
    ({"amount": pa.array([1e30, np.nan, np.inf])}, {"out_of_range": 1, "not_finite": 2}),
    ({"amount": pa.array([1.25, 2.5, 3], pa.float32())}, {}),
    ({"amount": pa.array(["5.25", "much", None])}, {"wrong_type": 1}),
    ({"tries": pa.array([2**64 - 1, 2**63, 1], pa.uint64())}, {"out_of_range": 2}),
    ({"tries": pa.array([1.5, 2.0, None])}, {"wrong_type": 1}),
    ({"online": pa.array([0, 1, 2], pa.int8())}, {"wrong_type": 1}),
    ({"online": pa.array(["true", "maybe", "0"])}, {"wrong_type": 1}),
    ({"share": pa.nulls(3)}, {}),
    ({"share": pa.array([1.0, 2.0, np.nan], pa.float16())}, {"not_finite": 1}),
    ({"payment_id": pa.array([1, 2, None], pa.int64())}, {"missing_id": 1}),
    ({"payment_id": pa.array(["a", "a", ""])}, {"conflict": 1, "missing_id": 1}),
    ({"share": pa.array([datetime(2025, 1, 1)] * 3, pa.timestamp("us"))}, {"wrong_type": 3}),
    ({"share": pa.array([1, 2, None], pa.duration("s"))}, {"wrong_type": 2}),
    ({"share": pa.array([1, 2, None], pa.time64("us"))}, {"wrong_type": 2}),
]


@pytest.mark.parametrize(("changed", "reasons"), TYPED)
def test_parquet_with_odd_types(
    here: Path, capsys: pytest.CaptureFixture[str], changed: dict[str, Any], reasons: dict[str, int]
) -> None:
    pq.write_table(pa.table(columns(**changed)), "payment.parquet")
    summary = replay(capsys, events="payment.parquet")
    assert summary["quarantined"] == reasons
    assert summary["received"] == 3
    assert len(quarantined()) == sum(reasons.values())
    for record in quarantined():
        assert set(json.loads(raw(record))) == set(columns())


def test_damaged_and_lacking_parquet(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pq.write_table(pa.table(columns(50_000, paid_at=[datetime(2025, 1, 1)] * 50_000)), "payment.parquet")
    whole = Path("payment.parquet").read_bytes()
    arguments = ["replay", "shop", "--events", "payment.parquet", "--out", "out.ndjson"]
    Path("payment.parquet").write_bytes(whole[: len(whole) // 2])
    assert "not a Parquet file that can be read" in refused(capsys, *arguments)
    Path("payment.parquet").write_bytes(whole[:1000] + bytes(3000) + whole[4000:])
    assert "damaged" in refused(capsys, *arguments)
    pq.write_table(pa.table(columns()).drop(["card"]), "payment.parquet")
    assert "column 'card' is not there" in refused(capsys, *arguments)
    pq.write_table(pa.table(columns()), "payment.csv")
    assert "is a Parquet file" in refused(capsys, "replay", "shop", "-e", "payment.csv", "-o", "out.ndjson")
    pq.write_table(pa.table(columns()).slice(0, 0), "payment.parquet")
    assert replay(capsys, events="payment.parquet")["received"] == 0


# -- files ------------------------------------------------------------------------------------------------------------


def test_files_that_are_none(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("folder").mkdir()
    for name, data in {
        "empty.ndjson": b"", "blank.ndjson": b"\n \r\n\n", "array.ndjson": b"[\n" + line("a") + b"\n]\n",
        "empty.ndjson.gz": gzip.compress(b""), "zeros.bin": bytes(5000), "mark.ndjson": b"\xef\xbb\xbf",
    }.items():  # fmt: skip
        Path(name).write_bytes(data)
    Path("payment.ndjson").write_bytes(line("a"))
    Path("loop.ndjson").symlink_to("loop.ndjson")
    for events, says in {
        "payment=folder": "holds no file of events",
        "payment=empty.ndjson": "is empty (0 bytes)",
        "payment=blank.ndjson": "holds no events",
        "payment=mark.ndjson": "holds no events",
        "payment=empty.ndjson.gz": "holds no events",
        "payment=array.ndjson": "one JSON array",
        "payment=pyment.ndjson": "did you mean payment.ndjson?",
        "payment=loop.ndjson": "loop.ndjson",
        "payment=\0": "null byte",
        "payment=zeros.bin": "column",
    }.items():
        said = refused(capsys, "replay", "shop", "--events", events, "--out", "out.ndjson")
        assert says.lower() in said.lower(), (events, said)
        assert not Path("out.ndjson").exists()
    assert not list(here.glob("*.partial"))


@pytest.mark.parametrize("ending", ["csv", "ndjson"])
def test_a_gzip_that_breaks_off_is_refused_and_leaves_no_half_of_decisions(
    here: Path, capsys: pytest.CaptureFixture[str], ending: str
) -> None:
    texts = [row(f"p{n}") if ending == "csv" else line(f"p{n}") for n in range(5_000)]
    packed = gzip.compress(b"\n".join([HEADER, *texts] if ending == "csv" else texts))
    arguments = ["replay", "shop", "--events", f"payment.{ending}.gz", "--out", "out.ndjson"]
    for data, says in (
        (packed[:-4], "cut off"),
        (packed[: len(packed) // 2], "cut off"),
        (packed[:11], "cut off"),
        (packed[:5000] + bytes(100) + packed[5100:], "damaged"),
        (packed[:-8] + bytes(8), "damaged"),
        (packed + b"more", "damaged"),
    ):
        Path(f"payment.{ending}.gz").write_bytes(data)
        assert says in refused(capsys, *arguments)
        assert not Path("out.ndjson").exists()
        assert not list(here.glob("*.partial"))
    Path(f"payment.{ending}.gz").write_bytes(packed + gzip.compress(b"\n" + texts[0]) + bytes(20))
    summary = replay(capsys, events=f"payment.{ending}.gz")
    assert (summary["accepted"], summary["duplicates"]) == (5_000, 1)


# -- labels -----------------------------------------------------------------------------------------------------------


def label(**changed: Any) -> dict[str, Any]:
    return {"event_type": "payment", "event_id": "p0", "label": "fraud", "value": True,
            "known_at": "2025-01-01T10:30:00Z", "source": "analyst", **changed}  # fmt: skip


BAD_LABELS = [
    (label(event_type="refund"), "unknown_type"),
    (label(event_type=None), "unknown_type"),
    (label(label="frad"), "unknown_label"),
    (label(label=None), "unknown_label"),
    (label(source="cousin"), "unknown_source"),
    (label(event_id=None), "missing_event"),
    (label(event_id=None, entity="card"), "missing_event"),
    (label(event_id=None, entity="car", key="c1"), "unknown_type"),
    (label(event_id="nobody"), "unknown_event"),
    (label(value="perhaps"), "wrong_type"),
    (label(value=float("nan")), "bad_json"),
    (label(label="loss", value=1.005), "too_many_decimals"),
    (label(known_at=None), "missing_time"),
    (label(known_at="soon"), "wrong_type"),
    (label(known_at="1970-01-01T00:00:00Z"), "time_before_earliest"),
]


def labelled_events() -> list[dict[str, Any]]:
    return [payment(f"p{number}", paid_at=f"2025-01-01T{10 + number:02d}:00:00Z") for number in range(6)]


def write_lines(name: str, rows: list[dict[str, Any]]) -> None:
    Path(name).write_text("".join(json.dumps(item) + "\n" for item in rows))


def test_each_bad_label_is_quarantined_with_its_reason_and_its_bytes(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_lines("payment.ndjson", labelled_events())
    write_lines("labels.ndjson", [label(), *(item for item, _ in BAD_LABELS), label(event_id="p1")])
    summary = replay(capsys, "--labels", "labels.ndjson", "--features")
    assert summary["received"] == summary["accepted"] == 6
    assert summary["labels"] == {"applied": 2, "waiting": 0, "quarantined": len(BAD_LABELS)}
    kept = {record["line"]: record for record in quarantined()}
    for number, (bad, reason) in enumerate(BAD_LABELS):
        record = kept.pop(number + 2)
        assert record["reason"] == reason, bad
        assert raw(record) == json.dumps(bad).encode(), bad
    assert not kept
    frauds = [json.loads(text)["card.frauds_30d"] for text in Path("out.ndjson").read_text().splitlines()]
    # Both labels are known at 10:30: that of p0 acts before p1 comes, that of p1 waits and acts right after it.
    assert frauds == [0, 1, 2, 2, 2, 2]


def test_a_label_may_come_before_its_event_but_not_too_long(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_lines("payment.ndjson", labelled_events())
    write_lines("labels.ndjson", [label(event_id="p2", known_at="2025-01-01T11:30:00Z"), label(event_id="p5")])
    summary = replay(capsys, "--labels", "labels.ndjson", "--features")
    assert summary["labels"]["applied"] == 1
    assert [record["reason"] for record in quarantined()] == ["unknown_event"]
    frauds = [json.loads(text)["card.frauds_30d"] for text in Path("out.ndjson").read_text().splitlines()]
    assert frauds[3:] == [1, 1, 1]


def test_labels_that_wait_at_the_end_are_counted(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_lines("payment.ndjson", labelled_events())
    write_lines("labels.ndjson", [label(event_id="later", known_at="2025-01-01T14:59:00Z"), label()])
    summary = replay(capsys, "--labels", "labels.ndjson")
    assert summary["labels"] == {"applied": 1, "waiting": 1, "quarantined": 0}


def test_files_of_labels_that_are_none(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_lines("payment.ndjson", labelled_events())
    arguments = ["replay", "shop", "--events", "payment.ndjson", "--out", "out.ndjson", "--labels"]
    Path("labels.csv").write_text("event_type,event_id,label,value\n")
    assert "column 'known_at' is not there" in refused(capsys, *arguments, "labels.csv")
    assert "is a directory" in refused(capsys, *arguments, "shop")
    Path("labels.ndjson").write_bytes(b"")
    assert "empty" in refused(capsys, *arguments, "labels.ndjson")
    assert "no such file" in refused(capsys, *arguments, "lables.ndjson")
    assert not Path("out.ndjson").exists()


# -- where things are written -----------------------------------------------------------------------------------------


def test_what_is_read_is_never_written_over(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_lines("payment.ndjson", labelled_events())
    write_lines("labels.ndjson", [label()])
    Path("link.ndjson").symlink_to("payment.ndjson")
    # What was quarantined yesterday, mended, and replayed under the name of yesterday's decisions.
    write_lines("out.ndjson.quarantine.ndjson", labelled_events())
    write_lines("out.ndjson.partial", labelled_events())
    before = {path: path.read_bytes() for path in here.glob("*") if path.is_file()}
    for events, out in (
        ("payment.ndjson", "payment.ndjson"),
        ("payment.ndjson", "./shop/../payment.ndjson"),
        ("payment.ndjson", "link.ndjson"),
        ("payment.ndjson", "labels.ndjson"),
        ("out.ndjson.quarantine.ndjson", "out.ndjson"),
        ("out.ndjson.partial", "out.ndjson"),
    ):
        said = refused(capsys, "replay", "shop", "-e", f"payment={events}", "--labels", "labels.ndjson", "--out", out)
        assert "is an input" in said
        assert {path: path.read_bytes() for path in here.glob("*") if path.is_file()} == before


def test_places_where_nothing_can_be_written(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_lines("payment.ndjson", labelled_events())
    Path("file").write_text("")
    for out in ("no/such/folder/o.ndjson", "file/o.ndjson", "/proc/o.ndjson", "x" * 300 + ".ndjson"):
        code = run(["replay", "shop", "--events", "payment.ndjson", "--out", out])
        said = capsys.readouterr().err
        assert code in (FOUND_PROBLEMS, WRONG_USE), (out, said)
        assert "internal error" not in said
    Path("o.ndjson").mkdir()
    assert run(["replay", "shop", "--events", "payment.ndjson", "--out", "o.ndjson"]) in (FOUND_PROBLEMS, WRONG_USE)
    assert "directory" in capsys.readouterr().err.lower()
    assert not list(here.glob("*.partial"))


def test_a_full_disk_is_said_and_leaves_nothing_behind(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_lines("payment.ndjson", [payment(f"p{n}") for n in range(20_000)])
    Path("out.ndjson.partial").symlink_to("/dev/full")
    assert run(["replay", "shop", "--events", "payment.ndjson", "--out", "out.ndjson"]) == FOUND_PROBLEMS
    said = capsys.readouterr().err
    assert "No space left" in said
    assert "internal error" not in said
    assert not Path("out.ndjson").exists()
    assert not list(here.glob("*.partial"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("a small disk cannot be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("ending", ["ndjson", "parquet"])
def test_a_small_disk(here: Path, small_disk: Path, capsys: pytest.CaptureFixture[str], ending: str) -> None:
    write_lines("payment.ndjson", [payment(f"p{n * 7919 % 100_003}") for n in range(40_000)])
    out = small_disk / f"out.{ending}"
    assert run(["replay", "shop", "--events", "payment.ndjson", "--out", str(out)]) == FOUND_PROBLEMS
    said = capsys.readouterr().err
    assert "No space left" in said
    assert "internal error" not in said
    assert not list(small_disk.iterdir())


# -- a process and its surroundings -----------------------------------------------------------------------------------


def test_standard_input_that_is_closed_or_empty(here: Path) -> None:
    for redirect in ("<&-", "< /dev/null"):
        command = f"{' '.join(PYTHON)} replay shop --events payment=- --out o.ndjson {redirect}"
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == WRONG_USE, done.stderr
        assert "error:" in done.stderr
        assert "internal error" not in done.stderr
        assert "Traceback" not in done.stderr
        assert not Path("o.ndjson").exists()


def test_standard_output_that_is_full_or_closed(here: Path) -> None:
    write_lines("payment.ndjson", [payment(f"p{n}") for n in range(3_000)])
    for redirect in ("> /dev/full", ">&-"):
        command = f"{' '.join(PYTHON)} replay shop --events payment.ndjson --out - {redirect}"
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode not in (0, 70), (redirect, done.stderr)
        assert "internal error" not in done.stderr
        assert "Traceback" not in done.stderr
        assert "Exception ignored" not in done.stderr


def test_an_interrupt_ends_the_run_and_leaves_no_half_of_decisions(here: Path) -> None:
    process = subprocess.Popen(
        [*PYTHON, "replay", "shop", "--events", "payment=-", "--out", "o.ndjson"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdin is not None
    process.stdin.write("".join(json.dumps(payment(f"p{n}")) + "\n" for n in range(20_000)))
    process.stdin.flush()
    deadline = time.monotonic() + 60
    while not Path("o.ndjson.partial").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in said
    assert "stopped" in said
    assert not list(here.glob("o.*"))


def test_a_pipe_of_named_events(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo("pipe.ndjson")
    writer = subprocess.Popen(["bash", "-c", "cat payment.txt > pipe.ndjson"])
    write_lines("payment.txt", labelled_events())
    assert replay(capsys, events="payment=pipe.ndjson")["accepted"] == 6
    assert writer.wait(timeout=30) == 0


# -- what would be misread in silence ---------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["fraud", "fraud=true", "coalesce(fraud,false)", "amount>1 and not(fraud)"])
def test_labels_in_the_events_need_a_time_at_which_they_are_known(
    here: Path, capsys: pytest.CaptureFixture[str], where: str
) -> None:
    for name, before, after in (
        ("events/payment.yaml", "fraud: boolean", "fraud: {type: boolean, from: fraud}"),
        ("features/card.yaml", "where: fraud,", f'where: "{where}",'),
    ):
        path = here / "shop" / name
        assert before in path.read_text()
        path.write_text(path.read_text().replace(before, after))
    write_lines("payment.ndjson", [event | {"fraud": True} for event in labelled_events()])
    said = refused(capsys, "replay", "shop", "--events", "payment.ndjson", "--out", "out.ndjson")
    assert "--label-delay" in said
    replay(capsys, "--label-delay", "90m", "--features")
    frauds = [json.loads(text)["card.frauds_30d"] for text in Path("out.ndjson").read_text().splitlines()]
    if "not" not in where:
        assert frauds == [0, 0, 1, 2, 3, 4]


def test_bytes_of_a_notebook_are_text(project: Project) -> None:
    made = Engine(project).decide([payment(b"p1", card=b"c1"), payment("p2", card="c1")]).to_arrow(features=True)
    assert made["event_id"].to_pylist() == ["p1", "p2"]
    assert made["card.payments_1h"].to_pylist() == [1, 2]


def test_a_state_beyond_its_bound_stops_the_replay(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = here / "shop" / "parakh.toml"
    settings.write_text(settings.read_text() + '[limits]\nstate = "5MB"\n')
    write_lines("payment.ndjson", [payment(f"p{n}", card=f"c{n}") for n in range(60_000)])
    said = refused(capsys, "replay", "shop", "--events", "payment.ndjson", "--out", "out.ndjson", code=FOUND_PROBLEMS)
    assert "5.0 MB" in said
    assert "[limits]" in said
    assert not Path("out.ndjson").exists()


@pytest.mark.parametrize("null", ["null", "~", "{value: null}"])
def test_a_list_that_holds_null_is_refused(here: Path, capsys: pytest.CaptureFixture[str], null: str) -> None:
    (here / "shop" / "lists").mkdir()
    path = here / "shop" / "lists" / "names.yaml"
    path.write_text(f"list: names\ntype: string\nitems: [NO, {null}, '0742']\n")
    assert "a list cannot hold null" in refused(capsys, "check", "shop", code=FOUND_PROBLEMS)
    path.write_text("list: names\ntype: string\nitems: [NO, 'null', 0742]\n")
    entries = Project.load(here / "shop").definitions.lists[0].entries
    assert [entry.value for entry in entries] == ["NO", "null", "0742"]


def test_tables_in_memory_are_held_to_what_files_are_held_to(project: Project) -> None:
    engine = Engine(project)
    frame = pd.DataFrame([payment("p1"), payment("p2")])
    with pytest.raises(InputError, match="payment: column 'card' is not there"):
        engine.decide(frame.rename(columns={"card": "Card"}))
    with pytest.raises(InputError, match="column 'card' is not there"):
        engine.decide(pa.table(columns()).drop(["card"]))
    frame["amount"] = [1.25, "much"]
    with pytest.raises(InputError, match="amount"):
        engine.decide(frame)
    assert engine.counts.received == 0
    assert len(engine.decide(pd.DataFrame([payment("p1"), payment("p2", tries=None)]))) == 2
