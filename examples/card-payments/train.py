"""Trains models/payment_fraud.lgb: another fintech is simulated, replayed through this project, and learnt from.

    python train.py            # needs the extra: pip install "parakh[learn]"

The model learns from what it will be given when it decides: its inputs are recorded while the engine replays the
events, exactly as they are handed to it. It learns from the verdicts that people gave, not from the simulator's truth;
what nobody reported counts as honest. Seeds and threads are fixed, so that the same versions give the same file.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import lightgbm
import numpy as np
from numpy.typing import NDArray

from parakh import Engine, Project
from parakh.models.scorer import Scorer
from parakh.simulation import simulate

HERE = Path(__file__).resolve().parent
MODEL = "payment_fraud"
TYPES = ("customer_opened", "login", "password_change", "payee_added", "payment", "decline", "transfer")
TREES = 70
PARAMETERS = {
    "objective": "binary",
    "learning_rate": 0.08,
    "num_leaves": 12,
    "min_data_in_leaf": 40,
    "feature_fraction": 0.7,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "lambda_l2": 5.0,
    "seed": 20250106,
    "deterministic": True,
    "force_row_wise": True,
    "num_threads": 1,
    "verbosity": -1,
}


@dataclass
class Recorder:
    """Stands in the model's place during a replay and keeps what the model is given."""

    scorer: Scorer
    given: list[NDArray[np.float64]] = field(default_factory=list)

    def score(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        self.given.append(x.copy())
        return self.scorer.score(x)

    def contributions(self, x: NDArray[np.float64]) -> NDArray[np.float64] | None:
        return self.scorer.contributions(x)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--events", type=int, default=400_000, help="how many events to learn from")
    arguments.add_argument(
        "--seed", type=int, default=1_001, help="the fintech to learn from; never the one to test on"
    )
    arguments.add_argument("--out", type=Path, default=HERE / "models" / f"{MODEL}.lgb")
    chosen = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "events"
        print(simulate("fintech", events=chosen.events, seed=chosen.seed, out=data))
        names, x = inputs(_with_some_model(Path(folder) / "project"), data)
        y = verdicts(data)
    booster = lightgbm.train(PARAMETERS, lightgbm.Dataset(x, y, feature_name=names), num_boost_round=TREES)
    booster.save_model(chosen.out)
    print(f"{chosen.out}: {booster.num_trees()} trees, {chosen.out.stat().st_size:,} bytes; it splits most on")
    gains = sorted(zip(booster.feature_importance("gain"), names), reverse=True)
    for gain, name in gains[:8]:
        print(f"  {name:32} {gain / sum(item for item, _ in gains):6.1%}")


def inputs(project: Project, data: Path) -> tuple[list[str], NDArray[np.float64]]:
    """The names of the model's inputs, and their values for each payment, in the order of the file."""
    engine = Engine(project)
    (model,) = engine.plan.by_name["payment"].models
    recorder = Recorder(model.scorer)
    model.scorer = recorder
    engine.decide({name: data / f"{name}.ndjson" for name in TYPES}, labels=data / "labels.ndjson")
    return list(model.model.inputs), np.concatenate(recorder.given)


def verdicts(data: Path) -> NDArray[np.float64]:
    """The last verdict on each payment, in the order of the file; 0 where there is none or it was withdrawn."""
    fraud = {
        label["event_id"]: bool(label["value"])
        for label in map(json.loads, (data / "labels.ndjson").read_text().splitlines())
    }
    payments = map(json.loads, (data / "payment.ndjson").read_text().splitlines())
    return np.array([fraud.get(payment["payment_id"], False) for payment in payments], dtype=np.float64)


def _with_some_model(folder: Path) -> Project:
    """A copy of this project whose model says nothing: it is needed to load, and is not there before the first run."""
    shutil.copytree(HERE, folder, ignore=shutil.ignore_patterns("*.lgb", "data", "__pycache__"))
    lines = (HERE / "models" / f"{MODEL}.yaml").read_text().splitlines()
    names = [line.removeprefix("  - ") for line in lines if line.startswith("  - ")]
    empty = lightgbm.Dataset(np.arange(100.0 * len(names)).reshape(100, -1), np.arange(100) % 2, feature_name=names)
    lightgbm.train({**PARAMETERS, "min_data_in_leaf": 100}, empty, num_boost_round=1).save_model(
        folder / "models" / f"{MODEL}.lgb"
    )
    return Project.load(folder)


if __name__ == "__main__":
    main()
