"""Sets are read with distrust; what is trained is calibrated, monotone where asked, and the same every time."""

from __future__ import annotations

import hashlib
import json
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parakh.cli.main import WRONG_USE, run
from parakh.errors import InputError
from parakh.learning.fitting import training
from parakh.learning.fitting.boosting import Boosting, TreeParameters, calibrated_text
from parakh.learning.fitting.calibration import platt
from parakh.learning.fitting.model_card import make_card
from parakh.learning.fitting.samples import NEVER, TRAIN, Samples, read_samples
from parakh.learning.fitting.training import Choice, Trained, train
from parakh.models.definition import Model
from parakh.models.lightgbm_text import parse_forest
from parakh.models.scorer import load_model
from parakh.models.trees import TreeScorer
from unit.training_sets import DAY, START, TEST_FROM, columns, fraud_of, write_set

lightgbm = pytest.importorskip("lightgbm")
pytest.importorskip("sklearn")
pytest.importorskip("optuna")


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Samples:
    return read_samples(write_set(tmp_path_factory.mktemp("set"), columns()))


@pytest.fixture(scope="module")
def trained(samples: Samples) -> Trained:
    return train(samples, Choice(trials=3))


# -- reading ----------------------------------------------------------------------------------------------------------


def test_a_set_becomes_numbers(samples: Samples) -> None:
    data = columns()
    matured = data["matured"].to_numpy(zero_copy_only=False)
    assert samples.names == ("amount", "risk", "noise", "night", "payments", "weight")
    assert samples.x.shape == (int(matured.sum()), 6)
    assert samples.x.flags.c_contiguous
    np.testing.assert_array_equal(samples.x[:, 0], data["amount"].to_numpy()[matured])
    risk = data["risk"].to_numpy(zero_copy_only=False)[matured]
    np.testing.assert_array_equal(samples.x[:, 1], risk)
    assert np.isnan(risk).any()
    assert set(samples.x[:, 3]) == {0.0, 1.0}
    np.testing.assert_array_equal(samples.label, fraud_of(data)[matured])
    assert (samples.known_at_us[~samples.label] == NEVER).all()
    assert (samples.known_at_us[samples.label] >= samples.time_us[samples.label]).all()
    assert (samples.delay_us, samples.test_from_us) == (3 * DAY, TEST_FROM)
    assert samples.test.time_us.min() >= TEST_FROM > samples.train.time_us.max()
    assert list(samples.segments) == ["channel"]


def test_what_is_left_out_is_said(samples: Samples) -> None:
    notes = "\n".join(samples.notes)
    for reason in ("as texts: channel", "as moments, .*: first_seen", "always NULL .*: nothing", "constant .*: always"):
        assert re.search(reason, notes), notes


def changed(**values: Any) -> dict[str, Any]:
    return columns(600) | values


