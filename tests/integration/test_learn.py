"""The loop on small histories: what passes is asked for, what does not changes nothing, and it is never worse after."""

from __future__ import annotations

import gc
import json
import random
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from parakh.cli.main import FOUND_PROBLEMS, INTERRUPTED, OK, WRONG_USE, run
from parakh.errors import InputError
from parakh.expressions.values import iso_time
from parakh.learning import loop
from parakh.learning.dataset import Dataset
from parakh.learning.fitting.training import train
from parakh.learning.history import History, make_history
from parakh.learning.promotion import tuning
from parakh.learning.promotion.gates import Gates, judge
from parakh.learning.promotion.registry import CHAMPION, RETIRED, SHADOW, Registry
from parakh.learning.settings import LearningSettings
from parakh.project.project import Project

pytest.importorskip("lightgbm")
pytest.importorskip("optuna")

DAYS, PAYMENTS = 40, 60
AT = 1_780_000_000_000_000


def shop(folder: Path, learning: str = "") -> Path:
    """A shop whose frauds are large payments far from home, of which its one rule knows nothing."""
    for kind in ("events", "policies", "rules"):
        (folder / kind).mkdir(parents=True)
    (folder / "parakh.toml").write_text('name = "shop"\ncurrency = "EUR"\n')
    (folder / "events" / "payment.yaml").write_text(
        "event: payment\nid: id\ntime: at\nfields:\n  id: string\n  at: timestamp\n  amount: money\n"
        "  km: number\n  noise: number\nlabels:\n  fraud: boolean\n"
    )
    (folder / "policies" / "payment.yaml").write_text("policy: payment\nfor: payment\n")
    (folder / "rules" / "huge.yaml").write_text(
        "rule: huge\nfor: payment\nwhen: amount > 100000\nthen: review\nreason: R1\n"
    )
    (folder / "learning.toml").write_text(learning or "[gates]\npositives = 20\nstability = 5\n")
    return folder


def stream(folder: Path, *, seed: int, told: bool = True) -> list[str]:
    """Forty days of payments; where `told` is False labels say nothing of what was seen. Options for the command."""
    rng = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    events, labels, fraud = [], [], []
    for number in range(DAYS * PAYMENTS):
        day, second = divmod(number, PAYMENTS)
        at = f"2026-0{1 + day // 28}-{1 + day % 28:02}T{second // 3:02}:{second % 60:02}:00Z"
        bad = rng.random() < 0.06
        amount, km = rng.uniform(1, 80), rng.uniform(0, 30)
        if bad:
            amount, km = rng.uniform(60, 200), rng.uniform(20, 90)
        events.append({"id": f"p{number}", "at": at, "amount": round(amount, 2), "km": km, "noise": rng.random()})
        fraud.append(bad)
    if not told:
        rng.shuffle(fraud)
    for event, bad in zip(events, fraud, strict=True):
        if bad:
            known = f"{event['at'][:10]}T23:59:00Z"
            labels.append(
                {
                    "event_type": "payment",
                    "event_id": event["id"],
                    "label": "fraud",
                    "value": True,
                    "known_at": known,
                    "source": "analyst",
                }
            )
    (folder / "payment.ndjson").write_text("".join(json.dumps(event) + "\n" for event in events))
    (folder / "labels.ndjson").write_text("".join(json.dumps(label) + "\n" for label in labels))
    return ["--events", f"payment={folder / 'payment.ndjson'}", "--labels", str(folder / "labels.ndjson")]


def learn(project: Path, past: list[str], capsys: pytest.CaptureFixture[str], *more: str) -> dict[str, object]:
    capsys.readouterr()
    code = run(["learn", str(project), *past, "--trials", "1", "--by", "asha", "--at", "2026-03-01", "--json", *more])
    told = capsys.readouterr()
    assert code == OK, told.err
    found = json.loads(told.out)
    assert isinstance(found, dict)
    return found


