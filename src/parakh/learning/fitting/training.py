"""Training: boosted trees and a logistic baseline on the same rows, validated as life has it, calibrated, as files.

Everything is seeded and fitted by one thread at a time, so that the same set and the same choice give the same bytes.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from parakh.errors import InputError
from parakh.expressions.hints import closest
from parakh.expressions.values import iso_time
from parakh.learning.fitting.boosting import Boosting, calibrated_text, gains
from parakh.learning.fitting.calibration import Calibration, platt
from parakh.learning.fitting.prequential import FOLDS, Fold, make_folds
from parakh.learning.fitting.regression import RIDGE, calibrated, fit_logistic
from parakh.learning.fitting.samples import ASKED, CONSTANT, EMPTY, FEWEST_POSITIVE, MOMENT, TEXT, Samples
from parakh.learning.fitting.search import WORKERS, Found, search
from parakh.learning.measures.ranking import Ranking
from parakh.models.definition import Model
from parakh.models.logistic import write_logistic
from parakh.models.logistic_scorer import LogisticScorer
from parakh.models.scorer import Scorer, load_model

__all__ = ["FILES", "KINDS", "TRIALS", "Choice", "Kind", "Learned", "Trained", "train"]

Kind = Literal["lightgbm", "logistic"]
Floats = NDArray[np.float64]
Told = Callable[[float, str], object]

KINDS: tuple[Kind, ...] = ("lightgbm", "logistic")
FILES: dict[Kind, str] = {"lightgbm": "model.lgb", "logistic": "model.logistic.json"}
TRIALS = 16
_MOST_PERMUTED = 15
_PERMUTED_ROWS = 20_000
_SEARCH_SHARE = 0.6
_NO_INPUT = {
    TEXT: "is a text, and texts are no inputs of a model",
    MOMENT: "is a time, and times are no inputs of a model",
    EMPTY: "is always NULL in training, and so no input of the model",
    CONSTANT: "is always the same in training, and so no input of the model",
    ASKED: "is left out by --exclude, and so no input of the model",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """How to train: which kind is wanted (None: the better one by validation), the search, and what may not be learned.

    `monotone` has 1 for inputs of which more is never less fraud, -1 for the reverse. `budget_s` ends the search early.
    """

    kind: Kind | None = None
    trials: int = TRIALS
    budget_s: float | None = None
    seed: int = 0
    folds: int = FOLDS
    monotone: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """One kind of model: its file, and how it scored rows that it had not learned from.

    `scores` are calibrated, one for each row of `Trained.validated`, by the models of the folds; `test_scores` are the
    file's own over the test part. `folds` has figures of each fold, `importance` of each input, the greatest first.
    """

    kind: Kind
    content: bytes
    parameters: dict[str, Any]
    calibration: Calibration
    scores: Floats
    test_scores: Floats
    folds: tuple[dict[str, Any], ...]
    importance: tuple[dict[str, Any], ...]
    notes: tuple[str, ...] = ()

    @property
    def average_precision(self) -> float:
        """The mean over the folds, by which kinds are compared; NaN folds, without a fraud, are left out."""
        return float(np.nanmean([fold["average_precision"] for fold in self.folds]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """All that came of a training: both kinds, which of them is chosen, and the rows behind the figures.

    `samples` is the whole set; `train` its training part, with the labels as they were known by `known_by_us`, when the
    test part begins: `late` frauds more became known after that and count as good here. `validated` are those rows of
    it that folds tested, and `test` the rows of the test part that have matured, with all that is known of them.
    """

    choice: Choice
    samples: Samples
    train: Samples
    late: int
    validated: Samples
    test: Samples
    learned: dict[Kind, Learned]
    kind: Kind
    found: Found
    known_by_us: int

    @property
    def chosen(self) -> Learned:
        return self.learned[self.kind]

    @property
    def other(self) -> Learned:
        """The other kind, reported beside the chosen one."""
        return next(learned for kind, learned in self.learned.items() if kind != self.kind)

    def scorer(self) -> Scorer:
        """The chosen model as the engine loads it."""
        return _scorer(self.samples, self.kind, self.chosen.content)


def train(samples: Samples, choice: Choice, *, on_progress: Told | None = None) -> Trained:
    """Train both kinds on the training part of a set; `on_progress` is told the share done and what is being done.

    Folds choose parameters and the kind, and calibrate; the final models learn from all of the training part. No label
    counts that was not known when the test part begins. The test part is scored once, at the end. Raises InputError as
    `make_folds` does, where fewer than FEWEST_POSITIVE frauds were known by then, where a monotone input is not there,
    and where a library of the extra is missing.
    """
    told: Told = on_progress or (lambda share, words: None)
    _expect_inputs(samples, choice)
    known_by = samples.test_from_us or samples.known_by_us
    rows, late = _as_known(samples, known_by)
    folds = make_folds(
        rows.time_us, rows.label, rows.known_at_us, delay_us=samples.delay_us, count=choice.folds
    )  # fmt: skip
    boosting = Boosting(names=rows.names, seed=choice.seed, monotone=choice.monotone)
    told(0.0, "searching")
    found = search(
        rows,
        folds,
        boosting,
        trials=choice.trials,
        budget_s=choice.budget_s,
        on_trial=lambda done, of: told(_SEARCH_SHARE * done / of, f"trial {done} of {of}"),
    )
    final = Fold(
        number=0, at_us=known_by, to_us=known_by, train=np.arange(len(rows.label)), label=rows.label,
        test=np.empty(0, np.int64),
    )  # fmt: skip
    fitting = _Fitting(rows, boosting, found)
    tasks = [(kind, fold) for kind in KINDS for fold in (final, *folds)]
    done = 0
    fitted: dict[Kind, list[Fitted]] = {kind: [] for kind in KINDS}
    with ThreadPoolExecutor(WORKERS) as pool:
        for (kind, _), one in zip(tasks, pool.map(lambda task: fitting.fit(*task), tasks), strict=True):
            fitted[kind].append(one)
            done += 1
            told(_SEARCH_SHARE + (0.95 - _SEARCH_SHARE) * done / len(tasks), f"fitted {done} of {len(tasks)}")
    validated = rows.take(np.concatenate([fold.test for fold in folds]))
    test = samples.test
    learned = {kind: _learned(kind, rows, validated, test, folds, fitted[kind], choice, found) for kind in KINDS}
    best = max(KINDS, key=lambda kind: learned[kind].average_precision)
    told(1.0, "trained")
    return Trained(
        choice=choice,
        samples=samples,
        train=rows,
        late=late,
        validated=validated,
        test=test,
        learned=learned,
        kind=choice.kind or best,
        found=found,
        known_by_us=known_by,
    )


class Fitted:
    """A fitted model before calibration: `raw` scores rows, `content` is its file with a calibration in it."""

    def __init__(
        self, raw: Callable[[Floats], Floats], content: Callable[[float, float], bytes], gain: dict[str, float],
        notes: tuple[str, ...] = (),
    ) -> None:  # fmt: skip
        self.raw = raw
        self.content = content
        self.gain = gain
        self.notes = notes


@dataclass(frozen=True, slots=True)
class _Fitting:
    """Fits either kind on the rows of a fold."""

    rows: Samples
    boosting: Boosting
    found: Found

    def fit(self, kind: Kind, fold: Fold) -> Fitted:
        x, weight = self.rows.x[fold.train], self.rows.weight[fold.train]
        return self._trees(x, fold, weight) if kind == "lightgbm" else self._sum(x, fold, weight)

    def _trees(self, x: Floats, fold: Fold, weight: Floats) -> Fitted:
        booster = self.boosting.fit(
            self.boosting.rows(x, fold.label, weight), self.found.parameters, self.found.rounds
        )  # fmt: skip
        text = booster.model_to_string()
        return Fitted(
            lambda rows: np.asarray(booster.predict(rows, raw_score=True, num_threads=1), np.float64),
            lambda a, b: calibrated_text(text, a, b),
            gains(booster, self.rows.names),
        )

    def _sum(self, x: Floats, fold: Fold, weight: Floats) -> Fitted:
        monotone = self.boosting.monotone
        model = fit_logistic(x, fold.label, weight, self.rows.names, monotone=monotone)
        size = sum(abs(term.coefficient) for term in model.terms) or 1.0
        against = [term.name for term in model.terms if term.name in monotone and not term.coefficient]
        return Fitted(
            lambda rows: LogisticScorer(model, "").raw(np.ascontiguousarray(rows)),
            lambda a, b: write_logistic(calibrated(model, a, b)),
            {term.name: abs(term.coefficient) / size for term in model.terms},
            tuple(f"{name} has no part in the logistic regression: it would go the wrong way" for name in against),
        )


def _learned(
    kind: Kind,
    rows: Samples,
    validated: Samples,
    test: Samples,
    folds: tuple[Fold, ...],
    fitted: list[Fitted],
    choice: Choice,
    found: Found,
) -> Learned:
    final, of_folds = fitted[0], fitted[1:]
    raws = [one.raw(rows.x[fold.test]) if fold.test.size else np.empty(0) for one, fold in zip(of_folds, folds)]
    calibration = platt(np.concatenate(raws), validated.label, validated.weight)
    content = final.content(calibration.a, calibration.b)
    figures = tuple(_figures(rows, fold, raw) for fold, raw in zip(folds, raws, strict=True))
    common: dict[str, Any] = {"seed": choice.seed, "monotone": dict(choice.monotone)}
    chosen = asdict(found.parameters) | {"rounds": found.rounds} if kind == "lightgbm" else {"ridge": RIDGE}
    return Learned(
        kind=kind,
        content=content,
        parameters=chosen | common,
        calibration=calibration,
        scores=calibration.of(np.concatenate(raws)),
        test_scores=_scorer(rows, kind, content).score(test.x) if len(test.label) else np.empty(0),
        folds=figures,
        importance=_importance(rows, folds, of_folds, final.gain, choice.seed),
        notes=final.notes + ((calibration.note,) if calibration.note else ()),
    )


def _scorer(samples: Samples, kind: Kind, content: bytes) -> Scorer:
    model = Model(
        name=kind, event_type=samples.event_type, file=FILES[kind], inputs=samples.names, content=content
    )  # fmt: skip
    return load_model(model)


def _figures(rows: Samples, fold: Fold, raw: Floats) -> dict[str, Any]:
    label, weight = rows.label[fold.test], rows.weight[fold.test]
    above = Ranking.of(label, raw).above(weight) if label.size else None
    return {
        "fold": fold.number,
        "from": iso_time(fold.at_us),
        "to": iso_time(fold.to_us),
        "train_rows": int(fold.train.size),
        "train_positive": int(fold.label.sum()),
        "test_rows": int(fold.test.size),
        "test_positive": int(label.sum()),
        "average_precision": above.average_precision() if above else float("nan"),
        "roc_auc": above.roc_auc() if above else float("nan"),
    }


def _importance(
    rows: Samples, folds: tuple[Fold, ...], fitted: list[Fitted], gain: dict[str, float], seed: int
) -> tuple[dict[str, Any], ...]:
    """Gain in training, and for the first inputs what average precision loses out of fold where they are shuffled."""
    order = sorted(gain, key=lambda name: (-gain[name], name))
    lost: dict[str, list[float]] = {name: [] for name in order[:_MOST_PERMUTED] if gain[name] > 0}
    rng = np.random.default_rng(seed)
    for fold, one in zip(folds, fitted, strict=True):
        test = _few(fold.test, rows.label, rng)
        label, weight = rows.label[test], rows.weight[test]
        if not label.any():
            continue
        x = rows.x[test]
        whole = Ranking.of(label, one.raw(x)).above(weight).average_precision()
        for name in lost:
            place = rows.names.index(name)
            shuffled = x.copy()
            shuffled[:, place] = x[rng.permutation(len(x)), place]
            lost[name].append(whole - Ranking.of(label, one.raw(shuffled)).above(weight).average_precision())
    return tuple(
        {"input": name, "gain": gain[name]} | ({"permutation": float(np.mean(lost[name]))} if lost.get(name) else {})
        for name in order
    )


def _few(test: NDArray[np.int64], label: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.int64]:
    """All frauds of a test and so many of the others that shuffling stays cheap."""
    good = test[~label[test]]
    if good.size <= _PERMUTED_ROWS:
        return test
    return np.sort(np.concatenate([test[label[test]], rng.permutation(good)[:_PERMUTED_ROWS]]))


def _as_known(samples: Samples, known_by_us: int) -> tuple[Samples, int]:
    """The training part as it was known at a moment, and how many frauds of it became known later."""
    part = samples.train
    label = part.label & (part.known_at_us <= known_by_us)
    known = int(label.sum())
    if known < FEWEST_POSITIVE:
        raise InputError(
            f"of {len(label):,} {samples.event_type} events of the training part {known} were known to be "
            f"{samples.label_name} by {iso_time(known_by_us)}, when the test part begins: with fewer than "
            f"{FEWEST_POSITIVE} a model learns chance (hint: a longer span, a longer --gap, or labels that come sooner)"
        )
    return replace(part, label=label), int(part.label.sum()) - known


def _expect_inputs(samples: Samples, choice: Choice) -> None:
    for name in choice.monotone:
        if name in samples.names:
            continue
        said = _NO_INPUT.get(samples.left_out.get(name, ""))
        if said is not None:
            there = ", ".join(difflib.get_close_matches(name, samples.names, n=3, cutoff=0.0))
            raise InputError(f"--monotone: {name} {said} (hint: inputs near it: {there})")
        near = closest(name, list(samples.names))
        raise InputError(f"--monotone: the model has no input {name!r}{f'; {near}' if near else ''}")
