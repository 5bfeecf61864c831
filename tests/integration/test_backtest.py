"""A back-test against a plain recount of the decisions that a replay writes, over random rule sets."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parakh.cli.output import json_lines
from parakh.decisions.definition import Band
from parakh.decisions.replay import Replay, Source
from parakh.learning.backtests.backtest import BackTest, backtest
from parakh.learning.backtests.versus import compare
from parakh.learning.history import History, make_history
from parakh.learning.measures.costs import Costs
from parakh.learning.past import Files
from parakh.project.project import Project
from parakh.rules.definition import Mode, Outcome, Rule
from parakh.simulation import simulate

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "card-payments"
TYPES = ("customer_opened", "login", "password_change", "payee_added", "payment", "decline", "transfer")
COSTS = Costs()
SEVERITY = {"allow": 0, "challenge": 1, "review": 2, "block": 3}
CONDITIONS = (
    "amount >= 500", "amount >= 3000", "amount >= 12000", "night", "online", "swiped and new_merchant", "new_device",
    "card.payments_1h >= 2", "times_usual >= 2", "times_usual < 0.2", "home_km > 100", "tiny and online",
)  # fmt: skip


@dataclass(frozen=True)
class World:
    """A small simulated stream: its files, its payments by id, and what became known of each by the last event."""

    past: Files
    payments: dict[str, dict[str, Any]]
    fraud: set[str]
    matured: set[str]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("world")
    simulate("fintech", events=6_000, seed=11, out=folder)
    sources = tuple(Source(name, str(folder / f"{name}.ndjson")) for name in TYPES)
    return world_of(Files(sources=sources, labels=str(folder / "labels.ndjson")), folder)


def world_of(past: Files, folder: Path) -> World:
    times = ("opened_at", "logged_in_at", "changed_at", "added_at", "paid_at", "declined_at", "sent_at")
    rows = {name: [json.loads(line) for line in (folder / f"{name}.ndjson").open()] for name in TYPES}
    last = max(time(row, times) for found in rows.values() for row in found)
    payments = {row["payment_id"]: row for row in rows["payment"]}
    ranks = {"analyst": 2, "chargeback": 1, "customer": 0}
    held: dict[str, tuple[int, bool]] = {}
    labels = [json.loads(line) for line in (folder / "labels.ndjson").open()]
    for label in sorted(labels, key=lambda item: moment(item["known_at"])):
        known = moment(label["known_at"]) <= last
        rank = ranks[label["source"]]
        if known and label["event_id"] in payments and rank >= held.get(label["event_id"], (-1, False))[0]:
            held[label["event_id"]] = (rank, label["value"])
    matured = {name for name, row in payments.items() if moment(row["paid_at"]) <= last - timedelta(days=7)}
    fraud = {name for name, (_, value) in held.items() if value} & matured
    assert len(fraud) >= 10
    return World(past, payments, fraud, matured)


def time(row: dict[str, Any], names: Sequence[str]) -> datetime:
    return next(moment(row[name]) for name in names if name in row)


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


# -- the slow oracle ---------------------------------------------------------------------------------------------


def decided(project: Project, past: Files) -> list[dict[str, Any]]:
    """The decisions on payments, as `parakh replay` writes them."""
    lines: list[bytes] = []
    replay = Replay(project, past.sources, labels=past.labels)
    replay.run(lambda batch, _: lines.append(json_lines(batch.to_arrow())))
    rows = [json.loads(line) for line in b"".join(lines).splitlines()]
    return [row for row in rows if row["event_type"] == "payment"]


def asked(project: Project, row: dict[str, Any], names: Sequence[str], bands: Sequence[Band]) -> str:
    """The outcome that these rules and bands ask for."""
    rules = [rule for rule in project.definitions.rules if rule.name in names]
    overriding = [rule.then.word for rule in rules if rule.override]
    if overriding:
        return max(overriding, key=SEVERITY.__getitem__)
    wanted = [rule.then.word for rule in rules]
    wanted += [band.outcome.word for band in bands if row["score"] is not None and holds(band, row["score"])]
    wanted += ["review"] if "degraded" in row["flags"] else []
    return max(wanted, key=SEVERITY.__getitem__, default="allow")


def holds(band: Band, score: float) -> bool:
    return score >= float(band.when.removeprefix("score >= "))


def cost(outcome: str, fraud: bool, amount: float) -> float:
    """What an event costs, by the definition in words."""
    passes = {"allow": 1.0, "challenge": 1 - COSTS.challenge_stops, "review": 1 - COSTS.review_stops, "block": 0.0}
    lost = passes[outcome] * (COSTS.fraud_share * amount + COSTS.fraud_fixed) if fraud else 0.0
    if outcome == "review":
        lost += COSTS.review
    if outcome == "challenge" and not fraud:
        lost += COSTS.challenge
    if outcome == "block" and not fraud:
        lost += COSTS.block_share * amount + COSTS.block_fixed
    return lost


def recount(project: Project, world: World, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Everything that a back-test says, one event at a time."""
    policy = next(item for item in project.definitions.policies if item.event_type == "payment")
    amounts = {row["event_id"]: float(world.payments[row["event_id"]]["amount"]) for row in rows}
    found: dict[str, Any] = {"outcomes": Counter(), "reviews": Counter(), "cost": 0.0, "allowing": 0.0}
    found |= {"fraud_amount": 0.0, "caught_amount": 0.0, "frauds": 0, "caught": 0, "good": 0, "good_stopped": 0}
    for row in rows:
        name, outcome = row["event_id"], row["outcome"]
        assert outcome == asked(project, row, row["rules"], policy.bands)
        found["outcomes"][outcome] += 1
        local = moment(row["event_time"]).astimezone(ZoneInfo(project.definitions.settings.time_zone))
        if outcome == "review":
            found["reviews"][local.date()] += 1
        if name not in world.matured:
            continue
        fraud, stopped = name in world.fraud, outcome != "allow"
        found["cost"] += cost(outcome, fraud, amounts[name])
        found["allowing"] += cost("allow", fraud, amounts[name])
        found["frauds" if fraud else "good"] += 1
        found["caught" if fraud else "good_stopped"] += stopped
        if fraud:
            found["fraud_amount"] += amounts[name]
            found["caught_amount"] += amounts[name] * stopped
    found["rules"] = {
        rule.name: recount_rule(project, world, rows, rule, amounts, policy.bands)
        for rule in project.definitions.rules
        if "payment" in rule.event_types and rule.mode is not Mode.DISABLED
    }
    return found


