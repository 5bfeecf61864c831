"""The service as a caller meets it: decided once, the same after a crash, and changed while it runs."""

from __future__ import annotations

import concurrent.futures
import json
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from integration.service_process import ServiceProcess, payment, shop


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return shop(tmp_path / "shop")


@pytest.fixture
def service(project: Path, tmp_path: Path) -> Iterator[ServiceProcess]:
    with ServiceProcess(project, tmp_path / "data") as running:
        yield running


def test_one_event_one_decision_whatever_happens(service: ServiceProcess) -> None:
    answers = [service.decide(payment(number, card=1)) for number in range(6)]
    assert [answer.status_code for answer in answers] == [200] * 6
    outcomes = [answer.json()["outcome"] for answer in answers]
    assert outcomes == ["allow"] * 4 + ["block"] * 2
    assert answers[4].json()["reasons"] == [{"code": "R1", "text": "card.payments_1h >= 5", "contribution": None}]

    again = service.decide(payment(4, card=1))
    assert again.content == answers[4].content
    assert again.headers["parakh-replayed"] == "true"
    other = service.decide(payment(4, card=1, amount=11))
    assert other.status_code == 422
    assert other.json()["code"] == "conflict"

    service.kill()
    service.start()
    for number, answer in enumerate(answers):
        assert service.decide(payment(number, card=1)).content == answer.content
    assert service.decide(payment(6, card=1)).json()["outcome"] == "block"  # the windows are what they were
    by_id = service.get(f"/v1/decisions/{answers[0].json()['decision_id']}").json()
    assert by_id["features"]["card.payments_1h"] == 1
    assert by_id["outcome"] == "allow"


def test_r9_many_tries_at_once_are_one_decision(service: ServiceProcess) -> None:
    """A hundred tries of each id over many connections: one decision, the same bytes for all."""
    tries = [(number, attempt) for attempt in range(20) for number in range(20)]
    with httpx.Client(limits=httpx.Limits(max_connections=40), timeout=30) as client:

        def ask(number: int) -> tuple[int, bytes]:
            answer = client.post(f"{service.url}/v1/decisions/payment", json=payment(number))
            assert answer.status_code == 200
            return number, answer.content

        with concurrent.futures.ThreadPoolExecutor(40) as pool:
            told = list(pool.map(ask, [number for number, _ in tries]))
    assert len({content for number, content in told if number == 7}) == 1
    assert len(set(told)) == 20
    counted = service.get("/metrics").text
    assert 'parakh_events_total{event_type="payment",status="accepted"} 20.0' in counted
    assert 'parakh_events_total{event_type="payment",status="duplicate"} 380.0' in counted


def test_blank_lines_of_a_batch_are_no_lines(service: ServiceProcess) -> None:
    lines = [json.dumps(payment(number)).encode() for number in range(9_000, 9_300)]
    for break_ in (b"\n\n", b"\r\n \r\n"):  # new ones, then retries
        body = break_ + break_.join(lines) + break_ + b"{\n" + break_ * 3_000
        told = [json.loads(line) for line in service.post("/v1/decisions/payment:batch", body).content.splitlines()]
        assert [item.get("event_id") for item in told[:-1]] == [f"p{number}" for number in range(9_000, 9_300)]
        assert (told[-1]["code"], told[-1]["line"]) == ("bad_json", 301)
    too_long = b"\n" * 3_000 + b"x" * (17 << 20)
    assert service.post("/v1/decisions/payment:batch", too_long).status_code == 422


