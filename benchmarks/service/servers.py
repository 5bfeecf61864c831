"""The servers that are measured, as processes: started, waited for, watched through /proc, stopped.

Linux only. A server's output goes to a file beside its data, and is shown where it does not come up.
"""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["HOST", "SNAPSHOTS_OFF", "Machine", "Server", "free_port", "noop", "parakh", "request"]

HOST = "127.0.0.1"
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_POLL_S = 0.01
SNAPSHOTS_OFF = {"PARAKH_SNAPSHOTS_EVENTS": "10000000000", "PARAKH_SNAPSHOTS_EVERY": "7d"}
"""Settings of a service that writes no snapshot while it is measured."""


@dataclass(slots=True)
class Server:
    """A process that answers HTTP."""

    process: subprocess.Popen[bytes]
    port: int
    output: Path
    started: float  # time.monotonic

    def ready(self, path: str = "/readyz", *, within_s: float = 120.0) -> float:
        """Wait until the path answers 200; returns the seconds since the process was started."""
        while True:
            if self.process.poll() is not None:
                raise RuntimeError(f"the server ended with {self.process.returncode}:\n{self.said()}")
            try:
                status, _ = request(self.port, "GET", path, timeout_s=5.0)
            except OSError:
                status = 0
            took = time.monotonic() - self.started
            if status == 200:
                return took
            if took > within_s:
                raise TimeoutError(f"not ready after {took:.0f} s (status {status}):\n{self.said()}")
            time.sleep(_POLL_S)

    def cpu_s(self) -> float:
        """CPU of all its threads so far, user and system."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) * _TICK_S

    def memory_mb(self, which: str = "VmRSS") -> float:
        """Resident memory, or its peak (`VmHWM`)."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(which)) / 1024

    def children(self) -> int:
        """How many processes it has running beside it."""
        tasks = Path(f"/proc/{self.process.pid}/task").iterdir()
        return sum(len((task / "children").read_text().split()) for task in tasks)

    def said(self) -> str:
        """The end of what it wrote."""
        return self.output.read_bytes()[-4_000:].decode(errors="replace")

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it, and wait; a server that does not listen is killed."""
        if self.process.poll() is None:
            self.process.send_signal(how)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


@dataclass(frozen=True, slots=True)
class Machine:
    """What the machine did in all: the difference of two says what else ran, and what the host took away."""

    total: int
    idle: int
    steal: int

    @classmethod
    def now(cls) -> Machine:
        fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        return cls(sum(fields), fields[3] + fields[4], fields[7])

    def since(self, before: Machine) -> tuple[float, float]:
        """The shares of all cores' time that were busy, and that were stolen by the host."""
        total = max(1, self.total - before.total)
        return 1 - (self.idle - before.idle) / total, (self.steal - before.steal) / total


def noop(folder: Path) -> Server:
    """The server that does nothing, ready."""
    port = free_port()
    server = _started(
        [sys.executable, "-m", "benchmarks.service.noop", "--port", str(port)], port, folder / "noop.out", {}
    )
    server.ready("/")
    return server


def parakh(project: Path, data: Path, settings: Mapping[str, str]) -> Server:
    """`parakh serve` on a data directory, started and not waited for; settings are variables of its environment."""
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "parakh",
        "serve",
        str(project),
        "--data",
        str(data),
        "--port",
        str(port),
    ]
    return _started(command, port, data.parent / f"{data.name}.out", settings)


def _started(command: Sequence[str], port: int, output: Path, settings: Mapping[str, str]) -> Server:
    root = Path(__file__).resolve().parents[2]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")])),
        **settings,
    }
    with output.open("ab") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, stdin=subprocess.DEVNULL, env=environment)
    return Server(process, port, output, time.monotonic())


def free_port() -> int:
    """A port that nobody listened on a moment ago."""
    with socket.socket() as held:
        held.bind((HOST, 0))
        return int(held.getsockname()[1])


def request(
    port: int, method: str, path: str, body: bytes | None = None, *, timeout_s: float = 60.0
) -> tuple[int, bytes]:
    """One request on a connection of its own: status and body."""
    connection = http.client.HTTPConnection(HOST, port, timeout=timeout_s)
    try:
        connection.request(method, path, body)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except http.client.HTTPException as broken:
        raise ConnectionError(str(broken)) from broken
    finally:
        connection.close()
