"""Suggested rules and what is remembered of them change together: through a crash, and by two processes at once."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import pytest

from parakh.errors import InputError
from parakh.learning.suggesting.evidence import Range, Suggested, Suggestion
from parakh.learning.suggesting.proposals import accept, propose, read_memory, reject
from parakh.learning.suggesting.terms import Condition, Term
from parakh.project import writing
from parakh.project.project import Project
from parakh.rules.definition import Mode, Outcome

AT = 1_780_000_000_000_000


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    shop = tmp_path / "shop"
    (shop / "events").mkdir(parents=True)
    (shop / "parakh.toml").write_text('name = "shop"\ncurrency = "EUR"\n')
    (shop / "events" / "payment.yaml").write_text(
        "event: payment\nid: id\ntime: at\nfields:\n  id: string\n  at: timestamp\n  amount: money\n"
    )
    return shop


def found(*limits: int) -> Suggested:
    """A suggestion for each limit: amounts above it."""
    some = Range(0.9, 0.8, 1.0)
    suggestions = tuple(
        Suggestion(
            name=f"suggested_{limit}", condition=Condition((Term("amount", ">", float(limit)),)), then=Outcome.REVIEW,
            precision=some, recall=0.5, frauds=9, hits=10, hits_a_day=1.0, amount=some, saved=some,
            whole_precision=0.9, alone_frauds=9, alone_amount=90.0, mined_precision=0.9, chance=1e-9,
            expires_us=AT, examples=(), tests=(),
        )
        for limit in limits
    )  # fmt: skip
    return Suggested(
        suggestions=suggestions, mined=(AT, AT), judged=(AT, AT), last_us=AT, passed_frauds=9, tried=9, fell=()
    )


def put(shop: Path, *limits: int) -> list[str]:
    return propose(Project.load(shop), found(*limits), event_type="payment", currency="EUR")


def modes(shop: Path) -> dict[str, Mode]:
    return {rule.name: rule.mode for rule in Project.load(shop).definitions.rules}


def told(shop: Path) -> dict[str, str]:
    return {entry.name: entry.state for entry in read_memory(shop).entries}


@pytest.mark.parametrize("broken", ["suggested.yaml", "suggestions.json"])
def test_a_crash_between_the_two_files_is_made_good(shop: Path, broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rule was live and remembered as waiting, for ever."""
    put(shop, 10)
    write = writing.write_whole

    def crash(path: Path, content: bytes) -> None:
        if path.name == broken:
            raise KeyboardInterrupt
        write(path, content)

    with monkeypatch.context() as patched:
        patched.setattr(writing, "write_whole", crash)
        with pytest.raises(KeyboardInterrupt):
            accept(Project.load(shop), "suggested_10", by="asha", at_us=AT)
    assert told(shop) == {"suggested_10": "accepted"}
    assert modes(shop) == {"suggested_10": Mode.LIVE}
    assert not (shop / writing.JOURNAL).exists()
    with pytest.raises(InputError, match="accepted by asha"):
        accept(Project.load(shop), "suggested_10", by="ravi", at_us=AT)


def test_what_was_read_before_another_wrote_does_not_undo_it(shop: Path) -> None:
    """`learn --every` has the project from before somebody accepted."""
    put(shop, 10, 20)
    before = Project.load(shop)
    accept(Project.load(shop), "suggested_10", by="asha", at_us=AT)
    reject(Project.load(shop), "suggested_20", by="asha", at_us=AT)
    assert propose(before, found(10, 20, 30), event_type="payment", currency="EUR") == ["suggested_30"]
    assert modes(shop) == {"suggested_10": Mode.LIVE, "suggested_30": Mode.SHADOW}
    assert told(shop) == {"suggested_10": "accepted", "suggested_20": "rejected", "suggested_30": "proposed"}


def _propose(shop: Path, limit: int) -> None:
    put(shop, limit)


def _accept(shop: Path, limit: int) -> None:
    accept(Project.load(shop), f"suggested_{limit}", by="asha", at_us=AT)


def test_processes_at_once_lose_nothing(shop: Path) -> None:
    put(shop, 10, 20, 30)
    context = multiprocessing.get_context("fork")
    tasks = [(_accept, 10), (_propose, 40), (_accept, 20), (_propose, 50), (_accept, 30), (_propose, 60)]
    processes = [context.Process(target=task, args=(shop, limit)) for task, limit in tasks]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=60)
    assert [process.exitcode for process in processes] == [0] * len(processes)
    live = {f"suggested_{limit}": Mode.LIVE for limit in (10, 20, 30)}
    assert modes(shop) == live | {f"suggested_{limit}": Mode.SHADOW for limit in (40, 50, 60)}
    assert sorted(told(shop).values()) == ["accepted"] * 3 + ["proposed"] * 3


def test_a_journal_that_cannot_be_read_is_told(shop: Path) -> None:
    put(shop, 10)
    (shop / writing.JOURNAL).write_text("{")
    with pytest.raises(InputError, match=r"\.unfinished\.json cannot be read .*: look at what it holds"):
        read_memory(shop)
    (shop / writing.JOURNAL).write_text(json.dumps({"rules/suggested.yaml": None}))
    read_memory(shop)
    assert modes(shop) == {}
