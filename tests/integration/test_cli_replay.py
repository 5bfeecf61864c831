"""`parakh replay`, `diff --events`, `explain` and `demo` as a person or a script calls them."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pyarrow.parquet as pq
import pytest
from terminal import on_terminal

from parakh.cli import served
from parakh.cli.console import width
from parakh.cli.main import FOUND_PROBLEMS, OK, WRONG_USE, run

EXAMPLE = Path(__file__).parents[2] / "examples" / "card-payments"

SHOP = {
    "parakh.toml": 'name = "shop"\ncurrency = "INR"\n',
    "events/payment.yaml": """\
event: payment
id: payment_id
time: paid_at
fields:
  payment_id: string
  paid_at: timestamp
  card: {type: string, entity: card}
  amount: {type: money, currency: INR}
labels:
  fraud: boolean
""",
    "features/card.yaml": """\
entity: card
features:
  payments:
    from: payment
    aggregate: count(*)
    over: [10m, 1h]
""",
    "rules/card_testing.yaml": """\
rule: card_testing
for: payment
when: card.payments_10m >= 3 and amount < 5
then: block
reason: R101
text: many small payments of one card
""",
    "policies/payment.yaml": "policy: payment\nfor: payment\notherwise: allow\n",
}


def payment(number: int, *, minute: int, card: str = "c1", amount: float = 1.0) -> dict[str, object]:
    return {
        "payment_id": f"p{number}",
        "paid_at": f"2025-01-01T{10 + minute // 60:02d}:{minute % 60:02d}:00Z",
        "card": card,
        "amount": amount,
    }


PAYMENTS = [payment(n, minute=n) for n in range(6)] + [payment(10 + n, minute=20 * n, card="c2") for n in range(4)]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with a project `shop`, its events and their labels."""
    monkeypatch.chdir(tmp_path)
    for name, text in SHOP.items():
        path = tmp_path / "shop" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    events = sorted(PAYMENTS, key=lambda event: str(event["paid_at"]))
    write_lines(tmp_path / "payment.ndjson", events)
    labels = [
        {"event_type": "payment", "event_id": name, "label": "fraud", "value": value,
         "known_at": "2025-01-02T00:00:00Z", "source": "analyst"}
        for name, value in (("p2", True), ("p3", True), ("p0", True), ("p5", False))
    ]  # fmt: skip
    write_lines(tmp_path / "labels.ndjson", labels)
    return tmp_path


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


BLOCKED = {"p2", "p3", "p4", "p5"}


def test_decisions_are_written_with_features_and_told_in_a_summary(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["replay", "shop", "--events", "payment.ndjson", "--out", "out.ndjson", "--features"]) == OK
    said = capsys.readouterr().out
    assert "10 received = 10 accepted + 0 duplicates + 0 quarantined" in said
    assert "wrote out.ndjson: 10 decisions" in said
    decisions = read_lines(here / "out.ndjson")
    assert {item["event_id"] for item in decisions if item["outcome"] == "block"} == BLOCKED
    by_id = {item["event_id"]: item for item in decisions}
    assert by_id["p5"]["card.payments_10m"] == 6
    assert by_id["p5"]["reasons"] == ["R101"]
    assert by_id["p5"]["rules"] == ["card_testing"]
    assert by_id["p13"]["card.payments_1h"] == 3
    assert by_id["p5"]["event_time"] == "2025-01-01T10:05:00.000000Z"
    assert not list(here.glob("*.partial")) + list(here.glob("*quarantine*"))


def test_parquet_says_the_same_and_features_are_left_out_unless_asked_for(here: Path) -> None:
    assert run(["replay", "shop", "--events", "payment=payment.ndjson", "--out", "out.parquet"]) == OK
    table = pq.read_table(here / "out.parquet")
    assert table.column_names[:5] == ["event_type", "event_id", "event_time", "outcome", "decided_by"]
    assert "card.payments_10m" not in table.column_names
    rows = table.to_pylist()
    assert {row["event_id"] for row in rows if row["outcome"] == "block"} == BLOCKED


