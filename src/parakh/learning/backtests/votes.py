"""Who asked for what on each event of a history: what a policy decides, and would without a rule or with one more.

The arithmetic of `decisions.policy`, counted instead of compared, so that one vote can be taken back.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from parakh.decisions.policy import DEGRADED
from parakh.learning.history import History
from parakh.rules.definition import Mode, Outcome, Rule

__all__ = ["Votes"]

Rows = NDArray[np.int64]


class Votes:
    """Votes on the events of a history: of live rules, of bands, and of the fallback where a decision was degraded.

    `outcome` is what was asked for, the most severe; what a holdout let through counts here as it was asked for.
    """

    def __init__(self, history: History) -> None:
        self.history = history
        words = {kind: Outcome[word.upper()] for kind, word in history.deciders if kind in ("fallback", "otherwise")}
        self._otherwise = words["otherwise"]
        self._plain = np.zeros((len(Outcome), len(history)), np.uint16)
        self._overriding: NDArray[np.uint16] | None = None
        self._hits = np.ascontiguousarray(history.hits.T)
        self.rows = [self._rows(number) for number in range(len(history.rules))]
        """The events that each rule hit, in shadow too."""
        for rule, rows in zip(history.rules, self.rows):
            if rule.mode is Mode.LIVE:
                self._box(rule)[rule.then, rows] += 1
        bands = [Outcome[word.upper()] for kind, word in history.deciders if kind == "band"]
        self.band_rows = [np.flatnonzero(held) for held in history.bands]
        for then, rows in zip(bands, self.band_rows):
            self._plain[then, rows] += 1
        self.degraded = np.flatnonzero(history.flags & DEGRADED)
        self._fallback = words["fallback"]
        self._plain[self._fallback, self.degraded] += 1
        self.outcome = self._decide(slice(None))
        assert np.array_equal(np.where(history.held_out, 0, self.outcome), history.outcome), "a policy that was misread"

    def without_rule(self, number: int) -> NDArray[np.int8]:
        """What would be asked for on the events that a live rule hit, had it not been there."""
        rule, rows = self.history.rules[number], self.rows[number]
        return self._changed(rows, rule.then, -1, override=rule.override)

    def with_rule(self, number: int) -> NDArray[np.int8]:
        """What would be asked for on the events that a rule in shadow hit, were it live."""
        rule, rows = self.history.rules[number], self.rows[number]
        return self._changed(rows, rule.then, 1, override=rule.override)

    def without_band(self, number: int, then: Outcome) -> NDArray[np.int8]:
        """What would be asked for where a band held, had it not been there."""
        return self._changed(self.band_rows[number], then, -1, override=False)

    def overridden(self) -> NDArray[np.bool_]:
        """Where a live rule that overrides decided."""
        if self._overriding is None:
            return np.zeros(len(self.history), np.bool_)
        return np.asarray(self._overriding.any(axis=0))

    def _changed(self, rows: Rows, then: Outcome, by: int, *, override: bool) -> NDArray[np.int8]:
        plain = self._plain[:, rows]
        overriding = None if self._overriding is None else self._overriding[:, rows]
        if override and overriding is None:
            overriding = np.zeros_like(plain)
        box = overriding if override else plain
        assert box is not None
        box[then] += np.uint16(by % 2**16)  # wraps: one less
        return self._outcome(plain, overriding)

    def _decide(self, rows: slice) -> NDArray[np.int8]:
        return self._outcome(self._plain[:, rows], None if self._overriding is None else self._overriding[:, rows])

    def _outcome(self, plain: NDArray[np.uint16], overriding: NDArray[np.uint16] | None) -> NDArray[np.int8]:
        outcome = np.full(plain.shape[1], int(self._otherwise), np.int8)
        for votes in (plain, overriding):
            for then in Outcome if votes is not None else ():
                assert votes is not None
                outcome[votes[then] > 0] = then
        return outcome

    def _box(self, rule: Rule) -> NDArray[np.uint16]:
        if not rule.override:
            return self._plain
        if self._overriding is None:
            self._overriding = np.zeros_like(self._plain)
        return self._overriding

    def _rows(self, number: int) -> Rows:
        return np.flatnonzero((self._hits[number >> 6] >> np.uint64(number & 63)) & np.uint64(1))
