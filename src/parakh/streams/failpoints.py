"""Named places where a test may stop the process, so that every step of a write is tried with a crash before and after.

PARAKH_FAILPOINT=NAME[:COUNT[:ACTION]] makes the COUNT-th arrival at NAME (the first, unless said) kill the process as
`kill -9` does, or with ACTION `eio` or `enospc` raise what a failing disk raises: a full one three times in a row, as
it stays full for a while. Unset, a failpoint is one comparison.
"""

from __future__ import annotations

import errno
import os
import signal

__all__ = ["FAILPOINTS", "reach"]

FAILPOINTS = (
    "log.before_write",
    "log.written",
    "log.segment_sealed",
    "log.segment_made",
    "log.trimmed",
    "desk.decided",
    "desk.before_answer",
    "snapshot.begun",
    "snapshot.half",
    "snapshot.written",
    "snapshot.renamed",
    "snapshot.old_removed",
    "versions.built",
    "versions.switched",
    "outbox.stored",
    "outbox.delivered",
)
"""Every failpoint in the code."""

_ERRORS = {"eio": (errno.EIO, 1), "enospc": (errno.ENOSPC, 3)}


class _Armed:
    def __init__(self, setting: str) -> None:
        name, _, rest = setting.partition(":")
        count, _, action = rest.partition(":")
        if name and name not in FAILPOINTS:
            raise ValueError(f"PARAKH_FAILPOINT: there is no failpoint {name!r}; there are {', '.join(FAILPOINTS)}")
        self.name = name
        self.left = int(count or 1)
        self.action = action or "kill"


_armed = _Armed(os.environ.get("PARAKH_FAILPOINT", ""))


def reach(name: str) -> None:
    """Say that the process is at this place; it goes on unless a test armed it."""
    if _armed.name != name:
        return
    _armed.left -= 1
    code, times = _ERRORS.get(_armed.action, (0, 1))
    if -times < _armed.left <= 0:
        if code:
            raise OSError(code, os.strerror(code))
        os.kill(os.getpid(), signal.SIGKILL)
