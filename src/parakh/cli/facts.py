"""What is known of events beside their decisions, read from the same files: amounts, whose they are, and the labels.

Read once before a comparison or the demo; the engine does not see it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from numpy.typing import NDArray

from parakh.cli.verdicts import Facts
from parakh.decisions.definition import Definitions
from parakh.events.decode import Decoder, hash_id, lay_out
from parakh.events.definition import EventType
from parakh.events.ids import NEW, IdIndex
from parakh.events.labels import LabelRows, LabelSchema, read_labels
from parakh.events.quarantine import Quarantine
from parakh.events.schema import id_salt
from parakh.events.sources import Columns, open_source
from parakh.expressions.columns import Layout
from parakh.expressions.strings import Strings
from parakh.expressions.types import NULL_WORD, Kind

if TYPE_CHECKING:
    from parakh.decisions.replay import Source
    from parakh.project.project import Project

__all__ = ["facts_of_simulation", "read_facts"]

_ROWS = 8_192


def read_facts(project: Project, sources: Sequence[Source], labels: str | None) -> dict[str, Facts]:
    """What is known of the events of every type that is decided on, by type.

    The amount is the first money field in the project's currency, the person the first field that carries an entity,
    and fraud the first yes-or-no label as it stood in the end: of the highest-ranked source, the latest. Raises
    InputError.
    """
    definitions = project.definitions
    strings = Strings()
    rows = LabelRows.empty()
    schema = LabelSchema(
        definitions.events, tuple(item.name for item in definitions.entities), definitions.settings.label_sources
    )
    if labels is not None:
        rows = read_labels(labels, schema, strings, Quarantine(None))
    decided = _decided_types(definitions)
    found = {}
    for number, event in enumerate(definitions.events):
        paths = [source.path for source in sources if source.event_type in (event.name, None)]
        if event.name in decided and paths:
            mine = rows.take(rows.event_type == number)
            found[event.name] = _Reader(event, definitions, strings, schema).read(paths, mine)
    return found


def _decided_types(definitions: Definitions) -> set[str]:
    ruled = {name for rule in definitions.rules for name in rule.event_types}
    return ruled | {policy.event_type for policy in definitions.policies}


class _Reader:
    """Reads the events of one type for their facts."""

    def __init__(self, event: EventType, definitions: Definitions, strings: Strings, schema: LabelSchema) -> None:
        self._event = event
        self._currency = definitions.settings.currency
        self._layout = Layout()
        self._schema = schema
        money = [item for item in event.fields if item.type.kind is Kind.MONEY]
        self._money = next((item.name for item in money if item.type.currency == self._currency), None)
        self._person = next((item.name for item in event.fields if item.entity), None)
        self._carriers = [item for item in event.fields if item.entity]
        wanted = {name for name in (self._money, self._person) if name} | {item.name for item in self._carriers}
        lay_out(event, self._layout, wanted | {event.id, event.time})
        self._decoder = Decoder(event, self._layout, strings, earliest_us=definitions.settings.earliest_us)
        self._flag = next((item.name for item in event.labels if item.type.kind is Kind.BOOLEAN), None)
        self._label_numbers = {item.name: number for number, item in enumerate(event.labels)}

    def read(self, paths: Sequence[str], labels: LabelRows) -> Facts:
        ids = IdIndex()
        amount: list[NDArray[np.int64]] = []
        keys: list[NDArray[np.int64]] = []
        hashes: list[NDArray[np.uint64]] = []
        flags: list[NDArray[np.int64]] = []
        words = np.empty((max(1, self._layout.width), _ROWS), np.int64)
        for chunk in open_source(list(paths), Columns.of(self._event)):
            for start in range(0, chunk.count, _ROWS):
                stop = min(start + _ROWS, chunk.count)
                decoded = chunk.decode(self._decoder, start, stop, words, 0)
                status, held = np.empty(decoded.count, np.uint8), np.empty(decoded.count, np.int64)
                ids.admit(decoded.id_hi, decoded.id_lo, decoded.digest, decoded.problem == 0, status, held)
                new = np.flatnonzero(status == NEW)
                amount.append(self._column(self._money, words, new))
                keys.append(np.stack([self._column(item.name, words, new) for item in self._carriers], axis=1)
                            if self._carriers else np.full((new.size, 1), NULL_WORD))  # fmt: skip
                hashes.append(np.stack([decoded.id_hi[new], decoded.id_lo[new]], axis=1))
                unlabelled = np.full(new.size, NULL_WORD, np.int64)
                flags.append(decoded.labels[self._flag][new] if self._flag in decoded.labels else unlabelled)
        key = np.concatenate(keys) if keys else np.empty((0, 1), np.int64)
        person = _dense(key[:, self._place(self._person)]) if self._person else np.full(key.shape[0], -1)
        flag = np.concatenate(flags) if flags else np.empty(0, np.int64)
        self._apply(labels, ids, key, flag)
        sums = np.concatenate(amount) if amount else np.empty(0, np.int64)
        return Facts(
            event_type=self._event.name,
            currency=self._currency,
            ids=ids,
            amount=np.where(sums == NULL_WORD, 0, sums),
            person=person,
            fraud=np.where(flag == NULL_WORD, -1, flag != 0).astype(np.int8),
            kind=np.full(flag.size, -1, np.int16),
            hashes=np.concatenate(hashes) if hashes else np.empty((0, 2), np.uint64),
        )

    def _place(self, name: str) -> int:
        return next(number for number, item in enumerate(self._carriers) if item.name == name)

    def _column(self, name: str | None, words: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.int64]:
        if name is None:
            return np.full(rows.size, NULL_WORD, np.int64)
        found: NDArray[np.int64] = words[self._layout[name].slot, rows]
        return found

    def _apply(self, labels: LabelRows, ids: IdIndex, keys: NDArray[np.int64], flag: NDArray[np.int64]) -> None:
        """Put the labels on their events in the order in which they became known."""
        if self._flag is None:
            return
        mine = labels.take(labels.label == self._label_numbers[self._flag])
        rank = np.full(flag.size, -1, np.int64)
        rows = ids.find(mine.id_hi, mine.id_lo)
        for i in range(mine.count):
            if mine.entity[i] >= 0:
                entity = self._schema.entities[mine.entity[i]]
                places = [number for number, item in enumerate(self._carriers) if item.entity == entity]
                which = np.flatnonzero((keys[:, places] == mine.key[i]).any(axis=1))
            else:
                which = rows[i : i + 1][rows[i : i + 1] >= 0]
            which = which[mine.rank[i] >= rank[which]]
            flag[which] = mine.value[i]
            rank[which] = mine.rank[i] if mine.value[i] != NULL_WORD else -1


def _dense(codes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Codes as numbers from 0, -1 for NULL."""
    known = codes != NULL_WORD
    person = np.full(codes.size, -1, np.int64)
    person[known] = np.unique(codes[known], return_inverse=True)[1]
    return person


