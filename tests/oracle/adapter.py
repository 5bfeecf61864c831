"""The engine behind the oracle's shapes: the same log in, the same answers out, so that the two can be compared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from oracle.log import Entry
from oracle.sources import plain
from parakh.decisions.definition import Definitions
from parakh.expressions.types import Kind

if TYPE_CHECKING:
    from parakh.decisions.decisions import Decisions
    from parakh.expressions.strings import Strings

__all__ = ["decided", "run_engine"]


def run_engine(definitions: Definitions, log: Sequence[Entry], batch_size: int) -> list[dict[str, Any]]:
    """One answer an entry of the log, in its order.

    For an event {"status": accepted | duplicate | conflict | quarantined, "late", "overflow", "features"}, where late
    is False and features is {} unless it is accepted; for a label {"status": "label", "late": False, ...}. The run
    starts at `properties.strategies.STARTED_US`; bodies come from `oracle.sources.as_object`, answers from `decided`.
    """
    raise AssertionError("the engine stands, but this adapter does not feed it yet")


def decided(decisions: Decisions, strings: Strings) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(event type, id, answer) of each decision, in log order; values exact, as the oracle has them."""
    from parakh.decisions.policy import LATE, OVERFLOW

    found: dict[int, tuple[str, str, dict[str, Any]]] = {}
    for part in decisions.parts:
        numbers = part.words.view("float64")
        columns = part.schema.features
        for row, (position, id) in enumerate(zip(part.position.tolist(), part.id_texts(), strict=True)):
            features = {}
            for place, column in enumerate(columns):
                word = int(part.words[place, row])
                text = strings.text(word) if column.type.kind is Kind.STRING and word >= 0 else None
                features[column.name] = plain(word, float(numbers[place, row]), column.type, text)
            flags = int(part.flags[row])
            answer = {
                "status": "accepted",
                "late": bool(flags & LATE),
                "overflow": bool(flags & OVERFLOW),
                "features": features,
            }
            found[position] = (part.schema.event_type, id, answer)
    return (found[position] for position in sorted(found))
