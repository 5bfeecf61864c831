"""The answer that is written for a whole batch is that which each record gives, byte for byte."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from parakh.decisions.engine import Engine
from parakh.decisions.samples import sample_crowd, sample_events, sample_project
from parakh.project.project import Project
from parakh.service.answer_writer import AnswerWriter, write_time
from parakh.service.answers import Shape, decided_answer, iso
from parakh.simulation import simulate

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "card-payments"


def equal(engine: Engine, decisions: object) -> int:
    count = 0
    for part in decisions.parts:  # type: ignore[attr-defined]
        records = part.records(engine.strings)
        shape = Shape.of(part.schema)
        assert AnswerWriter(part.schema).write(part, records) == [decided_answer(record, shape) for record in records]
        count += len(records)
    return count


def test_answers_of_a_simulated_fintech(tmp_path: Path) -> None:
    simulate("fintech", events=6_000, seed=4, out=tmp_path)
    engine = Engine(Project.load(EXAMPLE))
    names = [event.name for event in engine.project.definitions.events]
    decisions = engine.decide({name: tmp_path / f"{name}.ndjson" for name in names}, labels=tmp_path / "labels.ndjson")
    assert equal(engine, decisions) > 1_000
    assert {decision.outcome for decision in decisions} >= {"allow", "review", "block"}


def test_answers_of_the_sample() -> None:
    engine = Engine(sample_project())
    assert equal(engine, engine.decide(sample_events())) > 0
    assert equal(engine, engine.decide(sample_crowd())) > 0


def test_ids_that_json_escapes() -> None:
    engine = Engine(Project.load(EXAMPLE))
    ids = ['a"b', "back\\slash", "naïve", "line\nbreak", "плата", "plain-1", ""]
    events = [
        {"payment_id": one, "paid_at": "2026-01-05T10:00:00Z", "card": "c", "customer": "u", "amount": 5} for one in ids
    ]
    decisions = engine.decide(events, event_type="payment")
    assert equal(engine, decisions) == len(ids) - 1  # an empty id is none
    part = decisions.parts[0]
    answers = AnswerWriter(part.schema).write(part, part.records(engine.strings))
    told = [json.loads(answer)["event_id"] for answer in answers]
    assert told == ids[:-1]


def test_times_have_six_digits() -> None:
    times = np.array([0, 1, 1_767_225_600_000_000, 1_767_225_600_123_450], np.int64)
    assert [iso(at) for at in times.tolist()] == [f"{text}Z" for text in np.datetime_as_string(times.view("M8[us]"))]


def test_times_of_all_days_are_written_alike() -> None:
    day = 86_400_000_000
    days = np.arange(-day * 135_000, day * 2_900_000, day * 97, np.int64)  # of the years 1600 to 9900
    times = days + np.random.default_rng(5).integers(0, day, days.size)
    out = np.empty(26, np.uint8)
    for at in times.tolist():
        assert write_time(out, 0, at) == 26
        assert out.tobytes().decode() + "Z" == iso(at)
