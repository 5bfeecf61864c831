"""The arithmetic of a back-test on histories made by hand: votes, overlaps, segments, estimates, and a page of all."""

from __future__ import annotations

import json
import math
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from parakh.cli.report.backtest_page import render
from parakh.cli.report.backtest_words import about_labels, about_stopped, change_verdict, verdict
from parakh.decisions.definition import Policy
from parakh.decisions.replay import Summary
from parakh.errors import InputError
from parakh.learning.backtests import records
from parakh.learning.backtests.backtest import BackTest, backtest
from parakh.learning.backtests.records import overlaps, rule_records
from parakh.learning.backtests.versus import compare
from parakh.learning.backtests.votes import Votes
from parakh.learning.history import History
from parakh.learning.measures.intervals import wilson
from parakh.rules.definition import Mode, Outcome, Rule

DAY_US = 86_400_000_000
START_US = 1_736_121_600_000_000  # 2025-01-06, a Monday
POLICY = Policy(event_type="payment", name="payment")
NOTHING = Summary(
    received=0, accepted=0, duplicates=0, quarantined={}, late=0, decided=0, outcomes={}, seconds=0.0, judged={},
    labels={},
)  # fmt: skip


def rule(name: str, then: Outcome, **more: Any) -> Rule:
    return Rule(name=name, event_types=("payment",), when=f"{name} = 1", then=then, **more)


