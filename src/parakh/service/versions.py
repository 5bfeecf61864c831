"""Versions of a project as a service knows them: their files, kept beside the log, and the form in which they decide.

What the engine runs is the stored form (`parakh.decisions.stored`): personal values are tokens there. The hash of a
version is that of the project as people wrote it.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from parakh.decisions.definition import Definitions
from parakh.decisions.stored import stored_definitions
from parakh.errors import InputError, Problem, ProjectError
from parakh.project.project import Project

__all__ = ["LiveProject", "Versions"]

_MOST_FILES = 10_000
_MOST_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class LiveProject:
    """A version in the form in which it decides; `original` is as people wrote it."""

    original: Project
    definitions: Definitions

    @property
    def hash(self) -> str:
        return self.original.hash

    @property
    def name(self) -> str:
        return self.definitions.settings.name


class Versions:
    """The versions whose files are kept in a folder, one folder each, named by the hash."""

    def __init__(self, folder: Path, tokenise: Callable[[str], str]) -> None:
        self.folder = folder
        self._tokenise = tokenise
        self._known: dict[str, LiveProject] = {}
        self._candidate = threading.Lock()

    def live(self, project: Project) -> LiveProject:
        """A project in the form in which it decides."""
        return LiveProject(project, stored_definitions(project.definitions, self._tokenise))

    def keep(self, project: Project) -> LiveProject:
        """Keep a project's files, on disk; answers the version."""
        known = self._known.get(project.hash)
        if known is not None:
            return known
        target = self.folder / project.hash
        if not target.exists():
            self._write(target, project.contents())
        self._known[project.hash] = self.live(Project.load(target))
        return self._known[project.hash]

    def restore(self, hash: str, files: Mapping[str, bytes]) -> LiveProject:
        """A version from the files that the log has of it."""
        target = self.folder / hash
        if not target.exists():
            self._write(target, files)
        return self.get(hash)

    def get(self, hash: str) -> LiveProject:
        """A version that was kept. Raises InputError where it was not."""
        if hash not in self._known:
            target = self.folder / hash
            if not target.is_dir():
                raise InputError(f"there is no version {hash[:12]}; `parakh versions` lists those that there are")
            self._known[hash] = self.live(Project.load(target))
        return self._known[hash]

    def matching(self, prefix: str) -> str:
        """The hash of the one version that begins so. Raises InputError."""
        found = sorted(path.name for path in self.folder.glob("*") if path.name.startswith(prefix)) if prefix else []
        if len(found) != 1:
            what = "no version" if not found else f"{len(found)} versions"
            raise InputError(f"{what} begin with {prefix[:64]!r}; give more of the hash, or another one")
        return found[0]

    def check(self, files: Mapping[str, bytes]) -> Project:
        """The project that some files make. Raises ProjectError with all that is wrong with them."""
        problems = [Problem(f"{name!r} is not a path inside a project") for name in files if not _inside(name)]
        if len(files) > _MOST_FILES or sum(map(len, files.values())) > _MOST_BYTES:
            problems.append(Problem(f"a project has at most {_MOST_FILES:,} files of {_MOST_BYTES >> 20} MB together"))
        if problems:
            raise ProjectError(tuple(problems))
        candidate = self.folder / "candidate.partial"
        with self._candidate:  # one is checked and one applied at the same time, by threads of their own
            shutil.rmtree(candidate, ignore_errors=True)
            try:
                _write_files(candidate, files)
                return Project.load(candidate)
            finally:
                shutil.rmtree(candidate, ignore_errors=True)

    def _write(self, target: Path, files: Mapping[str, bytes]) -> None:
        partial = target.with_name(target.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        _write_files(partial, files)
        partial.rename(target)
        folder = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())


def _inside(name: str) -> bool:
    path = PurePosixPath(name)
    plain = name.isprintable() and len(name) <= 255 and "\\" not in name
    return plain and not path.is_absolute() and bool(path.parts) and not any(p in ("..", ".") for p in path.parts)
