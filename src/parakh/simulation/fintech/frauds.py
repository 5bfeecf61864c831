"""Five frauds and the traces they leave: card testing, compromised terminals and cards, account takeovers, mules.

Each campaign draws on the same world as the honest customers do, and no trait of a fraud is one that an honest payment
never has: people buy new phones, travel, add a payee and pay it at once.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from parakh.simulation.fintech.habits import APP, CHANNELS, INBOUND, ONLINE, REASONS, WEB, declines
from parakh.simulation.fintech.population import START_US, Population
from parakh.simulation.fintech.world import CATEGORIES, CITIES, DAY_US, HOME_CITIES, HOUR_US, SECOND_US
from parakh.simulation.streams import Integers, Table

__all__ = ["KINDS", "Crimes", "commit"]

KINDS = ("none", "card_testing", "compromised_terminal", "compromised_card", "account_takeover", "mule")
CARD_TESTING, COMPROMISED_TERMINAL, COMPROMISED_CARD, ACCOUNT_TAKEOVER, MULE = range(1, 6)
SWIPE = CHANNELS.index("swipe")
WRONG_CVV = REASONS.index("wrong_cvv")
MINUTE_US = 60 * SECOND_US

PAYMENT = ("time", "customer", "terminal", "device", "channel", "amount", "country", "latitude", "longitude")
TRANSFER = ("time", "customer", "payer", "payee", "device", "channel", "amount")
LOGIN = ("time", "customer", "device", "success", "method", "country", "latitude", "longitude")
CHANGE = ("time", "customer", "device")
ADDITION = ("time", "customer", "payer", "payee", "device")


@dataclass(slots=True)
class Rows:
    """Rows of one event type as a campaign writes them down; `table` makes columns of them."""

    names: tuple[str, ...]
    rows: list[tuple[float, ...]] = field(default_factory=list)
    marks: list[tuple[int, int]] = field(default_factory=list)  # kind of fraud, campaign

    def add(self, kind: int, campaign: int, *row: float) -> None:
        self.rows.append(row)
        self.marks.append((kind, campaign))

    def table(self) -> Table:
        columns = zip(*self.rows) if self.rows else iter([()] * len(self.names))
        table: Table = {
            name: np.array(column, dtype=np.float64 if name in ("latitude", "longitude") else np.int64)
            for name, column in zip(self.names, columns)
        }
        table["fraud"] = np.array([kind for kind, _ in self.marks], dtype=np.int64)
        table["campaign"] = np.array([campaign for _, campaign in self.marks], dtype=np.int64)
        return table


@dataclass(frozen=True, slots=True)
class Mule:
    """An account that passes money on, while it does."""

    account: int
    collector: int
    device: int
    campaign: int
    start_us: int
    stop_us: int


@dataclass(slots=True)
class Crimes:
    """What all campaigns together add to the streams."""

    people: Population
    rng: np.random.Generator
    payments: Rows = field(default_factory=lambda: Rows(PAYMENT))
    transfers: Rows = field(default_factory=lambda: Rows(TRANSFER))
    logins: Rows = field(default_factory=lambda: Rows(LOGIN))
    changes: Rows = field(default_factory=lambda: Rows(CHANGE))
    additions: Rows = field(default_factory=lambda: Rows(ADDITION))
    declined: list[int] = field(default_factory=list)  # rows of payments that were declined
    campaigns: list[str] = field(default_factory=list)
    mules: list[Mule] = field(default_factory=list)
    _numbers: Counter[int] = field(default_factory=Counter)

    def campaign(self, kind: int) -> int:
        """A new campaign; the first card testing is called card_testing-0001."""
        self._numbers[kind] += 1
        self.campaigns.append(f"{KINDS[kind]}-{self._numbers[kind]:04d}")
        return len(self.campaigns) - 1

    def declines(self) -> Table:
        """The declines of fraudulent payments: mostly a guessed CVV."""
        table = self.payments.table()
        rows = np.array(self.declined, dtype=np.int64)
        reason = np.where(self.rng.random(len(rows)) < 0.8, WRONG_CVV, self.rng.integers(0, len(REASONS), len(rows)))
        return declines(self.rng, {name: column[rows] for name, column in table.items()}, reason)

    def victim(self, before: int) -> int:
        """A customer who has been here for some days."""
        for _ in range(50):
            customer = int(self.rng.integers(0, len(self.people)))
            if self.people.opened_us[customer] < before - 3 * DAY_US:
                return customer
        return int(np.argmin(self.people.opened_us))

    def moment(self, from_share: float = 0.04, until_share: float = 0.96) -> int:
        """A time within the simulated days, to the millisecond."""
        span = self.people.days * DAY_US
        return START_US + int(self.rng.uniform(from_share, until_share) * span) // 1000 * 1000

    def delay(self, median_us: float, sigma: float) -> int:
        """A log-normal length of time, to the millisecond."""
        return max(1, int(median_us * np.exp(sigma * self.rng.normal()) / 1000)) * 1000

    def far_city(self, home: int) -> int:
        """Where a fraudster sits: abroad or in another city, or through a proxy in the victim's own."""
        draw = self.rng.random()
        if draw < 0.35:
            weights = np.array([0.6, 0.5, 0.8, 0.8, 0.9, 0.7, 1.2, 2.2, 2.0, 2.0])
            return HOME_CITIES + int(self.rng.choice(len(weights), p=weights / weights.sum()))
        if draw < 0.72:
            return int(self.rng.integers(0, HOME_CITIES))
        return home

    def pay(
        self,
        kind: int,
        campaign: int,
        time: int,
        customer: int,
        terminal: int,
        device: int,
        channel: int,
        amount: float,
        city: int,
    ) -> None:
        """One fraudulent payment: at the terminal, or online from a city."""
        terminals = self.people.terminals
        if channel == ONLINE:
            latitude = CITIES[city].latitude + self.rng.normal(0, 0.05)
            longitude = CITIES[city].longitude + self.rng.normal(0, 0.05)
        else:
            latitude, longitude = float(terminals.latitude[terminal]), float(terminals.longitude[terminal])
        country = int(terminals.city[terminal])
        minor = max(100, round(amount) * 100 if self.rng.random() < 0.6 else round(amount * 100))
        self.payments.add(
            kind, campaign, time, customer, terminal, device, channel, minor, country, latitude, longitude
        )

    def terminal_selling(self, *names: str) -> int:
        """An online merchant of one of these categories."""
        wanted = [index for index, item in enumerate(CATEGORIES) if item.name in names]
        online = self.people.terminals.online
        fitting = online[np.isin(self.people.terminals.category[online], wanted)]
        return int(fitting[self.rng.integers(0, len(fitting))])


