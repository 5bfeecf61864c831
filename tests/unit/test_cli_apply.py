"""`parakh apply` and `parakh versions` against a stand-in for the server that keeps versions as the service does."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from parakh.cli.main import run
from parakh.cli.remote import wait_until_live
from parakh.project.project import Project
from unit.scripted_server import Asked, Scripted, Step, serving

SHOP = Path(__file__).resolve().parents[2] / "examples" / "card-payments"
OLD = "0123456789ab" * 5 + "0123"


class Versions:
    """The project's side of a service: a version is built in `polls` looks at it, or given up."""

    def __init__(self) -> None:
        self.log = [OLD]
        self.building: str | None = None
        self.polls = 0
        self.looks = 0
        self.fails = ""
        self.given_up: dict[str, str] | None = None
        self.sent: list[dict[str, Any]] = []
        self.refuse: dict[str, Any] | None = None

    def __call__(self, asked: Asked) -> Step:
        body = json.loads(asked.body) if asked.body else {}
        if asked.path == "/v1/project":
            return Step(body=self.project())
        if asked.path == "/v1/project/versions":
            return Step(body={"versions": [
                {"hash": hash, "name": "shop", "state": "live" if number == 0 else "past",
                 "applied_at": f"2026-01-0{number + 1}T00:00:00Z", "by": "ci"}
                for number, hash in enumerate(reversed(self.log))
            ]})  # fmt: skip
        self.sent.append(body)
        if asked.path == "/v1/project:check":
            if self.refuse is not None:
                return Step(422, self.refuse)
            changes = [{"kind": "rule", "name": f"r{n}", "status": "changed"} for n in range(25)]
            history = "rebuilt" if self.polls else "kept"
            return Step(body={"valid": True, "hash": hash_of(body), "history": history, "changes": changes})
        assert asked.path == "/v1/project:apply"
        return self.apply(body["version"] if "version" in body else hash_of(body))

    def apply(self, hash: str) -> Step:
        if self.polls or self.fails:
            self.building, self.looks = hash, 0
            return Step(202, {"hash": hash, "state": "building", "progress": 0.0, "previous": self.log[-1]})
        said: dict[str, Any] = {"hash": hash, "state": "live", "progress": 1.0, "previous": self.log[-1]}
        if self.building is not None:
            said["replaced"] = self.building
            self.give_up(hash)
        if hash != self.log[-1]:
            self.log.append(hash)
        return Step(body=said)

    def give_up(self, replaced_by: str) -> None:
        assert self.building is not None
        self.given_up, self.building = {"hash": self.building, "replaced_by": replaced_by}, None

    def project(self) -> dict[str, Any]:
        if self.building is not None:
            self.looks += 1
            if self.looks > self.polls and not self.fails:
                self.log.append(self.building)
                self.building = None
        previous = next((hash for hash in reversed(self.log) if hash != self.log[-1]), None)
        said: dict[str, Any] = {"hash": self.log[-1], "name": "shop", "state": "live", "progress": 1.0}
        said["previous"] = previous
        if self.building is not None:
            said["building"] = {"hash": self.building, "progress": self.looks / (self.polls + 1)}
            if self.fails:
                said["building"]["failed"] = self.fails
        if self.given_up is not None:
            said["given_up"] = self.given_up
        return said


def hash_of(body: dict[str, Any]) -> str:
    """The hash of the example, which is what is sent."""
    assert body["files"].keys() == set(Project.load(SHOP).contents())
    assert body["files"]["parakh.toml"] == (SHOP / "parakh.toml").read_text()
    return Project.load(SHOP).hash


@pytest.fixture
def service() -> Iterator[tuple[Versions, Scripted]]:
    versions = Versions()
    with serving(versions) as scripted:
        yield versions, scripted


Service = tuple[Versions, Scripted]


