"""The registry of a model's versions: what may follow what, who may do it, and that no step leaves half of itself."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from parakh.errors import InputError, ProjectError
from parakh.learning.promotion.registry import CANDIDATE, CHAMPION, RETIRED, SHADOW, Registry, models_in
from parakh.learning.settings import read_learning
from parakh.project import writing
from parakh.project.project import Project

MODEL = Path(__file__).resolve().parents[2] / "examples" / "card-payments" / "models" / "payment_fraud.lgb"
NAME = "payment_fraud"
INPUTS = tuple(f"input_{number}" for number in range(29))
AT = 1_738_368_000_000_000


@dataclass(frozen=True)
class Found:
    """Gates that passed, or did not."""

    passed: bool

    def as_data(self) -> dict[str, Any]:
        return {"passed": self.passed, "gates": [{"name": "better", "passed": self.passed}]}


PASSED, FAILED = Found(True), Found(False)


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A project of one event type and the example's model, whose inputs are all fields here."""
    shop = tmp_path / "shop"
    for folder in ("events", "models"):
        (shop / folder).mkdir(parents=True)
    (shop / "parakh.toml").write_text('name = "shop"\n')
    fields = "".join(f"  {name}: number\n" for name in INPUTS)
    for event in ("payment", "transfer"):
        (shop / "events" / f"{event}.yaml").write_text(
            f"event: {event}\nid: id\ntime: at\nfields:\n  id: string\n  at: timestamp\n{fields}"
        )
    (shop / "models" / "payment_fraud.lgb").write_bytes(MODEL.read_bytes())
    inputs = "".join(f"  - {name}\n" for name in INPUTS)
    (shop / "models" / "payment_fraud.yaml").write_text(
        f"# The model that decides.\nmodel: payment_fraud\nfor: payment\nfile: payment_fraud.lgb\ninputs:\n{inputs}"
    )
    return shop


def put(shop: Path, number: int, changed: Mapping[str, Any] | None = None, *, model: str = NAME) -> None:
    """A version's folder as training writes it: the example's model under another number."""
    folder = shop / "models" / model / f"v{number}"
    folder.mkdir(parents=True)
    content = (shop / "models" / "payment_fraud.lgb").read_bytes() + b"\n" * number
    (folder / "model.lgb").write_bytes(content)
    card = {
        "model": model, "event_type": "payment", "kind": "lightgbm", "file": "model.lgb",
        "sha256": hashlib.sha256(content).hexdigest(), "inputs": list(INPUTS), **(changed or {}),
    }  # fmt: skip
    (folder / "card.json").write_text(json.dumps(card))


def in_shadow(shop: Path, number: int = 2) -> Registry:
    put(shop, number)
    found = Registry.open(shop, NAME)
    found.add(number, by="asha", at_us=AT)
    found.shadow(number, by="asha", at_us=AT)
    return found


def states(found: Registry) -> list[str]:
    return [each.state for each in found.versions]


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_model_that_was_there_is_version_1_and_is_not_moved(shop: Path) -> None:
    before = tree(shop)
    found = Registry.open(shop, NAME)
    assert states(found) == [CHAMPION]
    assert found.versions[0].file == "models/payment_fraud.lgb"
    assert (found.next_version(), found.event_type, found.card(1)) == (2, "payment", None)
    assert tree(shop) == before, "opening writes nothing"