def commit(rng: np.random.Generator, people: Population, payments: Table, transfers: int) -> Crimes:
    """Run campaigns so that about 0.7 % of payments and 1.2 % of transfers are fraudulent."""
    crimes = Crimes(people=people, rng=rng)
    expected = len(payments["time"])
    for _ in range(_campaigns(rng, expected * 0.0017 / 36)):
        _test_cards(crimes)
    visits = np.argsort(payments["terminal"], kind="stable")
    for _ in range(_campaigns(rng, expected * 0.0018 / 13)):
        _compromise_terminal(crimes, payments, visits)
    for _ in range(_campaigns(rng, expected * 0.0033 / 6.2)):
        _compromise_card(crimes)
    for _ in range(_campaigns(rng, transfers * 0.006 / 12)):
        _run_mule(crimes)
    for _ in range(_campaigns(rng, transfers * 0.006 / 2.4)):
        _take_over(crimes)
    return crimes


def _campaigns(rng: np.random.Generator, expected: float) -> int:
    """As many campaigns as expected, rounded by chance."""
    return int(expected) + int(rng.random() < expected - int(expected))


def _test_cards(crimes: Crimes) -> None:
    """A bot tries stolen card numbers with tiny sums at one merchant; cards that work are cashed out hours later."""
    rng, kind = crimes.rng, CARD_TESTING
    campaign = crimes.campaign(kind)
    start = crimes.moment()
    terminal = crimes.terminal_selling("charity", "digital_goods")
    bots = crimes.people.devices.new(int(rng.integers(1, 4)))
    city = crimes.far_city(0)
    good = []
    for _ in range(int(rng.integers(6, 16))):
        customer = crimes.victim(start)
        time = start + crimes.delay(20 * MINUTE_US, 0.8)
        device = int(bots[rng.integers(0, len(bots))])
        tries = int(rng.integers(5, 9)) if rng.random() < 0.25 else int(rng.integers(1, 4))
        works = rng.random() < 0.4
        for attempt in range(tries):
            crimes.pay(kind, campaign, time, customer, terminal, device, ONLINE, rng.uniform(1, 49), city)
            if not (works and attempt == tries - 1):
                crimes.declined.append(len(crimes.payments.rows) - 1)
            time += crimes.delay(25 * SECOND_US, 0.7)
        if works:
            good.append(customer)
    buyer = int(crimes.people.devices.new(1)[0])
    for customer in good:
        time = start + crimes.delay(9 * HOUR_US, 0.6)
        for _ in range(int(rng.integers(1, 5))):
            shop = crimes.terminal_selling("online_electronics", "gift_cards", "marketplace")
            amount = float(rng.lognormal(9.0, 0.6))
            crimes.pay(kind, campaign, time, customer, shop, buyer, ONLINE, amount, city)
            time += crimes.delay(11 * MINUTE_US, 0.9)


