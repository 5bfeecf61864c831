"""A folder of files -> definitions with their places; what has not changed since the last reading is not read again.

Files are taken in the order of their paths, definitions in the order in which they stand in a file: that is the
project's canonical order, which fixes the order of features in a decision's record.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from parakh.decisions.definition import Definitions, Enrichment, Policy, Settings, Signals
from parakh.errors import Place, Problem, SourceText
from parakh.events.definition import EventType
from parakh.expressions.hints import closest
from parakh.features.definition import Entity
from parakh.models.definition import Model
from parakh.project.build import Built, Definition, build
from parakh.project.canonical import Memo
from parakh.project.given import TypedRules
from parakh.project.keys import FOLDERS, KINDS
from parakh.project.maker import NamedFile
from parakh.project.settings_file import FILE, read_settings
from parakh.project.yaml_nodes import decode, read_document, split_documents
from parakh.rules.definition import LookupTable, Rule, ValueList

_Kind = TypeVar("_Kind")

__all__ = ["Cache", "Loaded", "definition_files", "gather", "read_folder"]

MAX_FILES = 10_000
MAX_NAMED_BYTES = 256 * 2**20


@dataclass(frozen=True, slots=True)
class _File:
    stamp: tuple[int, int, int]  # mtime, size, inode
    settled: bool  # read once more with the same stamp: an edit within the clock's grain would have been seen
    content: bytes


@dataclass(frozen=True, slots=True)
class _Document:
    built: Built
    named: tuple[tuple[Path, bytes | None], ...]  # the files that it names, with what they held


@dataclass(slots=True)
class Cache:
    """What a reading leaves for the next one."""

    files: dict[Path, _File] = field(default_factory=dict)
    documents: dict[tuple[str, int, str, str], _Document] = field(default_factory=dict)
    typed: TypedRules = field(default_factory=dict)
    finished: Memo = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a folder gave."""

    definitions: Definitions
    problems: tuple[Problem, ...]
    suspects: frozenset[str]
    files: tuple[str, ...]
    cache: Cache


def read_folder(root: Path, before: Cache | None = None) -> Loaded:
    """Reads every definition of a project's folder, and all that is wrong with them."""
    return _FolderReading(root, before or Cache()).run()


class _FolderReading:
    def __init__(self, root: Path, before: Cache) -> None:
        self.root = root
        self.real_root = root.resolve()
        self.before = before
        self.after = Cache()
        self.problems: list[Problem] = []
        self.suspects: set[str] = set()
        self.inside: dict[Path, bool] = {}

    def run(self) -> Loaded:
        settings = self._settings()
        definitions = list[Definition]()
        files = [FILE]
        for path in self._paths():
            name = path.relative_to(self.root).as_posix()
            files.append(name)
            definitions.extend(self._file(path, name, settings.currency))
        self._misplaced()
        return Loaded(
            gather(settings, definitions), tuple(self.problems), frozenset(self.suspects), tuple(files), self.after
        )

    # -- files --------------------------------------------------------------------------------------------------------

    def content(self, path: Path) -> bytes:
        """A file's bytes, from the last reading where the file has not changed since. Raises OSError."""
        if path in self.after.files:
            return self.after.files[path].content
        status = path.stat()
        stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
        held = self.before.files.get(path)
        if held is None or held.stamp != stamp or not held.settled:
            content = path.read_bytes()
            settled = held is not None and held.stamp == stamp and held.content == content
            held = _File(stamp, settled, content)
        self.after.files[path] = held
        return held.content

    def _settings(self) -> Settings:
        path = self.root / FILE
        nameless = Settings(name=self.real_root.name)
        if not self.root.is_dir():
            what = "is not a folder" if self.root.exists() else "is not there"
            self.problems.append(Problem(f"{self.root} {what}", hint="`parakh init FOLDER` makes a project"))
            return nameless
        try:
            settings, problems = read_settings(self.content(path))
        except OSError:
            hint = 'it holds at least name = "..."; `parakh init FOLDER` makes a project'
            self.problems.append(Problem(f"{self.root} has no {FILE}", hint=hint))
            return nameless
        self.problems.extend(problems)
        return settings or nameless

    def _paths(self) -> list[Path]:
        paths = definition_files(self.root)
        if len(paths) > MAX_FILES:
            self.problems.append(Problem(f"the project has {len(paths):,} files; at most {MAX_FILES:,} are read"))
        return paths[:MAX_FILES]

    def _misplaced(self) -> None:
        """Definitions where nobody would read them: in the root, or in a folder whose name is nearly right."""
        if not self.root.is_dir():
            return
        for entry in sorted(self.root.iterdir()):
            if entry.name in FOLDERS or entry.name.startswith("."):
                continue
            if entry.is_dir():
                near = _near_folder(entry.name)
                if near and next(_yaml_files(entry), None) is not None:
                    self.problems.append(
                        Problem(
                            f"the folder {entry.name}/ is not read",
                            hint=f"did you mean {near}/?",
                            text=f"{entry.name}/",
                        )
                    )
            elif entry.suffix.lower() in (".yaml", ".yml") and self._has_definition(entry):
                hint = f"move it to one of {', '.join(FOLDERS)}"
                self.problems.append(
                    Problem("this definition is not read here", Place(entry.name, 1, 1), entry.name, hint)
                )

    def _has_definition(self, path: Path) -> bool:
        try:
            start = path.read_bytes()[:100_000]
        except OSError:
            return False
        return re.search(rb"^(" + "|".join(KINDS).encode() + rb"):", start, re.MULTILINE) is not None

    # -- documents ----------------------------------------------------------------------------------------------------

    def _file(self, path: Path, name: str, currency: str) -> Iterator[Definition]:
        start = Place(name, 1, 1)
        if not self._is_inside(path):
            self.problems.append(Problem("the file is a link that leads out of the project", start, hint="copy it in"))
            return
        try:
            content = self.content(path)
        except OSError as error:
            self.problems.append(Problem(f"the file cannot be read: {error.strerror or error}", start))
            return
        text = decode(content, name)
        if isinstance(text, Problem):
            self.problems.append(text)
            return
        found = False
        for first_line, part in split_documents(text):
            found = True
            built = self._document(path, name, first_line, part, currency)
            self.problems.extend(built.problems)
            self.suspects.update(built.suspects)
            if built.definition is not None:
                yield built.definition
        if not found:
            hint = f"a file holds definitions: {', '.join(KINDS)}"
            self.problems.append(Problem("the file has no definition in it", start, hint=hint))

    def _is_inside(self, path: Path) -> bool:
        """Whether a file that was found in the project also stands in it, links followed."""
        if path.parent not in self.inside:
            self.inside[path.parent] = path.parent.resolve().is_relative_to(self.real_root)
        if not path.is_symlink():
            return self.inside[path.parent]
        return path.resolve().is_relative_to(self.real_root)

    def _document(self, path: Path, name: str, first_line: int, text: str, currency: str) -> Built:
        key = (name, first_line, text, currency)
        held = self.before.documents.get(key)
        if held is None or any(self._named_content(file) != content for file, content in held.named):
            problems = list[Problem]()
            named = _NamedFiles(self, path.parent, problems)
            built = build(read_document(text, name, first_line), name, currency, named, problems)
            held = _Document(built, tuple(named.used))
        self.after.documents[key] = held
        return held.built

    def _named_content(self, path: Path) -> bytes | None:
        try:
            return self.content(path)
        except OSError:
            return None


