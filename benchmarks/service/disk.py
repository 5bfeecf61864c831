"""What the disk needs to make one small record durable: the floor of every latency of a durable answer.

It is a property of the machine, and on a shared one of the minute; so it stands beside the figures.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np

__all__ = ["sync_ms"]

_RECORD = 800  # bytes: an event with its decision
_TIMES = 500


def sync_ms(folder: Path, *, times: int = _TIMES) -> tuple[float, float]:
    """Milliseconds of a write and fdatasync of a record into a file made beforehand: p50 and p99."""
    path = folder / "sync.probe"
    file = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        os.pwrite(file, bytes(times * _RECORD), 0)
        os.fsync(file)
        took = []
        for number in range(times):
            began = time.perf_counter()
            os.pwrite(file, b"x" * _RECORD, number * _RECORD)
            os.fdatasync(file)
            took.append(1e3 * (time.perf_counter() - began))
        p50, p99 = np.percentile(took, (50, 99))
        return float(p50), float(p99)
    finally:
        os.close(file)
        path.unlink()
