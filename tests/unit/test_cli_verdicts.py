"""What is counted of decisions against the truth: sums, days, kinds, scores, rules, and what a change moves."""

from __future__ import annotations

import numpy as np

from parakh.cli.verdicts import Days, Facts, Judged, Totals, good_people_changed, movements, rule_lines, score_bins
from parakh.events.ids import IdIndex
from parakh.expressions.zones import Zone
from parakh.rules.definition import Outcome, Rule

DAY = 86_400_000_000
ALLOW, CHALLENGE, REVIEW, BLOCK = range(4)


def facts() -> Facts:
    return Facts(
        event_type="payment",
        currency="INR",
        ids=IdIndex(),
        hashes=np.zeros((6, 2), np.uint64),
        amount=np.array([100, 200, 300, 400, 500, 600]),
        person=np.array([0, 0, 1, 1, 2, -1]),
        fraud=np.array([0, 1, 0, 0, 1, -1], np.int8),
        kind=np.array([-1, 0, -1, -1, 1, -1], np.int16),
        kinds=("card_testing", "mule"),
    )


def judged(outcome: list[int], row: list[int] | None = None) -> Judged:
    rows = np.array(row if row is not None else range(len(outcome)))
    rule = Rule(name="r", event_types=("payment",), when="amount > 1", then=Outcome.BLOCK)
    return Judged(
        facts(),
        (rule,),
        rows,
        rows * DAY // 2 + 20_000 * DAY,
        np.array(outcome, np.int8),
        np.linspace(0, 1, len(outcome)),
        np.array([[1 if word == BLOCK else 0] for word in outcome], np.uint64),
    )


def test_totals_take_what_is_not_known_to_be_fraud_for_good() -> None:
    totals = Totals()
    totals.add(facts(), np.arange(6), np.array([BLOCK, BLOCK, ALLOW, REVIEW, ALLOW, BLOCK], np.int8))
    assert (totals.decided, totals.stopped, totals.frauds, totals.frauds_stopped) == (6, 4, 2, 1)
    assert (totals.fraud_amount, totals.fraud_amount_stopped, totals.fraud_amount_passed) == (700, 200, 500)
    assert (totals.good, totals.good_stopped) == (4, 3)


def test_days_kinds_and_outcomes_add_up() -> None:
    item = judged([BLOCK, BLOCK, ALLOW, REVIEW, ALLOW, BLOCK])
    days = Days({"payment": item}, Zone("UTC"))
    assert days.count == 3
    tally = days.tally(item)
    assert [sum(row) for row in tally.counts] == [2, 0, 1, 3]
    assert [sum(column) for column in zip(*tally.counts)] == [2, 2, 2]
    mule, testing = days.kinds({"payment": item})
    assert (mule.name, sum(mule.caught), sum(mule.missed), mule.missed_events) == ("mule", 0, 500, 1)
    assert (testing.name, testing.caught, testing.caught_events) == ("card_testing", (200, 0, 0), 1)


def test_scores_and_rules() -> None:
    item = judged([BLOCK, BLOCK, ALLOW, REVIEW, ALLOW, ALLOW])
    genuine, fraud = score_bins(item, 5)
    assert sum(genuine) + sum(fraud) == 6
    assert fraud == (0, 1, 0, 0, 1)
    (line,) = rule_lines(item)
    assert (line.hits, line.frauds, line.fraud_amount) == (2, 1, 200)


def test_movements_and_people_of_a_change() -> None:
    before = {"payment": judged([ALLOW, ALLOW, BLOCK, REVIEW, ALLOW, ALLOW])}
    after = {"payment": judged([BLOCK, BLOCK, ALLOW, ALLOW, ALLOW, ALLOW])}
    moved = {(item.before, item.after): item for item in movements(before, after)}
    assert set(moved) == {("allow", "block"), ("block", "allow"), ("review", "allow")}
    stopped = moved["allow", "block"]
    assert (stopped.events, stopped.amount, stopped.frauds, stopped.fraud_amount) == (2, 300, 1, 200)
    # Person 0 is newly stopped but has a fraud of their own; person 1 is good and no longer stopped.
    assert good_people_changed(before, after) == (1, 0)
    assert good_people_changed(after, before) == (0, 1)


def test_events_decided_by_one_side_only_are_not_compared() -> None:
    before = {"payment": judged([BLOCK, BLOCK], row=[0, 1])}
    after = {"payment": judged([ALLOW, ALLOW], row=[1, 2])}
    (moved,) = movements(before, after)
    assert (moved.before, moved.after, moved.events) == ("block", "allow", 1)
