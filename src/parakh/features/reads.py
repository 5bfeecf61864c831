"""Which features an event type can read, by which name, and through which of its fields.

A feature is read through the reading event's field (`payer.sent_1d`); where one field alone carries the entity, the
entity's own name serves too (`card.payments_10m`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from parakh.events.definition import EventType
from parakh.features.definition import Entity, Feature

__all__ = ["Read", "key_fields", "readable"]


@dataclass(frozen=True, slots=True)
class Read:
    """A feature as one event type reads it: its column's name, other names for it, and the fields that give the key."""

    name: str
    aliases: tuple[str, ...]
    feature: Feature
    key: tuple[str, ...]


def key_fields(entity: Entity, event_type: EventType, by: tuple[str, ...] | None = None) -> tuple[tuple[str, ...], ...]:
    """Every way in which an event type carries an entity's key: tuples of field names, one field a part of the key.

    With `by` the fields are given. A part of a joined key is the field of that name or else the one field that carries
    the entity of that name; a single key may be carried by several fields, each a role of its own.
    """
    # What the service added to an event (its source begins with ~) is no key, as it was none in the definition.
    names = {item.name for item in event_type.fields if not (item.source or "").startswith("~")}
    if by is not None:
        return (by,) if set(by) <= names and len(by) == len(entity.parts) else ()
    if not entity.key or len(entity.key) == 1:
        part = entity.parts[0]
        carrying = event_type.carrying(entity.name) or event_type.carrying(part)
        if carrying:
            return tuple((item.name,) for item in carrying)
        return ((part,),) if entity.key and part in names else ()
    joined = []
    for part in entity.key:
        carrying = event_type.carrying(part)
        if part in names:
            joined.append(part)
        elif len(carrying) == 1:
            joined.append(carrying[0].name)
        else:
            return ()
    return (tuple(joined),)


def readable(entities: Iterable[Entity], event_type: EventType) -> tuple[Read, ...]:
    """The features that an event type can read, in the project's order, each once a role."""
    reads = []
    for entity in entities:
        roles = key_fields(entity, event_type)
        for role in roles:
            for feature in entity.columns():
                through = f"{role[0]}.{feature.name}" if len(role) == 1 else feature.full_name
                if len(roles) == 1:
                    aliases = (through,) if through != feature.full_name else ()
                    reads.append(Read(feature.full_name, aliases, feature, role))
                else:
                    reads.append(Read(through, (), feature, role))
    return tuple(reads)