def test_a_challenger_is_asked_for_and_a_second_person_lets_it_decide(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project, past = shop(tmp_path / "shop"), stream(tmp_path / "past", seed=1)
    page = tmp_path / "learned.html"
    done = learn(project, past, capsys, "--out", str(page))
    (challenger,) = done["challengers"]  # type: ignore[misc]
    assert (challenger["became"], challenger["gates"]["passed"], done["waiting"]) == ("asked for", True, 1)
    assert done["champion"] is None
    assert "amount" in " ".join(done["rules"]) or "km" in " ".join(done["rules"])  # type: ignore[arg-type]
    assert "waits for a second person" in page.read_text()
    assert "http" not in page.read_text().replace("http-equiv", "").replace("http://www.w3.org", "")
    assert (project / "models" / "payment_fraud" / "v1" / "card.html").exists()
    # All of it is in shadow: every outcome is as before.
    assert all(rule.mode.value == "shadow" for rule in Project.load(project).definitions.rules if rule.name != "huge")
    assert run(["promote", str(project), "payment_fraud", "--approve", "--by", "asha"]) == WRONG_USE
    assert run(["promote", str(project), "payment_fraud", "--approve", "--by", "ravi"]) == OK
    assert [each.state for each in Registry.open(project, "payment_fraud").versions] == [CHAMPION]

    # The next turn on the same labels learns the same model: it is not better, and the champion stays.
    again = learn(project, past, capsys)
    (second,) = again["challengers"]  # type: ignore[misc]
    assert (second["version"], second["became"], again["champion"]) == (2, "kept in shadow", 1)
    failed = [gate["name"] for gate in second["gates"]["gates"] if not gate["passed"]]
    assert failed == ["better"]
    found = second["disagreement"]
    assert found["shared"] == found["events"]
    assert found["challenger_frauds"] == found["champion_frauds"] == 0

    # And the one after that lets the challenger rest that did not pass again.
    third = learn(project, past, capsys)
    assert [item["became"] for item in third["challengers"]] == ["rests", "kept in shadow"]  # type: ignore[attr-defined]
    states = [each.state for each in Registry.open(project, "payment_fraud").versions]
    assert states == [CHAMPION, RETIRED, SHADOW]
    assert "better" in Registry.open(project, "payment_fraud").history[-1].why


@pytest.mark.parametrize("seed", [2, pytest.param(3, marks=pytest.mark.long)])
def test_labels_that_say_nothing_promote_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str], seed: int) -> None:
    """With `people = 0`, where the loop may promote by itself, and labels drawn at random."""
    project = shop(tmp_path / "shop", "people = 0\n[gates]\npositives = 20\nstability = 5\n")
    past = stream(tmp_path / "past", seed=seed, told=False)
    done = learn(project, past, capsys)
    assert (done["champion"], done["waiting"], done["rules"]) == (None, None, []), f"seed {seed}"
    assert [item["became"] for item in done["challengers"]] == ["kept in shadow"]  # type: ignore[attr-defined]


