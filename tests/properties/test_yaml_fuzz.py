"""Random and mutated files: a problem or a project, never a crash; and `fmt` never changes what a file says.

A failing example prints its seed and a blob to reproduce it (Hypothesis).
"""

from __future__ import annotations

import random
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from parakh.errors import Problem, ProjectError, SourceText
from parakh.project.build import build
from parakh.project.format import format_text
from parakh.project.maker import NamedFile
from parakh.project.project import Project, problems_in
from parakh.project.settings_file import read_settings
from parakh.project.yaml_nodes import decode, read_document, split_documents

EXAMPLES = Path(__file__).parents[2] / "examples"
TEXTS = [path.read_text(encoding="utf-8") for path in sorted(EXAMPLES.rglob("*.yaml"))]
NAMED = {path.name: path for pattern in ("*.lgb", "*.csv") for path in EXAMPLES.rglob(pattern)}
SETTINGS = [path.read_bytes() for path in sorted(EXAMPLES.rglob("parakh.toml"))]

relaxed = settings(deadline=None, max_examples=300, suppress_health_check=list(HealthCheck), print_blob=True)

FRAGMENTS = [
    ": ", "- ", "#", " # x", "|", ">", "'", '"', "{", "}", "[", "]", ",", "&a ", "*a", "!!str ", "---\n", "...\n", "\n",
    "  ", "\t", "? ", "%YAML 1.1\n", "<<: ", "null", "~", "yes", "012", "1e999", "\\", "\x00", "\ufeff", "\u2028",
    "rule: a\n", "when: ", "given: ", "features:\n", "amount > 5", "coalesce(a, b)", "é", "\U0001f600", "@", "`", "\r",
]  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """An example's text with a few pieces removed, doubled, moved or replaced."""
    text = draw(st.sampled_from(TEXTS))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 12)))
        piece = draw(st.sampled_from([*FRAGMENTS, "", text[start:end] * 2]))
        text = text[:start] + piece + text[end:]
    return text


def named(file: SourceText, problems: list[Problem]) -> NamedFile | None:
    """A file that an example names, under whatever folder."""
    if str(file) in NAMED:
        return NamedFile(str(file), NAMED[str(file)].read_bytes())
    problems.append(Problem("there is no such file", file.place))
    return None


def read(text: str) -> list[tuple[object, list[str]]]:
    """Everything that a file gives; raises nothing."""
    made = list[tuple[object, list[str]]]()
    for line, part in split_documents(text):
        problems = list[Problem]()
        document = read_document(part, "f.yaml", line)
        built = build(document, "f.yaml", "INR", partial(named, problems=problems), problems)
        assert built.definition is not None or built.problems
        for problem in built.problems:
            assert problem.message
            if problem.place is not None:
                assert 1 <= problem.place.line <= text.count("\n") + 2
                assert problem.place.column >= 1
        made.append((built.definition, [problem.message for problem in built.problems]))
    return made


@relaxed
@given(st.one_of(mutated(), st.text(max_size=200), st.lists(st.sampled_from(FRAGMENTS), max_size=30).map("".join)))
def test_no_text_makes_the_reader_fail(text: str) -> None:
    decoded = decode(text.encode("utf-8", "surrogatepass"), "f.yaml")
    if not isinstance(decoded, Problem):
        read(decoded)


@relaxed
@given(st.binary(max_size=200))
def test_no_bytes_make_the_reader_fail(content: bytes) -> None:
    decoded = decode(content, "f.yaml")
    if not isinstance(decoded, Problem):
        read(decoded)
    read_settings(content)


@relaxed
@given(st.sampled_from(SETTINGS), st.integers(0, 400), st.sampled_from([item.encode() for item in FRAGMENTS]))
def test_no_settings_make_the_reader_fail(content: bytes, at: int, piece: bytes) -> None:
    found, problems = read_settings(content[:at] + piece + content[at:])
    assert found is not None or problems


@relaxed
@given(mutated())
def test_formatting_never_changes_what_a_file_says(text: str) -> None:
    try:
        formatted = format_text(text)
    except ProjectError:
        return
    decoded = decode(text.encode("utf-8", "surrogatepass"), "f.yaml")
    assert isinstance(decoded, str)
    before, after = read(decoded), read(formatted)
    assert [definition for definition, _ in after] == [definition for definition, _ in before]
    assert [sorted(messages) for _, messages in after] == [sorted(messages) for _, messages in before]
    assert formatted.count("#") == decoded.count("#")
    assert format_text(formatted) == formatted


@pytest.mark.parametrize("seed", range(20))
def test_a_mutated_project_loads_or_says_why(tmp_path: Path, seed: int) -> None:
    """Whole folders, so that names no longer meet: every problem is told, nothing else is raised."""
    chance = random.Random(seed)
    source = EXAMPLES / "card-payments"
    for path in source.rglob("*"):
        if path.is_file() and path.suffix in (".yaml", ".toml", ".csv", ".lgb"):
            content = path.read_bytes()
            if path.suffix == ".yaml" and chance.random() < 0.3:
                lines = content.split(b"\n")
                del lines[chance.randrange(len(lines))]
                content = b"\n".join(lines)
            target = tmp_path / path.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
    problems = problems_in(tmp_path)
    if not problems:
        assert Project.load(tmp_path).hash
    for problem in problems:
        assert str(problem)
