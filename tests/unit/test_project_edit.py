"""Edits of a project's files by programs: what changes is what was asked for, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from parakh.errors import InputError, ProjectError
from parakh.project.edit import Value, defined_in, proposed, replace_files, set_key
from parakh.project.project import Project

POLICY = b"""# Payments.
rule: a
for: payment
when: x > 1  # "bands: no" is said here
then: block
---
# the policy
policy: payment   # ours
for: payment
bands:
  # never more than this
  block: score >= 0.90  # agreed
  # to people
  review: "score >= 0.60"

  challenge: |
    score >= 0.30
otherwise: allow # end
---
rule: b
"""
BANDS = {"block": "score >= 0.8", "review": "score >= 0.60", "challenge": "score >= 0.30"}


def edited(value: Value, content: bytes = POLICY, key: str = "bands", after: str = "") -> str:
    return set_key(content, "p.yaml", "policy", "payment", key, value, after=after).decode()


def test_one_threshold_changes_one_line() -> None:
    text = POLICY.decode()
    assert edited(BANDS) == text.replace("score >= 0.90", "score >= 0.8")
    assert edited({**BANDS, "block": "score >= 0.90"}) == text
    assert edited({**BANDS, "block": "score >= 0.90", "review": "score >= 0.5"}) == text.replace(
        '"score >= 0.60"', "score >= 0.5"
    )


def test_bands_come_and_go_with_the_comments_above_them() -> None:
    less = edited({"block": "score >= 0.90", "challenge": "score >= 0.30"})
    assert "to people" not in less
    assert "# never more than this\n  block: score >= 0.90  # agreed\n" in less
    assert (
        edited(None).split("---\n")[1]
        == "# the policy\npolicy: payment   # ours\nfor: payment\notherwise: allow # end\n"
    )
    flow = b"policy: payment\nfor: payment\nbands: {block: score >= 0.9}  # why\n"
    assert edited({"block": "score >= 0.9", "review": "a in (1, 2)"}, flow).endswith(
        "bands: {block: score >= 0.9, review: 'a in (1, 2)'}  # why\n"
    )


def test_new_keys_stand_where_they_are_put() -> None:
    text = edited("payment_fraud", key="score", after="for")
    assert "for: payment\nscore: payment_fraud\nbands:" in text
    last = edited("allow me", b"policy: payment\nfor: payment", key="description")
    assert last == "policy: payment\nfor: payment\ndescription: allow me\n"
    assert edited({"block": "score >= 0.5"}, b"policy: payment\nfor: payment\n").endswith(
        "bands:\n  block: score >= 0.5\n"
    )


@pytest.mark.parametrize("flow", [True, False])
def test_lists_keep_what_stays(flow: bool) -> None:
    items = "[a, b, c.d]" if flow else "\n  # the first\n  - a  # amount\n  - b\n  - c.d"
    content = f"model: m\ninputs: {items}\nmode: live\n".encode()
    text = set_key(content, "m.yaml", "model", "m", "inputs", ("a", "new", "c.d")).decode()
    shown = "[a, new, c.d]" if flow else "\n  # the first\n  - a  # amount\n  - new\n  - c.d"
    assert text == f"model: m\ninputs: {shown}\nmode: live\n"
    long = set_key(content, "m.yaml", "model", "m", "inputs", tuple(f"input_number_{i}" for i in range(40))).decode()
    assert max(map(len, long.split("\n"))) <= 100


def test_line_ends_and_marks_stay() -> None:
    content = b"\xef\xbb\xbf" + POLICY.replace(b"\n", b"\r\n")
    assert set_key(content, "p.yaml", "policy", "payment", "bands", BANDS) == content.replace(b"0.90", b"0.8")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"policy: other\n", "does not define policy payment"),
        (b"{policy: payment, for: payment}\n", "is not edited safely"),
        (b"\xff", "is not UTF-8"),
    ],
)
def test_what_cannot_be_edited_is_told(content: bytes, told: str) -> None:
    with pytest.raises(InputError, match=told):
        edited(BANDS, content)


def test_a_proposal_is_loaded_before_it_is_written(tmp_path: Path) -> None:
    (tmp_path / "events").mkdir()
    (tmp_path / "parakh.toml").write_text('name = "shop"\n')
    (tmp_path / "events" / "e.yaml").write_text("event: e\nid: id\ntime: at\nfields: {id: string, at: timestamp}\n")
    project = Project.load(tmp_path)
    assert defined_in(project, "event", "e") == "events/e.yaml"
    assert defined_in(project, "event", "f") is None
    rule = b"rule: r\nfor: e\nwhen: id = 'x'\nthen: block\n"
    assert [item.name for item in proposed(project, {"rules/r.yaml": rule}).definitions.rules] == ["r"]
    with pytest.raises(ProjectError):
        proposed(project, {"rules/r.yaml": rule.replace(b"id =", b"no =")})
    assert not (tmp_path / "rules").exists()
    replace_files(tmp_path, {"rules/r.yaml": rule, "events/none.yaml": None})
    assert (tmp_path / "rules" / "r.yaml").read_bytes() == rule
    assert [path.name for path in (tmp_path / "rules").iterdir()] == ["r.yaml"]
