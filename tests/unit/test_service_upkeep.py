"""The age of a snapshot is that of one that was written: tries that fail leave it growing, so that it is noticed."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from parakh.service.settings import SnapshotSettings
from parakh.service.telemetry import Telemetry
from parakh.service.upkeep import Upkeep


@pytest.mark.parametrize(("code", "written"), [("raise SystemExit(1)", False), ("print('{\"done\": 7}')", True)])
def test_only_a_snapshot_that_was_written_is_new(
    code: str, written: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = asyncio.create_subprocess_exec

    async def begin(*_: object, **more: Any) -> asyncio.subprocess.Process:
        return await start(sys.executable, "-c", code, **more)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", begin)
    desk: Any = SimpleNamespace(engine=SimpleNamespace(counts=SimpleNamespace(accepted=5)))
    log: Any = SimpleNamespace(durable=9, full=False)
    queue: Any = None
    upkeep = Upkeep(
        tmp_path, desk, queue, log, Telemetry(), SnapshotSettings(every_us=60_000_000), 0,
        on_trimmed=lambda _: None, on_snapshot=lambda: None,
    )  # fmt: skip
    upkeep.snapshot_at -= 5_000
    upkeep._tried_at -= 5_000
    assert upkeep._is_due()
    assert asyncio.run(upkeep.snapshot()) is written
    assert (upkeep.snapshot_age_s < 60) is written
    assert upkeep.snapshot_position == (7 if written else 0)
    desk.engine.counts.accepted += 1
    assert not upkeep._is_due(), "the next try has its time, whatever came of the last"