def _compromise_terminal(crimes: Crimes, payments: Table, visits: Integers) -> None:
    """A skimmer in a shop's terminal: cards that were there are charged again, by an accomplice."""
    rng, kind = crimes.rng, COMPROMISED_TERMINAL
    terminals = crimes.people.terminals
    campaign = crimes.campaign(kind)
    start = crimes.moment(0.05, 0.75)
    stop = start + int(rng.uniform(6, 14) * DAY_US)
    ordered = payments["terminal"][visits]
    for _ in range(8):  # a terminal with some trade, in the home country
        home = terminals.in_city[int(rng.integers(0, HOME_CITIES))]
        terminal = int(home[rng.integers(0, len(home))])
        first, last = np.searchsorted(ordered, [terminal, terminal + 1])
        there = visits[first:last]
        there = there[(payments["time"][there] >= start) & (payments["time"][there] < stop)]
        if len(there) >= 8:
            break
    chosen = there[rng.random(len(there)) < 0.5][:30]
    for row in chosen.tolist():
        time = int(payments["time"][row]) + crimes.delay(14 * HOUR_US, 0.9)
        if time >= min(stop + 5 * DAY_US, crimes.people.end_us):
            continue
        median = CATEGORIES[int(terminals.category[terminal])].median * float(np.exp(terminals.level[terminal]))
        amount = min(90_000.0, median * float(rng.lognormal(1.0, 0.45)))
        channel = SWIPE if rng.random() < 0.75 else int(rng.integers(0, 2))
        customer = int(payments["customer"][row])
        crimes.pay(kind, campaign, time, customer, terminal, -1, channel, amount, int(terminals.city[terminal]))


def _compromise_card(crimes: Crimes) -> None:
    """Card data from a phishing page: dear purchases in a burst, online from a far device or with a cloned card."""
    rng, kind = crimes.rng, COMPROMISED_CARD
    campaign = crimes.campaign(kind)
    time = crimes.moment()
    customer = crimes.victim(time)
    home = int(crimes.people.city[customer])
    city = crimes.far_city(home)
    cloned = rng.random() < 0.3
    device = -1 if cloned else int(crimes.people.devices.new(1)[0])
    scale = 1.0
    for _ in range(int(rng.integers(3, 11))):
        if cloned:
            in_city = crimes.people.terminals.in_city[city]
            dear = in_city[np.isin(crimes.people.terminals.category[in_city], _DEAR_SHOPS)]
            terminal, channel = int(dear[rng.integers(0, len(dear))]), SWIPE if rng.random() < 0.8 else 0
        else:
            terminal = crimes.terminal_selling("online_electronics", "gift_cards", "travel", "marketplace")
            channel = ONLINE
        amount = min(250_000.0, scale * float(rng.lognormal(8.5, 0.8)))
        crimes.pay(kind, campaign, time, customer, terminal, device, channel, amount, city)
        scale *= 1.12
        time += crimes.delay(45 * MINUTE_US, 1.3)


_DEAR_SHOPS = [
    index for index, item in enumerate(CATEGORIES) if item.name in ("electronics", "jewellery", "clothing", "hotel")
]


