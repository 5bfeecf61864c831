"""Who lives in the simulated fintech: customers with homes, accounts, cards and devices; terminals; trips."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from parakh.simulation.fintech.world import CATEGORIES, CITIES, DAY_US, HOME_CITIES, RHYTHMS, WEEK, ZONE_OFFSET_US
from parakh.simulation.streams import Integers

__all__ = ["START_US", "Devices", "Population", "Terminals", "Trips", "days_of", "people", "tokens"]

START_US = 1_736_121_600_000_000 - ZONE_OFFSET_US
"""Monday 2025-01-06 00:00 local time: the first simulated day."""

Floats = npt.NDArray[np.float64]

FAVOURITES = 10
ONLINE_FAVOURITES = 5
HABIT = 0.74 ** np.arange(max(FAVOURITES, ONLINE_FAVOURITES))
"""How often the first, second, ... favourite is chosen."""


@dataclass(frozen=True, slots=True)
class Terminals:
    """Where cards are accepted; those of shops stand in a city, those of online merchants nowhere."""

    category: Integers
    city: Integers
    latitude: Floats
    longitude: Floats
    popularity: Floats
    level: Floats  # how dear the merchant is, in logarithms
    in_city: tuple[Integers, ...]  # the shops' terminals of each city
    cumulative: tuple[Floats, ...]
    online: Integers
    online_cumulative: Floats

    def __len__(self) -> int:
        return len(self.category)

    def pick(self, city: Integers, uniform: Floats) -> Integers:
        """A shop's terminal in each given city, the popular ones more often."""
        picked = np.zeros(len(city), dtype=np.int64)
        for index, (terminals, cumulative) in enumerate(zip(self.in_city, self.cumulative)):
            rows = np.flatnonzero(city == index)
            if len(rows):
                picked[rows] = terminals[np.searchsorted(cumulative, uniform[rows] * cumulative[-1])]
        return picked

    def pick_online(self, uniform: Floats) -> Integers:
        return self.online[np.searchsorted(self.online_cumulative, uniform * self.online_cumulative[-1])]


