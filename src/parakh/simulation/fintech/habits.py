"""What honest customers do: pay, log in, change passwords and phones, add payees, send money, are paid a salary."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from parakh.simulation.fintech.population import HABIT, START_US, Population, days_of, time_of_day
from parakh.simulation.fintech.world import CATEGORIES, CITIES, DAY_US, SECOND_US
from parakh.simulation.streams import Integers, Table, concatenate, take

__all__ = [
    "APP",
    "CHANNELS",
    "INBOUND",
    "ONLINE",
    "REASONS",
    "TRANSFER_CHANNELS",
    "WEB",
    "additions",
    "changes",
    "declines",
    "honest",
    "logins",
    "payments",
    "transfers",
]

Floats = npt.NDArray[np.float64]

CHANNELS = ("chip", "contactless", "swipe", "online")
ONLINE = CHANNELS.index("online")
REASONS = ("insufficient_funds", "wrong_cvv", "expired_card", "limit_exceeded")
TRANSFER_CHANNELS = ("app", "web", "standing_order", "inbound")
APP, WEB, STANDING_ORDER, INBOUND = range(4)

RETRY = 0.7
THROUGH_PROXY = 0.015
"""How often an honest device seems to be in another city: a VPN, a company's network, a telephone company's gateway."""
BORROWED = 0.006
"""How often an honest online payment comes from a device that the card has never seen: a friend's, a hotel's."""


def honest(table: Table) -> Table:
    """The table, marked as what nobody cheated in."""
    rows = len(table["time"])
    return {**table, "fraud": np.zeros(rows, dtype=np.int64), "campaign": np.full(rows, -1, dtype=np.int64)}


def payments(rng: np.random.Generator, people: Population) -> tuple[Table, Table]:
    """Card payments in shops and online, and the declines of those that did not go through at once."""
    number = rng.poisson(people.payments_per_day * people.days)
    customer = np.repeat(np.arange(len(people)), number)
    total = len(customer)
    day = days_of(rng, total, people.days)
    city = people.trips.city_of(customer, day, people.city)
    away = city != people.city[customer]
    online = rng.random(total) < people.online_share[customer] * np.where(away, 0.6, 1.0)
    terminal = _where_people_shop(rng, people, customer, city, away, online)

    category = people.terminals.category[terminal]
    time = np.zeros(total, dtype=np.int64)
    for rhythm in ("shops", "evening", "commute", "online"):
        rows = np.flatnonzero(np.array([item.rhythm == rhythm for item in CATEGORIES])[category])
        time[rows] = time_of_day(rng, rhythm, len(rows))
    time += START_US + day * DAY_US

    in_shop = rng.choice(3, size=total, p=[0.42, 0.53, 0.05])
    table = honest(
        {
            "time": time,
            "customer": customer,
            "terminal": terminal,
            "device": np.where(online, _devices(rng, people, customer, time), -1),
            "channel": np.where(online, ONLINE, in_shop),
            "amount": prices(rng, people, customer, terminal),
            **places(rng, people, customer, city, terminal, online),
        }
    )
    table = take(table, time >= people.opened_us[customer])
    return _with_declines(rng, table)


def prices(rng: np.random.Generator, people: Population, customer: Integers, terminal: Integers) -> Integers:
    """Amounts in minor units: log-normal by category, by how dear the merchant and how well off the customer is."""
    category = people.terminals.category[terminal]
    median = np.log(np.array([item.median for item in CATEGORIES]))[category]
    sigma = np.array([item.sigma for item in CATEGORIES])[category]
    level = 0.8 * people.affluence[customer] + people.terminals.level[terminal]
    amount = np.exp(median + level + sigma * rng.normal(0, 1, len(customer)))
    amount = np.minimum(amount, 400_000.0)
    style = rng.random(len(customer))
    whole = np.rint(amount)
    amount = np.where(
        style < 0.55, whole, np.where(style < 0.70, np.maximum(10, np.rint(amount / 10) * 10) - 1, amount)
    )
    return np.maximum(100, np.rint(amount * 100)).astype(np.int64)


def places(
    rng: np.random.Generator,
    people: Population,
    customer: Integers,
    city: Integers,
    terminal: Integers,
    online: npt.NDArray[np.bool_],
) -> Table:
    """Where each payment is made: at the terminal, or online where the customer is."""
    total = len(customer)
    at_home = city == people.city[customer]
    proxy = online & (rng.random(total) < THROUGH_PROXY)
    city = np.where(proxy, rng.integers(0, len(CITIES), total), city)
    at_home &= ~proxy
    latitude = np.where(at_home, people.latitude[customer], np.array([item.latitude for item in CITIES])[city])
    longitude = np.where(at_home, people.longitude[customer], np.array([item.longitude for item in CITIES])[city])
    return {
        "country": people.terminals.city[terminal],
        "latitude": np.where(online, latitude + rng.normal(0, 0.03, total), people.terminals.latitude[terminal]),
        "longitude": np.where(online, longitude + rng.normal(0, 0.03, total), people.terminals.longitude[terminal]),
    }


def logins(rng: np.random.Generator, people: Population) -> Table:
    """Logins to the app and the web site, some failing at first."""
    number = rng.poisson(people.logins_per_day * people.days)
    customer = np.repeat(np.arange(len(people)), number)
    total = len(customer)
    day = days_of(rng, total, people.days)
    time = START_US + day * DAY_US + time_of_day(rng, "online", total)
    city = people.trips.city_of(customer, day, people.city)
    location = places(rng, people, customer, city, np.zeros(total, dtype=np.int64), np.ones(total, dtype=np.bool_))
    table = honest(
        {
            "time": time,
            "customer": customer,
            "device": people.device_at(customer, time, rng.random(total)),
            "success": np.ones(total, dtype=np.int64),
            "method": (rng.random(total) < 0.35).astype(np.int64),
            **location,
            "country": city,
        }
    )
    table = take(table, time >= people.opened_us[customer])
    # A wrong password stands some seconds before the right one.
    wrong = take(table, rng.random(len(table["time"])) < 0.05)
    wrong["time"] = wrong["time"] - rng.integers(6, 40, len(wrong["time"])) * SECOND_US
    wrong["success"] = np.zeros(len(wrong["time"]), dtype=np.int64)
    wrong["method"] = np.ones(len(wrong["time"]), dtype=np.int64)
    return concatenate([table, wrong])


def changes(rng: np.random.Generator, entered: Table) -> Table:
    """Password changes: now and then, a minute after a login."""
    rows = np.flatnonzero((rng.random(len(entered["time"])) < 0.02) & (entered["success"] == 1))
    table = take(entered, rows)
    return honest(
        {
            "time": table["time"] + rng.integers(30, 240, len(rows)) * SECOND_US,
            "customer": table["customer"],
            "device": table["device"],
        }
    )


def additions(rng: np.random.Generator, people: Population) -> tuple[Table, Table]:
    """New payees, and the first transfer to most of them within the hour."""
    number = rng.poisson(np.full(len(people), 0.022 * people.days))
    payer = np.repeat(np.arange(len(people)), number)
    total = len(payer)
    time = START_US + days_of(rng, total, people.days) * DAY_US + time_of_day(rng, "online", total)
    known = rng.random(total) < 0.35  # one of our own customers
    payee = np.where(known, rng.integers(0, len(people), total), -1)
    payee[payee < 0] = people.new_external(int((payee < 0).sum()))
    device = people.device_at(payer, time, rng.random(total))
    table = honest({"time": time, "customer": payer, "payer": payer, "payee": payee, "device": device})
    kept = (time >= people.opened_us[payer]) & (payer != payee)
    table = take(table, kept)
    first = take(table, rng.random(len(table["time"])) < 0.75)
    first["time"] = first["time"] + (rng.lognormal(5.6, 1.1, len(first["time"])) * SECOND_US).astype(np.int64)
    first["channel"] = rng.choice(np.array([APP, WEB]), size=len(first["time"]), p=[0.75, 0.25])
    # Mostly a bill or a friend; now and then a deposit for a flat or a used car.
    large = rng.random(len(first["time"])) < 0.05
    first["amount"] = sums(rng, people, first["customer"], np.where(large, 60_000.0, 2_400.0), 0.9)
    return table, first


def transfers(rng: np.random.Generator, people: Population) -> Table:
    """Money to known payees, rent at the month's beginning, salaries at its end, and bills split among friends."""
    return concatenate(
        [_to_known_payees(rng, people), _rents(rng, people), _salaries(rng, people), _split_bills(rng, people)]
    )