def recount_rule(
    project: Project,
    world: World,
    rows: Sequence[dict[str, Any]],
    rule: Rule,
    amounts: dict[str, float],
    bands: Sequence[Band],
) -> dict[str, Any]:
    live = rule.mode is Mode.LIVE
    mine = [row for row in rows if rule.name in row["rules" if live else "shadow"]]
    found: dict[str, Any] = dict.fromkeys(("matured", "frauds", "alone_events", "alone_frauds", "alone_good"), 0)
    found |= {"hits": len(mine), "fraud_amount": 0.0, "alone_amount": 0.0, "saved": 0.0}
    found["unknown"] = sum(rule.name in row["unknown"] for row in rows)
    for row in mine:
        name = row["event_id"]
        fraud, amount = name in world.fraud, amounts[name]
        with_it = asked(project, row, [*row["rules"], rule.name], bands)
        without = asked(project, row, [other for other in row["rules"] if other != rule.name], bands)
        alone = with_it != "allow" and without == "allow"
        found["alone_events"] += alone
        if name in world.matured:
            found["matured"] += 1
            found["frauds"] += fraud
            found["fraud_amount"] += amount * fraud
            found["alone_frauds"] += alone and fraud
            found["alone_good"] += alone and not fraud
            found["alone_amount"] += amount * (alone and fraud)
            found["saved"] += cost(without, fraud, amount) - cost(with_it, fraud, amount)
    return found


# -- random rule sets --------------------------------------------------------------------------------------------


@st.composite
def rule_sets(draw: st.DrawFn) -> tuple[Rule, ...]:
    count = draw(st.integers(1, 7))
    return tuple(
        Rule(
            name=f"rule_{number}",
            event_types=("payment",),
            when=draw(st.sampled_from(CONDITIONS)),
            then=draw(st.sampled_from(list(Outcome))),
            mode=draw(st.sampled_from([Mode.LIVE, Mode.LIVE, Mode.SHADOW, Mode.DISABLED])),
            override=draw(st.integers(0, 5)) == 0,
        )
        for number in range(count)
    )


def project_with(rules: Sequence[Rule], limits: tuple[float, float] = (0.9, 0.4)) -> Project:
    """The example with other rules and bands for its payments."""
    definitions = Project.load(EXAMPLE).definitions
    bands = (Band(Outcome.BLOCK, f"score >= {limits[0]}"), Band(Outcome.CHALLENGE, f"score >= {limits[1]}"))
    policies = tuple(
        replace(item, bands=bands) if item.event_type == "payment" else item for item in definitions.policies
    )
    return Project.of(replace(definitions, rules=tuple(rules), policies=policies))


def history_of(project: Project, world: World) -> History:
    return make_history(project, world.past, event_type="payment")


def policy_of(project: Project) -> Any:
    return next(item for item in project.definitions.policies if item.event_type == "payment")


def tried(project: Project, world: World, history: History | None = None) -> BackTest:
    return backtest(
        history or history_of(project, world), policy_of(project), costs=COSTS, capacity=2, zone="Asia/Kolkata"
    )


