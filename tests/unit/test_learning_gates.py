"""Tuned bands and the gates of a promotion, on histories made by hand: what is better passes, chance does not."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from parakh.cli.report.tuning_page import render
from parakh.decisions.definition import Band, Holdout, Policy
from parakh.decisions.policy import HOLDOUT
from parakh.decisions.replay import Summary
from parakh.errors import InputError
from parakh.learning.changes.drift import baseline_of
from parakh.learning.history import History
from parakh.learning.measures.costs import Costs
from parakh.learning.promotion.gates import Gates, judge, learned_until_us
from parakh.learning.promotion.thresholds import Thresholds
from parakh.learning.promotion.tuning import Limits, bands_with, threshold_of, tune
from parakh.learning.settings import GateSettings, LearningSettings
from parakh.rules.definition import Outcome, Rule

DAY_US = 86_400_000_000
START_US = 1_736_121_600_000_000  # 2025-01-06, a Monday
EVENTS = 8_000
DAYS = 40
BANDS = (Band(Outcome.BLOCK, "score >= 0.90"), Band(Outcome.REVIEW, "score >= 0.6"))
POLICY = Policy(event_type="payment", name="payment", score="m", bands=BANDS)
RULE = Rule(name="listed", event_types=("payment",), when="listed", then=Outcome.BLOCK)
NOTHING = Summary(
    received=0, accepted=0, duplicates=0, quarantined={}, late=0, decided=0, outcomes={}, seconds=0.0, judged={},
    labels={},
)  # fmt: skip


def history(policy: Policy = POLICY, *, seed: int = 0, sharp: float = 6.0, events: int = EVENTS) -> History:
    """Payments of forty days, a fraud in twenty, with a good score, a noisy one, a useless one, and one rule."""
    random = np.random.default_rng(seed)
    cause = random.normal(0, 1, events)
    chance = 1 / (1 + np.exp(5.5 - 2.2 * cause))
    fraud = random.random(events) < chance
    noisy = 1 / (1 + np.exp(5.5 - 2.2 * (cause + random.normal(0, 6.0 / sharp, events))))
    listed = random.random(events) < 0.003
    scores = {"m": noisy, "better": chance, "useless": random.random(events) * 0.1}
    score = np.full(events, math.nan) if policy.score is None else scores[policy.score]
    bands = np.array([score >= (threshold_of(band) or 0) for band in policy.bands]).reshape(len(policy.bands), events)
    outcome = np.where(listed, 3, 0).astype(np.int8)
    won = np.where(listed, 0, len(policy.bands) + 2).astype(np.int32)
    for number, (band, held) in enumerate(zip(policy.bands, bands, strict=True)):
        won[held & (outcome < band.outcome)] = number + 1
        outcome[held] = np.maximum(outcome[held], band.outcome)
    held_out = np.zeros(events, np.bool_)
    if policy.holdout is not None:
        held_out = (outcome > 0) & (random.random(events) < policy.holdout.share)
        outcome[held_out] = 0
    return History(
        event_type="payment", label="fraud", project_hash="0" * 64, currency="EUR",
        ids=pa.array([f"p{i}" for i in range(events)]),
        time_us=START_US + np.arange(events) * DAYS * DAY_US // events,
        amount=np.round(random.gamma(2.0, 40.0, events), 2),
        outcome=outcome, won=won,
        deciders=(("rule", "listed"), *(("band", b.outcome.word) for b in policy.bands), ("fallback", "review"),
                  ("otherwise", "allow")),
        score=score, scores=scores, rules=(RULE,), hits=listed.astype(np.uint64)[:, None],
        unknown=np.zeros((events, 1), np.uint64), flags=np.where(held_out, HOLDOUT, 0).astype(np.uint8),
        fraud=fraud, matured=np.ones(events, np.bool_), labelled=fraud,
        known_at_us=np.full(events, START_US), inputs={"cause": cause, "steady": random.random(events)},
        known_by_us=START_US + 60 * DAY_US, summary=NOTHING, bands=bands,
    )  # fmt: skip


def card(**changed: Any) -> dict[str, Any]:
    random = np.random.default_rng(9)
    spread = {"cause": random.normal(0, 1, 5000), "steady": random.random(5000), "score": random.random(5000)}
    said = {name: baseline_of(values).as_data() for name, values in spread.items()}
    return {"inputs": ["cause", "steady"], "baseline": said, "latency_us_per_event": 5.0, **changed}


def passed(found: Gates) -> dict[str, bool]:
    return {gate.name: gate.passed for gate in found.gates}


# -- bands ------------------------------------------------------------------------------------------------------------


def test_bands_that_lose_less_on_later_events_are_proposed() -> None:
    found = tune(history(), POLICY, bands=tuple(o for o in Outcome if o is not Outcome.ALLOW))
    assert found.proposes, found.why
    assert found.saved > 0
    assert found.saved_interval.low > 0
    assert found.chosen_earlier.loss < found.now_earlier.loss
    assert found.chosen_earlier.friction <= 1.0
    assert (found.days_earlier, found.days_later) == (27, 14)
    assert found.frauds_earlier + found.frauds_later == history().fraud.sum()
    data = json.loads(json.dumps(found.as_data()))
    assert data["bands"] == {"block": "score >= 0.90", "review": "score >= 0.6"}
    assert data["limits"] == {"reviews_per_day": None, "friction": 1.0}


def test_what_is_measured_now_is_what_was_decided() -> None:
    whole = history()
    found = tune(whole, POLICY)
    later = whole.time_us >= found.test_from_us
    cost = Costs().of(whole.outcome, whole.fraud, whole.amount)
    assert found.now_later.loss == pytest.approx(cost[later].sum())
    assert found.now_earlier.loss == pytest.approx(cost[~later].sum())
    assert found.now_later.reviews_per_day == (whole.outcome[later] == 2).sum() / 14
    stopped = later & (whole.outcome > 0)
    assert found.now_later.frauds_stopped == (stopped & whole.fraud).sum()
    assert found.now_later.friction == pytest.approx((stopped & ~whole.fraud).sum() / (later & ~whole.fraud).sum())


def test_the_best_bands_are_not_proposed_anew() -> None:
    found = tune(history(), POLICY)
    again = replace(POLICY, bands=bands_with(POLICY.bands, found.chosen))
    second = tune(history(again), again, test_from_us=found.test_from_us)
    assert second.chosen == second.now == found.chosen
    assert (second.proposes, second.saved) == (False, 0.0)
    assert "are the best there are" in second.why


def test_limits_bind_and_bands_beyond_them_are_replaced() -> None:
    free = tune(history(), POLICY)
    limits = Limits(reviews_per_day=free.now_earlier.reviews_per_day / 3, friction=free.now_earlier.friction * 0.9)
    found = tune(history(), POLICY, limits=limits)
    assert found.proposes
    assert "above the capacity" in found.why
    assert found.chosen_earlier.reviews_per_day <= limits.reviews_per_day
    assert found.chosen_earlier.friction <= limits.friction
    assert [s.limits.reviews_per_day for s in free.by_reviews] == sorted(
        s.limits.reviews_per_day for s in free.by_reviews
    )
    with pytest.raises(InputError, match=r"the rules stop .* of the good events"):
        tune(history(), POLICY, limits=Limits(friction=0.0001))


def test_a_score_that_says_nothing_is_hardly_ever_given_bands() -> None:
    """Where stopping at random costs more than it catches; else everybody would be challenged, and rightly so."""
    alone = replace(POLICY, score=None, bands=())
    dear = Costs(review=20.0, challenge=20.0, block_fixed=40.0)
    found = [tune(history(alone, seed=seed), alone, score="useless", costs=dear) for seed in range(12)]
    assert sum(each.proposes for each in found) <= 1


def test_another_score_can_be_tried_beside_the_bands_of_now() -> None:
    found = tune(history(), POLICY, score="better")
    assert (found.now, found.score) == (Thresholds(), "better")
    assert found.now_later == tune(history(), POLICY).now_later
    assert found.chosen_later.loss < found.now_later.loss


def test_bands_of_another_form_stay() -> None:
    bands = (Band(Outcome.BLOCK, "score >= 0.9"), Band(Outcome.REVIEW, "score >= 0.5 and amount > 100"))
    kept = bands_with(bands, Thresholds(block=0.8, challenge=0.00001))
    assert [band.when for band in kept] == ["score >= 0.8", "score >= 0.5 and amount > 100", "score >= 0.00001"]
    with pytest.raises(InputError, match="has to be written by hand"):
        tune(history(), replace(POLICY, bands=bands), score="better")


def test_what_was_let_through_speaks_for_what_was_stopped() -> None:
    """Labels of stopped events are wrong, as they are where nobody could charge back: the holdout's are not."""
    policy = replace(POLICY, holdout=Holdout(share=0.2, salt="0123456789abcdef"))
    truth = history(policy, events=40_000)
    blind = replace(truth, fraud=truth.fraud & (truth.outcome == 0))
    right, taken_in = tune(truth, policy, labels_of_stopped=True), tune(blind, policy, labels_of_stopped=True)
    held = tune(blind, policy)
    assert taken_in.now_later.frauds_stopped < 0.6 * right.now_later.frauds_stopped
    assert held.now_later.frauds_stopped == pytest.approx(right.now_later.frauds_stopped, rel=0.25)
    assert held.held_out == truth.held_out.sum()


