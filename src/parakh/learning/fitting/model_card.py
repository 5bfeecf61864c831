"""The card of a model: what it learned from, how well it does on what it had not seen, and what it was not tried on.

`card.json` is for programs - gates, drift, the registry - and `card.md` for people; the page with plots is drawn from
the same figures.
"""

from __future__ import annotations

import hashlib
import json
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parakh import __version__
from parakh.errors import InputError
from parakh.expressions.values import iso_time
from parakh.learning.changes.drift import ALARM, WATCH, Baseline, baseline_of, stability
from parakh.learning.fitting.model_words import card_page
from parakh.learning.fitting.samples import Samples
from parakh.learning.fitting.training import FILES, Kind, Learned, Trained
from parakh.learning.measures.costs import Costs
from parakh.learning.measures.evaluation import Evaluation, evaluate
from parakh.learning.measures.intervals import Paired, paired
from parakh.learning.plain import plain
from parakh.models.scorer import Scorer
from parakh.project.writing import write_whole

__all__ = ["CARD_FILES", "Carded", "expect_room", "make_card", "write_model"]

CARD_FILES = ("card.json", "card.md", "card.html")
_FEW_POSITIVE = 100
_TIMED_ROWS = 2_000
_MANY_ROWS = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Carded:
    """A model's card with the evaluations behind it: of each kind on the validated rows and, where there are, the test.

    `against` says how much better the chosen kind ranks than the other on the validated rows, `against_test` on the
    test part.
    """

    card: dict[str, Any]
    validation: dict[Kind, Evaluation]
    test: dict[Kind, Evaluation]
    against: Paired
    against_test: Paired | None


