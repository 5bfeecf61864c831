"""A holdout over HTTP: the choice of a replay, the same answer at every try, found by its flag, and counted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from integration.service_process import ServiceProcess, payment, shop
from parakh.cli.main import run
from parakh.client import Client
from parakh.decisions.replay import Replay, Source
from parakh.project.project import Project

SALT = "7c9e0b1d5a3f42e8"
RULES = """rule: dear
for: payment
when: amount > 100
then: block
reason: R1
---
rule: listed
for: payment
when: terminal = 't9'
then: block
holdout: false
"""
POLICY = f"policy: payment\nfor: payment\nholdout: {{share: 20%, below: 1000, salt: {SALT}}}\n"
EVENTS = [
    payment(number, terminal=9 if number % 10 == 0 else 1, amount=5_000 if number % 10 == 1 else 500)
    for number in range(400)
]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return shop(tmp_path / "shop", rules__cards_yaml=RULES, policies__payment_yaml=POLICY)


def replayed(project: Path, tmp_path: Path) -> set[str]:
    """The events that a replay of the project holds out."""
    path = tmp_path / "payments.ndjson"
    path.write_text("".join(json.dumps(event) + "\n" for event in EVENTS))
    found: set[str] = set()
    replay = Replay(Project.load(project), [Source("payment", str(path))])
    summary = replay.run(
        lambda decisions, _: found.update(item.event_id for item in decisions if "held_out" in item.flags)
    )
    assert summary.held_out == {"payment": {"block": len(found)}}
    return found


def test_replay_and_explain_tell_it(project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected = sorted(replayed(project, tmp_path))
    events = f"payment={tmp_path / 'payments.ndjson'}"
    assert run(["replay", str(project), "--events", events, "--out", str(tmp_path / "decisions.ndjson")]) == 0
    assert f"held out and allowed of payment: {len(expected)} block" in capsys.readouterr().out
    assert run(["explain", str(project), f"payment:{expected[0]}", "--events", events]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert f"ALLOW payment {expected[0]}" in told
    assert "decided by the holdout, so that its label becomes known; it would have been BLOCK" in told
    assert "R1" in told
    assert SALT not in told


def test_a_holdout_as_a_caller_meets_it(project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected = replayed(project, tmp_path)
    assert 30 < len(expected) < 100
    spared = {event["payment_id"] for event in EVENTS if event["terminal"] == "t9" or event["amount"] == 5_000}
    assert not expected & spared
    with ServiceProcess(project, tmp_path / "data") as service:
        singles = [service.decide(event) for event in EVENTS[:100]]
        lines = b"".join(json.dumps(event).encode() + b"\n" for event in EVENTS[100:])
        batch = service.post("/v1/decisions/payment:batch", lines)
        told = [answer.json() for answer in singles] + [json.loads(line) for line in batch.content.splitlines()]
        held_out = [answer for answer in told if answer["flags"] == ["held_out"]]
        assert {answer["event_id"] for answer in held_out} == expected
        for answer in held_out:
            assert answer["outcome"] == "allow"
            assert answer["decided_by"] == {"kind": "holdout", "name": "block"}
            assert answer["reasons"] == [{"code": "R1", "text": "amount > 100", "contribution": None}]
        assert {answer["outcome"] for answer in told if not answer["flags"]} == {"block"}

        counted = service.get("/metrics").text
        assert f'parakh_held_out_total{{event_type="payment",outcome="block"}} {len(expected)}.0' in counted
        client = Client(service.url)
        found = list(client.decisions(flag="held_out"))
        assert {item.event_id for item in found} == expected
        assert all(item.held_out and not item.degraded for item in found)  # type: ignore[union-attr]

        service.kill()
        service.start()
        for event, answer in zip(EVENTS[:100], singles):
            assert service.decide(event).content == answer.content

        policy = project / "policies" / "payment.yaml"
        policy.write_text(POLICY.replace("20%", "5%").replace(SALT, SALT[::-1]))
        checked = service.post("/v1/project:check", {})
        assert checked.json()["changes"] == [{"kind": "policy", "name": "payment", "status": "changed"}]
        assert service.post("/v1/project:apply", {}).json()["state"] == "live"
        shown = "".join(
            service.get(path).text for path in ("/v1/project", "/v1/project/versions", "/v1/decisions", "/metrics")
        )
        for salt in (SALT, SALT[::-1]):
            assert salt not in checked.text + shown + service.said()
        service.stop()
    assert run(["log", "verify", str(tmp_path / "data"), "--decisions"]) == 0
    assert SALT not in capsys.readouterr().out