class _Truth(msgspec.Struct):
    """A line of a simulation's truth."""

    event_type: str
    event_id: str
    fraud: bool
    kind: str


def facts_of_simulation(project: Project, sources: Sequence[Source], truth: Path) -> dict[str, Facts]:
    """The facts of simulated events, with the whole truth in place of labels: what was fraud, and of which kind."""
    facts = read_facts(project, sources, None)
    decoder = msgspec.json.Decoder(_Truth)
    told: dict[str, list[_Truth]] = {name: [] for name in facts}
    with truth.open("rb") as lines:
        for line in lines:
            item = decoder.decode(line)
            if item.event_type in told:
                told[item.event_type].append(item)
    return {name: _with_truth(facts[name], told[name]) for name in facts}


def _with_truth(facts: Facts, told: Sequence[_Truth]) -> Facts:
    kinds = tuple(sorted({item.kind for item in told if item.fraud}))
    number: Mapping[str, int] = {name: place for place, name in enumerate(kinds)}
    salt = id_salt(facts.event_type)
    hashes = [hash_id(item.event_id.encode(), salt) for item in told]
    rows = facts.ids.find(
        np.array([high for high, _ in hashes], np.uint64), np.array([low for _, low in hashes], np.uint64)
    )
    fraud, kind = facts.fraud.copy(), facts.kind.copy()
    for item, row in zip(told, rows):
        if row >= 0:
            fraud[row] = item.fraud
            kind[row] = number[item.kind] if item.fraud else -1
    return replace(facts, fraud=fraud, kind=kind, kinds=kinds)