def test_a_batch_is_answered_line_by_line(service: ServiceProcess) -> None:
    lines = [json.dumps(payment(number)).encode() for number in range(600)]
    lines[17] = b'{"payment_id": "p17"'
    lines[23] = lines[22]
    answer = service.post("/v1/decisions/payment:batch", b"\n".join(lines) + b"\n")
    told = [json.loads(line) for line in answer.content.splitlines()]
    assert len(told) == 600
    assert told[17]["code"] == "bad_json"
    assert told[17]["line"] == 18
    assert told[17]["detail"] == "Input data was truncated"
    alone = service.post("/v1/decisions/payment", b'{"payment_id": p17}').json()
    assert (alone["code"], alone["detail"]) == ("bad_json", "JSON is malformed: invalid character (byte 15)")
    assert told[22] == told[23]
    assert [item["event_id"] for number, item in enumerate(told) if number not in (17, 23)] == [
        f"p{number}" for number in range(600) if number not in (17, 23)
    ]


def test_events_and_labels_are_remembered(service: ServiceProcess) -> None:
    login = {"login_id": "l1", "at": "2026-01-05T10:00:00Z", "card": payment(1)["card"]}
    assert service.post("/v1/events/login", login).json() == {
        "event_type": "login",
        "event_id": "l1",
        "status": "accepted",
    }
    seen = service.decide(payment(1), features="true").json()
    assert seen["features"]["card.logins_1d"] == 1
    assert seen["outcome"] == "allow"
    label = {"event_type": "payment", "event_id": "p1", "label": "fraud", "value": True}
    assert service.post("/v1/labels", label).json() == {"accepted": 1, "refused": []}
    assert service.decide(payment(2)).json()["outcome"] == "review"
    refused = service.post("/v1/labels", {**label, "label": "nonsense"})
    assert (refused.status_code, refused.json()["code"]) == (422, "unknown_label")
    service.kill()
    service.start()
    assert service.decide(payment(3)).json()["outcome"] == "review"


def test_what_is_known_of_a_key(service: ServiceProcess) -> None:
    for number in range(3):
        service.decide(payment(number, card=5))
    card = payment(0, card=5)["card"]
    known = service.get(f"/v1/entities/card/{card}").json()
    assert [event["event_id"] for event in known["events"]] == ["p2", "p1", "p0"]
    # All was long ago by the wall clock: the windows of an hour and a day are empty now.
    assert known["features"]["card.payments_1h"] == 0
    page = service.get("/v1/decisions", entity=f"card:{card}", limit="2").json()
    assert [item["event_id"] for item in page["items"]] == ["p2", "p1"]
    rest = service.get("/v1/decisions", entity=f"card:{card}", limit="2", cursor=page["next_cursor"]).json()
    assert [item["event_id"] for item in rest["items"]] == ["p0"]
    assert service.get("/v1/decisions", outcome="block").json()["items"] == []


def test_no_personal_value_is_written_anywhere(service: ServiceProcess) -> None:
    card = payment(1)["card"]
    service.decide(payment(1))
    service.decide({**payment(2), "terminal": "call 4111 1111 1111 1111"})
    service.post(
        "/v1/labels", {"event_type": "payment", "entity": "card", "key": card, "label": "fraud", "value": True}
    )
    service.get(f"/v1/entities/card/{card}")
    service.stop()
    for path in [*service.data.rglob("*"), service.output]:
        if path.is_file():
            content = path.read_bytes()
            assert card.encode() not in content, path.name
            assert b"4111 1111 1111 1111" not in content, path.name


