"""`make bench`: the speed of Parakh beside its peers and its targets, in under ten minutes.

    python -m benchmarks.run             # everything; writes benchmarks/results.md
    python -m benchmarks.run --quick     # a tenth of the events or less, to see that it runs; writes nothing
    python -m benchmarks.run --only windows edits

Figures are CPU time of one thread, or of a whole process with its children, so that another program on the machine
takes nothing from them but caches; ratios are taken within the run.
"""

from __future__ import annotations

import argparse
import gc
import os
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import end_to_end, judging, starts, windows
from benchmarks.results import RESULTS, Results, keep_section, machine, say
from benchmarks.workload import EVENTS
from parakh.decisions.warmup import warm_up

__all__ = ["HEADING", "PARTS", "main"]

HEADING = """# Results of the benchmarks

Written by `make bench`, `make bench-service` and `make bench-scale`; the targets are those that Parakh set itself. The
workload stands in `benchmarks/workload.py`: 2 million payments over 14 days, 100,000 cards, 20 % of the events out of
order; 25 features over exact sliding windows, 50 rules, a model of 100 trees.
"""
TITLE = "Speed"
BUSY = 1.0  # load average at the start above which figures will suffer

PARTS: dict[str, Callable[[Results, bool], object]] = {
    "windows": lambda results, quick: windows.compare(results, events=EVENTS // 20 if quick else EVENTS, quick=quick),
    "path": lambda results, quick: end_to_end.measure(results, events=EVENTS // 20 if quick else EVENTS),
    "judging": lambda results, quick: judging.measure(
        results, history=40_960 if quick else judging.HISTORY, seconds=0.05 if quick else 0.6
    ),
    "edits": lambda results, quick: starts.measure_edits(results, edits=2 if quick else 7),
    "processes": lambda results, quick: starts.measure_processes(results, times=1 if quick else 5),
    "compile": lambda results, quick: starts.measure_first_compile(results),
}


def main(arguments: list[str] | None = None) -> Results:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="few events, few repetitions, no first compile")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="some parts, nothing written")
    parser.add_argument("--out", type=Path, help=f"the file to write the section to (default {RESULTS.name})")
    given = parser.parse_args(arguments)
    parts = [name for name in PARTS if name in given.only and not (given.quick and name == "compile")]

    loads = [os.getloadavg()[0]]
    if loads[0] > BUSY:
        say(f"the machine is busy (load average {loads[0]:.1f}): figures will be worse than on an idle one")
    began = time.monotonic()
    say("kernels: compiled, or loaded where they are")
    warm_up()
    results = Results(TITLE, "")
    for number, name in enumerate(parts, 1):
        say(f"-- {number} of {len(parts)}, after {time.monotonic() - began:.0f} s")
        PARTS[name](results, given.quick)
        gc.collect()
        loads.append(os.getloadavg()[0])
    took = f"The run took {(time.monotonic() - began) / 60:.1f} minutes."
    results.intro = f"{machine(loads)}\n{took} Figures are CPU time of one core, ratios within the run."
    markdown = results.markdown()
    print(markdown)
    out = given.out or (RESULTS if len(parts) == len(PARTS) else None)
    if out is not None:
        keep_section(out, markdown, heading=HEADING)
        say(f"wrote {out}")
    return results


if __name__ == "__main__":
    main()
