"""Search for readable conditions that tell frauds from good events: a beam over terms, then cuts as people write them.

A condition's gain is what it catches less what it disturbs: frauds less p / (1 - p) for each good event, where p is
the precision asked for, so that a cut lies where the next events would too rarely be frauds. What counts is its lower
bound, two standard errors of Poisson counts below. The search holds what is best at several prices of a good event,
for terms that pay only together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from parakh.expressions.types import Kind
from parakh.learning.history import Values
from parakh.learning.suggesting.terms import Condition, Mask, Term, rounded

__all__ = ["MOST_TERMS", "Mine", "mine"]

MOST_TERMS = 3
_BEAM = 12
"""Conditions that are held at each price."""
_PRICES = 5
_CUTS = 31
"""Quantiles of frauds, and as many of all, among which a cut is looked for at first."""
_TEXTS = 60
"""Values of a text that are tried, the most frequent among frauds."""
_MOST_TEXTS = 500
"""A text with more different values names somebody: one of them is an entry of a list, no pattern."""
_GOODS = 150_000
"""Good events that the beam looks at; cuts are refined on all."""
_CODES = 128
_DEVIATIONS = 2.0
_LEAST_FRAUDS = 8
_TERM_COST = 0.05
"""The share of the gain that another term must add at least."""
_UP, _DOWN, _IS = range(3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mine:
    """What is searched: values of the inputs with their kinds, one element a row; `fraud` else good.

    `precision` is the least that a condition is to have; `seed` picks the good events of the beam.
    """

    values: Mapping[str, Values]
    kinds: Mapping[str, Kind]
    fraud: Mask
    precision: float = 0.5
    seed: int = 0

    @property
    def price(self) -> float:
        """Frauds that a good event weighs."""
        return self.precision / (1 - self.precision)


def mine(task: Mine, *, most: int, on_progress: Callable[[int, int], object] | None = None) -> list[Condition]:
    """Up to `most` conditions, each the best on what those before it do not hit; none where nothing gains.

    >>> rng = np.random.default_rng(0)
    >>> amount = rng.integers(1, 30_000, 4_000) / 100
    >>> [str(found) for found in mine(Mine(values={"amount": amount}, kinds={"amount": Kind.MONEY},
    ...     fraud=amount > 220), most=3)]
    ['amount > 220']
    """
    grid = _Grid(task)
    left = np.ones(task.fraud.size, np.bool_)
    found = list[Condition]()
    while len(found) < most:
        condition = grid.best(left)
        if condition is None:
            break
        condition = _refined(task, condition, np.flatnonzero(left))
        hits = condition.holds(task.values) & left
        if condition in found or not hits.any():
            break
        found.append(condition)
        left &= ~hits
        if on_progress is not None:
            on_progress(len(found), most)
    return found


def _gain(
    frauds: NDArray[np.float64], goods: NDArray[np.float64], price: float, weight: float = 1.0
) -> NDArray[np.float64]:
    """The lower bound of frauds - price * goods, where goods are a sample of this weight."""
    return frauds - price * goods - _DEVIATIONS * np.sqrt(frauds + price * price * weight * goods)


class _Cut(NamedTuple):
    way: int
    column: int
    code: int


@dataclass(frozen=True, slots=True)
class _Held:
    """A condition of the beam, the rows it holds on, and its gain at each price."""

    cuts: tuple[_Cut, ...]
    rows: NDArray[np.int64]
    gains: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Found:
    """A condition that may be held at a price: that of the beam with this number and another cut."""

    gains: NDArray[np.float64]
    price: int
    parent: int
    cut: _Cut

    @property
    def order(self) -> tuple[float, int, int, _Cut]:
        return -float(self.gains[self.price]), self.price, self.parent, self.cut


class _Grid:
    """Every input as codes of one byte over a sample of rows: 0 for NULL, then bins in order, or one for each text."""

    def __init__(self, task: Mine) -> None:
        self.task = task
        frauds, goods = np.flatnonzero(task.fraud), np.flatnonzero(~task.fraud)
        self.weight = max(1.0, goods.size / _GOODS)
        if goods.size > _GOODS:
            goods = np.sort(np.random.default_rng(task.seed).choice(goods, _GOODS, replace=False))
        self.rows = np.concatenate([frauds, goods])
        self.fraud = np.arange(self.rows.size) < frauds.size
        base = max(frauds.size, 1) / max(task.fraud.size - frauds.size, 1)
        self.prices = np.geomspace(min(2 * base, task.price), task.price, _PRICES)
        self.columns = list[str]()
        self.cuts = list[NDArray[np.float64] | list[str]]()
        codes, valid = list[NDArray[np.uint8]](), list[Mask]()
        for name in task.values:
            coded = self._coded(name)
            if coded is not None:
                code, cuts, ways = coded
                self.columns.append(name)
                self.cuts.append(cuts)
                codes.append(np.where(self.fraud, code + np.uint8(_CODES), code))
                valid.append(ways)
        self.codes = np.array(codes, np.uint8).reshape(len(codes), self.rows.size)
        self.valid = np.array(valid, np.bool_).reshape(len(valid), 3, _CODES).transpose(1, 0, 2)

    def _coded(self, name: str) -> tuple[NDArray[np.uint8], NDArray[np.float64] | list[str], Mask] | None:
        """The codes of a column, what they stand for, and which cuts there are: bool[ways, codes]."""
        values, kind = self.task.values[name], self.task.kinds[name]
        ways = np.zeros((3, _CODES), np.bool_)
        if isinstance(values, pa.DictionaryArray):
            return self._coded_texts(values, ways)
        numbers = values[self.rows]
        known = ~np.isnan(numbers)
        if kind is Kind.TIMESTAMP or not known.any():
            return None
        if kind is Kind.BOOLEAN:
            cuts = np.array([0.0, 1.0])
            ways[_IS, [1, 2]] = True
        else:
            shares = np.linspace(0, 1, _CUTS + 2)[1:-1]
            groups = [numbers[known], numbers[known & self.fraud]]
            quantiles = [np.quantile(group, shares, method="higher") for group in groups if group.size]
            cuts = np.unique(np.concatenate(quantiles))
            different = np.unique(numbers[known][:20_000])
            if different.size < cuts.size:
                cuts = different
            ways[_UP, 2 : cuts.size + 2] = True
            ways[_DOWN, 1 : cuts.size + 1] = True
        ways[_IS, 0] = not known.all()
        offset = 0 if kind is Kind.BOOLEAN else 1
        code = np.searchsorted(cuts, np.where(known, numbers, 0), side="right") + offset
        return np.where(known, code, 0).astype(np.uint8), cuts, ways

    def _coded_texts(self, values: pa.DictionaryArray, ways: Mask) -> tuple[NDArray[np.uint8], list[str], Mask] | None:
        places = np.asarray(values.indices.fill_null(-1).to_numpy(zero_copy_only=False), np.int64)[self.rows]
        texts = values.dictionary.to_pylist()
        if np.unique(places).size > _MOST_TEXTS or not texts:
            return None
        frauds = np.bincount(places[self.fraud & (places >= 0)], minlength=len(texts))
        order = np.argsort(-frauds, kind="stable")[:_TEXTS]
        chosen = [int(number) for number in order if frauds[number] and texts[number].isprintable()]
        code_of = np.ones(len(texts) + 1, np.uint8)
        code_of[-1] = 0
        code_of[chosen] = np.arange(2, 2 + len(chosen))
        ways[_IS, 2 : 2 + len(chosen)] = True
        ways[_IS, 0] = bool((places < 0).any())
        return code_of[places], [texts[number] for number in chosen], ways

    def best(self, left: Mask) -> Condition | None:
        """The condition of the greatest gain at the full price among the rows that are left."""
        rows = np.flatnonzero(left[self.rows])
        if not self.fraud[rows].any() or not self.columns:
            return None
        beam = [_Held((), rows, np.zeros(_PRICES))]
        best, worth = None, 0.0
        for level in range(MOST_TERMS):
            beam = self._extended(beam)
            for held in beam:
                gain = float(held.gains[-1]) * (1 - _TERM_COST * level)
                if gain > worth:
                    best, worth = held, gain
        return None if best is None else Condition(tuple(self._term(*cut) for cut in best.cuts))

    def _extended(self, beam: list[_Held]) -> list[_Held]:
        """The best conditions of one more term, at each price."""
        found = list[_Found]()
        for number, parent in enumerate(beam):
            counts = self._counts(parent.rows)
            frauds, goods = self._ways(counts[:, _CODES:]), self._ways(counts[:, :_CODES]) * self.weight
            allowed = self.valid & (frauds >= _LEAST_FRAUDS)
            gains = np.array([_gain(frauds, goods, price, self.weight) for price in self.prices])
            for price, gain in enumerate(gains):
                gain = np.where(allowed, gain, -np.inf)
                code = np.argmax(gain, axis=2)  # of neighbouring cuts the best alone
                reached = np.take_along_axis(gain, code[:, :, None], 2)[:, :, 0]
                least = parent.gains[price] if parent.cuts else -np.inf
                better = np.argwhere(reached > least + 1e-9)
                order = np.argsort(-reached[better[:, 0], better[:, 1]], kind="stable")[: 2 * _BEAM]
                for way, column in better[order].tolist():
                    cut = _Cut(way, column, int(code[way, column]))
                    found.append(_Found(gains[:, cut.way, cut.column, cut.code], price, number, cut))
        return self._held(beam, found)

    def _held(self, beam: list[_Held], found: list[_Found]) -> list[_Held]:
        held, seen = list[_Held](), set[tuple[float, ...]]()
        found.sort(key=lambda item: item.order)
        for price in range(_PRICES):
            room = _BEAM
            for item in found:
                same = tuple(item.gains.tolist())  # as good as the same rows
                if item.price != price or same in seen:
                    continue
                seen.add(same)
                parent = beam[item.parent]
                rows = parent.rows[self._holds(item.cut, parent.rows)]
                held.append(_Held((*parent.cuts, item.cut), rows, item.gains))
                room -= 1
                if not room:
                    break
        return held

    def _counts(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.array([np.bincount(codes[rows], minlength=2 * _CODES) for codes in self.codes])

    @staticmethod
    def _ways(counts: NDArray[np.int64]) -> NDArray[np.float64]:
        """How many rows each cut holds on, by way: from a code up, up to a code, exactly a code."""
        known = counts.astype(np.float64)
        known[:, 0] = 0
        up = np.cumsum(known[:, ::-1], axis=1)[:, ::-1]
        return np.array([up, np.cumsum(known, axis=1), counts])

    def _holds(self, cut: _Cut, rows: NDArray[np.int64]) -> Mask:
        way, code = cut.way, cut.code
        codes = self.codes[cut.column, rows] & np.uint8(_CODES - 1)
        if way == _UP:
            return np.asarray(codes >= code)
        return np.asarray((codes > 0) & (codes <= code)) if way == _DOWN else np.asarray(codes == code)

    def _term(self, way: int, column: int, code: int) -> Term:
        name, cuts = self.columns[column], self.cuts[column]
        if way == _IS and code == 0:
            return Term(name, "is null")
        if isinstance(cuts, list):
            return Term(name, "=", cuts[code - 2])
        if self.task.kinds[name] is Kind.BOOLEAN:
            return Term(name, "true" if code == 2 else "false")
        return Term(name, ">=", float(cuts[code - 2])) if way == _UP else Term(name, "<", float(cuts[code - 1]))


def _refined(task: Mine, condition: Condition, rows: NDArray[np.int64]) -> Condition:
    """The condition with cuts where the gain over all rows is greatest, rounded, without terms that add nothing."""
    fraud = task.fraud[rows]
    holds = {term: term.holds(task.values[term.name])[rows] for term in condition.terms}
    for _ in range(2):
        for number, term in enumerate(condition.terms):
            if isinstance(term.value, float):
                others = _all([holds[other] for other in condition.terms if other is not term], rows.size)
                values = task.values[term.name]
                assert isinstance(values, np.ndarray)
                exact = _cut(task, term, values[rows[others]], fraud[others])
                holds[exact] = exact.holds(values)[rows]
                condition = condition.replaced(number, exact)
    number = 0
    while len(condition.terms) > 1 and number < len(condition.terms):
        whole, shorter = (
            _gain_of(task, fraud, _all([holds[term] for term in kept.terms], rows.size))
            for kept in (condition, condition.without(number))
        )
        if shorter >= whole * (1 - _TERM_COST):
            condition, number = condition.without(number), 0
        else:
            number += 1
    return _merged(condition)


def _cut(task: Mine, term: Term, values: NDArray[np.float64], fraud: Mask) -> Term:
    """The term with the best cut among all values, as the shortest number that loses next to nothing of its gain."""
    up = term.sign.startswith(">")
    strict = task.kinds[term.name] is Kind.MONEY
    known = ~np.isnan(values)
    values, fraud = values[known], fraud[known]
    order = np.argsort(values, kind="stable")
    ranked = values[order]
    if ranked.size == 0:
        return term
    frauds = np.append(0, np.cumsum(fraud[order])).astype(np.float64)
    goods = np.arange(ranked.size + 1) - frauds

    def gain(below: NDArray[np.int64]) -> NDArray[np.float64]:
        """Of a cut with so many rows below it."""
        if up:
            return _gain(frauds[-1] - frauds[below], goods[-1] - goods[below], task.price)
        return _gain(frauds[below], goods[below], task.price)

    starts = np.flatnonzero(np.append(True, ranked[1:] != ranked[:-1]))
    if starts.size > 1:
        reached = gain(starts[1:])
        at = int(np.argmax(reached))
        first, best = int(starts[at + 1]), float(reached[at])
    else:
        first, best = 0 if up else ranked.size, float("inf")
    low, high = float(ranked[max(first - 1, 0)]), float(ranked[min(first, ranked.size - 1)])
    sign = (">" if strict else ">=") if up else ("<" if strict else "<=")
    side = "right" if sign in (">", "<=") else "left"
    whole = not strict and bool((ranked == np.floor(ranked)).all())
    for digits in range(1, 7):
        tried = sorted({number for value in (low, (low + high) / 2, high) for number in rounded(value, digits)})
        if whole:  # nobody writes that a count is at least 0.5
            tried = sorted({float(np.ceil(number) if up else np.floor(number)) for number in tried})
        gains = gain(np.searchsorted(ranked, tried, side=side))  # type: ignore[call-overload]
        if gains.max() >= best - 0.01 * abs(best):
            return Term(term.name, sign, tried[int(np.argmax(gains))])
    return Term(term.name, sign, low if side == "right" else high)


def _gain_of(task: Mine, fraud: Mask, hits: Mask) -> float:
    frauds, goods = np.float64((hits & fraud).sum()), np.float64((hits & ~fraud).sum())
    return float(_gain(np.asarray(frauds), np.asarray(goods), task.price))


def _all(masks: list[Mask], size: int) -> Mask:
    return np.logical_and.reduce(masks) if masks else np.ones(size, np.bool_)


def _merged(condition: Condition) -> Condition:
    """Of two lower bounds of one input the higher alone, and so on."""
    kept = list[Term]()
    for term in condition.terms:
        same = [other for other in kept if other.name == term.name and other.sign == term.sign]
        if same and isinstance(term.value, float) and isinstance(same[0].value, float):
            tighter = max if term.sign.startswith(">") else min
            kept[kept.index(same[0])] = Term(term.name, term.sign, tighter(term.value, same[0].value))
        else:
            kept.append(term)
    return Condition(tuple(kept))
