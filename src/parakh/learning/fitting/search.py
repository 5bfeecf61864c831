"""The search for a model's parameters: a fixed number of trials, each scored by the prequential folds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parakh.learning.extra import needed
from parakh.learning.fitting.boosting import Boosting, Rows, TreeParameters
from parakh.learning.fitting.prequential import Fold
from parakh.learning.fitting.samples import Samples
from parakh.learning.measures.ranking import Ranking

__all__ = ["MOST_NEGATIVES", "WORKERS", "Found", "search"]

MOST_NEGATIVES = 60_000
"""Good events that the search looks at; the rest is stood for by weights. The final fits take all."""
WORKERS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a search found: parameters, how many rounds, and each trial's mean average precision over the folds."""

    parameters: TreeParameters
    rounds: int
    trials: tuple[dict[str, Any], ...]
    asked: int

    @property
    def cut_short(self) -> bool:
        """Whether the budget ended it before all trials were done: another run may then find something else."""
        return len(self.trials) < self.asked


def search(
    samples: Samples,
    folds: Sequence[Fold],
    boosting: Boosting,
    *,
    trials: int,
    budget_s: float | None = None,
    on_trial: Callable[[int, int], object] | None = None,
) -> Found:
    """Try so many parameters on the folds, the defaults first, and give the best; the same seed tries the same.

    `samples` are the rows that the folds number. Each fold is fitted on its rows but the last part, which says when to
    stop. `budget_s` ends the search early; at least one trial is done. Needs LightGBM and, for more than one, Optuna.
    """
    looked_at = _thinned(samples, boosting.seed)
    parts = [part for part in (_part(samples, fold, boosting, looked_at) for fold in folds) if part is not None]
    done: list[dict[str, Any]] = []

    def score(parameters: TreeParameters) -> tuple[float, int]:
        with ThreadPoolExecutor(WORKERS) as pool:
            found = list(pool.map(lambda part: part.score(boosting, parameters), parts))
        value, rounds = float(np.mean([item[0] for item in found])), int(np.median([item[1] for item in found]))
        done.append({"average_precision": value, "rounds": rounds, **asdict(parameters)})
        if on_trial is not None:
            on_trial(len(done), trials)
        return value, rounds

    if trials == 1:
        score(TreeParameters())
    else:
        _study(score, trials, budget_s, boosting.seed)
    best = max(done, key=lambda trial: trial["average_precision"])
    chosen = {key: value for key, value in best.items() if key not in ("average_precision", "rounds")}
    return Found(parameters=TreeParameters(**chosen), rounds=max(1, best["rounds"]), trials=tuple(done), asked=trials)


def _study(
    score: Callable[[TreeParameters], tuple[float, int]], trials: int, budget_s: float | None, seed: int
) -> None:
    optuna = needed("optuna")
    optuna.logging.set_verbosity(optuna.logging.ERROR)

    def objective(trial: Any) -> float:
        parameters = TreeParameters(
            num_leaves=trial.suggest_int("num_leaves", 6, 64, log=True),
            min_data_in_leaf=trial.suggest_int("min_data_in_leaf", 10, 200, log=True),
            learning_rate=trial.suggest_float("learning_rate", 0.03, 0.2, log=True),
            feature_fraction=trial.suggest_float("feature_fraction", 0.4, 1.0),
            lambda_l2=trial.suggest_float("lambda_l2", 0.1, 50.0, log=True),
            positive_weight=trial.suggest_float("positive_weight", 1.0, 10.0, log=True),
        )
        return score(parameters)[0]

    sampler = optuna.samplers.TPESampler(seed=seed % 2**32, n_startup_trials=min(6, trials))
    study = optuna.create_study(direction="maximize", sampler=sampler)
    study.enqueue_trial(asdict(TreeParameters()))
    study.optimize(objective, n_trials=trials, timeout=budget_s)


@dataclass(frozen=True, slots=True)
class _Part:
    """A fold as the search sees it: data to fit, data that say when to stop, and rows to be tested on."""

    early: Rows
    later: Rows | None
    x: NDArray[np.float64]
    label: NDArray[np.bool_]
    weight: NDArray[np.float64]

    def score(self, boosting: Boosting, parameters: TreeParameters) -> tuple[float, int]:
        booster, rounds = boosting.fit_until(self.early, self.later, parameters)
        raw = booster.predict(self.x, raw_score=True, num_threads=1)
        return Ranking.of(self.label, raw).above(self.weight).average_precision(), rounds


def _part(samples: Samples, fold: Fold, boosting: Boosting, weight: NDArray[np.float64]) -> _Part | None:
    """None for a fold whose test has no fraud: it says nothing of parameters."""
    seen = weight[fold.train] > 0
    train, label = fold.train[seen], fold.label[seen]
    test = fold.test[weight[fold.test] > 0]
    if not samples.label[test].any():
        return None
    early, later = boosting.halves(samples.x[train], label, weight[train])
    return _Part(early, later, samples.x[test], samples.label[test], weight[test])


def _thinned(samples: Samples, seed: int) -> NDArray[np.float64]:
    """A weight for each row: 0 for most of the good events where there are very many, more for the rest."""
    good = np.flatnonzero(~samples.label)
    if good.size <= MOST_NEGATIVES:
        return samples.weight
    kept = np.random.default_rng(seed).permutation(good)[:MOST_NEGATIVES]
    weight = np.where(samples.label, samples.weight, 0.0)
    weight[kept] = samples.weight[kept] * (samples.weight[good].sum() / samples.weight[kept].sum())
    return weight
