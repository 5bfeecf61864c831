"""registry.json, where the versions of a model are held: what it says, and whether the project's definitions agree.

A step writes the registry and the definitions that it changes together (`parakh.project.writing`).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from parakh.errors import InputError
from parakh.expressions.parse import is_name
from parakh.models.definition import Model
from parakh.project.edit import defined_in
from parakh.project.project import Project
from parakh.project.writing import Changes, write_together
from parakh.rules.definition import Mode

__all__ = [
    "CANDIDATE", "CHAMPION", "FILE", "RETIRED", "SHADOW", "Event", "Held", "Version", "expect_agreement", "expect_file",
    "expect_name", "model_of", "place_of", "read_card", "read_held", "store", "stored",
]  # fmt: skip

CANDIDATE, SHADOW, CHAMPION, RETIRED = "candidate", "shadow", "champion", "retired"
FILE = "registry.json"
_FORMAT = "parakh-registry"


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One version: its state, and its file by the path in the project's folder with the SHA-256 of its bytes."""

    number: int
    state: str
    file: str
    sha256: str
    inputs: tuple[str, ...]
    kind: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A line of the history: `what` is adopted, added, shadow, request, approved, back or retired.

    `replaced` is the version whose place an approved one took (0: none); `gates` is what a request showed, `despite`
    why it was made although they failed.
    """

    at: str
    who: str
    what: str
    version: int
    why: str = ""
    replaced: int = 0
    gates: Mapping[str, Any] | None = None
    despite: str = ""

    def as_data(self) -> dict[str, Any]:
        """What registry.json says of it; what is empty is left out."""
        said: dict[str, Any] = {"at": self.at, "who": self.who, "what": self.what, "version": self.version}
        more = {"why": self.why, "replaced": self.replaced, "gates": self.gates, "despite": self.despite}
        return {**said, **{name: value for name, value in more.items() if value}}


@dataclass(frozen=True, slots=True)
class Held:
    """What registry.json holds."""

    event_type: str
    versions: tuple[Version, ...] = ()
    history: tuple[Event, ...] = ()

    @property
    def champions(self) -> tuple[int, ...]:
        """The champions that a way back would pass, the present one last."""
        stack = list[int]()
        for event in self.history:
            if event.what in ("adopted", "approved"):
                stack.append(event.version)
            elif event.what == "back":
                stack.pop()
        return tuple(stack)

    @property
    def request(self) -> Event | None:
        """The request that waits for approval."""
        for event in reversed(self.history):
            if event.what in ("approved", "back", "adopted"):
                return None
            if event.what == "request":
                state = next((each.state for each in self.versions if each.number == event.version), "")
                return event if state == SHADOW else None
        return None

    def with_state(self, number: int, state: str) -> Held:
        versions = tuple(replace(each, state=state) if each.number == number else each for each in self.versions)
        return replace(self, versions=versions)

    def and_then(self, event: Event) -> Held:
        return replace(self, history=(*self.history, event))


def place_of(model: str) -> str:
    """Where the versions of a model stand, in the project's folder."""
    return f"models/{model}"


def expect_name(model: str) -> None:
    """Raise InputError where a model cannot have this name: a challenger stands beside it as NAME_vN."""
    if not re.fullmatch("[A-Za-z_][A-Za-z0-9_]{0,49}", model):
        raise InputError(
            f"{model!r} is not the name of a model: letters, digits and _, at most 50 and not a digit first, "
            "such as payment_fraud"
        )
    if not is_name(model):
        raise InputError(f"{model!r} is a word of SQL and cannot name a model: rules read its score by its name")


def read_card(folder: Path) -> dict[str, Any] | None:
    """What card.json in a version's folder says; None where there is none. Raises InputError where it is unreadable."""
    try:
        card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InputError(f"{folder.name}/card.json cannot be read: {error}") from None
    if not isinstance(card, dict):
        raise InputError(f"{folder.name}/card.json is not an object of JSON")
    return card


def expect_file(root: Path, version: Version) -> None:
    """Raise InputError where the file of a version is missing, or is not what it was."""
    try:
        content = (root / version.file).read_bytes()
    except OSError as error:
        raise InputError(
            f"{version.file} cannot be read ({error.strerror}): bring the file of version {version.number} back"
        ) from None
    if hashlib.sha256(content).hexdigest() != version.sha256:
        raise InputError(
            f"{version.file} is not what version {version.number} was when it came in: bring the file back (version "
            "control has it), or train a new version"
        )


