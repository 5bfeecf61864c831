"""The holdout of a policy: a share of the events that it would stop are let through, so that their labels become known.

The choice is a keyed hash of the event's id and asks nothing else, so that it is the same live, in a replay and in
batches of any size; a larger share lets through the same events and more. What may never pass is exempt: see
`HeldOut.let_through`, and docs/adr/0011-holdout.md.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from parakh.decisions.definition import Policy
from parakh.decisions.policy import DEGRADED, HOLDOUT, Judge, Judgement
from parakh.expressions.columns import Column
from parakh.expressions.types import NULL_WORD
from parakh.rules.definition import STOPPING, Mode, Outcome

__all__ = ["HeldOut"]

_CHANCES = 2**64


class HeldOut:
    """The holdout of one event type's policy, compiled; `amount` is the column that its `below` is about."""

    def __init__(self, policy: Policy, judge: Judge, amount: Column | None) -> None:
        holdout = policy.holdout
        assert holdout is not None, "a policy without a holdout needs none of this"
        # The policy's name keeps two policies apart, and the salt its choices from whoever knows names and ids.
        self._key = hashlib.sha256(f"{policy.name}\0{holdout.salt}".encode()).digest()
        self._bound = round(holdout.share * _CHANCES)
        self._first = len(judge.deciders) - len(STOPPING) - int(STOPPING[0])
        self._exempt_hits = np.zeros(max(1, -(-len(judge.rules) // 64)), np.uint64)
        self._exempt_deciders = np.array([kind == "fallback" for kind, _ in judge.deciders], np.bool_)
        for number, rule in enumerate(judge.rules):
            self._exempt_deciders[number] = rule.override
            if rule.mode is Mode.LIVE and not rule.holdout and rule.then is not Outcome.ALLOW:
                self._exempt_hits[number >> 6] |= np.uint64(1 << (number & 63))
        self.amount_slot: int | None = None
        if holdout.below is not None:
            assert amount is not None, "the check of a project sees that there is an amount"
            self.amount_slot = amount.slot
            self._below = round(holdout.below * 10**amount.type.digits)

    def let_through(
        self,
        judgement: Judgement,
        flags: NDArray[np.uint8],
        ids: tuple[NDArray[np.uint64], NDArray[np.uint64]],
        amounts: NDArray[np.int64] | None,
    ) -> None:
        """Change the judgement of the rows that are held out, and set HOLDOUT in their flags; one element a row.

        `ids` are the two words of the ids' hashes, `amounts` the column of `amount_slot`. Exempt are rows that an
        overriding rule or the fallback decided, that are degraded, that a live rule with `holdout: false` hit, and,
        where only small amounts are held out, those whose amount is unknown.
        """
        outcome, won = judgement.outcome, judgement.won
        # First what leaves the fewest rows: most events are allowed, and chance takes few of the others.
        rows = np.flatnonzero(outcome)
        if not rows.size:
            return
        rows = rows[self._chosen(ids[0][rows], ids[1][rows])]
        if not rows.size:
            return
        may = (flags[rows] & DEGRADED == 0) & ~self._exempt_deciders[won[rows]]
        may &= ~(judgement.hits[rows] & self._exempt_hits).any(axis=1)
        if amounts is not None:
            may &= (amounts[rows] != NULL_WORD) & (amounts[rows] < self._below)
        rows = rows[may]
        won[rows] = self._first + outcome[rows].astype(np.int32)
        outcome[rows] = Outcome.ALLOW
        flags[rows] |= HOLDOUT

    def _chosen(self, high: NDArray[np.uint64], low: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Of each id whether chance takes it."""
        key, bound = self._key, self._bound
        words = np.empty((high.size, 2), ">u8")
        words[:, 0], words[:, 1] = high, low
        data = words.tobytes()
        taken = [
            int.from_bytes(hashlib.blake2b(data[at : at + 16], digest_size=8, key=key).digest(), "big") < bound
            for at in range(0, len(data), 16)
        ]
        return np.array(taken, np.bool_)