def test_a_version_goes_from_candidate_to_champion_and_back(shop: Path) -> None:
    original = (shop / "models" / "payment_fraud.yaml").read_text()
    found = in_shadow(shop)
    assert states(found) == [CHAMPION, SHADOW]
    project = Project.load(shop)
    shadow = next(model for model in project.definitions.models if model.name == "payment_fraud_v2")
    assert (shadow.mode.value, shadow.file, shadow.event_type) == ("shadow", "payment_fraud/v2/model.lgb", "payment")

    found.request(2, by="asha", at_us=AT, gates=PASSED)
    found.approve(2, by="ravi", at_us=AT + 1, why="better on February")
    assert states(found) == [RETIRED, CHAMPION]
    edited = (shop / "models" / "payment_fraud.yaml").read_text()
    assert edited == original.replace("file: payment_fraud.lgb", "file: payment_fraud/v2/model.lgb")
    assert not (shop / "models" / "payment_fraud_v2.yaml").exists()
    assert [model.name for model in Project.load(shop).definitions.models] == [NAME]

    again = Registry.open(shop, NAME)
    assert [event.what for event in again.history] == ["adopted", "added", "shadow", "request", "approved"]
    assert again.history[-1].as_data() == {
        "at": "2025-02-01T00:00:00.000001Z", "who": "ravi", "what": "approved", "version": 2,
        "why": "better on February", "replaced": 1,
    }  # fmt: skip
    back = again.roll_back(by="asha", at_us=AT + 2)
    assert back is not None
    assert back.number == 1
    assert (shop / "models" / "payment_fraud.yaml").read_text() == original
    assert states(Registry.open(shop, NAME)) == [CHAMPION, RETIRED]
    with pytest.raises(InputError, match="no champion before"):
        again.roll_back(by="asha", at_us=AT + 3)


def test_from_the_first_champion_the_way_back_is_to_rules_alone(shop: Path) -> None:
    (shop / "models" / "payment_fraud.yaml").unlink()
    policies = shop / "policies"
    policies.mkdir()
    before = "policy: payment   # asked by the shop\nfor: payment\notherwise: allow\n"
    (policies / "payment.yaml").write_text(before)
    found = in_shadow(shop, 1)
    found.request(1, by="asha", at_us=AT, gates=PASSED)
    found.approve(1, by="ravi", at_us=AT + 1)
    bands = before.replace("otherwise", f"score: {NAME}\nbands:\n  block: score >= 0.9\notherwise")
    (policies / "payment.yaml").write_text(bands)
    assert Project.load(shop).definitions.policies[0].score == NAME

    assert Registry.open(shop, NAME).roll_back(by="ravi", at_us=AT + 2, why="blocks too many") is None
    assert (policies / "payment.yaml").read_text() == before
    again = Registry.open(shop, NAME)
    assert (states(again), again.champion) == ([RETIRED], None)
    assert again.history[-1].as_data() == {
        "at": "2025-02-01T00:00:00.000002Z", "who": "ravi", "what": "back", "version": 0,
        "why": "blocks too many", "replaced": 1,
    }  # fmt: skip
    with pytest.raises(InputError, match="no champion before"):
        again.roll_back(by="ravi", at_us=AT + 3)
    # And forth again, with the next version.
    second = in_shadow(shop, 2)
    second.request(2, by="asha", at_us=AT + 4, gates=PASSED)
    second.approve(2, by="ravi", at_us=AT + 5)
    assert states(second) == [RETIRED, CHAMPION]


def test_only_the_next_state_follows(shop: Path) -> None:
    put(shop, 2)
    found = Registry.open(shop, NAME)
    with pytest.raises(InputError, match="no version 2; its versions are 1"):
        found.shadow(2, by="asha", at_us=AT)
    found.add(2, by="asha", at_us=AT)
    for refused in (
        lambda: found.request(2, by="asha", at_us=AT, gates=PASSED),
        lambda: found.approve(2, by="ravi", at_us=AT),
        lambda: found.add(2, by="asha", at_us=AT),
        lambda: found.retire(1, by="asha", at_us=AT),
    ):
        before = tree(shop)
        with pytest.raises(InputError):
            refused()
        assert tree(shop) == before
    found.retire(2, by="asha", at_us=AT, why="trained on the wrong month")
    with pytest.raises(InputError, match="retired and cannot be put into shadow"):
        found.shadow(2, by="asha", at_us=AT)
    assert (found.next_version(), states(found)) == (3, [CHAMPION, RETIRED])


def test_a_second_person_approves_unless_the_project_says_otherwise(shop: Path) -> None:
    found = in_shadow(shop)
    with pytest.raises(InputError, match="nobody has asked"):
        found.approve(2, by="ravi", at_us=AT)
    found.request(2, by="Asha@example.com", at_us=AT, gates=PASSED)
    with pytest.raises(InputError, match="a second person approves"):
        found.approve(2, by=" asha@example.COM", at_us=AT)
    (shop / "learning.toml").write_text("people = 1\n")
    found.approve(2, by="asha@example.com", at_us=AT)
    assert found.champion is not None
    assert found.champion.number == 2


