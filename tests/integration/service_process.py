"""A real `parakh serve` in a process of its own, for tests that ask it, kill it and start it again."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from integration.forked import Forked

__all__ = ["ServiceProcess", "payment", "shop"]

START_WITHIN_S = 300.0
_BEGAN = datetime(2026, 1, 5, 10, 0, tzinfo=UTC)

_FILES = {
    "parakh.toml": 'name = "shop"\ncurrency = "INR"\n',
    "events/payment.yaml": """event: payment
id: payment_id
time: paid_at
fields:
  payment_id: string
  paid_at: timestamp
  card: {type: string, entity: card, personal: token}
  terminal: {type: string, entity: terminal}
  amount: {type: money, currency: INR}
labels:
  fraud: {type: boolean}
""",
    "events/login.yaml": """event: login
id: login_id
time: at
fields:
  login_id: string
  at: timestamp
  card: {type: string, entity: card, personal: token}
""",
    "features/card.yaml": """entity: card
features:
  payments: {from: payment, aggregate: count(*), over: 1h}
  spent: {from: payment, aggregate: sum(amount), over: 1d}
  logins: {from: login, aggregate: count(*), over: 1d}
""",
    "features/terminal.yaml": """entity: terminal
features:
  frauds: {from: payment, aggregate: count(*), where: fraud, over: 30d}
""",
    "rules/cards.yaml": """rule: many_payments
for: payment
when: card.payments_1h >= 5
then: block
reason: R1
---
rule: bad_terminal
for: payment
when: terminal.frauds_30d >= 1
then: review
reason: R2
""",
    "policies/payment.yaml": "policy: payment\nfor: payment\notherwise: allow\n",
}


def shop(folder: Path, **changed: str) -> Path:
    """A small project; `changed` has other contents for some files, `__` for a slash and `_yaml` for the ending."""
    files = dict(_FILES)
    for name, content in changed.items():
        files[name.replace("__", "/").removesuffix("_yaml") + ".yaml"] = content
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return folder


def payment(number: int, *, card: int | None = None, terminal: int = 1, amount: float = 10.5) -> dict[str, Any]:
    """A payment of the small project; one second after the one before."""
    return {
        "payment_id": f"p{number}",
        "paid_at": (_BEGAN + timedelta(seconds=number)).isoformat(),
        "card": f"4000{(number if card is None else card) % 10**12:012d}"[:16] + "x",
        "terminal": f"t{terminal}",
        "amount": amount,
    }


_CLIENT = httpx.Client(limits=httpx.Limits(max_keepalive_connections=0))
"""One for all: each that is made loads the system's certificates, a fifth of a second of work."""


class ServiceProcess:
    """A server over a data directory. Use it as a context; `kill` is `kill -9`, and `start` may follow."""

    def __init__(
        self,
        project: Path,
        data: Path,
        *,
        environment: Mapping[str, str] | None = None,
        options: Sequence[str] = (),
        constants: Mapping[str, float] | None = None,
    ) -> None:
        self.project = project
        self.data = data
        self.environment = dict(environment or {})
        self.options = list(options)
        self.constants = constants
        self.port = _free_port()
        self.process: subprocess.Popen[bytes] | Forked | None = None
        self.output = data.with_name(data.name + ".log")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, *, wait: bool = True, **environment: str) -> ServiceProcess:
        """Start it; with `wait` until it is ready. Raises AssertionError where it ends instead.

        With an environment of its own, which modules may read when they are imported, it is a fresh interpreter.
        """
        arguments = [
            "serve", str(self.project), "--data", str(self.data), "--port", str(self.port), "--log-format", "json",
            *self.options,
        ]  # fmt: skip
        own = {**self.environment, **environment}
        whole = {**os.environ, **own}
        if own:
            with self.output.open("ab") as output:
                command = [sys.executable, "-m", "parakh", *arguments]
                self.process = subprocess.Popen(command, stdout=output, stderr=output, env=whole)
        else:
            self.process = Forked(arguments, output=self.output, environment=whole, constants=self.constants)
        if wait:
            self.wait_ready()
        return self

    def wait_ready(self) -> None:
        deadline = time.monotonic() + START_WITHIN_S
        while time.monotonic() < deadline:
            assert self.process is not None
            assert self.process.poll() is None, f"the server ended: {self.said()[-2000:]}"
            try:
                if _CLIENT.get(f"{self.url}/readyz", timeout=2).status_code == 200:
                    return
            except httpx.TransportError:
                time.sleep(0.05)
        raise AssertionError(f"not ready within {START_WITHIN_S:.0f} s: {self.said()[-2000:]}")

    def kill(self) -> None:
        """kill -9, at once."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def wait_ended(self, timeout_s: float = 60) -> int:
        assert self.process is not None
        return self.process.wait(timeout_s)

    def stop(self) -> None:
        """SIGTERM, and wait."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def said(self) -> str:
        return self.output.read_text(errors="replace") if self.output.exists() else ""

    def decide(self, event: Mapping[str, Any], event_type: str = "payment", **params: str) -> httpx.Response:
        return _CLIENT.post(f"{self.url}/v1/decisions/{event_type}", json=dict(event), params=params, timeout=30)

    def get(self, path: str, **params: str) -> httpx.Response:
        return _CLIENT.get(f"{self.url}{path}", params=params, timeout=30)

    def post(self, path: str, body: object) -> httpx.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return _CLIENT.post(f"{self.url}{path}", content=content, timeout=60)

    def __enter__(self) -> ServiceProcess:
        return self.start()

    def __exit__(self, *error: object) -> None:
        self.stop()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
