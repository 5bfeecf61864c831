"""The arithmetic of drift: how the values of an input were spread when a model learned, and how far others are from it.

Bins are made once, of the reference, and go with a model's card; what is new is counted into them. How much chance
alone moves an index or a rate is said beside it, so that a quiet week with few events raises no alarm.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from parakh.errors import InputError

__all__ = [
    "ALARM", "WATCH", "Baseline", "Counts", "baseline_of", "card_baselines", "chance_index", "dispersion", "stability",
    "stability_index", "told", "usual_range",
]  # fmt: skip

Counts: TypeAlias = npt.NDArray[np.float64]

ALARM, WATCH = 0.25, 0.10
"""Population stability indices above which an input has drifted, and may be drifting: the bounds of credit scoring."""
_BINS = 10
_MOST_CATEGORIES = 20
_LEAST_SHARE = 0.005
_SMOOTHING = 0.5
_UNCOUNTED = 10_000
"""The rows that a baseline stands for where nobody said how many there were."""
_MANY = 500.0
_FAR = 20_000.0
_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """How the values of one input, or score, were spread.

    Numbers: bin i holds values above `edges[i - 1]` and up to `edges[i]`, the last one all above. Texts: a bin a
    category, then one for all others. `shares` are those of the bins among the rows that were not NULL,
    `null_share` is of all `count` rows. `mean` is None for texts and where all was NULL.
    """

    count: float
    null_share: float
    shares: tuple[float, ...]
    edges: tuple[float, ...] = ()
    categories: tuple[str, ...] = ()
    mean: float | None = None

    @property
    def bins(self) -> int:
        """Bins, the one of NULL counted, which is the last."""
        return len(self.shares) + 1

    @property
    def expected(self) -> Counts:
        """The rows in each bin, that of NULL last."""
        shares = [*(share * (1 - self.null_share) for share in self.shares), self.null_share]
        return np.array(shares, np.float64) * self.count

    @property
    def names(self) -> tuple[str, ...]:
        """What each bin holds, in a few words, the one of NULL last."""
        if self.categories:
            return (*self.categories, "others", "NULL")
        if not self.edges:
            return ("any", "NULL")
        names = [f"≤ {told(edge)}" for edge in self.edges]
        if len(self.edges) > 1 and self.edges[0] == math.nextafter(self.edges[1], -math.inf):
            names[0] = f"< {told(self.edges[1])}"
        return (*names, f"> {told(self.edges[-1])}", "NULL")

    def places(self, values: object) -> npt.NDArray[np.int64]:
        """The bin of each value: numbers with NaN for NULL, or texts as an Arrow array."""
        texts = _texts(values)
        if texts is not None:
            number = {name: place for place, name in enumerate(self.categories)}
            others, missing = len(self.categories), self.bins - 1
            known = [missing if t is None else number.get(t, others) for t in texts.dictionary.to_pylist()]
            bins = np.array([*known, missing], np.int64)
            return bins[_codes(texts)]
        numbers = _numbers(values)
        places = np.searchsorted(np.array(self.edges, np.float64), numbers, side="left").astype(np.int64)
        return np.where(np.isnan(numbers), self.bins - 1, places)

    def as_data(self) -> dict[str, Any]:
        """What a card says of it."""
        parts = {"edges": list(self.edges)} if not self.categories else {"categories": list(self.categories)}
        return {
            "count": self.count, "null_share": self.null_share, "mean": self.mean, **parts, "shares": list(self.shares),
        }  # fmt: skip

    @classmethod
    def of_data(cls, data: Mapping[str, Any]) -> Baseline:
        """The baseline of a card. Raises InputError where it is none."""
        try:
            found = cls(
                count=float(data.get("count", _UNCOUNTED)),
                null_share=float(data["null_share"]),
                shares=tuple(map(float, data["shares"])),
                edges=tuple(map(float, data.get("edges", ()))),
                categories=tuple(map(str, data.get("categories", ()))),
                mean=None if data.get("mean") is None else float(data["mean"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError):
            raise InputError("this is not the baseline of an input: null_share, shares, edges or categories") from None
        bins = len(found.categories or found.edges) + 1
        whole = all(share >= 0 for share in (*found.shares, found.null_share, 1 - found.null_share))
        if len(found.shares) != bins or not whole or list(found.edges) != sorted(set(found.edges)):
            raise InputError(f"this is not the baseline of an input: {bins} bins and {len(found.shares)} shares")
        return found


def baseline_of(values: object, weights: npt.ArrayLike | None = None) -> Baseline:
    """How values are spread: numbers by their deciles, few-valued ones and texts value by value.

    `values` are numbers with NaN for NULL (an infinite one is a value), or texts as an Arrow array; `weights` say for
    how many rows each stands, as in a set whose negatives were sampled. Of texts the 20 most frequent are kept that
    are at least 0.5 % of the rows.

    >>> found = baseline_of([1.0, 1.0, 2.0, float("nan")])
    >>> len(found.edges), [round(share, 2) for share in found.shares], found.null_share
    (3, [0.0, 0.67, 0.33, 0.0], 0.25)
    """
    texts = _texts(values)
    if texts is not None:
        codes, size = _codes(texts), len(texts.dictionary)
        weight = _weights(weights, codes.size)
        counts = np.bincount(codes, weight, minlength=size + 1)
        named = {t: counts[i] for i, t in enumerate(texts.dictionary.to_pylist()) if t is not None}
        known = float(sum(named.values()))
        common = sorted((t for t, n in named.items() if n >= _LEAST_SHARE * known and n), key=lambda t: (-named[t], t))
        kept = common[:_MOST_CATEGORIES]
        inside = [float(named[t]) for t in kept]
        shares = tuple(n / known for n in (*inside, known - sum(inside))) if known else (0.0,) * (len(kept) + 1)
        return Baseline(
            count=_standing_for(weight), null_share=_part(weight.sum() - known, weight.sum()),
            shares=tuple(max(0.0, share) for share in shares), categories=tuple(kept),
        )  # fmt: skip
    numbers = _numbers(values)
    weight = _weights(weights, numbers.size)
    there = ~np.isnan(numbers)
    inside_numbers, inside_weight = numbers[there], weight[there]
    distinct, place = np.unique(inside_numbers, return_inverse=True)
    mass = np.bincount(place, inside_weight, minlength=distinct.size)
    edges = distinct
    if distinct.size > _BINS:
        reached = np.cumsum(mass) / mass.sum()
        tenths = np.searchsorted(reached, np.arange(1, _BINS) / _BINS - 1e-12)
        edges = np.unique(distinct[tenths])
    edges = edges[np.isfinite(edges)]
    if edges.size and distinct.size <= _BINS:
        edges = np.insert(edges, 0, np.nextafter(edges[0], -np.inf))  # what was never so low has a bin of its own
    bins = np.searchsorted(edges, inside_numbers, side="left")
    held = np.bincount(bins, inside_weight, minlength=edges.size + 1)
    total = float(held.sum())
    finite = np.isfinite(inside_numbers)
    mean = float(np.average(inside_numbers[finite], weights=inside_weight[finite])) if finite.any() else None
    return Baseline(
        count=_standing_for(weight), null_share=_part(weight.sum() - total, weight.sum()),
        shares=tuple((held / total).tolist()) if total else (0.0,) * (edges.size + 1),
        edges=tuple(edges.tolist()), mean=mean,
    )  # fmt: skip


def card_baselines(card: Mapping[str, Any]) -> tuple[dict[str, Baseline], Baseline | None]:
    """The baselines of a model's card: of its inputs, and of its score. Raises InputError where there are none.

    >>> spread = baseline_of([1.0, 2.0]).as_data()
    >>> of_inputs, of_score = card_baselines({"inputs": ["amount"], "baseline": {"amount": spread, "score": spread}})
    >>> list(of_inputs), of_score.edges[1:]
    (['amount'], (1.0, 2.0))
    """
    held = card.get("baseline")
    if not isinstance(held, Mapping) or not held:
        raise InputError("the model's card does not say how its inputs were spread (hint: train it again)")
    names = [name for name in held if name != "score" or name in card.get("inputs", ())]
    score = None if "score" in names else held.get("score")
    return {name: Baseline.of_data(held[name]) for name in names}, None if score is None else Baseline.of_data(score)


def stability(baseline: Baseline, values: object, weights: npt.ArrayLike | None = None) -> float:
    """The population stability index of values against a baseline; NaN where there are none.

    NULL is a bin of its own. Below 0.1 little has changed, above 0.25 much has.

    >>> values = np.arange(1000.0)
    >>> stability(baseline_of(values), values) < 0.001, stability(baseline_of(values), values + 500) > 0.25
    (True, True)
    """
    places = baseline.places(values)
    counts = np.bincount(places, _weights(weights, places.size), minlength=baseline.bins).astype(np.float64)
    return stability_index(baseline.expected, counts)


def stability_index(reference: Counts, counts: Counts) -> float:
    """The index of two histograms over the same bins; half a row is added to each bin, so that none is empty.

    The sum of (q - p) ln(q / p), q and p the shares of each bin (Siddiqi, Credit Risk Scorecards, 2006; Jeffreys'
    divergence). NaN where either has no rows.

    >>> stability_index(np.array([50.0, 50.0]), np.array([50.0, 50.0]))
    0.0
    """
    if not reference.sum() or not counts.sum():
        return math.nan
    p = (reference + _SMOOTHING) / (reference.sum() + _SMOOTHING * reference.size)
    q = (counts + _SMOOTHING) / (counts.sum() + _SMOOTHING * counts.size)
    return float(np.sum((q - p) * np.log(q / p)))


def chance_index(reference: Counts, rows: float, *, chance: float, dispersion: float = 1.0) -> float:
    """The index that so many rows exceed with a probability of `chance` where nothing has changed.

    Without drift the index is (1/n + 1/m) times a chi-squared variable, its degrees of freedom one less than the bins
    that are used (Yurdakul and Naranjo, 2020); its quantile is Wilson's and Hilferty's. `dispersion` is how much wider
    days vary than independent events do.

    >>> round(chance_index(np.full(10, 1000.0), 1000, chance=0.01), 4)  # 21.67 (1/10,000 + 1/1,000)
    0.0239
    """
    free = max(1, int((reference > 0).sum()) - 1)
    spread = 2 / (9 * free)
    quantile = free * max(0.0, 1 - spread + _NORMAL.inv_cdf(1 - chance) * math.sqrt(spread)) ** 3
    return float(quantile * dispersion * (1 / reference.sum() + 1 / rows)) if rows and reference.sum() else math.inf


def dispersion(days: Counts, groups: npt.ArrayLike | None = None) -> float:
    """How much wider the days' histograms vary than those of independent events would; at least 1.

    `days` has a row a day and a column a bin; with `groups`, one for each day, days are compared within their own
    group alone, so that a shift between groups is no noise. 1 where there are fewer than 7 days more than groups.

    >>> dispersion(np.array([[10.0, 90.0]] * 8))
    1.0
    """
    group = np.zeros(len(days), np.int64) if groups is None else np.unique(groups, return_inverse=True)[1]
    kept = days.sum(axis=1) > 0
    days, group = days[kept], group[kept]
    used = days.sum(axis=0) > 0
    free_days = len(days) - np.unique(group).size
    if free_days < 7 or used.sum() < 2:
        return 1.0
    days = days[:, used]
    total = np.zeros((int(group.max()) + 1, days.shape[1]))
    np.add.at(total, group, days)
    shares = total[group] / total[group].sum(axis=1, keepdims=True)
    expected = shares * days.sum(axis=1, keepdims=True)
    squares = np.divide((days - expected) ** 2, expected, out=np.zeros_like(expected), where=expected > 0)
    return max(1.0, float(squares.sum()) / (free_days * (days.shape[1] - 1)))


def usual_range(
    hits: float, trials: float, others: float, *, chance: float, dispersion: float = 1.0, share: bool = True
) -> tuple[float, float]:
    """Between which rates `others` further trials fall, but for a probability of `chance`, where nothing has changed.

    `hits` of `trials` are what is known. Many are treated as normal; few by the predictive distribution of a Poisson
    rate, which is exact for rare hits. `share` False: hits may be more than trials, as events a day.

    >>> [round(bound, 3) for bound in usual_range(100, 1000, 1000, chance=0.05)]
    [0.074, 0.13]
    """
    hits, trials, others = hits / dispersion, trials / dispersion, others / dispersion
    if not trials or not others:
        return (-math.inf, math.inf)
    if share and hits > trials / 2:
        low, high = usual_range(trials - hits, trials, others, chance=chance)
        return (1 - high, 1 - low)
    rate = (hits + 0.5) / (trials + share)
    if hits >= _MANY or rate * others > _FAR:
        spread = math.sqrt(rate * (1 - rate if share else 1) * (1 / trials + 1 / others))
        far = _NORMAL.inv_cdf(1 - chance / 2) * spread
        return (max(0.0, rate - far), min(1.0, rate + far) if share else rate + far)
    # Hits to come are negative binomial: a Poisson count whose rate is known by `hits + 1/2` hits.
    shape, odds = hits + 0.5, others / (trials + others)
    mean = shape * others / trials
    most = int(mean + 12 * math.sqrt(mean * (1 + others / trials)) + 60)
    steps = np.arange(most, dtype=np.float64)
    terms = np.cumsum(np.log((shape + steps) / (steps + 1) * odds))
    below = np.cumsum(np.exp(shape * math.log1p(-odds) + np.concatenate(([0.0], terms))))
    first = int(np.searchsorted(below, chance / 2, side="right"))
    last = int(np.searchsorted(below, 1 - chance / 2))
    return (first / others, min(1.0, last / others) if share else last / others)


def told(number: float) -> str:
    """A number for people, with four digits or all before the point.

    >>> told(0.012345), told(61512.7), told(3.0)
    ('0.01235', '61,513', '3')
    """
    return f"{number:,.0f}" if 1e4 <= abs(number) < 1e15 else f"{number:.4g}"


def _texts(values: object) -> pa.DictionaryArray | None:
    """Texts by a dictionary; None where the values are numbers."""
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    if not isinstance(values, pa.Array):
        return None
    if pa.types.is_dictionary(values.type):
        return values
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        return values.dictionary_encode()
    return None


def _codes(texts: pa.DictionaryArray) -> npt.NDArray[np.int64]:
    """The number of each text in the dictionary, one beyond its last for NULL."""
    filled = pc.fill_null(texts.indices.cast(pa.int64()), len(texts.dictionary))
    return np.asarray(filled.to_numpy(zero_copy_only=False), np.int64)


def _numbers(values: object) -> npt.NDArray[np.float64]:
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    if isinstance(values, pa.Array):
        values = values.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    numbers = np.asarray(values, np.float64)
    if numbers.ndim != 1:
        raise InputError(f"values of an input stand in one row each; these are {numbers.shape}")
    return numbers


def _weights(weights: npt.ArrayLike | None, rows: int) -> npt.NDArray[np.float64]:
    given = np.ones(rows) if weights is None else np.asarray(weights, np.float64)
    if given.shape != (rows,):
        raise InputError(f"{rows:,} values and weights {given.shape} (hint: one weight for every value)")
    return given


def _standing_for(weight: npt.NDArray[np.float64]) -> float:
    """The rows that weighted ones are worth (Kish): as many as there are where all weigh the same."""
    squares = float((weight**2).sum())
    return float(weight.sum()) ** 2 / squares if squares else 0.0


def _part(part: float, whole: float) -> float:
    return min(1.0, max(0.0, float(part) / float(whole))) if whole else 0.0