def test_a_rule_is_changed_while_it_decides_and_taken_back(service: ServiceProcess, project: Path) -> None:
    first = service.get("/v1/project").json()["hash"]
    assert service.decide(payment(1)).json()["outcome"] == "allow"
    rules = project / "rules" / "cards.yaml"
    before = rules.read_text()
    rules.write_text(before.replace("card.payments_1h >= 5", "card.payments_1h >= 1"))
    checked = service.post("/v1/project:check", {}).json()
    assert checked["valid"]
    assert checked["history"] == "kept"
    applied = service.post("/v1/project:apply", {})
    assert applied.status_code == 200
    assert applied.json()["state"] == "live"
    blocked = service.decide(payment(2)).json()
    assert blocked["outcome"] == "block"
    assert blocked["versions"]["project"] == applied.json()["hash"]
    # What was decided stays decided; what is decided from now on follows the version that was taken back.
    assert service.decide(payment(1)).json()["outcome"] == "allow"
    assert service.post("/v1/project:apply", {"version": first[:12]}).json()["hash"] == first
    assert service.decide(payment(3)).json()["outcome"] == "allow"
    service.kill()
    service.start()  # the folder holds the version that was taken back: it was seen, and does not come again
    assert service.get("/v1/project").json()["hash"] == first
    assert [item["hash"] for item in service.get("/v1/project/versions").json()["versions"]] == [
        first,
        applied.json()["hash"],
        first,
    ]
    assert service.decide(payment(2)).json() == blocked
    rules.write_text("rule: broken\nfor: payment\nwhen: card.nothing > 1\nthen: block\n")
    refused = service.post("/v1/project:apply", {})
    assert (refused.status_code, refused.json()["code"]) == (422, "project_invalid")
    assert refused.json()["problems"][0]["line"] == 3


def test_a_feature_added_today_has_its_history(service: ServiceProcess, project: Path) -> None:
    for number in range(40):
        service.decide(payment(number, card=9, amount=100))
    features = project / "features" / "card.yaml"
    features.write_text(
        features.read_text() + "  most: {from: payment, aggregate: max(amount), over: 7d}\n"
        "  ever: {from: payment, aggregate: count(*), over: 30d}\n"
    )
    applied = service.post("/v1/project:apply", {})
    assert applied.status_code == 202
    assert applied.json()["state"] == "building"
    number = 40
    deadline = time.monotonic() + 90
    while service.get("/v1/project").json()["hash"] != applied.json()["hash"]:
        assert time.monotonic() < deadline, service.get("/v1/project").text
        assert service.decide(payment(number, card=9)).status_code == 200  # the old version goes on
        number += 1
    seen = service.decide(payment(number, card=9), features="true").json()
    assert seen["features"]["card.ever_30d"] == number + 1
    assert seen["features"]["card.most_7d"] == 100
    service.kill()
    service.start()
    assert service.decide(payment(number, card=9), features="true").json() == seen
    after = service.decide(payment(number + 1, card=9), features="true").json()
    assert after["features"]["card.ever_30d"] == number + 2


def test_keys_keep_others_out(project: Path, tmp_path: Path) -> None:
    from parakh.cli.main import run

    data = tmp_path / "data"
    data.mkdir()
    assert run(["key", "create", str(data), "--name", "shop", "--scope", "decide"]) == 0
    with ServiceProcess(project, data) as service:
        assert service.decide(payment(1)).status_code == 401
        assert service.get("/v1/decisions").status_code == 401


def test_two_servers_do_not_share_a_log(service: ServiceProcess, project: Path) -> None:
    other = ServiceProcess(project, service.data).start(wait=False)
    assert other.wait_ended() == 1
    assert "another process" in other.said()


def test_a_snapshot_shortens_the_start_and_changes_nothing(project: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "service.toml").write_text("[snapshots]\nevents = 100\n")
    with ServiceProcess(project, data) as service:
        for number in range(150):
            service.decide(payment(number, card=number % 7))
        deadline = time.monotonic() + 60
        while not list((data / "snapshots").glob("[0-9]*")):
            assert time.monotonic() < deadline, service.said()
            time.sleep(0.1)
        for number in range(150, 180):
            service.decide(payment(number, card=number % 7))
        service.kill()
        service.start()
        answer = service.decide(payment(180, card=3), features="true").json()
        expected = sum(1 for number in range(181) if number % 7 == 3) + (180 % 7 != 3)
        assert answer["features"]["card.payments_1h"] == expected
        for path in (data / "snapshots").rglob("arrays.bin"):
            path.write_bytes(path.read_bytes()[:-1] + b"\x00\x01")
        service.kill()
        service.start()  # a damaged snapshot is passed over, and the log is enough
        assert service.decide(payment(180, card=3), features="true").json() == answer
