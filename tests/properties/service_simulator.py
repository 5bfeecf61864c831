"""The live service in one process, on a log in memory and a clock of its own, driven at random and held to it.

What is simulated is what `open_service` puts together, without HTTP and without processes beside it: the desk and its
queue, changes, snapshots, trims, crashes that lose what was not yet durable, and starts. The oracle keeps what callers
were told, and replays the log naively for which ids are held and where.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from parakh.decisions.engine import Engine
from parakh.events.decode import hash_id
from parakh.events.schema import id_salt
from parakh.project.project import Project
from parakh.service import recovery, snapshots
from parakh.service.answers import REPLAYED, Answer
from parakh.service.changes import Changes
from parakh.service.desk import Desk, Item, Lines
from parakh.service.entry_index import EntryIndex
from parakh.service.personal.plain import Joined
from parakh.service.problems import Problem
from parakh.service.queue import DeskQueue
from parakh.service.snapshots import VersionEntry
from parakh.service.state import StateBuilder
from parakh.service.upkeep import cut
from parakh.service.verify import verify_decisions
from parakh.service.versions import LiveProject, Versions
from parakh.streams.entries import (
    EVENTS,
    PROJECT,
    TRIM,
    Events,
    ProjectVersion,
    read_events,
    read_trim,
)
from parakh.streams.segments import Entry, frame, read_frame

__all__ = ["Simulation", "simulate", "versions_in"]

MINUTE_US = 60_000_000
HOUR_US = 60 * MINUTE_US
KEEP_US = 12 * HOUR_US
_BEGAN_US = 1_767_225_600_000_000
_CARDS, _TERMINALS, _IDS = 3, 2, 80

_BASE = {
    "parakh.toml": 'name = "shop"\ncurrency = "INR"\nlateness = "1h"\nhorizon = "8h"\n',
    "events/payment.yaml": "event: payment\nid: payment_id\ntime: at\nfields:\n  payment_id: string\n  at: timestamp\n"
    "  card: {type: string, entity: card}\n  terminal: {type: string, entity: terminal}\n"
    "  amount: {type: money, currency: INR}\nlabels:\n  fraud: {type: boolean}\n",
    "events/login.yaml": "event: login\nid: login_id\ntime: at\nfields:\n  login_id: string\n  at: timestamp\n"
    "  card: {type: string, entity: card}\n",
    "features/card.yaml": "entity: card\nfeatures:\n  payments: {from: payment, aggregate: count(*), over: [20m, 2h]}\n"
    "  spent: {from: payment, aggregate: sum(amount), over: 6h}\n"
    "  terminals: {from: payment, aggregate: count(distinct terminal), over: 2h}\n"
    "  logins: {from: login, aggregate: count(*), over: 2h}\n"
    "  frauds: {from: payment, aggregate: count(*), where: fraud, over: 6h}\n",
    "features/terminal.yaml": "entity: terminal\nfeatures:\n"
    "  frauds: {from: payment, aggregate: count(*), where: fraud, over: 6h}\n",
    "rules/r.yaml": "rule: many\nfor: payment\nwhen: card.payments_20m >= 3\nthen: block\nreason: R1\n---\n"
    "rule: bad\nfor: payment\nwhen: terminal.frauds_6h >= 1\nthen: review\nreason: R2\n",
    "policies/payment.yaml": "policy: payment\nfor: payment\notherwise: allow\n",
}
_RULES = {"rules/r.yaml": _BASE["rules/r.yaml"].replace(">= 3", ">= 2").replace("review", "challenge")}
_WINDOWS = {
    "features/card.yaml": _BASE["features/card.yaml"] + "  most: {from: payment, aggregate: max(amount), over: 4h}\n"
}
_LESS = {
    "features/card.yaml": "entity: card\nfeatures:\n  payments: {from: payment, aggregate: count(*), over: [20m, 3h]}\n"
}


def versions_in(folder: Path) -> list[Project]:
    """Versions of a small project: two that keep the windows of one another, two that do not."""
    projects = []
    for number, change in enumerate(({}, _RULES, _WINDOWS, _LESS)):
        for name, content in {**_BASE, **change}.items():
            path = folder / str(number) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        projects.append(Project.load(folder / str(number)))
    return projects


class MemoryLog:
    """A log without a disk: what was appended after `durable` is gone at a crash. Read as `LogReader` is, too.

    As the log does, `append` itself writes what nothing waits before, where `is_own` says so.
    """

    def __init__(self, is_own: Callable[[], bool] = lambda: False) -> None:
        self._is_own = is_own
        self.own_s = 0.0
        self.entries: list[Entry] = []
        self.first = 0
        self.end = 0
        self.durable = 0
        self.failed = None

    @property
    def starts(self) -> tuple[int, ...]:
        return (self.first,)

    def append(self, kind: int, payload: bytes, *, arrived_us: int) -> int:
        data = frame(kind, payload, position=self.end, durable=self.durable, arrived_us=arrived_us)
        entry = read_frame(memoryview(data), 0, self.end)
        if entry is None:  # it stands at its own position
            entry = Entry(self.end, self.end + len(data), kind, arrived_us, self.durable, memoryview(payload))
        self.entries.append(entry)
        if self.durable == self.end and self._is_own():
            self.durable = entry.next
            self.own_s += 1e-4
        self.end = entry.next
        return self.end

    def read(self, position: int, limit_bytes: int = 0) -> list[Entry]:
        if position < self.first:
            raise IndexError(f"position {position:,} is no longer in the log")
        found = [entry for entry in self.entries if position <= entry.position and entry.next <= self.durable][:1]
        if found and found[0].position != position:
            raise AssertionError(f"no entry stands at {position:,}")
        return found

    def follow(self, position: int) -> Iterator[Entry]:
        if position < self.first:
            raise IndexError(f"position {position:,} is no longer in the log")
        yield from [entry for entry in self.entries if position <= entry.position and entry.next <= self.durable]

    def crash(self) -> None:
        self.entries = [entry for entry in self.entries if entry.next <= self.durable]
        self.end = self.durable

    def trim(self, position: int) -> None:
        self.entries = [entry for entry in self.entries if entry.position >= position]
        self.first = position

    def wait(self, position: int) -> None:
        assert position <= self.end
        self.durable = max(self.durable, position)


@dataclass(slots=True)
class _Asked:
    key: tuple[str, str]
    body: bytes
    future: asyncio.Future[Any]
    durable_before: int
    number: int = 0  # among those that the future tells of
    forgotten_at: int | None = None  # by a trim that came while its piece, with new events in it, was not durable


@dataclass
class Simulation:
    """One run. `projects` are those of `versions_in`; `folder` is empty."""

    folder: Path
    projects: list[Project]
    random: Random
    log: MemoryLog = field(init=False)
    now_us: int = _BEGAN_US
    told: dict[tuple[str, str], tuple[int, bytes, bytes]] = field(default_factory=dict)  # position, body, answer
    waiting: list[_Asked] = field(default_factory=list)
    seen: set[tuple[str, str]] = field(default_factory=set)
    all_entries: list[Entry] = field(default_factory=list)  # also those that were trimmed
    done: list[str] = field(default_factory=list)
    building: StateBuilder | None = None
    building_version: LiveProject | None = None
    probes: int = 0
    wrong: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.log = MemoryLog(lambda: self.random.random() < 0.3)

    # -- a run --------------------------------------------------------------------------------------------------------

    def run(self, steps: int) -> None:
        """So many random steps, then a last look at everything. Raises AssertionError where something does not hold."""
        for name in ("snapshots", "building", "projects"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        asyncio.run(self._run(steps))

    async def _run(self, steps: int) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, said: self.wrong.append(str(said.get("exception"))))
        self.store = Versions(self.folder / "projects", str.upper)
        live = self.store.keep(self.projects[0])
        said = ProjectVersion.of(live.hash, live.name, live.original.contents(), rebuilt=True, who="", why="")
        entry = VersionEntry(0, live.hash, live.name, self.now_us, True, "", "")
        self.log.append(PROJECT, said.encode(), arrived_us=self.now_us)
        self.log.durable = self.log.end
        self._assemble(Engine(live, batch_size=recovery.BATCH, live=True), EntryIndex(), live, [entry])
        actions = (
            (10, self._ask), (10, self._ask_at_once), (5, self._ask_in_lines), (6, self._sync), (4, self._label),
            (3, self._pass_time), (2, self._crash), (2, self._snapshot), (2, self._change), (2, self._build),
            (2, self._trim), (2, self._look),
        )  # fmt: skip
        chosen = self.random.choices([action for _, action in actions], [weight for weight, _ in actions], k=steps)
        for action in chosen:
            self.done.append(action.__name__)
            await action()
        await self._crash()
        await self._look()
        if self.log.first == 0:
            verified = verify_decisions(self.log, self.store)  # type: ignore[arg-type]
            assert not verified.differing, f"{verified.differing} decisions, made again, differ"

    def _assemble(self, engine: Engine, entries: EntryIndex, live: LiveProject, versions: list[VersionEntry]) -> None:
        self.desk = Desk(engine, self.log, entries)
        for version in versions:
            self.desk.learn_version(self.store.get(version.hash))
        self.queue = DeskQueue(self.desk, lambda: self.now_us)
        self.changes = Changes(
            self.folder, None, self.store, self.desk, self.queue, self.log, live, versions,  # type: ignore[arg-type]
            on_switch=lambda live: None, on_rebuilt=lambda: None,
        )  # fmt: skip

    # -- callers ------------------------------------------------------------------------------------------------------

    def _event(self) -> tuple[tuple[str, str], bytes]:
        chance = self.random
        number = chance.randrange(_IDS)
        key = ("login" if number % 4 == 0 else "payment", f"e{number}")
        if key in self.told and chance.random() < 0.7:
            return key, self.told[key][1]
        at = self.now_us - int(chance.choice((0, 0, chance.random() * 40 * MINUTE_US, chance.random() * 3 * HOUR_US)))
        card = f"c{chance.randrange(_CARDS)}"
        fields = {"at": _iso(at), "card": card}
        if key[0] == "login":
            return key, json.dumps({"login_id": key[1], **fields}).encode()
        fields["terminal"] = f"t{chance.randrange(_TERMINALS)}"
        return key, json.dumps({"payment_id": key[1], **fields, "amount": chance.randrange(1, 1000)}).encode()

    def _put(self) -> None:
        key, body = self._event()
        self.seen.add(key)
        index = self.desk.engine.plan.by_name[key[0]].index
        future = self.queue.put(Item(index, body, decide=self.random.random() < 0.9))
        self.waiting.append(_Asked(key, body, future, self.log.durable))

    async def _ask_in_lines(self) -> None:
        some = [self._event() for _ in range(self.random.randrange(2, 12))]
        asked = [(key, body) for key, body in some if key[0] == "payment"]
        if asked:
            index = self.desk.engine.plan.by_name["payment"].index
            future = self.queue.put_piece(Lines(index, Joined.of([body for _, body in asked])))
            for number, (key, body) in enumerate(asked):
                self.seen.add(key)
                self.waiting.append(_Asked(key, body, future, self.log.durable, number))
        if self.random.random() < 0.8:
            await self._turn()

    async def _ask(self) -> None:
        self._put()
        await self._turn()

    async def _ask_at_once(self) -> None:
        for _ in range(self.random.randrange(1, 9)):
            self._put()
        if self.random.random() < 0.8:
            await self._turn()

    async def _sync(self) -> None:
        self._sync_now(self.random.random() < 0.5)
        await self._turn()

    def _sync_now(self, everything: bool = True) -> None:
        ends = [entry.next for entry in self.log.entries if entry.next > self.log.durable]
        if ends:
            self.log.durable = ends[-1] if everything else self.random.choice(ends)
        self.queue.durable(self.log.durable)

    async def _turn(self) -> None:
        await asyncio.sleep(0)
        assert not self.wrong, self.wrong[0]
        self._note()
        still = []
        for asked in self.waiting:
            if asked.future.done():
                self._hear(asked)
            else:
                still.append(asked)
        self.waiting = still

    def _hear(self, asked: _Asked) -> None:
        """A caller is told: it is durable, and what was told before for the same body."""
        answers = asked.future.result()
        if isinstance(answers, bytes):
            answers = [Answer(200, line) for line in answers.splitlines()]
        told = answers[asked.number]
        before = self.told.get(asked.key)
        held = self._held().get(asked.key)
        if isinstance(told, Problem):
            assert told.code in ("conflict", "time_in_future"), told.code
            return
        if asked.forgotten_at is not None:
            assert REPLAYED in told.headers
            if before is not None and before[0] == asked.forgotten_at:
                assert before[1:] == (asked.body, told.body), f"{asked.key} was told another answer"
            return
        assert held is not None, f"{asked.key} was told and is not in the log"
        assert held[1] <= self.log.durable, f"{asked.key} was told before it was durable"
        if before is not None and before[0] == held[0]:
            assert before[1:] == (asked.body, told.body), f"{asked.key} was told another answer"
        self.told[asked.key] = (held[0], asked.body, told.body)

    # -- labels, time, versions, trims --------------------------------------------------------------------------------

    async def _label(self) -> None:
        self.queue.drain()
        lines = []
        for _ in range(self.random.randrange(1, 4)):
            label = {"event_type": "payment", "label": "fraud", "value": self.random.choice((True, True, False, None))}
            if self.random.random() < 0.2:
                label |= {"entity": "card", "key": f"c{self.random.randrange(_CARDS)}"}
            else:
                label |= {"event_id": f"e{self.random.randrange(_IDS)}"}
            lines.append(json.dumps({**label, "known_at": _iso(self.now_us)}).encode())
        _, position, refused = self.desk.take_labels(lines, self.queue.arrived_us())
        assert not refused
        assert position == self.log.end
        await self._turn()

    async def _pass_time(self) -> None:
        self.now_us += self.random.choice((MINUTE_US, 10 * MINUTE_US, HOUR_US, 5 * HOUR_US, -HOUR_US))

    async def _change(self) -> None:
        """Another version; one that would need other windows is left to `_build`."""
        live = self.store.keep(self.random.choice(self.projects))
        if live.hash != self.changes.version.hash and self.desk.engine.plan.intake.serves(live.definitions):
            self.changes.switch(live, "", "")
        await self._turn()

    async def _build(self) -> None:
        """Begin to build a version with other windows, or switch to the one that was built."""
        if self.building is None:
            live = self.store.keep(self.random.choice(self.projects))
            if self.desk.engine.plan.intake.serves(live.definitions):
                return
            self.building_version = live
            self.building = recovery.build(live, self.log, until=self.log.durable)  # type: ignore[arg-type]
            return
        built, version = self.building, self.building_version
        self.building = None
        if built.position < self.log.first or version is None or version.hash == self.changes.version.hash:
            return
        self.queue.drain()
        self._sync_now()
        recovery.catch_up(built, self.log, until=self.log.durable)  # type: ignore[arg-type]
        assert not built.unreadable
        self.changes.switch(version, "", "", built)
        await self._turn()

    async def _trim(self) -> None:
        """As `Upkeep.trim`: entries that are older than what is kept, as far as the oldest snapshot covers them."""
        if self.random.random() < 0.7:
            self._sync_now()
            for _ in range(2):  # the oldest of two covers it
                await self._snapshot()
                await self._ask()
                self._sync_now()
            self.now_us += KEEP_US + HOUR_US
        oldest = min((manifest.position for manifest in snapshots.find_snapshots(self.folder / "snapshots")), default=0)
        due = 0
        for entry in self.log.entries:
            if entry.position > oldest or entry.arrived_us >= self.now_us - KEEP_US:
                break
            due = entry.position
        if due <= self.log.first:
            return
        self.queue.drain()
        await self._turn()  # who is told now is told before what the trim forgets
        held = self._held()
        for asked in self.waiting:
            if asked.key in held and held[asked.key][0] < due:
                asked.forgotten_at = held[asked.key][0]
        if self.random.random() < 0.3:
            self.desk.trim(due, self.queue.arrived_us())
            self._note()
            return  # a crash may come before the log is cut
        cut(self.desk, self.queue, self.log, due, self.queue.arrived_us())  # type: ignore[arg-type]
        await self._turn()

    async def _snapshot(self) -> None:
        """As `worker.take_snapshot`: another state, from the newest snapshot and the rest of the log."""
        found = recovery.recover(self.folder, self.log, self.store)  # type: ignore[arg-type]
        assert found is not None
        parent = self.folder / "snapshots"
        snapshots.write(
            parent, found.engine, found.entries, position=found.position, versions=found.versions, beside=False
        )
        snapshots.prune(parent)

    # -- crashes, and what must hold ----------------------------------------------------------------------------------

    async def _crash(self) -> None:
        for asked in self.waiting:
            asked.future.cancel()
        self.waiting.clear()
        for waiting in (self.queue._singles, self.queue._pieces):
            waiting.clear()  # the process is gone, with what it has scheduled
        self.building = None
        self._note()
        self.log.crash()
        self.all_entries = [entry for entry in self.all_entries if entry.next <= self.log.durable]
        found = recovery.recover(self.folder, self.log, self.store)  # type: ignore[arg-type]
        assert found is not None
        assert found.position == self.log.end
        self._assemble(found.engine, found.entries, found.version, found.versions)
        self._check_ids()

    async def _look(self) -> None:
        """The state that decides and the one that a start would have decide alike on what comes next."""
        self.queue.drain()
        self._sync_now()
        await self._turn()
        self._check_ids()
        ways = [recovery.recover(self.folder, self.log, self.store)]  # type: ignore[arg-type]
        if self.log.first == 0:
            ways.append(recovery.recover(self.folder / "nowhere", self.log, self.store))  # type: ignore[arg-type]
        bodies = list(self._probe())
        mine = self._decided(self.desk, bodies)
        self._note()
        for found in ways:
            assert found is not None
            assert found.version.hash == self.changes.version.hash
            other = Desk(found.engine, MemoryLog(), found.entries)
            assert self._decided(other, bodies) == mine, "a start would decide otherwise"
        self._sync_now()

    def _probe(self) -> Iterator[bytes]:
        for card in range(_CARDS):
            for terminal in range(_TERMINALS):
                self.probes += 1
                yield json.dumps(
                    {"payment_id": f"probe{self.probes}", "at": _iso(self.now_us), "card": f"c{card}",
                     "terminal": f"t{terminal}", "amount": 1}
                ).encode()  # fmt: skip

    def _decided(self, desk: Desk, bodies: list[bytes]) -> list[bytes]:
        index = desk.engine.plan.by_name["payment"].index
        items = [Item(index, body, features=True) for body in bodies]
        desk.take(items, self.now_us)
        answers = [item.answer for item in items]
        assert all(isinstance(answer, Answer) for answer in answers), answers
        return [answer.body for answer in answers if answer is not None]

    def _note(self) -> None:
        known = self.all_entries[-1].next if self.all_entries else 0
        self.all_entries += [entry for entry in self.log.entries if entry.position >= known]

    def _held(self) -> dict[tuple[str, str], tuple[int, int]]:
        """Which ids are held by what the log says, naively, and (position, end) of the entry of each."""
        held: dict[tuple[int, int], tuple[int, int]] = {}
        for entry in self.all_entries:
            if entry.kind == EVENTS:
                events: Events = read_events(entry.payload)
                for high, low in zip(events.id_hi.tolist(), events.id_lo.tolist()):
                    assert (high, low) not in held, "an id stands in the log twice"
                    held[high, low] = entry.position, entry.next
            elif entry.kind == TRIM:
                position = read_trim(entry.payload).position
                held = {key: place for key, place in held.items() if place[0] >= position}
        return {key: held[_hash(key)] for key in self.seen if _hash(key) in held}

    def _check_ids(self) -> None:
        held = self._held()
        for key in self.seen:
            found = self.desk.find(*_hash(key))
            assert found == (held[key][0] if key in held else None), f"{key} is held at {found}, not at {held.get(key)}"
        for key, (position, _, answer) in self.told.items():
            if key in held and held[key][0] == position:
                high, low = _hash(key)
                again = self.desk.answer_at(position, high, low, event_id=key[1])
                assert again.body == answer, f"{key} was told {answer!r}, and now {again.body!r}"
            elif key in held:
                assert held[key][0] > position
        for key in [key for key, (position, *_) in self.told.items() if position >= self.log.first and key not in held]:
            trimmed = [read_trim(entry.payload).position for entry in self.all_entries if entry.kind == TRIM]
            assert self.told[key][0] < max(trimmed, default=0), f"{key} was told, and is lost"


def _hash(key: tuple[str, str]) -> tuple[int, int]:
    high, low = hash_id(key[1].encode(), id_salt(key[0]))
    return int(high), int(low)


def _iso(time_us: int) -> str:
    from parakh.service.answers import iso

    return iso(time_us)


def simulate(folder: Path, projects: list[Project], seed: int, steps: int) -> Simulation:
    """A run in a folder of its own, without waiting for a disk."""
    shutil.rmtree(folder, ignore_errors=True)
    simulation = Simulation(folder, projects, Random(seed))
    fdatasync, fsync = os.fdatasync, os.fsync
    os.fdatasync = os.fsync = lambda file: None  # type: ignore[assignment]
    try:
        simulation.run(steps)
    finally:
        os.fdatasync, os.fsync = fdatasync, fsync
    return simulation
