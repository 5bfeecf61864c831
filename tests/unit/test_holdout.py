"""A policy's holdout: how it is written, what it chooses, what is exempt, and where it shows."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from oracle.decisions import is_taken
from parakh.decisions.decisions import Decisions
from parakh.decisions.definition import Definitions, Holdout, Policy, Settings
from parakh.decisions.engine import Engine
from parakh.decisions.policy import HOLDOUT
from parakh.decisions.replay import Replay, Source
from parakh.decisions.stored import stored_definitions
from parakh.errors import ProjectError
from parakh.events.definition import EventType, Field
from parakh.expressions.types import NUMBER, TIMESTAMP
from parakh.project.canonical import finish
from parakh.project.diff import diff
from parakh.project.project import Project
from parakh.project.schemas import schemas
from parakh.rules.definition import Outcome, Rule
from parakh.service.answer_writer import AnswerWriter
from parakh.service.answers import Shape, decided_answer
from parakh.service.ledger.filters import FLAGS, LedgerFilter
from parakh.service.telemetry import Telemetry
from parakh.service.webhooks import read_request

EVENT = """event: payment
id: id
time: at
fields: {id: string, at: timestamp, amount: money, kind: string}
"""
RULES = """rule: dear
for: payment
when: amount > 10
then: block
---
rule: odd
for: payment
when: kind = 'odd'
then: challenge
---
rule: trusted
for: payment
when: kind = 'trusted'
then: allow
override: true
---
rule: wanted
for: payment
when: kind = 'wanted'
then: review
override: true
---
rule: sanctioned
for: payment
when: kind = 'sanctioned'
then: review
holdout: false
---
rule: noted
for: payment
when: kind = 'plain'
then: allow
holdout: false
---
rule: tried_out
for: payment
when: kind = 'tried_out'
then: block
mode: shadow
holdout: false
"""
KINDS = ("plain", "odd", "trusted", "wanted", "sanctioned", "tried_out")
SALT = "fae1c27d99b04d5e"


def project(folder: Path, holdout: str, *, event: str = EVENT) -> Project:
    """The project with a policy that has this as its holdout."""
    for name, text in {
        "parakh.toml": 'name = "p"\ncurrency = "USD"\n',
        "events/payment.yaml": event,
        "rules/rules.yaml": RULES,
        "policies/payment.yaml": f"policy: payment\nfor: payment\n{holdout}\n",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return Project.load(folder)


def refusal(folder: Path, holdout: str, **more: str) -> str:
    with pytest.raises(ProjectError) as refused:
        project(folder, holdout, **more)
    return str(refused.value)


def events(count: int, *, amount: float = 20) -> list[dict[str, Any]]:
    return [
        {"id": f"p{number}", "at": "2026-01-05T10:00:00Z", "amount": amount, "kind": KINDS[number % len(KINDS)]}
        for number in range(count)
    ]


def held_out(decisions: Decisions) -> set[str]:
    return {decision.event_id for decision in decisions if "held_out" in decision.flags}


# -- how it is written -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("", None),
        ("holdout: 0%", None),
        ("holdout: {share: 0}", None),
        ("holdout: 1%", Holdout(share=0.01)),
        ("holdout: 0.01", Holdout(share=0.01)),
        ("holdout: 0.25%", Holdout(share=0.0025)),
        ("holdout: 20%", Holdout(share=0.2)),
        ("holdout: {share: 1%, below: 500}", Holdout(share=0.01, below=500)),
        (f"holdout:\n  share: 2%\n  below: 12.50\n  salt: {SALT}", Holdout(share=0.02, below=12.5, salt=SALT)),
    ],
)
def test_a_share_alone_or_with_what_bounds_it(written: str, meant: Holdout | None, tmp_path: Path) -> None:
    (policy,) = project(tmp_path, written).definitions.policies
    assert policy.holdout == meant


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("holdout: 20.01%", "share is at most 20%"),
        ("holdout: 0.3", "a few percent teach enough"),
        ("holdout: 1", "write 1% if it is percent"),
        ("holdout: 200%", "is at most 20%"),
        ("holdout: -1%", "must be written as 1% or 0.01"),
        ("holdout: 1 %", "must be written as 1% or 0.01"),
        ("holdout: 1e-3", "must be written as 1% or 0.01"),
        ("holdout: a few", "must be written as 1% or 0.01"),
        ("holdout:", "`holdout` of policy 'payment' has no value"),
        ("holdout: {below: 5}", "has no `share`"),
        ("holdout: {share: 1%, below: 0}", "must be an amount of money"),
        ("holdout: {share: 1%, below: -5}", "must be an amount of money"),
        ("holdout: {share: 1%, below: 5 USD}", "must be an amount of money"),
        ("holdout: {share: 1%, below: 5.123}", "USD has no such fractions"),
        ("holdout: {share: 1%, salt: short}", "16 to 64 characters"),
        ("holdout: {share: 1%, above: 5}", "unknown key 'above'"),
    ],
)
def test_what_is_no_holdout_is_refused_with_what_it_takes(written: str, said: str, tmp_path: Path) -> None:
    assert said in refusal(tmp_path, written)


def test_small_amounts_need_an_amount_that_can_be_read(tmp_path: Path) -> None:
    small = "holdout: {share: 1%, below: 5}"
    assert "'payment' has no field of type money" in refusal(tmp_path, small, event=EVENT.replace("money", "number"))
    dropped = EVENT.replace("amount: money", "amount: {type: money, personal: drop}, fee: money")
    assert "'amount' is dropped before it could be read" in refusal(tmp_path / "a", small, event=dropped)


def test_definitions_of_python_are_checked_alike() -> None:
    definitions = _definitions()
    for holdout in (Holdout(share=0.21), Holdout(share=0.0), Holdout(share=float("nan")), Holdout(share=-0.1)):
        with pytest.raises(ProjectError, match="is no share"):
            Project.of(_with(definitions, holdout))
    with pytest.raises(ProjectError, match="no field of type money"):
        Project.of(_with(definitions, Holdout(share=0.1, below=5)))


def test_editors_complete_and_refuse_it() -> None:
    validator = jsonschema.Draft202012Validator(schemas()["policy.json"])
    for right in ("1%", 0.01, {"share": "1%"}, {"share": 0.2, "below": 500, "salt": SALT}):
        assert validator.is_valid({"policy": "a", "for": "p", "holdout": right}), right
    for wrong in (1, 0.3, "1", "x%", {"below": 5}, {"share": "1%", "salt": "short"}, {"share": "1%", "below": 0}):
        assert not validator.is_valid({"policy": "a", "for": "p", "holdout": wrong}), wrong


def _definitions() -> Definitions:
    """What a project said before there were holdouts."""
    rule = Rule(name="big", event_types=("payment",), when="amount > 10", then=Outcome.BLOCK)
    policy = Policy(event_type="payment", name="payment")
    return Definitions(settings=Settings(name="p"), rules=(rule,), policies=(policy,))


def _with(definitions: Definitions, holdout: Holdout | None) -> Definitions:
    fields = (Field(name="at", type=TIMESTAMP), Field(name="amount", type=NUMBER))
    return replace(
        definitions,
        events=(EventType(name="payment", id="row", time="at", fields=fields),),
        policies=(replace(definitions.policies[0], holdout=holdout),),
    )


def test_the_hash_of_a_project_without_one_is_what_it_was() -> None:
    before = "2ed6328382b950787e15b891be61b47eac893cf1c5d9283d70e7a44435512483"
    assert finish(_definitions())[1] == before
    definitions = _definitions()
    rules = (replace(definitions.rules[0], holdout=False),)
    assert finish(replace(definitions, rules=rules))[1] != before


def test_every_part_of_it_is_part_of_the_hash() -> None:
    base = Holdout(share=0.01, below=None, salt="")
    others = [base, replace(base, share=0.02), replace(base, salt=SALT), None]
    hashes = {Project.of(_with(_definitions(), holdout)).hash for holdout in others}
    assert len(hashes) == len(others)


def test_a_difference_says_what_is_let_through_and_hides_the_salt(tmp_path: Path) -> None:
    old = project(tmp_path / "old", "holdout: 1%")
    new = project(tmp_path / "new", f"holdout: {{share: 2.5%, below: 500, salt: {SALT}}}")
    other = project(tmp_path / "other", f"holdout: {{share: 2.5%, below: 500, salt: {SALT[::-1]}}}")
    (change,) = diff(old, new).changes
    (part,) = change.parts
    assert (part.key, part.before) == ("holdout", "1% of what would be stopped")
    assert part.after is not None
    assert part.after.startswith("2.5% of what would be stopped, below 500, salt sha256 ")
    assert SALT not in str(diff(old, new))
    assert diff(new, other).changes  # another salt is another holdout
    assert SALT not in repr(new.definitions)
    rules = tuple(replace(rule, holdout=True) for rule in old.definitions.rules)
    changed = diff(old, Project.of(replace(old.definitions, rules=rules))).changes
    assert [(item.name, item.parts[0].key, item.parts[0].before) for item in changed] == [
        ("noted", "holdout", "false"),
        ("sanctioned", "holdout", "false"),
        ("tried_out", "holdout", "false"),
    ]


# -- what it chooses ---------------------------------------------------------------------------------------------------

MANY = 100_000


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """100,000 payments, all of which the rules stop, as lines of JSON."""
    line = '{"id":"p%d","at":"2026-01-05T10:00:00Z","amount":20,"kind":"plain"}\n'
    return "".join(line % number for number in range(MANY)).encode()


@pytest.mark.parametrize("share", ["0.1%", "1%", "5%", "20%"])
def test_the_share_is_that_of_chance(share: str, many: bytes, tmp_path: Path) -> None:
    decisions = Engine(project(tmp_path, f"holdout: {share}")).decide(many)
    told = decisions.counts()["payment"]
    p = float(share[:-1]) / 100
    assert abs(told["allow"] - MANY * p) < 4.5 * (MANY * p * (1 - p)) ** 0.5  # by chance once in 150,000 times
    assert told["allow"] + told["block"] == MANY


def test_a_larger_share_holds_out_the_same_and_more(many: bytes, tmp_path: Path) -> None:
    chosen = [
        {
            key
            for part in Engine(project(tmp_path / share, f"holdout: {share}%")).decide(many).parts
            for key in part.id_lo[part.flags & HOLDOUT != 0].tolist()
        }
        for share in ("1", "2", "10")
    ]
    assert chosen[0] < chosen[1] < chosen[2]


def test_the_choice_is_what_the_decision_record_says_in_so_many_words(tmp_path: Path) -> None:
    loaded = project(tmp_path, f"holdout: {{share: 5%, salt: {SALT}}}")
    decisions = Engine(loaded).decide([{**event, "kind": "plain"} for event in events(2_000)])
    chosen = held_out(decisions)
    assert chosen == {
        decision.event_id
        for decision in decisions
        if is_taken(decision.record().decision_id, policy="payment", salt=SALT, share=Fraction(1, 20))
    }
    plain = Engine(project(tmp_path / "plain", "holdout: 5%")).decide(events(2_000))
    assert 0 < len(chosen & held_out(plain)) < len(chosen) // 2  # another salt is another choice


@pytest.mark.parametrize("size", [1, 7, 64, 4096])
def test_batches_and_types_beside_change_no_choice(size: int, tmp_path: Path) -> None:
    loaded = project(tmp_path, "holdout: 20%")
    given = events(1_000)
    whole = Engine(loaded).decide(given)
    engine = Engine(loaded, batch_size=size)
    # Retries stand among them: what was decided is not drawn again.
    again = engine.decide([event for number, event in enumerate(given) for _ in range(1 + (number % 3 == 0))])
    assert again.to_arrow().equals(whole.to_arrow())
    assert list(again.records()) == list(whole.records())


def test_a_stored_form_holds_out_alike(tmp_path: Path) -> None:
    loaded = project(tmp_path, "holdout: {share: 20%, below: 25}")
    stored = Project.of(stored_definitions(loaded.definitions, lambda text: text))
    assert held_out(Engine(stored).decide(events(600))) == held_out(Engine(loaded).decide(events(600)))


# -- what is exempt ----------------------------------------------------------------------------------------------------


def test_what_may_never_pass_does_not(tmp_path: Path) -> None:
    decisions = Engine(project(tmp_path, "holdout: 20%")).decide(events(6_000))
    by_kind: dict[str, Counter[tuple[str, str]]] = {kind: Counter() for kind in KINDS}
    for number, decision in enumerate(decisions):
        by_kind[KINDS[number % len(KINDS)]][decision.decided_by] += 1
    assert by_kind["trusted"] == {("rule", "trusted"): 1_000}
    assert by_kind["wanted"] == {("rule", "wanted"): 1_000}
    assert by_kind["sanctioned"] == {("rule", "dear"): 1_000}
    for kind in ("plain", "odd", "tried_out"):
        assert set(by_kind[kind]) == {("rule", "dear"), ("holdout", "block")}
        assert 140 < by_kind[kind]["holdout", "block"] < 260


def test_what_would_be_allowed_is_not_marked_and_each_outcome_has_its_name(tmp_path: Path) -> None:
    decisions = Engine(project(tmp_path, "holdout: 20%")).decide(events(6_000, amount=5))
    found = Counter((decision.outcome, decision.decided_by, decision.flags) for decision in decisions)
    assert {by for _, by, flags in found if flags} == {("holdout", "challenge")}
    assert all((outcome, flags) == ("allow", ("held_out",)) for outcome, by, flags in found if by[0] == "holdout")
    assert ("allow", ("otherwise", "allow"), ()) in found


@pytest.mark.parametrize(("amount", "passes"), [(11.99, True), (12.0, False), (500, False), (None, False)])
def test_what_is_worth_as_much_or_unknown_stays_stopped(amount: float | None, passes: bool, tmp_path: Path) -> None:
    loaded = project(tmp_path, "holdout: {share: 20%, below: 12}")
    given = [{**event, "amount": amount, "kind": "odd"} for event in events(300)]
    assert bool(held_out(Engine(loaded).decide(given))) == passes


def test_what_is_degraded_is_not_let_through(tmp_path: Path) -> None:
    engine = Engine(project(tmp_path, "holdout: 20%"), live=True)
    engine.blindfolded = True
    decisions = engine.decide(events(1_000))
    assert {decision.flags for decision in decisions} == {("degraded",)}
    assert "allow" not in {decision.outcome for decision in decisions if decision.decided_by[0] != "rule"}


# -- where it shows ----------------------------------------------------------------------------------------------------


def test_a_record_keeps_the_reasons_and_says_what_it_would_have_been(tmp_path: Path) -> None:
    decisions = Engine(project(tmp_path, "holdout: 20%")).decide(events(60))
    decision = next(item for item in decisions if item.flags)
    record = decision.record()
    assert (record.outcome_word, record.decided_by, record.flag_names) == ("allow", ("holdout", "block"), ("held_out",))
    assert [reason.code for reason in record.reasons] == ["dear", *record.hits[1:]]
    assert "dear" in record.hits
    assert "(holdout block; dear" in decision.line()
    row = next(row for row in decisions.to_arrow().to_pylist() if row["event_id"] == decision.event_id)
    assert (row["outcome"], row["decided_by"], row["flags"]) == ("allow", "holdout block", ["held_out"])


def test_the_answer_of_a_batch_is_that_of_each_record(tmp_path: Path) -> None:
    engine = Engine(project(tmp_path, "holdout: 20%"))
    (part,) = engine.decide([*events(500), {**events(1)[0], "id": 'quote"d'}]).parts
    records = list(Decisions([part], engine.strings, engine.schema).records())
    told = AnswerWriter(part.schema).write(part, records)
    assert told == [decided_answer(record, Shape.of(part.schema)) for record in records]
    held = [text for text in told if b'"flags":["held_out"]' in text]
    assert len(held) == np.count_nonzero(part.flags)
    assert all(b'"decided_by":{"kind":"holdout","name":' in text and b'"outcome":"allow"' in text for text in held)


def test_a_webhook_and_the_ledger_are_asked_for_them_by_their_flag(tmp_path: Path) -> None:
    subscription = {"url": "https://hooks.example.com/", "filter": {"flags": ["held_out"]}}
    wanted = read_request(json.dumps(subscription).encode(), [], public=True).filter
    decisions = Engine(project(tmp_path, "holdout: 20%")).decide(events(600))
    found = {item.event_id for item in decisions if wanted.matches(item.record())}
    assert found == held_out(decisions) != set()
    assert FLAGS["held_out"] == HOLDOUT
    assert LedgerFilter.of({"flag": "held_out"}).flag == "held_out"


def test_a_replay_counts_them(tmp_path: Path) -> None:
    loaded = project(tmp_path, "holdout: 20%")
    (tmp_path / "events.csv").write_text(
        "id,at,amount,kind\n" + "".join(f"p{n},2026-01-05T10:00:00Z,{n % 2 * 20},odd\n" for n in range(1_000))
    )
    summary = Replay(loaded, [Source("payment", str(tmp_path / "events.csv"))]).run()
    counted = summary.held_out["payment"]
    assert set(counted) == {"challenge", "block"}
    assert sum(counted.values()) == summary.outcomes["payment"]["allow"]
    assert Replay(project(tmp_path, ""), [Source("payment", str(tmp_path / "events.csv"))]).run().held_out == {}


def test_prometheus_is_told(tmp_path: Path) -> None:
    engine = Engine(project(tmp_path, "holdout: 20%"))
    telemetry = Telemetry()
    telemetry.use_project(engine.project.definitions, engine.project.hash)
    (part,) = engine.decide(events(500)).parts
    for outcome, count in part.held_out().items():
        telemetry.held_out("payment", outcome, count)
    told = telemetry.exposition().decode()
    count = np.count_nonzero(part.flags)
    assert f'parakh_held_out_total{{event_type="payment",outcome="block"}} {count}.0' in told
    assert 'parakh_held_out_total{event_type="payment",outcome="review"} 0.0' in told
    assert 'outcome="allow"' not in "".join(line for line in told.splitlines() if "held_out" in line)
