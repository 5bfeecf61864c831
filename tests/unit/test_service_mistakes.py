"""Which events are decided alone, or not at all, after deciding failed by a mistake of ours."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from parakh.service.desk import Item
from parakh.service.mistakes import MOST, Mistakes
from parakh.service.problems import Problem


def items(*names: str) -> list[Item]:
    return [Item(0, name.encode()) for name in names]


def runs(mistakes: Mistakes, events: list[Item]) -> list[str]:
    return ["".join(item.body.decode() for item in run) for run in mistakes.apart(events)]


def test_suspected_events_are_alone_and_in_their_order(tmp_path: Path) -> None:
    mistakes = Mistakes(tmp_path / "m.json")
    assert not mistakes.known
    mistakes.failed(items("c", "f"))
    again = Mistakes(tmp_path / "m.json")
    assert runs(again, items(*"abcdefgh")) == ["ab", "c", "de", "f", "gh"]
    assert runs(again, items("c", "f", "f")) == ["c", "f", "f"]


def test_what_fails_alone_again_is_refused_and_the_rest_is_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    Mistakes(path).failed(items("a", "b", "c"))
    second = Mistakes(path)
    second.decided(items("a"))
    second.decided(items("x", "b"))  # not alone: says nothing of b
    second.failed(items("b"))
    third = Mistakes(path)
    refused: list[Item] = []
    third.on_refused = refused.append
    events = items("a", "b", "c", "d")
    assert runs(third, events) == ["a", "c", "d"]
    assert refused == [events[1]]
    told = events[1].answer
    assert isinstance(told, Problem)
    assert (told.code, told.status) == ("internal", 500)
    said = json.loads(told.body)
    assert "parakh 0." in said["detail"]
    assert "upgrade" in said["hint"]
    third.decided(items("c"))
    assert list(third.known.values()) == [True]
    assert path.exists()


def test_one_event_is_suspected_first_and_refused_the_second_time(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    Mistakes(path).failed(items("a"))
    assert runs(Mistakes(path), items("a", "b")) == ["a", "b"]
    Mistakes(path).failed(items("a"))
    assert runs(Mistakes(path), items("a", "b")) == ["b"]


def test_a_list_without_anything_is_no_file(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    mistakes = Mistakes(path)
    mistakes.failed(items("a", "b"))
    for name in "ab":
        assert path.exists()
        mistakes.decided(items(name))
    assert not mistakes.known
    assert not path.exists()


def test_another_version_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    Mistakes(path, version="1.0").failed(items("a"))
    assert Mistakes(path, version="1.0").known
    assert not Mistakes(path, version="1.1").known
    assert not path.exists()


def test_it_is_bounded_and_keeps_what_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    mistakes = Mistakes(path)
    mistakes.failed(items("bad"))
    mistakes.failed(items("bad"))
    for batch in range(30):
        mistakes.failed(items(*(f"{batch}.{number}" for number in range(64))))
    kept = Mistakes(path)
    assert len(kept.known) == MOST == len(mistakes.known)
    assert runs(kept, items("bad", "29.0", "0.0", "0.1")) == ["29.0", "0.00.1"]
    assert path.stat().st_size < 70 * MOST


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"version": 1}', b"\xff"])
def test_a_file_that_cannot_be_read_is_none(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    path.write_bytes(content)
    mistakes = Mistakes(path)
    assert not mistakes.known
    mistakes.failed(items("a"))
    assert Mistakes(path).known


def test_no_body_is_written_and_a_full_disk_is_survived(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    Mistakes(path).failed(items("a card's number"))
    assert b"card" not in path.read_bytes()
    assert [file.name for file in tmp_path.iterdir()] == ["m.json"]
    gone = Mistakes(tmp_path / "nowhere" / "m.json")
    gone.failed(items("a"))
    assert gone.known
