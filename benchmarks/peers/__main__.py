"""Runs the peers on one slice of the workload: events a second of CPU each, and where they differ from the first."""

from __future__ import annotations

import argparse
import importlib

import numpy as np

from benchmarks.workload import EVENTS, FEATURES, workload

PEERS = ("plain_python", "bytewax_maps", "duckdb_windows", "polars_rolling")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=EVENTS // 100)
    parser.add_argument("--late", type=float, default=0.0, help="share of late events; without any, all peers agree")
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=PEERS)
    arguments = parser.parse_args()
    stream = workload(arguments.events, late=arguments.late)
    first: dict[str, np.ndarray] | None = None
    for name in arguments.peers:
        peer = importlib.import_module(f"benchmarks.peers.{name}").run(stream)
        first = first or peer.features
        same = {
            feature: np.isclose(peer.features[feature], first[feature], rtol=1e-9, atol=1e-9, equal_nan=True)
            for feature in FEATURES
        }
        wrong = 1 - np.logical_and.reduce(list(same.values())).mean()
        worst = min(same, key=lambda feature: same[feature].mean())
        where = f"differs in {wrong:.2%} of rows, most in {worst}" if wrong else "agrees"
        print(f"{name:16} {len(stream) / peer.cpu_s:>10,.0f} events/s  {where}")


if __name__ == "__main__":
    main()