def history(
    rules: Sequence[Rule],
    hits: Sequence[Sequence[int]],
    *,
    fraud: Sequence[int] = (),
    amount: Sequence[float] = (),
    matured: Sequence[int] | None = None,
    events: int = 8,
    days: int = 1,
) -> History:
    """`hits` are the events that each rule hit; the outcome is what the rules ask for."""
    sets = np.zeros((events, max(1, -(-len(rules) // 64))), np.uint64)
    outcome, won = np.zeros(events, np.int8), np.full(events, len(rules) + 1, np.int32)
    overridden = np.zeros(events, np.bool_)
    for number, (item, rows) in enumerate(zip(rules, hits, strict=True)):
        for row in rows:
            sets[row, number >> 6] |= np.uint64(1 << (number & 63))
            if item.mode is not Mode.LIVE:
                continue
            above = (item.override, int(item.then)) > (bool(overridden[row]), int(outcome[row]))
            if above or won[row] == len(rules) + 1:
                outcome[row], won[row], overridden[row] = item.then, number, item.override
    known = np.ones(events, np.bool_) if matured is None else np.isin(np.arange(events), matured)
    bad = np.isin(np.arange(events), fraud) & known
    return History(
        event_type="payment",
        label="fraud",
        project_hash="0" * 64,
        currency="EUR",
        ids=pa.array([f"p{i}" for i in range(events)]),
        time_us=START_US + np.arange(events) * days * DAY_US // 4,
        amount=np.array(amount or [100.0] * events),
        outcome=outcome,
        won=won,
        deciders=(*(("rule", item.name) for item in rules), ("fallback", "review"), ("otherwise", "allow")),
        score=np.full(events, math.nan),
        scores={},
        rules=tuple(rules),
        hits=sets,
        unknown=np.zeros_like(sets),
        flags=np.zeros(events, np.uint8),
        fraud=bad,
        matured=known,
        labelled=bad,
        known_at_us=np.where(bad, START_US, np.iinfo(np.int64).min),
        inputs={},
        known_by_us=START_US + 40 * DAY_US,
        summary=NOTHING,
    )


def by_name(found: History) -> dict[str, Any]:
    return {
        record.name: record for record in rule_records(Votes(found), lambda out, bad, money: money * (out == 0) * bad)
    }


def test_a_rule_alone_is_one_that_no_other_stands_in_for() -> None:
    rules = [rule("a", Outcome.BLOCK), rule("b", Outcome.REVIEW), rule("c", Outcome.CHALLENGE, mode=Mode.SHADOW)]
    found = by_name(history(rules, [[0, 1, 2], [1], [3, 1]], fraud=[0, 1, 3, 5]))
    assert (found["a"].hits, found["a"].frauds, found["a"].alone_frauds, found["a"].alone_good) == (3, 2, 1, 1)
    assert found["a"].fraud_share == 0.5
    assert found["b"].alone_events == 0
    assert (found["c"].alone_frauds, found["c"].saved) == (1, 100.0)  # event 3 goes through while it is in shadow
    assert (found["a"].saved, found["b"].saved) == (100.0, 0.0)


def test_an_overriding_rule_decides_alone_and_gives_way_when_it_is_gone() -> None:
    rules = [rule("trusted", Outcome.ALLOW, override=True), rule("a", Outcome.BLOCK)]
    found = by_name(history(rules, [[0], [0, 1]], fraud=[0]))
    assert found["trusted"].saved == -100.0  # without it the fraud would have been blocked
    assert found["a"].saved == 0
    shadow = [replace(rules[0], mode=Mode.SHADOW), rules[1]]
    assert by_name(history(shadow, [[0], [0, 1]], fraud=[0]))["trusted"].saved == -100.0


def test_overlaps_are_counted_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "_CHUNK", 7)
    random = np.random.default_rng(3)
    hits = [np.flatnonzero(random.random(100) < share).tolist() for share in (0.5, 0.3, 0.9, 0.0)] * 20
    rules = [rule(f"r{number}", Outcome.REVIEW) for number in range(len(hits))]
    both = overlaps(Votes(history(rules, hits, events=100)))
    assert both.tolist() == [[len(set(one) & set(other)) for other in hits] for one in hits]


def test_wilson_is_the_textbook_interval() -> None:
    assert wilson(0.5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert wilson(1.0, 3)[1] == 1.0


@pytest.mark.parametrize("nobody", [-1, None])
def test_a_change_is_drawn_by_days_where_events_belong_to_nobody(nobody: int | None) -> None:
    """A replay gives each event a person, -1 for nobody: forty good events of ten days, some newly blocked."""
    rules = [rule("a", Outcome.BLOCK)]
    person = np.zeros(0, np.int32) if nobody is None else np.full(40, nobody, np.int32)
    old, new = (replace(history(rules, [hit], events=40, days=1), person=person) for hit in ([], [0, 1, 2, 3, 20]))
    found = compare(old, new)
    assert found.resampled == "days"
    known = replace(new, person=np.where(np.arange(40) % 2, np.arange(40), -1).astype(np.int32))
    assert compare(replace(old, person=known.person), known).resampled == "people"


def test_events_that_one_policy_alone_decided_are_left_out() -> None:
    rules = [rule("a", Outcome.BLOCK)]
    old = history(rules, [[0, 1]], fraud=[0, 2])
    new = history(rules, [[1, 2]], fraud=[0, 2])
    found = compare(old.take(np.array([5, 0, 1, 2])), new.take(np.array([1, 2, 3, 0])))
    assert (found.events, found.only_old, found.only_new) == (3, 1, 1)
    assert [(item.before, item.after, item.sums.events) for item in found.moved] == [
        ("allow", "block", 1), ("block", "allow", 1),
    ]  # fmt: skip
    assert [item.event_id for item in found.examples["fraud newly let through"]] == ["p0"]
    assert found.examples["fraud newly let through"][0].reasons == (("a", "a = 1"),)
    assert found.resampled == "days"
    with pytest.raises(InputError, match="nothing to compare"):
        compare(old.take(np.array([0])), new.take(np.array([1])))


@pytest.mark.parametrize("fraud", [[], [0]])
@pytest.mark.parametrize("matured", [[], [0], None])
@pytest.mark.parametrize("amount", [[math.nan] * 8, [10.0] * 8])
def test_whatever_is_not_known_is_said_and_not_a_number(
    fraud: list[int], matured: list[int] | None, amount: list[float]
) -> None:
    rules = [rule("a", Outcome.REVIEW)]
    known = history(rules, [[0, 1]], fraud=fraud, matured=matured, amount=amount)
    found = backtest(known, POLICY)
    json.dumps(found.as_data(), allow_nan=False)
    assert verdict(found)
    change = compare(known, history(rules, [[3]], fraud=fraud, matured=matured, amount=amount))
    json.dumps(change.as_data(), allow_nan=False)
    assert change_verdict(change, "EUR")
    if matured == []:
        assert "No event has matured" in verdict(found)
        assert math.isnan(found.total.recall)
        assert "8 events had not matured" in about_labels(found)[0]
    assert "no holdout" in about_stopped(found)[0]


def page_of(found: BackTest, other: History, known: History) -> str:
    return render(found, compare(other, known), project="shop", past=[{"file": "payment.ndjson"}])


def test_the_page_is_well_formed_and_the_same_twice() -> None:
    pytest.importorskip("matplotlib")
    rules = [rule("<script>", Outcome.BLOCK), rule("b", Outcome.REVIEW), rule("c", Outcome.CHALLENGE)]
    known = history(rules, [[0, 1, 2], [1, 2], [5]], fraud=[0, 1, 3], events=60, days=3)
    known = replace(known, inputs={"country": pa.array(["IN", "US", None] * 20).dictionary_encode()})
    other = history(rules, [[0], [1], [5, 6, 7]], fraud=[0, 1, 3], events=60, days=3)
    found = backtest(known, POLICY)
    page = page_of(found, other, known)
    assert page == page_of(backtest(known, POLICY), other, known)
    root = ET.fromstring(page.removeprefix("<!doctype html>\n"))
    titles = [item.text for item in root.iter("h2")]
    assert titles == [
        "Old against new", "Outcomes", "Over time", "Rules and bands", "Overlap", "By country", "What was stopped",
        "Events that matter most",
    ]  # fmt: skip
    assert "<script>" not in page
    assert not [part for part in page.split('"') if part.startswith("http") and "w3.org" not in part]
