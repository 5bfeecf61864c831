"""A model's card says the same as the model does, in JSON, in Markdown and on a page, and what it cannot promise."""

from __future__ import annotations

import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from parakh.cli.main import run
from parakh.cli.report.model_page import render
from parakh.errors import InputError
from parakh.learning.changes.drift import Baseline, stability
from parakh.learning.fitting.model_card import Carded, make_card, write_model
from parakh.learning.fitting.samples import TEST, read_samples
from parakh.learning.fitting.training import Choice, Trained, train
from parakh.learning.measures.metrics import average_precision, roc_auc
from unit.training_sets import DAY, TEST_FROM, columns, fraud_of, write_set

for library in ("lightgbm", "sklearn", "optuna", "matplotlib"):
    pytest.importorskip(library)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = write_set(tmp_path_factory.mktemp("set"), columns())
    return train(read_samples(folder), Choice(trials=2, kind="lightgbm", monotone={"amount": 1}))


@pytest.fixture(scope="module")
def carded(trained: Trained) -> Carded:
    return make_card(trained, model="payment_fraud", rounds=40)


def test_figures_are_those_of_the_scores(trained: Trained, carded: Carded) -> None:
    card = carded.card
    for part, rows, scores in (
        (card["validation"]["metrics"], trained.validated, trained.chosen.scores),
        (card["test"], trained.test, trained.chosen.test_scores),
        (card["baseline_model"]["test"], trained.test, trained.other.test_scores),
    ):
        found = part["metrics"]
        assert found["average_precision"]["value"] == pytest.approx(average_precision(rows.label, scores))
        assert found["roc_auc"]["value"] == pytest.approx(roc_auc(rows.label, scores))
        assert found["roc_auc"]["low"] < found["roc_auc"]["value"] < found["roc_auc"]["high"]
    assert (trained.test.split == TEST).all()
    assert trained.test.time_us.min() >= TEST_FROM
    assert card["dataset"]["parts"]["test"]["rows"] == len(trained.test.label)


def test_the_card_has_what_others_read(trained: Trained, carded: Carded) -> None:
    card = carded.card
    assert json.loads(json.dumps(card, allow_nan=False)) == card
    assert card["sha256"] == hashlib.sha256(trained.chosen.content).hexdigest()
    assert (card["kind"], card["file"], card["monotone"]) == ("lightgbm", "model.lgb", {"amount": 1})
    assert set(card["baseline"]) == {*card["inputs"], "score"}
    rows = trained.train
    for place, name in enumerate(card["inputs"]):
        assert stability(Baseline.of_data(card["baseline"][name]), rows.x[:, place]) < 0.01
    assert 0 < card["latency_us_per_event"] < 1_000
    assert sum(item["gain"] for item in card["importance"]) == pytest.approx(1)


def test_it_says_what_it_was_not_tried_on(trained: Trained, carded: Carded) -> None:
    limits = "\n".join(carded.card["limits"])
    for reason in (
        "up to 2025-01-23", "90.0 % of the events count as good", "Left out, as texts: channel",
        "Card precision is not computed: a set does not say whose card an event is, which is personal.",
    ):  # fmt: skip
        assert reason in limits
    assert "card_precision" not in {name for name, found in carded.card["test"]["metrics"].items() if found["value"]}
    assert ("positives, which is few" in limits) == (int(trained.validated.label.sum()) < 100)


def test_files_are_the_same_twice_but_for_the_time(trained: Trained, carded: Carded, tmp_path: Path) -> None:
    again = make_card(trained, model="payment_fraud", rounds=40)
    for each in (carded.card, again.card):
        each["latency_us_per_event"] = 1.0
    for name, each in (("one", carded), ("other", again)):
        write_model(trained, each, tmp_path / name)
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert names == ["card.json", "card.md", "model.lgb"]
    assert [(tmp_path / "one" / n).read_bytes() for n in names] == [
        (tmp_path / "other" / n).read_bytes() for n in names
    ]
    assert render(trained, carded) == render(trained, again)
    (tmp_path / "one" / "notes.txt").touch()
    with pytest.raises(InputError, match=r"holds other files \(notes.txt\)"):
        write_model(trained, carded, tmp_path / "one")


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.titles: list[str] = []
        self._in = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]
        self._in = tag

    def handle_data(self, data: str) -> None:
        if self._in == "h2" and data.strip():
            self.titles.append(data)


def test_the_page_asks_nothing_of_anywhere(trained: Trained, carded: Carded) -> None:
    page = render(trained, carded)
    tags = _Tags()
    tags.feed(page)
    assert not [source for source in tags.sources if not source.startswith("#")]
    assert "<script" not in page
    assert not re.findall(r"https?://(?!www\.w3\.org/)", page)
    wanted = {"What to know before relying on it", "Ranking", "Scores as chances", "What it goes by", "By channel"}
    assert wanted <= set(tags.titles)


# -- the command ------------------------------------------------------------------------------------------------------


def test_the_command_writes_a_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_set(tmp_path / "set", columns(4_000))
    out = tmp_path / "model"
    assert run(["train", str(folder), "--trials", "1", "--kind", "logistic", "--out", str(out), "--json"]) == 0
    card = json.loads(capsys.readouterr().out)
    assert card == json.loads((out / "card.json").read_text())
    assert sorted(path.name for path in out.iterdir()) == ["card.html", "card.json", "card.md", "model.logistic.json"]
    assert run(["train", str(folder), "--trials", "1", "--exclude", "noise", "--out", str(out)]) == 0
    told = capsys.readouterr().out
    assert "logistic regression" in told
    assert "noise" not in "".join(line for line in told.splitlines() if "%" in line)


def test_wrong_use_is_told_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_set(tmp_path / "set", columns(1_500))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a.txt").touch()
    shuffled = columns(1_500)
    shuffled["label"] = pa.array(np.zeros(1_500, np.bool_))
    honest = write_set(tmp_path / "honest", shuffled)
    for arguments, reason in (
        ([str(folder)], "say where the model goes"),
        ([str(folder), "--out", str(tmp_path / "m"), "--monotone", "risk"], "'risk' is not an input and a way"),
        ([str(folder), "--out", str(tmp_path / "m"), "--monotone", "rusk=+1"], "did you mean risk"),
        ([str(folder), "--out", str(tmp_path / "full")], "holds other files"),
        ([str(tmp_path / "full"), "--out", str(tmp_path / "m")], "is no training set"),
        ([str(honest), "--out", str(tmp_path / "m")], "0 of them fraud"),
    ):
        assert run(["train", *arguments, *(["--trials", "1"])]) == 2
        told = capsys.readouterr()
        assert reason in told.err, told.err
        assert "Traceback" not in told.err
    assert not (tmp_path / "m").exists()


def test_a_set_without_a_test_is_told_by_its_folds(tmp_path: Path) -> None:
    data: dict[str, Any] = columns(4_000, 2)
    data["split"] = pa.array(["train"] * 4_000).dictionary_encode()
    assert fraud_of(data).sum() > 100
    span = {"known_by": "2025-02-10T00:00:00Z", "label_delay_days": 3.0, "test_from": None, "gap_days": None}
    trained = train(read_samples(write_set(tmp_path, data, span=span)), Choice(trials=1))
    carded = make_card(trained, model="payment_fraud", rounds=20)
    assert carded.card["test"] is None
    assert trained.samples.test_from_us is None
    assert any("It was not tried on a test span" in text for text in carded.card["limits"])
    assert "those of the folds" in render(trained, carded)
    assert trained.samples.delay_us == 3 * DAY
