"""Workload W in Bytewax: three stateful maps, by card, device and merchant, around the logic of the plain-Python peer.

Bytewax's own windows tumble or slide by steps and give one result a window; a value for each event, over windows that
end at it, is a stateful map. The maps stand side by side on the input, because a map hands on a batch key by key and
the next one would see the payments out of order; the three answers of a payment are put together outside the clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import bytewax.operators as op
import numpy as np
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSink, TestingSource, run_main

from benchmarks.peers.plain_python import Card, Device, Merchant
from benchmarks.workload import FEATURES, Peer, Workload

__all__ = ["run"]

Event = tuple[int, int, int, int, int, int, int]  # place in the stream, time, card, device, merchant, country, amount
Given = tuple[int, tuple[float, ...]]  # place in the stream, features


def key(place: int, event: Event) -> str:
    return str(event[place])


def by_card(state: Card | None, event: Event) -> tuple[Card, Given]:
    state = state or Card()
    return state, (event[0], state.add(event[1], event[6], event[5]))


def by_device(state: Device | None, event: Event) -> tuple[Device, Given]:
    state = state or Device()
    return state, (event[0], state.add(event[1], event[2]))


def by_merchant(state: Merchant | None, event: Event) -> tuple[Merchant, Given]:
    state = state or Merchant()
    return state, (event[0], state.add(event[1], event[6]))


def run(stream: Workload) -> Peer:
    columns = (stream.time_us, stream.card, stream.device, stream.merchant, stream.country, stream.amount_minor)
    source: list[Event] = list(zip(range(len(stream)), *(column.tolist() for column in columns), strict=True))
    flow = Dataflow("workload")
    payments = op.input("payments", flow, TestingSource(source, batch_size=1024))
    maps: list[tuple[str, int, Callable[[Any, Event], tuple[Any, Given]], list[Given]]] = [
        ("card", 2, by_card, []),
        ("device", 3, by_device, []),
        ("merchant", 4, by_merchant, []),
    ]
    for name, place, logic, given in maps:
        keyed = op.key_on(f"key {name}", payments, partial(key, place))
        features = op.key_rm(f"unkey {name}", op.stateful_map(name, keyed, logic))
        op.output(f"features {name}", features, TestingSink(given))
    started = time.process_time()
    run_main(flow)  # type: ignore[no-untyped-call]
    cpu_s = time.process_time() - started
    parts = [np.array([features for _, features in sorted(given)], np.float64) for *_, given in maps]
    return Peer(cpu_s, dict(zip(FEATURES, np.hstack(parts).T, strict=True)))