def some_fraud(count: int, rows: int = 600) -> pa.Array:
    return pa.array(np.arange(rows) % max(1, 300 // count) == 0 if count else np.zeros(rows, np.bool_))


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no frauds": ({"label": some_fraud(0)}, "0 of them fraud: with fewer than 20"),
    "few frauds": ({"label": some_fraud(10)}, "of them fraud: with fewer than 20 a model learns chance"),
    "frauds alone": ({"label": pa.array(np.ones(600, np.bool_))}, "all are fraud: there is nothing to tell them from"),
    "nothing matured": ({"matured": pa.array(np.zeros(600, np.bool_))}, "0 matured payment events: nothing is known"),
}


@pytest.mark.parametrize(("values", "reason"), BAD.values(), ids=BAD)
def test_sets_that_teach_nothing_are_refused(values: dict[str, Any], reason: str, tmp_path: Path) -> None:
    write_set(tmp_path, changed(**values))
    with pytest.raises(InputError, match=reason):
        read_samples(tmp_path)


def test_sets_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no training set"):
        read_samples(tmp_path)
    folder = write_set(tmp_path / "set", columns(1_500))
    with pytest.raises(InputError, match="the set has no input 'noize'; did you mean noise"):
        read_samples(folder, exclude=["noize"])
    inputs = ["amount", "risk", "noise", "night", "payments", "weight"]
    with pytest.raises(InputError, match="no input is left to learn from"):
        read_samples(folder, exclude=inputs)
    card = json.loads((folder / "card.json").read_text())
    for missing in ("project", "event_type", "label", "span", "columns", "data"):
        (folder / "card.json").write_text(json.dumps({key: card[key] for key in card if key != missing}))
        with pytest.raises(InputError, match=r"card.json is not the card of a training set"):
            read_samples(folder)
    write_set(folder, columns(600))
    (folder / "data.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(InputError, match="SHA-256 differs"):
        read_samples(folder)
    card = json.loads((folder / "card.json").read_text())
    card["data"]["sha256"] = hashlib.sha256(b"PAR1 no more").hexdigest()
    (folder / "card.json").write_text(json.dumps(card))
    with pytest.raises(InputError, match=r"data.parquet cannot be read"):
        read_samples(folder)


# -- calibration ------------------------------------------------------------------------------------------------------


@given(st.integers(0, 2**32 - 1), st.floats(0.3, 4), st.floats(-4, 1))
@settings(max_examples=25, deadline=None)
def test_platt_is_the_likeliest_line(seed: int, a: float, b: float) -> None:
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(seed)
    raw = rng.normal(size=4_000)
    label = rng.random(raw.size) < 1 / (1 + np.exp(-(a * raw + b)))
    weight = rng.integers(1, 4, raw.size).astype(np.float64)
    if label.sum() < 200 or (~label).sum() < 200:
        return
    oracle = LogisticRegression(C=math.inf, tol=1e-10, max_iter=1000).fit(raw[:, None], label, sample_weight=weight)
    fitted = platt(raw, label, weight)
    assert fitted.a == pytest.approx(float(oracle.coef_[0, 0]), rel=0.03)  # targets are drawn in a little
    assert fitted.b == pytest.approx(float(oracle.intercept_[0]), abs=0.05)


def test_calibration_ends_in_any_case() -> None:
    raw = np.concatenate([np.linspace(-3, -1, 50), np.linspace(1, 3, 50)])
    label = raw > 0
    parted = platt(raw, label)
    assert parted.a > 1
    assert np.isfinite([parted.a, parted.b]).all()
    assert platt(-raw, label).a == pytest.approx(1e-3)
    assert "tells nothing" in platt(-raw, label).note
    assert platt(1e9 * raw, label).of(1e9 * raw)[label].min() > 0.85
    few = platt(raw, np.arange(100) == 99)
    assert (few.a, "only the level" in few.note) == (1.0, True)
    assert few.of(raw).sum() == pytest.approx(1 + 1, abs=1)
    with pytest.raises(InputError, match="one class"):
        platt(raw, np.zeros(100, np.bool_))


@pytest.mark.parametrize(("a", "b"), [(1.0, 0.0), (0.37, -4.5), (12.5, 3.25)])
def test_a_calibration_stands_in_the_trees(samples: Samples, a: float, b: float) -> None:
    rows = samples.train
    boosting = Boosting(names=rows.names, monotone={})
    booster = boosting.fit(boosting.rows(rows.x, rows.label, rows.weight), TreeParameters(), 20)
    raw = np.asarray(booster.predict(rows.x, raw_score=True))
    content = calibrated_text(booster.model_to_string(), a, b)
    scorer = TreeScorer(parse_forest(content), "")
    np.testing.assert_allclose(scorer.raw(rows.x), a * raw + b, rtol=0, atol=1e-9)
    np.testing.assert_allclose(scorer.score(rows.x), 1 / (1 + np.exp(-(a * raw + b))), rtol=0, atol=1e-9)
    np.testing.assert_allclose(scorer.contributions(rows.x).sum(axis=1), a * raw + b, rtol=0, atol=1e-9)
    theirs = lightgbm.Booster(model_str=content.decode())
    np.testing.assert_allclose(theirs.predict(rows.x, raw_score=True), a * raw + b, rtol=0, atol=1e-9)


# -- training ---------------------------------------------------------------------------------------------------------


def test_both_kinds_learn_and_stand_beside_each_other(trained: Trained) -> None:
    assert set(trained.learned) == {"lightgbm", "logistic"}
    for learned in trained.learned.values():
        assert learned.average_precision > 0.3  # chance is .05
        assert learned.scores.shape == trained.validated.label.shape
        frauds = float(learned.scores.sum())
        assert frauds == pytest.approx(float(trained.validated.label.sum()), rel=0.05)
        gains = [item["gain"] for item in learned.importance]
        assert gains == sorted(gains, reverse=True)
        assert {item["input"] for item in learned.importance[:2]} == {"risk", "amount"}
        assert learned.importance[0]["permutation"] > 0.1
    best = max(trained.learned.values(), key=lambda learned: learned.average_precision)
    assert trained.kind == best.kind


def test_files_score_as_the_engine_would(trained: Trained) -> None:
    for kind, learned in trained.learned.items():
        model = Model(
            name="risk", event_type="payment", file="f", inputs=trained.samples.names, content=learned.content
        )
        scorer = load_model(model)
        assert scorer.kind == kind
        np.testing.assert_array_equal(scorer.score(trained.test.x), learned.test_scores)
        assert platt(np.log(learned.test_scores / (1 - learned.test_scores)), trained.test.label).a > 0.6


def test_nothing_later_is_learned(samples: Samples, trained: Trained) -> None:
    """A fraud of training that became known only when the test had begun is good to what is trained before it."""
    assert trained.known_by_us == TEST_FROM
    late = samples.take(np.arange(len(samples.label)))
    row = int(np.flatnonzero(late.label & (late.split == 0))[-1])
    late.known_at_us[row] = TEST_FROM + 1
    never = samples.take(np.arange(len(samples.label)))
    never.label[row] = False
    never.known_at_us[row] = NEVER
    one, other = (train(each, Choice(trials=1)) for each in (late, never))
    assert (one.late, other.late) == (1, 0)
    for kind in one.learned:
        assert one.learned[kind].content == other.learned[kind].content, kind
        assert one.learned[kind].folds == other.learned[kind].folds, kind


def test_labels_of_long_delay_count_only_where_they_were_known(samples: Samples) -> None:
    """Every second fraud is told of only when the test has begun: search, folds and calibration do not have it."""
    held = samples.take(np.arange(len(samples.label)))
    frauds = np.flatnonzero(held.label & (held.split == TRAIN))
    held.known_at_us[frauds[::2]] = TEST_FROM + DAY
    learned = train(held, Choice(trials=1))
    assert learned.late == frauds[::2].size
    assert int(learned.train.label.sum()) == frauds.size - learned.late
    assert (learned.validated.known_at_us[learned.validated.label] <= TEST_FROM).all()
    for one in learned.learned.values():
        assert float(one.scores.sum()) == pytest.approx(float(learned.validated.label.sum()), rel=0.05)
    limits = make_card(learned, model="risk", rounds=20).card["limits"]
    assert any(f"{learned.late} positives of training became known only when the test" in text for text in limits)

    held.known_at_us[frauds[10:]] = TEST_FROM + DAY
    with pytest.raises(InputError, match=r"were known to be fraud by 2025-01-31.* with fewer than 20 a model learns"):
        train(held, Choice(trials=1))


def test_monotone_inputs_go_one_way(samples: Samples) -> None:
    wrong_way = {"risk": -1, "amount": 1}
    trained = train(samples, Choice(trials=1, monotone=wrong_way))
    rng = np.random.default_rng(0)
    x = samples.x[rng.integers(0, len(samples.x), 300)]
    for kind, learned in trained.learned.items():
        scorer = load_model(
            Model(name="risk", event_type="payment", file="f", inputs=samples.names, content=learned.content)
        )
        for name, direction in wrong_way.items():
            moved = np.repeat(x, 9, axis=0)
            moved[:, samples.names.index(name)] = np.tile(np.linspace(-4, 60, 9), len(x))
            steps = np.diff(scorer.score(moved).reshape(-1, 9), axis=1) * direction
            assert steps.min() >= -1e-12, (kind, name)
    assert any("risk has no part" in note for note in trained.learned["logistic"].notes)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("amout", "--monotone: the model has no input 'amout'; did you mean amount"),
        ("channel", "--monotone: channel is a text, and texts are no inputs of a model (hint: inputs near "
                    "it: amount, payments, night)"),
        ("first_seen", "--monotone: first_seen is a time, and times are no inputs of a model (hint: "),
        ("nothing", "--monotone: nothing is always NULL in training, and so no input of the model (hint: "),
        ("always", "--monotone: always is always the same in training, and so no input of the model (hint: "),
        ("noise", "--monotone: noise is left out by --exclude, and so no input of the model (hint: "),
    ],
)  # fmt: skip
def test_what_cannot_be_monotone_is_told_with_why(name: str, said: str, tmp_path: Path) -> None:
    samples = read_samples(write_set(tmp_path, columns(1_500)), exclude=["noise"])
    with pytest.raises(InputError, match=re.escape(said)):
        train(samples, Choice(trials=1, monotone={name: 1}))


