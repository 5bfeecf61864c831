"""YAML text -> nodes: places, styles, documents, and all that is refused before anything is read into it."""

from __future__ import annotations

import pytest

from parakh.errors import Problem
from parakh.project import yaml_nodes
from parakh.project.reading import unbalanced
from parakh.project.yaml_nodes import (
    MAX_BYTES,
    Mapping,
    Scalar,
    Sequence,
    decode,
    read_document,
    split_documents,
)


def scalar(text: str, key: str = "a") -> Scalar:
    document = read_document(text, "f.yaml")
    assert document.problems == ()
    assert isinstance(document.root, Mapping)
    node = document.root.get(key)
    assert isinstance(node, Scalar)
    return node


def only_problem(text: str) -> Problem:
    document = read_document(text, "f.yaml")
    assert len(document.problems) == 1
    return document.problems[0]


@pytest.mark.parametrize(
    "written", ["012", "1_000", "1e3", ".5", "10:30", "no", "~", "2025-01-31", "0x1F", "null", "<<"]
)
def test_a_plain_scalar_stays_as_it_was_written(written: str) -> None:
    node = scalar(f"a: {written}\n")
    assert (node.text, node.style) == (written, "")


@pytest.mark.parametrize(
    ("text", "value", "style", "place"),
    [
        ("a: x > 1\n", "x > 1", "", (1, 4)),
        ("a: 'it''s'\n", "it's", "'", (1, 5)),
        ('a: "x"\n', "x", '"', (1, 5)),
        ("a: |\n    x\n      y\n", "x\n  y\n", "|", (2, 5)),
        ("a: |2\n     x\n", "   x\n", "|", (2, 3)),
        ("a: |-\n\n  x\n", "\nx", "|", (2, 3)),
        ("b: 1\na: [1]\n", None, None, None),
    ],
)
def test_the_place_of_a_text_is_that_of_its_first_character(
    text: str, value: str | None, style: str | None, place: tuple[int, int] | None
) -> None:
    if value is None:
        document = read_document(text, "f.yaml")
        assert isinstance(document.root, Mapping)
        assert isinstance(document.root.get("a"), Sequence)
        return
    node = scalar(text)
    assert (node.text, node.style, (node.text_line, node.text_column)) == (value, style, place)


def test_a_comment_after_a_plain_scalar_is_kept_beside_it() -> None:
    assert scalar("a: x # y\n").comment == "# y"
    assert scalar("a: x#y\n").text == "x#y"
    assert scalar("a: 'x # y'\n").comment == ""


def test_documents_are_told_apart_by_lines_that_begin_with_dashes() -> None:
    text = "# only a comment\n---\na: 1\n--- # note\nb: |\n  ---\n  x\n--- {c: 1}\n---\n"
    assert [line for line, _ in split_documents(text)] == [3, 4, 8]
    documents = [read_document(part, "f.yaml", line) for line, part in split_documents(text)]
    assert [document.problems for document in documents] == [(), (), ()]
    last = documents[2].root
    assert isinstance(last, Mapping)
    assert last.flow
    assert (last.line, last.column) == (8, 5)


def test_a_key_without_value_says_its_own_place() -> None:
    node = scalar("b: 1\na:\nc: 2\n")
    assert node.is_empty
    assert (node.line, node.column) == (2, 1)


@pytest.mark.parametrize(
    ("text", "message", "line"),
    [
        ("a: &x 1\n", "anchor &x is not allowed", 1),
        ("a: *x\n", "alias *x is not allowed", 1),
        ("a: !!python/object:os.system x\n", "tag", 1),
        ("a: 1\n<<: {b: 1}\n", "merge key << is not allowed", 2),
        ("a: 1\na: 2\n", "key 'a' stands here a second time; it is first in line 1", 2),
        ("%YAML 1.1\n", "a YAML directive is not allowed", 1),
        ("a: 1\n...\nb: 1\n", "text after the document's end", 3),
        ("? [x]\n: 1\n", "a key is one word", 1),
        ("a: " + "[" * 40 + "]" * 40 + "\n", "nested deeper than 12 levels", 1),
        ('a: "\\ud800"\n', "character U+D800 is not allowed", 1),
        ("a: 'x\n", "not YAML: this quote is not closed", 1),
        ("a:\n\tb: 1\n", "not YAML: a tab where spaces are needed", 2),
        ("a: 'x' = b\n", "not YAML: text after a closing quote", 1),
        ("a: x: y\n", "not YAML: a second `: ` on this line", 1),
        ("a: @x\n", "not YAML: a value cannot begin with '@'", 1),
    ],
)
def test_what_could_hide_or_multiply_text_is_refused(text: str, message: str, line: int) -> None:
    problem = only_problem(text)
    assert problem.message.startswith(message)
    assert problem.place is not None
    assert problem.place.line == line


def test_a_billion_laughs_are_not_laughed() -> None:
    text = "a: &a [x]\n" + "".join(f"{b}: &{b} [*{a},*{a},*{a},*{a},*{a}]\n" for a, b in zip("abcdefgh", "bcdefghi"))
    assert only_problem(text).message == "anchor &a is not allowed"


def test_a_document_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    assert yaml_nodes.MAX_NODES == 200_000
    monkeypatch.setattr(yaml_nodes, "MAX_NODES", 2_000)
    text = "a: [" + "1," * 2_001 + "]\n"
    assert "more than 2,000 values" in only_problem(text).message


def test_bytes_become_text_or_say_why_not() -> None:
    assert decode(b"\xef\xbb\xbfa: 1\r\nb: 2\rc: 3\n", "f") == "a: 1\nb: 2\nc: 3\n"
    broken = decode(b"a: 1\nb: \xff\n", "f")
    assert isinstance(broken, Problem)
    assert broken.place is not None
    assert (broken.place.line, broken.place.column) == (2, 4)
    for text in ("a: \x00\n", "a: \u2028\n", "a: \x85\n", "a: \ufeff\n", "a: \x1b[0m\n"):
        refused = decode(text.encode(), "f")
        assert isinstance(refused, Problem)
        assert "is not allowed" in refused.message
    long = decode(b" " * (MAX_BYTES + 1), "f")
    assert isinstance(long, Problem)
    assert "at most" in long.message


@pytest.mark.parametrize(
    ("text", "open_"),
    [("f(a", True), ("f(a)", False), ("a)", True), ("'a", True), ("'a''b'", False), ("'('", False), ('"(" + (', True)],
)
def test_what_a_comma_or_a_hash_has_cut_is_seen(text: str, open_: bool) -> None:
    assert unbalanced(text) is open_
