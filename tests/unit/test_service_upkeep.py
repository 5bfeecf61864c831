"""The age of a snapshot is that of one that was written: tries that fail leave it growing, so that it is noticed."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from parakh.service.beside import worker
from parakh.service.settings import SnapshotSettings
from parakh.service.telemetry import Telemetry
from parakh.service.upkeep import Upkeep


@pytest.mark.parametrize(("code", "written"), [("raise SystemExit(1)", False), ("print('{\"done\": 7}')", True)])
def test_only_a_snapshot_that_was_written_is_new(
    code: str, written: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _instead(monkeypatch, code)
    desk: Any = SimpleNamespace(engine=SimpleNamespace(counts=SimpleNamespace(accepted=5)))
    log: Any = SimpleNamespace(durable=9, full=False)
    queue: Any = None
    upkeep = Upkeep(
        tmp_path, desk, queue, log, Telemetry(), SnapshotSettings(every_us=60_000_000), 0,
        on_trimmed=lambda _: None, on_snapshot=lambda: asyncio.sleep(0),
    )  # fmt: skip
    upkeep.snapshot_at -= 5_000
    upkeep._tried_at -= 5_000
    assert upkeep._is_due()
    assert asyncio.run(upkeep.snapshot()) is written
    assert (upkeep.snapshot_age_s < 60) is written
    assert upkeep.snapshot_position == (7 if written else 0)
    desk.engine.counts.accepted += 1
    assert not upkeep._is_due(), "the next try has its time, whatever came of the last"


def _instead(monkeypatch: pytest.MonkeyPatch, code: str) -> list[subprocess.Popen[bytes]]:
    """Other code in the place of the worker's; the processes that were begun."""
    begun: list[subprocess.Popen[bytes]] = []
    start = subprocess.Popen

    def begin(_: object, **more: Any) -> subprocess.Popen[bytes]:
        begun.append(start([sys.executable, "-c", code], **more))
        return begun[-1]

    monkeypatch.setattr(subprocess, "Popen", begin)
    return begun


@pytest.mark.parametrize("after_s", [0.0, 0.5])
def test_a_worker_ends_with_who_listens(after_s: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = _instead(monkeypatch, "import time\nwhile True:\n print('{}', flush=True); time.sleep(0.01)")

    async def listen() -> None:
        async with worker("snapshot", tmp_path, 7) as writer:
            async for said in writer.said():
                assert said == {}

    async def main() -> None:
        task = asyncio.create_task(listen())
        await asyncio.sleep(after_s)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert all(process.returncode == -signal.SIGKILL for process in begun)
    assert len(begun) == 1 or not after_s, "one that was never begun need not end"


def test_a_worker_tells_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _instead(monkeypatch, "print('{\"done\": 1}'); raise SystemExit(3)")

    async def main() -> tuple[list[dict[str, Any]], int]:
        async with worker("snapshot", tmp_path, 7) as writer:
            return [said async for said in writer.said()], await writer.code()

    assert asyncio.run(main()) == ([{"done": 1}], 3)
