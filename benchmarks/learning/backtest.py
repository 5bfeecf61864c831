"""`parakh backtest` as a whole command: 300 rules over a million events, with labels, timed by the clock.

The project is that of workload W with its 50 rules six times, each time with other thresholds, and its model of 100
trees. Frauds are drawn, likelier on large payments; what is timed does not depend on which they are.

    python -m benchmarks.learning.backtest
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from benchmarks.judging import more_rules
from benchmarks.windows import PROJECT
from benchmarks.workload import Workload, ndjson, workload
from parakh import Project

__all__ = ["EVENTS", "RULES", "TARGET_S", "measure"]

EVENTS = 1_000_000
RULES = 300
TARGET_S = 30.0
_FRAUD_SHARE = 0.005


def measure(events: int = EVENTS) -> float:
    """Seconds that the whole command takes; one line of what was measured is printed."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_project(root / "project")
        stream = workload(events)
        with (root / "payment.ndjson").open("wb") as file:
            file.writelines(ndjson(stream))
        with (root / "labels.ndjson").open("w", encoding="utf-8") as file:
            file.writelines(labels(stream))
        command = [
            *(sys.executable, "-m", "parakh", "backtest", str(root / "project")),
            *("--events", f"payment={root / 'payment.ndjson'}", "--labels", str(root / "labels.ndjson")),
            *("--maturity", "1d", "--segment", "country", "--json", "--out", str(root / "report.html")),
        ]
        began = time.perf_counter()
        before = os.times()
        done = subprocess.run(command, check=True, capture_output=True)
        seconds, after = time.perf_counter() - began, os.times()
        found = json.loads(done.stdout)
    cpu_s = after.children_user + after.children_system - before.children_user - before.children_system
    rules, total = len(found["rules"]), found["total"]["all"]
    sys.stdout.write(
        f"back-test of {rules} rules over {total['events']:,} events, {total['frauds']:,} frauds: {seconds:.1f} s "
        f"({cpu_s:.1f} s of CPU), {events / seconds:,.0f} events/s; target {TARGET_S:g} s "
        f"{'met' if seconds <= TARGET_S else 'MISSED'}\n"
    )
    return seconds


def write_project(folder: Path) -> None:
    """The workload's project with 300 rules and a label."""
    shutil.copytree(PROJECT, folder)
    event = folder / "events" / "payment.yaml"
    event.write_text(event.read_text(encoding="utf-8") + "labels:\n  fraud: boolean\n", encoding="utf-8")
    rules = more_rules(Project.load(PROJECT), RULES // len(Project.load(PROJECT).definitions.rules)).definitions.rules
    texts = [f"rule: {r.name}\nfor: payment\nwhen: {r.when}\nthen: {r.then.word}\nreason: {r.reason}\n" for r in rules]
    for path in (folder / "rules").iterdir():
        path.unlink()
    (folder / "rules" / "rules.yaml").write_text("---\n".join(texts), encoding="utf-8")


def labels(stream: Workload) -> Iterator[str]:
    """Frauds as lines of a file of labels, each known half a day after its payment."""
    random = np.random.default_rng(11)
    odd = random.random(len(stream)) * (1 + (stream.amount_minor > np.quantile(stream.amount_minor, 0.95)))
    rows = np.flatnonzero(odd > np.quantile(odd, 1 - _FRAUD_SHARE))
    known = sorted((int(stream.time_us[row]) + 43_200_000_000, row) for row in rows.tolist())
    for at_us, row in known:
        at = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=at_us)
        label = {"event_type": "payment", "event_id": f"pay-{row:07d}", "label": "fraud", "value": True}
        yield json.dumps(label | {"known_at": at.isoformat(), "source": "chargeback"}) + "\n"


if __name__ == "__main__":
    sys.exit(measure() > TARGET_S)
