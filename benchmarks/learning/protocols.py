"""Two published protocols, from the events to the figures: the Fraud Detection Handbook's chapter 3, and Sparkov.

Each goes the way of a user: `parakh dataset`, `parakh train`, and the test part scored once by the written model.
"""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from parakh.decisions.definition import DAY_US
from parakh.decisions.replay import Source
from parakh.learning.card import write_dataset
from parakh.learning.dataset import Choice as Cut
from parakh.learning.dataset import Dataset, make_dataset
from parakh.learning.fitting.samples import read_samples
from parakh.learning.fitting.training import Choice, Trained, train
from parakh.learning.measures.metrics import average_precision, card_precision, recall_at_false_positive_rate, roc_auc
from parakh.learning.past import Files
from parakh.project.project import Project

__all__ = [
    "HANDBOOK",
    "SPARKOV",
    "SPARKOV_WANTED",
    "WANTED",
    "Protocol",
    "Scored",
    "Week",
    "Weeks",
    "ceiling",
    "handbook_set",
    "run_handbook",
    "run_sparkov",
]

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
DATA = Path(os.environ.get("PARAKH_DATA", ROOT.parent / "shared" / "data"))
HANDBOOK = DATA / "fraud-handbook" / "transactions_2018-06-11_2018-08-14.parquet"
SPARKOV = DATA / "sparkov" / "transactions_2019-01-01_2019-06-30.parquet"

AUTHORS = (
    "amount", "during_weekend", "during_night",
    *(f"{name}_{days}d" for name in ("customer.payments", "customer.mean_amount") for days in (1, 7, 30)),
    *(f"{name}_{days}d" for name in ("terminal.payments", "terminal.fraud_share") for days in (1, 7, 30)),
)  # fmt: skip
"""The handbook's 15 features, under the names of examples/fraud-handbook."""

PUBLISHED = {
    "logistic regression": (0.871, 0.606, 0.291),
    "decision tree": (0.763, 0.496, 0.241),
    "random forest": (0.867, 0.658, 0.287),
    "XGBoost": (0.862, 0.639, 0.273),
}
"""ROC AUC, average precision and card precision@100 of the handbook's table."""
WANTED = (0.880, 0.715, 0.300)
"""The same of `parakh train`, at least."""
SPARKOV_WANTED = 0.80
"""Average precision on Sparkov, at least."""


def us(text: str) -> int:
    """A day as us UTC."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1_000_000)


@dataclass(frozen=True, slots=True)
class Week:
    """Some payments of a set, by the columns that the handbook's protocol needs."""

    rows: NDArray[np.int64]
    fraud: NDArray[np.int64]
    customer: NDArray[np.int64]
    day: NDArray[np.int64]

    def figures(self, scores: NDArray[np.float64]) -> tuple[float, float, float]:
        """ROC AUC, average precision, card precision@100."""
        return (
            roc_auc(self.fraud, scores),
            average_precision(self.fraud, scores),
            card_precision(self.fraud, scores, cards=self.customer, days=self.day),
        )


