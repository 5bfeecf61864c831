"""`parakh init`: the template is copied whole, into a new or empty folder alone, and is a sound project."""

from __future__ import annotations

from pathlib import Path

import pytest

from parakh.errors import ProjectError
from parakh.project.init import create
from parakh.project.project import Project


def test_the_template_is_a_sound_project(tmp_path: Path) -> None:
    written = create(tmp_path / "shop")
    assert tmp_path / "shop" / "parakh.toml" in written
    assert all(path.is_file() for path in written)
    project = Project.load(tmp_path / "shop")
    assert len(project.definitions.rules) >= 12
    assert project.definitions.models


def test_an_empty_folder_will_do_and_a_full_one_will_not(tmp_path: Path) -> None:
    create(tmp_path)
    with pytest.raises(ProjectError, match="is not empty"):
        create(tmp_path)
    with pytest.raises(ProjectError, match="is a file"):
        create(tmp_path / "parakh.toml")


def test_an_unknown_template_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="there is no template 'nothing'"):
        create(tmp_path / "x", template="nothing")
    with pytest.raises(ProjectError, match="there is no template"):
        create(tmp_path / "x", template="../src")
    assert not (tmp_path / "x").exists()