@pytest.mark.parametrize("own", ["m", None])
def test_what_is_decided_now_does_not_depend_on_where_another_score_is_unknown(own: str | None) -> None:
    policy = POLICY if own else replace(POLICY, score=None, bands=())
    whole = history(policy)
    gaps = np.where(np.arange(EVENTS) % 50 == 0, math.nan, whole.scores["better"])
    found = tune(replace(whole, scores={**whole.scores, "better": gaps}), policy, score="better")
    assert found.now_later == tune(whole, policy, score="better").now_later
    later = whole.time_us >= found.test_from_us
    unknown = later & np.isnan(gaps)
    assert found.chosen_later.reviews_per_day * 14 >= unknown.sum()  # its fallback asks for a review there


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            lambda h: replace(h, matured=np.zeros(EVENTS, np.bool_), fraud=np.zeros(EVENTS, np.bool_)),
            "no event has matured",
        ),
        (lambda h: replace(h, fraud=np.zeros(EVENTS, np.bool_)), "0 matured frauds before"),
    ],
)
def test_too_little_to_choose_by_is_told(change: Any, told: str) -> None:
    with pytest.raises(InputError, match=told):
        tune(change(history()), POLICY)


def test_policies_that_cannot_be_tuned_are_told() -> None:
    whole = history()
    for policy, told in (
        (replace(POLICY, otherwise=Outcome.REVIEW), "otherwise: review"),
        (replace(POLICY, score=None, bands=()), "has no `score`"),
        (replace(POLICY, bands=(*BANDS, Band(Outcome.BLOCK, "score >= 0.8 and amount > 1"))), "two bands for block"),
    ):
        with pytest.raises(InputError, match=told):
            tune(whole, policy)
    with pytest.raises(InputError, match="no model nobody scores payment; its models are m, better, useless"):
        tune(whole, POLICY, score="nobody")


