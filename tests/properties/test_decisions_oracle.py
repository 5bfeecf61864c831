"""The policy's kernel and the oracle of decisions agree on random rules, bands, scores and modes."""

from __future__ import annotations

import math
from random import Random

import numpy as np
import pytest

from oracle.decisions import SEVERITY, BandSays, Outcome, RuleSays, decide
from parakh.decisions.definition import Band, Policy
from parakh.decisions.policy import DEGRADED, Judge
from parakh.expressions.instructions import OVERFLOW
from parakh.expressions.types import NULL_WORD
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


@pytest.mark.parametrize("size", [0, 1, 5, 70])  # 70 rules take more than one word of bits
def test_policy_equals_oracle(size: int, seed: int, rounds: int) -> None:
    random = Random(seed)
    for _ in range(rounds):
        _compare(random, rules=random.randint(0, size), rows=random.choice((1, 2, 33)))


def _compare(random: Random, *, rules: int, rows: int) -> None:
    modes = list(rules_definition.Mode)
    written = tuple(
        rules_definition.Rule(
            name=f"r{number}",
            event_types=("payment",),
            when="true",
            then=_outcome(random.choice(SEVERITY)),
            mode=random.choice((modes[0], modes[0], modes[1])),
            override=random.random() < 0.1,
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

    judge = Judge(
        policy,
        written,
        rule_slots=tuple(rule_slots),
        band_slots=tuple(band_slots),
        score_slot=None if policy.score is None else score_slot,
    )
    judgement = judge.judge(words, start, start + rows, flags)

    for row in range(rows):
        rule_says = [
            RuleSays(
                name=rule.name,
                then=rule.then.word,
                holds=said[number][row],
                override=rule.override,
                live=rule.mode is rules_definition.Mode.LIVE,
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
        )
        got = Outcome(
            word=rules_definition.Outcome(int(judgement.outcome[row])).word,
            decided_by=judge.deciders[int(judgement.won[row])],
            degraded=bool(flags[start + row] & DEGRADED),
        )
        assert got == expected
        assert flags[start + row] & OVERFLOW
        for number, rule in enumerate(rule_says):
            bit = 1 << (number % 64)
            assert bool(int(judgement.hits[row, number // 64]) & bit) == (rule.holds is True)
            assert bool(int(judgement.unknown[row, number // 64]) & bit) == (rule.holds is None)
    assert list(flags[:start]) == [OVERFLOW]
    assert list(flags[start + rows :]) == [OVERFLOW]
