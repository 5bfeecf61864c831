"""The learning loop against published figures: the handbook's chapter 3 and Sparkov, and how long each step takes.

    python -m benchmarks.learning.measure            # about five minutes; writes its section of results.md
    python -m benchmarks.learning.measure --quick    # the protocols alone, nothing written

Exits 1 where a figure falls short, 2 where the data are missing.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.learning import backtest
from benchmarks.learning.protocols import (
    AUTHORS,
    DATA,
    HANDBOOK,
    PUBLISHED,
    ROOT,
    SPARKOV,
    SPARKOV_WANTED,
    WANTED,
    Weeks,
    ceiling,
    handbook_set,
    run_handbook,
    run_sparkov,
    sparkov_figures,
)
from benchmarks.results import RESULTS, Results, Row, Table, keep_section, machine, say
from benchmarks.run import HEADING
from parakh.learning.measures.intervals import interval_of, paired
from parakh.learning.measures.metrics import card_precision
from parakh.project.project import Project

__all__ = ["main"]

TITLE = "Learning"
MEASURES = ("ROC AUC", "average precision", "card precision@100")
NEAR = 0.003
ROUNDS = 400
Figures = tuple[float, float, float]


def main(arguments: list[str] | None = None) -> int:
    """Measure all, print the section and write it; the exit code says whether anything fell short."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.learning.measure", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--quick", action="store_true", help="the protocols alone, nothing written")
    parser.add_argument("--out", type=Path, help=f"the file to write the section to (default {RESULTS.name})")
    given = parser.parse_args(arguments)
    if not (HANDBOOK.exists() and SPARKOV.exists()):
        say(f"the data are not at {DATA}: set PARAKH_DATA")
        return 2
    loads, began = [os.getloadavg()[0]], time.monotonic()
    results = Results(TITLE, "")
    _handbook(results)
    _sparkov(results)
    if not given.quick:
        seconds = backtest.measure()
        results.add(Row.at_most("back-test of 300 rules over 1 million events, the whole command", seconds, 30, "s"))
    results.intro = (
        f"{machine(loads, also=('scikit-learn', 'optuna'))}\n"
        f"The run took {(time.monotonic() - began) / 60:.1f} minutes. All that a model is - features, parameters, "
        "rounds, calibration - was chosen on earlier weeks; the test part is scored once."
    )
    markdown = results.markdown()
    print(markdown)
    out = given.out or (None if given.quick else RESULTS)
    if out is not None:
        keep_section(out, markdown, heading=HEADING)
        say(f"wrote {out}")
    return int(any(row.met is False for row in results.rows))


def _handbook(results: Results) -> None:
    """The authors' models come out as published, and ours is better."""
    say("the handbook's protocol: the authors' features and models")
    began = time.perf_counter()
    made = handbook_set(Project.load(ROOT / "examples" / "fraud-handbook"), from_day="2018-06-11")
    set_s = time.perf_counter() - began
    results.add(
        Row.at_most(f"a training set of {made.table.num_rows:,} payments, {len(made.inputs)} inputs", set_s, 15, "s")
    )
    weeks = Weeks.of(made)
    columns = [made.table[name].to_numpy(zero_copy_only=False).astype(np.float64) for name in AUTHORS]
    # Their risk of a terminal without payments is 0.
    x = np.nan_to_num(np.column_stack(columns))
    scores = _authors(x[weeks.train.rows], weeks.train.fraud, x[weeks.test.rows])
    theirs = {name: weeks.test.figures(score) for name, score in scores.items()}
    for place, measure in enumerate(MEASURES):
        off = abs(theirs["logistic regression"][place] - PUBLISHED["logistic regression"][place])
        reached = theirs["logistic regression"][place]
        said = f"their logistic regression, {measure} {reached:.4f}: off by"
        results.add(Row(said, f"{off:.4f}", f"at most {NEAR}", NEAR / max(off, 1e-9)))
    say("the handbook's protocol: features of our own choosing, parakh train")
    ours = run_handbook()
    assert ours.weeks is not None
    figures = ours.weeks.test.figures(ours.scored.scores)
    for measure, reached, wanted in zip(MEASURES, figures, WANTED, strict=True):
        results.add(_row(f"parakh train, {measure}", reached, wanted))
    limit = ceiling(made, weeks.test)
    for place, measure in enumerate(MEASURES):
        best = max(theirs, key=lambda name: theirs[name][place])
        gained, low = _gained(place, ours.weeks, ours.scored.scores, scores[best], weeks)
        said = f"{measure} above the best of the authors' ({best}, {theirs[best][place]:.3f}) by {gained:+.3f}, 95 %"
        _, most = _gained(place, weeks, limit, scores[best], weeks)
        if most <= 0:  # what nobody can reach is no target: said, not asked
            results.add(Row(f"{said} from", f"{low:+.4f}; who knows all that can be known: from {most:+.4f}"))
        else:
            results.add(Row(f"{said} from", f"{low:+.4f}", "above 0", 1.0 if low > 0 else 0.0))
    results.add(Row.at_most(f"parakh train on {ours.scored.events:,} payments", ours.scored.train_s, 120, "s"))
    rows = [
        [name, *(f"{value:.3f}" for value in values), *(f"{value:.3f}" for value in theirs.get(name, ()))]
        for name, values in PUBLISHED.items()
    ]
    rows = [[*row, *[""] * (7 - len(row))] for row in rows]
    rows.append(["parakh train, own features", "", "", "", *(f"{value:.3f}" for value in figures)])
    reachable = weeks.test.figures(limit)
    rows.append(["all that can be known", "", "", "", *(f"{value:.3f}" for value in reachable)])
    heads = ("model", *(f"{name}, published" for name in MEASURES), *(f"{name}, here" for name in MEASURES))
    note = f"{weeks.test.fraud.size:,} payments, {int(weeks.test.fraud.sum())} frauds in the test week. "
    note += (
        "All that can be known: every fraud first, but for those at terminals of which no fraud is known yet, since "
        "labels take a week; they look like any payment."
    )
    results.tables.append(Table("The handbook's chapter 3", heads, rows, note))


