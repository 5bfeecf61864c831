"""DATA of a verb may be a project's folder: its data stand in it, where `parakh serve` puts them."""

from __future__ import annotations

from pathlib import Path

import pytest

from parakh.cli.main import run
from parakh.streams.entries import TRIM, Trim
from parakh.streams.log import EmbeddedLog


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "parakh.toml").write_text('name = "shop"\n')
    return folder


@pytest.mark.parametrize("words", [["log", "verify"], ["backup"], ["secrets", "show"]])
def test_a_project_that_was_not_served_has_no_data(
    words: list[str], project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = [str(project.parent / "copy")] if words == ["backup"] else []
    assert run([*words, str(project), *more]) == 2
    assert "was not served yet" in " ".join(capsys.readouterr().err.split())


def test_a_project_stands_for_its_data(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("log", "snapshots", "projects", "index"):
        (project / ".parakh" / name).mkdir(parents=True)
    with EmbeddedLog(project / ".parakh" / "log") as log:
        log.wait(log.append(TRIM, Trim(0).encode(), arrived_us=0))
    assert run(["log", "verify", str(project)]) == 0
    assert "whole" in capsys.readouterr().out
    assert run(["log", "verify", str(project / ".parakh")]) == 0