def sums(
    rng: np.random.Generator, people: Population, customer: Integers, median: Floats | float, sigma: float
) -> Integers:
    """Amounts of transfers in minor units: log-normal around a median, mostly round."""
    total = len(customer)
    amount = np.exp(np.log(median) + 0.7 * people.affluence[customer] + sigma * rng.normal(0, 1, total))
    style = rng.random(total)
    step = np.where(style < 0.35, 500.0, np.where(style < 0.75, 100.0, np.where(style < 0.9, 10.0, 0.01)))
    return np.maximum(1_000, np.rint(np.maximum(step, np.rint(amount / step) * step) * 100)).astype(np.int64)


def declines(rng: np.random.Generator, table: Table, reason: Integers) -> Table:
    """The declines of the given payments, a moment after them."""
    total = len(table["time"])
    return {
        "time": table["time"] + rng.integers(200, 1500, total) * 1000,
        "customer": table["customer"],
        "terminal": table["terminal"],
        "device": table["device"],
        "reason": reason,
        "amount": table["amount"],
        "fraud": table["fraud"],
        "campaign": table["campaign"],
    }


def _devices(rng: np.random.Generator, people: Population, customer: Integers, time: Integers) -> Integers:
    """The device of each online payment: mostly one's own."""
    device = people.device_at(customer, time, rng.random(len(customer)))
    borrowed = np.flatnonzero(rng.random(len(customer)) < BORROWED)
    device[borrowed] = people.devices.new(len(borrowed))
    return device


