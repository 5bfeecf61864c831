"""The simulated fintech: the same seed gives the same bytes, and each fraud leaves the traces that it should."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from parakh.simulation import SCENARIOS, Summary, simulate
from parakh.simulation.fintech.population import tokens
from parakh.simulation.scenario import ScenarioError

TYPES = ("customer_opened", "login", "password_change", "payee_added", "payment", "decline", "transfer")
TIMES = {
    "customer_opened": "opened_at",
    "login": "logged_in_at",
    "password_change": "changed_at",
    "payee_added": "added_at",
    "payment": "paid_at",
    "decline": "declined_at",
    "transfer": "sent_at",
}
IDS = {
    "customer_opened": "opening_id",
    "login": "login_id",
    "password_change": "change_id",
    "payee_added": "addition_id",
    "payment": "payment_id",
    "decline": "decline_id",
    "transfer": "transfer_id",
}
Row = dict[str, Any]


class Run:
    """A run's files, read back."""

    def __init__(self, folder: Path, summary: Summary) -> None:
        self.folder = folder
        self.summary = summary
        self.events = {name: self._rows(f"{name}.ndjson") for name in TYPES}
        for name, rows in self.events.items():
            for row in rows:
                row["time"] = instant(row[TIMES[name]])
        self.labels = self._rows("labels.ndjson")
        self.truth = {(row["event_type"], row["event_id"]): row for row in self._rows("truth.ndjson")}

    def _rows(self, name: str) -> list[Row]:
        return [json.loads(line) for line in (self.folder / name).read_text().splitlines()]

    def campaigns(self, kind: str) -> dict[str, dict[str, list[Row]]]:
        """The events of each campaign of a kind, by type."""
        found: dict[str, dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
        for name, rows in self.events.items():
            for row in rows:
                true = self.truth.get((name, row[IDS[name]]))
                if true and true["kind"] == kind:
                    found[true["campaign"]][name].append(row)
        return found


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("fintech")
    return Run(folder, simulate("fintech", events=50_000, seed=11, out=folder))


def digest(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        simulate("fintech", events=4_000, seed=3, out=tmp_path / name)
    simulate("fintech", events=4_000, seed=4, out=tmp_path / "other")
    assert digest(tmp_path / "one") == digest(tmp_path / "two")
    other = digest(tmp_path / "other")
    assert all(other[name] != content for name, content in digest(tmp_path / "one").items())


def test_bytes_do_not_depend_on_the_process(tmp_path: Path) -> None:
    simulate("fintech", events=2_000, seed=3, out=tmp_path / "here")
    code = (
        "import sys; from pathlib import Path; from parakh.simulation import simulate;"
        "simulate('fintech', events=2000, seed=3, out=Path(sys.argv[1]))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "4711", "TZ": "Asia/Tokyo", "LC_ALL": "C"}
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "there")], check=True, env=environment)
    assert digest(tmp_path / "here") == digest(tmp_path / "there")


@pytest.mark.parametrize("events", [1, 2, 17, 400, 3_001])
def test_exactly_as_many_events_as_asked_for(tmp_path: Path, events: int) -> None:
    summary = simulate("fintech", events=events, seed=5, out=tmp_path)
    lines = sum(len((tmp_path / f"{name}.ndjson").read_bytes().splitlines()) for name in TYPES)
    assert summary.total == lines == events
    assert set(summary.files) == {path.name for path in tmp_path.iterdir()}
    assert json.loads((tmp_path / "scenario.json").read_text())["events"] == dict(summary.events)


def test_ids_are_unique_and_the_truth_knows_every_judged_event(run: Run) -> None:
    for name, rows in run.events.items():
        assert len({row[IDS[name]] for row in rows}) == len(rows)
    judged = {(name, row[IDS[name]]) for name in ("payment", "transfer") for row in run.events[name]}
    assert judged <= run.truth.keys()
    assert all(run.truth[key]["fraud"] for key in run.truth.keys() - judged)
    assert all((row["campaign"] is not None) == row["fraud"] == (row["kind"] != "none") for row in run.truth.values())
    assert run.summary.fraud_total == sum(run.truth[key]["fraud"] for key in judged)


def test_events_are_at_most_an_hour_late_and_some_are_minutes_late(run: Run) -> None:
    late = 0
    for rows in run.events.values():
        latest = rows[0]["time"]
        for row in rows:
            assert row["time"] > latest - timedelta(hours=1)
            late += row["time"] < latest - timedelta(minutes=2)
            latest = max(latest, row["time"])
    assert 20 < late < 0.02 * run.summary.total


