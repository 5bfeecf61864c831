"""`parakh dataset`: features as live, labels as known by the cut-off, and the same bytes whatever came later."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from parakh.cli.main import FOUND_PROBLEMS, OK, WRONG_USE, run
from parakh.decisions.replay import Replay, Source
from parakh.errors import InputError
from parakh.events.labels import LabelRows
from parakh.expressions.types import NULL_WORD
from parakh.expressions.values import timestamp_us
from parakh.learning.card import write_dataset
from parakh.learning.changes.watching import watchable
from parakh.learning.columns import OWN
from parakh.learning.dataset import Choice, Dataset, make_dataset
from parakh.learning.history import make_history
from parakh.learning.known import About, verdicts
from parakh.learning.past import Files
from parakh.learning.suggesting.suggestions import facts_of
from parakh.project.project import Project
from parakh.simulation import simulate

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "card-payments"
TYPES = ("customer_opened", "login", "password_change", "payee_added", "payment", "decline", "transfer")
DAY_US = 86_400_000_000


# -- the example, on 12,000 simulated events ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    simulate("fintech", events=12_000, seed=11, out=folder)
    return folder


@pytest.fixture(scope="module")
def example() -> Project:
    return Project.load(EXAMPLE)


def past(sources: Sequence[Source], labels: Path | str | None = None) -> Files:
    return Files(sources=tuple(sources), labels=None if labels is None else str(labels))


def files(folder: Path) -> list[Source]:
    return [Source(name, str(folder / f"{name}.ndjson")) for name in TYPES]


def made(project: Project, folder: Path, **choice: Any) -> Dataset:
    labels = str(folder / "labels.ndjson")
    return make_dataset(project, past(files(folder), labels), Choice(event_type="payment", **choice))


def written(dataset: Dataset, project: Project, out: Path) -> tuple[bytes, dict[str, Any]]:
    card = write_dataset(dataset, project, out)
    return (out / "data.parquet").read_bytes(), card


def test_features_are_those_of_the_decisions(example: Project, world: Path) -> None:
    table = made(example, world).table
    decisions: list[pa.Table] = []
    replay = Replay(example, files(world), labels=str(world / "labels.ndjson"))
    replay.run(lambda batch, _: decisions.append(batch.to_arrow(features=True)))
    live = pa.concat_tables(decisions)
    live = live.filter(pa.array([kind == "payment" for kind in live.column("event_type").to_pylist()]))
    assert table.column("event_id").to_pylist() == live.column("event_id").to_pylist()
    assert table.column("event_time").to_pylist() == live.column("event_time").to_pylist()
    names = [item.name for item in replay.engine.plan.by_name["payment"].features]
    assert len(names) > 30
    for name in names:
        values = live.column(name).to_pylist()
        if pa.types.is_decimal(live.column(name).type):
            values = [None if value is None else float(value) for value in values]
        assert table.column(name).to_pylist() == values, name


def test_a_label_known_after_the_cut_off_changes_no_byte(example: Project, world: Path, tmp_path: Path) -> None:
    cut = "2025-02-01T00:00:00Z"
    choice = {"known_by_us": timestamp_us(cut), "sample": 0.5}
    before = written(made(example, world, **choice), example, tmp_path / "before")
    lines = (world / "labels.ndjson").read_text().splitlines()
    good = next(
        row["event_id"]
        for row in made(example, world, **choice).table.select(["event_id", "label"]).to_pylist()
        if row["label"] is False
    )

    def again(known_at: str) -> tuple[bytes, dict[str, Any]]:
        verdict = {"event_type": "payment", "event_id": good, "label": "fraud", "value": True,
                   "known_at": known_at, "source": "analyst"}  # fmt: skip
        labels = tmp_path / "labels.ndjson"
        labels.write_text("\n".join([*lines, json.dumps(verdict)]) + "\n")
        choice_ = Choice(event_type="payment", **choice)
        dataset = make_dataset(example, past(files(world), labels), choice_)
        return written(dataset, example, tmp_path / "again")

    assert again("2025-02-01T00:00:01Z") == before
    changed, card = again(cut)
    assert changed != before[0]
    assert card["counts"]["positive"] == before[1]["counts"]["positive"] + 1


def cut_after(folder: Path, number: int, out: Path) -> None:
    """The log of a folder up to a payment: its own file ends right after it, others before its moment."""
    out.mkdir()
    lines = (folder / "payment.ndjson").read_text().splitlines()[: number + 1]
    clock = max(time_of(line) for line in lines)
    for name in TYPES:
        kept = lines
        if name != "payment":
            kept, latest = [], ""
            for line in (folder / f"{name}.ndjson").read_text().splitlines():
                latest = max(latest, time_of(line))
                if latest > clock:
                    break
                kept.append(line)
        (out / f"{name}.ndjson").write_text("".join(f"{line}\n" for line in kept))
    (out / "labels.ndjson").write_text((folder / "labels.ndjson").read_text())


def time_of(line: str) -> str:
    event = json.loads(line)
    return next(str(value) for key, value in event.items() if key.endswith("_at"))


def test_no_row_sees_what_came_after_its_event(example: Project, world: Path, tmp_path: Path) -> None:
    """The row of an event is the same where the log ends right after it; a planted column that looks ahead is not."""
    whole = with_total(made(example, world).table)
    seed = random.randrange(2**32)
    inputs = [name for name in whole.column_names if name not in OWN]
    far = timestamp_us("2030-01-01")
    ahead = set()
    for number in sorted(random.Random(seed).sample(range(whole.num_rows // 3, whole.num_rows - 1), 6)):
        folder = tmp_path / str(number)
        cut_after(world, number, folder)
        prefix = with_total(made(example, folder, known_by_us=far).table)
        assert prefix.num_rows == number + 1, f"seed {seed}"
        last, same = (table.select(inputs).slice(number, 1).to_pylist()[0] for table in (prefix, whole))
        ahead |= {name for name in inputs if last[name] != same[name]}
    assert ahead == {"total"}, f"seed {seed}"


def with_total(table: pa.Table) -> pa.Table:
    """The table with a feature as batches make it by mistake: over the whole file, what comes later too."""
    return table.append_column("total", pa.array([table.num_rows] * table.num_rows))


@pytest.mark.parametrize("batch_size", [1, 97])
def test_neither_batches_nor_a_second_run_change_a_byte(
    batch_size: int, example: Project, world: Path, tmp_path: Path
) -> None:
    small = tmp_path / "small"
    small.mkdir()
    for name in (*TYPES, "labels"):
        lines = (world / f"{name}.ndjson").read_text().splitlines(keepends=True)
        (small / f"{name}.ndjson").write_text("".join(lines[:900]))
    choice = Choice(event_type="payment", sample=0.3, seed=5, label_delay_us=DAY_US)
    labels = str(small / "labels.ndjson")
    first = make_dataset(example, past(files(small), labels), choice)
    second = make_dataset(example, past(files(small), labels), choice, batch_size=batch_size)
    assert written(first, example, tmp_path / "a") == written(second, example, tmp_path / "b")


def test_a_sample_keeps_every_positive_and_is_a_property_of_the_ids(example: Project, world: Path) -> None:
    whole = made(example, world).table
    tenth = made(example, world, sample=0.1).table
    third = made(example, world, sample=0.3).table
    other = made(example, world, sample=0.1, seed=1).table
    positives = {row["event_id"] for row in whole.to_pylist() if row["label"]}
    assert positives
    of = {name: set(table.column("event_id").to_pylist()) for name, table in
          (("tenth", tenth), ("third", third), ("other", other))}  # fmt: skip
    assert positives <= of["tenth"] < of["third"]
    assert of["tenth"] != of["other"]
    rows = {row["event_id"]: row for row in whole.to_pylist()}
    for row in tenth.to_pylist():
        assert row["weight"] == (1.0 if row["label"] else 10.0)
        assert row | {"weight": 1.0} == rows[row["event_id"]]
    negatives = whole.num_rows - len(positives)
    expected, deviation = 0.1 * negatives, (0.09 * negatives) ** 0.5
    assert abs(len(of["tenth"]) - len(positives) - expected) < 5 * deviation
    # Fewer events are sampled alike.
    early = made(example, world, sample=0.1, to_us=timestamp_us("2025-01-20"), known_by_us=timestamp_us("2025-02-14"))
    assert set(early.table.column("event_id").to_pylist()) <= of["tenth"]


def test_personal_values_stay_out(example: Project, world: Path) -> None:
    dataset = made(example, world)
    assert dataset.left_out == ("card",)
    assert "card" not in dataset.table.column_names
    assert "card.payments_1h" in dataset.table.column_names


# -- a small shop, where every value is known -----------------------------------------------------------------------

SHOP = {
    "parakh.toml": 'name = "shop"\ncurrency = "INR"\n[labels]\nsources = ["analyst", "customer"]\n',
    "events/payment.yaml": """\