@pytest.mark.parametrize(
    ("name", "said"), [("no name", "is not the name of a model"), ("select", "is a word of SQL and cannot name")]
)
def test_a_bad_name_is_refused_before_the_training(
    name: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_set(tmp_path / "set", columns(1_500))
    monkeypatch.setattr(training, "train", None)
    assert run(["train", str(tmp_path / "set"), "--model", name, "--out", str(tmp_path / "model")]) == WRONG_USE
    assert said in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "model").exists()


_TWICE = """
import hashlib, sys
from pathlib import Path
from parakh.learning.fitting.samples import read_samples
from parakh.learning.fitting.training import Choice, train
trained = train(read_samples(Path(sys.argv[1])), Choice(trials=2, seed=5))
print(*(hashlib.sha256(trained.learned[kind].content).hexdigest() for kind in ("lightgbm", "logistic")))
"""


def test_the_same_set_gives_the_same_bytes_in_another_process(tmp_path: Path) -> None:
    write_set(tmp_path, columns(3_000, 3))
    told = {subprocess.check_output([sys.executable, "-c", _TWICE, str(tmp_path)], text=True) for _ in range(2)}
    assert len(told) == 1


def test_a_budget_ends_the_search_and_that_is_known(samples: Samples) -> None:
    hurried = train(samples, Choice(trials=500, budget_s=0.01))
    assert hurried.found.cut_short
    assert len(hurried.found.trials) < 10


def test_progress_goes_on(samples: Samples) -> None:
    told: list[float] = []
    train(samples, Choice(trials=2), on_progress=lambda share, words: told.append(share))
    assert told == sorted(told)
    assert (told[0], told[-1]) == (0.0, 1.0)


def test_labels_of_chance_teach_nothing(tmp_path: Path) -> None:
    data = columns(6_000, 9)
    shuffled = np.random.default_rng(4).permutation(fraud_of(data))
    known = np.asarray(data["event_time"].cast(pa.int64())) + DAY
    data["label"] = pa.array(shuffled)
    data["label_known_at"] = pa.array(known, pa.timestamp("us", "UTC"), mask=~shuffled)
    trained = train(read_samples(write_set(tmp_path, data)), Choice(trials=2))
    assert all(learned.average_precision < 0.12 for learned in trained.learned.values())
    assert trained.samples.time_us.min() + DAY > START