def test_json_summary_with_labels(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["replay", "shop", "--events", "payment.ndjson", "--labels", "labels.ndjson", "--out", "o.ndjson"]
    assert run([*arguments, "--json"]) == OK
    data = json.loads(capsys.readouterr().out)
    assert (data["received"], data["accepted"], data["decided"]) == (10, 10, 10)
    assert data["outcomes"]["payment"]["block"] == 4
    judged = data["judged"]["payment"]
    assert (judged["frauds"], judged["stopped"], judged["stopped_frauds"]) == (3, 4, 2)
    assert (judged["precision"], judged["recall"]) == (0.5, pytest.approx(2 / 3))
    assert (judged["fraud_amount"], judged["caught_amount"]) == (3.0, 2.0)
    assert judged["false_alarms_per_fraud"] == 1.0
    assert run(arguments) == OK
    said = capsys.readouterr().out
    assert "50.0 %" in said
    assert "₹2.00" in said


def test_what_is_no_event_is_quarantined_with_its_reason(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (here / "payment.ndjson").read_text()
    bad = ['{"payment_id": "x1"', '{"payment_id": "x2", "paid_at": "soon", "card": "c", "amount": 1}',
           '{"paid_at": "2025-01-01T12:00:00Z", "card": "c", "amount": 1}',
           '{"payment_id": "x3", "paid_at": "2025-01-01T12:00:00Z", "card": "c", "amount": 1e30}',
           '{"payment_id": "x4", "paid_at": "1970-01-01T12:00:00Z", "card": "c", "amount": 1}',
           json.dumps(payment(3, minute=3)), json.dumps(payment(3, minute=4))]  # fmt: skip
    (here / "payment.ndjson").write_text(text + "\n".join(bad) + "\n")
    assert run(["replay", "shop", "--events", "payment.ndjson", "--out", "out.ndjson", "--json"]) == OK
    captured = capsys.readouterr()
    data = json.loads(captured.out)
    assert (data["received"], data["accepted"], data["duplicates"]) == (17, 10, 1)
    assert sum(data["quarantined"].values()) == 6
    kept = read_lines(here / "out.ndjson.quarantine.ndjson")
    assert len(kept) == 6
    assert {item["raw"] for item in kept} >= set(bad[:5])
    assert "6 events: out.ndjson.quarantine.ndjson" in captured.err


def test_standard_output_holds_decisions_and_nothing_else(here: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "parakh", "replay", "shop", "--events", "-", "--out", "-"],
        input=(here / "payment.ndjson").read_text(), capture_output=True, text=True, check=True, timeout=300,
    )  # fmt: skip
    assert [json.loads(line)["event_type"] for line in done.stdout.splitlines()] == ["payment"] * 10
    assert "10 received" in done.stderr


def test_a_reader_that_leaves_early_gives_no_traceback(here: Path) -> None:
    write_lines(here / "payment.ndjson", [payment(n, minute=0, card=f"c{n}") for n in range(20_000)])
    script = f"set -o pipefail; {sys.executable} -m parakh replay shop -e payment.ndjson -o - | head -n 2"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False, timeout=300, cwd=here)
    assert len(done.stdout.splitlines()) == 2
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--events", "nowhere.ndjson", "--out", "o.ndjson"], "nowhere.ndjson"),
        (["--events", "folder", "--out", "o.ndjson"], "folder"),
        (["--events", "empty.ndjson", "--out", "o.ndjson"], "empty"),
        (["--events", "paymnt=payment.ndjson", "--out", "o.ndjson"], "did you mean payment=?"),
        (["--events", "payment=", "--out", "o.ndjson"], "names no file"),
        (["--events", "payment.ndjson", "--out", "o.xls"], "--format parquet or ndjson"),
        (["--events", "payment.ndjson", "--out", "payment.ndjson"], "would be overwritten"),
        (["--events", "payment.ndjson", "--out", "o.ndjson", "--label-delay", "soon"], "length of time"),
        (["--events", "payment.ndjson", "--out", "o.ndjson", "--label-delay", "7d"], "no label is read from these"),
        (["--events", "payment.ndjson", "--out", "o.ndjson", "--labels", "nowhere.ndjson"], "nowhere.ndjson"),
        (["--events", "payment.ndjson", "--out", "no/such/folder/o.ndjson"], "o.ndjson"),
        (["--events", "nocard.csv", "--out", "o.ndjson"], "card"),
        (["--events", "cut.ndjson.gz", "--out", "o.ndjson"], "cut off"),
        (["--events", "not.parquet", "--out", "o.ndjson"], "not.parquet"),
        (["--out", "o.ndjson"], "--events"),
    ],
)
def test_what_cannot_be_done_is_said_and_leaves_nothing_behind(
    here: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    (here / "folder").mkdir()
    (here / "empty.ndjson").write_bytes(b"")
    (here / "nocard.csv").write_text("payment_id,paid_at,amount\np1,2025-01-01T10:00:00Z,1\n")
    packed = gzip.compress((here / "payment.ndjson").read_bytes() * 500)
    (here / "cut.ndjson.gz").write_bytes(packed[: len(packed) // 2])
    (here / "not.parquet").write_bytes(b"PAR1 no PAR1 at all")
    before = (here / "payment.ndjson").read_bytes()
    assert run(["replay", "shop", *arguments]) in (WRONG_USE, FOUND_PROBLEMS)
    captured = capsys.readouterr()
    assert says in captured.err
    assert "Traceback" not in captured.err
    assert "internal error" not in captured.err
    assert (here / "payment.ndjson").read_bytes() == before
    assert not (here / "o.ndjson").exists()
    assert not list(here.rglob("*.partial"))


def test_a_broken_project_is_shown_and_nothing_is_replayed(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rule = here / "shop/rules/card_testing.yaml"
    rule.write_text(rule.read_text().replace("amount < 5", "amuont < 5"))
    assert run(["replay", "shop", "--events", "payment.ndjson", "--out", "out.ndjson"]) == FOUND_PROBLEMS
    assert "did you mean amount?" in capsys.readouterr().err
    assert not (here / "out.ndjson").exists()


def test_diff_on_events_tells_what_moves(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import shutil

    shutil.copytree(here / "shop", here / "stricter")
    rule = here / "stricter/rules/card_testing.yaml"
    rule.write_text(rule.read_text().replace(">= 3", ">= 1"))
    arguments = ["diff", "shop", "stricter", "--events", "payment.ndjson"]
    assert run([*arguments, "--labels", "labels.ndjson", "--json"]) == OK
    data = json.loads(capsys.readouterr().out)["outcomes"]
    (moved,) = data["movements"]
    assert (moved["before"], moved["after"], moved["events"], moved["amount"]) == ("allow", "block", 6, 600)
    assert moved["frauds"] == 1
    assert data["after"]["fraud_amount_stopped"] - data["before"]["fraud_amount_stopped"] == 100
    assert (data["people_gained"], data["people_lost"]) == (0, 1)
    assert run(arguments) == OK
    said = capsys.readouterr().out
    assert "6 outcomes changed" in said
    assert "--labels" in said


def test_explain_tells_the_rule_the_window_and_what_it_held(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["explain", "shop", "--events", "payment.ndjson"]
    assert run([*arguments, "p3"]) == OK
    said = capsys.readouterr().out
    assert "BLOCK" in said
    assert "many small payments of one card" in said
    assert "payments_10m 4" in said
    assert "card payments in 10 min is 4, at least 3" in said
    assert "◆" in said
    assert run([*arguments, "payment:p3", "--json"]) == OK
    (story,) = json.loads(capsys.readouterr().out)
    (timeline,) = story["timelines"]
    assert timeline["key"] == "c1"
    assert [mark["age_us"] for mark in timeline["strips"][0]["marks"]] == [180_000_000, 120_000_000, 60_000_000, 0]
    assert run([*arguments, "p99"]) == WRONG_USE
    assert "p99" in capsys.readouterr().err


def test_the_demo_runs_without_a_terminal_and_writes_its_page(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served, "EVENTS", 1_000)
    assert run(["demo", "--folder", "demo", "--events", "30000", "--seed", "2"]) == OK
    said = capsys.readouterr().out
    assert "\x1b" not in said
    for words in ("30,000 events", "of fraud stopped", "events/s on one core", "payments", "rules", "+ when:",
                  "outcomes changed", "good customer", "demo/report.html"):  # fmt: skip
        assert words in said, words
    page = (here / "demo/report.html").read_text()
    assert page.startswith("<!doctype html>")
    assert page.count('<article class="story">') == 3
    assert "30,000 events of a fintech" in page
    assert (here / "demo/shop/parakh.toml").is_file()


def test_the_demo_is_live_on_a_terminal(here: Path) -> None:
    arguments = ["demo", "--folder", "demo", "--events", "2000", "--seed", "3", "--fast"]
    first = "from parakh.cli import served; served.EVENTS = 300"
    code, said = on_terminal(arguments, columns=90, folder=here, first=first)
    assert code == OK, said[-2000:]
    plain = click.unstyle(said)
    for words in ("latest stops", "fraud caught", "good stopped", "in truth", "events/s", "demo/report.html"):
        assert words in plain, words
    assert "Traceback" not in plain
    printed = [line for line in re.split(r"[\r\n]+", plain) if "\x1b" not in line]
    own = [line for line in printed if "parakh diff" not in line and "--events" not in line]
    assert max(map(width, own)) <= 90
