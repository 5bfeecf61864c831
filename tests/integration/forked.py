"""`parakh` in processes of their own that begin at once: forked from one that has imported everything and only waits.

A fresh interpreter takes four seconds of work until a service is ready, most of it to import and to load kernels.
What is forked is a process like any other: it is killed, runs out of memory and ends with a code.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from multiprocessing import forkserver
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from unittest.mock import patch

__all__ = ["Forked"]

TESTS = Path(__file__).resolve().parents[1]


class Forked:
    """A run of `parakh`, which is asked and ended as `subprocess.Popen` is."""

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        output: Path,
        environment: Mapping[str, str],
        constants: Mapping[str, float] | None = None,
    ) -> None:
        """`constants` are others for some of parakh's modules ("parakh.service.limits.BODY_TIMEOUT_S")."""
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["integration.prepared"])
        with patch.dict(os.environ, PYTHONPATH=str(TESTS)):
            forkserver.ensure_running()
        self._process: ForkServerProcess = context.Process(
            target=_run, args=(list(arguments), output, dict(environment), dict(constants or {})), daemon=True
        )
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, -9 where it was killed. Raises subprocess.TimeoutExpired."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def terminate(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        self._process.kill()


def _run(arguments: list[str], output: Path, environment: dict[str, str], constants: dict[str, float]) -> None:
    from parakh.cli.main import run

    for name, value in constants.items():
        module, _, constant = name.rpartition(".")
        held = importlib.import_module(module)
        assert isinstance(getattr(held, constant), float)
        setattr(held, constant, value)
    with output.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ.clear()
    os.environ.update(environment)
    sys.exit(run(arguments))
