"""What was said of one event, verdict by verdict, as a service's log has it, and which verdict holds."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from parakh.decisions.definition import Definitions
from parakh.decisions.label_keys import key_parts
from parakh.errors import InputError
from parakh.events.convert import convert, find_path
from parakh.events.decode import hash_id
from parakh.events.labels import LabelSchema
from parakh.events.reasons import Refused
from parakh.events.schema import id_salt
from parakh.expressions.types import BOOLEAN, TIMESTAMP
from parakh.features.reads import key_fields
from parakh.learning.log_past import Reading, tokeniser
from parakh.service.personal.storing import Storing
from parakh.service.versions import Versions
from parakh.streams.entries import EVENTS, LABELS, Events, read_events, read_labels
from parakh.streams.segments import Entry

__all__ = ["Verdict", "said_of"]

_decode = msgspec.json.Decoder(dict[str, Any]).decode
_NO_CLOCK = -(2**62)


@dataclass(slots=True, kw_only=True)
class Verdict:
    """One label as it was given: by whom, when it became known and when it arrived (us UTC), and what became of it.

    `about` is "" for a label about the event itself, else the key whose events it is about. `state` is `holds`,
    `replaced` (by a later one), `overruled` (its source ranks too low), `withdrawn`, `withdrawal` or `too late`.
    """

    label: str
    value: Any
    source: str | None
    known_at_us: int
    arrived_us: int
    about: str = ""
    state: str = "replaced"
    rank: int = 0


def said_of(data: Path, event_type: str, event_id: str) -> list[Verdict]:
    """Every label of an event in the log of a service, in the order in which they acted.

    `data` is its data folder, or a backup's; the service may run. The ranks of sources are those of the version that
    decides. Raises InputError where there is no such event type, or nothing is known of the event, labels included.
    """
    with Reading.of(data) as reading:
        hash = reading.deciding()
        if hash is None:
            raise InputError(f"{data}: no version of a project stands in the log any more")
        tokenise = tokeniser(data)
        definitions = Versions(data / "projects", tokenise).get(hash).original.definitions
        if event_type not in (names := [event.name for event in definitions.events]):
            raise InputError(f"the project has no event type {event_type!r}; there are: {', '.join(names)}")
        looked = _Looking(definitions, event_type, Storing(definitions, tokenise).event_id(event_type, event_id))
        for entry in reading.entries():
            looked.see(entry)
    if not looked.found and not looked.verdicts:
        raise InputError(f"no {event_type} {event_id!r} stands in the log, nor a label of one")
    _weigh(looked.verdicts)
    return looked.verdicts


class _Looking:
    """Looks for an event and for what is said of it, entry by entry."""

    def __init__(self, definitions: Definitions, event_type: str, event_id: str) -> None:
        event = definitions.event_type(event_type)
        self._type, self._id = event_type, event_id
        self._hash = tuple(map(int, hash_id(event_id.encode(), id_salt(event_type))))
        self._schema = LabelSchema(definitions.events, sources=definitions.settings.label_sources)
        self._lateness_us = definitions.settings.lateness_us
        sources = {item.name: item.source or item.name for item in event.fields}
        self._ways = {
            entity.name: [[sources[name] for name in way] for way in key_fields(entity, event)]
            for entity in definitions.entities
        }
        self._booleans = {label.name for label in event.labels if label.type == BOOLEAN}
        self._clock = _NO_CLOCK
        self._waiting: list[tuple[Verdict, int]] = []
        self._body: dict[str, Any] | None = None
        self.verdicts: list[Verdict] = []

    @property
    def found(self) -> bool:
        """Whether the event came."""
        return self._body is not None

    def see(self, entry: Entry) -> None:
        """Look at the next entry of the log."""
        if entry.kind == EVENTS:
            self._see_events(read_events(entry.payload))
        elif entry.kind == LABELS:
            for line in read_labels(entry.payload).lines.splitlines():
                self._see_label(_decode(line), entry.arrived_us)

    def _see_events(self, events: Events) -> None:
        if self._clock == _NO_CLOCK:  # what came before any event begins to wait with the first one
            self._waiting = [(verdict, int(events.times_us[0])) for verdict, _ in self._waiting]
        index = -1 if self.found else events.find(*self._hash)
        if index >= 0:
            before = max(self._clock, int(events.times_us[:index].max(initial=_NO_CLOCK)))
            self._body = _decode(events.body(index))
            for verdict, since in self._waiting:
                if before - since > self._lateness_us:
                    verdict.state = "too late"
            self._waiting.clear()
        self._clock = max(self._clock, int(events.times_us.max(initial=_NO_CLOCK)))

    def _see_label(self, said: dict[str, Any], arrived_us: int) -> None:
        if said.get("event_type") != self._type:
            return
        about = ""
        if said.get("event_id") is not None:
            if str(said["event_id"]) != self._id:
                return
        elif not self.found or not self._carries(said.get("entity"), str(said.get("key"))):
            return
        else:
            about = f"{said['entity']} {said['key']}"
        source = said.get("source")
        known = _known_at(said)
        verdict = Verdict(
            label=str(said.get("label")),
            value=self._value(said),
            source=source,
            known_at_us=arrived_us if known is None else known,
            arrived_us=arrived_us,
            about=about,
            rank=self._schema.rank(source) or 0,
        )
        self.verdicts.append(verdict)
        if not self.found:
            self._waiting.append((verdict, self._clock))

    def _value(self, said: dict[str, Any]) -> Any:
        """What a label says; true and false also where they were written as text."""
        value = said.get("value")
        if said.get("label") in self._booleans and value is not None:
            with contextlib.suppress(Refused):
                return bool(convert(value, BOOLEAN))
        return value

    def _carries(self, entity: object, key: str) -> bool:
        """Whether the event has this key."""
        assert self._body is not None, "labels about keys are about events that came"
        for way in self._ways.get(str(entity), []):
            held = tuple(str(find_path(self._body, name, tuple(name.split(".")))) for name in way)
            if held == key_parts(key, len(way)):
                return True
        return False


def _known_at(said: dict[str, Any]) -> int | None:
    try:
        known = convert(said.get("known_at"), TIMESTAMP)
    except Refused:
        return None
    return int(known) if isinstance(known, int) else None


def _weigh(verdicts: list[Verdict]) -> None:
    """Say of each verdict what became of it, by the rule of `decisions.labelling.holding`."""
    for label in {verdict.label for verdict in verdicts}:
        held: Verdict | None = None
        for verdict in verdicts:
            if verdict.label != label or verdict.state == "too late":
                continue
            if held is not None and verdict.rank < held.rank:
                verdict.state = "overruled"
            elif verdict.value is None:
                verdict.state = "withdrawal"
                if held is not None:
                    held.state = "withdrawn"
                held = None
            else:
                if held is not None:
                    held.state = "replaced"
                verdict.state = "holds"
                held = verdict