@dataclass(slots=True)
class Devices:
    """Devices are numbered as they appear."""

    count: int = 0

    def new(self, number: int) -> Integers:
        self.count += number
        return np.arange(self.count - number, self.count, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Trips:
    """Up to two trips a customer; days from the start, [first, last]; -1: no trip."""

    first: Integers  # [customers, 2]
    last: Integers
    city: Integers

    def city_of(self, customer: Integers, day: Integers, home: Integers) -> Integers:
        """The city each customer is in on a day."""
        city = home[customer].copy()
        for trip in range(self.first.shape[1]):
            first, last = self.first[customer, trip], self.last[customer, trip]
            away = (first >= 0) & (first <= day) & (day <= last)
            city[away] = self.city[customer, trip][away]
        return city


@dataclass(slots=True)
class Population:
    """Customers by number; a customer's card and account have the customer's number."""

    days: int
    opened_us: Integers
    city: Integers
    latitude: Floats
    longitude: Floats
    affluence: Floats
    birth_year: Integers
    kyc_level: Integers
    payments_per_day: Floats
    logins_per_day: Floats
    transfers_per_day: Floats
    online_share: Floats
    favourites: Integers
    online_favourites: Integers
    primary_device: Integers
    second_device: Integers  # -1: none
    replaced_us: Integers  # when a new phone takes the primary's place; far in the future where none does
    new_device: Integers
    terminals: Terminals
    trips: Trips
    devices: Devices
    external_accounts: int = 0  # accounts at other banks, numbered from `len(population)`
    employers: Integers = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    def __len__(self) -> int:
        return len(self.opened_us)

    def new_external(self, number: int) -> Integers:
        """Accounts at other banks that nobody here has seen before."""
        start = len(self) + self.external_accounts
        self.external_accounts += number
        return np.arange(start, start + number, dtype=np.int64)

    def device_at(self, customer: Integers, time: Integers, uniform: Floats) -> Integers:
        """The device that a customer uses at a time: mostly the phone."""
        device = np.where(time >= self.replaced_us[customer], self.new_device[customer], self.primary_device[customer])
        second = self.second_device[customer]
        return np.where((second >= 0) & (uniform < 0.25), second, device)

    @property
    def end_us(self) -> int:
        return START_US + self.days * DAY_US


def people(rng: np.random.Generator, *, customers: int, days: int) -> Population:
    """A population of so many customers over so many days."""
    devices = Devices()
    terminals = _terminals(rng, customers)
    weights = np.array([city.weight for city in CITIES[:HOME_CITIES]])
    city = rng.choice(HOME_CITIES, size=customers, p=weights / weights.sum())
    latitude = np.array([item.latitude for item in CITIES])[city] + rng.normal(0, 0.06, customers)
    longitude = np.array([item.longitude for item in CITIES])[city] + rng.normal(0, 0.06, customers)
    # Most customers have been here for a while; one in twenty joins during the simulated days.
    opened = START_US - (rng.uniform(5, 350, customers) * DAY_US).astype(np.int64)
    joining = rng.random(customers) < 0.05
    opened[joining] = START_US + (rng.uniform(0, 0.8 * days, int(joining.sum())) * DAY_US).astype(np.int64)
    replaced = np.where(
        rng.random(customers) < 0.0015 * days,
        START_US + (rng.uniform(0, days, customers) * DAY_US).astype(np.int64),
        2**62,
    )
    primary = devices.new(customers)
    has_second = rng.random(customers) < 0.4
    second = np.full(customers, -1, dtype=np.int64)
    second[has_second] = devices.new(int(has_second.sum()))
    replacement = np.full(customers, -1, dtype=np.int64)
    replacement[replaced < 2**62] = devices.new(int((replaced < 2**62).sum()))
    favourites = terminals.pick(np.repeat(city, FAVOURITES), rng.random(customers * FAVOURITES))
    online = terminals.pick_online(rng.random(customers * ONLINE_FAVOURITES))
    population = Population(
        days=days,
        opened_us=opened,
        city=city,
        latitude=latitude,
        longitude=longitude,
        affluence=rng.normal(0, 0.45, customers),
        birth_year=rng.integers(1950, 2007, customers),
        kyc_level=rng.choice(np.array([1, 2, 3]), size=customers, p=[0.15, 0.55, 0.30]),
        payments_per_day=rng.gamma(2.2, 0.62, customers),
        logins_per_day=rng.gamma(2.0, 0.33, customers),
        transfers_per_day=rng.gamma(1.6, 0.13, customers),
        online_share=rng.beta(2.2, 4.5, customers),
        favourites=favourites.reshape(customers, FAVOURITES),
        online_favourites=online.reshape(customers, ONLINE_FAVOURITES),
        primary_device=primary,
        second_device=second,
        replaced_us=replaced,
        new_device=replacement,
        terminals=terminals,
        trips=_trips(rng, customers, days),
        devices=devices,
    )
    population.employers = population.new_external(max(3, customers // 60))
    return population


def days_of(rng: np.random.Generator, number: int, days: int) -> Integers:
    """A day for each of so many events, weekends busier than Tuesdays."""
    cumulative = np.cumsum(WEEK[np.arange(days) % 7])
    return np.searchsorted(cumulative, rng.random(number) * cumulative[-1])


def time_of_day(rng: np.random.Generator, rhythm: str, number: int) -> Integers:
    """Microseconds after local midnight, by the rhythm of a kind of business."""
    cumulative = np.cumsum(RHYTHMS[rhythm])
    hours = np.searchsorted(cumulative, rng.random(number) * cumulative[-1])
    return hours * (DAY_US // 24) + rng.integers(0, DAY_US // 24_000, number) * 1000


def tokens(prefix: str, number: int, seed: int) -> list[str]:
    """Opaque tokens, all different: a bijective scramble of 0, 1, 2, ... in 40 bits."""
    mask = np.uint64(2**40 - 1)
    value = np.arange(number, dtype=np.uint64) + np.uint64((seed * 0x9E3779B1 + sum(prefix.encode()) * 7919) % 2**40)
    for multiplier in (0x1B873593CB, 0x27D4EB2F17):  # odd, so that the multiplication can be undone
        value = (value * np.uint64(multiplier)) & mask
        value ^= value >> np.uint64(19)
    return [f"{prefix}{word:010x}" for word in value.tolist()]


def _terminals(rng: np.random.Generator, customers: int) -> Terminals:
    shops = [index for index, item in enumerate(CATEGORIES) if not item.online]
    online = [index for index, item in enumerate(CATEGORIES) if item.online]
    weights = np.array([city.weight for city in CITIES])
    # Every city has each kind of shop; more where more people are.
    base = np.repeat(np.arange(len(CITIES)), len(shops))
    extra = rng.choice(len(CITIES), size=max(20, customers // 3), p=weights / weights.sum())
    shop_city = np.concatenate([base, extra])
    shares = np.array([CATEGORIES[index].share for index in shops])
    extra_category = np.array(shops)[rng.choice(len(shops), size=len(extra), p=shares / shares.sum())]
    shop_category = np.concatenate([np.tile(np.array(shops), len(CITIES)), extra_category])
    extra_online = max(10, customers // 40)
    online_shares = np.array([CATEGORIES[index].share for index in online])
    online_category = np.concatenate(
        [
            np.array(online),
            np.array(online)[rng.choice(len(online), size=extra_online, p=online_shares / online_shares.sum())],
        ]
    )
    foreign = rng.random(len(online_category)) < 0.12
    abroad = rng.integers(HOME_CITIES, len(CITIES) - 3, len(online_category))  # the last three are rarely bought from
    online_city = np.where(foreign, abroad, 0)
    category = np.concatenate([shop_category, online_category])
    city = np.concatenate([shop_city, online_city])
    count = len(category)
    # A terminal is as busy as its kind's share says, spread over the terminals of that kind (in its city), and by luck.
    group = np.where(np.arange(count) < len(shop_category), city, len(CITIES)) * len(CATEGORIES) + category
    size = np.bincount(group, minlength=(len(CITIES) + 1) * len(CATEGORIES))[group]
    popularity = np.array([item.share for item in CATEGORIES])[category] / size * rng.lognormal(0, 0.8, count)
    where = np.arange(count)
    in_city = tuple(where[: len(shop_category)][shop_city == index] for index in range(len(CITIES)))
    return Terminals(
        category=category,
        city=city,
        latitude=np.array([item.latitude for item in CITIES])[city] + rng.normal(0, 0.05, count),
        longitude=np.array([item.longitude for item in CITIES])[city] + rng.normal(0, 0.05, count),
        popularity=popularity,
        level=rng.normal(0, 0.25, count),
        in_city=in_city,
        cumulative=tuple(np.cumsum(popularity[terminals]) for terminals in in_city),
        online=where[len(shop_category) :],
        online_cumulative=np.cumsum(popularity[len(shop_category) :]),
    )


def _trips(rng: np.random.Generator, customers: int, days: int) -> Trips:
    travelling = rng.random((customers, 2)) < 0.006 * days
    first = np.where(travelling, rng.integers(0, days, (customers, 2)), -1)
    last = first + rng.integers(1, 9, (customers, 2))
    abroad = rng.random((customers, 2)) < 0.2
    weights = np.array([city.weight for city in CITIES])
    home, away = weights[:HOME_CITIES], weights[HOME_CITIES:]
    domestic = rng.choice(HOME_CITIES, size=(customers, 2), p=home / home.sum())
    foreign = HOME_CITIES + rng.choice(len(CITIES) - HOME_CITIES, size=(customers, 2), p=away / away.sum())
    return Trips(first=first, last=last, city=np.where(abroad, foreign, domestic))