def test_the_page_is_the_same_twice_and_asks_nothing_of_anywhere() -> None:
    pytest.importorskip("matplotlib")
    found = tune(history(), POLICY)
    pages = [render(found, project="shop", past=[{"event_type": "payment"}], diff="-a < b\n+c") for _ in range(2)]
    assert pages[0] == pages[1]
    assert "a &lt; b" in pages[0]
    assert "http" not in pages[0].replace("http://www.w3.org", "").replace('http-equiv="', "")


# -- gates ------------------------------------------------------------------------------------------------------------


def test_a_better_challenger_passes_every_gate() -> None:
    found = judge(history(), challenger="better", champion="m", card=card())
    assert passed(found) == dict.fromkeys(("enough frauds", "better", "calibrated", "stable inputs", "quick"), True)
    assert found.passed
    assert found.measured["better"] > found.measured["m"]
    assert json.loads(json.dumps(found.as_data()))["gates"][1]["name"] == "better"


def test_the_champion_does_not_beat_itself_nor_noise_a_model() -> None:
    assert not passed(judge(history(), challenger="m", champion="m", card=card()))["better"]
    assert not passed(judge(history(), challenger="m", champion="better", card=card()))["better"]
    assert not passed(judge(history(), challenger="useless", champion="m", card=card()))["better"]


