"""What people wait for: an edited rule, an import, a command, the first compile, the second start of a replay.

Each process is run a few times; the figures are CPU (user and system) of the whole process and its wall time.
"""

from __future__ import annotations

import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from benchmarks.judging import more_rules
from benchmarks.results import Results, Row, Table, say
from benchmarks.windows import PROJECT
from benchmarks.workload import ndjson, workload
from parakh import Project
from parakh.decisions.engine import Engine
from parakh.rules.definition import Rule

__all__ = ["Ran", "measure_edits", "measure_first_compile", "measure_processes", "ran", "with_rules"]

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "card-payments"
SMALL = 1_000  # events of the small file that a replay starts with


@dataclass(frozen=True, slots=True)
class Ran:
    """One run of a process, to its end."""

    cpu_s: float
    wall_s: float
    output: str


def ran(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Ran:
    """Run a process; raises CalledProcessError, with what it said, where it fails."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    done = subprocess.run(command, env={**os.environ, **(environment or {})}, capture_output=True, text=True)
    wall_s = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise subprocess.CalledProcessError(done.returncode, command, done.stdout, done.stderr)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Ran(cpu_s, wall_s, done.stdout)


# -- an edited rule ---------------------------------------------------------------------------------------------------


def measure_edits(results: Results, *, events: int = 20_000, edits: int = 7) -> None:
    """One rule of one file changed, from the file to the decision: reload, check, compile, apply."""
    say("a rule edit, live")
    table = Table("A rule edit, from the file to the engine, milliseconds", ("rules", "CPU", "wall", "reload", "apply"))
    for times in (1, 6):
        with tempfile.TemporaryDirectory() as folder:
            project = with_rules(Path(folder) / "project", times)
            engine = Engine(project, batch_size=64)
            lines = ndjson(workload(events))
            while batch := list(islice(lines, 64)):
                engine.decide_lines("payment", b"".join(batch))
            _edited(engine, -1)  # what is loaded and made once
            found = [_edited(engine, number) for number in range(edits)]
        cpu, wall, reload, apply = (statistics.median(column) for column in zip(*found, strict=True))
        count = len(project.definitions.rules)
        results.add(Row.at_most(f"a rule edit live, {count} rules", cpu, 50, "ms", note=f" CPU ({wall:.0f} wall)"))
        table.rows.append((str(count), *(f"{value:.1f}" for value in (cpu, wall, reload, apply))))
    table.note = "The median of some edits of one rule in a file of 50, with the model of 100 trees in the project."
    results.tables.append(table)


def with_rules(folder: Path, times: int) -> Project:
    """A copy of the workload's project on disk, with its rules so many times: a file of 50 for each."""
    shutil.copytree(PROJECT, folder)
    rules = more_rules(Project.load(PROJECT), times).definitions.rules
    count = len(rules) // times
    for number in range(times):
        name = "thresholds.yaml" if number == 0 else f"thresholds_{number}.yaml"
        text = "---\n".join(_yaml(rule) for rule in rules[number * count : (number + 1) * count])
        (folder / "rules" / name).write_text(text)
    return Project.load(folder)


def _yaml(rule: Rule) -> str:
    return f"rule: {rule.name}\nfor: payment\nwhen: {rule.when}\nthen: {rule.then.word}\nreason: {rule.reason}\n"


def _edited(engine: Engine, number: int) -> tuple[float, float, float, float]:
    """Milliseconds of an edit: CPU, wall, wall of reload and of apply. Says the number in the rule's reason."""
    project = engine.project
    assert isinstance(project, Project)
    assert project.root is not None
    file = project.root / "rules" / "thresholds.yaml"
    text = file.read_text()
    first = text.partition("---\n")[0]
    changed = f"rule: threshold_01\nfor: payment\nwhen: amount >= {number + 2}.5\nthen: challenge\nreason: E{number}\n"
    file.write_text(text.replace(first, changed, 1))
    cpu, wall = time.thread_time(), time.perf_counter()
    again = project.reload()
    reloaded = time.perf_counter()
    engine.apply(again)
    applied, spent = time.perf_counter(), time.thread_time() - cpu
    assert engine.plan.types[0].judge.rules[0].when == f"amount >= {number + 2}.5", "the edit is not live"
    return 1e3 * spent, 1e3 * (applied - wall), 1e3 * (reloaded - wall), 1e3 * (applied - reloaded)


# -- processes --------------------------------------------------------------------------------------------------------


def measure_processes(results: Results, *, times: int = 5) -> None:
    """import parakh, commands that run no kernel, and a replay from start to end on a small file."""
    say("imports and commands")
    table = Table("Processes, seconds", ("process", "CPU", "wall"))
    importing = "import time; a = time.thread_time(); import parakh; print(time.thread_time() - a)"
    bare = _median(lambda: _said(ran([sys.executable, "-c", importing])), times)
    results.add(Row.at_most("import parakh", bare, 0.2, "s"))
    script = Path(sys.executable).with_name("parakh")
    command = [str(script)] if script.exists() else [sys.executable, "-m", "parakh"]
    for words, arguments in {
        "parakh --help": ["--help"],
        "parakh check, the workload (50 rules)": ["check", str(PROJECT)],
        "parakh check, examples/card-payments": ["check", str(EXAMPLE)],
    }.items():
        done = [ran([*command, *arguments]) for _ in range(times)]
        cpu, wall = _both(done)
        results.add(Row.at_most(words, cpu, 0.5, "s", note=f" CPU ({wall:.2f} wall)"))
        table.rows.append((words, f"{cpu:.2f}", f"{wall:.2f}"))
    with tempfile.TemporaryDirectory() as folder:
        file, out = Path(folder) / "payment.ndjson", Path(folder) / "decisions.ndjson"
        file.write_bytes(b"".join(ndjson(workload(SMALL))))
        replay = [*command, "replay", str(PROJECT), "--events", str(file), "--out", str(out)]
        ran(replay)  # the first start, which may compile
        done = [ran(replay) for _ in range(times)]
        assert len(out.read_bytes().splitlines()) == SMALL, "the replay did not decide on every event"
    cpu, wall = _both(done)
    words = f"second start of a replay, {SMALL:,} events to their decisions"
    results.add(Row.at_most(words, cpu, 2, "s", note=f" CPU ({wall:.2f} wall)"))
    table.rows.append((words, f"{cpu:.2f}", f"{wall:.2f}"))
    table.note = f"The median of {times} runs, whole processes."
    results.tables.append(table)


def measure_first_compile(results: Results) -> None:
    """Every kernel compiled from nothing, in a process and a cache of its own."""
    say("the first compile, from nothing (most of a minute)")
    with tempfile.TemporaryDirectory() as folder:
        done = ran(
            [sys.executable, "-c", "from parakh.decisions.warmup import warm_up; warm_up()"],
            {"NUMBA_CACHE_DIR": folder},
        )
        kernels = len(list(Path(folder).rglob("*.nbc")))
    assert kernels, "nothing was compiled"
    results.add(
        Row.at_most("first compile, one core", done.cpu_s, 45, "s",
                    note=f" CPU ({done.wall_s:.0f} wall, {kernels} kernels)")
    )  # fmt: skip


def _both(done: Sequence[Ran]) -> tuple[float, float]:
    return statistics.median(item.cpu_s for item in done), statistics.median(item.wall_s for item in done)


def _median(measured: Callable[[], float], times: int) -> float:
    return statistics.median(measured() for _ in range(times))


def _said(done: Ran) -> float:
    return float(done.output)
