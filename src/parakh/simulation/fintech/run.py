"""One run of the fintech: people, habits, frauds and verdicts put together, cut to size and written as NDJSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from parakh.simulation.fintech import frauds, habits
from parakh.simulation.fintech.lines import JUDGED, TYPES, event_fields, identity, label_fields, truth_fields
from parakh.simulation.fintech.population import Population, people
from parakh.simulation.fintech.verdicts import verdicts
from parakh.simulation.fintech.world import HOUR_US
from parakh.simulation.scenario import Progress, Summary
from parakh.simulation.streams import Table, concatenate, take, write_ndjson

__all__ = ["run"]

DAYS = 42
PER_CUSTOMER_DAY = 2.45
"""About how many events a customer makes a day, all types together."""

CURRENCY = "INR"
VERSION = 1
MOBILE = ("login", "password_change", "payee_added", "payment", "transfer")


@dataclass(frozen=True, slots=True)
class World:
    """All that happened: the events of each type in order of arrival, and the names of the campaigns."""

    people: Population
    events: dict[str, Table]
    campaigns: tuple[str, ...]


def run(*, events: int, seed: int, out: Path, progress: Progress | None = None) -> Summary:
    """Simulate exactly `events` events and write them, their labels and their truth into `out`."""
    report = progress or (lambda doing, done, total: None)
    report("simulating", 0, events)
    world = _world(events, seed)
    report("simulating", events, events)
    fields = event_fields(world.people, seed)
    written = 0
    for name in TYPES:
        for rows in write_ndjson(out / f"{name}.ndjson", world.events[name], fields[name]):
            report("writing", written + rows, events)
        written += len(world.events[name]["id"])
    labels = _labels(seed, world)
    for _ in write_ndjson(out / "labels.ndjson", labels, label_fields()):
        report("writing", events, events)
    for _ in write_ndjson(out / "truth.ndjson", _truth(world), truth_fields(world.campaigns)):
        report("writing", events, events)
    summary = _summary(world, seed, out, labels=len(labels["event"]))
    _describe(summary)
    return summary


def _world(events: int, seed: int) -> World:
    """Enough people for so many events; what comes after the last of them is cut off."""
    days = int(np.clip(events / (60 * PER_CUSTOMER_DAY), 2, DAYS))
    customers = max(3, round(1.05 * events / (days * PER_CUSTOMER_DAY)))
    while True:
        world = _life(seed, customers, days)
        total = sum(len(table["time"]) for table in world.events.values())
        if total >= events:
            return _cut(world, events)
        customers = int(customers * max(1.05, 1.02 * events / total)) + 1


def _life(seed: int, customers: int, days: int) -> World:
    population = people(_random(seed, 1), customers=customers, days=days)
    paid, declined = habits.payments(_random(seed, 2), population)
    entered = habits.logins(_random(seed, 3), population)
    added, first = habits.additions(_random(seed, 4), population)
    sent = concatenate([habits.transfers(_random(seed, 5), population), first])
    crimes = frauds.commit(_random(seed, 6), population, paid, len(sent["time"]))
    changed = habits.changes(_random(seed, 7), entered)
    tables = {
        "customer_opened": _openings(population),
        "login": concatenate([entered, crimes.logins.table()]),
        "password_change": concatenate([changed, crimes.changes.table()]),
        "payee_added": concatenate([added, crimes.additions.table()]),
        "payment": concatenate([paid, crimes.payments.table()]),
        "decline": concatenate([declined, crimes.declines()]),
        "transfer": concatenate([sent, crimes.transfers.table()]),
    }
    rng = _random(seed, 8)
    arrived = {
        name: _arrived(rng, name, take(table, table["time"] < population.end_us)) for name, table in tables.items()
    }
    return World(population, arrived, tuple(crimes.campaigns))


def _random(seed: int, part: int) -> np.random.Generator:
    """A stream of its own for each part, so that a change in one leaves the others as they were."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(VERSION, part))))


def _openings(population: Population) -> Table:
    number = np.arange(len(population))
    return habits.honest(
        {
            "time": population.opened_us // 1000 * 1000,
            "customer": number,
            "country": population.city,
            "latitude": population.latitude,
            "longitude": population.longitude,
            "birth_year": population.birth_year,
            "kyc_level": population.kyc_level,
        }
    )


