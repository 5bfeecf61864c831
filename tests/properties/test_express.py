"""The express gives what `Engine.take` gives: records, what is counted, and the whole state, bit for bit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from service_simulator import versions_in

from parakh.decisions.decisions import Decisions
from parakh.decisions.engine import Engine
from parakh.project.project import Project
from parakh.service.answer_writer import AnswerWriter
from parakh.service.state import batch_of_type, label_batch, read_label_lines, spans
from parakh.simulation import simulate

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "card-payments"
SMALL = {
    "parakh.toml": "name = 'small'\nhorizon = '1d'\nlateness = '10m'\n",
    "events/payment.yaml": "event: payment\nid: id\ntime: at\nfields:\n  id: string\n  at: timestamp\n  amount: money\n"
    "  card: {type: string, entity: card}\n  kind: string\n  place: {type: string, from: where.place}\n"
    "derive:\n  scheme: lower(kind)\n",
    "features/card.yaml": "entity: card\nfeatures:\n  payments: {from: payment, aggregate: count(*), over: [20m, 2h]}\n"
    "  spent: {from: payment, aggregate: sum(amount), over: 6h}\n"
    "  kinds: {from: payment, aggregate: count(distinct kind), over: 2h}\n"
    "  before: {from: payment, aggregate: last(kind), over: 6h}\n",
    "signals/s.yaml": "signals: payment\ndefine:\n  short: starts_with(kind, 'o')\n",
    "rules/r.yaml": "rule: many\nfor: payment\nwhen: card.payments_20m >= 3\nthen: block\nreason: R1\n---\n"
    "rule: strange\nfor: payment\nwhen: upper(place) = 'PUNE' and short\nthen: review\nmode: shadow\n---\n"
    "rule: odd\nfor: payment\nwhen: scheme = 'odd'\nthen: challenge\n",
    "policies/payment.yaml": "policy: payment\nfor: payment\notherwise: allow\n",
}
HOLDOUT = "holdout: {share: 20%, salt: 4f1d9c2ab7e85306}\n"
NOW_US = 1_900_000_000_000_000


def small(folder: Path, **changed: str) -> Project:
    for name, content in {**SMALL, **changed}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return Project.load(folder)


class Made:
    """Payments of the small project: most of them plain, some with whatever there is that is not."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.lines: list[bytes] = []
        self.now = 1_767_000_000

    def next(self) -> bytes:
        random = self.random
        line = self._again() if self.lines and random.random() < 0.03 else self._new()
        self.lines.append(line)
        return line

    def _again(self) -> bytes:
        line = self.random.choice(self.lines[-200:])
        return line.replace(b'"amount"', b'"amount":1,"more"') if self.random.random() < 0.5 else line

    def _new(self) -> bytes:
        random = self.random
        self.now += random.randint(0, 40)
        at = self.now - (random.randint(0, 3_000) if random.random() < 0.1 else 0)
        event: dict[str, Any] = {
            "id": f"p{len(self.lines)}",
            "at": at * 1_000,
            "amount": random.choice((None, 5, 12.5, 99.99)),
            "card": random.choice((None, *(f"c{number}" for number in range(30)))),
            "kind": random.choice(
                (None, "odd", "usual", f"new {random.randint(0, 10**6)}", "ż" * random.randint(1, 9))
            ),
            "where": {"place": random.choice(("Pune", "pune", "Delhi", None))},
        }
        event = {name: value for name, value in event.items() if value is not None}
        if random.random() < 0.02:
            event["kind"] = random.choice(('a "quoted" one', "back\\slash", "line\nbreak", "x" * 5_000))
        if random.random() < 0.01:
            event |= random.choice(
                ({"id": 'p"1'}, {"at": "yesterday"}, {"amount": "much"}, {"id": None}, {"amount": 1e300})
            )
        line = json.dumps(event, ensure_ascii=random.random() < 0.1).encode()
        return random.choice((line[:-1], b"[]", b"nothing", b"\xff{}")) if random.random() < 0.01 else line


class Both:
    """One engine that decides the long way, one that goes by the express where it may."""

    def __init__(self, project: Project, *, room: int = 64, kind: int = 0) -> None:
        self.slow, self.quick = (Engine(project, batch_size=room, live=True) for _ in range(2))
        self.kind = kind
        self.writer = AnswerWriter(self.slow.plan.types[kind].schema)
        self.straight = self.others = 0

    def take(self, lines: list[bytes]) -> None:
        expected = self._the_long_way(self.slow, lines)
        taken = self.quick.take_straight(self.kind, b"".join(lines), [len(line) for line in lines], arrived_us=NOW_US)
        records = list(expected.records())
        if taken is None:
            self.others += 1
            assert list(self._the_long_way(self.quick, lines).records()) == records
            return
        self.straight += 1
        assert [taken.record(row) for row in range(taken.count)] == records
        assert expected.accepted == taken.count == len(lines)
        assert taken.judged == expected.parts[0].judged
        told = self.writer.write(expected.parts[0], records)
        assert self.writer.write_straight(taken) == told
        assert self.writer.lines_straight(taken) == b"".join(answer + b"\n" for answer in told)

    def agree(self) -> None:
        """What is held, when all is done."""
        assert self.quick.counts == self.slow.counts
        assert self.quick.admission.clock_us == self.slow.admission.clock_us
        assert (self.quick.full is None) == (self.slow.full is None)
        assert self.quick.labelling.given_up == self.slow.labelling.given_up
        assert self.quick.labelling.applied == self.slow.labelling.applied
        for of in ("state", "ids", "strings", "labelling"):
            slow, quick = (getattr(engine, of).arrays() for engine in (self.slow, self.quick))
            assert slow.keys() == quick.keys()
            for name in slow.keys() - {"control"}:  # which has addresses
                np.testing.assert_array_equal(quick[name], slow[name], err_msg=f"{of}.{name}")

    def _the_long_way(self, engine: Engine, lines: list[bytes]) -> Decisions:
        engine.plan.types[self.kind].decoder.started_at(NOW_US)
        return engine.take(batch_of_type(engine, self.kind, *spans(lines)), arrived_us=NOW_US)


