"""The policy's kernel and the oracle of decisions agree on random rules, bands, scores and modes."""

from __future__ import annotations

import math
from fractions import Fraction
from random import Random

import numpy as np
import pytest

from oracle.decisions import SEVERITY, BandSays, HoldoutSays, Outcome, RuleSays, decide, is_taken
from parakh.decisions.definition import Band, Holdout, Policy
from parakh.decisions.holdout import HeldOut
from parakh.decisions.policy import DEGRADED, HOLDOUT, Judge
from parakh.expressions.columns import Column
from parakh.expressions.instructions import OVERFLOW
from parakh.expressions.types import NULL_WORD, money
from parakh.rules import definition as rules_definition

WORDS = {True: 1, False: 0, None: NULL_WORD}


def _outcome(word: str) -> rules_definition.Outcome:
    return rules_definition.Outcome[word.upper()]


def test_by_hand() -> None:
    """The sentences of design 3.7 and 3.5, one each."""
    block = RuleSays(name="stolen", then="block", holds=True)
    unknown = RuleSays(name="new_device", then="block", holds=None)
    trusted = RuleSays(name="trusted", then="allow", holds=True, override=True)
    wary = RuleSays(name="wary", then="challenge", holds=True, override=True)
    shadow = RuleSays(name="tried_out", then="block", holds=True, override=True, live=False)
    review = BandSays(then="review", holds=True)

    def outcome(*rules: RuleSays, bands: tuple[BandSays, ...] = (), score: float | None = 0.5) -> tuple[str, str]:
        found = decide(rules, bands, otherwise="allow", fallback="review", scored=True, score=score)
        return found.word, found.decided_by[1]

    assert outcome() == ("allow", "allow")
    assert outcome(block, bands=(review,)) == ("block", "stolen")
    assert outcome(unknown, bands=(review,)) == ("review", "review")
    assert outcome(block, trusted) == ("allow", "trusted")
    assert outcome(block, trusted, wary) == ("challenge", "wary")
    assert outcome(shadow) == ("allow", "allow")
    assert outcome(score=None) == ("review", "review")
    assert outcome(block, score=None) == ("block", "stolen")
    assert outcome(trusted, score=None) == ("allow", "trusted")


def test_a_holdout_by_hand() -> None:
    """The sentences of ADR 11, one each."""
    block = RuleSays(name="stolen", then="block", holds=True)
    sanctions = RuleSays(name="sanctions", then="review", holds=True, holdout=False)
    tried_out = RuleSays(name="tried_out", then="review", holds=True, holdout=False, live=False)
    trusted = RuleSays(name="trusted", then="allow", holds=True, holdout=False)
    wary = RuleSays(name="wary", then="challenge", holds=True, override=True)

    def outcome(
        *rules: RuleSays,
        taken: bool = True,
        small: bool | None = True,
        score: float | None = 0.5,
        otherwise: str = "allow",
    ) -> tuple[str, str]:
        found = decide(
            rules, (), otherwise=otherwise, fallback="review", scored=True, score=score,
            holdout=HoldoutSays(taken=taken, small=small),
        )  # fmt: skip
        assert found.held_out == (found.decided_by[0] == "holdout")
        return found.word, found.decided_by[1]

    assert outcome(block) == ("allow", "block")
    assert outcome(block, taken=False) == ("block", "stolen")
    assert outcome(block, sanctions) == ("block", "stolen")
    assert outcome(block, tried_out, trusted) == ("allow", "block")
    assert outcome(block, wary) == ("challenge", "wary")
    assert outcome(block, score=None) == ("block", "stolen")
    assert outcome(score=None) == ("review", "review")
    assert outcome(block, small=False) == outcome(block, small=None) == ("block", "stolen")
    assert outcome() == ("allow", "allow")
    assert outcome(otherwise="challenge") == ("allow", "challenge")


@pytest.mark.parametrize("size", [0, 1, 5, 70])  # 70 rules take more than one word of bits
def test_policy_equals_oracle(size: int, seed: int, rounds: int) -> None:
    random = Random(seed)
    for _ in range(rounds):
        _compare(random, rules=random.randint(0, size), rows=random.choice((1, 2, 33)))


