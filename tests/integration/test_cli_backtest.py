"""`parakh backtest` as a command: what it prints, writes and refuses, on files and on a service's log."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path

import pytest

from parakh.cli.main import FOUND_PROBLEMS, OK, WRONG_USE, run
from parakh.expressions.values import timestamp_us
from parakh.service.answers import Answer
from parakh.service.settings import ServiceSettings
from parakh.service.startup import open_service
from parakh.simulation import simulate

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "card-payments"
TYPES = ("customer_opened", "login", "password_change", "payee_added", "payment", "decline", "transfer")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    simulate("fintech", events=6_000, seed=11, out=folder)
    return folder


@pytest.fixture(scope="module")
def laxer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("laxer") / "project"
    shutil.copytree(EXAMPLE, folder)
    policy = folder / "policies" / "payment.yaml"
    policy.write_text(policy.read_text().replace("0.60", "0.97").replace("0.30", "0.96").replace("0.90", "0.98"))
    return folder


def files(world: Path) -> list[str]:
    named = [option for name in TYPES for option in ("--events", str(world / f"{name}.ndjson"))]
    return [*named, "--labels", str(world / "labels.ndjson"), "--for", "payment"]


def test_it_prints_a_verdict_and_writes_a_page(
    world: Path, laxer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    page = tmp_path / "report.html"
    command = ["backtest", str(laxer), "--against", str(EXAMPLE), *files(world), "--out", str(page)]
    assert run(command) == OK
    told = capsys.readouterr().out
    assert "of fraud and" in told
    assert (
        told.index("the new policy would have cost") < told.index("challenge → allow") < told.index("The new policy\n")
    )
    assert "challenge → allow" in told
    assert "may look better than it is" in " ".join(told.split())
    first = page.read_bytes()
    assert b"Old against new" in first
    assert run(command) == OK
    assert page.read_bytes() == first


def test_json_has_everything_and_costs_come_from_learning_toml(
    world: Path, laxer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def data(project: Path, *more: str) -> dict[str, object]:
        capsys.readouterr()
        assert run(["backtest", str(project), *files(world), "--json", *more]) == OK
        found: dict[str, object] = json.loads(capsys.readouterr().out)
        return found

    plain = data(laxer, "--segment", "country")
    assert plain["verdict"]
    assert {"rules", "bands", "models", "overlap", "weeks", "segments", "load", "notes", "total"} <= plain.keys()
    assert json.dumps(plain) == json.dumps(data(laxer, "--segment", "country"))
    dear = tmp_path / "dear"
    shutil.copytree(laxer, dear)
    (dear / "learning.toml").write_text('review_capacity = "1"\n[costs]\nfraud_share = "2"\n')
    found = data(dear)
    assert found["cost_of_allowing"] == pytest.approx(2 * plain["cost_of_allowing"])  # type: ignore[operator]
    assert found["load"]["capacity"] == 1  # type: ignore[index]


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (["--segment", "amuont"], WRONG_USE, "no input 'amuont'; did you mean amount?"),
        (["--segment", "card"], WRONG_USE, "card is personal"),
        (["--label", "frod"], WRONG_USE, "no label 'frod'"),
        (["--from", "2031-01-01"], WRONG_USE, "no event of payment from 2031"),
        (["--from", "2025-01-02", "--to", "2025-01-01"], WRONG_USE, "nothing lies between"),
        (["--out", "no-such-folder/report.html"], WRONG_USE, "there is no folder no-such-folder"),
        (["--against", str(EXAMPLE), "--events", "payment=-"], WRONG_USE, "can be read once"),
    ],
)
def test_what_it_cannot_do_is_said(
    world: Path, capsys: pytest.CaptureFixture[str], more: list[str], code: int, message: str
) -> None:
    assert run(["backtest", str(EXAMPLE), *files(world), *more]) == code
    assert message in " ".join(capsys.readouterr().err.split())


def test_mistakes_in_learning_toml_have_a_place(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(EXAMPLE, tmp_path / "shop")
    (tmp_path / "shop" / "learning.toml").write_text("[costs]\nrewiev = 3\n")
    assert run(["backtest", str(tmp_path / "shop"), *files(world)]) == FOUND_PROBLEMS
    assert "learning.toml:2" in capsys.readouterr().err


def test_nothing_known_is_a_verdict_too(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["backtest", str(EXAMPLE), "--events", str(world / "payment.ndjson")]) == OK
    told = capsys.readouterr()
    assert "no labels were given" in told.err
    assert "No matured event is known as fraud" in told.out
    assert run(["backtest", str(EXAMPLE), *files(world), "--maturity", "400d"]) == OK
    assert "No event has matured by the cut-off" in capsys.readouterr().out


def test_a_services_log_gives_the_same_as_its_files(
    tmp_path: Path, world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    events = (world / "payment.ndjson").read_bytes().splitlines()[:400]
    (tmp_path / "payment.ndjson").write_bytes(b"\n".join(events) + b"\n")
    frauds = [json.loads(line)["payment_id"] for line in events[10::40]]
    last = json.loads(events[-1])["paid_at"]
    about = {"event_type": "payment", "label": "fraud", "value": True, "known_at": last, "source": "analyst"}
    labels = [json.dumps(about | {"event_id": name}) for name in frauds]
    (tmp_path / "labels.ndjson").write_text("\n".join(labels) + "\n")

    async def serve() -> None:
        now = [0]
        async with open_service(EXAMPLE, ServiceSettings(tmp_path / "data"), now_us=lambda: now[0]) as opened:
            for line in events:
                now[0] = max(now[0], timestamp_us(json.loads(line)["paid_at"]) or 0)
                assert isinstance(await opened.service.decide("payment", line), Answer)
            for label in labels:
                assert isinstance(await opened.service.labels(label.encode()), Answer)

    asyncio.run(serve())
    found = []
    by_file = ["--events", str(tmp_path / "payment.ndjson"), "--labels", str(tmp_path / "labels.ndjson")]
    for past in (["--data", str(tmp_path / "data")], by_file):
        command = ["backtest", str(EXAMPLE), *past, "--for", "payment", "--maturity", "1h", "--json"]
        capsys.readouterr()
        assert run(command) == OK
        found.append(json.loads(capsys.readouterr().out))
    assert found[0]["total"] == found[1]["total"]
    assert found[0]["total"]["all"]["frauds"] >= 5
    assert found[0]["rules"] == found[1]["rules"]
