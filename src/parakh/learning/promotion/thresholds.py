"""The score thresholds of a policy's bands that lose least, under what people can review and good customers bear.

Exact over all thresholds that tell events apart. With the events sorted by score, the three bands are three places
`block <= review <= challenge` in that order, and the loss of a choice is a sum of one term a place, taken from running
sums. How many events a choice sends to review grows with its review place and shrinks with its block place, and how
many good ones it stops grows with its challenge place; so each limit leaves, for each block place, a run of review
places, whose least is found in a table of least values of runs.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from parakh.errors import InputError
from parakh.learning.measures.costs import Costs
from parakh.rules.definition import Outcome

__all__ = ["Events", "Ladder", "Places", "Thresholds"]

_BANDED = (Outcome.BLOCK, Outcome.REVIEW, Outcome.CHALLENGE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """From which score on a band asks for its outcome; None where there is no such band."""

    block: float | None = None
    review: float | None = None
    challenge: float | None = None

    def of(self, outcome: Outcome) -> float | None:
        return {Outcome.BLOCK: self.block, Outcome.REVIEW: self.review, Outcome.CHALLENGE: self.challenge}[outcome]

    def asked(self, score: NDArray[np.float64]) -> NDArray[np.int8]:
        """The outcome that the bands ask for at each score, -1 where none does or the score is NaN.

        >>> Thresholds(block=0.9, challenge=0.5).asked(np.array([0.95, 0.6, 0.1])).tolist()
        [3, 1, -1]
        """
        asked = np.full(score.size, -1, np.int8)
        for outcome in reversed(_BANDED):
            threshold = self.of(outcome)
            if threshold is not None:
                asked[score >= threshold] = outcome
        return asked


@dataclass(frozen=True, slots=True, kw_only=True)
class Events:
    """Events as thresholds see them, arrays with one element an event.

    `asked` is the most severe outcome that anything else asks for (-1: nothing), `decided` marks where that holds
    whatever the bands say; `weight` says for how many events one stands where losses and good ones are counted.
    """

    score: NDArray[np.float64]
    fraud: NDArray[np.bool_]
    amount: NDArray[np.float64]
    asked: NDArray[np.int8]
    decided: NDArray[np.bool_]
    weight: NDArray[np.float64]

    def outcomes(self, banded: NDArray[np.int8] | int) -> NDArray[np.int8]:
        """What is decided where bands ask for this; -1 for nothing."""
        both = np.where(self.decided, self.asked, np.maximum(self.asked, banded))
        return np.maximum(both, Outcome.ALLOW).astype(np.int8)


@dataclass(frozen=True, slots=True)
class Places:
    """How many of the distinct scores, highest first, lie in the band or in a more severe one."""

    block: int
    review: int
    challenge: int


class Ladder:
    """Events sorted by score, with running sums of what each outcome would cost."""

    def __init__(self, events: Events, costs: Costs) -> None:
        known = ~np.isnan(events.score)
        order = np.flatnonzero(known)[np.argsort(-events.score[known], kind="stable")]
        ranked = events.score[order]
        last = np.append(np.flatnonzero(ranked[1:] != ranked[:-1]), ranked.size - 1)[: ranked.size]
        self.scores: NDArray[np.float64] = ranked[last] if ranked.size else ranked
        outcomes = {place: events.outcomes(place) for place in (-1, *_BANDED)}
        loss = {
            place: costs.of(found, events.fraud, events.amount) * events.weight for place, found in outcomes.items()
        }
        good = np.where(events.fraud, 0.0, events.weight)
        stopped = {place: (found > Outcome.ALLOW) * good for place, found in outcomes.items()}
        review = {place: (found == Outcome.REVIEW).astype(np.int64) for place, found in outcomes.items()}

        def running(values: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.append(0.0, np.cumsum(values[order])[last] if order.size else [])

        self._block = running(loss[Outcome.BLOCK] - loss[Outcome.REVIEW])
        self._review = running(loss[Outcome.REVIEW] - loss[Outcome.CHALLENGE])
        self._challenge = running(loss[Outcome.CHALLENGE] - loss[-1])
        self._loss = float(loss[-1].sum())
        self._more_reviews = running((review[Outcome.REVIEW] - review[-1]).astype(np.float64))
        self._fewer_reviews = running((review[Outcome.REVIEW] - review[Outcome.BLOCK]).astype(np.float64))
        self._reviews = float(review[-1].sum())
        self._more_stopped = running(stopped[Outcome.CHALLENGE] - stopped[-1])
        self._stopped = float(stopped[-1].sum())
        self.good = float(good.sum())

    def loss(self, places: Places) -> float:
        return float(
            self._loss + self._block[places.block] + self._review[places.review] + self._challenge[places.challenge]
        )

    def reviews(self, places: Places) -> float:
        """How many events go to review."""
        return float(self._reviews + self._more_reviews[places.review] - self._fewer_reviews[places.block])

    def stopped(self, places: Places) -> float:
        """How many good events are challenged, reviewed or blocked."""
        return float(self._stopped + self._more_stopped[places.challenge])

    def best(
        self,
        *,
        reviews: float = np.inf,
        stopped: float = np.inf,
        bands: Collection[Outcome] = _BANDED,
    ) -> Places | None:
        """The places of least loss with at most so many reviews and good events stopped; None where none keeps to it.

        `bands` are those that may be used; of equal losses the one that stops fewest.
        """
        most = int(np.searchsorted(self._more_stopped, stopped - self._stopped + 1e-9, side="right")) - 1
        if most < 0:
            return None
        beyond = self._challenge[: most + 1]
        if Outcome.CHALLENGE in bands:
            beyond = np.minimum.accumulate(beyond[::-1])[::-1]
        below = self._review[: most + 1] + beyond
        block = np.arange(most + 1 if Outcome.BLOCK in bands else 1)
        room = reviews - self._reviews + self._fewer_reviews[block] + 1e-9
        furthest = np.searchsorted(self._more_reviews, room, side="right") - 1
        if Outcome.REVIEW not in bands:
            furthest = np.where(furthest >= block, block, -1)
        furthest = np.minimum(furthest, most)
        held = furthest >= block
        if not held.any():
            return None
        block, furthest = block[held], furthest[held]
        first = int(np.argmin(self._block[block] + _least(below, block, furthest)))
        at, to = int(block[first]), int(furthest[first])
        review = at + int(np.argmin(below[at : to + 1]))
        challenge = review
        if Outcome.CHALLENGE in bands:
            challenge += int(np.argmin(self._challenge[review : most + 1]))
        return Places(at, review, challenge)

    def places(self, thresholds: Thresholds) -> Places:
        """Where thresholds stand."""
        found, least = [], 0
        for outcome in _BANDED:
            threshold = thresholds.of(outcome)
            above = 0 if threshold is None else int(np.searchsorted(-self.scores, -threshold, side="right"))
            least = max(least, above)
            found.append(least)
        return Places(*found)

    def thresholds(self, places: Places) -> Thresholds:
        """Short numbers that stand at these places."""
        return Thresholds(
            block=self._number(places.block, 0),
            review=self._number(places.review, places.block),
            challenge=self._number(places.challenge, places.review),
        )

    def _number(self, place: int, severer: int) -> float | None:
        """The shortest decimal that tells the scores above a place from those below; None where it adds none."""
        if place == severer:
            return None
        above = float(self.scores[place - 1])
        below = float(self.scores[place]) if place < self.scores.size else above - max(abs(above), 1e-3) / 2
        middle = (above + below) / 2
        for digits in range(2, 18):
            number = round(middle, digits)
            if below < number <= above:
                return number
        return above


def _least(values: NDArray[np.float64], first: NDArray[np.int64], last: NDArray[np.int64]) -> NDArray[np.float64]:
    """The least of values[first..last] for each run, by a table of least values of runs of powers of two."""
    least = np.empty(first.size)
    length = last - first + 1
    level = np.frexp(length)[1] - 1  # the greatest power of two that the run holds
    table, width = values, 1
    for power in range(int(level.max(initial=0)) + 1):
        mine = level == power
        least[mine] = np.minimum(table[first[mine]], table[last[mine] - width + 1])
        if table.size > width:
            table = np.minimum(table[:-width], table[width:])
        width *= 2
    return least


def expect_allowing(otherwise: Outcome) -> None:
    """Raise InputError for a policy that stops what nothing asks about: bands would let through, not stop."""
    if otherwise is not Outcome.ALLOW:
        raise InputError(f"the policy says `otherwise: {otherwise.word}`: thresholds are chosen where it says allow")