class _NamedFiles:
    """Reads the files that a document names, relative to the document's own folder."""

    def __init__(self, folder: _FolderReading, directory: Path, problems: list[Problem]) -> None:
        self.folder = folder
        self.directory = directory
        self.problems = problems
        self.used: list[tuple[Path, bytes | None]] = []

    def __call__(self, file: SourceText) -> NamedFile | None:
        path = self.directory / file
        if "\0" in file or Path(file).is_absolute() or not path.resolve().is_relative_to(self.folder.real_root):
            hint = "copy it into the project, beside this file"
            self.problems.append(Problem("the file is outside the project", file.place, str(file), hint))
            return None
        try:
            if path.is_file() and path.stat().st_size > MAX_NAMED_BYTES:
                limit = f"the file is larger than {MAX_NAMED_BYTES >> 20} MB"
                self.problems.append(Problem(limit, file.place, str(file)))
                return None
            content = self.folder.content(path)
        except OSError as error:
            self.used.append((path, None))
            self.problems.append(self._unread(file, path, error))
            return None
        self.used.append((path, content))
        return NamedFile(Path(os.path.relpath(path, self.folder.root)).as_posix(), content)

    def _unread(self, file: SourceText, path: Path, error: OSError) -> Problem:
        if path.is_dir():
            return Problem("this is a folder, not a file", file.place, str(file))
        if not isinstance(error, FileNotFoundError):
            return Problem(f"the file cannot be read: {error.strerror or error}", file.place, str(file))
        beside = sorted(item.name for item in self.directory.iterdir() if item.is_file() and item.suffix != ".yaml")
        hint = closest(Path(file).name, beside) or "it is looked for beside this file"
        return Problem("there is no such file", file.place, str(file), hint)


def gather(settings: Settings, definitions: list[Definition]) -> Definitions:
    """Definitions of all kinds, each kind in the order given."""

    def of(kind: type[_Kind]) -> tuple[_Kind, ...]:
        return tuple(item for item in definitions if isinstance(item, kind))

    return Definitions(
        settings=settings,
        events=of(EventType),
        entities=of(Entity),
        signals=of(Signals),
        rules=of(Rule),
        models=of(Model),
        policies=of(Policy),
        lists=of(ValueList),
        tables=of(LookupTable),
        enrichments=of(Enrichment),
    )


def definition_files(root: Path) -> list[Path]:
    """The files of definitions in a project's folder, in the project's order: by their paths."""
    paths = [path for folder in FOLDERS for path in _yaml_files(root / folder)]
    return sorted(paths, key=lambda path: path.relative_to(root).parts)


def _yaml_files(folder: Path) -> Iterator[Path]:
    for directory, directories, names in os.walk(folder):
        directories[:] = sorted(name for name in directories if not name.startswith("."))
        for name in sorted(names):
            if name.lower().endswith((".yaml", ".yml")) and not name.startswith("."):
                yield Path(directory, name)


def _near_folder(name: str) -> str:
    folded = name.lower()
    for folder in FOLDERS:
        if folded in (folder, folder[:-1], folder.removesuffix("ies") + "y", folder + "s"):
            return folder
    hint = closest(folded, FOLDERS)
    return hint.removeprefix("did you mean ").rstrip("?")
