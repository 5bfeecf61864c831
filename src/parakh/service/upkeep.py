"""What a service does for itself while it decides: snapshots at their time, the log's old end and idle keys let go."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from parakh.decisions.engine import Engine
from parakh.service.beside import worker
from parakh.service.desk import Desk
from parakh.service.logs import get_log
from parakh.service.queue import DeskQueue
from parakh.service.settings import SnapshotSettings
from parakh.service.telemetry import Telemetry
from parakh.streams.log import EmbeddedLog

__all__ = ["Upkeep", "cut", "sweep"]

_LOOK_S = 0.5
_TRIM_EVERY_S = 60.0
_SWEEP_ROUND_S = 600.0
_LEAST_SWEPT = 64
_log = get_log("upkeep")


@dataclass(slots=True)
class Upkeep:
    """Snapshots and trims of a service. `snapshot_position` is that of the newest snapshot; `keep_us` how long the log
    keeps entries.
    """

    data: Path
    desk: Desk
    queue: DeskQueue
    log: EmbeddedLog
    telemetry: Telemetry
    settings: SnapshotSettings
    keep_us: int
    on_trimmed: Callable[[int], object]
    on_snapshot: Callable[[], Awaitable[object]]
    snapshot_position: int = 0
    snapshot_at: float = field(default_factory=time.monotonic)
    _tried_at: float = field(default_factory=time.monotonic)
    _accepted: int = 0
    _wanted: bool = False

    def request(self) -> None:
        """Have a snapshot soon."""
        self._wanted = True

    @property
    def snapshot_age_s(self) -> float:
        """Seconds since the newest snapshot was written, or since the start."""
        return time.monotonic() - self.snapshot_at

    async def run(self) -> None:
        """Look now and then whether something is due, until cancelled."""
        self._accepted = self.desk.engine.counts.accepted
        trimmed_at = time.monotonic()
        while True:
            await asyncio.sleep(_LOOK_S)
            sweep(self.desk.engine, _LOOK_S)
            if self._is_due():
                await self.snapshot()
            if time.monotonic() - trimmed_at >= _TRIM_EVERY_S:
                trimmed_at = time.monotonic()
                self.trim(self.queue.arrived_us())

    def _is_due(self) -> bool:
        if self.log.full or self.log.durable == self.snapshot_position:
            return False
        new = self.desk.engine.counts.accepted - self._accepted
        old = (time.monotonic() - self._tried_at) * 1e6 >= self.settings.every_us
        return self._wanted or new >= self.settings.events or (new > 0 and old)

    async def snapshot(self) -> bool:
        """Have a snapshot written by a process beside this one; whether it was."""
        self._wanted = False
        accepted, began = self.desk.engine.counts.accepted, time.monotonic()
        written: int | None = None
        async with worker("snapshot", self.data, self.log.durable) as writer:
            async for said in writer.said():
                written = said.get("done", written)
                if "error" in said:
                    _log.error("no snapshot was written", reason=str(said["error"]))
            code = await writer.code()
        self._accepted, self._tried_at = accepted, time.monotonic()
        if code != 0 or written is None:
            _log.error("no snapshot was written", code=code)
            return False
        self.snapshot_position, self.snapshot_at = written, self._tried_at
        self.telemetry.snapshot_written(time.monotonic() - began)
        _log.info("a snapshot was written", position=written, seconds=round(time.monotonic() - began, 3))
        await self.on_snapshot()
        return True

    def trim(self, now_us: int) -> int | None:
        """Let the log's segments go that are older than what is kept, as far as a snapshot covers them; answers where
        the log begins then, None where nothing is due.

        What is old is told by the events' clock as well: a machine's clock that jumps ahead lets nothing go.
        """
        due = self._trim_point(min(now_us, self.desk.engine.state.clock_us) - self.keep_us)
        if due is None:
            return None
        first = cut(self.desk, self.queue, self.log, due, now_us)
        self.on_trimmed(first)
        _log.info("the log was trimmed", position=first)
        return first

    def _trim_point(self, before_us: int) -> int | None:
        """The beginning of the newest segment whose predecessors are all older, and before the oldest snapshot."""
        folders = [path for path in (self.data / "snapshots").glob("*") if path.name.isdigit()]
        oldest = min((int(path.name) for path in folders), default=0)
        point: int | None = None
        for path in self.log.segments()[1:]:
            start = int(path.name.removesuffix(".log"))
            if start > oldest:
                break
            with contextlib.suppress(IndexError):
                first = self.log.read(start, 1 << 16)
                if not first or first[0].arrived_us >= before_us:
                    break
                point = start
        return point


def cut(desk: Desk, queue: DeskQueue, log: EmbeddedLog, position: int, now_us: int) -> int:
    """Forget the events before a position, and let go the segments of the log before it; answers where it begins then.

    Who waits is told before they go: the answer to a retry is read from them.
    """
    queue.drain()
    desk.trim(position, now_us)
    log.wait(log.end)
    queue.durable(log.durable)
    return log.trim(position)


def sweep(engine: Engine, passed_s: float) -> None:
    """Let idle keys give back what no window can reach: as many in so much time that a round takes ten minutes.

    The engine sweeps by the events that come; where few do and keys are many, that alone would come round too seldom.
    It changes no answer.
    """
    engine.state.sweep(_LEAST_SWEPT + int(engine.state.keys * passed_s / _SWEEP_ROUND_S))