@pytest.mark.parametrize("metric", ["average_precision", "roc_auc", "recall_at_fpr_1pct"])
def test_a_coin_flip_rarely_passes(metric: str) -> None:
    """Two scores of the same worth: the gate opens for about one in forty, whichever measure it looks at."""
    lucky = 0
    for seed in range(30):
        whole = history(seed=seed, events=1_500)
        random = np.random.default_rng(seed + 1000)
        twin = np.clip(whole.scores["better"] + random.normal(0, 0.05, 1_500), 0, 1)
        other = np.clip(whole.scores["better"] + random.normal(0, 0.05, 1_500), 0, 1)
        whole = replace(whole, scores={"twin": twin, "other": other})
        settings = LearningSettings(gates=GateSettings(metric=metric))
        lucky += passed(judge(whole, challenger="twin", champion="other", card=card(), settings=settings, rounds=100))[
            "better"
        ]
    assert lucky <= 4


def test_frauds_of_one_person_are_no_independent_witnesses() -> None:
    """Runs of eight frauds that share their luck with each score: drawn one by one, more than one in ten passed."""
    lucky = 0
    for seed in range(60):
        random = np.random.default_rng(seed)
        whole = history(seed=seed, events=1_200)
        person = np.where(np.arange(1_200) < 200, np.arange(1_200) // 8, -1).astype(np.int32)
        fraud = person >= 0
        luck = random.normal(0, 1, (2, 25))[:, np.maximum(person, 0)] * fraud
        scores = np.where(fraud, 1.5, 0.0) + luck + random.normal(0, np.where(fraud, 0.1, 1.0), (2, 1_200))
        twin, other = 1 / (1 + np.exp(-scores))
        whole = replace(whole, scores={"twin": twin, "other": other}, fraud=fraud, person=person)
        lucky += passed(judge(whole, challenger="twin", champion="other", card=card(), rounds=100))["better"]
    assert lucky <= 3


def blinded(whole: History) -> History:
    """As labels come where nobody reports what was stopped."""
    return replace(whole, fraud=whole.fraud & (whole.outcome == 0))


def rivals(seed: int, *, champion: float, challenger: float, policy: Policy = POLICY) -> History:
    """The champion's score, by which the policy decides, and a challenger's, each with noise of its own."""
    whole = history(policy, seed=seed, sharp=6.0 / champion, events=12_000)
    random = np.random.default_rng(seed + 500)
    cause = np.asarray(whole.inputs["cause"]) + random.normal(0, challenger, 12_000)
    return replace(whole, scores={"m": whole.scores["m"], "rival": 1 / (1 + np.exp(5.5 - 2.2 * cause))})


def difference(whole: History, policy: Policy, **more: Any) -> tuple[float, bool, float]:
    """The metric of the rival less the champion's, whether the gate opens, and the error of its calibration."""
    found = judge(whole, challenger="rival", champion="m", card=card(), policy=policy, rounds=60, **more)
    gates = {gate.name: gate for gate in found.gates}
    return gates["better"].value, gates["better"].passed, gates["calibrated"].value


def test_a_worse_challenger_gains_nothing_by_what_the_champion_stopped() -> None:
    """Counted as good, what the champion stopped would make the worse one look better: it is left out, for both."""
    bands = (Band(Outcome.BLOCK, "score >= 0.4"),)
    policy = replace(POLICY, bands=bands)
    truth, blind, naive = [], [], []
    for seed in range(8):
        whole = rivals(seed, champion=1.0, challenger=1.3, policy=policy)
        truth.append(difference(whole, policy, labels_of_stopped=True))
        blind.append(difference(blinded(whole), policy))
        naive.append(difference(blinded(whole), policy, labels_of_stopped=True))
    assert np.mean([each[0] for each in truth]) < -0.02
    assert np.mean([each[0] for each in naive]) > 0.01
    assert np.mean([each[0] for each in blind]) < 0
    assert not any(each[1] for each in blind)
    better = [
        difference(blinded(rivals(seed, champion=1.3, challenger=0.2, policy=policy)), policy) for seed in range(4)
    ]
    assert sum(each[1] for each in better) >= 2

    found = judge(blinded(whole), challenger="rival", champion="m", card=card(), policy=policy, rounds=10)
    stopped = int((whole.outcome > 0).sum())
    assert (
        f"of what was stopped labels do not come: {stopped} left out, and with them the challenger's"
        in found.gates[0].why
    )
    assert found.frauds == found.gates[0].value < whole.fraud.sum()


def test_labels_that_come_of_stopped_events_count() -> None:
    """As in a simulation, where labels are known whatever was decided."""
    whole = rivals(3, champion=1.0, challenger=1.3)
    found = judge(whole, challenger="rival", champion="m", card=card(), policy=POLICY, rounds=10)
    assert found.frauds == whole.fraud.sum()
    assert "left out" not in found.gates[0].why
    # Of a few events of another outcome nothing can be told apart, so that they go with the others.
    outcome = whole.outcome.copy()
    outcome[np.flatnonzero((outcome == 0) & ~whole.fraud)[:3]] = Outcome.CHALLENGE
    found = judge(replace(whole, outcome=outcome), challenger="rival", champion="m", card=card(), rounds=10)
    assert "left out" not in found.gates[0].why


def test_the_holdout_speaks_for_what_was_stopped_at_the_gates_too() -> None:
    policy = replace(
        POLICY, bands=(Band(Outcome.BLOCK, "score >= 0.4"),), holdout=Holdout(share=0.3, salt="0123456789abcdef")
    )
    truth, blind = [], []
    for seed in range(8):
        whole = rivals(seed, champion=1.0, challenger=1.3, policy=policy)
        truth.append(difference(whole, policy, labels_of_stopped=True))
        blind.append(difference(blinded(whole), policy))
    assert np.mean([each[0] for each in blind]) == pytest.approx(np.mean([each[0] for each in truth]), abs=0.015)
    assert np.mean([each[2] for each in blind]) == pytest.approx(np.mean([each[2] for each in truth]), abs=0.005)
    found = judge(blinded(whole), challenger="rival", champion="m", card=card(), policy=policy, rounds=10)
    assert f"{whole.held_out.sum()} held-out events speak for {(whole.outcome > 0).sum()}" in found.gates[0].why


def test_the_gate_of_inputs_opens_only_for_what_it_looked_at() -> None:
    whole = history()
    spread = card()["baseline"]
    texts = pa.array(["a", "b"] * (EVENTS // 2)).dictionary_encode()
    nothing = baseline_of(np.full(5000, math.nan)).as_data() | {"count": 0}
    for kept, said, told in (
        ({"cause": whole.inputs["cause"]}, card(), "the values of steady were not kept"),
        (whole.inputs, card(baseline={"cause": spread["cause"]}), "does not say how steady was spread"),
        (whole.inputs, card(inputs=None), "does not say which inputs it reads"),
        (whole.inputs, card(inputs=[]), "does not say which inputs it reads"),
        ({**whole.inputs, "steady": texts}, card(), "steady is a text here"),
        (whole.inputs, card(baseline={**spread, "steady": baseline_of(texts).as_data()}), "steady is a text here"),
        (whole.inputs, card(baseline={**spread, "steady": nothing}), "the card knows of no value of steady"),
        (whole.inputs, card(baseline={**spread, "steady": {"shares": 1}}), "not the baseline of an input"),
    ):
        found = judge(replace(whole, inputs=kept), challenger="better", champion="m", card=said)
        gate = next(gate for gate in found.gates if gate.name == "stable inputs")
        assert not gate.passed
        assert told in gate.why


def test_each_gate_closes() -> None:
    whole = history()
    moved = {**whole.inputs, "cause": np.asarray(whole.inputs["cause"]) + 1.5}
    overconfident = {**whole.scores, "better": np.sqrt(whole.scores["better"])}
    few = LearningSettings(gates=GateSettings(positives=100_000))
    for changed, with_card, settings, closed in (
        (replace(whole, inputs=moved), card(), None, "stable inputs"),
        (replace(whole, scores=overconfident), card(), None, "calibrated"),
        (whole, card(latency_us_per_event=900.0), None, "quick"),
        (whole, card(latency_us_per_event=None), None, "quick"),
        (whole, card(baseline=None), None, "stable inputs"),
        (whole, card(), few, "enough frauds"),
    ):
        found = judge(changed, challenger="better", champion="m", card=with_card, settings=settings)
        assert [name for name, held in passed(found).items() if not held] == [closed]
        assert not found.passed
        json.dumps(found.as_data(), allow_nan=False)


def test_an_unknown_score_ranks_last() -> None:
    whole = history()
    gone = np.where(whole.fraud, math.nan, whole.scores["better"])
    found = judge(
        replace(whole, scores={**whole.scores, "better": gone}), challenger="better", champion="m", card=card()
    )
    assert not passed(found)["better"]


def test_without_a_champion_the_policy_with_it_has_to_beat_the_policy_without() -> None:
    alone = Policy(event_type="payment", name="payment")
    settings = LearningSettings(review_capacity=50, friction_limit=0.05)
    for challenger, worth in (("better", True), ("useless", False)):
        found = judge(
            history(alone), challenger=challenger, champion=None, card=card(), policy=alone, settings=settings
        )
        assert passed(found)["worth it"] is worth
        assert found.champion == ""
    whole = history(alone)
    gaps = np.where(np.arange(EVENTS) % 50 == 0, math.nan, whole.scores["better"])
    whole = replace(whole, scores={"better": gaps})
    found = judge(whole, challenger="better", champion=None, card=card(), policy=alone, settings=settings)
    assert next(gate for gate in found.gates if gate.name == "worth it").value > 0


def test_only_events_after_the_training_count() -> None:
    whole = history()
    middle = START_US + 20 * DAY_US
    found = judge(whole, challenger="better", champion="m", card=card(), from_us=middle)
    assert found.events == (whole.time_us >= middle).sum()
    assert found.from_us >= middle
    with pytest.raises(InputError, match="later than those that were learned from"):
        judge(whole, challenger="better", champion="m", card=card(), from_us=START_US + 900 * DAY_US)
    with pytest.raises(InputError, match="no model none scores"):
        judge(whole, challenger="none", champion="m", card=card())
    assert learned_until_us({"dataset": {"parts": {"train": {"to": "2025-01-06T00:00:00Z"}}}}) == START_US
    assert learned_until_us({}) is None
