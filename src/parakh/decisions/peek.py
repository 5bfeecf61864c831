"""What is known of one entity now: its features as an event would see them that carries its key and counts nowhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from parakh.decisions.engine import Engine
from parakh.decisions.record import value_of
from parakh.errors import InputError
from parakh.events.convert import convert
from parakh.events.reasons import Refused
from parakh.expressions.strings import Strings
from parakh.expressions.types import NULL_WORD, Type
from parakh.features.peek import peek_row
from parakh.features.reads import key_fields, readable

__all__ = ["peek"]


def peek(engine: Engine, entity: str, key: Sequence[str], now_us: int) -> dict[str, Any]:
    """The features of a key by their full names, at `now_us` or the engine's clock, whichever is later.

    Values are as decisions show them: money in major units, None for NULL. `key` has one text a part, in the form that
    the log has it (a token where the field is tokenised). A key that was never seen has counts of 0 and None. Features
    of an entity that no event type carries are read by nobody: there are none. The engine is left as it was; call it
    between batches. Raises InputError where there is no such entity, or the key is none of it.
    """
    intake = engine.plan.intake
    found = next((item for item in intake.entities if item.name == entity), None)
    if found is None:
        raise InputError("the project has no entity of that name")
    if len(key) != len(found.parts):
        raise InputError(f"the key of {found.name} has {len(found.parts)} parts ({', '.join(found.parts)})")
    ways = [(index, role) for index, event in enumerate(intake.events) for role in key_fields(found, event)]
    if not ways or not found.features:
        return {}
    index, role = ways[0]
    event = intake.events[index]
    layout = intake.layouts[event.name]
    words = np.full((layout.width, 1), NULL_WORD, np.int64)
    for name, text in zip(role, key, strict=True):
        column = layout[name]
        words[column.slot] = _word(text, column.type, engine.strings, name)
    reads = [read for read in readable((found,), event) if read.key == role]
    if engine.full is not None:
        return {read.feature.full_name: None for read in reads}
    peek_row(engine.state, index, words, max(engine.state.clock_us, now_us))
    return {
        read.feature.full_name: value_of(int(words[layout[read.name].slot, 0]), layout[read.name].type, engine.strings)
        for read in reads
    }


def _word(text: str, type: Type, strings: Strings, field: str) -> int:
    """A part of a key as a frame holds it; for a text that was never seen a code that nothing has."""
    try:
        value = convert(text, type)
    except Refused as refused:
        raise InputError(f"the key's part {field} is {type.described}: {refused.reason.text}") from None
    if isinstance(value, str):
        return strings.find(value)
    assert isinstance(value, int), "numbers with a fraction are no keys"
    return value