event: payment
id: payment_id
time: paid_at
fields:
  payment_id: string
  paid_at: timestamp
  shop: {type: string, entity: shop}
  amount: {type: money, currency: INR}
  weight: number
derive:
  large: amount > 100
labels:
  fraud: boolean
  loss: {type: money, currency: INR}
""",
    "events/login.yaml": "event: login\nid: id\ntime: at\nfields: {id: string, at: timestamp}\n",
    "features/shop.yaml": """\
entity: shop
features:
  payments:
    from: payment
    aggregate: count(*)
    over: 1d
  usual:
    from: payment
    aggregate: avg(amount)
    over: 1d
    delay: 1d
""",
    "signals/payment.yaml": "signals: payment\ndefine:\n  times_usual: amount / shop.usual_1d\n",
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a project `shop` - nothing in it decides - and ten payments, one a day, with their labels."""
    monkeypatch.chdir(tmp_path)
    for name, text in SHOP.items():
        path = tmp_path / "shop" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    payments(range(10))
    label({"p1": "2025-01-03", "p4": "2025-01-06"})
    return tmp_path


def payments(days: range, shop: Callable[[int], str] = lambda day: "s1") -> None:
    rows = [
        {"payment_id": f"p{day}", "paid_at": at(day), "shop": shop(day), "amount": 12.5 * day, "weight": day or None}
        for day in days
    ]
    Path("payment.ndjson").write_text("".join(json.dumps(row) + "\n" for row in rows))


