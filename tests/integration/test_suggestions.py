"""`parakh suggest` from events to a rule that decides: on a simulated stream, and on the handbook's data.

The handbook's authors put frauds in by two scenarios that a rule can tell: every amount above 220, and every payment at
a compromised terminal for 28 days. The search is told of neither; its project has no rules. The data is read from
PARAKH_DATA, or from ../shared/data beside the project.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parakh.cli.main import run
from parakh.decisions.definition import Policy
from parakh.decisions.replay import Source
from parakh.errors import InputError
from parakh.learning.history import History, make_history
from parakh.learning.measures.costs import Costs
from parakh.learning.past import Files
from parakh.learning.suggesting.evidence import Search
from parakh.learning.suggesting.proposals import accept, propose, read_memory, reject
from parakh.learning.suggesting.suggestions import facts_of, suggest
from parakh.learning.suggesting.terms import Condition, Term
from parakh.project.project import Project
from parakh.project.rule_tests import run_rule_tests
from parakh.rules.definition import Mode

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("PARAKH_DATA", ROOT.parent / "shared" / "data")) / "fraud-handbook"
PAYMENTS = DATA / "transactions_2018-06-11_2018-08-14.parquet"
DAY_US = 86_400_000_000


def without_rules(folder: Path) -> Project:
    """The handbook's project as its authors' features alone leave it."""
    shutil.copytree(ROOT / "examples" / "fraud-handbook", folder)
    shutil.rmtree(folder / "rules")
    return Project.load(folder)


def history_of(project: Project, payments: Path) -> History:
    past = Files(sources=(Source("payment", str(payments)),), label_delay_us=7 * DAY_US)
    return make_history(project, past, inputs=None)


# -- the handbook -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def handbook(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, History]:
    if not PAYMENTS.exists():
        pytest.skip(f"the handbook's data is not at {DATA} (set PARAKH_DATA)")
    project = without_rules(tmp_path_factory.mktemp("handbook") / "project")
    return project, history_of(project, PAYMENTS)


@pytest.mark.data
def test_the_handbooks_scenarios_are_found(handbook: tuple[Project, History]) -> None:
    project, history = handbook
    found = suggest(facts_of(history, project), Search(), Costs()).suggestions
    first = found[0]
    [limit] = first.condition.terms
    assert limit.name == "amount"
    assert limit.sign == ">"
    assert isinstance(limit.value, float)
    assert 215 <= limit.value <= 225
    assert first.precision.value >= 0.95
    assert first.frauds >= 300
    terminals = [item for item in found if any("terminal.fraud_share" in name for name in item.condition.names)]
    assert terminals, [str(item.condition) for item in found]
    best = max(terminals, key=lambda item: item.frauds)
    assert best.precision.value >= 0.6
    assert best.recall >= 0.3
    assert all(len(item.condition.terms) <= 3 for item in found)


@pytest.mark.data
@pytest.mark.parametrize("precision", [0.5, 0.02])
def test_shuffled_labels_suggest_nothing(handbook: tuple[Project, History], precision: float) -> None:
    project, history = handbook
    facts = facts_of(history, project)
    for seed in range(4):
        fraud, rows = facts.fraud.copy(), np.flatnonzero(facts.matured)
        fraud[rows] = np.random.default_rng(seed).permutation(fraud[rows])
        shuffled = replace(facts, fraud=fraud, known_at_us=np.where(fraud, facts.time_us, facts.known_at_us))
        assert not suggest(shuffled, Search(precision=precision), Costs()).suggestions, f"seed {seed}"


# -- a small stream ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20,000 payments of 40 days; nearly every one above 180 is a fraud."""
    rng = np.random.default_rng(1)
    n = 20_000
    seconds = np.sort(rng.integers(0, 40 * 86_400, n))
    amount = np.round(rng.lognormal(3.5, 1.0, n), 2)
    fraud = ((amount > 180) & (rng.random(n) < 0.95)) | (rng.random(n) < 0.003)
    path = tmp_path_factory.mktemp("small") / "payment.csv"
    times = np.datetime64("2025-03-01") + seconds.astype("timedelta64[s]")
    rows = zip(range(n), times.tolist(), rng.integers(0, 300, n), rng.integers(0, 100, n), amount, fraud, strict=True)
    lines = [f"{i},{at:%Y-%m-%d %H:%M:%S},{c},{t},{a},{int(f)}" for i, at, c, t, a, f in rows]
    header = "TRANSACTION_ID,TX_DATETIME,CUSTOMER_ID,TERMINAL_ID,TX_AMOUNT,TX_FRAUD"
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def suggested(folder: Path, small: Path) -> Project:
    project = without_rules(folder)
    history = history_of(project, small)
    found = suggest(facts_of(history, project), Search(), Costs())
    assert propose(project, found, event_type="payment", currency="EUR") == ["suggested_amount"]
    return Project.load(folder)