def test_failed_gates_need_a_reason_which_is_kept(shop: Path) -> None:
    found = in_shadow(shop)
    with pytest.raises(InputError, match=r"fails its gates \(better\)"):
        found.request(2, by="asha", at_us=AT, gates=FAILED)
    with pytest.raises(InputError, match="not put to the gates"):
        found.request(2, by="asha", at_us=AT)
    found.request(2, by="asha", at_us=AT, gates=FAILED, despite="the old one misses the new scheme")
    asked = Registry.open(shop, NAME).request_open
    assert asked is not None
    assert asked.despite == "the old one misses the new scheme"
    assert asked.gates == FAILED.as_data()


def test_a_request_counts_against_the_champion_that_it_was_measured_against(shop: Path) -> None:
    found = in_shadow(shop)
    put(shop, 3)
    found.add(3, by="asha", at_us=AT)
    found.shadow(3, by="asha", at_us=AT)
    found.request(3, by="asha", at_us=AT, gates=PASSED)
    found.request(2, by="asha", at_us=AT, gates=PASSED)
    found.approve(2, by="ravi", at_us=AT)
    with pytest.raises(InputError, match="nobody has asked"):
        found.approve(3, by="ravi", at_us=AT)
    found.request(3, by="asha", at_us=AT, gates=PASSED)
    found.approve(3, by="ravi", at_us=AT)
    assert [found.roll_back(by="ravi", at_us=AT).number for _ in range(2)] == [2, 1]


def test_a_first_model_gets_its_definition(shop: Path) -> None:
    put(shop, 1, model="second")
    found = Registry.open(shop, "second")
    assert (found.versions, found.next_version()) == ((), 2), "the folder was begun"
    found.add(1, by="asha", at_us=AT)
    found.shadow(1, by="asha", at_us=AT)
    assert models_in(Project.load(shop)) == (NAME, "second")
    found.request(1, by="asha", at_us=AT, gates=PASSED)
    found.approve(1, by="ravi", at_us=AT)
    project = Project.load(shop)
    assert [model.name for model in project.definitions.models] == [NAME, "second"]
    assert models_in(project) == (NAME, "second")


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"model": "other"}, "is of model other"),
        ({"sha256": "0" * 64}, "is not what version 2 was"),
        ({"event_type": "transfer"}, "scores transfer"),
        ({"file": "../../payment_fraud.lgb"}, "names a file elsewhere"),
        ({"file": "none.lgb"}, "cannot be read"),
    ],
)
def test_a_card_that_does_not_fit_is_refused(shop: Path, changed: dict[str, Any], told: str) -> None:
    put(shop, 2, changed)
    with pytest.raises(InputError, match=told):
        Registry.open(shop, NAME).add(2, by="asha", at_us=AT)
    assert not (shop / "models" / NAME / "registry.json").exists()


def test_a_version_that_the_project_cannot_run_leaves_everything_as_it_was(shop: Path) -> None:
    put(shop, 2, {"inputs": [*INPUTS[:-1], "no_such_signal"]})
    found = Registry.open(shop, NAME)
    found.add(2, by="asha", at_us=AT)
    before = tree(shop)
    with pytest.raises(ProjectError):
        found.shadow(2, by="asha", at_us=AT)
    assert tree(shop) == before
    assert states(Registry.open(shop, NAME)) == [CHAMPION, CANDIDATE]


def test_edits_by_hand_are_told_and_refused(shop: Path) -> None:
    found = in_shadow(shop)
    model, definition = shop / "models/payment_fraud/v2/model.lgb", shop / "models/payment_fraud_v2.yaml"
    content, text = model.read_bytes(), definition.read_text()
    model.write_bytes(content + b"\n")
    with pytest.raises(InputError, match="is not what version 2 was when it came in: bring the file back"):
        Registry.open(shop, NAME)
    with pytest.raises(InputError, match="is not what version 2"):
        found.request(2, by="asha", at_us=AT, gates=PASSED)
    model.write_bytes(content)
    definition.write_text(text.replace("mode: shadow", "mode: live"))
    with pytest.raises(InputError, match=r"is live, not shadow.*undo the edit"):
        Registry.open(shop, NAME)
    definition.unlink()
    with pytest.raises(InputError, match=r"bring models/payment_fraud_v2.yaml back"):
        Registry.open(shop, NAME)
    definition.write_text(text)
    first = shop / "models/payment_fraud.yaml"
    first.write_text(first.read_text().replace("file: payment_fraud.lgb", "file: payment_fraud/v2/model.lgb"))
    with pytest.raises(InputError, match=r"reads models/payment_fraud/v2/model.lgb instead of"):
        Registry.open(shop, NAME)


