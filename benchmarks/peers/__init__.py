"""The peers of the benchmark: each computes the 25 features of workload W in its own way, as well as it can.

A peer is a module with `run(stream) -> Peer`; all are single-threaded. Run them side by side, with their agreement:

    python -m benchmarks.peers --events 20000
"""
