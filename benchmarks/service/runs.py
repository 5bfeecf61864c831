"""One run of the load generator against one server, and what the machine did meanwhile."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.results import say
from benchmarks.service.prepared import Requests, Sent
from benchmarks.service.servers import Machine, Server

__all__ = ["Bench", "Load", "Run", "in_memory", "middle", "spread"]

STOLEN = 0.05  # of all cores' time: a run that lost more is done again, as long as there are retakes
WARM_S = 1.0  # at the beginning of a run, not counted
_SPARE_S = 120.0
_MEMORY = "/dev/shm"
_MOST_SENT = 2 << 30  # bytes of requests in a run


@dataclass(frozen=True, slots=True)
class Load:
    """How requests are sent: over how many connections, how long, and at what rate (None: closed loop)."""

    connections: int
    seconds: float
    rate: float | None = None
    named: bool = True
    seed: int = 7


@dataclass(frozen=True, slots=True)
class Run:
    """What one run found. Latency in milliseconds, from when a request was due."""

    sent: Sent
    rate: float  # events answered a second
    p50_ms: float
    p99_ms: float
    p999_ms: float
    late_ms: float  # p99 of the generator's own lateness
    cpu_us: float  # of the server, an event
    busy: float
    stolen: float

    @property
    def answered(self) -> int:
        return int(self.sent.events[self.sent.answered].sum())


@dataclass(slots=True)
class Bench:
    """Where the runs of a benchmark leave their files, and what went wrong over all of them.

    `folder` is on the disk that is measured. What is sent, and what came of it, is kept in `held`, which is not: some
    hundred megabytes that are written, or given back, beside a service make its log wait for tens of milliseconds.
    """

    folder: Path
    held: Path
    retakes: int = 3
    answered: int = 0  # events, all checked
    failed: int = 0  # requests
    problems: list[str] = field(default_factory=list)
    stolen: list[float] = field(default_factory=list)
    _made: int = 0

    def write(self, requests: Requests) -> Path:
        """Requests as a file that a run reads."""
        self._made += 1
        path = self.held / f"requests-{self._made}.npz"
        requests.write(path)
        return path

    def start(self, server: Server, requests: Path, load: Load) -> Under:
        """A generator on its way."""
        self._made += 1
        out = self.held / f"sent-{self._made}.npz"
        command = [
            sys.executable, "-m", "benchmarks.service.load", "--port", str(server.port),
            "--requests", str(requests), "--out", str(out),
            "--connections", str(load.connections), "--seconds", str(load.seconds), "--seed", str(load.seed),
            *(["--rate", str(load.rate)] if load.rate else []), *([] if load.named else ["--unnamed"]),
        ]  # fmt: skip
        root = Path(__file__).resolve().parents[2]
        return Under(self, server, load, out, subprocess.Popen(command, cwd=root), server.cpu_s(), Machine.now())

    def run(self, server: Server, make: Callable[[], Requests], load: Load) -> Run:
        """Requests made, sent and answered; once more, with others, where the host took too much of the time."""
        while True:
            path = self.write(make())
            run = self.start(server, path, load).wait()
            path.unlink()
            if run.stolen <= STOLEN or not self.retakes:
                return run
            self.retakes -= 1
            say(f"  the host took {run.stolen:.0%} of the time: once more")

    def took_in(self, run: Run) -> None:
        self.answered += run.answered
        self.failed += run.sent.failed
        self.stolen.append(run.stolen)
        if run.sent.problem and len(self.problems) < 5:
            self.problems.append(run.sent.problem)


@dataclass(slots=True)
class Under:
    """A generator under way."""

    bench: Bench
    server: Server
    load: Load
    out: Path
    process: subprocess.Popen[bytes]
    cpu_s: float
    machine: Machine

    def wait(self) -> Run:
        """To its end. Raises RuntimeError where it fails, or where no request at all was answered."""
        if code := self.process.wait(self.load.seconds + _SPARE_S):
            raise RuntimeError(f"the load generator ended with {code}")
        cpu_s = self.server.cpu_s() - self.cpu_s
        busy, stolen = Machine.now().since(self.machine)
        sent = Sent.read(self.out)
        self.out.unlink()
        events = int(sent.events[sent.answered].sum())
        if not events:
            raise RuntimeError(f"no request was answered as it should be: {sent.problem}")
        p50, p99, p999 = sent.latency_ms(50, 99, 99.9, warm_s=WARM_S)
        run = Run(sent, sent.rate(WARM_S), p50, p99, p999, sent.late_ms(99), 1e6 * cpu_s / events, busy, stolen)
        self.bench.took_in(run)
        return run


def in_memory() -> str | None:
    """Where files are kept in memory; None where there is no such place, or little room, as in most containers."""
    has_room = os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > _MOST_SENT
    return _MEMORY if has_room else None


def middle(values: Iterable[float]) -> float:
    return statistics.median(values)


def spread(values: Iterable[float], digits: int = 0) -> str:
    """The median, and in brackets the least and the most."""
    held = list(values)
    return f"{middle(held):,.{digits}f} ({min(held):,.{digits}f}-{max(held):,.{digits}f})"