@pytest.mark.parametrize("content", ["", "[]", '{"format": "parakh-registry", "version": 1}', "{"])
def test_a_broken_registry_is_told(shop: Path, content: str) -> None:
    (shop / "models" / NAME).mkdir()
    (shop / "models" / NAME / "registry.json").write_text(content)
    with pytest.raises(InputError, match=r"registry.json"):
        Registry.open(shop, NAME)


def test_a_crash_between_registry_and_definitions_is_made_good(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = in_shadow(shop)
    found.request(2, by="asha", at_us=AT, gates=PASSED)

    write = writing.write_whole

    def crash(path: Path, content: bytes) -> None:
        if path.name == "payment_fraud.yaml":
            raise KeyboardInterrupt
        write(path, content)

    with monkeypatch.context() as patched:
        patched.setattr(writing, "write_whole", crash)
        with pytest.raises(KeyboardInterrupt):
            found.approve(2, by="ravi", at_us=AT)
    assert (shop / "models/payment_fraud_v2.yaml").exists(), "the definitions were not written yet"
    again = Registry.open(shop, NAME)
    assert states(again) == [RETIRED, CHAMPION]
    assert "v2/model.lgb" in (shop / "models/payment_fraud.yaml").read_text()
    assert not (shop / "models/payment_fraud_v2.yaml").exists()
    assert not (shop / writing.JOURNAL).exists()


def _claim(shop: Path, gate: Any, told: Any) -> None:
    found = Registry.open(shop, NAME)
    gate.wait()
    told.put([found.claim() for _ in range(20)])


def test_two_trainings_at_once_get_folders_of_their_own(shop: Path) -> None:
    """Each has its registry open before either claims."""
    context = multiprocessing.get_context("fork")
    gate, told = context.Barrier(2), context.Queue()
    processes = [context.Process(target=_claim, args=(shop, gate, told)) for _ in range(2)]
    for process in processes:
        process.start()
    numbers = [number for _ in processes for number in told.get(timeout=30)]
    for process in processes:
        process.join(timeout=30)
    assert sorted(numbers) == list(range(2, 42))


def _add(shop: Path, number: int) -> None:
    Registry.open(shop, NAME).add(number, by=f"trainer {number}", at_us=AT + number)


def test_two_processes_at_once_lose_nothing(shop: Path) -> None:
    numbers = range(2, 8)
    for number in numbers:
        put(shop, number)
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_add, args=(shop, number)) for number in numbers]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * len(processes)
    found = Registry.open(shop, NAME)
    assert sorted(each.number for each in found.versions) == [1, *numbers]
    assert sorted(event.what for event in found.history) == ["added"] * len(processes) + ["adopted"]


def test_who_must_be_said(shop: Path) -> None:
    put(shop, 2)
    for who in ("", "  ", "a\nb"):
        with pytest.raises(InputError, match="say who"):
            Registry.open(shop, NAME).add(2, by=who, at_us=AT)
    with pytest.raises(InputError, match="not the name of a model"):
        Registry.open(shop, "../models")


@pytest.mark.parametrize(
    ("name", "event_type", "said"),
    [
        ("mod\u00e9l", "payment", "is not the name of a model: letters, digits and _, at most 50"),
        ("a" * 51, "payment", "is not the name of a model"),
        ("2nd", "payment", "is not the name of a model"),
        ("select", "payment", "'select' is a word of SQL and cannot name a model"),
        ("input_3", "payment", "input_3 is already a field or signal of payment: say another name"),
        (NAME, "transfer", "payment_fraud scores payment, not transfer: say another name"),
        (NAME, "refund", "the project has no event type 'refund': is the set one of this project?"),
    ],
)
def test_a_name_that_no_version_could_have_is_refused(shop: Path, name: str, event_type: str, said: str) -> None:
    with pytest.raises(InputError, match=re.escape(said)):
        Registry.open(shop, name).expect_scores(event_type)