def _compare(random: Random, *, rules: int, rows: int) -> None:
    modes = list(rules_definition.Mode)
    spared = random.choice((0.01, 0.2))
    written = tuple(
        rules_definition.Rule(
            name=f"r{number}",
            event_types=("payment",),
            when="true",
            then=_outcome(random.choice(SEVERITY)),
            mode=random.choice((modes[0], modes[0], modes[1])),
            override=random.random() < 0.1,
            holdout=random.random() >= spared,
        )
        for number in range(rules)
    )
    bands = tuple(Band(_outcome(random.choice(SEVERITY)), "true") for _ in range(random.randint(0, 3)))
    policy = Policy(
        event_type="payment",
        score=random.choice((None, "model")),
        bands=bands,
        otherwise=_outcome(random.choice(SEVERITY)),
        fallback=_outcome(random.choice(SEVERITY)),
        name=random.choice(("", "payment")),
        holdout=random.choice((None, _holdout(random))),
    )
    # Slots in random order, with a first row that belongs to somebody else.
    slots = random.sample(range(rules + len(bands) + 1), rules + len(bands) + 1)
    rule_slots, band_slots, score_slot = slots[:rules], slots[rules:-1], slots[-1]
    start, capacity = 1, rows + 2
    words = np.full((len(slots), capacity), 1, np.int64)
    chance = random.choice((0.02, 0.3))
    said = [
        [True if random.random() < chance else random.choice((False, None)) for _ in range(rows)]
        for _ in range(rules + len(bands))
    ]
    for slot, column in zip(slots, said, strict=False):
        words[slot, start : start + rows] = [WORDS[value] for value in column]
    scores = [random.choice((None, random.random())) for _ in range(rows)]
    words.view(np.float64)[score_slot, start : start + rows] = [math.nan if s is None else s for s in scores]
    flags = np.full(capacity, OVERFLOW, np.uint8)
    unanswered = [random.random() < 0.2 for _ in range(rows)]
    flags[start : start + rows] |= np.where(unanswered, DEGRADED, 0).astype(np.uint8)

    judge = Judge(
        policy,
        written,
        rule_slots=tuple(rule_slots),
        band_slots=tuple(band_slots),
        score_slot=None if policy.score is None else score_slot,
    )
    judgement = judge.judge(words, start, start + rows, flags)
    ids = [random.randbytes(16) for _ in range(rows)]
    amounts = [random.choice((None, 5_00, 12_34, random.randint(0, 20_00))) for _ in range(rows)]
    if policy.holdout is not None:
        held_out = HeldOut(policy, judge, Column("amount", 0, money("USD")))
        high, low = np.frombuffer(b"".join(ids), ">u8").astype(np.uint64).reshape(-1, 2).T
        column = np.array([NULL_WORD if amount is None else amount for amount in amounts], np.int64)
        mine = flags[start : start + rows]
        held_out.let_through(judgement, mine, (high, low), None if held_out.amount_slot is None else column)

    for row in range(rows):
        rule_says = [
            RuleSays(
                name=rule.name,
                then=rule.then.word,
                holds=said[number][row],
                override=rule.override,
                live=rule.mode is rules_definition.Mode.LIVE,
                holdout=rule.holdout,
            )
            for number, rule in enumerate(written)
        ]
        band_says = [
            BandSays(then=band.outcome.word, holds=said[rules + number][row]) for number, band in enumerate(bands)
        ]
        expected = decide(
            rule_says,
            band_says,
            otherwise=policy.otherwise.word,
            fallback=policy.fallback.word,
            scored=policy.score is not None,
            score=scores[row],
            holdout=None if policy.holdout is None else _says(policy, policy.holdout, ids[row], amounts[row]),
            degraded=unanswered[row],
        )
        got = Outcome(
            word=rules_definition.Outcome(int(judgement.outcome[row])).word,
            decided_by=judge.deciders[int(judgement.won[row])],
            degraded=bool(flags[start + row] & DEGRADED),
            held_out=bool(flags[start + row] & HOLDOUT),
        )
        assert got == expected
        assert flags[start + row] & OVERFLOW
        for number, rule in enumerate(rule_says):
            bit = 1 << (number % 64)
            assert bool(int(judgement.hits[row, number // 64]) & bit) == (rule.holds is True)
            assert bool(int(judgement.unknown[row, number // 64]) & bit) == (rule.holds is None)
    assert list(flags[:start]) == [OVERFLOW]
    assert list(flags[start + rows :]) == [OVERFLOW]


def _holdout(random: Random) -> Holdout:
    below = random.choice((None, 5.0, 12.34))
    return Holdout(
        share=random.choice((0.01, 0.2, 0.5, 1.0)), below=below, salt=random.choice(("", "0123456789abcdef"))
    )


def _says(policy: Policy, holdout: Holdout, event: bytes, amount: int | None) -> HoldoutSays:
    share = Fraction(str(holdout.share))
    small: bool | None = True
    if holdout.below is not None:
        small = None if amount is None else Fraction(amount, 100) < Fraction(str(holdout.below))
    return HoldoutSays(taken=is_taken(event, policy=policy.name, salt=holdout.salt, share=share), small=small)
