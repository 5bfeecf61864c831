"""Rules that data suggest: planted ones are found, chance suggests nothing, and figures are those of a plain count."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parakh.errors import InputError
from parakh.expressions.types import BOOLEAN, INTEGER, NULL_WORD, NUMBER, STRING, money
from parakh.learning.measures.costs import Costs
from parakh.learning.suggesting.evidence import Facts, Search, Suggested
from parakh.learning.suggesting.mining import Mine, mine
from parakh.learning.suggesting.suggestions import suggest
from parakh.learning.suggesting.terms import Condition, Mask, Term, plain, rounded
from parakh.rules.definition import Outcome

DAY_US = 86_400_000_000
TYPES = {
    "amount": money("EUR"), "tries": INTEGER, "share": NUMBER, "noise": NUMBER, "night": BOOLEAN, "category": STRING,
}  # fmt: skip
POSSIBLE = (
    Term("amount", ">", 180.0), Term("amount", "<", 3.5), Term("tries", ">=", 4.0), Term("share", ">=", 0.75),
    Term("share", "<=", 0.2), Term("night", "true"), Term("night", "false"), Term("category", "=", "gift cards"),
    Term("share", "is null"),
)  # fmt: skip


def events(rng: np.random.Generator, n: int) -> dict[str, np.ndarray | pa.DictionaryArray]:
    share = rng.random(n).round(3)
    share[rng.random(n) < 0.15] = np.nan
    names = pa.array(["groceries", "travel", "gift cards", "fuel", "books"])
    return {
        "amount": np.round(rng.lognormal(3.5, 1.1, n), 2),
        "tries": rng.poisson(1.6, n).astype(np.float64),
        "share": share,
        "noise": rng.normal(size=n),
        "night": (rng.random(n) < 0.3).astype(np.float64),
        "category": pa.DictionaryArray.from_arrays(pa.array(rng.integers(0, 5, n)), names),
    }


def facts(values: dict[str, np.ndarray | pa.DictionaryArray], fraud: Mask, *, stopped: Mask | None = None) -> Facts:
    n = fraud.size
    time_us = np.sort(np.random.default_rng(5).integers(0, 60 * DAY_US, n))
    return Facts(
        ids=pa.array([f"e{number}" for number in range(n)]),
        time_us=time_us,
        amount=np.asarray(values["amount"]),
        fraud=fraud,
        matured=np.ones(n, np.bool_),
        known_at_us=np.where(fraud, time_us + 5 * DAY_US, NULL_WORD),
        stopped=np.zeros(n, np.bool_) if stopped is None else stopped,
        values=values,
        types=TYPES,
    )


def overlap(one: Mask, other: Mask) -> float:
    return float((one & other).sum() / max((one | other).sum(), 1))


def searched(made: Facts, **asked: object) -> Suggested:
    return suggest(made, Search(**asked), Costs())  # type: ignore[arg-type]


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.sets(st.sampled_from(POSSIBLE), min_size=1, max_size=3), st.integers(0, 2**32))
def test_a_planted_rule_is_found(terms: set[Term], seed: int) -> None:
    if len({term.name for term in terms}) < len(terms):
        return
    rng = np.random.default_rng(seed)
    values = events(rng, 30_000)
    planted = Condition(tuple(sorted(terms, key=str)))
    hits = planted.holds(values)
    fraud = (hits & (rng.random(hits.size) < 0.9)) | (rng.random(hits.size) < 0.002)
    if (hits.sum() < 150) or hits.mean() > 0.4:
        return
    # What a fraud of a small amount saves may be less than a look at it costs: here its precision counts.
    made = replace(facts(values, fraud), amount=np.full(hits.size, 50.0))
    found = searched(made).suggestions
    assert found, f"{planted}, seed {seed}"
    best = max(overlap(item.condition.holds(values), hits) for item in found)
    assert best > 0.9, f"{planted}, seed {seed}: {[str(item.condition) for item in found]}"


@pytest.mark.parametrize("precision", [0.12, 0.5])
def test_chance_suggests_nothing(precision: float) -> None:
    seeds = 60
    quiet = judged = 0
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        values = events(rng, 12_000)
        made = facts(values, rng.random(12_000) < 0.1)
        found = searched(made, precision=precision)
        quiet += not found.suggestions
        judged += found.tried
    assert quiet >= 0.95 * seeds, f"quiet in {quiet} of {seeds} seeds, {judged} conditions judged"


def test_figures_are_those_of_a_plain_count() -> None:
    rng = np.random.default_rng(3)
    values = events(rng, 40_000)
    amount = np.asarray(values["amount"])
    fraud = ((amount > 200) & (rng.random(40_000) < 0.8)) | (rng.random(40_000) < 0.01)
    stopped = rng.random(40_000) < 0.3
    made = facts(values, fraud, stopped=stopped)
    found = searched(made)
    first = found.suggestions[0]
    late = made.time_us >= found.judged[0]
    hits = late & (amount > 200)
    assert str(first.condition) == "amount > 200"
    new = hits & ~stopped
    assert (first.hits, first.frauds) == (int(new.sum()), int((new & fraud).sum()))
    assert first.precision.value == pytest.approx(fraud[new].mean())
    assert first.whole_precision == pytest.approx(fraud[hits].mean())
    assert first.recall == pytest.approx((new & fraud).sum() / (late & fraud & ~stopped).sum())
    assert first.amount.value == pytest.approx(amount[new & fraud].sum())
    assert first.saved.value == pytest.approx(amount[new & fraud].sum() - 2 * new.sum())
    assert first.precision.low < first.precision.value < first.precision.high
    assert first.expires_us == made.time_us.max() + 90 * DAY_US
    assert first.alone_frauds == first.frauds
    assert all(item.fraud and item.amount > 200 for item in first.examples)
    assert [expected for _, expected in first.tests] == ["hit", "no_hit"]
    assert first.tests[0][0]["amount"] > 200 >= first.tests[1][0]["amount"]


def test_nothing_of_the_later_span_is_mined() -> None:
    """Values of the later span and of the gap changed at will: what is judged stays the same."""
    rng = np.random.default_rng(4)
    values = events(rng, 30_000)
    amount = np.asarray(values["amount"])
    made = facts(values, (amount > 150) & (rng.random(30_000) < 0.9))
    found = searched(made)
    after = made.time_us >= found.mined[1]
    turned = dict(values)
    turned["amount"] = np.where(after, 1.0, amount)
    other = searched(replace(made, values=turned, fraud=made.fraud & ~after | (after & (rng.random(30_000) < 0.1))))
    assert not other.suggestions
    assert [when for when, _ in other.fell] == [str(item.condition) for item in found.suggestions]


def test_what_is_stopped_already_is_not_suggested() -> None:
    rng = np.random.default_rng(6)
    values = events(rng, 30_000)
    amount, tries = np.asarray(values["amount"]), np.asarray(values["tries"])
    fraud = (amount > 200) | ((tries >= 5) & (rng.random(30_000) < 0.9))
    made = facts(values, fraud, stopped=amount > 200)
    assert [str(item.condition) for item in searched(made).suggestions] == ["tries >= 5"]


def test_a_rule_that_is_there_or_was_rejected_is_not_suggested_again() -> None:
    rng = np.random.default_rng(7)
    values = events(rng, 30_000)
    amount = np.asarray(values["amount"])
    made = facts(values, (amount > 200) & (rng.random(30_000) < 0.9))
    assert [str(item.condition) for item in searched(made).suggestions] == ["amount > 200"]
    there = searched(replace(made, rules={"rule large": amount > 210}))
    assert not there.suggestions
    assert there.fell == (("amount > 200", "hits nearly as rule large"),)
    rejected = suggest(made, Search(), Costs(), rejected=[Condition((Term("amount", ">", 205.0),))])
    assert not rejected.suggestions
    gone = suggest(made, Search(), Costs(), rejected=[Condition((Term("gone", ">", 205.0),))])
    assert len(gone.suggestions) == 1


def test_one_bad_day_is_no_pattern() -> None:
    rng = np.random.default_rng(8)
    values = events(rng, 30_000)
    made = facts(values, np.zeros(30_000, np.bool_))
    found = np.asarray(values["amount"]) > 150
    day = made.time_us // DAY_US
    fraud = found & ((day < 30) | (day == 50)) | (rng.random(30_000) < 0.004)
    made = replace(made, fraud=fraud, known_at_us=np.where(fraud, made.time_us, NULL_WORD))
    told = searched(made, precision=0.04)
    assert not told.suggestions
    assert any("few days" in why for _, why in told.fell), told.fell


def test_the_same_past_gives_the_same_suggestions() -> None:
    rng = np.random.default_rng(9)
    values = events(rng, 30_000)
    made = facts(values, (np.asarray(values["amount"]) > 150) & (rng.random(30_000) < 0.9))
    assert searched(made).as_data() == searched(made).as_data()


def test_too_little_of_the_past_is_said() -> None:
    rng = np.random.default_rng(10)
    values = events(rng, 2_000)
    with pytest.raises(InputError, match="0 of 1,100 events that passed in the span to be mined"):
        searched(facts(values, np.zeros(2_000, np.bool_)))
    with pytest.raises(InputError, match="good events beside them"):
        searched(facts(values, np.ones(2_000, np.bool_)))
    immature = replace(facts(values, np.zeros(2_000, np.bool_)), matured=np.zeros(2_000, np.bool_))
    with pytest.raises(InputError, match="no event is matured"):
        searched(immature)
    with pytest.raises(InputError, match="between 0 and 1"):
        searched(immature, precision=1.0)


def test_useless_inputs_do_no_harm() -> None:
    rng = np.random.default_rng(11)
    values = events(rng, 20_000)
    amount = np.asarray(values["amount"])
    values["constant"] = np.ones(20_000)
    values["nothing"] = np.full(20_000, np.nan)
    ids = pa.array([f"c{number}" for number in range(20_000)])
    values["card"] = pa.DictionaryArray.from_arrays(pa.array(np.arange(20_000)), ids)
    types = TYPES | {"constant": NUMBER, "nothing": NUMBER, "card": STRING}
    made = replace(facts(values, amount > 200), values=values, types=types)
    assert [str(item.condition) for item in searched(made).suggestions] == ["amount > 200"]


def test_a_cut_is_a_number_that_a_person_would_write() -> None:
    rng = np.random.default_rng(12)
    amount = np.round(rng.uniform(0, 500, 20_000), 2)
    kinds = {"amount": money("EUR").kind}
    for limit in (220.0, 401.0, 155.0):
        found = mine(Mine(values={"amount": amount}, kinds=kinds, fraud=amount > limit), most=1)
        assert str(found[0]) == f"amount > {plain(limit)}"
    found = mine(Mine(values={"amount": amount}, kinds=kinds, fraud=amount < 12), most=1)
    assert str(found[0]) == "amount < 12"


def test_a_limit_of_a_count_is_a_whole_number() -> None:
    tries = np.random.default_rng(14).poisson(0.4, 20_000).astype(np.float64)
    for fraud, wanted in ((tries >= 1, "tries >= 1"), (tries < 1, "tries <= 0")):
        task = Mine(values={"tries": tries}, kinds={"tries": INTEGER.kind}, fraud=fraud)
        assert [str(found) for found in mine(task, most=2)] == [wanted]


@given(st.floats(-1e9, 1e9), st.integers(1, 6))
def test_rounding_keeps_the_value_between(value: float, digits: int) -> None:
    nearest, low, high = rounded(value, digits)
    assert low <= value <= high
    assert nearest in (low, high)
    assert len(plain(abs(nearest)).replace(".", "").strip("0")) <= digits


def test_texts_are_quoted_and_found() -> None:
    values = pa.DictionaryArray.from_arrays(pa.array([0, 1, None, 0]), pa.array(["O'Neill", "x"]))
    term = Term("merchant", "=", "O'Neill")
    assert str(term) == "merchant = 'O''Neill'"
    assert term.holds(values).tolist() == [True, False, False, True]
    assert Term("merchant", "=", "other").holds(values).tolist() == [False] * 4
    assert Term("merchant", "is null").holds(values).tolist() == [False, False, True, False]
    assert Condition.of_data(Condition((term,)).as_data()) == Condition((term,))


def test_the_outcome_decides_what_is_saved() -> None:
    rng = np.random.default_rng(13)
    values = events(rng, 20_000)
    made = facts(values, (np.asarray(values["amount"]) > 200) & (rng.random(20_000) < 0.9))
    costs = Costs(block_fixed=1e6)
    assert suggest(made, Search(then=Outcome.REVIEW), costs).suggestions
    blocked = suggest(made, Search(then=Outcome.BLOCK), costs)
    assert blocked.fell == (("amount > 200", "it costs more than it saves"),)
