"""Trains models/payment_fraud.lgb: another fintech is simulated, replayed through this project, and learnt from.

    python train.py            # needs the extra: pip install "parakh[train]"

The model learns from what it will be given when it decides: the inputs are recorded while the engine replays the
events, exactly as they are handed to the model. It learns from the verdicts that people gave, not from the simulator's
truth; what nobody reported counts as honest. The seeds are fixed, so that the same versions give the same file.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
from numpy.typing import NDArray

from parakh import Engine, Project
from parakh.simulation import simulate

HERE = Path(__file__).resolve().parent
MODEL = "payment_fraud"
TYPES = ("customer_opened", "login", "password_change", "payee_added", "payment", "decline", "transfer")
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
TREES = 70
