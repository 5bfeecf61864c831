"""A worker (`parakh.service.worker`) as the service has it: begun, listened to, and ended with who listens.

It is begun in another thread. A fork copies the tables of all memory first, and the event loop would stand still for
tens of milliseconds; `subprocess` does without, and the loop goes on meanwhile.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

__all__ = ["Worker", "worker"]


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker under way."""

    process: subprocess.Popen[bytes]
    _lines: asyncio.StreamReader

    async def said(self) -> AsyncIterator[dict[str, Any]]:
        """What it tells, until it ends."""
        async for line in self._lines:
            yield msgspec.json.decode(line)

    async def code(self) -> int:
        """What it ended with."""
        return await asyncio.to_thread(self.process.wait)


@asynccontextmanager
async def worker(task: str, data: Path, until: int, *more: str) -> AsyncIterator[Worker]:
    """A worker that does a task on a data directory up to a position of the log; killed where it is left before."""
    command = [sys.executable, "-m", "parakh.service.worker", task, str(data), str(until), *more]
    starting = asyncio.ensure_future(asyncio.to_thread(subprocess.Popen, command, stdout=subprocess.PIPE))
    try:
        process = await asyncio.shield(starting)
    except asyncio.CancelledError:
        await _end(await starting)
        raise
    try:
        lines = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(lines), process.stdout
        )
        with closing(transport):
            yield Worker(process, lines)
    finally:
        await _end(process)


async def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.kill()
        await asyncio.to_thread(process.wait)
