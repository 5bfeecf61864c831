"""A folder becomes a project: the same definitions as Python would build, one hash, reading again only what changed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from parakh.decisions.definition import Band, Definitions, Policy, Settings, Signals
from parakh.errors import Place, ProjectError, SourceText
from parakh.events.definition import EventType, Field, Label
from parakh.expressions.types import INTEGER, NUMBER, STRING, TIMESTAMP, money
from parakh.features.definition import Aggregate, AggregateKind, Calendar, Entity, FeatureDefinition, Window
from parakh.project.project import Project, problems_in
from parakh.rules.definition import (
    ListEntry,
    LookupTable,
    Mode,
    Outcome,
    Rule,
    RuleTest,
    TableRow,
    ValueList,
)

SHOP = {
    "parakh.toml": """
name = "shop"
currency = "INR"
time_zone = "Asia/Kolkata"
lateness = "30m"
horizon = "100d"
earliest = 2010-01-01

[limits]
state = "2GB"

[labels]
sources = ["analyst", "chargeback"]
""",
    "events/payment.yaml": """
event: payment
id: payment_id                       # the idempotency key
time: paid_at
fields:
  payment_id: string
  paid_at: timestamp
  card: {type: string, entity: card, personal: token}
  terminal: {type: string, entity: terminal, from: TERMINAL_ID}
  device: {type: string, entity: device}
  amount: money
  fee: {type: money, currency: USD}
  country: string
derive:
  night: hour(paid_at) <= 6
labels:
  fraud: {from: TX_FRAUD}
""",
    "features/card.yaml": """
entity: card
features:
  payments:
    from: payment
    aggregate: count(*)
    over: [10m, 1h, calendar_day]
  usual: {from: payment, aggregate: avg(amount), over: 30d, current: exclude, delay: 1h, resolution: 10m}
  countries: {from: [payment], aggregate: count(distinct country), where: amount > 5, by: card}
  idle:
    from: payment
    aggregate: since_last()          # seconds
---
entity: card_device
key: [card, device]
features:
  seen: {from: payment, aggregate: count(*), current: exclude}
""",
    "signals/payment.yaml": """
signals: payment
define:
  times_usual: amount / card.usual_30d
  new_device: card_device.seen = 0
""",
    "rules/deep/card.yaml": """
rule: card_testing
for: payment
when: |
  card.payments_10m >= 6
    and amount < 5
then: block
reason: R101
tags: [cards, testing]
tests:
  - given: {card.payments_10m: 7, amount: 1.00, country: NO, paid_at: 2025-01-01T00:00:00Z}
    expect: hit
  - given: {card.payments_10m: null, amount: 1.50, night: 0}
    expect: unknown
---
rule: trusted
for: payment
when: in_list(country, 'home') or lookup('trade', country, 'risk') < 0.5
then: allow
override: true
mode: shadow
""",
    "policies/payment.yaml": """
policy: payment
for: payment
otherwise: challenge
deadline: 20ms
bands: {review: amount > 5000}
""",
    "lists/all.yml": """
