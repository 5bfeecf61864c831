"""Changes while another version is being built: the last wish holds, and what was given up never decides."""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from integration.service_process import ServiceProcess, payment, shop
from parakh.service import worker
from parakh.service.answers import Answer
from parakh.service.assembly import Service
from parakh.service.changes import Changes
from parakh.service.settings import ServiceSettings
from parakh.service.startup import open_service
from parakh.streams.entries import PROJECT, read_project

Files = dict[str, bytes]


class Builds:
    """Stands in for the process beside the service: a build ends when the test lets it."""

    def __init__(self) -> None:
        self.let = asyncio.Event()
        self.begun: list[str] = []
        self.stopped: list[str] = []

    async def __call__(self, data: Path, building: Any) -> None:
        hash = building.version.hash
        self.begun.append(hash)
        try:
            await self.let.wait()
        except asyncio.CancelledError:
            self.stopped.append(hash)
            (data / "building" / f"{hash}.state.partial").mkdir()
            await asyncio.sleep(0)  # it takes a moment to end
            raise
        worker.build_version(data, building.until, hash)


def files(folder: Path, *, feature: int = 0, rule: int = 5) -> Files:
    """The shop's files, with another feature (its history is to be built) or another rule (it is kept)."""
    said = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    said["rules/cards.yaml"] = said["rules/cards.yaml"].replace(b"payments_1h >= 5", b"payments_1h >= %d" % rule)
    if feature:
        said["features/card.yaml"] += b"  f%d: {from: payment, aggregate: max(amount), over: 7d}\n" % feature
    return said


def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, test: Callable[[Service, Builds], Awaitable[None]]) -> None:
    folder = tmp_path / "shop"
    if not folder.exists():
        shop(folder)

    async def main() -> None:
        builds = Builds()
        monkeypatch.setattr(Changes, "_build_beside", lambda self, building: builds(self.data, building))
        async with open_service(folder, ServiceSettings(data=tmp_path / "data")) as opened:
            opened.service.changes.on_rebuilt = lambda: None  # no snapshots beside
            await test(opened.service, builds)

    asyncio.run(main())


async def apply(service: Service, what: Files | str) -> dict[str, Any]:
    told = await (
        service.apply_project(None, what, "a test")
        if isinstance(what, str)
        else service.apply_project(what, None, "a test")
    )
    assert isinstance(told, Answer), told.body
    said: dict[str, Any] = json.loads(told.body)
    assert told.status == {"live": 200, "building": 202}[said["state"]]
    return said


async def shown(service: Service) -> dict[str, Any]:
    told = await service.project()
    said: dict[str, Any] = json.loads(told.body)
    return said


async def settled(service: Service) -> None:
    """Wait until nothing is built and nothing that was given up is left."""
    changes = service.changes
    deadline = time.monotonic() + 20
    while (changes._task is not None and not changes._task.done()) or changes._ending:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


def logged(service: Service) -> list[str]:
    """The versions in the log, the oldest first."""
    service.log.wait(service.log.end)
    entries = service.log.read(0, 1 << 30)
    return [read_project(entry.payload).hash for entry in entries if entry.kind == PROJECT]


def test_a_change_of_rules_goes_through_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(service: Service, builds: Builds) -> None:
        first = (await shown(service))["hash"]
        slow = await apply(service, files(tmp_path / "shop", feature=1))
        assert slow["state"] == "building"
        again = await apply(service, files(tmp_path / "shop", feature=1))
        assert again == slow, "the version that is being built answers its state"
        quick = await apply(service, files(tmp_path / "shop", rule=4))
        assert (quick["state"], quick["previous"], quick["replaced"]) == ("live", first, slow["hash"])
        assert await apply(service, files(tmp_path / "shop", rule=4)) == quick, "a retry is told the same"
        seen = await shown(service)
        assert seen["hash"] == quick["hash"]
        assert seen["given_up"] == {"hash": slow["hash"], "replaced_by": quick["hash"]}
        assert "building" not in seen
        builds.let.set()
        await settled(service)
        assert builds.stopped == [slow["hash"]]
        assert not list((tmp_path / "data" / "building").iterdir())
        assert logged(service) == [first, quick["hash"]]

    run(tmp_path, monkeypatch, test)


def test_a_roll_back_and_the_version_that_decides_give_up_a_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(service: Service, builds: Builds) -> None:
        first = (await shown(service))["hash"]
        second = (await apply(service, files(tmp_path / "shop", rule=4)))["hash"]
        slow = (await apply(service, files(tmp_path / "shop", feature=1)))["hash"]
        back = await apply(service, first[:12])
        assert (back["hash"], back["state"], back["replaced"]) == (first, "live", slow)
        assert (await apply(service, files(tmp_path / "shop", feature=1)))["state"] == "building"
        assert "given_up" not in await shown(service)
        stay = await apply(service, first)
        assert (stay["state"], stay["replaced"]) == ("live", slow)
        builds.let.set()
        await settled(service)
        assert logged(service) == [first, second, first]

    run(tmp_path, monkeypatch, test)


