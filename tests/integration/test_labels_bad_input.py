"""Bad labels and sets from which nothing can be learned: a clear word on the command line, and never a traceback."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from service_process import payment, shop

from parakh.cli.main import OK, WRONG_USE, run

SETTINGS = 'name = "shop"\ncurrency = "INR"\n[labels]\nsources = ["chargeback", "analyst", "customer"]\n'
DATASET = ["dataset", "shop", "--events", "payment.ndjson", "--labels", "labels.ndjson", "--known-by", "2026-03-01"]
HOUR_S = 3600


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project, 400 payments in a month and labels of every tenth."""
    monkeypatch.chdir(tmp_path)
    shop(tmp_path / "shop")
    Path("shop/parakh.toml").write_text(SETTINGS)
    events = [payment(number * HOUR_S, card=number % 11, terminal=number % 5, amount=10.0 + number % 7)
              for number in range(400)]  # fmt: skip
    Path("payment.ndjson").write_text("".join(f"{json.dumps(event)}\n" for event in events))
    labels([verdict(f"p{number * HOUR_S}") for number in range(0, 400, 10)])
    return tmp_path


def verdict(event_id: str, value: object = True, **more: Any) -> dict[str, Any]:
    return {"event_type": "payment", "event_id": event_id, "label": "fraud", "value": value, "source": "analyst",
            "known_at": "2026-02-20T00:00:00Z", **more}  # fmt: skip


def labels(rows: list[dict[str, Any]]) -> None:
    Path("labels.ndjson").write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def told(capsys: pytest.CaptureFixture[str]) -> str:
    said = capsys.readouterr()
    assert "Traceback" not in said.out + said.err
    return " ".join((said.out + said.err).split())


def made(capsys: pytest.CaptureFixture[str], *more: str) -> dict[str, Any]:
    assert run([*DATASET, "--out", "set", *more]) == OK
    told(capsys)
    card: dict[str, Any] = json.loads(Path("set/card.json").read_text())
    return card


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"event_id": "nobody"}, "no label 'fraud' was known of any payment by the cut-off"),
        ({"known_at": "2180-01-01T00:00:00Z"}, "no label 'fraud' was known of any payment by the cut-off"),
        ({"source": "rumour"}, "no label 'fraud' was known of any payment by the cut-off"),
        ({"value": "perhaps"}, "no label 'fraud' was known of any payment by the cut-off"),
        ({"value": None}, "no label 'fraud' was known of any payment by the cut-off"),
        ({"event_type": "refund"}, "no label 'fraud' was known of any payment by the cut-off"),
        ({"known_at": "1890-01-01"}, "no label 'fraud' was known of any payment by the cut-off"),
    ],
)
def test_labels_that_say_nothing_of_the_events(
    here: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any], said: str
) -> None:
    labels([verdict("p0", **change) | change] if "event_id" not in change else [verdict(**change)])
    assert run([*DATASET, "--out", "set"]) == WRONG_USE
    assert said in told(capsys)
    assert not Path("set").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "labels.ndjson is empty (0 bytes): it holds no labels"),
        ("\n\n", "labels.ndjson holds no labels"),
        ("[]", "is one JSON array; write one label a line"),
    ],
)
def test_files_of_labels_that_are_none(here: Path, capsys: pytest.CaptureFixture[str], content: str, said: str) -> None:
    Path("labels.ndjson").write_text(content)
    for verb in (
        [*DATASET, "--out", "set"],
        ["backtest", "shop", "--events", "payment.ndjson", "--labels", "labels.ndjson"],
        ["label", "check", "shop", "labels.ndjson"],
        ["label", "send", "labels.ndjson"],
    ):
        assert run(verb) == WRONG_USE
        assert said in told(capsys)


EVENTS = ["--events", "payment.ndjson"]
LABELS = ["--labels", "labels.ndjson"]