def test_lines_are_as_the_project_reads_them(run: Run) -> None:
    for line in (run.folder / "payment.ndjson").read_text().splitlines()[:2_000]:
        amount = line.rsplit('"amount":', 1)[1].rstrip("}")
        assert len(amount.split(".")[1]) == 2
        assert float(amount) >= 1
        row = json.loads(line)
        assert (row["device"] is not None) == (row["channel"] == "online")
        assert row["paid_at"].endswith("Z")
        assert abs(row["latitude"]) <= 90
        assert abs(row["longitude"]) <= 180
    assert all((row["customer"] is None) == (row["channel"] == "inbound") for row in run.events["transfer"])
    assert all(row["payer"] != row["payee"] for row in run.events["transfer"])


def test_nobody_acts_before_joining(run: Run) -> None:
    opened = {row["customer"]: row["time"] for row in run.events["customer_opened"]}
    for name in ("login", "payment", "payee_added"):
        for row in run.events[name]:
            honest = not run.truth.get((name, row[IDS[name]]), {"fraud": False})["fraud"]
            assert not honest or row["time"] >= opened[row["customer"]] - timedelta(minutes=1)


def test_days_and_weeks_have_their_rhythm(run: Run) -> None:
    hours = [(row["time"] + timedelta(hours=5, minutes=30)).hour for row in run.events["payment"]]
    night, evening = (sum(hour in span for hour in hours) for span in (range(1, 5), range(17, 21)))
    assert evening > 8 * night
    salaries = [row for row in run.events["transfer"] if row["channel"] == "inbound" and row["amount"] > 15_000]
    days = [row["time"].day for row in salaries]
    assert sum(day in (28, 29, 30) for day in days) > 0.6 * len(days)


def test_frauds_are_rare(run: Run) -> None:
    for name, least, most in (("payment", 0.004, 0.011), ("transfer", 0.006, 0.03)):
        rows = run.events[name]
        share = sum(run.truth[name, row[IDS[name]]]["fraud"] for row in rows) / len(rows)
        assert least < share < most
    assert all(count > 10 for count in run.summary.frauds.values())


def test_card_testing_tries_small_sums_on_many_cards(run: Run) -> None:
    for campaign in run.campaigns("card_testing").values():
        tries = [row for row in campaign["payment"] if row["amount"] < 50]
        assert len({row["card"] for row in tries}) >= 4
        assert len({row["device"] for row in tries}) <= 3
        assert len({row["terminal"] for row in tries}) == 1
        assert len(campaign["decline"]) >= 0.4 * len(tries)


def test_a_compromised_terminal_charges_its_own_visitors_again(run: Run) -> None:
    visits = defaultdict(list)
    for row in run.events["payment"]:
        if not run.truth["payment", row["payment_id"]]["fraud"]:
            visits[row["terminal"], row["card"]].append(row["time"])
    campaigns = run.campaigns("compromised_terminal")
    assert campaigns
    for campaign in campaigns.values():
        assert len({row["terminal"] for row in campaign["payment"]}) == 1
        for row in campaign["payment"]:
            assert min(visits[row["terminal"], row["card"]]) < row["time"]


def test_a_compromised_card_is_spent_in_a_burst(run: Run) -> None:
    amounts = [row["amount"] for row in run.events["payment"]]
    usual = sum(amounts) / len(amounts)
    campaigns = run.campaigns("compromised_card")
    spent = [row["amount"] for campaign in campaigns.values() for row in campaign["payment"]]
    assert sum(spent) / len(spent) > 3 * usual
    for campaign in campaigns.values():
        assert len({row["card"] for row in campaign["payment"]}) == 1
        times = [row["time"] for row in campaign["payment"]]
        assert max(times) - min(times) < timedelta(days=4)


def test_an_account_takeover_comes_from_a_new_device_and_pays_a_new_payee(run: Run) -> None:
    devices = defaultdict(set)
    for row in run.events["login"]:
        if not run.truth.get(("login", row["login_id"])):
            devices[row["customer"]].add(row["device"])
    own_device = 0
    whole = [campaign for campaign in run.campaigns("account_takeover").values() if campaign["transfer"]]
    assert len(whole) >= 5
    for campaign in whole:
        (customer,) = {row["customer"] for row in campaign["transfer"]}
        (device,) = {row["device"] for row in campaign["transfer"]}
        own_device += device in devices[customer]
        entered = min(row["time"] for row in campaign["login"] if row["success"])
        added = min(row["time"] for row in campaign["payee_added"])
        assert entered < added < min(row["time"] for row in campaign["transfer"]) < entered + timedelta(hours=4)
        assert all(row["payee"] == campaign["payee_added"][0]["payee"] for row in campaign["transfer"])
    assert own_device <= 0.4 * len(whole)
    changed = sum(bool(campaign["password_change"]) for campaign in whole)
    assert 0.4 * len(whole) < changed < len(whole)


