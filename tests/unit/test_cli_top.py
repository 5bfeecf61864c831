"""`parakh top`: figures out of two scrapes against what was counted; the views of a server that is well, gone, new."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import random
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parakh.cli.gauges import Reading, figures, quantile, read
from parakh.cli.main import run
from parakh.cli.top import Watch, spark
from parakh.project.project import Project
from parakh.service.telemetry import SECONDS, Telemetry
from unit.scripted_server import Asked, Scripted, Step, serving

SHOP = Path(__file__).resolve().parents[2] / "examples" / "card-payments"


class Server:
    """The counts of a server that decides on payments, and its answers."""

    def __init__(self, seed: int = 1) -> None:
        self.random = random.Random(seed)
        self.project = Project.load(SHOP)
        self.log = 0
        self.start()

    def start(self) -> None:
        self.telemetry = Telemetry()
        self.telemetry.use_project(self.project.definitions, self.project.hash)
        self.route = self.telemetry.route("/v1/decisions/{event_type}")
        gauges = {
            "parakh_log_durable_bytes": lambda: float(self.log),
            "parakh_state_bytes": lambda: 3.5 * 2**20,
            "parakh_state_limit_bytes": lambda: 7.0 * 2**20,
            "parakh_state_records": lambda: 1_234.0,
            "parakh_state_keys": lambda: 56.0,
            "parakh_queue_depth": lambda: 3.0,
            "parakh_snapshot_position": lambda: 100.0,
            "parakh_snapshot_age_seconds": lambda: 65.0,
            "parakh_outbox_pending": lambda: 4.0,
            "parakh_outbox_dead": lambda: 1.0,
            "parakh_breaker_state": lambda: {"ip_risk": 2.0, "model": 0.0},
        }
        for name, ask in gauges.items():
            self.telemetry.watch(name, ask)

    def decide(self, outcomes: list[int], seconds: float = 0.002) -> None:
        self.telemetry.batch_decided("payment", np.array(outcomes, np.int8), seconds_by_stage={"decide": seconds})
        self.telemetry.events("payment", "accepted", len(outcomes))
        for _ in outcomes:
            self.telemetry.request_done(self.route, seconds)
            self.log += 500

    def __call__(self, asked: Asked) -> Step:
        assert asked.path == "/metrics"
        return Step(body=self.telemetry.exposition())

    def reading(self, at_s: float) -> Reading:
        return read(self.telemetry.exposition().decode(), at_s)


@given(st.lists(st.floats(0.00001, 9.9), min_size=1, max_size=200), st.floats(0.01, 1.0))
def test_a_quantile_lies_in_the_bucket_of_the_true_one(values: list[float], share: float) -> None:
    bounds = [*SECONDS, float("inf")]
    buckets = {bound: float(sum(value <= bound for value in values)) for bound in bounds}
    found = quantile(share, buckets)
    assert found is not None
    rank = int(np.ceil(share * len(values) - 1e-9))
    true = sorted(values)[max(0, rank - 1)]
    upper = next(bound for bound in bounds if true <= bound)
    lower = max((bound for bound in bounds if bound < upper), default=0.0)
    assert lower - 1e-12 <= found <= upper + 1e-12


def test_quantiles_of_nothing_and_beyond_all_bounds() -> None:
    assert quantile(0.5, {}) is None
    assert quantile(0.5, {1.0: 0.0, float("inf"): 0.0}) is None
    assert quantile(0.99, {1.0: 0.0, 10.0: 1.0, float("inf"): 100.0}) == 10.0


def test_figures_are_those_that_were_counted() -> None:
    server = Server()
    server.decide([0] * 90 + [3] * 10)
    first = server.reading(10.0)
    server.decide([0] * 30 + [2] * 20, seconds=0.0042)
    server.telemetry.degraded("enrichment", 4)
    server.telemetry.refused("conflict", 2)
    server.telemetry.shed(6)
    seen = figures(first, server.reading(12.0))
    assert (seen.seconds, seen.project, seen.version) == (2.0, "card_payments", server.project.hash)
    assert seen.decisions["payment"] == {"allow": 120, "challenge": 0, "review": 20, "block": 10}
    assert seen.decisions_per_s is not None
    assert seen.decisions_per_s["payment"] == {"allow": 15.0, "challenge": 0.0, "review": 10.0, "block": 0.0}
    assert seen.decided_per_s == 25.0
    assert seen.events["accepted"] == 150
    assert seen.events_per_s is not None
    assert seen.events_per_s["accepted"] == 25.0
    # Of the window alone: what was counted before it was faster.
    times = seen.stages["decide"]
    assert times.count == 50
    assert times.p50_ms is not None
    assert 4.0 <= times.p50_ms <= 5.0
    assert seen.routes["/v1/decisions/{event_type}"].count == 50
    assert seen.stages["commit"].count == 0
    assert seen.stages["commit"].p99_ms is None
    assert (seen.degraded, seen.degraded_per_s, seen.refused, seen.shed) == ({"enrichment": 4}, 2.0, {"conflict": 2}, 6)
    assert (seen.log_bytes, seen.log_bytes_per_s) == (75_000, 12_500.0)
    assert seen.snapshot_behind_bytes == 74_900
    assert seen.breakers == {"ip_risk": "open", "model": "closed"}
    alone = figures(None, first)
    assert alone.decided_per_s is None
    assert alone.stages["decide"].count == 100


def test_a_server_without_gauges_has_unknown_figures() -> None:
    seen = figures(None, read(Telemetry().exposition().decode(), 0.0))
    assert seen.queue_depth is None
    assert seen.log_bytes is None
    assert seen.snapshot_age_s is None
    assert seen.decisions == {}


def test_a_server_that_was_started_again_counts_anew() -> None:
    server, watch = Server(), Watch("http://x")
    for second in range(5):
        server.decide([0] * 100)
        watch.take(server.reading(float(second)))
    assert watch.speed == 100.0
    server.start()
    server.decide([0] * 7)
    watch.take(server.reading(5.0))
    assert watch.speed is None
    server.decide([0] * 9)
    watch.take(server.reading(6.0))
    assert watch.speed == 9.0
    assert watch.figures.decisions["payment"]["allow"] == 16


def test_a_line_of_bars() -> None:
    assert spark([]) == ""
    assert spark([0, 0]) == "▁▁"
    assert spark([1, 8]) == "▂█"


@pytest.fixture
def busy() -> Iterator[tuple[Server, Scripted]]:
    """A server that decides whenever it is asked how it is."""
    server = Server()

    def answer(asked: Asked) -> Step:
        server.decide([0, 0, 0, 3])
        server.telemetry.degraded("model")
        return server(asked)

    with serving(answer) as scripted:
        yield server, scripted


def test_once_as_json(busy: tuple[Server, Scripted], capsys: pytest.CaptureFixture[str]) -> None:
    server, scripted = busy
    assert run(["top", "--server", scripted.url, "--once", "--json", "--interval", "0.1"]) == 0
    said: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert said["decisions"]["payment"] == {"allow": 6, "challenge": 0, "review": 0, "block": 2}
    assert said["per_s"] > 0
    assert said["version"] == server.project.hash
    assert said["stages"]["decide"]["count"] == 4
    assert said["queue_depth"] == 3
    assert len(scripted.asked) == 2


def test_once_as_text(busy: tuple[Server, Scripted], capsys: pytest.CaptureFixture[str]) -> None:
    _, scripted = busy
    assert run(["top", "--server", scripted.url, "--once", "--interval", "0.1"]) == 0
    shown = capsys.readouterr().out
    for words in ("card_payments", "decisions/s", "payment", "block", "decide", "3.5 MB", "50.0 % of 7.0 MB", "durable",
                  "1m 5s old", "model 2", "ip_risk open", "1 given up"):  # fmt: skip
        assert words in shown, shown


@pytest.mark.parametrize(
    ("step", "says"),
    [
        (Step(401, {"code": "unauthorized", "status": 401, "title": "A key is needed"}), "PARAKH_API_KEY"),
        (Step(404, b"not here"), "404"),
        (Step(200, b"<html>hello</html>"), "no metrics of Parakh"),
        (Step(200, b"other_metric 1\n"), "no metrics of Parakh"),
    ],
    ids=["no key", "not found", "a page", "another program"],
)
def test_what_is_no_parakh_server_is_told(step: Step, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with serving([step]) as scripted:
        assert run(["top", "--server", scripted.url, "--once", "--interval", "0.1"]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert says in shown.err


def test_no_server_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with serving([]) as scripted:
        pass
    assert run(["top", "--server", scripted.url]) == 1
    assert "is the service running at this address?" in capsys.readouterr().err
    assert run(["top", "--server", "nonsense"]) == 1
    assert "base URL" in capsys.readouterr().err


def test_the_live_view_goes_on_while_the_server_is_away() -> None:
    server, asked = Server(), 0

    def answer(request: Asked) -> Step:
        nonlocal asked
        asked += 1
        server.decide([0, 1, 2, 3] * asked)
        return Step(500, b"") if 4 <= asked <= 8 else server(request)

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 110, 0, 0))
    shown = b""
    environment = {
        name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS", "LINES", "CI")
    }
    with serving(answer) as scripted:
        command = [sys.executable, "-m", "parakh", "top", "--server", scripted.url, "--interval", "0.1"]
        with subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, env={**environment, "TERM": "xterm-256color"}
        ) as process:
            os.close(theirs)
            deadline = time.monotonic() + 120
            while asked < 12 and time.monotonic() < deadline:
                shown += os.read(ours, 65536)
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(OSError):  # Linux says so when the other side is closed
                while piece := os.read(ours, 65536):
                    shown += piece
            code = process.wait(60)
    os.close(ours)
    text = _plain(shown).decode("utf-8", "replace")
    assert code == 0, text
    for words in ("card_payments", "decisions/s", "no answer", "challenge", "p99", "durable"):
        assert words in text
    assert re.search("[▁▂▃▄▅▆▇█]{2}", text)


def _plain(shown: bytes) -> bytes:
    """What a terminal was sent, without its commands."""
    return re.sub(rb"\x1b\[[0-9;?]*[a-zA-Z]", b"", shown)
