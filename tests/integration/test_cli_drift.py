"""`parakh drift` from files and from a service's log: its page, its exit code, and alarms that reach a webhook."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from integration.service_process import ServiceProcess, shop
from integration.test_service_alarms import Desk, shop_with, subscribed
from parakh.cli.main import FOUND_PROBLEMS, OK, WRONG_USE, run
from parakh.learning.changes.drift import baseline_of

_BEGAN = datetime(2025, 1, 6, tzinfo=UTC)


@pytest.fixture
def desk() -> Iterator[Desk]:
    made = Desk()
    yield made
    made.server.shutdown()
    made.server.server_close()


def events(path: Path, *, count: int = 4_000, changed: bool = True) -> Path:
    """Eight weeks of payments, one in about 20 minutes; in the last two amounts are four times as large."""
    chance = Random(3)
    lines = []
    for number in range(count):
        at = _BEGAN + timedelta(minutes=number * 20.16 * 4_000 / count)
        amount = round(chance.lognormvariate(3, 1) * (4 if changed and at >= _BEGAN + timedelta(weeks=6) else 1), 2)
        lines.append(
            {"payment_id": f"p{number}", "paid_at": at.isoformat(), "card": f"secret-{number % 300}",
             "terminal": f"t{chance.randrange(40)}", "amount": amount}
        )  # fmt: skip
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def looked(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict[str, Any]]:
    code = run(["drift", *map(str, arguments), "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_what_changed_is_told_with_exit_code_1_and_on_a_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    project, file = shop(tmp_path / "shop"), events(tmp_path / "payment.ndjson")
    pages = [tmp_path / "one.html", tmp_path / "two.html"]
    for page in pages:
        code, found = looked(capsys, project, "--events", file, "--out", page)
        assert code == FOUND_PROBLEMS
    assert ("stability", "amount") in {(item["kind"], item["subject"]) for item in found["alarms"]}
    (alarm,) = (item for item in found["alarms"] if item["subject"] == "amount")
    assert alarm["since"] == "2025-02-17T00:00:00Z"
    page_text = pages[0].read_text()
    assert pages[1].read_text() == page_text
    assert alarm["text"] in page_text
    assert "secret-" not in page_text + json.dumps(found)
    assert "card" not in {item["subject"] for item in found["tracks"]}  # a personal field
    assert "<script" not in page_text
    assert run(["drift", str(project), "--events", str(file)]) == FOUND_PROBLEMS
    assert "alarm  amount is spread otherwise since 2025-02-17" in capsys.readouterr().out


def test_rates_are_drawn_as_they_were_before_and_as_they_are_watched(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    project, file = shop(tmp_path / "shop"), events(tmp_path / "payment.ndjson")
    page = tmp_path / "drift.html"
    looked(capsys, project, "--events", file, "--since", "2025-02-17", "--out", page)
    (figure,) = re.findall(r"<figure(?:(?!<figure).)*payment events.*?</figure>", page.read_text(), re.DOTALL)
    rows = re.findall(r'<th scope="row">(before|watched)</th><td class="n">([^<]*)</td><td class="n">([^<]*)<', figure)
    before, watched = ([row[1:] for row in rows if row[0] == name] for name in ("before", "watched"))
    assert [at[:10] for at, _ in watched] == ["2025-02-17", "2025-02-24"]
    assert [at[:10] for at, _ in before] == [f"2025-{day}" for day in
                                             ("01-06", "01-13", "01-20", "01-27", "02-03", "02-10")]  # fmt: skip


def test_a_calm_stream_ends_with_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project, file = shop(tmp_path / "shop"), events(tmp_path / "payment.ndjson", changed=False)
    code, found = looked(capsys, project, "--events", file, "--every", "day", "--from", "2025-01-08")
    assert (code, found["alarms"]) == (OK, [])
    assert len(found["periods"]) == 7
    assert run(["drift", str(project), "--events", str(file)]) == OK
    assert "nothing has changed beyond chance" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--since", "2030-01-01"), "nothing can be watched"),
        (("--since", "2020-01-01"), "nothing to compare with"),
        (("--model", "none"), "none"),
        (("--label", "odd"), "odd"),
    ],
)
def test_what_cannot_be_is_said(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    shop(tmp_path / "shop")
    events(Path("payment.ndjson"), count=400)
    assert run(["drift", "shop", "--events", "payment.ndjson", *arguments]) == WRONG_USE
    told = capsys.readouterr().err
    assert said in told
    assert "Traceback" not in told


def test_a_model_is_watched_from_where_its_training_ended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The set goes on to the validation part and its cut-off; what the model learned from ended before."""
    spread = baseline_of([20.0, 30.0, 40.0] * 100).as_data()
    card = {
        "inputs": ["amount"],
        "baseline": {"amount": spread},
        "dataset": {
            "span": {"to": None, "known_by": "2025-03-01T00:00:00Z"},
            "parts": {"train": {"to": "2025-02-02T23:59:59.999999Z"}, "valid": {"to": "2025-02-20T00:00:00Z"}},
        },
    }
    champion = SimpleNamespace(champion=SimpleNamespace(number=1), card=lambda number: card)
    monkeypatch.setattr("parakh.learning.promotion.registry.Registry.open", lambda *_: champion)
    project, file = shop(tmp_path / "shop"), events(tmp_path / "payment.ndjson")
    _, found = looked(capsys, project, "--events", file, "--model", "payment_fraud")
    assert found["since"] == "2025-02-03T00:00:00Z"
    assert [item["subject"] for item in found["tracks"] if item["kind"] == "stability"] == ["amount"]


def test_what_was_cut_off_with_to_is_no_outage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project, file = shop(tmp_path / "shop"), events(tmp_path / "payment.ndjson", changed=False)
    code, found = looked(capsys, project, "--events", file, "--to", "2025-02-20")
    assert (code, found["alarms"], len(found["periods"])) == (OK, [], 3)


def test_alarms_of_a_services_log_reach_a_webhook_once(
    tmp_path: Path, desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    project, data = shop_with(desk, tmp_path / "shop"), tmp_path / "data"
    lines = events(tmp_path / "payment.ndjson").read_bytes()
    with ServiceProcess(project, data) as service:
        subscribed(service, desk, "alarm")
        assert service.post("/v1/decisions/payment:batch", lines).status_code == 200
        for _ in range(2):
            code, found = looked(capsys, project, "--data", data, "--post", "--server", service.url)
            assert code == FOUND_PROBLEMS
        desk.wait_for(len(found["alarms"]))
        assert sorted(desk.subjects()) == sorted(item["subject"] for item in found["alarms"])
        assert {body["data"]["text"] for _, body in desk.got} == {item["text"] for item in found["alarms"]}