def test_a_third_version_that_is_built_too_takes_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(service: Service, builds: Builds) -> None:
        first = (await shown(service))["hash"]
        hashes = []
        for feature in (1, 2, 1, 3):
            said = await apply(service, files(tmp_path / "shop", feature=feature))
            assert said["state"] == "building"
            assert said.get("replaced") == (hashes[-1] if hashes else None)
            hashes.append(said["hash"])
            await asyncio.sleep(0.02)
        seen = await shown(service)
        assert seen["building"]["hash"] == hashes[-1]
        assert seen["given_up"] == {"hash": hashes[-2], "replaced_by": hashes[-1]}
        builds.let.set()
        await settled(service)
        assert (await shown(service))["hash"] == hashes[-1]
        assert builds.begun == hashes
        built = tmp_path / "data" / "building"
        assert [path.name for path in built.iterdir()] == [f"{hashes[-1]}.state"]
        assert logged(service) == [first, hashes[-1]]
        # It goes when a snapshot has it, and nothing goes while another is built.
        builds.let.clear()
        assert (await apply(service, files(tmp_path / "shop", feature=4)))["state"] == "building"
        await service.changes.forget_built()
        assert (built / f"{hashes[-1]}.state").is_dir()
        builds.let.set()
        await settled(service)
        assert len(list(built.iterdir())) == 2
        await service.changes.forget_built()
        assert not list(built.iterdir())

    run(tmp_path, monkeypatch, test)


def test_what_does_not_hold_gives_up_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(service: Service, builds: Builds) -> None:
        slow = (await apply(service, files(tmp_path / "shop", feature=1)))["hash"]
        broken = {**files(tmp_path / "shop"), "rules/cards.yaml": b"rule: a\nfor: payment\nwhen: nothing > 1\n"}
        assert (await service.apply_project(broken, None, "a test")).status == 422
        assert (await service.apply_project(None, "ffff", "a test")).status == 404
        assert (await shown(service))["building"]["hash"] == slow
        builds.let.set()
        await settled(service)
        assert (await shown(service))["hash"] == slow

    run(tmp_path, monkeypatch, test)


def test_a_build_that_ends_at_that_moment_is_live_before_or_never(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever ends first, the version that was applied last decides, and stays."""
    seed = int(os.environ.get("PARAKH_SEED", random.randrange(1 << 32)))
    rng = random.Random(seed)

    async def test(service: Service, builds: Builds) -> None:
        taken = {"before": 0, "never": 0}
        for round in range(1, 17):
            builds.let.clear()
            slow = (await apply(service, files(tmp_path / "shop", feature=round)))["hash"]
            await asyncio.sleep(0)
            before = logged(service)
            quick_files = files(tmp_path / "shop", feature=round if round % 3 else 1000 + round, rule=5 + round)
            builds.let.set()
            if round == 1:
                await settled(service)
                quick = await apply(service, quick_files)
            elif round % 2:
                await asyncio.sleep(rng.choice((0.0, 0.001, 0.003, 0.01, 0.03)))
                quick = await apply(service, quick_files)
            else:
                service.changes.store.keep(service.changes.store.check(quick_files))
                hash = service.changes.store.check(quick_files).hash
                for _ in range(rng.randrange(6) if round > 2 else 0):
                    await asyncio.sleep(0)
                quick = await apply(service, hash)
            await settled(service)
            assert (await shown(service))["hash"] == quick["hash"], f"seed {seed}"
            new = logged(service)[len(before) :]
            if quick.get("replaced") == slow:
                taken["never"] += 1
                assert new == [quick["hash"]], f"seed {seed}"
                assert not (tmp_path / "data" / "building" / f"{slow}.state").exists()
            else:
                taken["before"] += 1
                assert new == [slow, quick["hash"]], f"seed {seed}"
            told = await service.decide("payment", json.dumps(payment(round)).encode())
            assert isinstance(told, Answer)
        assert all(taken.values()), f"{taken}, seed {seed}"

    run(tmp_path, monkeypatch, test)


def test_the_process_of_a_build_is_ended(tmp_path: Path) -> None:
    """With the process that is really there; a service that is killed after it starts as the last wish has it."""
    folder = shop(tmp_path / "shop")
    with ServiceProcess(folder, tmp_path / "data") as service:
        for number in range(5):
            service.decide(payment(number))
        said = {name: content.decode() for name, content in files(folder, feature=1).items()}
        slow = service.post("/v1/project:apply", {"files": said})
        assert slow.status_code == 202
        said = {name: content.decode() for name, content in files(folder, rule=2).items()}
        quick = service.post("/v1/project:apply", {"files": said})
        assert quick.status_code == 200
        assert quick.json()["replaced"] == slow.json()["hash"]
        assert service.process is not None
        deadline = time.monotonic() + 20
        while builders(service.process.pid):
            assert time.monotonic() < deadline, "the process of the build goes on"
            time.sleep(0.02)
        service.kill()
        service.start()
        assert service.get("/v1/project").json()["hash"] == quick.json()["hash"]


def builders(parent: int) -> list[int]:
    """The processes that build state for another one."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            line = (path / "cmdline").read_bytes().split(b"\0")
            mine = int((path / "stat").read_text().rpartition(")")[2].split()[1]) == parent
        except OSError:
            continue
        if mine and b"build" in line and b"parakh.service.worker" in line:
            found.append(int(path.name))
    return found
