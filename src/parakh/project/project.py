"""A folder of definitions, read, checked and hashed: what an engine is made from, and what a tenant's version is.

A `Project` is frozen; a changed folder gives another one (`reload`), and reads again only what has changed.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from parakh.decisions.check import check_definitions
from parakh.decisions.definition import Definitions
from parakh.errors import Problem, ProjectError
from parakh.project.canonical import finish
from parakh.project.folder import Cache, Loaded, read_folder
from parakh.project.given import type_given
from parakh.project.names import check_names

__all__ = ["Project", "problems_in"]

_COUNTED = (
    ("events", "event types"),
    ("entities", "entities"),
    ("signals", "signals"),
    ("rules", "rules"),
    ("models", "models"),
    ("policies", "policies"),
    ("lists", "lists"),
    ("tables", "lookup tables"),
    ("enrichments", "enrichments"),
)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Project:
    """Checked definitions with their hash.

    `hash` is a SHA-256 over what the definitions say, in the project's order (files by path, then as they stand in a
    file): comments, formatting and names of files do not count, a model's bytes do. `root` and `files` say where they
    were read (None and empty for a project built in Python). `sources` are the same definitions with the place of every
    text, for messages; everything that decides uses `definitions`.
    """

    definitions: Definitions
    hash: str
    root: Path | None = None
    files: tuple[str, ...] = ()
    sources: Definitions = field(compare=False)
    _cache: Cache | None = field(default=None, compare=False)

    @classmethod
    def load(cls, folder: str | Path) -> Project:
        """The project in a folder.

        Raises ProjectError with every problem of every file; a file that is not YAML gives its first.
        """
        root = Path(folder)
        return _checked(root, read_folder(root))

    @classmethod
    def of(cls, definitions: Definitions) -> Project:
        """The project of definitions that were built in Python, after the same checks. Raises ProjectError.

        >>> from parakh.decisions.definition import Settings
        >>> Project.of(Definitions(settings=Settings(name="empty")))
        Project empty: nothing is defined
        """
        problems = [*check_names(definitions), *check_definitions(definitions)]
        definitions, wrong = type_given(definitions)
        problems.extend(wrong)
        if problems:
            raise ProjectError(tuple(problems))
        whole, hash, _ = finish(definitions)
        return cls(definitions=whole, hash=hash, sources=definitions)

    def contents(self) -> dict[str, bytes]:
        """The bytes of all files that the project was read from, by their paths in its folder: definitions and what
        they name, such as models. Empty for a project built in Python.
        """
        if self.root is None or self._cache is None:
            return {}
        held = self._cache.files.items()
        return {path.relative_to(self.root).as_posix(): file.content for path, file in held}

    def reload(self) -> Project:
        """The project as its folder stands now; this one where nothing in it has changed. Raises ProjectError."""
        if self.root is None:
            raise ProjectError((Problem("a project built in Python has no folder to be read again"),))
        project = _checked(self.root, read_folder(self.root, self._cache), self._cache)
        return (
            self
            if project.hash == self.hash and project.sources == self.sources and project.files == self.files
            else project
        )

    def __repr__(self) -> str:
        counts = [f"{count} {noun}" for count, noun in self._counts()]
        return f"Project {self.definitions.settings.name}: {', '.join(counts) or 'nothing is defined'}"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th style='text-align:left'>{noun}</th><td style='text-align:left'>{count}</td>"
            f"<td style='text-align:left'>{html.escape(', '.join(self._named(name)))}</td></tr>"
            for name, noun in _COUNTED
            if (count := len(getattr(self.definitions, name)))
        )
        title = html.escape(self.definitions.settings.name)
        return f"<table><caption>Project {title}, version {self.hash[:12]}</caption>{rows}</table>"

    def _counts(self) -> Iterable[tuple[int, str]]:
        for name, noun in _COUNTED:
            count = len(getattr(self.definitions, name))
            if name == "signals":
                count = sum(len(item.define) for item in self.definitions.signals)
            if count:
                yield (
                    count,
                    noun
                    if count > 1
                    else noun.removesuffix("ies") + "y"
                    if noun.endswith("ies")
                    else noun.removesuffix("s"),
                )

    def _named(self, name: str) -> list[str]:
        items = getattr(self.definitions, name)
        names = [getattr(item, "name", "") or item.event_type for item in items]
        return [*names[:12], "..."] if len(names) > 12 else names


def problems_in(folder: str | Path) -> tuple[Problem, ...]:
    """All that is wrong with the project in a folder; empty where it holds."""
    try:
        Project.load(folder)
    except ProjectError as error:
        return error.problems
    return ()


def _checked(root: Path, loaded: Loaded, before: Cache | None = None) -> Project:
    before, after = before or Cache(), loaded.cache
    problems = list(loaded.problems)
    consequences = [
        problem for problem in check_definitions(loaded.definitions) if not _follows(problem, loaded.suspects)
    ]
    definitions, wrong = type_given(loaded.definitions, before.typed, after.typed)
    consequences.extend(problem for problem in wrong if not _follows(problem, loaded.suspects))
    if problems or consequences:
        raise ProjectError(_in_file_order([*problems, *consequences], loaded.files))
    whole, hash, after.finished = finish(definitions, before.finished)
    return Project(
        definitions=whole,
        hash=hash,
        root=root,
        files=loaded.files,
        sources=definitions,
        _cache=after,
    )


_OF_THE_UNKNOWN = ("there is no ", "unknown ", "no event type carries")


def _follows(problem: Problem, suspects: frozenset[str]) -> bool:
    """Whether a problem speaks of a name whose own definition is broken: mending that one may mend it."""
    if not suspects or not problem.message.startswith(_OF_THE_UNKNOWN):
        return False
    words = set(re.findall(r"[A-Za-z_][A-Za-z0-9_]*", f"{problem.message} {problem.text}"))
    return any(word == name or word.startswith(f"{name}_") for word in words for name in suspects)


def _in_file_order(problems: list[Problem], files: tuple[str, ...]) -> tuple[Problem, ...]:
    rank = {name: number for number, name in enumerate(files)}

    def order(problem: Problem) -> tuple[int, str, int, int]:
        place = problem.place
        return (rank.get(place.file, len(rank)), place.file, place.line, place.column) if place else (-1, "", 0, 0)

    unique = dict.fromkeys(problems)
    return tuple(sorted(unique, key=order))
