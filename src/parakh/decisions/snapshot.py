"""An engine's state as arrays and facts: what a snapshot keeps, and an engine that goes on from it.

The arrays are views, good until the engine takes its next batch. Codes of strings are part of the state, so that the
dictionary goes with the windows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from parakh.decisions.definition import ProjectLike
from parakh.decisions.engine import Engine
from parakh.events.ids import IdIndex
from parakh.expressions.strings import Strings

__all__ = ["engine_arrays", "engine_facts", "restored_engine"]

Arrays = dict[str, NDArray[Any]]


def engine_arrays(engine: Engine) -> Arrays:
    """All arrays of an engine's state, by name."""
    groups: dict[str, Arrays] = {
        "strings": engine.strings.arrays(),
        "ids": engine.ids.arrays(),
        "state": engine.state.arrays(),
        "labelling": engine.labelling.arrays(),
    }
    return {f"{group}/{name}": array for group, arrays in groups.items() for name, array in arrays.items()}


def engine_facts(engine: Engine) -> dict[str, Any]:
    """What of an engine's state is no array; plain values."""
    return {
        "admission": engine.admission.facts(),
        "applied": engine.labelling.applied,
        "given_up": engine.labelling.given_up,
        "ordinals": {name: plan.decoder.ordinal for name, plan in engine.plan.by_name.items()},
    }


def restored_engine(
    project: ProjectLike, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any], *, batch_size: int, live: bool
) -> Engine:
    """An engine of the same events and features that goes on where the snapshot's stopped."""
    groups: dict[str, Arrays] = {}
    for name, array in arrays.items():
        group, _, rest = name.partition("/")
        groups.setdefault(group, {})[rest] = array
    engine = Engine(project, batch_size=batch_size, live=live, strings=Strings.from_arrays(groups["strings"]))
    engine.state.restore(groups["state"])
    engine.admission.restore(facts["admission"], IdIndex.from_arrays(groups["ids"]))
    engine.labelling.restore(groups["labelling"], applied=facts["applied"], given_up=facts["given_up"])
    for name, rows in facts["ordinals"].items():
        engine.plan.by_name[name].decoder.ordinal = rows
    engine.make_room()
    return engine