def at(day: float) -> str:
    return (datetime(2025, 1, 1, tzinfo=UTC) + timedelta(days=day)).strftime("%Y-%m-%dT%H:%M:%SZ")


def label(frauds: dict[str, str], *more: dict[str, Any]) -> None:
    rows = [verdict(name, known_at) for name, known_at in frauds.items()]
    Path("labels.ndjson").write_text("".join(json.dumps(row) + "\n" for row in (*rows, *more)))


def verdict(name: str, known_at: str, value: bool | None = True, source: str = "customer") -> dict[str, Any]:
    return {"event_type": "payment", "event_id": name, "label": "fraud", "value": value,
            "known_at": known_at, "source": source}  # fmt: skip


COMMAND = ["dataset", "shop", "--events", "payment.ndjson", "--labels", "labels.ndjson", "--out", "set"]


def rows_of(*options: str) -> dict[str, dict[str, Any]]:
    """The rows of a set by their events' ids."""
    assert run([*COMMAND, *options]) == OK
    return {row["event_id"]: row for row in pq.read_table("set/data.parquet").to_pylist()}


def test_columns_are_what_a_model_reads(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = rows_of("--label-delay", "1d")
    table = pq.read_table("set/data.parquet")
    inputs = ["shop", "amount", "payment.weight", "large", "shop.payments_1d", "shop.usual_1d", "times_usual"]
    assert table.column_names == ["event_id", "event_time", *inputs, *OWN[2:]]
    assert [rows["p9"][name] for name in inputs] == ["s1", 112.5, 9.0, True, 1, 100.0, 1.125]
    assert [rows["p0"][name] for name in inputs] == ["s1", 0.0, None, False, 1, None, None]
    assert table.schema.field("amount").type == pa.float64()
    assert pa.types.is_dictionary(table.schema.field("shop").type)
    said = capsys.readouterr().out
    assert "10 of 10 payments, fraud as known by 2025-01-10" in said
    assert "wrote set: 7 inputs" in said


def test_inputs_have_the_names_that_models_use_outside_of_a_set(here: Path) -> None:
    event = here / "shop" / "events" / "payment.yaml"
    event.write_text(event.read_text().replace("  weight: number\n", "  weight: number\n  label: string\n"))
    rule = here / "shop" / "rules" / "payment.yaml"
    rule.parent.mkdir()
    rule.write_text("rule: heavy\nfor: payment\nwhen: weight > 5\nthen: block\n")
    project = Project.load(here / "shop")
    files = past([Source("payment", "payment.ndjson")], "labels.ndjson")
    assert {"weight", "label", "amount"} <= set(watchable(project, "payment"))
    history = make_history(project, files, inputs=["weight", "label"], label_delay_us=DAY_US)
    assert list(history.inputs) == ["weight", "label"]
    assert np.asarray(history.inputs["weight"]).tolist()[1:] == [*range(1, 10)]
    facts = facts_of(make_history(project, files, inputs=None, label_delay_us=DAY_US), project)
    assert {"weight", "label"} <= facts.values.keys()
    made = make_dataset(project, files, Choice(event_type="payment", label_delay_us=DAY_US))
    assert {"weight", "label"} <= {item.name for item in made.inputs}
    assert {"payment.weight", "payment.label"} <= set(made.table.column_names)
    columns = {item["name"]: item for item in write_dataset(made, project, here / "set")["columns"]}
    assert (columns["payment.weight"]["role"], columns["weight"]["role"]) == ("field", "set")
    with pytest.raises(InputError, match=r"there is no input 'payment\.weight'"):
        make_history(project, files, inputs=["payment.weight"])


def test_an_event_is_matured_when_the_delay_has_passed(here: Path) -> None:
    rows = rows_of("--label-delay", "5d")  # known by the last payment, on day 9
    assert [name for name, row in rows.items() if row["matured"]] == ["p0", "p1", "p2", "p3", "p4"]
    assert {name: row["label"] for name, row in rows.items() if row["label"]} == {"p1": True, "p4": True}
    assert {row["label"] for name, row in rows.items() if name > "p4"} == {None}
    assert rows["p1"]["label_known_at"] == datetime(2025, 1, 3, tzinfo=UTC)
    assert rows["p0"]["label_known_at"] is None
    # Fraud that is known of an immature event waits with the rest, or the young would seem to be fraud alone.
    rows = rows_of("--label-delay", "6d")
    assert (rows["p4"]["label"], rows["p4"]["label_known_at"], rows["p4"]["matured"]) == (None, None, False)


def test_the_cut_off_takes_later_events_away_too(here: Path) -> None:
    rows = rows_of("--known-by", at(6), "--label-delay", "1d")
    assert list(rows) == [f"p{day}" for day in range(7)]
    card = json.loads(Path("set/card.json").read_text())
    assert card["counts"]["after_cut_off"] == 3
    assert rows_of("--known-by", at(4), "--label-delay", "1d")["p1"]["label"]
    assert len(rows_of("--known-by", at(30), "--label-delay", "1d")) == 10


def test_the_highest_source_holds_then_the_latest_and_a_withdrawn_label_is_none(here: Path) -> None:
    label(
        {},
        verdict("p0", at(1), True, "analyst"), verdict("p0", at(2), False),  # the analyst holds
        verdict("p1", at(2), True), verdict("p1", at(3), False),  # the later holds
        verdict("p2", at(3), True), verdict("p2", at(4), None),  # withdrawn
        verdict("p3", at(4), True, "analyst"), verdict("p3", at(5), None), verdict("p3", at(6), False, "analyst"),
        verdict("p4", at(5), False),
    )  # fmt: skip
    rows = rows_of("--label-delay", "1d")
    assert [rows[f"p{n}"]["label"] for n in range(5)] == [True, False, False, False, False]
    known = [rows[f"p{n}"]["label_known_at"] for n in range(5)]
    assert [time and time.day for time in known] == [2, 4, None, 7, 6]
    assert rows_of("--label-delay", "1d", "--known-by", at(5))["p3"]["label"] is True


def test_a_label_that_the_engine_gave_up_is_none(here: Path) -> None:
    label({"p1": at(2), "p4": at(4 - 0.5 / 24), "p5": at(5 - 30 / 24)})
    rows = rows_of("--label-delay", "1d")
    assert [name for name, row in rows.items() if row["label"]] == ["p1", "p4"]  # p5's waited for more than an hour


def test_a_label_about_a_key_is_about_its_events_so_far(here: Path) -> None:
    payments(range(10), shop=lambda day: f"s{day % 2}")
    about = {"event_type": "payment", "entity": "shop", "key": "s1", "label": "fraud", "value": True,
             "known_at": at(5.5), "source": "analyst"}  # fmt: skip
    label({}, about)
    rows = rows_of("--label-delay", "1d")
    assert [name for name, row in rows.items() if row["label"]] == ["p1", "p3", "p5"]
    assert [name for name, row in rows_of("--label-delay", "1d", "--from", at(2)).items() if row["label"]] == [
        "p3",
        "p5",
    ]


@pytest.mark.parametrize("batch_size", [1, 3, 4, 8, 16, 4096])
def test_a_label_about_a_key_holds_of_no_later_event_however_batches_fall(here: Path, batch_size: int) -> None:
    logins = [{"id": f"l{number}", "at": at(4.5 + number / 1_000)} for number in range(12)]
    Path("login.ndjson").write_text("".join(json.dumps(row) + "\n" for row in logins))
    label({}, {"event_type": "payment", "entity": "shop", "key": "s1", "label": "fraud", "value": True,
               "known_at": at(4.9), "source": "analyst"})  # fmt: skip
    sources = (Source("payment", "payment.ndjson"), Source("login", "login.ndjson"))
    choice = Choice(event_type="payment", label_delay_us=DAY_US)
    project = Project.load(here / "shop")
    made = make_dataset(project, Files(sources=sources, labels="labels.ndjson"), choice, batch_size=batch_size)
    assert [row["event_id"] for row in made.table.to_pylist() if row["label"]] == [f"p{day}" for day in range(5)]


def test_train_gap_and_test_by_time(here: Path) -> None:
    rows = rows_of("--label-delay", "1d", "--test-from", at(6), "--gap", "2d", "--from", at(1), "--to", at(9))
    parts: dict[str, list[str]] = {}
    for name, row in rows.items():
        parts.setdefault(row["split"], []).append(name)
    assert parts == {"train": ["p1", "p2", "p3"], "gap": ["p4", "p5"], "test": ["p6", "p7", "p8"]}
    assert {row["split"] for row in rows_of("--label-delay", "1d").values()} == {"train"}


def test_the_card_says_what_is_in_it(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*COMMAND, "--label-delay", "4d", "--test-from", at(5), "--gap", "1d", "--json"]) == OK
    card = json.loads(capsys.readouterr().out)
    assert card == json.loads(Path("set/card.json").read_text())
    data = Path("set/data.parquet").read_bytes()
    assert card["data"] == {"file": "data.parquet", "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    assert card["project"] == {"name": "shop", "hash": Project.load(here / "shop").hash}
    counts = card["counts"]
    assert (counts["positive"], counts["negative"], counts["unlabelled"], counts["immature"]) == (2, 4, 4, 4)
    assert counts["rows_by_split"]["train"] == {"rows": 4, "positive": 1, "negative": 3, "immature": 0}
    assert card["span"]["known_by"] == at(9)
    columns = {item["name"]: item for item in card["columns"]}
    assert columns["amount"] == {
        "name": "amount", "role": "field", "type": "money INR", "null_share": 0.0,
        "min": 0.0, "mean": 56.25, "max": 112.5,
    }  # fmt: skip
    assert columns["shop.usual_1d"]["null_share"] == 0.1
    assert columns["shop"]["distinct"] == 1
    warnings = " ".join(card["warnings"])
    assert "test has one class only: negative" in warnings
    assert "the gap is shorter than the label delay" in warnings
    assert "counts as good" in card["labels"]
    page = Path("set/card.md").read_text()
    assert card["data"]["sha256"] in page
    assert "**Warning**: test has one class only: negative." in page


def test_positives_that_were_learned_late_are_told(here: Path) -> None:
    label({"p1": at(8)})
    rows_of("--label-delay", "1d", "--test-from", at(6), "--gap", "1d")
    warnings = json.loads(Path("set/card.json").read_text())["warnings"]
    assert any(text.startswith("1 positives of train became known only after the test began") for text in warnings)


def test_labels_in_the_events_are_known_after_the_delay(here: Path) -> None:
    event = here / "shop" / "events" / "payment.yaml"
    event.write_text(event.read_text().replace("  fraud: boolean", "  fraud: {type: boolean, from: is_fraud}"))
    texts = Path("payment.ndjson").read_text().splitlines()
    lines = [json.loads(text) | {"is_fraud": number == 2} for number, text in enumerate(texts)]
    Path("payment.ndjson").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert run(["dataset", "shop", "--events", "payment.ndjson", "--out", "set"]) == OK
    rows = pq.read_table("set/data.parquet").to_pylist()
    assert [row["label"] for row in rows] == [False, False, True] + [None] * 7
    assert rows[2]["label_known_at"] == rows[2]["event_time"] + timedelta(days=7)


def test_a_set_is_written_over_one_before_and_quarantine_beside_it(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows_of("--label-delay", "1d")
    with Path("payment.ndjson").open("a") as file:
        file.write("not json\n")
    assert len(rows_of("--label-delay", "1d")) == 10
    assert "quarantined 1 event: set.quarantine.ndjson" in capsys.readouterr().err
    assert sorted(path.name for path in Path("set").iterdir()) == ["card.json", "card.md", "data.parquet"]
    assert json.loads(Path("set/card.json").read_text())["counts"]["quarantined"] == {"bad_json": 1}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--for", "paymnt"], "the project has no event type 'paymnt'; there are: login, payment"),
        (["--for", "login"], "no file has events of login: name one with --events login=FILE"),
        (["--label", "frud"], "no label 'frud', there are fraud, loss; did you mean fraud?"),
        (["--label", "loss"], "label loss of payment is money INR; a set is made for a label that is true or false"),
        (["--from", "2030-01-01"], "no event of payment from 2030-01-01T00:00:00Z; 10 events were accepted"),
        (["--known-by", "2024-12-01"], "no event of payment arrived by 2024-12-01T00:00:00Z"),
        (["--label-delay", "60d"], "no payment is matured: the first was at 2025-01-01T00:00:00Z, less than 60d"),
        (["--known-by", at(1.5), "--label-delay", "1d"], "no label 'fraud' was known of any payment by the cut-off"),
        (["--gap", "1d"], "there is a gap only before a test"),
        (["--from", at(3), "--to", at(2)], "nothing lies between --from and --to"),
        (["--sample", "0"], "'0' is not a share"),
        (["--sample", "110%"], "'110%' is not a share"),
        (["--known-by", "soon"], "'soon' is not a time"),
        (["--seed", "-1"], "--seed"),
        (["--out", "shop"], "shop holds other files (events)"),
        (["--out", "payment.ndjson"], "payment.ndjson is a file; a set is a folder"),
    ],
)  # fmt: skip
def test_bad_input_is_told(options: list[str], said: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*COMMAND, *options]) == WRONG_USE
    told = capsys.readouterr().err
    assert said in " ".join(told.split())
    assert "Traceback" not in told
    assert not Path("set").exists()