def test_a_project_is_applied(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    versions, scripted = service
    hash = Project.load(SHOP).hash
    assert run(["apply", str(SHOP), "--server", scripted.url, "--yes"]) == 0
    shown = capsys.readouterr().out
    assert versions.log == [OLD, hash]
    assert "~ rule r0 changed" in shown
    assert "and 5 more" in shown
    assert f"version {OLD[:12]} → {hash[:12]}" in shown
    assert f"live  version {hash[:12]} decides, before it {OLD[:12]}" in shown
    assert run(["apply", str(SHOP), "--server", scripted.url]) == 0
    assert "decides already" in capsys.readouterr().out
    assert len(versions.sent) == 2


def test_a_history_is_waited_for(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    versions, scripted = service
    versions.polls = 2
    assert run(["apply", str(SHOP), "--server", scripted.url, "--yes", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    live = {"hash": versions.log[-1], "state": "live", "progress": 1.0, "previous": OLD}
    assert said == {**live, "replaced": None, "changed": True}
    assert versions.looks == 3


def test_who_does_not_wait_is_told_so(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    versions, scripted = service
    versions.polls = 1000
    assert run(["apply", str(SHOP), "--server", scripted.url, "--yes", "--no-wait"]) == 0
    assert "decides once its history is built" in capsys.readouterr().out
    assert run(["versions", "--server", scripted.url]) == 0
    assert "building 0 %" in capsys.readouterr().out


def test_a_version_that_is_given_up_is_told(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    versions, scripted = service
    versions.fails = "3 events of the log cannot be read by this version"
    assert run(["apply", str(SHOP), "--server", scripted.url, "--yes"]) == 1
    told = capsys.readouterr().err
    assert versions.fails in told
    assert f"{OLD[:12]} decides" in told


def test_who_waits_is_told_what_was_applied_meanwhile(
    service: Service, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    versions, scripted = service
    versions.polls, newer = 1000, "bbbb" + OLD[4:]

    def another(seconds: float) -> None:
        versions.log.append(newer)
        versions.give_up(newer)

    monkeypatch.setattr(wait_until_live, "__kwdefaults__", {"sleep": another})
    assert run(["apply", str(SHOP), "--server", scripted.url, "--yes"]) == 1
    hash = Project.load(SHOP).hash
    told = capsys.readouterr().err
    assert f"version {hash[:12]} was given up: version {newer[:12]} was applied meanwhile; {newer[:12]} decides" in told
    assert run(["versions", "--server", scripted.url]) == 0
    shown = capsys.readouterr().out
    assert f"{hash[:12]}  given up" in shown
    assert f"for {newer[:12]}" in shown


def test_what_is_being_built_is_given_up_for_the_version_that_decides(
    service: Service, capsys: pytest.CaptureFixture[str]
) -> None:
    versions, scripted = service
    versions.polls = 1000
    hash = Project.load(SHOP).hash
    assert run(["apply", str(SHOP), "--server", scripted.url, "--yes", "--no-wait"]) == 0
    versions.polls = 0
    versions.looks = -1000
    capsys.readouterr()
    assert run(["versions", "--server", scripted.url, "--to", OLD, "--yes"]) == 0
    assert f"given up  version {hash[:12]}, which was being built" in capsys.readouterr().out
    assert versions.log == [OLD]
    assert versions.sent[-1] == {"version": OLD}


def test_what_does_not_hold_here_is_not_sent(
    service: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    versions, scripted = service
    shutil.copytree(SHOP, tmp_path / "shop")
    (tmp_path / "shop" / "rules" / "wrong.yaml").write_text("rule: a\nfor: payment\nwhen: nothing > 1\nthen: block\n")
    assert run(["apply", str(tmp_path / "shop"), "--server", scripted.url, "--yes"]) == 1
    assert "there is no nothing" in capsys.readouterr().err
    assert versions.sent == []


def test_what_does_not_hold_there_is_told(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    versions, scripted = service
    mistake = {"message": "an older server", "file": "rules/a.yaml", "line": 3, "column": 5, "hint": "upgrade it"}
    versions.refuse = {"code": "project_invalid", "status": 422, "detail": "1 mistake", "problems": [mistake]}
    assert run(["apply", str(SHOP), "--server", scripted.url, "--yes"]) == 1
    told = capsys.readouterr().err
    for words in ("an older server", "--> rules/a.yaml:3:5", "hint: upgrade it"):
        assert words in told
    assert versions.log == [OLD]


def test_nobody_agrees_by_silence(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    versions, scripted = service
    assert run(["apply", str(SHOP), "--server", scripted.url]) == 2
    assert "--yes" in capsys.readouterr().err
    assert run(["apply", str(SHOP), "--server", scripted.url, "--json"]) == 2
    assert run(["versions", "--server", scripted.url, "--to", OLD, "--yes"]) == 2  # it decides already
    assert versions.log == [OLD]


def test_versions_and_the_way_back(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    versions, scripted = service
    assert run(["versions", "--server", scripted.url, "--back", "--yes"]) == 2
    assert "no version before" in capsys.readouterr().err
    versions.log += ["aaaa" + OLD[4:], "aaab" + OLD[4:]]
    assert run(["versions", "--server", scripted.url]) == 0
    shown = capsys.readouterr().out
    assert [line.split()[0] for line in shown.splitlines() if "shop" in line] == [
        hash[:12] for hash in reversed(versions.log)
    ]
    assert shown.splitlines()[1].split()[1] == "live"
    assert run(["versions", "--server", scripted.url, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["versions"][0]["by"] == "ci"
    assert run(["versions", "--server", scripted.url, "--back", "--yes"]) == 0
    assert versions.log[-1] == "aaaa" + OLD[4:]
    assert versions.sent[-1] == {"version": versions.log[-1]}
    assert run(["versions", "--server", scripted.url, "--to", OLD[:6].upper(), "--yes"]) == 0
    assert versions.log[-1] == OLD
    for prefix, says in (("aaa", "too short"), ("aaa" + "f", "no version"), ("", "too short")):
        assert run(["versions", "--server", scripted.url, "--to", prefix, "--yes"]) == 2
        assert says in capsys.readouterr().err
    assert run(["versions", "--server", scripted.url, "--to", OLD, "--back"]) == 2
