"""The service killed at random, at every named step, on a disk that fails or is full: what was told stays told.

The oracle is outside the process: every answer that came, by its event's id. `make torture` sets PARAKH_KILLS, for as
many kills as the reliability statements ask for; without it each has a short slice.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from integration.service_process import ServiceProcess, payment, shop
from parakh.service.backup import verify
from parakh.service.snapshots import find_snapshots, read_arrays
from parakh.streams.failpoints import FAILPOINTS

KILLS = int(os.environ.get("PARAKH_KILLS", "3"))
SEED = int(os.environ.get("PARAKH_SEED", "20261125"))

ENOUGH = 300
"""Payments that callers are told between two kills; then they wait. Everything told is asked for and decided again."""
SOME = 1_000
"""So many of all that was told are asked for again between kills, beside what is new since then."""

SMALL = '[log]\nsegment = "64KB"\n[snapshots]\nevents = 60\n'
_FEATURE = "  ever: {from: payment, aggregate: count(*), over: 30d}\n"


class Callers:
    """Callers who send payments at once, some again, and keep what they were told."""

    def __init__(self, service: ServiceProcess, *, callers: int = 6) -> None:
        self.service = service
        self.told: dict[int, bytes] = {}
        self.sent: set[int] = set()
        self.wrong: list[str] = []
        self.last = 0.0
        self._callers = callers
        self._next = 0
        self._enough = 0
        self._checked = 0
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def begin(self, seed: int, *, enough: int = ENOUGH) -> None:
        self._stop.clear()
        self._enough = len(self.told) + enough
        self._threads = [
            threading.Thread(target=self._call, args=(random.Random(f"{seed} {number}"),))
            for number in range(self._callers)
        ]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _call(self, chance: random.Random) -> None:
        with httpx.Client(timeout=20) as client:
            while not self._stop.is_set():
                if len(self.told) >= self._enough:
                    self._stop.wait(0.05)
                    continue
                with self._lock:
                    number = self._next
                    self._next += 1
                self._ask(client, number)
                if chance.random() < 0.2:
                    self._ask(client, chance.randrange(number + 1))

    def _ask(self, client: httpx.Client, number: int) -> None:
        self.sent.add(number)
        try:
            answer = client.post(f"{self.service.url}/v1/decisions/payment", json=payment(number, card=number % 50))
        except httpx.TransportError:
            time.sleep(0.01)
            return
        if answer.status_code == 503:
            return
        if answer.status_code != 200:
            self.wrong.append(answer.text)
            return
        before = self.told.setdefault(number, answer.content)
        self.last = time.monotonic()
        if before != answer.content:
            self.wrong.append(f"payment {number} was decided twice")

    def settle(self) -> None:
        """Ask again for all that got no answer."""
        with httpx.Client(timeout=20) as client:
            for number in sorted(self.sent - self.told.keys()):
                self._ask(client, number)

    def check(self, some: random.Random | None = None) -> None:
        """All that was told is still so; or what was told since the last check, and some of the rest."""
        assert not self.wrong, self.wrong[:3]
        told = list(self.told.items())
        if some is not None:
            told = some.sample(told[: self._checked], min(SOME, self._checked)) + told[self._checked :]
        self._checked = len(self.told)
        with httpx.Client(timeout=20) as client:
            for number, content in told:
                url = f"{self.service.url}/v1/decisions/payment"
                answer = client.post(url, json=payment(number, card=number % 50))
                assert answer.content == content, f"payment {number}: told {content!r}, now {answer.content!r}"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[ServiceProcess]:
    data = tmp_path / "data"
    data.mkdir()
    (data / "service.toml").write_text(SMALL)
    running = ServiceProcess(shop(tmp_path / "shop"), data)
    yield running
    running.stop()


def proved(service: ServiceProcess) -> None:
    """Every decision in the log, made again, is the same to the bit."""
    service.stop()
    found = verify(service.data, decisions=True)
    assert found.differing == 0
    assert found.decisions > 0


def test_r1_random_kills_lose_nothing_that_was_told(service: ServiceProcess) -> None:
    chance = random.Random(SEED)
    callers = Callers(service)
    service.start()
    for kill in range(KILLS):
        callers.begin(SEED + kill)
        time.sleep(chance.uniform(0.02, 0.4))
        service.kill()
        callers.end()
        service.start()
        if kill % 20 == 0:
            callers.check(chance)
    callers.check()
    assert len(callers.told) > 10 * KILLS, f"seed {SEED}"
    held = int(float(service.get("/metrics").text.split("\nparakh_ids ")[1].split()[0]))
    assert len(callers.told) <= held <= len(callers.sent)
    proved(service)


IN_SERVER = [
    name for name in FAILPOINTS if name.partition(".")[0] in ("log", "desk", "versions") and name != "log.trimmed"
]
OFTEN = {"log.before_write", "log.written", "desk.decided", "desk.before_answer"}


SLICE = ("log.written", "log.segment_made", "desk.before_answer", "versions.switched")
"""Those that every run of the tests tries; the others are tried by `make torture`."""


@pytest.mark.parametrize("name", [name for name in IN_SERVER if KILLS >= 100 or name in SLICE])
def test_r2_every_crash_site(service: ServiceProcess, name: str) -> None:
    """The process is killed when it comes by, at a count that differs from round to round."""
    chance = random.Random(f"{SEED} {name}")
    callers = Callers(service, callers=3)
    features = service.project / "features" / "card.yaml"
    for number in range(max(1, min(20, KILLS // 20))):
        # A start decides on some made-up events before it is ready.
        count = chance.randint(10, 60) if name in OFTEN else 1
        service.start(PARAKH_FAILPOINT=f"{name}:{count}")
        callers.begin(SEED + number)
        try:
            if name.startswith("versions."):
                time.sleep(0.3)
                features.write_text(features.read_text() + _FEATURE.replace("ever", f"ever{number}"))
                service.post("/v1/project:apply", {})
            assert service.wait_ended(120) == -9
        finally:
            callers.end()
        service.start()
        callers.check()
        if name.startswith("versions."):
            deadline = time.monotonic() + 60
            while f"ever{number}" not in service.get("/v1/entities/card/none").text and time.monotonic() < deadline:
                service.post("/v1/project:apply", {})
                time.sleep(0.3)
            callers.settle()
            probe = payment(10**6 + number, card=3) | {"paid_at": payment(max(callers.sent))["paid_at"]}
            seen = service.decide(probe, features="true").json()["features"]
            assert seen[f"card.ever{number}_30d"] == len({n for n in callers.told if n % 50 == 3}) + 1 + number
        service.kill()
    proved(service)


@pytest.mark.parametrize(
    "name", [name for name in FAILPOINTS if name.startswith("snapshot.") and (KILLS >= 100 or name == "snapshot.half")]
)
def test_r7_a_kill_while_a_snapshot_is_written(service: ServiceProcess, name: str) -> None:
    """Whatever is left of the one that was being written, there is a valid one, or the log is enough."""
    callers = Callers(service)
    service.start()
    callers.begin(SEED)
    snapshots = service.data / "snapshots"
    deadline = time.monotonic() + 60
    while not list(find_snapshots(snapshots)) and time.monotonic() < deadline:
        time.sleep(0.1)
    callers.end()
    service.kill()
    durable = verify(service.data, decisions=False)
    assert durable.events > 0
    until = max(int(path.name) for path in snapshots.glob("[0-9]*"))
    for number in range(max(1, KILLS // 5)):
        if name == "snapshot.old_removed":  # two are kept: there must be a third
            for old in range(2 * number, 2 * number + 2):
                shutil.copytree(next(find_snapshots(snapshots)).folder, snapshots / f"{old:020d}")
        command = [sys.executable, "-m", "parakh.service.worker", "snapshot", str(service.data), _mark(service.data)]
        environment = {**os.environ, "PARAKH_FAILPOINT": f"{name}:1"}
        ended = subprocess.run(command, env=environment, capture_output=True, check=False)
        assert ended.returncode == -9
        newest = next(find_snapshots(snapshots))
        assert newest.position >= until
        read_arrays(newest)
    service.start()
    callers.check()
    proved(service)


def _mark(data: Path) -> str:
    from parakh.streams.mark import Mark

    mark = Mark(data / "log" / "durable")
    mark.close()
    return str(mark.position)


def test_r5_a_sync_that_fails_ends_the_process(service: ServiceProcess) -> None:
    service.start(PARAKH_FAILPOINT="log.written:20:eio")
    callers = Callers(service)
    callers.begin(SEED)
    assert service.wait_ended(60) == 74
    callers.end()
    assert "log" in service.said()
    service.start()
    callers.check()
    proved(service)


def test_r6_a_full_disk_is_waited_for(service: ServiceProcess) -> None:
    service.start(PARAKH_FAILPOINT="log.written:20:enospc")
    callers = Callers(service)
    callers.begin(SEED)
    deadline = time.monotonic() + 60
    while "the disk is full" not in service.said() and time.monotonic() < deadline:
        time.sleep(0.02)
    full = time.monotonic()
    while callers.last < full and time.monotonic() < deadline:
        time.sleep(0.02)
    assert full <= callers.last < full + 5
    time.sleep(0.5)
    callers.end()
    callers.check()
    proved(service)


@pytest.mark.skipif(KILLS < 100, reason="mounts a small disk: part of `make torture`")
def test_r6_a_disk_that_is_really_full(tmp_path: Path) -> None:
    mount = tmp_path / "small"
    mount.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=640m", "tmpfs", str(mount)]
    made = subprocess.run(command, capture_output=True, check=False)
    if made.returncode != 0:
        pytest.skip("no disk can be mounted here")
    data = mount / "data"
    service = ServiceProcess(shop(tmp_path / "shop"), data)
    service.output = tmp_path / "said.log"
    callers = Callers(service)
    try:
        data.mkdir()
        (data / "service.toml").write_text('[log]\nsegment = "1MB"\n[snapshots]\nevents = 100000000\n')
        service.start()
        filler = mount / "filler"
        for number in range(max(1, KILLS // 5)):
            callers.begin(SEED + number, enough=10**9)
            with contextlib.suppress(OSError), filler.open("ab", buffering=0) as file:
                room = os.statvfs(mount)
                os.posix_fallocate(file.fileno(), 0, room.f_frsize * max(1, room.f_bavail - 64))
                while True:
                    file.write(bytes(1 << 12))
            time.sleep(1.0)
            filler.unlink(missing_ok=True)
            freed = time.monotonic()
            while callers.last < freed and time.monotonic() < freed + 10:
                time.sleep(0.05)
            callers.end()  # else their events would fill the disk for good
            assert freed <= callers.last < freed + 5
        callers.check()
        proved(service)
    finally:
        callers.end()
        service.stop()
        subprocess.run(["umount", "-l", str(mount)], check=False)