def test_labels_have_to_come_from_somewhere(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["dataset", "shop", "--events", "payment.ndjson", "--out", "set"]) == WRONG_USE
    assert "name a file of labels" in " ".join(capsys.readouterr().err.split())
    (here / "shop" / "events" / "login.yaml").write_text("event: login\nid: 5\n")
    assert run(COMMAND) == FOUND_PROBLEMS


def test_an_input_is_not_overwritten(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("set").mkdir()
    Path("labels.ndjson").rename("set/card.json")
    arguments = ["dataset", "shop", "--events", "payment.ndjson", "--labels", "set/card.json", "--out", "set"]
    assert run(arguments) == WRONG_USE
    assert "set/card.json is an input" in capsys.readouterr().err
    assert Path("set/card.json").read_text().startswith('{"event_type"')


def test_one_class_is_a_warning(here: Path) -> None:
    label({}, verdict("p1", at(2), False))
    rows_of("--label-delay", "1d")
    warnings = json.loads(Path("set/card.json").read_text())["warnings"]
    assert warnings == ["train has one class only: negative"]


# -- which label holds, against the rule said slowly ------------------------------------------------------------------


def test_verdicts_are_those_of_the_slow_rule() -> None:
    seed = random.randrange(2**32)
    rng = random.Random(seed)
    for _ in range(200):
        events, count, cut = rng.randint(1, 5), rng.randint(0, 12), rng.randint(0, 10)
        labels = LabelRows.empty(count)
        labels.known_at[:] = sorted(rng.randint(0, 10) for _ in range(count))
        labels.value[:] = [rng.choice([0, 1, NULL_WORD]) for _ in range(count)]
        labels.rank[:] = [rng.randint(0, 2) for _ in range(count)]
        labels.place[:] = np.arange(count)
        row = np.array([rng.randint(-1, events - 1) for _ in range(count)], np.int64)
        ignored = {number for number in range(count) if rng.random() < 0.1}
        held = verdicts(About(labels, row), events=events, known_by_us=cut, ignored=ignored)
        for event in range(events):
            best: tuple[int, int, int] | None = None
            for number in range(count):
                if row[number] != event or labels.known_at[number] > cut or number in ignored:
                    continue
                if best is None or labels.rank[number] >= best[0]:
                    found = (int(labels.rank[number]), int(labels.value[number]), int(labels.known_at[number]))
                    best = None if found[1] == NULL_WORD else found
            expected = (NULL_WORD, NULL_WORD) if best is None else best[1:]
            assert (held.value[event], held.known_at[event]) == expected, f"seed {seed}"


def test_a_choice_without_events_of_its_type_is_refused(example: Project, world: Path) -> None:
    source = [Source("login", str(world / "login.ndjson"))]
    with pytest.raises(InputError, match="no file has events of payment"):
        make_dataset(example, past(source), replace(Choice(event_type="payment"), seed=3))