@dataclass(frozen=True, slots=True)
class Weeks:
    """The handbook's training week, and its test week without the customers that are known by then."""

    train: Week
    test: Week

    @classmethod
    def of(cls, made: Dataset) -> Weeks:
        """Of a set of the handbook's payments that reaches from the training week to the test's end."""
        table = made.table
        fraud = table["label"].to_numpy(zero_copy_only=False).astype(np.int64)
        customer = np.unique(np.array(table["customer"].to_pylist()), return_inverse=True)[1]
        day = table["event_time"].cast("int64").to_numpy() // DAY_US
        first, last, begin = (us(text) // DAY_US for text in ("2018-07-25", "2018-07-31", "2018-08-08"))
        learned = (day >= first) & (day <= last)
        known = set(customer[learned & (fraud == 1)].tolist())
        kept = []
        for today in range(begin, begin + 7):
            # Of each day of the test, what became known on it: of the day that lies the delay, and one day, before.
            known |= set(customer[(day == today - 8) & (day >= first) & (fraud == 1)].tolist())
            rows = np.flatnonzero(day == today)
            kept.append(rows[~np.isin(customer[rows], list(known))])

        def week(rows: NDArray[np.int64]) -> Week:
            return Week(rows, fraud[rows], customer[rows], day[rows])

        return cls(week(np.flatnonzero(learned)), week(np.concatenate(kept)))


def handbook_set(project: Project, *, from_day: str) -> Dataset:
    """The handbook's payments from a day on, labels as known a week after the last; the test week is the test."""
    cut = Cut(
        event_type="payment",
        from_us=us(from_day),
        known_by_us=us("2018-08-22"),
        test_from_us=us("2018-08-08"),
        gap_us=7 * DAY_US,
    )
    return make_dataset(project, _payments(HANDBOOK), cut)


def ceiling(made: Dataset, test: Week) -> NDArray[np.float64]:
    """The scores of somebody who knows all that can be known in the test week: frauds above the good events.

    Left among these, at random, are the frauds that look like nothing yet: at a compromised terminal (scenario 2: usual
    amounts, by whoever comes) of which no fraud is known, since its labels take a week.
    """
    raw = pq.read_table(HANDBOOK, columns=["TRANSACTION_ID", "TX_FRAUD_SCENARIO"])
    scenario = dict(zip(map(str, raw[0].to_pylist()), raw[1].to_pylist(), strict=True))
    table = made.table
    terminal, time_us = np.array(table["terminal"].to_pylist()), table["event_time"].cast("int64").to_numpy()
    seen: dict[str, list[int]] = {}
    for row in np.flatnonzero(table["label"].to_numpy(zero_copy_only=False)).tolist():
        seen.setdefault(str(terminal[row]), []).append(int(time_us[row]))
    ids = table["event_id"].take(pa.array(test.rows)).to_pylist()
    known = np.ones(test.rows.size, np.bool_)
    for place, (row, name) in enumerate(zip(test.rows.tolist(), ids, strict=True)):
        if scenario[name] == 2:
            since, until = time_us[row] - 35 * DAY_US, time_us[row] - 7 * DAY_US
            known[place] = any(since <= at <= until for at in seen.get(str(terminal[row]), ()))
    found = (test.fraud == 1) & known
    return np.where(found, 2.0, np.random.default_rng(0).random(test.rows.size))


def _payments(path: Path) -> Files:
    return Files(sources=(Source("payment", str(path)),), label_delay_us=7 * DAY_US)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """What a model of ours reached: scores of the test rows, and how long set and training took."""

    trained: Trained
    scores: NDArray[np.float64]
    set_s: float
    train_s: float
    events: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """A protocol's data beside what a model of ours reached on it."""

    scored: Scored
    fraud: NDArray[np.int64]
    weeks: Weeks | None = None


def _train(made: Dataset, project: Project, seed: int) -> tuple[Trained, float]:
    """Through the folder that a user would have, since a model is trained from files."""
    with tempfile.TemporaryDirectory() as folder:
        write_dataset(made, project, Path(folder))
        began = time.perf_counter()
        trained = train(read_samples(Path(folder)), Choice(seed=seed))
        return trained, time.perf_counter() - began


def run_handbook(*, seed: int = 0) -> Protocol:
    """The features of `benchmarks/learning/handbook`, five weeks of training, all of it chosen before the test week."""
    project = Project.load(HERE / "handbook")
    began = time.perf_counter()
    made = handbook_set(project, from_day="2018-06-27")
    set_s = time.perf_counter() - began
    trained, train_s = _train(made, project, seed)
    weeks = Weeks.of(made)
    # Scores of the set's test part, in the set's order; the protocol's test week is some of its rows.
    place = np.full(made.table.num_rows, -1, np.int64)
    tested = np.flatnonzero(np.array(made.table["split"].to_pylist()) == "test")
    place[tested] = np.arange(tested.size)
    scores = trained.chosen.test_scores[place[weeks.test.rows]]
    scored = Scored(trained=trained, scores=scores, set_s=set_s, train_s=train_s, events=made.replayed.received)
    return Protocol(scored=scored, fraud=weeks.test.fraud, weeks=weeks)


def run_sparkov(*, seed: int = 0) -> Protocol:
    """Payments before May 2019 to train, those of May and June to test; labels count as known when May begins."""
    project = Project.load(HERE / "sparkov")
    began = time.perf_counter()
    cut = Cut(event_type="payment", known_by_us=us("2019-07-08"), test_from_us=us("2019-05-01"), gap_us=0)
    made = make_dataset(project, _payments(SPARKOV), cut)
    set_s = time.perf_counter() - began
    trained, train_s = _train(made, project, seed)
    fraud = made.table["label"].to_numpy(zero_copy_only=False).astype(np.int64)
    tested = np.array(made.table["split"].to_pylist()) == "test"
    scored = Scored(
        trained=trained,
        scores=trained.chosen.test_scores,
        set_s=set_s,
        train_s=train_s,
        events=made.replayed.received,
    )
    return Protocol(scored=scored, fraud=fraud[tested])


def sparkov_figures(protocol: Protocol) -> dict[str, float]:
    """The figures of the Sparkov test."""
    fraud, scores = protocol.fraud, protocol.scored.scores
    return {
        "roc_auc": roc_auc(fraud, scores),
        "average_precision": average_precision(fraud, scores),
        "recall_at_fpr_1pct": recall_at_false_positive_rate(fraud, scores),
    }
