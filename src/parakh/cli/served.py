"""The demo's service: the stream goes over HTTP, the server is killed in the middle, and nothing is lost by that."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from parakh.cli.console import Console, bold, clean, cyan, dim, green, red
from parakh.cli.progress import Bar
from parakh.cli.words import thousands

if TYPE_CHECKING:
    from parakh.client import AsyncClient, Decision
    from parakh.decisions.replay import Source
    from parakh.project.project import Project

__all__ = ["show_service"]

EVENTS = 6_000
_AT_ONCE = 8
_PATIENCE_S = 60.0
_READY_WITHIN_S = 60.0


@dataclass(slots=True)
class _Told:
    """What the callers were told, kept outside the service: the oracle of what it acknowledged."""

    decisions: dict[str, Decision] = field(default_factory=dict)
    taken_in: int = 0
    waited_s: list[float] = field(default_factory=list)


def show_service(folder: Path, shop: Path, project: Project, sources: Sequence[Source], console: Console) -> None:
    """Serve the project over HTTP, send it the first events of the stream, kill it in the middle and start it again.

    Raises click.ClickException where the server does not start.
    """
    events = list(islice(_in_order(project, sources), EVENTS))
    data = folder / "service"
    shutil.rmtree(data, ignore_errors=True)
    server = _Server(shop, data)
    try:
        server.start()
        console.print(
            f"  {cyan(clean(f'parakh serve {shop} --data {data}'))}",
            dim(f"  listens on {server.url}; each decision is on disk before it is told"),
            "",
        )
        told = asyncio.run(_send(server, project, events))
        again, held = asyncio.run(_ask_again(server, told))
    finally:
        server.stop()
    _show(told, again, held, server, len(events), console)


def _show(told: _Told, again: dict[str, Decision], held: int, server: _Server, sent: int, console: Console) -> None:
    same = sum(1 for name, decision in told.decisions.items() if _said(again.get(name)) == _said(decision))
    lost = len(told.decisions) - same
    twice = held - sent
    waits = sorted(told.waited_s)
    rows = [
        [f"events sent over HTTP, {_AT_ONCE} at once", thousands(sent)],
        ["decisions told", thousands(len(told.decisions))],
        ["killed with kill -9 after", thousands(server.killed_after)],
        ["ready again after", f"{server.back_after_s:.1f} s"],
        ["the same decision when asked again", (green if lost == 0 else red)(thousands(same))],
        ["lost", (green if lost == 0 else red)(thousands(lost))],
        ["decided twice", (green if twice == 0 else red)(thousands(twice))],
        ["half of the answers within", f"{1e3 * waits[len(waits) // 2]:.1f} ms"],
    ]
    console.table(rows, align="<>")
    console.print("")
    if lost == 0 and twice == 0:
        said = f"{bold('Nothing was lost, and nothing was decided twice.')} A retry got the first answer."
        console.say(said, indent="  ")
    else:
        console.say(red("The service did not keep its word: this is a mistake in Parakh."), indent="  ")


def _said(decision: Decision | None) -> Decision | None:
    return None if decision is None else msgspec.structs.replace(decision, replayed=False)


async def _send(server: _Server, project: Project, events: Sequence[tuple[str, dict[str, Any]]]) -> _Told:
    """Send every event, some at once, and kill the server when half of them are answered."""
    from parakh.client import AsyncClient

    decided = {policy.event_type for policy in project.definitions.policies}
    ids = {event.name: event.id for event in project.definitions.events}
    told = _Told()
    queue = iter(events)
    with Bar(Console.stderr(), "sending") as bar:

        async def send(client: AsyncClient) -> None:
            for event_type, event in queue:
                began = time.perf_counter()
                if event_type in decided:
                    told.decisions[f"{event_type}:{event[ids[event_type]]}"] = await client.decide(event_type, event)
                else:
                    await client.take_in(event_type, event)
                    told.taken_in += 1
                told.waited_s.append(time.perf_counter() - began)
                bar.step("sending", len(told.waited_s), len(events))

        async def kill() -> None:
            while len(told.waited_s) < len(events) // 2:
                await asyncio.sleep(0.005)
            server.killed_after = len(told.waited_s)
            await asyncio.to_thread(server.kill_and_start)

        async with AsyncClient(server.url, timeout=_PATIENCE_S) as client:
            await asyncio.gather(kill(), *(send(client) for _ in range(_AT_ONCE)))
    return told


async def _ask_again(server: _Server, told: _Told) -> tuple[dict[str, Decision], int]:
    """Every decision looked up by its event's id, and how many events the service holds."""
    from parakh.client import AsyncClient, Decision

    again: dict[str, Decision] = {}
    names = iter(told.decisions)

    async def ask(client: AsyncClient) -> None:
        for name in names:
            event_type, _, event_id = name.partition(":")
            found = await client.decision_of(event_type, event_id)
            assert isinstance(found, Decision), "it was decided on"
            again[name] = msgspec.structs.replace(found, features=None)

    async with AsyncClient(server.url, timeout=_PATIENCE_S) as client:
        await asyncio.gather(*(ask(client) for _ in range(_AT_ONCE)))
        metrics = await client.metrics()
    held = next(line.split()[1] for line in metrics.splitlines() if line.startswith("parakh_ids "))
    return again, int(float(held))


def _in_order(project: Project, sources: Sequence[Source]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The events of all types in the order of their times."""
    import heapq

    times = {event.name: event.time for event in project.definitions.events}

    def stream(source: Source) -> Iterator[tuple[str, str, dict[str, Any]]]:
        with Path(source.path).open() as lines:
            for line in lines:
                event = json.loads(line)
                yield event[times[source.event_type]], source.event_type, event

    merged = heapq.merge(*(stream(source) for source in sources), key=lambda item: item[:2])
    return ((event_type, event) for _, event_type, event in merged)


class _Server:
    """A server in a process of its own, which can be killed."""

    def __init__(self, project: Path, data: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.killed_after = 0
        self.back_after_s = 0.0
        self._command = [sys.executable, "-m", "parakh", "serve", str(project)]
        self._command += ["--data", str(data), "--port", str(self.port)]
        self._output = data.with_name("service.log")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it is ready."""
        import click
        import httpx

        with self._output.open("ab") as output:
            self._process = subprocess.Popen(self._command, stdout=output, stderr=output, env=dict(os.environ))
        deadline = time.monotonic() + _READY_WITHIN_S
        # One client for all tries: each that is made loads the system's certificates, a fifth of a second of work.
        with httpx.Client(timeout=1) as client:
            while time.monotonic() < deadline and self._process.poll() is None:
                with contextlib.suppress(httpx.TransportError):
                    if client.get(f"{self.url}/readyz").status_code == 200:
                        return
                time.sleep(0.05)
        raise click.ClickException(f"the service does not start; {self._output} says why")

    def kill_and_start(self) -> None:
        """kill -9, and start at once."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        began = time.monotonic()
        self.start()
        self.back_after_s = time.monotonic() - began

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(20)
            if self._process.poll() is None:
                self._process.kill()