def test_a_mule_passes_on_what_it_receives(run: Run) -> None:
    for campaign in run.campaigns("mule").values():
        came = [row for row in campaign["transfer"] if row["channel"] == "inbound"]
        went = [row for row in campaign["transfer"] if row["channel"] != "inbound"]
        (mule,) = {row["payee"] for row in came}
        assert len({row["payer"] for row in came}) == len(came)
        assert {row["payer"] for row in went} <= {mule}
        assert len({row["payee"] for row in went}) <= 1


def test_verdicts_come_late_some_never_and_some_are_wrong(run: Run) -> None:
    times = {(name, row[IDS[name]]): row["time"] for name in ("payment", "transfer") for row in run.events[name]}
    known = [instant(row["known_at"]) for row in run.labels]
    assert known == sorted(known)
    assert all(moment > times[row["event_type"], row["event_id"]] for moment, row in zip(known, run.labels))
    assert {row["source"] for row in run.labels} == {"analyst", "chargeback", "customer"}
    told = {(row["event_type"], row["event_id"]) for row in run.labels if row["value"]}
    frauds = {key for key, row in run.truth.items() if row["fraud"] and key in times}
    assert 0.5 < len(frauds & told) / len(frauds) < 0.95
    wrong = told - frauds
    assert wrong
    taken_back = {(row["event_type"], row["event_id"]) for row in run.labels if row["value"] is not True}
    assert taken_back
    assert taken_back <= wrong
    chargebacks = [
        moment - times[row["event_type"], row["event_id"]]
        for moment, row in zip(known, run.labels)
        if row["source"] == "chargeback"
    ]
    assert sorted(chargebacks)[len(chargebacks) // 2] > timedelta(days=3)


def test_tokens_are_all_different_and_say_nothing() -> None:
    made = tokens("c", 200_000, seed=9)
    assert len(set(made)) == len(made)
    assert not any(token[1:].isdigit() and len(token) > 11 for token in made)
    assert tokens("c", 5, seed=9) != tokens("c", 5, seed=10)


def test_progress_is_told_and_ends_at_the_whole(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    simulate("fintech", events=1_500, seed=1, out=tmp_path, progress=lambda *step: told.append(step))
    assert {doing for doing, _, _ in told} == {"simulating", "writing"}
    written = [done for doing, done, _ in told if doing == "writing"]
    assert written == sorted(written)
    assert written[-1] == 1_500


@pytest.mark.parametrize(
    ("scenario", "events", "seed", "says"),
    [
        ("casino", 10, 1, "fintech"),
        ("fintech", 0, 1, "between 1"),
        ("fintech", 10**12, 1, "between"),
        ("fintech", 9, -1, "seed"),
    ],
)
def test_what_cannot_be_simulated_is_refused(tmp_path: Path, scenario: str, events: int, seed: int, says: str) -> None:
    with pytest.raises(ScenarioError, match=says):
        simulate(scenario, events=events, seed=seed, out=tmp_path)


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(ScenarioError, match="cannot write"):
        simulate("fintech", events=10, seed=1, out=tmp_path / "taken")


def test_times_are_in_utc_and_within_the_period(run: Run) -> None:
    start = datetime(2025, 1, 5, 18, 30, tzinfo=UTC)
    for row in run.events["payment"]:
        assert start <= row["time"] < start + timedelta(days=42)
    assert SCENARIOS["fintech"]


@pytest.mark.parametrize("name", ["payment.ndjson", "README.md"])
def test_files_of_somebody_else_are_not_written_over(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(ScenarioError, match="name another folder"):
        simulate("fintech", events=100, seed=1, out=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "mine"


def test_a_run_that_was_stopped_is_run_again_in_its_folder(tmp_path: Path) -> None:
    def stop(what: str, done: int, total: int) -> None:
        if any(path.suffix == ".ndjson" for path in tmp_path.iterdir()):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate("fintech", events=2_000, seed=1, out=tmp_path, progress=stop)
    assert any(path.suffix == ".ndjson" for path in tmp_path.iterdir())
    assert simulate("fintech", events=100, seed=1, out=tmp_path).total == 100