def _where_people_shop(
    rng: np.random.Generator,
    people: Population,
    customer: Integers,
    city: Integers,
    away: npt.NDArray[np.bool_],
    online: npt.NDArray[np.bool_],
) -> Integers:
    total = len(customer)
    habit = rng.random(total) < 0.78
    terminal = np.zeros(total, dtype=np.int64)
    favourite = np.searchsorted(np.cumsum(HABIT) / HABIT.sum(), rng.random(total))
    usual = np.flatnonzero(habit & ~online & ~away)
    terminal[usual] = people.favourites[customer[usual], favourite[usual]]
    elsewhere = np.flatnonzero(~online & (away | ~habit))
    terminal[elsewhere] = people.terminals.pick(city[elsewhere], rng.random(len(elsewhere)))
    usual = np.flatnonzero(habit & online)
    terminal[usual] = people.online_favourites[customer[usual], favourite[usual] % people.online_favourites.shape[1]]
    elsewhere = np.flatnonzero(online & ~habit)
    terminal[elsewhere] = people.terminals.pick_online(rng.random(len(elsewhere)))
    return terminal


def _with_declines(rng: np.random.Generator, table: Table) -> tuple[Table, Table]:
    total = len(table["time"])
    failed = np.flatnonzero(rng.random(total) < 0.012)
    first = take(table, failed)
    reason = rng.choice(len(REASONS), size=len(failed), p=[0.55, 0.2, 0.1, 0.15])
    retried = rng.random(len(failed)) < RETRY
    again = take(first, retried)
    again["time"] = again["time"] + rng.integers(15, 180, len(again["time"])) * SECOND_US
    return concatenate([table, again]), declines(rng, first, reason)