def _row(what: str, reached: float, wanted: float) -> Row:
    return Row(what, f"{reached:.4f}", f"at least {wanted:.3f}", reached / wanted)


def _authors(
    x: NDArray[np.float64], fraud: NDArray[np.int64], test: NDArray[np.float64]
) -> dict[str, NDArray[np.float64]]:
    """Scores of the authors' models, with the settings of their chapter."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.tree import DecisionTreeClassifier

    models = {
        "logistic regression": LogisticRegression(random_state=0),
        "decision tree": DecisionTreeClassifier(max_depth=2, random_state=0),
        "random forest": RandomForestClassifier(random_state=0, n_jobs=2),
    }
    return {
        name: make_pipeline(StandardScaler(), model).fit(x, fraud).predict_proba(test)[:, 1]
        for name, model in models.items()
    }


def _gained(
    place: int, weeks: Weeks, first: NDArray[np.float64], second: NDArray[np.float64], others: Weeks
) -> tuple[float, float]:
    """How much the first score is better on the same payments, and the lower end of its interval."""
    test = weeks.test
    assert np.array_equal(test.fraud, others.test.fraud)
    if place < 2:
        found = paired(test.fraud, first, second, measure=("roc_auc", "average_precision")[place], rounds=ROUNDS)
        return found.difference, found.low
    # A card is drawn with all its payments; one that is drawn twice is two cards.
    rng = np.random.default_rng(0)
    cards, inverse = np.unique(test.customer, return_inverse=True)
    rows_of = np.split(np.argsort(inverse, kind="stable"), np.cumsum(np.bincount(inverse))[:-1])
    drawn = []
    for _ in range(ROUNDS):
        picked = rng.integers(0, cards.size, cards.size)
        rows = np.concatenate([rows_of[card] for card in picked])
        names = np.repeat(np.arange(picked.size), [rows_of[card].size for card in picked])
        one, other = (
            card_precision(test.fraud[rows], score[rows], cards=names, days=test.day[rows]) for score in (first, second)
        )
        drawn.append(one - other)
    return test.figures(first)[2] - test.figures(second)[2], interval_of(np.array(drawn)).low


def _sparkov(results: Results) -> None:
    say("Sparkov: parakh train")
    done = run_sparkov()
    figures = sparkov_figures(done)
    results.add(_row("Sparkov, average precision", figures["average_precision"], SPARKOV_WANTED))
    rows = [[name.replace("_", " "), f"{value:.4f}"] for name, value in figures.items()]
    note = f"{done.fraud.size:,} payments of May and June 2019, {int(done.fraud.sum()):,} frauds."
    results.tables.append(Table("Sparkov", ("measure", "reached"), rows, note))


if __name__ == "__main__":
    sys.exit(main())
