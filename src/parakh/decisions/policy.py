"""From rules' results and the score to an outcome: the policy, pure, per row.

Precedence (shown in every record as what won): among overriding rules that hit, the most severe decides alone; else the
most severe of the rules that hit, the bands that hold and - where the score is unknown - the fallback; else
`otherwise`. Of equals the first in the project's order wins.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parakh.decisions.definition import Policy
from parakh.expressions.instructions import OVERFLOW
from parakh.expressions.kernels import kernel
from parakh.expressions.types import NULL_WORD
from parakh.rules.definition import STOPPING, Mode, Rule

__all__ = ["DEGRADED", "FLAG_NAMES", "HOLDOUT", "LATE", "Judge", "Judgement", "judge_all"]

LATE = 2
DEGRADED = 4
HOLDOUT = 8
"""Bits of a row's flags beside OVERFLOW: too late for its windows; something that the decision needs did not answer;
let through as one of the policy's holdout."""

FLAG_NAMES = ((LATE, "late"), (DEGRADED, "degraded"), (HOLDOUT, "held_out"), (OVERFLOW, "overflow"))

_LIVE = 1
_OVERRIDE = 2
_NULL = NULL_WORD


@dataclass(slots=True)
class Judgement:
    """Outcomes of the rows [start, stop) of a frame; arrays have one element a row.

    `won` indexes the judge's `deciders`; `hits` and `unknown` are bit sets over the rules, 64 a word. `stopped` is how
    many are not allowed, as they were judged.
    """

    outcome: NDArray[np.int8]
    won: NDArray[np.int32]
    hits: NDArray[np.uint64]
    unknown: NDArray[np.uint64]
    stopped: int

    def take(self, rows: NDArray[np.int64]) -> Judgement:
        """The judgement of some of the rows."""
        outcome = self.outcome[rows]
        return Judgement(outcome, self.won[rows], self.hits[rows], self.unknown[rows], int(np.count_nonzero(outcome)))


class Judge:
    """A policy and the rules of one event type, compiled to arrays.

    `deciders` names what can win, in the order of `Judgement.won`: the rules, the bands, the fallback, otherwise; and,
    where the policy has a holdout, that with each outcome that it can stand in for (see `decisions.holdout`).
    """

    def __init__(
        self,
        policy: Policy,
        rules: tuple[Rule, ...],
        *,
        rule_slots: tuple[int, ...],
        band_slots: tuple[int, ...],
        score_slot: int | None,
    ) -> None:
        self.rules = rules
        self.deciders = (
            *(("rule", rule.name) for rule in rules),
            *(("band", band.outcome.word) for band in policy.bands),
            ("fallback", policy.fallback.word),
            ("otherwise", policy.otherwise.word),
            *(("holdout", outcome.word) for outcome in STOPPING if policy.holdout is not None),
        )
        self.set_words = max(1, -(-len(rules) // 64))
        live = [(_LIVE if rule.mode is Mode.LIVE else 0) | (_OVERRIDE if rule.override else 0) for rule in rules]
        self.arguments = (
            np.array(rule_slots, np.int64),
            np.array([int(rule.then) for rule in rules], np.int8),
            np.array(live, np.uint8),
            np.array(band_slots, np.int64),
            np.array([int(band.outcome) for band in policy.bands], np.int8),
            np.int64(-1 if score_slot is None else score_slot),
            np.int64(policy.otherwise),
            np.int64(policy.fallback),
        )

    def held_out(self, judgement: Judgement, flags: NDArray[np.uint8]) -> dict[str, int]:
        """How many the policy's holdout let through, by the outcome that each would have had."""
        if self.deciders[-1][0] != "holdout":
            return {}
        won, counts = np.unique(judgement.won[flags & HOLDOUT != 0], return_counts=True)
        return {self.deciders[number][1]: count for number, count in zip(won.tolist(), counts.tolist())}

    def judge(self, words: NDArray[np.int64], start: int, stop: int, flags: NDArray[np.uint8]) -> Judgement:
        """Decide on the rows [start, stop) of `words`; where DEGRADED is in `flags`, the fallback asks too.

        Sets DEGRADED where the score is unknown.
        """
        count = stop - start
        outcome, won = np.empty(count, np.int8), np.empty(count, np.int32)
        hits, unknown = np.zeros((2, count, self.set_words), np.uint64)
        stopped = judge_all(words, start, stop, flags, *self.arguments, outcome, won, hits, unknown)
        return Judgement(outcome, won, hits, unknown, stopped)


@kernel
def judge_all(
    words: Any, start: Any, stop: Any, flags: Any, rule_slots: Any, rule_outcomes: Any, rule_modes: Any,
    band_slots: Any, band_outcomes: Any, score_slot: Any, otherwise: Any, fallback: Any,
    outcome: Any, won: Any, hits: Any, unknown: Any,
) -> Any:  # fmt: skip
    """Judge the rows; returns how many are not allowed."""
    rules = rule_slots.shape[0]
    bands = band_slots.shape[0]
    for i in range(stop - start):
        outcome[i] = -1
        won[i] = rules + bands + 1
    # First the overrides: a row decided by one is marked by adding 8 to its outcome, so that nothing later can win.
    for rule in range(rules):
        slot = rule_slots[rule]
        asked = rule_outcomes[rule]
        mode = rule_modes[rule]
        if mode & _OVERRIDE:
            asked += 8
        bit = np.uint64(1) << np.uint64(rule & 63)
        word = rule >> 6
        for i in range(stop - start):
            value = words[slot, start + i]
            if value == 1:
                hits[i, word] |= bit
                if mode & _LIVE and asked > outcome[i]:
                    outcome[i] = asked
                    won[i] = rule
            elif value == _NULL:
                unknown[i, word] |= bit
    for band in range(bands):
        slot = band_slots[band]
        asked = band_outcomes[band]
        for i in range(stop - start):
            if words[slot, start + i] == 1 and asked > outcome[i]:
                outcome[i] = asked
                won[i] = rules + band
    if score_slot >= 0:
        scores = words.view(np.float64)
        for i in range(stop - start):
            if np.isnan(scores[score_slot, start + i]):
                flags[start + i] |= DEGRADED
    for i in range(stop - start):
        if flags[start + i] & DEGRADED and fallback > outcome[i]:
            outcome[i] = fallback
            won[i] = rules + bands
    stopped = 0
    for i in range(stop - start):
        if outcome[i] < 0:
            outcome[i] = otherwise
        elif outcome[i] >= 8:
            outcome[i] -= 8
        stopped += outcome[i] != 0
    return stopped
