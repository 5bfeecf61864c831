"""`parakh label`: verdicts said, sent, checked and looked up, and the same precedence whichever way they came."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from service_process import ServiceProcess, payment, shop

from parakh.cli.main import FOUND_PROBLEMS, OK, WRONG_USE, run

SETTINGS = 'name = "shop"\ncurrency = "INR"\n\n[labels]\nsources = ["chargeback", "analyst", "customer"]\n'
PAYMENTS = [payment(number, card=number % 3, terminal=number % 2) for number in range(6)]


def verdict(event_id: str, value: object, source: str, day: int) -> dict[str, Any]:
    return {"event_type": "payment", "event_id": event_id, "label": "fraud", "value": value, "source": source,
            "known_at": f"2026-01-{day:02d}T00:00:00Z"}  # fmt: skip


SAID = [
    verdict("p0", True, "customer", 6), verdict("p0", False, "analyst", 7), verdict("p0", True, "customer", 8),
    verdict("p1", False, "analyst", 7), verdict("p1", True, "chargeback", 8), verdict("p1", False, "analyst", 9),
    verdict("p2", True, "chargeback", 6), verdict("p2", None, "chargeback", 9), verdict("p2", None, "customer", 10),
    verdict("p3", True, "analyst", 6), verdict("p3", None, "customer", 7),
    verdict("p4", True, "chargeback", 6), verdict("p4", None, "chargeback", 7), verdict("p4", True, "customer", 8),
]  # fmt: skip
HOLDS = {
    "p0": (False, "2026-01-07"), "p1": (True, "2026-01-08"), "p2": (False, None), "p3": (True, "2026-01-06"),
    "p4": (True, "2026-01-08"), "p5": (False, None),
}  # fmt: skip


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = shop(tmp_path_factory.mktemp("project") / "shop")
    (folder / "parakh.toml").write_text(SETTINGS)
    return folder


@pytest.fixture(scope="module")
def service(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    with ServiceProcess(project, tmp_path_factory.mktemp("service") / "data") as running:
        for event in PAYMENTS:
            assert running.decide(event).status_code == 200
        yield running


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Path:
    if "service" in request.fixturenames:
        monkeypatch.setenv("PARAKH_URL", request.getfixturevalue("service").url)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def lines(path: str, rows: list[dict[str, Any]]) -> str:
    Path(path).write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def held(folder: str) -> dict[str, tuple[bool, str | None]]:
    rows = pq.read_table(f"{folder}/data.parquet").to_pylist()
    return {
        row["event_id"]: (row["label"], row["label_known_at"] and f"{row['label_known_at']:%Y-%m-%d}") for row in rows
    }


def words(text: str) -> str:
    return " ".join(text.split())


def test_precedence_is_the_same_by_api_file_and_dataset(
    service: ServiceProcess, project: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # One by one on the command line, a table sent as a file, and the same lines as a file of labels for a replay.
    for said in SAID[:5]:
        saying = ["--withdraw", "fraud"] if said["value"] is None else [f"fraud={str(said['value']).lower()}"]
        more = ["--source", said["source"], "--known-at", said["known_at"]]
        assert run(["label", "event", "payment", said["event_id"], *saying, *more]) == OK
    pq.write_table(pa.Table.from_pylist(SAID[5:8]), "a.parquet")
    assert run(["label", "send", "a.parquet"]) == OK
    header = "event_type,event_id,label,value,known_at,source\n"
    rows = [",".join(str(cell).lower() if isinstance(cell, bool) else cell or "" for cell in (
        row["event_type"], row["event_id"], row["label"], row["value"], row["known_at"], row["source"]))
        for row in SAID[8:11]]  # fmt: skip
    Path("b.csv").write_text(header + "\n".join(rows) + "\n")
    assert run(["label", "send", "b.csv"]) == OK
    assert run(["label", "send", lines("c.ndjson", SAID[11:])]) == OK
    capsys.readouterr()

    common = ["--label-delay", "1d", "--json"]
    now = ["--known-by", "2099-01-01"]
    assert run(["dataset", str(project), "--data", str(service.data), *now, *common, "--for", "payment",
                "--out", "from_log"]) == OK  # fmt: skip
    lines("payment.ndjson", PAYMENTS)
    assert run(["dataset", str(project), "--events", "payment.ndjson", "--labels", lines("all.ndjson", SAID), *now,
                *common, "--out", "from_files"]) == OK  # fmt: skip
    assert held("from_log") == held("from_files") == HOLDS
    capsys.readouterr()

    for event_id, (value, since) in HOLDS.items():
        assert run(["label", "show", str(service.data), "payment", event_id, "--json"]) == OK
        said = json.loads(capsys.readouterr().out)
        assert [(item["value"], item["source"], item["known_at"]) for item in said] == [
            (row["value"], row["source"], row["known_at"]) for row in SAID if row["event_id"] == event_id
        ]
        holding = [(item["value"], item["known_at"][:10]) for item in said if item["state"] == "holds"]
        assert holding == ([] if since is None else [(value, since)]), event_id
    assert run(["label", "show", str(service.data), "payment", "p0"]) == OK
    shown = capsys.readouterr().out
    assert "holds" in shown
    assert "overruled" in shown


def test_what_is_refused_is_written_down_and_sending_goes_on(
    service: ServiceProcess, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = verdict("p5", False, "analyst", 9)
    bad = [{**good, "value": 17}, {**good, "label": "froud"}, {**good, "source": "a bird"}, {**good, "event_type": "x"}]
    rows = [good, *bad, good]
    assert run(["label", "send", lines("some.ndjson", rows), "--json"]) == FOUND_PROBLEMS
    said = json.loads(capsys.readouterr().out)
    assert (said["accepted"], said["refused"], said["file"]) == (2, 4, "some.ndjson.refused.ndjson")
    refused = [json.loads(line) for line in Path(said["file"]).read_text().splitlines()]
    assert [(item["line"], item["code"]) for item in refused] == [
        (2, "wrong_type"), (3, "unknown_label"), (4, "unknown_source"), (5, "unknown_type"),
    ]  # fmt: skip
    assert [json.loads(item["label"]) for item in refused] == bad
    assert run(["label", "send", "some.ndjson", "--skip", "5"]) == OK
    assert "accepted 1 label" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["p0", "fraud=maybe"], "a value does not have its field's type (value)"),
        (["p0", "fraud=true", "--source", "rumour"], "not one that the project ranks"),
        (["p0", "fraud=true", "--known-at", "soon"], "the label is refused"),
        (["p0", "colour=red"], "no label of that name"),
        (["p0"], "either LABEL=VALUE"),
        (["p0", "fraud=true", "--withdraw", "fraud"], "either LABEL=VALUE"),
        (["p0", "fraud"], "names no label with a value"),
        (["p0", "fraud=true", "--to", "l.ndjson"], "--to and --project go together"),
    ],
)
def test_a_label_that_is_none_is_refused(
    service: ServiceProcess, here: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert run(["label", "event", "payment", *arguments]) == WRONG_USE
    assert message in words(capsys.readouterr().err)


def test_a_file_of_labels_grows_by_what_the_project_takes(
    project: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("labels.ndjson").write_text(json.dumps(SAID[0]))  # without a break at its end
    to = ["--to", "labels.ndjson", "--project", str(project)]
    more = ["--source", "analyst", "--known-at", "2026-01-09"]
    assert run(["label", "event", "payment", "p9", "fraud=true", *to, *more]) == OK
    assert run(["label", "event", "payment", "p9", "fraud=7", *to, *more]) == WRONG_USE
    rows = [json.loads(line) for line in Path("labels.ndjson").read_text().splitlines()]
    assert rows[0] == SAID[0]
    assert rows[1] == {**verdict("p9", True, "analyst", 9), "known_at": "2026-01-09"}
    capsys.readouterr()
    assert run(["label", "check", str(project), "labels.ndjson"]) == OK
    assert "2 labels of 2 events" in words(capsys.readouterr().out)


def test_check_tells_what_would_be_taken(project: Path, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    future = verdict("p7", True, "analyst", 9) | {"known_at": "2180-01-01"}
    unknown_time = {key: value for key, value in SAID[0].items() if key != "known_at"}
    path = lines("labels.ndjson", [*SAID, future, unknown_time])
    assert run(["label", "check", str(project), path, "--json"]) == FOUND_PROBLEMS
    said = json.loads(capsys.readouterr().out)
    assert (said["labels"], said["events"], said["differing"], said["future"]) == (len(SAID) + 1, 6, 5, 1)
    assert said["by"]["customer"] == {"labels": 5, "withdrawn": 2}
    assert said["reasons"] == [{"code": "missing_time", "field": "", "labels": 1}]
    assert run(["label", "check", str(project), path]) == FOUND_PROBLEMS
    told = words(capsys.readouterr().out)
    assert "more than one thing was said about 5 events" in told
    assert "1 label with a known_at in the future" in told
    assert "does not say when it became known" in told


def test_what_cannot_be_shown_or_sent_is_told(
    project: Path, service: ServiceProcess, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, message in (
        (["label", "show", str(service.data), "payment", "none"], "no payment 'none' stands in the log"),
        (["label", "show", str(service.data), "login", "p0"], "no login 'p0'"),
        (["label", "show", str(service.data), "transfer", "p0"], "no event type 'transfer'"),
        (["label", "show", str(here), "payment", "p0"], "holds no log"),
        (["label", "send", "missing.csv"], "there is no such file"),
        (["label", "check", str(project), "missing.csv"], "there is no such file"),
    ):
        assert run(arguments) == WRONG_USE, arguments
        assert message in words(capsys.readouterr().err)
    Path("empty.csv").touch()
    Path("other.csv").write_text("a,b\n1,2\n")
    for path, message in (("empty.csv", "empty (0 bytes)"), ("other.csv", "event_type")):
        for verb in (["send"], ["check", str(project)]):
            assert run(["label", *verb, path]) == WRONG_USE
            assert message in words(capsys.readouterr().err)


def test_a_label_of_a_key_and_one_that_came_before_its_event_are_shown(
    service: ServiceProcess, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    early = verdict("p20", True, "customer", 6)
    of_key = {key: value for key, value in early.items() if key != "event_id"} | {
        "entity": "terminal", "key": "t7", "source": "chargeback",
    }  # fmt: skip
    assert service.post("/v1/labels", early).status_code == 200
    assert service.post("/v1/labels", of_key).status_code == 200  # no event of the key came yet: of none
    service.decide(payment(20, terminal=7)).raise_for_status()
    assert service.post("/v1/labels", {**of_key, "value": False}).status_code == 200
    assert run(["label", "show", str(service.data), "payment", "p20", "--json"]) == OK
    said = json.loads(capsys.readouterr().out)
    assert [(item["value"], item["about"], item["state"]) for item in said] == [
        (True, "", "replaced"), (False, "terminal t7", "holds"),
    ]  # fmt: skip