def make_card(
    trained: Trained,
    *,
    model: str,
    costs: Costs | None = None,
    capacity: float = 100,
    zone: str = "UTC",
    rounds: int = 200,
) -> Carded:
    """Evaluate what was trained and describe it; `model` is its name in the project.

    `capacity` is how many events a day can be reviewed, `zone` where days and weeks begin, `rounds` those of the
    bootstrap intervals, fewer for very many rows. The same training gives the same card, but for the time that scoring
    takes, which is measured.
    """
    costs = Costs() if costs is None else costs
    seed = trained.choice.seed

    def judged(rows: Samples, scores: NDArray[np.float64], kind: Kind) -> Evaluation:
        few = rounds if len(rows.label) <= _MANY_ROWS else max(20, rounds // 4)
        chosen = kind == trained.kind
        return evaluate(
            rows.label,
            scores,
            amounts=rows.amount,
            time_us=rows.time_us,
            zone=zone,
            weights=rows.weight if (rows.weight != 1).any() else None,
            segments=_segments(rows) if chosen else None,
            costs=costs,
            capacity=capacity,
            seed=seed,
            rounds=few,
        )

    validation = {kind: judged(trained.validated, one.scores, kind) for kind, one in trained.learned.items()}
    tested = len(trained.test.label) > 0
    test = {kind: judged(trained.test, one.test_scores, kind) for kind, one in trained.learned.items() if tested}
    against = _against(trained.validated, trained.chosen.scores, trained.other.scores, seed, rounds)
    both = tested and bool(trained.test.label.any()) and not trained.test.label.all()
    against_test = (
        _against(trained.test, trained.chosen.test_scores, trained.other.test_scores, seed, rounds) if both else None
    )
    baseline = _baselines(trained)
    chosen = trained.chosen
    card = {
        "model": model,
        "event_type": trained.samples.event_type,
        "label": trained.samples.label_name,
        "kind": chosen.kind,
        "file": FILES[chosen.kind],
        "sha256": hashlib.sha256(chosen.content).hexdigest(),
        "inputs": list(trained.samples.names),
        "dataset": _dataset(trained),
        "labels_known_by": iso_time(trained.known_by_us),
        "parameters": chosen.parameters,
        "seed": trained.choice.seed,
        "search": {
            "asked": trained.found.asked, "done": len(trained.found.trials), "cut_short": trained.found.cut_short,
            "trials": list(trained.found.trials),
        },
        "validation": {"folds": list(chosen.folds), "metrics": validation[chosen.kind].as_data()},
        "test": test[chosen.kind].as_data() if tested else None,
        "baseline_model": {
            "kind": trained.other.kind,
            "validation": {"folds": list(trained.other.folds), "metrics": validation[trained.other.kind].as_data()},
            "test": test[trained.other.kind].as_data() if tested else None,
            "difference": _difference(against),
            "difference_test": _difference(against_test),
        },
        "calibration": chosen.calibration.as_data(),
        "importance": list(chosen.importance),
        "monotone": dict(trained.choice.monotone),
        "baseline": {name: found.as_data() for name, found in baseline.items()},
        "latency_us_per_event": _latency_us(trained.scorer(), trained.samples.x),
        "limits": _limits(trained, baseline, against),
        "versions": {
            "parakh": __version__,
            "python": platform.python_version(),
            **{name: version(name) for name in ("numpy", "lightgbm", "scikit-learn", "optuna")},
        },
    }  # fmt: skip
    return Carded(card=plain(card), validation=validation, test=test, against=against, against_test=against_test)


def expect_room(out: Path) -> None:
    """Raise InputError where a model cannot go to this folder: it is a file, or other files stand in it."""
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; a model is a folder")
    ours = {*FILES.values(), *CARD_FILES}
    others = sorted({path.name for path in out.iterdir()} - ours) if out.exists() else []
    if others:
        raise InputError(f"{out} holds other files ({others[0]}): name a new or empty folder, or one of a model before")


def write_model(trained: Trained, carded: Carded, out: Path) -> None:
    """Write the model's file, card.json and card.md into a folder, each at once and never half.

    Raises InputError as `expect_room` does, and OSError where the disk refuses.
    """
    expect_room(out)
    out.mkdir(parents=True, exist_ok=True)
    chosen = trained.chosen
    for kind, name in FILES.items():
        if kind != chosen.kind:
            (out / name).unlink(missing_ok=True)
    written = {
        FILES[chosen.kind]: chosen.content,
        "card.md": card_page(carded.card).encode(),
        "card.json": (json.dumps(carded.card, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode(),
    }
    for name, content in written.items():
        write_whole(out / name, content)


def _against(rows: Samples, first: NDArray[np.float64], second: NDArray[np.float64], seed: int, rounds: int) -> Paired:
    weights = rows.weight if (rows.weight != 1).any() else None
    few = rounds if rows.label.size <= _MANY_ROWS else max(20, rounds // 4)
    return paired(rows.label, first, second, weights=weights, rounds=few, seed=seed)


def _difference(found: Paired | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "measure": "average_precision", "value": found.difference, "low": found.low, "high": found.high,
        "not_better": found.not_better,
    }  # fmt: skip


def _segments(rows: Samples) -> dict[str, Any]:
    """The set's own texts, and the amount."""
    return dict(rows.segments) | ({} if rows.amount is None else {"amount": rows.amount})


def _dataset(trained: Trained) -> dict[str, Any]:
    """The card of the set, without what is said of each column, and what is known of its parts here."""
    card = {key: value for key, value in trained.samples.card.items() if key != "columns"}
    span = {
        name: {
            "from": iso_time(int(part.time_us.min())),
            "to": iso_time(int(part.time_us.max())),
            "rows": len(part.label),
            "positive": int(part.label.sum()),
        }
        for name, part in (("train", trained.train), ("test", trained.test))
        if len(part.label)
    }
    return card | {"parts": span, "sha256": card["data"]["sha256"]}


def _baselines(trained: Trained) -> dict[str, Baseline]:
    """How the inputs were spread in training, and the scores on rows that were not learned from."""
    train, validated = trained.train, trained.validated
    found = {name: baseline_of(train.x[:, place], train.weight) for place, name in enumerate(train.names)}
    return found | {"score": baseline_of(trained.chosen.scores, validated.weight)}


def _latency_us(scorer: Scorer, x: NDArray[np.float64]) -> float:
    """The median time of scoring one event, in us."""
    rows = [np.ascontiguousarray(x[i % len(x)][None, :]) for i in range(_TIMED_ROWS)]
    for row in rows[:50]:
        scorer.score(row)
    taken = []
    for row in rows:
        begun = time.perf_counter()
        scorer.score(row)
        taken.append(time.perf_counter() - begun)
    return round(1e6 * float(np.median(taken)), 1)


def _limits(trained: Trained, baseline: Mapping[str, Baseline], against: Paired) -> list[str]:
    """What a reader should know before relying on the model, in plain words."""
    samples, train, test = trained.samples, trained.train, trained.test
    event, label = samples.event_type, samples.label_name
    last = iso_time(int(train.time_us.max()))
    found = [f"It learned from {event} events up to {last[:10]}, and from none later."]
    if not len(test.label):
        found.append("It was not tried on a test span of its own: the figures are those of the folds, which chose it.")
    elif not test.label.any():
        found.append(f"Its test span has no {label}: the figures of the test say nothing.")
    positive = int(trained.validated.label.sum())
    if positive < _FEW_POSITIVE:
        found.append(f"The folds tested {positive} positives, which is few: look at the intervals, not at the figures.")
    counts = samples.card.get("counts", {})
    unlabelled, events = int(counts.get("unlabelled", 0)), int(counts.get("events", counts.get("rows", 0)))
    if events and unlabelled:
        share = 100 * unlabelled / events
        found.append(f"{share:.1f} % of the events count as good because nothing was reported of them.")
    if trained.late:
        found.append(
            f"{trained.late} positives of training became known only when the test had begun: they count as good in "
            "all that it learned, and in the figures of the folds."
        )
    found += _drifting(trained, baseline)
    holdout = samples.card.get("holdout")
    if (samples.weight != 1).any() and (holdout is None or samples.card["sample"]["negatives"] < 1):
        found.append("Good events were sampled; figures are weighted to stand for all.")
    found.append(
        "Card precision is not computed: a set does not say whose card an event is, which is personal. So intervals "
        "draw events one by one, and are too narrow where frauds come in runs of one card."
    )
    if not against.low > 0:
        found.append(f"It ranks no better than the {_name(trained.other)} beyond what chance would do.")
    if trained.found.cut_short:
        done, asked = len(trained.found.trials), trained.found.asked
        found.append(f"The budget ended the search after {done} of {asked} trials: another run may find another model.")
    found += [f"{note[:1].upper()}{note[1:]}." for note in (*trained.chosen.notes, *_unsaid(samples.notes))]
    found.append(_of_stopped(holdout))
    return found


def _of_stopped(holdout: Mapping[str, Any] | None) -> str:
    if holdout is None:
        return (
            "What was stopped counts as good unless a label says otherwise: where labels do not come of it, frauds in "
            "it were learned as good (a holdout in the policy shows some of them)."
        )
    return (
        f"{holdout['stopped']:,} events were stopped, of which labels do not come: {holdout['held_out']:,} that were "
        f"held out weigh {1 / holdout['share']:g} each in their stead, in all that it learned and in the figures."
    )


def _unsaid(notes: Sequence[str]) -> list[str]:
    """The set's notes but the one on labels that came late, of which the limits have their own count."""
    return [note for note in notes if "became known only after the test began" not in note]


def _drifting(trained: Trained, baseline: Mapping[str, Baseline]) -> list[str]:
    """The inputs whose spread in the latest rows is not that of training."""
    latest = trained.test if len(trained.test.label) else trained.validated
    names = trained.samples.names
    moved = {name: stability(baseline[name], latest.x[:, place]) for place, name in enumerate(names)}
    found = []
    for bound, below, what in ((ALARM, np.inf, "have drifted"), (WATCH, ALARM, "may be drifting")):
        some = sorted((name for name, index in moved.items() if bound < index <= below), key=lambda name: -moved[name])
        if some:
            told = ", ".join(f"{name} ({moved[name]:.2f})" for name in some[:8])
            more = f" and {len(some) - 8} more" if len(some) > 8 else ""
            found.append(f"Inputs that {what} since training, by their stability index: {told}{more}.")
    return found


def _name(learned: Learned) -> str:
    return "boosted trees" if learned.kind == "lightgbm" else "logistic regression"