def _arrived(rng: np.random.Generator, name: str, table: Table) -> Table:
    """The rows in order of arrival: a fraction of a second late, and some phones minutes late, after a tunnel."""
    total = len(table["time"])
    delay = rng.integers(20, 900, total) * 1000
    if name in MOBILE:
        offline = rng.random(total) < 0.01
        late = np.minimum((rng.exponential(150, total) * 1000).astype(np.int64) * 1000, 50 * HOUR_US // 60)
        delay = delay + np.where(offline, late, 0)
    arrival = table["time"].astype(np.int64) + delay
    return take({**table, "arrival": arrival}, np.argsort(arrival, kind="stable"))


def _cut(world: World, events: int) -> World:
    """The first so many events by arrival, ties in the order of types; numbered within their type."""
    arrivals = np.concatenate([world.events[name]["arrival"] for name in TYPES]).astype(np.int64)
    kinds = np.repeat(np.arange(len(TYPES)), [len(world.events[name]["time"]) for name in TYPES])
    kept = np.bincount(kinds[np.argsort(arrivals, kind="stable")[:events]], minlength=len(TYPES))
    tables = {}
    for name, count in zip(TYPES, kept.tolist()):
        tables[name] = {**take(world.events[name], np.arange(count)), "id": np.arange(1, count + 1)}
    return World(world.people, tables, world.campaigns)


def _labels(seed: int, world: World) -> Table:
    """The verdicts on payments and transfers, in the order in which they become known."""
    rng = _random(seed, 9)
    parts = []
    for name in JUDGED:
        table = world.events[name]
        part = verdicts(rng, table["time"].astype(np.int64), table["fraud"].astype(np.int64))
        part["event"] = identity(name, table["id"][part["row"].astype(np.int64)])
        parts.append(part)
    labels = concatenate(parts)
    labels["label"] = np.zeros(len(labels["event"]), dtype=np.int64)
    return take(labels, np.argsort(labels["known"], kind="stable"))


def _truth(world: World) -> Table:
    """Every payment and transfer, and of the other types what fraudsters did."""
    parts = []
    for name in TYPES:
        table = world.events[name]
        cheated = table["fraud"].astype(np.int64) > 0
        rows = np.arange(len(cheated)) if name in JUDGED else np.flatnonzero(cheated)
        parts.append(
            {
                "event": identity(name, table["id"][rows]),
                "is_fraud": cheated[rows],
                "fraud": table["fraud"][rows],
                "campaign": table["campaign"][rows],
            }
        )
    return concatenate(parts)


def _summary(world: World, seed: int, out: Path, *, labels: int) -> Summary:
    times = np.sort(np.concatenate([world.events[name]["time"] for name in JUDGED]).astype(np.int64))
    judged = concatenate([{key: world.events[name][key] for key in ("fraud", "amount")} for name in JUDGED])
    kinds = np.bincount(judged["fraud"].astype(np.int64), minlength=len(frauds.KINDS)).tolist()
    amount = judged["amount"].astype(np.int64)
    return Summary(
        scenario="fintech",
        seed=seed,
        folder=out,
        customers=len(world.events["customer_opened"]["id"]),
        first_event=_day(times[:1]),
        last_event=_day(times[-1:]),
        events={name: len(world.events[name]["id"]) for name in TYPES},
        frauds=dict(zip(frauds.KINDS[1:], kinds[1:])),
        judged=len(amount),
        labels=labels,
        currency=CURRENCY,
        amount_minor=int(amount.sum()),
        fraud_amount_minor=int(amount[judged["fraud"] > 0].sum()),
        files=(*(f"{name}.ndjson" for name in TYPES), "labels.ndjson", "truth.ndjson", "scenario.json", "README.md"),
    )


def _day(times: npt.NDArray[np.int64]) -> str:
    """The day (UTC) of the only time given; empty where there is none."""
    return str(times[0].astype("datetime64[us]").astype("datetime64[D]")) if len(times) else ""


def _describe(summary: Summary) -> None:
    """What was run and what came of it, for programs and for people."""
    facts = {
        "scenario": summary.scenario,
        "version": VERSION,
        "seed": summary.seed,
        "numpy": np.__version__,
        "customers": summary.customers,
        "first_event": summary.first_event,
        "last_event": summary.last_event,
        "events": dict(summary.events),
        "frauds": dict(summary.frauds),
        "judged": summary.judged,
        "labels": summary.labels,
        "currency": summary.currency,
        "amount_minor": summary.amount_minor,
        "fraud_amount_minor": summary.fraud_amount_minor,
    }
    text = json.dumps(facts, indent=2) + "\n"
    (summary.folder / "scenario.json").write_text(text, encoding="utf-8", newline="\n")
    (summary.folder / "README.md").write_text(
        _README.format(**facts, total=summary.total), encoding="utf-8", newline="\n"
    )


_README = """# A simulated fintech

{total} events of {customers} customers, {first_event} to {last_event}; scenario {scenario} version {version},
seed {seed}. All people, merchants, tokens and amounts are invented; amounts are in {currency}. The same number of
events and the same seed give the same bytes (with NumPy {numpy}).

| file | what |
|---|---|
| customer_opened.ndjson | customers as they join: home, account, card |
| login.ndjson, password_change.ndjson, payee_added.ndjson | what customers (and thieves) do in the app |
| payment.ndjson, decline.ndjson | card payments, and attempts that the card's issuer declined |
| transfer.ndjson | money between accounts, here and at other banks |
| labels.ndjson | verdicts as they become known: late, missing, some wrong and then corrected (null: withdrawn) |
| truth.ndjson | what really was: fraud or not, of which kind, in which campaign; for measuring only |
| scenario.json | the parameters and the counts of this run |

Each file is in order of arrival; some events arrive minutes after they happened.
"""