list: home
items: [IN, {value: NO, since: 2025-01-01, until: 2026-01-01, note: opened}]
---
table: trade
key: string
columns: {risk: number, code: integer}
file: trade.csv
""",
    "lists/trade.csv": "key,risk,code,since\nIN,0.5,,\n012,1e-1,7,2025-01-01\n",
    "README.md": "not ours",
}


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    return write(tmp_path / "shop", SHOP)


HOUR = 3_600_000_000
YEAR_2025 = 1_735_689_600_000_000

BUILT = Definitions(
    settings=Settings(
        name="shop",
        currency="INR",
        time_zone="Asia/Kolkata",
        lateness_us=HOUR // 2,
        horizon_us=2400 * HOUR,
        earliest_us=1_262_304_000_000_000,
        state_bytes=2 * 2**30,
        label_sources=("analyst", "chargeback"),
    ),
    events=(
        EventType(
            name="payment",
            id="payment_id",
            time="paid_at",
            fields=(
                Field(name="payment_id", type=STRING),
                Field(name="paid_at", type=TIMESTAMP),
                Field(name="card", type=STRING, entity="card", personal="token"),
                Field(name="terminal", type=STRING, entity="terminal", source="TERMINAL_ID"),
                Field(name="device", type=STRING, entity="device"),
                Field(name="amount", type=money("INR")),
                Field(name="fee", type=money("USD")),
                Field(name="country", type=STRING),
            ),
            derive=(("night", "hour(paid_at) <= 6"),),
            labels=(Label(name="fraud", source="TX_FRAUD"),),
        ),
    ),
    entities=(
        Entity(
            name="card",
            features=(
                FeatureDefinition(
                    name="payments",
                    sources=("payment",),
                    aggregate=Aggregate(AggregateKind.COUNT),
                    over=(
                        Window("10m", length_us=HOUR // 6),
                        Window("1h", length_us=HOUR),
                        Window("calendar_day", calendar=Calendar.DAY),
                    ),
                ),
                FeatureDefinition(
                    name="usual",
                    sources=("payment",),
                    aggregate=Aggregate(AggregateKind.AVG, "amount"),
                    over=(Window("30d", length_us=720 * HOUR),),
                    include_current=False,
                    delay_us=HOUR,
                    resolution_us=HOUR // 6,
                ),
                FeatureDefinition(
                    name="countries",
                    sources=("payment",),
                    aggregate=Aggregate(AggregateKind.DISTINCT, "country"),
                    where="amount > 5",
                    by=("card",),
                ),
                FeatureDefinition(name="idle", sources=("payment",), aggregate=Aggregate(AggregateKind.SINCE_LAST)),
            ),
        ),
        Entity(
            name="card_device",
            key=("card", "device"),
            features=(
                FeatureDefinition(
                    name="seen",
                    sources=("payment",),
                    aggregate=Aggregate(AggregateKind.COUNT),
                    include_current=False,
                ),
            ),
        ),
    ),
    signals=(
        Signals(
            event_type="payment",
            define=(("times_usual", "amount / card.usual_30d"), ("new_device", "card_device.seen = 0")),
        ),
    ),
    rules=(
        Rule(
            name="card_testing",
            event_types=("payment",),
            when="card.payments_10m >= 6\n  and amount < 5",
            then=Outcome.BLOCK,
            reason="R101",
            tags=("cards", "testing"),
            tests=(
                RuleTest(
                    given=(
                        ("card.payments_10m", 7),
                        ("amount", 1),
                        ("country", "NO"),
                        ("paid_at", "2025-01-01T00:00:00Z"),
                    ),
                    expect="hit",
                ),
                RuleTest(
                    given=(("card.payments_10m", None), ("amount", 1.5), ("night", False)),
                    expect="unknown",
                ),
            ),
        ),
        Rule(
            name="trusted",
            event_types=("payment",),
            when="in_list(country, 'home') or lookup('trade', country, 'risk') < 0.5",
            then=Outcome.ALLOW,
            override=True,
            mode=Mode.SHADOW,
        ),
    ),
    policies=(
        Policy(
            event_type="payment",
            name="payment",
            bands=(Band(Outcome.REVIEW, "amount > 5000"),),
            otherwise=Outcome.CHALLENGE,
            deadline_us=20_000,
        ),
    ),
    lists=(
        ValueList(
            name="home",
            entries=(
                ListEntry(value="IN"),
                ListEntry(value="NO", since_us=YEAR_2025, until_us=YEAR_2025 + 365 * 24 * HOUR, note="opened"),
            ),
        ),
    ),
    tables=(
        LookupTable(
            name="trade",
            columns=(("risk", NUMBER), ("code", INTEGER)),
            rows=(
                TableRow(key="IN", values=(0.5, None)),
                TableRow(key="012", values=(0.1, 7), since_us=YEAR_2025),
            ),
        ),
    ),
)


def test_a_folder_and_python_give_the_same_project(shop: Path) -> None:
    loaded = Project.load(shop)
    for name in Definitions.__slots__:
        assert getattr(loaded.definitions, name) == getattr(BUILT, name), name
    built = Project.of(BUILT)
    assert loaded.hash == built.hash
    assert loaded.files == (
        "parakh.toml",
        "events/payment.yaml",
        "features/card.yaml",
        "lists/all.yml",
        "policies/payment.yaml",
        "rules/deep/card.yaml",
        "signals/payment.yaml",
    )


def test_what_decides_holds_plain_texts_and_what_tells_holds_places(shop: Path) -> None:
    project = Project.load(shop)
    assert type(project.definitions.rules[0].when) is str
    assert type(project.definitions.events[0].fields[0].name) is str
    when = project.sources.rules[0].when
    assert isinstance(when, SourceText)
    assert when.at(when.index("amount")) == Place("rules/deep/card.yaml", 6, 9)
    argument = project.sources.entities[0].features[1].aggregate.argument
    assert isinstance(argument, SourceText)
    assert argument.place == Place("features/card.yaml", 8, 41)


def test_the_hash_is_of_what_is_said_not_of_how(shop: Path, tmp_path: Path) -> None:
    before = Project.load(shop).hash
    files = dict(SHOP)
    files["events/pay.yaml"] = "# a comment\n" + files.pop("events/payment.yaml").replace(
        "id: payment_id  ", "id: 'payment_id'"
    )
    files["rules/a.yaml"] = files.pop("rules/deep/card.yaml").replace(
        "{card.payments_10m: 7,", "{ 'card.payments_10m': 7,"
    )
    files["lists/all.yml"] = files["lists/all.yml"].replace("trade.csv", "renamed.csv")
    files["lists/renamed.csv"] = files.pop("lists/trade.csv")
    files["parakh.toml"] = files["parakh.toml"].replace('"30m"', '"1800s"')
    assert Project.load(write(tmp_path / "other", files)).hash == before


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("parakh.toml", '"30m"', '"31m"'),
        ("parakh.toml", '"chargeback"', '"bank"'),
        ("events/payment.yaml", ", personal: token", ""),
        ("events/payment.yaml", "<= 6", "<= 5"),
        ("features/card.yaml", "over: [10m, 1h,", "over: [10m, 2h,"),
        ("features/card.yaml", "current: exclude, delay", "delay"),
        ("signals/payment.yaml", "= 0", "= 1"),
        ("rules/deep/card.yaml", "then: block", "then: review"),
        ("rules/deep/card.yaml", "override: true", "override: false"),
        ("rules/deep/card.yaml", "amount: 1.50", "amount: 1.51"),
        ("policies/payment.yaml", "> 5000", "> 5001"),
        ("lists/all.yml", "[IN,", "[IN, SE,"),
        ("lists/trade.csv", "1e-1", "1e-2"),
    ],
)
def test_every_change_of_meaning_changes_the_hash(shop: Path, file: str, old: str, new: str) -> None:
    before = Project.load(shop).hash
    text = SHOP[file]
    assert old in text
    (shop / file).write_text(text.replace(old, new))
    assert Project.load(shop).hash != before


def test_the_order_of_definitions_is_part_of_the_hash() -> None:
    first = Project.of(BUILT)
    turned = Project.of(replace(BUILT, entities=BUILT.entities[::-1]))
    assert first.hash != turned.hash


def test_reading_again_gives_the_same_project_and_then_the_change(shop: Path) -> None:
    project = Project.load(shop)
    assert project.reload() is project
    rules = shop / "rules" / "deep" / "card.yaml"
    rules.write_text(SHOP["rules/deep/card.yaml"].replace(">= 6", ">= 9"))
    changed = project.reload()
    assert changed.hash != project.hash
    assert changed.definitions.rules[0].when.startswith("card.payments_10m >= 9")
    assert changed.sources.events[0] is project.sources.events[0]  # not read again
    assert changed.sources.entities[0] is project.sources.entities[0]
    assert changed.hash == Project.load(shop).hash
    rules.write_text("rule: broken\n")
    with pytest.raises(ProjectError, match="has no `when`"):
        changed.reload()
    rules.write_text(SHOP["rules/deep/card.yaml"])
    assert changed.reload().hash == project.hash
    (shop / "lists" / "trade.csv").write_text("key,risk,code\nIN,0.25,1\n")
    assert changed.reload().definitions.tables[0].rows == (TableRow(key="IN", values=(0.25, 1)),)


def test_an_edit_of_the_same_size_and_time_right_after_reading_is_seen(shop: Path) -> None:
    project = Project.load(shop)
    rules = shop / "rules" / "deep" / "card.yaml"
    times = os.stat(rules)
    rules.write_text(SHOP["rules/deep/card.yaml"].replace(">= 6", ">= 7"))
    os.utime(rules, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert project.reload().definitions.rules[0].when.startswith("card.payments_10m >= 7")


def test_a_change_of_type_reads_given_values_anew(shop: Path) -> None:
    project = Project.load(shop)
    events = shop / "events" / "payment.yaml"
    events.write_text(SHOP["events/payment.yaml"].replace("amount: money", "amount: {type: money, currency: JPY}"))
    with pytest.raises(ProjectError) as caught:
        project.reload()
    assert [problem.message for problem in caught.value.problems] == [
        "'1.00' has more decimals than JPY has; 'amount' is money JPY",
        "'1.50' has more decimals than JPY has; 'amount' is money JPY",
    ]


def test_a_project_reads_well(shop: Path) -> None:
    project = Project.load(shop)
    assert repr(project) == (
        "Project shop: 1 event type, 2 entities, 2 signals, 2 rules, 1 policy, 1 list, 1 lookup table"
    )
    assert "card_testing, trusted" in project._repr_html_()


def test_one_broken_definition_does_not_blame_what_reads_it(shop: Path) -> None:
    events = SHOP["events/payment.yaml"].replace("amount: money", "amount: monney")
    (shop / "events" / "payment.yaml").write_text(events)
    (problem,) = problems_in(shop)
    assert (problem.message, problem.hint) == ("unknown type 'monney'", "did you mean money?")


def test_all_mistakes_of_all_files_are_told_at_once(shop: Path) -> None:
    write(
        shop,
        {
            "rules/x.yaml": "rule: x\nfor: payment\nwhen: amunt > 5\nthen: block\n---\nrule: y\nfor: payment\n",
            "features/x.yaml": "entity: device\nfeatures:\n  a: {from: payment, aggregate: sum(country)}\n",
            "signals/x.yaml": "signals: [\n",
            "parakh.toml": SHOP["parakh.toml"].replace("horizon", "horizn"),
        },
    )
    places = [(p.place.file, p.place.line) for p in problems_in(shop) if p.place]
    assert places == [
        ("parakh.toml", 6),
        ("features/x.yaml", 3),
        ("rules/x.yaml", 3),
        ("rules/x.yaml", 6),
        ("rules/x.yaml", 6),
        ("signals/x.yaml", 2),
    ]


def test_a_folder_that_is_no_project_says_so(tmp_path: Path) -> None:
    assert "is not there" in problems_in(tmp_path / "nowhere")[0].message
    assert "has no parakh.toml" in problems_in(tmp_path)[0].message
    (tmp_path / "file").write_text("")
    assert "is not a folder" in problems_in(tmp_path / "file")[0].message


def test_nothing_outside_the_project_is_read(shop: Path, tmp_path: Path) -> None:
    outside = tmp_path / "secret.yaml"
    outside.write_text("rule: secret\n")
    (shop / "rules" / "linked.yaml").symlink_to(outside)
    write(shop, {"lists/out.yaml": "list: out\nfile: ../../secret.yaml\n"})
    messages = [problem.message for problem in problems_in(shop)]
    assert messages == ["the file is outside the project", "the file is a link that leads out of the project"]


def test_a_link_within_the_project_is_read_once(shop: Path) -> None:
    # As a ConfigMap is mounted: visible names are links into a hidden folder.
    hidden = shop / "rules" / "..data"
    hidden.mkdir()
    shutil.move(shop / "rules" / "deep" / "card.yaml", hidden / "card.yaml")
    (shop / "rules" / "card.yaml").symlink_to(Path("..data") / "card.yaml")
    assert len(Project.load(shop).definitions.rules) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (replace(BUILT, rules=(replace(BUILT.rules[0], when="amunt > 5"),)), "there is no amunt"),
        (replace(BUILT, rules=(replace(BUILT.rules[0], name="no name"),)), "'no name' is not the name of a rule"),
        (
            replace(BUILT, signals=(Signals(event_type="payment", define=(("case", "amount > 5"),)),)),
            "'case' is a word of SQL and cannot name a signal",
        ),
        (
            replace(
                BUILT,
                rules=(replace(BUILT.rules[0], tests=(RuleTest(given=(("amount", "five"),), expect="hit"),)),),
            ),
            "'five' is not an amount of money INR; 'amount' is money INR",
        ),
    ],
)
def test_definitions_built_in_python_are_checked_alike(change: Definitions, message: str) -> None:
    with pytest.raises(ProjectError) as caught:
        Project.of(change)
    assert [problem.message for problem in caught.value.problems] == [message]


def test_loading_a_project_imports_no_numerical_library(shop: Path) -> None:
    code = (
        "import sys; from parakh import Project; Project.load(sys.argv[1]);"
        "print([name for name in ('numpy', 'numba', 'pyarrow', 'lightgbm') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code, str(shop)], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
