"""The engine behind the oracle's shapes: the same log in, the same answers out, so that the two can be compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from oracle.log import Entry
from parakh.decisions.definition import Definitions

__all__ = ["run_engine"]


def run_engine(definitions: Definitions, log: Sequence[Entry], batch_size: int) -> list[dict[str, Any]]:
    raise AssertionError((definitions, log, batch_size))