def test_the_loop_promotes_by_itself_where_the_project_allows_and_is_never_worse_after(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project = shop(tmp_path / "shop", "people = 0\n[gates]\npositives = 20\nstability = 5\n")
    past = stream(tmp_path / "past", seed=4)
    first = learn(project, past, capsys)
    assert (first["champion_before"], first["champion"]) == (None, 1)
    metric = {}
    for seed in (5, 6):
        other = stream(tmp_path / f"past{seed}", seed=seed, told=seed == 5)
        before = Registry.open(project, "payment_fraud").champion
        done = learn(project, other, capsys)
        (item, *_) = [each for each in done["challengers"] if each["new"]]  # type: ignore[attr-defined]
        metric[seed] = item["gates"]["measured"]
        assert before is not None
        if done["champion"] != before.number:
            assert metric[seed][f"payment_fraud_v{item['version']}"] > metric[seed]["payment_fraud"]
        assert item["gates"]["passed"] == (item["became"] == "promoted"), f"seed {seed}: {metric}"


def test_gates_want_events_after_the_training_and_bands_a_file_as_it_was_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    project, past = shop(tmp_path / "shop"), stream(tmp_path / "past", seed=1)
    learn(project, past, capsys)
    ask = ["promote", str(project), "payment_fraud", "1", "--request", *past, "--by", "asha"]
    assert run([*ask, "--since", "2026-01-03"]) == WRONG_USE
    assert "is not later than what was learned from, which ended at 2026-01-" in capsys.readouterr().err
    card = project / "models" / "payment_fraud" / "v1" / "card.json"
    said = card.read_text()
    card.write_text(json.dumps({key: value for key, value in json.loads(said).items() if key != "dataset"}))
    run([*ask, "--since", "2026-01-03"])
    assert "no card says when version 1 learned" in capsys.readouterr().err
    card.write_text(said)

    assert run(["promote", str(project), "payment_fraud", "1", "--approve", "--by", "ravi"]) == OK
    file = project / "policies" / "payment.yaml"
    found = tuning.tune

    def meanwhile(*args: Any, **more: Any) -> tuning.Tuning:
        file.write_text("policy: payment\nfor: payment\nfallback: block\n")
        return found(*args, **more)

    tune = ["tune", str(project), *past, "--model", "payment_fraud", "--write"]
    with monkeypatch.context() as patched:
        patched.setattr(tuning, "tune", meanwhile)
        assert run(tune) == WRONG_USE
    assert "policies/payment.yaml was changed while thresholds were chosen" in capsys.readouterr().err
    assert file.read_text() == "policy: payment\nfor: payment\nfallback: block\n"
    assert run(tune) == OK
    assert file.read_text().startswith("policy: payment\nfor: payment\nscore: payment_fraud\nbands:\n")


def test_what_cannot_be_learned_from_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project, past = shop(tmp_path / "shop"), stream(tmp_path / "past", seed=1)
    before = {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}
    asked = ["learn", str(project), *past, "--trials", "1", "--by", "asha"]
    for more, code, words in (
        (["--known-by", "2026-01-04"], WRONG_USE, "no payment has matured"),
        (["--known-by", "2026-01-12"], WRONG_USE, "hint"),
        (["--every", "1d"], WRONG_USE, "files do not grow"),
        (["--for", "login"], WRONG_USE, "no event type 'login'"),
    ):
        capsys.readouterr()
        assert run([*asked, *more]) in (code, FOUND_PROBLEMS), more
        told = capsys.readouterr().err
        assert words in told, (more, told)
        assert "Traceback" not in told
    assert {path: path.read_bytes() for path in project.rglob("*") if path.is_file()} == before
    empty = tmp_path / "labels.ndjson"
    empty.write_text("")
    capsys.readouterr()
    assert run(["learn", str(project), *past[:2], "--labels", str(empty), "--by", "asha"]) == WRONG_USE
    assert "labels.ndjson is empty" in capsys.readouterr().err


def versions(project: Path) -> list[str]:
    return [each.state for each in Registry.open(project, "payment_fraud").versions]


def test_while_nobody_approves_few_stay_in_shadow(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every turn's challenger passes: what waits, the best and the new one stay."""
    project, past = shop(tmp_path / "shop"), stream(tmp_path / "past", seed=1)
    metric = {1: 0.5, 2: 0.9, 3: 0.7, 4: 0.6}

    def judged(history: History, *, challenger: str, **more: Any) -> Gates:
        found = judge(history, challenger=challenger, **more)
        return replace(found, measured={**found.measured, challenger: metric[int(challenger.rpartition("_v")[2])]})

    monkeypatch.setattr(loop, "judge", judged)
    done = [learn(project, past, capsys) for _ in metric]
    assert all(each["gates"]["passed"] for turn in done for each in turn["challengers"])  # type: ignore[attr-defined]
    assert done[-1]["waiting"] == 1
    assert versions(project) == [SHADOW, SHADOW, RETIRED, SHADOW]
    became = [each["became"] for each in done[-1]["challengers"]]  # type: ignore[attr-defined]
    assert became == ["kept in shadow", "kept in shadow", "rests", "kept in shadow"]
    assert Registry.open(project, "payment_fraud").history[-1].why == "passed, and version 2 ranks higher"


def test_a_challenger_whose_turn_fails_rests_with_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    project, past = shop(tmp_path / "shop"), stream(tmp_path / "past", seed=1)
    asked = ["learn", str(project), *past, "--trials", "1", "--by", "asha"]
    for fault, name in ((InputError("the old end of its log went"), "judge"), (KeyboardInterrupt(), "judge")):
        with monkeypatch.context() as patched:
            patched.setattr(loop, name, Mock(side_effect=fault))
            assert run(asked) != OK
        last = Registry.open(project, "payment_fraud").history[-1]
        assert (last.what, last.why) == ("retired", f"its turn failed: {str(fault) or 'KeyboardInterrupt'}")
    assert versions(project) == [RETIRED, RETIRED]
    assert not list((project / "models").glob("*.yaml")), "nothing scores in shadow"
    with monkeypatch.context() as patched:  # it passed and was asked for: people see it
        patched.setattr(loop, "propose", Mock(side_effect=OSError("no space left")))
        assert run(asked) != OK
    request = Registry.open(project, "payment_fraud").request_open
    assert request is not None
    assert (versions(project)[-1], request.version) == (SHADOW, 3)


def test_a_turn_has_one_cut_off_and_keeps_no_history_while_it_trains(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log of a service goes on while a turn looks at it."""
    project, past = shop(tmp_path / "shop"), stream(tmp_path / "past", seed=1)
    cuts, alive = list[Any](), list[object]()

    def made(*arguments: Any, **more: Any) -> History:
        cuts.append(more["known_by_us"])
        return make_history(*arguments, **more)

    def trained(*arguments: Any, **more: Any) -> Any:
        gc.collect()
        alive.extend(item for item in gc.get_objects() if isinstance(item, History | Dataset))
        return train(*arguments, **more)

    monkeypatch.setattr(loop, "make_history", made)
    monkeypatch.setattr(loop, "train", trained)
    done = learn(project, past, capsys)
    assert cuts[0] is None
    assert iso_time(cuts[1]) == done["known_by"]
    assert not alive


def test_a_turn_that_fails_does_not_end_the_loop(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the next one reads learning.toml again."""
    project = shop(tmp_path / "shop")
    said, slept = list[float](), list[float]()

    def turn(folder: Path, past: object, wish: object, settings: LearningSettings, **more: object) -> None:
        said.append(settings.review_capacity)
        raise InputError("too few labels yet")

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        (project / "learning.toml").write_text(
            f"review_capacity = {10 + len(slept)}\n" if len(slept) != 2 else "nonsense"
        )
        if len(slept) == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(loop, "turn", turn)
    monkeypatch.setattr("parakh.cli.learn.time.sleep", sleep)
    code = run(["learn", str(project), "--data", str(tmp_path), "--every", "1d", "--by", "asha"])
    assert code == INTERRUPTED
    told = capsys.readouterr().err
    assert (said[1:], slept) == ([11, 13], [86_400.0] * 4)
    assert told.count("too few labels yet") == 3
    assert "learning.toml" in told
    assert told.count("the next turn is at") == 4


def test_where_too_little_passes_for_rules_a_challenger_is_trained_all_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    project, past = shop(tmp_path / "shop"), stream(tmp_path / "past", seed=1)
    page = tmp_path / "learned.html"
    monkeypatch.setattr(loop, "suggest", Mock(side_effect=InputError("3 frauds pass; at least 10 are needed")))
    done = learn(project, past, capsys, "--out", str(page))
    assert (done["suggested"], done["rules"], done["waiting"]) == (None, [], 1)
    assert "3 frauds pass" in str(done["no_rules"])
    assert "3 frauds pass; at least 10 are needed" in page.read_text()


def test_a_turn_is_the_same_twice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    past = stream(tmp_path / "past", seed=9)
    one = shop(tmp_path / "one")
    other = Path(shutil.copytree(one, tmp_path / "other"))
    first, second = (learn(project, past, capsys) for project in (one, other))
    for done in (first, second):
        for item in done["challengers"]:  # type: ignore[attr-defined]
            item["gates"]["gates"] = [gate for gate in item["gates"]["gates"] if gate["name"] != "quick"]  # is measured
    assert first == second
    model = "models/payment_fraud/v1/model.lgb"
    if (one / model).exists():
        assert (one / model).read_bytes() == (other / model).read_bytes()
    assert (one / "rules").exists()
    assert sorted(path.name for path in (one / "rules").iterdir()) == sorted(
        path.name for path in (other / "rules").iterdir()
    )


def test_a_promotion_is_one_step_by_somebody(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project, past = shop(tmp_path / "shop"), stream(tmp_path / "past", seed=1)
    learn(project, past, capsys)
    promote = ["promote", str(project), "payment_fraud"]
    for more, words in (
        (["--approve", "--by", ""], "it is blank: name a person"),
        (
            ["--approve", "--back"],
            "say one step: --shadow, --request, --approve, --back or --retire, not --approve and",
        ),
        (["--request", "--despite", " "], "it is blank: say why"),
        (["--request", "--despite", "it is good", "--by", "ravi"], "waits for approval already: asha asked for it"),
        ([], "say one step"),
    ):
        capsys.readouterr()
        assert run([*promote, *more]) == WRONG_USE, more
        assert words in capsys.readouterr().err, more
    history = Registry.open(project, "payment_fraud").history
    assert [event.what for event in history] == ["added", "shadow", "request"]


def test_what_is_wrong_with_labels_and_settings_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project, past = shop(tmp_path / "shop"), stream(tmp_path / "past", seed=1)
    unknown = tmp_path / "unknown.ndjson"
    label = {"event_type": "payment", "event_id": "zz", "label": "fraud", "value": True, "known_at": "2026-01-02"}
    unknown.write_text(f"{json.dumps({**label, 'source': 'analyst'})}\nnot a label\n")
    capsys.readouterr()
    assert run(["backtest", str(project), *past[:2], "--labels", str(unknown)]) == OK
    assert "2 labels refused, or of events that did not come" in capsys.readouterr().err
    assert run(["check", str(project)]) == OK
    (project / "learning.toml").write_text("people = 3\n")
    capsys.readouterr()
    assert run(["check", str(project)]) == FOUND_PROBLEMS
    assert "learning.toml:1" in capsys.readouterr().err