def stored(root: Path, model: str) -> dict[str, Any]:
    """What registry.json says. Raises InputError where it is none."""
    where = f"{place_of(model)}/{FILE}"
    try:
        said = json.loads((root / where).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{where} cannot be read: {error} (version control has the one before)") from None
    if not isinstance(said, dict) or said.get("format") != _FORMAT or said.get("version") != 1:
        raise InputError(f"{where} is not a registry that this version of Parakh reads")
    return said


def store(root: Path, model: str, held: Held, changes: Changes) -> None:
    """Write registry.json and the definitions of a step together; the files of versions stand there already."""
    named = {each.file for each in held.versions}
    definitions = {name: text for name, text in changes.items() if name not in named}
    data: dict[str, Any] = {
        "format": _FORMAT,
        "version": 1,
        "model": model,
        "event_type": held.event_type,
        "versions": [
            {
                "number": each.number, "state": each.state, "kind": each.kind, "file": each.file,
                "sha256": each.sha256, "inputs": list(each.inputs),
            }
            for each in held.versions
        ],
        "history": [event.as_data() for event in held.history],
    }  # fmt: skip
    content = (json.dumps(data, indent=2, ensure_ascii=False) + "\n").encode()
    write_together(root, {f"{place_of(model)}/{FILE}": content, **definitions})


def read_held(root: Path, model: str, project: Project) -> Held:
    """What is held of a model, checked against the project's definitions."""
    defined = model_of(project, model)
    if not (root / place_of(model) / FILE).exists():
        if defined is None:
            return Held("")
        if defined.mode is not Mode.LIVE:
            raise InputError(
                f"model {model} is {defined.mode.value}, and has no registry: only a model that decides is taken "
                "in as a version; take its definition out, or name the new one differently"
            )
        adopted = Version(
            number=1, state=CHAMPION, file=_file_of(project, model, defined),
            sha256=hashlib.sha256(defined.content).hexdigest(), inputs=tuple(map(str, defined.inputs)),
            kind=_kind(defined.content),
        )  # fmt: skip
        return Held(str(defined.event_type), (adopted,))
    held = _held(root, model)
    expect_agreement(root, model, project, held)
    return held


def _kind(content: bytes) -> str:
    return "logistic" if content.lstrip()[:1] == b"{" else "lightgbm" if content.startswith(b"tree") else "onnx"


def _held(root: Path, model: str) -> Held:
    said = stored(root, model)
    try:
        versions = tuple(Version(**{**each, "inputs": tuple(each["inputs"])}) for each in said["versions"])
        history = tuple(Event(**each) for each in said["history"])
        if any(each.state not in (CANDIDATE, SHADOW, CHAMPION, RETIRED) for each in versions):
            raise ValueError("a state is unknown")
        return Held(str(said["event_type"]), versions, history)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{place_of(model)}/{FILE} is broken: {error} (version control has the one before)") from None


def expect_agreement(root: Path, model: str, project: Project, held: Held) -> None:
    """Raise InputError where definitions and files are not what the registry says."""
    champion = next((each for each in held.versions if each.state == CHAMPION), None)
    defined = model_of(project, model)
    registry = f"{place_of(model)}/{FILE}"
    if champion is None and defined is not None:
        raise InputError(f"{registry} has no champion, and the project defines {model}: remove its definition")
    expected = [(model, champion)] if champion is not None else []
    expected += [(f"{model}_v{each.number}", each) for each in held.versions if each.state == SHADOW]
    for name, version in expected:
        found = model_of(project, name)
        if found is None:
            raise InputError(
                f"{registry} says that version {version.number} is {version.state}, and no definition has the name "
                f"{name}: bring models/{name}.yaml back"
            )
        wrong = _disagreement(project, name, found, version)
        if wrong:
            raise InputError(
                f"the definition of model {name} {wrong}, and {registry} says that version {version.number} is "
                f"{version.state}: undo the edit by hand; versions change by `parakh promote` alone"
            )
        expect_file(root, version)
    for each in held.versions:
        name = f"{model}_v{each.number}"
        if each.state != SHADOW and model_of(project, name) is not None:
            raise InputError(
                f"{name} is defined, and {registry} says that version {each.number} is {each.state}: remove it"
            )


def _disagreement(project: Project, name: str, found: Model, version: Version) -> str:
    file = _file_of(project, name, found)
    if file != version.file:
        return f"reads {file} instead of {version.file}"
    if tuple(map(str, found.inputs)) != version.inputs:
        return "has other inputs than the version"
    mode = Mode.SHADOW if version.state == SHADOW else Mode.LIVE
    return "" if found.mode is mode else f"is {found.mode.value}, not {mode.value}"


def model_of(project: Project, name: str) -> Model | None:
    """The definition of a model, with the places of its texts; None where there is none."""
    return next((model for model in project.sources.models if model.name == name), None)


def _file_of(project: Project, name: str, model: Model) -> str:
    """The path of a model's file in the project's folder."""
    there = defined_in(project, "model", name)
    assert there is not None
    return PurePosixPath(os.path.normpath(PurePosixPath(there).parent / model.file)).as_posix()
