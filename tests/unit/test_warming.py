"""A service that is ready has every kernel in memory: no request waits until one is loaded or compiled."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "card-payments"

_SCRIPT = """
import sys
from pathlib import Path

from numba.core.dispatcher import Dispatcher

from parakh.decisions.engine import Engine
from parakh.project.project import Project
from parakh.service.desk import Desk, Item
from parakh.service.entry_index import EntryIndex
from parakh.service.versions import LiveProject
from parakh.service.warming import Forgetting, warm
from parakh.simulation import simulate

project = Project.load(sys.argv[1])
folder = Path(sys.argv[2])
simulate("fintech", events=6_000, seed=4, out=folder)
bodies = (folder / "payment.ndjson").read_bytes().splitlines()
now_us = 1_900_000_000_000_000
live = LiveProject(project, project.definitions)
warm(live, now_us)


load = Dispatcher._compile_for_args  # what is called where no machine code for such arguments is in memory


def told(self, *arguments, **named):
    print(self.py_func.__qualname__)
    return load(self, *arguments, **named)


Dispatcher._compile_for_args = told
engine = Engine(live, batch_size=64, live=True)
desk = Desk(engine, Forgetting(), EntryIndex())
kind = engine.plan.by_name["payment"].index
for size in (1, 64):
    for start in range(0, len(bodies) // 2, size):
        desk.take([Item(kind, body) for body in bodies[start : start + size]], now_us)
    bodies.reverse()
engine.state.sweep_all()
assert engine.counts.accepted > 1_000
"""


def test_no_kernel_is_loaded_when_the_service_is_ready(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, str(EXAMPLE), str(tmp_path)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [], "loaded only when an event came"
