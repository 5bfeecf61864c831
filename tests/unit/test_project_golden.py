"""Broken projects and exactly what is said about them: `tests/golden/project/<case>/` and its `expected.txt`.

`PARAKH_UPDATE_GOLDEN=1` writes the expectations anew; read the difference before committing it.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from parakh.errors import Problem
from parakh.project.project import problems_in

GOLDEN = Path(__file__).parents[1] / "golden" / "project"
CASES = sorted(path.name for path in GOLDEN.iterdir() if path.is_dir())


def rendered(problems: tuple[Problem, ...]) -> str:
    return "\n".join(f"{problem}\n" for problem in problems)


@pytest.mark.parametrize("case", CASES)
def test_problems_are_said_as_expected(case: str) -> None:
    folder = GOLDEN / case
    expected = folder / "expected.txt"
    said = rendered(problems_in(folder))
    if os.environ.get("PARAKH_UPDATE_GOLDEN"):
        expected.write_text(said, encoding="utf-8")
    assert said == expected.read_text(encoding="utf-8")


def test_cases_are_there() -> None:
    assert len(CASES) >= 8