@settings(max_examples=7, deadline=None, print_blob=True)
@given(rules=rule_sets(), limits=st.sampled_from([(0.9, 0.4), (0.5, 0.05), (0.02, 0.01)]))
def test_a_back_test_counts_what_a_plain_recount_does(
    world: World, rules: tuple[Rule, ...], limits: tuple[float, float]
) -> None:
    project = project_with(rules, limits)
    rows = decided(project, world.past)
    expected, found = recount(project, world, rows), tried(project, world)
    assert {name: sums.events for name, sums in found.outcomes.items() if sums.events} == expected["outcomes"]
    total = found.total
    assert (total.all.frauds, total.stopped.frauds) == (expected["frauds"], expected["caught"])
    assert (total.all.good, total.stopped.good) == (expected["good"], expected["good_stopped"])
    assert total.all.fraud_amount == pytest.approx(expected["fraud_amount"])
    assert total.stopped.fraud_amount == pytest.approx(expected["caught_amount"])
    assert total.cost == pytest.approx(expected["cost"])
    assert found.cost_of_allowing == pytest.approx(expected["allowing"])
    reviews = expected["reviews"]
    assert found.load.mean * found.load.days == pytest.approx(sum(reviews.values()))
    assert found.load.largest == max(reviews.values(), default=0)
    assert found.load.over == sum(count > 2 for count in reviews.values())
    assert total.reviews == sum(reviews.values())
    for record in found.rules:
        for key, value in expected["rules"][record.name].items():
            assert getattr(record, key) == pytest.approx(value), (record.name, key)
    names = [record.name for record in found.rules]
    assert set(names) == expected["rules"].keys()
    hit = {name: {row["event_id"] for row in rows if name in row["rules"] + row["shadow"]} for name in names}
    for (a, one), (b, other) in itertools.product(enumerate(names), repeat=2):
        assert found.overlap[a, b] == len(hit[one] & hit[other]), (one, other)
        if hit[one] | hit[other]:
            assert found.jaccard()[a, b] == len(hit[one] & hit[other]) / len(hit[one] | hit[other])
    for parts in (found.weeks,):
        assert sum(item.all.events for item in parts) == total.all.events
        assert sum(item.stopped.frauds for item in parts) == total.stopped.frauds
        assert sum(item.cost for item in parts) == pytest.approx(total.cost)


@settings(max_examples=4, deadline=None, print_blob=True)
@given(old=rule_sets(), new=rule_sets())
def test_a_comparison_counts_what_a_plain_recount_does(
    world: World, old: tuple[Rule, ...], new: tuple[Rule, ...]
) -> None:
    before, after = project_with(old), project_with(new)
    found = compare(history_of(before, world), history_of(after, world), costs=COSTS, zone="Asia/Kolkata")
    was = {row["event_id"]: row["outcome"] for row in decided(before, world.past)}
    now = {row["event_id"]: row["outcome"] for row in decided(after, world.past)}
    moved = Counter((was[name], now[name]) for name in now if was[name] != now[name])
    assert {(item.before, item.after): item.sums.events for item in found.moved} == moved
    amounts = {name: float(row["amount"]) for name, row in world.payments.items()}
    for item in found.moved:
        mine = [name for name in now if (was[name], now[name]) == (item.before, item.after)]
        assert item.sums.amount == pytest.approx(sum(amounts[name] for name in mine))
        assert item.sums.frauds == sum(name in world.fraud for name in mine)
    spent = [
        sum(cost(outcomes[name], name in world.fraud, amounts[name]) for name in world.matured & outcomes.keys())
        for outcomes in (was, now)
    ]
    assert found.cost_change == pytest.approx(spent[1] - spent[0])
    assert found.cost_change_low <= found.cost_change_high
    cards = {name: row["card"] for name, row in world.payments.items()}
    bad = {cards[name] for name in world.fraud}
    good = world.matured - world.fraud
    stopped = [{cards[name] for name in good if outcomes[name] != "allow"} - bad for outcomes in (was, now)]
    assert (found.people_gained, found.people_lost) == (len(stopped[0] - stopped[1]), len(stopped[1] - stopped[0]))
    newly = {item.event_id for item in found.examples["fraud newly let through"]}
    passed = {name for name in world.fraud if was[name] != "allow" and now[name] == "allow"}
    assert newly <= passed
    assert len(newly) == min(8, len(passed))
    if newly:
        assert max(amounts[name] for name in passed) == amounts[found.examples["fraud newly let through"][0].event_id]


def test_the_same_past_gives_the_same_data(world: World) -> None:
    project = project_with(())
    texts = [json.dumps(tried(project, world).as_data(), allow_nan=False) for _ in range(2)]
    assert texts[0] == texts[1]


def test_segments_share_out_all_events(world: World) -> None:
    project = Project.load(EXAMPLE)
    history = make_history(project, world.past, event_type="payment", inputs=["country", "amount", "night"])
    found = tried(project, world, history)
    counts = Counter(row["country"] for row in world.payments.values())
    shown = {item.name: item.all.events for item in found.segments["country"]}
    for name, count in counts.most_common(3):
        assert shown[name] == count
    for parts in found.segments.values():
        assert sum(item.all.events for item in parts) == len(history)
    assert 8 <= len(found.segments["amount"]) <= 11
    assert {item.name for item in found.segments["night"]} <= {"0", "1", "none"}
