"""The engine as people call it: what it takes, counts, refuses and survives."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pytest

from parakh.decisions.check import check_definitions
from parakh.decisions.definition import Definitions
from parakh.decisions.engine import Engine
from parakh.decisions.samples import sample_events, sample_labels, sample_project
from parakh.errors import InputError, ProjectError, StateLimitError
from parakh.events.ids import CONFLICT, DUPLICATE, NEW, REFUSED
from parakh.rules.definition import ListEntry, Mode, Outcome, Rule

DAY_US = 86_400_000_000


@dataclass(frozen=True)
class Project:
    definitions: Definitions
    hash: str = "test"


def project(**changes: object) -> Project:
    return Project(replace(sample_project().definitions, **changes))  # type: ignore[arg-type]


def line(number: int, *, card: str = "c", amount: float = 1.0) -> bytes:
    time = f"2026-01-01T{number // 3600 % 24:02}:{number // 60 % 60:02}:{number % 60:02}Z"
    return f'{{"payment_id":"x{number}","paid_at":"{time}","card":"{card}","amount":{amount:.2f}}}\n'.encode()


def test_every_form_of_events_gives_the_same_decisions(tmp_path: Path) -> None:
    events = sample_events()
    path = tmp_path / "payment.ndjson"
    import msgspec

    lines = b"".join(msgspec.json.encode(event) + b"\n" for event in events)
    path.write_bytes(lines)
    forms = [events, pa.Table.from_pylist(events), lines, path, str(path), {"payment": events}]
    tables = [Engine(project()).decide(form, label_delay_us=DAY_US).to_arrow(features=True) for form in forms]
    assert tables[0].num_rows == len(events)
    assert all(table.equals(tables[0]) for table in tables)


def test_duplicates_and_conflicts_are_told_apart_and_counted() -> None:
    engine = Engine(project())
    other = line(1, amount=2.0).replace(b"x1", b"x0")
    decisions = engine.decide_lines("payment", line(0) + line(0) + other + b"{}\n" + line(1))
    assert decisions.statuses.tolist() == [NEW, DUPLICATE, CONFLICT, REFUSED, NEW]
    assert [decision.event_id for decision in decisions] == ["x0", "x1"]
    counts = engine.counts
    assert (counts.received, counts.accepted, counts.duplicates) == (5, 2, 1)
    assert counts.quarantined == {"conflict": 1, "missing_id": 1}
    counts.check()


def test_a_rule_is_live_with_the_next_event() -> None:
    engine = Engine(project())
    assert engine.decide_lines("payment", line(0, amount=50))[0].outcome == "allow"
    strict = Rule(name="strict", event_types=("payment",), when="card.count_events_1h >= 2", then=Outcome.BLOCK)
    engine.apply(Project(replace(sample_project().definitions, rules=(strict,)), "next"))
    decision = engine.decide_lines("payment", line(1, amount=50))[0]
    assert (decision.outcome, decision.rules) == ("block", ("strict",))
    assert decision.record().project == "next"


def test_a_list_is_live_with_the_next_event() -> None:
    engine = Engine(project())
    event = line(0).replace(b'"card"', b'"country":"IN","card"')
    assert engine.decide_lines("payment", event)[0].outcome == "allow"
    watched = replace(sample_project().definitions.lists[0], entries=(ListEntry(value="IN"),))
    engine.apply(project(lists=(watched,)))
    assert engine.decide_lines("payment", event.replace(b"x0", b"x1"))[0].rules == ("listed",)


def test_other_features_need_a_replay() -> None:
    definitions = sample_project().definitions
    engine = Engine(project())
    with pytest.raises(ProjectError, match="replay the events with the new project"):
        engine.apply(project(entities=definitions.entities[:1]))


def test_a_replay_stops_where_the_state_is_full() -> None:
    small = project(settings=replace(sample_project().definitions.settings, state_bytes=2_000_000))
    engine = Engine(small)
    with pytest.raises(StateLimitError, match=r"\[limits\]"):
        engine.decide(b"".join(line(n, card=f"c{n}") for n in range(60_000)))


def test_a_live_engine_falls_back_where_the_state_is_full() -> None:
    small = project(settings=replace(sample_project().definitions.settings, state_bytes=2_000_000))
    engine = Engine(small, live=True)
    last = None
    for start in range(0, 60_000, 1000):
        last = engine.decide_lines("payment", b"".join(line(n, card=f"c{n}") for n in range(start, start + 1000)))
    assert last is not None
    assert engine.full is not None
    decision = last[-1]
    assert (decision.outcome, decision.decided_by) == ("review", ("fallback", "review"))
    assert decision.flags == ("degraded",)
    assert set(decision.features.values()) == {None}
    assert engine.counts.accepted == 60_000
    # What needs no window still decides.
    high = engine.decide_lines("payment", line(60_001, amount=95).replace(b'"card"', b'"country":"IN","card"'))[0]
    assert (high.outcome, high.rules) == ("block", ("high",))


def test_a_label_is_seen_from_its_place_on() -> None:
    engine = Engine(project())
    decisions = engine.decide(sample_events(), labels=sample_labels())
    shares = {item.event_id: item.features["card.sum_fraud_1h"] for item in decisions}
    assert shares["p5"] == 0  # 10:30, before the label of p2 is known at 10:35
    assert shares["p6"] == 1  # 10:40
    assert engine.labelling.applied == 1


def test_labels_that_cannot_be_taken_are_counted_by_reason() -> None:
    label = sample_labels()[0]
    told = [label, {**label, "label": "froud"}, {**label, "known_at": "yesterday"}]
    engine = Engine(project())
    decisions = engine.decide([*sample_events(), {"payment_id": "bad"}], labels=told)
    assert decisions.quarantined == {"missing_time": 1}
    assert decisions.quarantined_labels == {"unknown_label": 1, "wrong_type": 1}
    assert "labels quarantined: " in repr(decisions)
    assert engine.decide([], event_type="payment").quarantined_labels == {}


def test_what_is_no_project_and_what_is_no_type_is_said() -> None:
    with pytest.raises(TypeError, match=r"Project\.load\('shop'\)"):
        Engine("shop")  # type: ignore[arg-type]
    engine = Engine(project())
    with pytest.raises(TypeError, match=r"Project\.load\('shop'\)"):
        engine.apply(Path("shop"))  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"by event type: payment.*not by payments"):
        engine.decide({"payments": []})
    with pytest.raises(InputError, match="this one is empty"):
        engine.decide({})
    assert repr(engine) == f"Engine {sample_project().definitions.settings.name}: 0 events accepted, 0 records held"


def test_a_rule_without_a_code_gives_its_name_as_the_reason() -> None:
    rule = Rule(name="any_sum", event_types=("payment",), when="amount > 0", then=Outcome.REVIEW)
    decisions = Engine(project(rules=(rule,))).decide_lines("payment", line(0))
    assert repr(decisions).startswith("1 decision\n")
    assert [reason.code for reason in decisions[0].record().reasons if reason.contribution is None] == ["any_sum"]
    assert decisions[0].reasons == ("any_sum",)


def test_a_delay_for_labels_that_are_not_there_is_refused() -> None:
    payment = sample_project().definitions.events[0]
    bare = replace(payment, labels=tuple(replace(label, source=None) for label in payment.labels))
    with pytest.raises(InputError, match="has a `from:` column"):
        Engine(project(events=(bare,))).decide(sample_events(), label_delay_us=DAY_US)


def test_questions_that_cannot_be_answered_say_why() -> None:
    engine = Engine(project(), batch_size=2)
    with pytest.raises(InputError, match="no event type 'paymnet'"):
        engine.decide([], event_type="paymnet")
    with pytest.raises(InputError, match="3 events at once; this engine takes 2"):
        engine.decide_lines("payment", line(0) + line(1) + line(2))
    with pytest.raises(ValueError, match="at least one event"):
        Engine(project(), batch_size=0)
    assert len(engine.decide_lines("payment", b"")) == 0
    assert len(engine.decide([])) == 0
    assert repr(engine.decide([{"payment_id": "a"}])).splitlines()[1] == "  quarantined: missing_time 1"


def test_only_a_rule_that_rests_reads_the_score_of_a_disabled_model() -> None:
    sample = sample_project().definitions
    reading = Rule(name="scored", event_types=("payment",), when="risk > 0.5", then=Outcome.BLOCK)
    disabled = replace(sample, models=(replace(sample.models[0], mode=Mode.DISABLED),), policies=())
    (problem,) = check_definitions(replace(disabled, rules=(reading,)))
    assert (problem.message, problem.hint) == ("risk cannot be read here", "model risk is disabled")
    resting = replace(disabled, rules=(replace(reading, mode=Mode.DISABLED), *sample.rules))
    assert not check_definitions(resting)
    (decision,) = Engine(Project(resting)).decide(sample_events()[:1])
    assert decision.outcome == "allow"