def _to_known_payees(rng: np.random.Generator, people: Population) -> Table:
    regular = 5
    external = people.new_external(max(20, len(people) // 4))
    known = np.where(
        rng.random((len(people), regular)) < 0.4,
        rng.integers(0, len(people), (len(people), regular)),
        external[rng.integers(0, len(external), (len(people), regular))],
    )
    number = rng.poisson(people.transfers_per_day * people.days)
    payer = np.repeat(np.arange(len(people)), number)
    total = len(payer)
    time = START_US + days_of(rng, total, people.days) * DAY_US + time_of_day(rng, "online", total)
    payee = known[payer, np.minimum((rng.random(total) ** 1.6 * regular).astype(np.int64), regular - 1)]
    standing = rng.random(total) < 0.06
    channel = np.where(standing, STANDING_ORDER, np.where(rng.random(total) < 0.8, APP, WEB))
    device = np.where(standing, -1, people.device_at(payer, time, rng.random(total)))
    table = honest(
        {
            "time": time,
            "customer": payer,
            "payer": payer,
            "payee": payee,
            "device": device,
            "channel": channel,
            "amount": sums(rng, people, payer, 1_300.0, 1.0),
        }
    )
    return take(table, (time >= people.opened_us[payer]) & (payer != payee))


def _rents(rng: np.random.Generator, people: Population) -> Table:
    tenants = np.flatnonzero(rng.random(len(people)) < 0.4)
    landlords = people.new_external(max(3, len(tenants) // 3))
    landlord = landlords[rng.integers(0, len(landlords), len(tenants))]
    rent = sums(rng, people, tenants, 17_000.0, 0.35)
    months = np.arange(25, people.days, 30)  # the simulated days begin on the 6th
    payer = np.tile(tenants, len(months))
    time = START_US + np.repeat(months, len(tenants)) * DAY_US + time_of_day(rng, "online", len(payer))
    time = time + rng.integers(0, 5, len(payer)) * DAY_US
    table = honest(
        {
            "time": time,
            "customer": payer,
            "payer": payer,
            "payee": np.tile(landlord, len(months)),
            "device": people.device_at(payer, time, rng.random(len(payer))),
            "channel": np.full(len(payer), APP, dtype=np.int64),
            "amount": np.tile(rent, len(months)),
        }
    )
    return take(table, (time >= people.opened_us[payer]) & (time < people.end_us))


def _salaries(rng: np.random.Generator, people: Population) -> Table:
    employed = np.flatnonzero(rng.random(len(people)) < 0.6)
    employer = people.employers[rng.integers(0, len(people.employers), len(employed))]
    salary = sums(rng, people, employed, 52_000.0, 0.3)
    months = np.arange(23, people.days, 31)
    payee = np.tile(employed, len(months))
    time = (
        START_US + np.repeat(months, len(employed)) * DAY_US + rng.integers(3 * 3600, 9 * 3600, len(payee)) * SECOND_US
    )
    table = honest(
        {
            "time": time,
            "customer": np.full(len(payee), -1, dtype=np.int64),
            "payer": np.tile(employer, len(months)),
            "payee": payee,
            "device": np.full(len(payee), -1, dtype=np.int64),
            "channel": np.full(len(payee), INBOUND, dtype=np.int64),
            "amount": np.tile(salary, len(months)),
        }
    )
    return take(table, time >= people.opened_us[payee])


def _split_bills(rng: np.random.Generator, people: Population) -> Table:
    """Friends pay one of them back: many small sums into one account within a day, and nothing wrong with it."""
    evenings = int(rng.poisson(len(people) * people.days / 1500))
    guests = rng.integers(4, 10, evenings)
    host = np.repeat(rng.integers(0, len(people), evenings), guests)
    paid = np.repeat(START_US + rng.integers(0, max(1, people.days - 1), evenings) * DAY_US + 20 * DAY_US // 24, guests)
    share = np.repeat(sums(rng, people, host[np.cumsum(guests) - 1] if evenings else host, 900.0, 0.5), guests)
    total = len(host)
    guest = rng.integers(0, len(people), total)
    outside = rng.random(total) < 0.4
    payer = guest.copy()
    payer[outside] = people.new_external(int(outside.sum()))
    time = paid + (rng.exponential(5 * 3600, total) * SECOND_US).astype(np.int64)
    table = honest(
        {
            "time": time,
            "customer": np.where(outside, -1, guest),
            "payer": payer,
            "payee": host,
            "device": np.where(outside, -1, people.device_at(guest, time, rng.random(total))),
            "channel": np.where(outside, INBOUND, APP),
            "amount": share,
        }
    )
    opened = (time >= people.opened_us[host]) & (outside | (time >= people.opened_us[guest]))
    return take(table, opened & (payer != host))