def _run_mule(crimes: Crimes) -> None:
    """An account that receives strangers' money and sends it on within the hour, to one collector."""
    rng, people = crimes.rng, crimes.people
    campaign = crimes.campaign(MULE)
    start = crimes.moment(0.05, 0.80)
    recent = np.flatnonzero((people.opened_us < start) & (people.opened_us > start - 60 * DAY_US))
    young = rng.random() < 0.6 and len(recent) > 0
    account = int(recent[rng.integers(0, len(recent))]) if young else crimes.victim(start)
    stop = start + int(rng.uniform(3, 10) * DAY_US)
    collector = int(people.new_external(1)[0])
    device = int(people.devices.new(1)[0]) if rng.random() < 0.5 else int(people.primary_device[account])
    mule = Mule(account, collector, device, campaign, start, stop)
    crimes.mules.append(mule)
    crimes.additions.add(MULE, campaign, start - crimes.delay(2 * HOUR_US, 0.5), account, account, collector, device)
    for _ in range(int(rng.integers(4, 11))):
        time = start + int(rng.random() * (stop - start)) // 1000 * 1000
        amount = round(float(np.clip(rng.lognormal(9.6, 0.6), 2_000, 200_000)) / 500) * 500
        payer = int(people.new_external(1)[0])
        crimes.transfers.add(MULE, campaign, time, -1, payer, account, -1, INBOUND, amount * 100)
        _pass_on(crimes, mule, time, amount)


def _pass_on(crimes: Crimes, mule: Mule, time: int, amount: float) -> None:
    """Most of what came in goes out again, in one or two transfers; some is kept, some waits for a day."""
    rng = crimes.rng
    if rng.random() < 0.12:
        return
    if rng.random() < 0.20:
        time += crimes.delay(26 * HOUR_US, 0.4)
    parts = int(rng.integers(1, 3))
    share = rng.uniform(0.85, 0.98) * amount / parts
    for _ in range(parts):
        time += crimes.delay(22 * MINUTE_US, 0.9)
        minor = max(1, round(share / 10)) * 1_000
        row = (time, mule.account, mule.account, mule.collector, mule.device, APP, minor)
        crimes.transfers.add(MULE, mule.campaign, *row)


def _take_over(crimes: Crimes) -> None:
    """A stolen password: a login from a new device far away, a new password, a new payee, and the money is gone.

    One in eight works through the victim's own phone instead, by a malicious app.
    """
    rng, kind, people = crimes.rng, ACCOUNT_TAKEOVER, crimes.people
    campaign = crimes.campaign(kind)
    time = crimes.moment()
    customer = crimes.victim(time)
    remote = rng.random() < 0.125
    city = int(people.city[customer]) if remote else crimes.far_city(int(people.city[customer]))
    device = int(people.primary_device[customer]) if remote else int(people.devices.new(1)[0])

    def log_in(success: int) -> None:
        latitude = CITIES[city].latitude + rng.normal(0, 0.05)
        longitude = CITIES[city].longitude + rng.normal(0, 0.05)
        crimes.logins.add(kind, campaign, time, customer, device, success, 1, city, latitude, longitude)

    for _ in range(0 if remote else int(rng.integers(0, 5))):
        log_in(0)
        time += crimes.delay(20 * SECOND_US, 0.6)
    log_in(1)
    if rng.random() < 0.7:
        time += crimes.delay(90 * SECOND_US, 0.6)
        crimes.changes.add(kind, campaign, time, customer, device)
    working = [mule for mule in crimes.mules if mule.start_us <= time < mule.stop_us]
    mule = working[int(rng.integers(0, len(working)))] if working and rng.random() < 0.5 else None
    payee = mule.account if mule else int(people.new_external(1)[0])
    time += crimes.delay(4 * MINUTE_US, 0.7)
    if payee != customer:
        crimes.additions.add(kind, campaign, time, customer, customer, payee, device)
        amount = float(np.clip(rng.lognormal(10.1, 0.6), 5_000, 200_000))
        sums = [amount * share for share in (0.45, 0.35, 0.25, 0.2)[: int(rng.integers(1, 5))]]
        if rng.random() < 0.25:
            sums.insert(0, rng.uniform(1, 10) * 10)
        for part in sums:
            time += crimes.delay(4 * MINUTE_US, 1.0)
            minor = max(1_000, round(part / 100) * 10_000 if part > 1_000 else round(part) * 100)
            crimes.transfers.add(kind, campaign, time, customer, customer, payee, device, WEB, minor)
            if mule and minor > 100_000:
                _pass_on(crimes, mule, time, minor / 100)
    if rng.random() < 0.3:
        for _ in range(int(rng.integers(1, 4))):
            time += crimes.delay(15 * MINUTE_US, 0.8)
            shop = crimes.terminal_selling("online_electronics", "gift_cards")
            crimes.pay(kind, campaign, time, customer, shop, device, ONLINE, float(rng.lognormal(9.0, 0.5)), city)