@pytest.mark.parametrize("policy", ["", HOLDOUT])
def test_small_projects(seed: int, rounds: int, policy: str, tmp_path: Path) -> None:
    random = Random(seed)
    project = small(tmp_path, **{"policies/payment.yaml": SMALL["policies/payment.yaml"] + policy})
    for _ in range(max(1, rounds // 5)):
        both, made = Both(project), Made(random)
        for _ in range(300):
            size = random.choice((1, 1, 1, 2, 5, 17, 64))
            both.take([made.next() for _ in range(size)])
        assert both.straight > 100
        assert both.others > 10
        both.agree()


@pytest.mark.parametrize("policy", ["", HOLDOUT])
def test_a_model_with_reasons(seed: int, policy: str, tmp_path: Path) -> None:
    """The example: a forest, lists, several entities; its events as they are simulated."""
    random = Random(seed)
    simulate("fintech", events=4_000, seed=seed, out=tmp_path)
    lines = (tmp_path / "payment.ndjson").read_bytes().splitlines()
    shutil.copytree(EXAMPLE, tmp_path / "project")
    with (tmp_path / "project/policies/payment.yaml").open("a") as file:
        file.write(policy)
    project = Project.load(tmp_path / "project")
    both = Both(project, kind=Engine(project).plan.by_name["payment"].index)
    at = 0
    while at < len(lines):
        size = random.choice((1, 1, 3, 40, 64))
        both.take(lines[at : at + size])
        at += size
    assert both.straight > 20
    both.agree()


def test_windows_that_outgrow_their_room(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # That the state as a whole is looked at now and then would find it first, between two batches.
    monkeypatch.setattr(Engine, "_bound", lambda engine: None)
    project = small(tmp_path, **{"parakh.toml": SMALL["parakh.toml"] + "[limits]\nstate = '1MB'\n"})
    both, random = Both(project), Random(seed)
    for start in range(0, 60_000, 60):
        lines = [
            json.dumps(
                {"id": f"p{row}", "at": (1_767_000_000 + row // 50) * 1_000, "card": f"c{random.randint(0, 20_000)}"}
            ).encode()
            for row in range(start, start + 60)
        ]
        both.take(lines)
        if both.slow.full is not None:
            break
    assert str(both.quick.full) == str(both.slow.full)
    assert str(both.quick.full).startswith("the windows hold")
    both.agree()


def test_between_labels_other_types_versions_and_trims(seed: int, rounds: int, tmp_path: Path) -> None:
    """The express of an engine that does other things in between: it finds everything where it is by then."""
    random = Random(seed)
    versions = versions_in(tmp_path)[:2]  # which keep the windows of one another
    for _ in range(max(1, rounds // 5)):
        both = Both(versions[0])
        engines = both.slow, both.quick
        payment, login = (both.slow.plan.by_name[name].index for name in ("payment", "login"))
        now, ids = 1_767_225_600, 0
        for _ in range(400):
            now += random.randint(0, 90)
            done = random.random()
            if done < 0.05:
                version = random.choice(versions)
                for engine in engines:
                    engine.apply(version)
                both.writer = AnswerWriter(both.slow.plan.types[payment].schema)
            elif done < 0.08 and len(both.slow.ids) > 200:
                gone = random.randint(0, 100)
                for engine in engines:
                    engine.forget_oldest(gone)
            elif done < 0.2 and ids:
                known = {"event_type": "payment", "event_id": f"p{random.randint(0, ids + 3)}", "known_at": now * 1_000}
                line = json.dumps(known | {"label": "fraud", "value": random.random() < 0.7}).encode() + b"\n"
                for engine in engines:
                    engine.take(label_batch(read_label_lines(engine, line)), arrived_us=NOW_US)
            else:
                both.kind = login if done < 0.3 else payment
                lines = []
                for _ in range(random.choice((1, 1, 1, 3, 20))):
                    ids += 1
                    event = {"at": now * 1_000, "card": f"c{random.randint(0, 9)}"}
                    if both.kind == login:
                        event |= {"login_id": f"p{ids}"}
                    else:
                        shop = f"t{random.randint(0, 5)}"
                        event |= {"payment_id": f"p{ids}", "amount": random.randint(1, 99), "terminal": shop}
                    lines.append(json.dumps(event).encode())
                both.take(lines)
        assert both.straight > 100
        both.agree()