def test_settings_are_read_with_places(tmp_path: Path) -> None:
    assert read_learning(tmp_path).gates.metric == "average_precision"
    (tmp_path / "learning.toml").write_text(
        'label = "fraud"\nreview_capacity = 250\nfriction_limit = "0.5%"\npeople = 1\n'
        '[costs]\nreview = 3.5\nblock_share = "10%"\nfraud_share = 1.0\n[gates]\nmetric = "roc_auc"\nlatency = "50us"\n'
    )
    found = read_learning(tmp_path)
    assert (found.review_capacity, found.friction_limit, found.people) == (250.0, 0.005, 1)
    assert (found.costs.review, found.costs.block_share, found.costs.fraud_share) == (3.5, 0.1, 1.0)
    assert (found.gates.metric, found.gates.latency_us) == ("roc_auc", 50.0)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("people = 3\n", "`people` of learning.toml cannot be '3' (1:10) | one of 0, 1, 2"),
        ("peple = 1\n", "unknown key 'peple' in learning.toml (1:1) | did you mean people?"),
        ("[gate]\npositives = 3\n", "unknown table [gate] in learning.toml (1:2) | did you mean gates?"),
        ("[limits]\nstate = 3\n", "unknown table [limits] in learning.toml (1:2) | its tables are [costs], [gates]"),
        ("[label]\na = 3\n", "`label` of learning.toml must be one value, not a mapping (1:1) | "),
        ("[costs]\nreview = -1\n", "`review` must be a number, 0 or more (2:10) | such as review = 2"),
        ('[costs]\nreview = "2%"\n', "`review` must be a number, 0 or more (2:11) | such as review = 2"),
        (
            "[costs]\nreview_stops = 90\n",
            '`review_stops` must be a share, at most 100% (2:16) | write review_stops = "90%" if it is percent',
        ),
        (
            '[costs]\nreview_stops = "100"\n',
            '`review_stops` must be a share, at most 100% (2:17) | write review_stops = "100%" if it is percent',
        ),
        (
            "[costs]\nblock_share = true\n",
            '`block_share` must be a share of the amount (2:15) | such as block_share = "5%"',
        ),
        (
            "friction_limit = 2\n",
            '`friction_limit` must be a share, at most 100% (1:18) | write friction_limit = "2%" if it is percent',
        ),
        (
            'friction_limit = "200%"\n',
            '`friction_limit` must be a share, at most 100% (1:19) | such as friction_limit = "2%"',
        ),
        (
            "review_capacity = nan\n",
            "`review_capacity` must be a number, 1 or more (1:19) | such as review_capacity = 100",
        ),
        (
            "review_capacity = 0\n",
            "`review_capacity` must be a number, 1 or more (1:19) | such as review_capacity = 100",
        ),
        ("[gates]\npositives = 30.0\n", "`positives` must be a whole number (2:13) | such as positives = 30"),
        ('[gates]\nstability = "25%"\n', "`stability` must be a number, 0 or more (2:14) | such as stability = 0.25"),
        ("= 1", "not TOML: Invalid statement (1:1) | write key = value; a text needs quotes"),
    ],
)
def test_mistakes_in_settings_are_told(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "learning.toml").write_text(text)
    with pytest.raises(ProjectError, match=r"learning.toml:") as caught:
        read_learning(tmp_path)
    (problem,) = caught.value.problems
    assert problem.place is not None
    assert f"{problem.message} ({problem.place.line}:{problem.place.column}) | {problem.hint}" == told


def test_a_quoted_number_is_a_number(tmp_path: Path) -> None:
    (tmp_path / "learning.toml").write_text('review_capacity = "100"\n[costs]\nreview_stops = "100%"\n')
    found = read_learning(tmp_path)
    assert (found.review_capacity, found.costs.review_stops) == (100.0, 1.0)