def test_a_suggestion_is_a_rule_in_shadow_that_hits_where_it_was_counted(tmp_path: Path, small: Path) -> None:
    project = suggested(tmp_path / "project", small)
    [rule] = project.definitions.rules
    assert (rule.name, rule.when, rule.mode) == ("suggested_amount", "amount > 180", Mode.SHADOW)
    assert {result.passed for result in run_rule_tests(project)} == {True}
    history = history_of(project, small)
    amount = history.inputs["amount"]
    assert np.array_equal(history.hit(0), Condition((Term("amount", ">", 180.0),)).holds(history.inputs))
    assert not (history.outcome != 0).any(), "a rule in shadow decides nothing"
    [entry] = read_memory(tmp_path / "project").entries
    late = history.matured & (history.time_us >= history.time_us[history.matured].max() - 11 * DAY_US)
    assert entry.state == "proposed"
    assert entry.evidence["precision"]["value"] > 0.9
    assert entry.evidence["hits"] <= int((amount[late] > 180).sum()) + 60
    again = suggest(facts_of(history, project), Search(), Costs())
    assert not again.suggestions


def test_what_is_accepted_decides_and_comments_stay(tmp_path: Path, small: Path) -> None:
    folder = tmp_path / "project"
    project = suggested(folder, small)
    file = folder / "rules" / "suggested.yaml"
    file.write_text(file.read_text().replace("mode: shadow", "mode: shadow  # since the meeting"))
    entry = accept(project.reload(), "suggested_amount", by="asha", at_us=1_750_000_000_000_000)
    assert (entry.state, entry.by, entry.at) == ("accepted", "asha", "2025-06-15T15:06:40Z")
    assert "mode: live  # since the meeting\n" in file.read_text()
    [rule] = Project.load(folder).definitions.rules
    assert rule.mode is Mode.LIVE
    with pytest.raises(InputError, match="accepted by asha at 2025-06-15"):
        reject(Project.load(folder), "suggested_amount", by="ravi", at_us=0)


def test_what_is_rejected_goes_and_is_not_suggested_again(tmp_path: Path, small: Path) -> None:
    folder = tmp_path / "project"
    project = suggested(folder, small)
    other = "# ours\nrule: night\nfor: payment\nwhen: during_night and amount > 400\nthen: review\n"
    (folder / "rules" / "suggested.yaml").write_text(f"{(folder / 'rules' / 'suggested.yaml').read_text()}---\n{other}")
    reject(project.reload(), "suggested_amount", by="asha", at_us=0)
    assert (folder / "rules" / "suggested.yaml").read_text() == other
    project = Project.load(folder)
    memory = read_memory(folder)
    found = suggest(
        facts_of(history_of(project, small), project), Search(), Costs(), rejected=memory.rejected("payment")
    )
    assert not found.suggestions
    assert any("the rejected amount > 180" in why for _, why in found.fell)


def test_the_same_past_gives_the_same_files(tmp_path: Path, small: Path) -> None:
    for name in ("one", "two"):
        suggested(tmp_path / name, small)
    for file in ("rules/suggested.yaml", "suggestions.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def told(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    code = run(["suggest", *map(str, arguments)])
    said = capsys.readouterr()
    assert "Traceback" not in said.out + said.err
    return code, said.out, said.err


def test_the_verb_suggests_accepts_and_refuses(tmp_path: Path, small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "project"
    without_rules(folder)
    events = ("--events", f"payment={small}")
    code, out, _ = told(capsys, folder, *events, "--dry-run", "--json")
    data: dict[str, Any] = json.loads(out)
    assert (code, data["file"], data["suggestions"][0]["when"]) == (0, None, "amount > 180")
    assert not (folder / "rules").exists()
    code, out, _ = told(capsys, folder, *events)
    assert code == 0
    assert "wrote rules/suggested.yaml: 1 rule in shadow" in out
    code, out, _ = told(capsys, folder, *events)
    assert "hits nearly as rule suggested_amount" in out.replace("\n", " ")
    assert "nothing to suggest" in out
    for arguments, said in (
        (("--accept", "suggested_amount"), "who says so"),
        (("--accept", "suggested_amuont", "--by", "asha"), "did you mean suggested_amount"),
        (("--accept", "a", "--reject", "b", "--by", "asha"), "at a time"),
        ((), "where do the events come from"),
        ((*events, "--maturity", "80d"), "no event is matured"),
        ((*events, "--maturity", "30d"), "at least"),
        ((*events, "--out", "../elsewhere.yaml"), "no file of rules"),
        ((*events, "--label", "chargeback"), "chargeback"),
    ):
        if "--out" in arguments:
            (folder / "rules" / "suggested.yaml").unlink()
        code, _, err = told(capsys, folder, *arguments)
        assert code == 2
        assert said in err.replace("\n", " "), err
    (folder / "suggestions.json").write_text("{}")
    code, _, err = told(capsys, folder, *events)
    assert (code, "suggestions.json" in err) == (2, True)


def test_a_rule_past_its_time_is_named(tmp_path: Path, small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "project"
    suggested(folder, small)
    memory = json.loads((folder / "suggestions.json").read_text())
    memory[0]["expires"] = "2025-03-20T00:00:00Z"
    (folder / "suggestions.json").write_text(json.dumps(memory))
    code, out, _ = told(capsys, folder, "--events", f"payment={small}")
    assert code == 0
    assert "expired suggested_amount expired on 2025-03-20" in out


def test_a_project_without_a_policy_is_told_so(tmp_path: Path, small: Path) -> None:
    project = without_rules(tmp_path / "project")
    bare = Project.of(replace(project.definitions, policies=()))
    assert isinstance(project.definitions.policies[0], Policy)
    with pytest.raises(InputError, match="neither a policy nor rules"):
        history_of(bare, small)
