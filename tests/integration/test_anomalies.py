"""`parakh anomalies` from files to a table: a burst is named with its segment and time, wrong use is told in words."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from integration.service_process import ServiceProcess, payment, shop
from parakh.cli.main import run

ROOT = Path(__file__).resolve().parents[2]
PROJECT = ROOT / "examples" / "fraud-handbook"


@pytest.fixture(scope="module")
def payments(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """28 days at 20 terminals; on 2025-03-24 terminal 7 has ten times its payments, of one customer."""
    rng = np.random.default_rng(2)
    n, burst = 12_000, 200
    seconds = np.concatenate([rng.integers(0, 28 * 86_400, n), 21 * 86_400 + rng.integers(0, 3_600, burst)])
    customer = np.concatenate([rng.integers(0, 500, n), np.full(burst, 3)])
    terminal = np.concatenate([rng.integers(0, 20, n), np.full(burst, 7)])
    amount = np.round(rng.lognormal(3.0, 0.8, n + burst), 2)
    order = np.argsort(seconds, kind="stable")
    times = (np.datetime64("2025-03-03") + seconds.astype("timedelta64[s]")).tolist()
    lines = [
        f"{number},{times[row]:%Y-%m-%d %H:%M:%S},{customer[row]},{terminal[row]},{amount[row]},0"
        for number, row in enumerate(order.tolist())
    ]
    path = tmp_path_factory.mktemp("payments") / "payment.csv"
    header = "TRANSACTION_ID,TX_DATETIME,CUSTOMER_ID,TERMINAL_ID,TX_AMOUNT,TX_FRAUD"
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def told(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    code = run(["anomalies", str(PROJECT), *map(str, arguments)])
    said = capsys.readouterr()
    assert "Traceback" not in said.out + said.err
    return code, said.out, said.err


def test_a_burst_is_named(payments: Path, capsys: pytest.CaptureFixture[str]) -> None:
    events = ("--events", f"payment={payments}", "--by", "terminal", "--distinct", "customer")
    code, out, _ = told(capsys, *events, "--json")
    data = json.loads(out)
    assert (code, data["segments"], data["every"]) == (0, 21, "day")
    first = next(item for item in data["anomalies"] if item["value"] == "7" and item["measure"] == "events")
    assert (first["field"], first["from"], first["to"]) == ("terminal", "2025-03-24T00:00:00Z", "2025-03-25T00:00:00Z")
    assert first["observed"] > 200
    assert first["times"] > 5
    assert {item["from"][:10] for item in data["anomalies"]} == {"2025-03-24"}
    assert told(capsys, *events, "--json")[1] == out
    code, out, _ = told(capsys, *events)
    assert "12,200 payments of 28 days, 21 segments; times are of UTC" in out
    assert "terminal 7" in out
    code, out, _ = told(capsys, *events, "--every", "hour", "--json")
    hours = [item for item in json.loads(out)["anomalies"] if item["value"] == "7" and item["measure"] == "events"]
    assert [item["from"] for item in hours] == ["2025-03-24T00:00:00Z"]
    code, out, _ = told(capsys, *events, "--to", "2025-03-23")
    assert (code, "nothing left its own history" in out) == (0, True)


def test_wrong_use_is_told_in_words(payments: Path, capsys: pytest.CaptureFixture[str]) -> None:
    events = ("--events", f"payment={payments}")
    for arguments, said in (
        ((*events, "--by", "terminl"), "did you mean terminal"),
        ((*events, "--by", "amount"), "segments are by a text, an integer or a boolean"),
        ((*events, "--distinct", "nobody"), "there is no field 'nobody' to count the values of"),
        ((*events, "--for", "login"), "there is no event type 'login'"),
        ((*events, "--to", "2025-03-10"), "14 are the history"),
        ((*events, "--from", "2030-01-01"), "no event of payment"),
        ((), "Where do the events come from"),
    ):
        code, _, err = told(capsys, *arguments)
        assert code == 2, err
        assert said.lower() in err.replace("\n", " ").lower()


def logins(path: Path) -> Path:
    """Four weeks of logins, one in half an hour; on the 25th day 400 more. Some come twice, one cannot be read."""
    rng = np.random.default_rng(5)
    seconds = np.sort(np.concatenate([rng.integers(0, 28 * 86_400, 1_344), 24 * 86_400 + rng.integers(0, 86_400, 400)]))
    times = (np.datetime64("2025-03-03") + seconds.astype("timedelta64[s]")).tolist()
    lines = [
        json.dumps({"login_id": f"l{number}", "at": f"{at:%Y-%m-%dT%H:%M:%S}Z", "card": f"c{number % 50}"})
        for number, at in enumerate(times)
    ]
    path.write_text("\n".join([*lines, *lines[-10:], '{"login_id": "odd", "at": "never"}']) + "\n")
    return path


def test_a_type_on_which_nothing_is_decided_is_counted_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project, file, data = shop(tmp_path / "shop"), logins(tmp_path / "login.ndjson"), tmp_path / "data"
    with ServiceProcess(project, data) as service:
        assert service.post("/v1/decisions/login:batch", file.read_bytes()).status_code == 200
        assert service.post("/v1/decisions/payment", payment(1)).status_code == 200
    capsys.readouterr()
    for past in (("--events", f"login={file}"), ("--data", data, "--for", "login")):
        assert run(["anomalies", str(project), *map(str, past), "--distinct", "card"]) == 0
        assert "1,744 logins of 28 days" in capsys.readouterr().out
        assert run(["anomalies", str(project), *map(str, past), "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["event_type"] == "login"
        assert [(item["measure"], item["from"][:10]) for item in found["anomalies"]] == [("events", "2025-03-27")]
        assert 420 < found["anomalies"][0]["observed"] < 480
    assert run(["anomalies", str(project), "--data", str(data)]) == 2  # the one type that is decided
    assert "days of events are too few" in capsys.readouterr().err