@pytest.mark.parametrize(
    ("verb", "said"),
    [
        (["anomalies", "shop", *EVENTS, "--from", "2026-02-01", "--to", "2026-01-01"], "nothing lies between --from"),
        (["anomalies", "shop", *EVENTS, "--from", "2030-01-01"],
         "no event of payment from 2030-01-01T00:00:00Z; 400 events were accepted and 0 quarantined"),
        (["drift", "shop", *EVENTS, "--since", "2026-02-01", "--to", "2026-01-20"], "nothing lies between --since and"),
        (["drift", "shop", *EVENTS, "--since", "2026-01-08", "--from", "2026-01-10"], "there is no before"),
        (["drift", "shop", *EVENTS, "--since", "2026-01-08", "--reference-to", "2026-01-10"],
         "--reference-to: the reference would hold what is watched"),
        (["drift", "shop", *EVENTS, "--out", "none/page.html"], "there is no folder none"),
        (["tune", "shop", *EVENTS, "--out", "none/page.html"], "there is no folder none"),
        (["learn", "shop", *EVENTS, *LABELS, "--out", "none/page.html"], "there is no folder none"),
        (["backtest", "shop", *EVENTS, "--out", "payment.ndjson"], "payment.ndjson is an input"),
        (["drift", "shop", *EVENTS, *LABELS, "--out", "labels.ndjson"], "labels.ndjson is an input"),
        (["tune", "shop", *EVENTS, *LABELS, "--model", "nope"], "no model nope scores payment; it has none"),
        (["suggest", "shop", *EVENTS, *LABELS, "--out", ""], "'' is no file of rules in the project"),
        (["suggest", "shop", *EVENTS, *LABELS, "--out", "../rules/a.yaml"], "is no file of rules in the project"),
        (["suggest", "shop", *EVENTS, *LABELS, "--maturity", "400d"], "a longer past, or a shorter --maturity"),
        (["promote", "shop", "nope", "7", "--request", "--by", "me", *EVENTS, *LABELS], "nope has no version 7"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_what_is_asked_for_wrongly_is_told(
    here: Path, capsys: pytest.CaptureFixture[str], verb: list[str], said: str
) -> None:
    assert run(verb) == WRONG_USE
    assert said in told(capsys)


def test_lines_of_wrong_types_are_passed_over_and_counted(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = verdict("p0")
    wrong: list[Any] = [
        {**good, "value": 3}, {**good, "known_at": "yesterday"}, {**good, "event_id": ["p0"]}, 17, None, {},
        {**good, "event_id": None}, {**good, "label": 5}, {**good, "source": {"a": 1}}, {**good, "key": 3},
    ]  # fmt: skip
    labels([*wrong, verdict("p3600", False), verdict("p7200")])
    card = made(capsys)
    assert card["counts"]["positive"] == 1 + (1 if "p0" in held() else 0)
    refused = [json.loads(line)["reason"] for line in Path("set.quarantine.ndjson").read_text().splitlines()]
    assert len(refused) == len(wrong) - (1 if "p0" in held() else 0)
    assert {"wrong_type", "missing_event", "not_an_object"} <= set(refused)


def held() -> list[str]:
    """The frauds of the set."""
    rows = pq.read_table("set/data.parquet").to_pylist()
    return [row["event_id"] for row in rows if row["label"]]


@pytest.mark.parametrize("value", [True, False])
def test_one_class_only(here: Path, capsys: pytest.CaptureFixture[str], value: bool) -> None:
    labels([verdict(f"p{number * HOUR_S}", value) for number in range(400)])
    card = made(capsys)
    assert card["warnings"] == [f"train has one class only: {'positive' if value else 'negative'}"]
    assert run(["train", "set", "--kind", "logistic", "--out", "model"]) == WRONG_USE
    assert "fraud" in (said := told(capsys))
    assert "hint" in said
    assert not Path("model").exists()


def test_inputs_that_are_constant_or_null(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    event = Path("shop/events/payment.yaml")
    event.write_text(event.read_text().replace(
        "labels:", "derive:\n  always: 7\n  never: nullif(amount, amount)\nlabels:"
    ))  # fmt: skip
    labels([verdict(f"p{number * HOUR_S}", known_at=f"2026-01-{6 + number // 24:02d}T23:00:00Z")
            for number in range(0, 400, 10)])  # fmt: skip
    card = made(capsys, "--label-delay", "1d")
    columns = {column["name"]: column for column in card["columns"]}
    assert (columns["always"]["min"], columns["always"]["max"]) == (7, 7)
    assert columns["never"]["null_share"] == 1.0
    assert run(["train", "set", "--kind", "logistic", "--out", "model"]) == OK
    told(capsys)
    assert Path("model/card.json").is_file()


def test_a_million_labels_about_one_event(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    count = 1_000_000
    rng = np.random.default_rng(5)
    same = pa.array(np.zeros(count, np.int8))
    source = rng.integers(0, 3, count)
    value = rng.random(count) < 0.5
    table = pa.table({
        "event_type": pa.DictionaryArray.from_arrays(same, ["payment"]),
        "event_id": pa.DictionaryArray.from_arrays(same, ["p3600"]),
        "label": pa.DictionaryArray.from_arrays(same, ["fraud"]),
        "value": pa.array(value),
        "known_at": pa.array(np.int64(1_770_000_000_000_000) + np.arange(count), pa.timestamp("us", "UTC")),
        "source": pa.DictionaryArray.from_arrays(
            pa.array(source.astype(np.int8)), ["chargeback", "analyst", "customer"]
        ),
    })  # fmt: skip
    pq.write_table(table, "labels.parquet")
    arguments = ["labels.parquet" if word == "labels.ndjson" else word for word in DATASET]
    assert run([*arguments, "--out", "set"]) == OK
    told(capsys)
    last = np.flatnonzero(source == 0)[-1]
    assert held() == (["p3600"] if value[last] else [])
