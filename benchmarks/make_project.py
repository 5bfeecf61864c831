"""Makes what is generated of the benchmark's project: 50 threshold rules, and a model of 100 trees with 31 leaves.

The features are those of DuckDB over workload W; the labels are drawn from a few of them, so that the trees have
something to learn. The result is committed: run this again only to change the workload.

    python -m benchmarks.make_project
"""

from __future__ import annotations

from pathlib import Path

import lightgbm
import numpy as np
from numpy.typing import NDArray

from benchmarks.peers import duckdb_windows
from benchmarks.workload import FEATURES, workload

PROJECT = Path(__file__).resolve().parent / "workload"
RULES = 50
LABELLED_SHARE = 0.1  # of the stream is learnt from
FRAUD_SHARE = 0.03
OUTCOMES = ("challenge", "review", "block")
PARAMETERS = {
    "objective": "binary",
    "num_leaves": 31,
    "learning_rate": 0.05,
    "min_data_in_leaf": 30,
    "feature_fraction": 0.7,
    "seed": 7,
    "deterministic": True,
    "num_threads": 1,
    "verbose": -1,
}


def main() -> None:
    stream = workload(late=0.0)
    features = duckdb_windows.run(stream).features
    random = np.random.default_rng(7)
    some = np.flatnonzero(random.random(len(stream)) < LABELLED_SHARE)
    table = np.column_stack([features[name][some] for name in FEATURES])
    amount = stream.amount_minor[some] / 100
    (PROJECT / "rules" / "thresholds.yaml").write_text(rules(random, table, amount))
    labels = drawn_labels(random, table)
    booster = lightgbm.train(PARAMETERS, lightgbm.Dataset(table, labels, feature_name=list(FEATURES)), 100)
    booster.save_model(PROJECT / "models" / "risk.lgb")
    (PROJECT / "models" / "risk.yaml").write_text(
        "model: risk\nfor: payment\nfile: risk.lgb\ninputs:\n" + "".join(f"  - {name}\n" for name in FEATURES)
    )


def rules(random: np.random.Generator, table: NDArray[np.float64], amount: NDArray[np.float64]) -> str:
    """50 rules of two or three comparisons with thresholds that few payments pass; most hit one in a thousand."""
    texts = []
    for number in range(RULES):
        first, second = number % len(FEATURES), int(random.integers(len(FEATURES)))
        parts = []
        for feature, share in ((first, 0.003), (second, 0.3)):
            low = FEATURES[feature] == "card.idle"  # quick ones are the odd ones
            threshold = np.nanquantile(table[:, feature], share if low else 1 - share)
            parts.append(f"{FEATURES[feature]} {'<=' if low else '>='} {float(threshold):.2f}".removesuffix(".00"))
        if number % 2:
            parts.append(f"amount >= {round(float(np.quantile(amount, random.uniform(0.2, 0.8))), 2):.2f}")
        texts.append(
            f"rule: threshold_{number + 1:02d}\nfor: payment\nwhen: {' and '.join(parts)}\n"
            f"then: {OUTCOMES[number % len(OUTCOMES)]}\nreason: T{number + 1:02d}\n"
        )
    return "# Written by benchmarks/make_project.py.\n" + "---\n".join(texts)


def drawn_labels(random: np.random.Generator, table: NDArray[np.float64]) -> NDArray[np.float64]:
    """Frauds, likelier on busy devices, on cards in many countries and where much is spent at once; and by chance."""
    odd = np.zeros(len(table))
    for name, weight in {
        "device.cards_1d": 1.0,
        "card.countries_1d": 1.0,
        "card.spent_1h": 1.5,
        "card.idle": -0.5,
    }.items():
        value = np.log1p(np.nan_to_num(table[:, FEATURES.index(name)]))
        odd += weight * (value - value.mean()) / value.std()
    odd += random.normal(0, 1, len(table))
    return (odd > np.quantile(odd, 1 - FRAUD_SHARE)).astype(np.float64)


if __name__ == "__main__":
    main()
