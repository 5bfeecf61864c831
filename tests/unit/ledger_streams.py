"""A log for the ledger's tests, and the plain scan that says what a page has to hold."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import numpy as np

from parakh.decisions.definition import Definitions, Settings
from parakh.decisions.record import Record, read_record
from parakh.events.definition import EventType, Field
from parakh.expressions.types import INTEGER, STRING, TIMESTAMP, money
from parakh.features.definition import Entity
from parakh.service.ledger import Ledger, LedgerFilter
from parakh.streams.entries import EVENTS, LABELS, UNDECIDED, Events, Labels, lengths_of
from parakh.streams.log import EmbeddedLog

SECOND = 1_000_000
START = 1_767_225_600 * SECOND
FLAGS = {"late": 2, "degraded": 4, "overflow": 1}
HOSTILE = (
    "", " ", "'; DROP TABLE decisions; --", "card:k1", "%", "_", "*", "a,b", '["k1","d1"]', '["k1"]', "[", "\0", "k1\0",
    "K1", "\N{SNOWMAN}", "\N{LATIN SMALL LETTER E WITH ACUTE}", "e\N{COMBINING ACUTE ACCENT}", "7", "007", "7.0",
    "true", "2026-01-01", "\N{RIGHT-TO-LEFT OVERRIDE}x", "x" * 3_000, "../../etc/passwd", "{}", "None", "nan",
)  # fmt: skip


def definitions() -> Definitions:
    payment = EventType(
        name="payment",
        id="payment_id",
        time="paid_at",
        fields=(
            Field(name="payment_id", type=STRING),
            Field(name="paid_at", type=TIMESTAMP),
            Field(name="card", type=STRING, entity="card", source="CARD"),
            Field(name="device", type=STRING, entity="device"),
            Field(name="shop", type=INTEGER, entity="shop"),
            Field(name="price", type=money("USD"), entity="price"),
        ),
    )
    transfer = EventType(
        name="transfer",
        id="transfer_id",
        time="at",
        fields=(
            Field(name="transfer_id", type=INTEGER),
            Field(name="at", type=TIMESTAMP),
            Field(name="payer", type=STRING, entity="account", source="from.account"),
            Field(name="payee", type=STRING, entity="account", source="to.account"),
            Field(name="device", type=STRING, entity="device"),
        ),
    )
    entities = (Entity(name="card"), Entity(name="card_device", key=("card", "device")), Entity(name="account"))
    return Definitions(settings=Settings(name="shop"), events=(payment, transfer), entities=entities)


@dataclass(frozen=True)
class Told:
    """One event as it went into the log, in plain Python."""

    place: tuple[int, int]
    id: str
    type: str
    body: dict[str, Any]
    time: int
    arrived: int
    outcome: int
    score: float | None
    hits: tuple[str, ...]
    shadow: tuple[str, ...]
    flags: int


def carried(event: Told) -> list[tuple[str, tuple[object, ...]]]:
    """Every key that an event carries, by hand."""
    body = event.body
    if event.type == "payment":
        card, device = as_text(body.get("CARD")), as_text(body.get("device"))
        found: list[tuple[str, tuple[object, ...]]] = [
            ("card", (card,)), ("device", (device,)), ("shop", (body.get("shop"),)), ("price", (body.get("price"),)),
            ("card_device", (card, device)),
        ]  # fmt: skip
    else:
        found = [
            ("account", (as_text((body.get("from") or {}).get("account")),)),
            ("account", (as_text((body.get("to") or {}).get("account")),)),
            ("device", (as_text(body.get("device")),)),
        ]
    return [(name, key) for name, key in found if None not in key]


def as_text(value: object) -> object:
    return str(int(value)) if isinstance(value, int | float) else value


def same_key(entity: str, key: tuple[object, ...], given: tuple[str, ...]) -> bool:
    if entity in ("shop", "price"):
        try:
            number = float(given[0])
        except ValueError:
            return False
        return len(given) == 1 and given[0].strip() == given[0] and "_" not in given[0] and number == key[0]
    return key == given


def scan(events: Sequence[Told], asked: LedgerFilter) -> list[Told]:
    """What fits, the newest first, written down from what each parameter means."""
    found = []
    for event in reversed(events):
        time = event.time if asked.by_event_time else event.arrived
        fits = [
            asked.event_type in (None, event.type),
            not asked.outcomes or event.outcome in asked.outcomes,
            asked.decided is None or asked.decided == (event.outcome >= 0),
            asked.since_us is None or time >= asked.since_us,
            asked.until_us is None or time < asked.until_us,
            asked.rule is None or asked.rule in event.hits + event.shadow,
            asked.flag is None or bool(event.flags & FLAGS[asked.flag]),
            asked.min_score is None or (event.score is not None and event.score >= asked.min_score),
            asked.entity is None
            or any(name == asked.entity[0] and same_key(name, key, asked.entity[1]) for name, key in carried(event)),
        ]
        if all(fits):
            found.append(event)
    return found


CARDS = ("k1", "k2", "k3", 7, 7.0, 12345678901234567, "\N{SNOWMAN}", "caf\u00e9", *HOSTILE)
RULES = ("big", "spree", "a,b", "'; --", "\N{SNOWMAN}", "x" * 200)


@dataclass(repr=False)
class Story:
    """A log being written, and everything that is in it."""

    log: EmbeddedLog
    random: Random
    events: list[Told] = field(default_factory=list)
    arrived: int = START
    number: int = 0

    def write(self, count: int) -> None:
        """Some more batches of events, labels in between."""
        position = 0
        for _ in range(count):
            self.arrived += self.random.randrange(3 * SECOND)
            if self.random.random() < 0.1:
                labels = Labels("v1", b"{}\n", 1)
                position = self.log.append(LABELS, labels.encode(), arrived_us=self.arrived)
            else:
                position = self._batch(self.random.choice((1, 1, 2, 5)))
        self.log.wait(position)

    def _batch(self, size: int) -> int:
        at = self.log.end
        told = [self._event((at, index)) for index in range(size)]
        types = ("payment", "transfer")
        bodies = [self._json(event.body) for event in told]
        records = [b"" if event.outcome == UNDECIDED else msgspec.msgpack.encode(record(event)) for event in told]
        ids = [identity(event) for event in told]
        entry = Events(
            project=self.random.choice(("v1", "v2")),
            types=types,
            unanswered=(),
            kinds=np.array([types.index(event.type) for event in told], np.uint8),
            id_hi=np.array([int.from_bytes(id[:8], "big") for id in ids], np.uint64),
            id_lo=np.array([int.from_bytes(id[8:], "big") for id in ids], np.uint64),
            times_us=np.array([event.time for event in told], np.int64),
            outcomes=np.array([event.outcome for event in told], np.int8),
            body_lengths=lengths_of(bodies),
            record_lengths=lengths_of(records),
            bodies=b"".join(bodies),
            records=b"".join(records),
        )
        self.events += told
        return self.log.append(EVENTS, entry.encode(), arrived_us=self.arrived)

    def _json(self, body: dict[str, Any]) -> bytes:
        return json.dumps(body, ensure_ascii=self.random.random() < 0.5).encode()

    def _event(self, place: tuple[int, int]) -> Told:
        random = self.random
        self.number += 1
        kind = random.choice(("payment", "payment", "transfer"))
        id = str(self.number)
        time = self.arrived - random.randrange(100 * SECOND)
        card, device = random.choice(CARDS), random.choice(("d1", "d2", None, 5))
        if kind == "payment":
            body: dict[str, Any] = {"payment_id": f"p{id}", "CARD": card, "shop": random.randrange(4), "price": 12.5}
            id = f"p{id}"
        else:
            body = {"transfer_id": self.number, "from": {"account": card}, "to": {"account": random.choice(CARDS)}}
            if random.random() < 0.2:
                body["to"] = None
        if device is not None or random.random() < 0.5:
            body["device"] = device
        decided = random.random() < 0.7
        return Told(
            place=place,
            id=id,
            type=kind,
            body=body,
            time=time,
            arrived=self.arrived,
            outcome=random.randrange(4) if decided else UNDECIDED,
            score=random.choice((None, 0.0, 0.25, 0.5, random.random())) if decided else None,
            hits=tuple(random.sample(RULES[:4], random.randrange(3))) if decided else (),
            shadow=tuple(random.sample(RULES[4:], random.randrange(2))) if decided else (),
            flags=random.choice((0, 0, 1, 2, 4, 6)) if decided else 0,
        )


def identity(event: Told) -> bytes:
    return event.place[0].to_bytes(8, "big") + event.place[1].to_bytes(8, "big")


def record(event: Told) -> Record:
    return Record(
        decision_id=identity(event), event_type=event.type, event_id=event.id, event_time_us=event.time,
        decided_at_us=event.arrived, outcome=event.outcome, score=event.score, decided_by=("otherwise", "allow"),
        reasons=(), hits=event.hits, unknown=("never",), shadow_hits=event.shadow, shadow_scores=(0.5, None),
        features=bytes(16), texts=("text", None), project="v1", models=(("m", "d"),), flags=event.flags,
    )  # fmt: skip


def answer(data: bytes) -> bytes:
    read = read_record(data)
    return msgspec.json.encode({"decision_id": read.decision_id.hex(), "event_id": read.event_id})


def ledger_of(
    folder: Path, log: Any, *, block_rows: int = 40, knows: Callable[[str], Definitions] | None = None
) -> Ledger:
    found = definitions()
    return Ledger(folder / "index", log, knows or (lambda _: found), answer, block_rows=block_rows, slice_bytes=4_096)


def shown(items: Sequence[bytes]) -> list[tuple[str, str]]:
    """(decision id, event id) of each item of a page."""
    read = [msgspec.json.decode(item) for item in items]
    return [(item["decision_id"], item["event_id"]) for item in read]


def expected(events: Sequence[Told]) -> list[tuple[str, str]]:
    return [(identity(event).hex(), event.id) for event in events]
