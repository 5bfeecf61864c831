"""The versions of a model in a project's folder: which were trained, which is tried, which decides, and who said so.

`models/NAME/registry.json` holds the states and an append-only history; `models/NAME/vN/` the file and the cards of
version N. The champion is what the definition of NAME names, a challenger in shadow has a definition `NAME_vN` of its
own. Each step writes definitions and registry together, or neither.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from parakh.errors import InputError
from parakh.expressions.values import iso_time
from parakh.learning.promotion.versions import (
    CANDIDATE,
    CHAMPION,
    FILE,
    RETIRED,
    SHADOW,
    Event,
    Held,
    Version,
    expect_agreement,
    expect_file,
    expect_name,
    model_of,
    place_of,
    read_card,
    read_held,
    store,
    stored,
)
from parakh.learning.settings import read_learning
from parakh.project.edit import defined_in, proposed, set_key, without
from parakh.project.format import format_text
from parakh.project.project import Project
from parakh.project.writing import Changes, editing, mend

__all__ = ["CANDIDATE", "CHAMPION", "RETIRED", "SHADOW", "Event", "Judged", "Registry", "Version", "models_in"]


class Judged(Protocol):
    """What the gates found (`learning.promotion.gates.Gates`)."""

    @property
    def passed(self) -> bool: ...

    def as_data(self) -> dict[str, Any]: ...


class Registry:
    """The versions of one model of a project."""

    def __init__(self, root: Path, model: str, project: Project, held: Held) -> None:
        self.root = root
        self.model = model
        self.project = project
        self._held = held

    @classmethod
    def open(cls, project_folder: str | Path, model: str) -> Registry:
        """The registry of a model; one that the project had before it has a registry is its version 1, the champion.

        Raises ProjectError where the project does not hold, InputError where files and registry do not agree, or
        `model` is no name. Nothing is written, but to end a step that a crash left half done.
        """
        root = Path(project_folder)
        expect_name(model)
        mend(root)
        project = Project.load(root)
        return cls(root, model, project, read_held(root, model, project))

    @property
    def versions(self) -> tuple[Version, ...]:
        return self._held.versions

    @property
    def history(self) -> tuple[Event, ...]:
        return self._held.history

    @property
    def event_type(self) -> str:
        """The event type that the model scores; "" where no version is there yet."""
        return self._held.event_type

    @property
    def champion(self) -> Version | None:
        return next((each for each in self.versions if each.state == CHAMPION), None)

    @property
    def request_open(self) -> Event | None:
        """The request that waits for approval."""
        return self._held.request

    def version(self, number: int) -> Version:
        """The version of this number. Raises InputError where there is none."""
        found = next((each for each in self.versions if each.number == number), None)
        if found is None:
            there = ", ".join(str(each.number) for each in self.versions) or "none yet"
            raise InputError(f"{self.model} has no version {number}; its versions are {there}")
        return found

    def expect_scores(self, event_type: str) -> None:
        """Raise InputError where a version that scores this event type could not be taken in, or not promoted."""
        event = next((item for item in self.project.definitions.events if item.name == event_type), None)
        if event is None:
            raise InputError(f"the project has no event type {event_type!r}: is the set one of this project?")
        if self.event_type not in ("", event_type):
            raise InputError(f"{self.model} scores {self.event_type}, not {event_type}: say another name (--model)")
        signals = [name for item in self.project.definitions.signals if item.event_type == event_type
                   for name, _ in item.define]  # fmt: skip
        if self.model in (*(item.name for item in event.fields), *(name for name, _ in event.derive), *signals):
            raise InputError(
                f"{self.model} is already a field or signal of {event_type}: say another name (--model), "
                f"such as {event_type}_{self.model}"
            )

    def claim(self) -> int:
        """The number of a new version, with its folder made: nobody else gets it. Take it when its files are there."""
        number = self.next_version()
        while True:
            try:
                self.folder(number).mkdir(parents=True)
            except FileExistsError:  # somebody else was sooner
                number += 1
            else:
                return number

    def next_version(self) -> int:
        """The number that the next version would get: folders that were begun count."""
        begun = [
            int(path.name[1:])
            for path in (self.root / place_of(self.model)).glob("v*")
            if path.name[1:].isdigit() and path.is_dir()
        ]
        return max([0, *(each.number for each in self.versions), *begun]) + 1

    def folder(self, version: int) -> Path:
        """Where the file and the cards of a version stand; it may not be there yet."""
        return self.root / place_of(self.model) / f"v{version}"

    def card(self, version: int) -> dict[str, Any] | None:
        """What card.json of a version says; None for one that was adopted without. Raises InputError if unreadable."""
        return read_card(self.folder(version))

    def shadow_name(self, version: int) -> str:
        """The name under which a version scores in shadow."""
        return f"{self.model}_v{version}"

    # -- steps --------------------------------------------------------------------------------------------------------

    def add(self, version: int, *, by: str, at_us: int, why: str = "") -> Version:
        """Take in a version whose folder holds a model file and card.json, as a candidate.

        Raises InputError where they do not agree, or the number is taken.
        """

        def step(held: Held) -> tuple[Held, Changes]:
            if any(each.number == version for each in held.versions):
                raise InputError(f"{self.model} has a version {version} already: claim() gives a new one")
            added, event_type = self._added(version, held)
            event = Event(at=iso_time(at_us), who=by, what="added", version=version, why=why)
            return replace(held, event_type=event_type, versions=(*held.versions, added)).and_then(event), {}

        self._step(step, by, at_us)
        return self.version(version)

    def shadow(self, version: int, *, by: str, at_us: int, why: str = "") -> Version:
        """Let a candidate score every event in shadow, under a definition of its own."""

        def step(held: Held) -> tuple[Held, Changes]:
            found = self._in(held, version, CANDIDATE, "put into shadow")
            name = self.shadow_name(version)
            told = f"Version {version} of {self.model}, in shadow beside it."
            text = _definition(name, told, held.event_type, f"{self.model}/{_beside(found)}", found.inputs, "shadow")
            event = Event(at=iso_time(at_us), who=by, what="shadow", version=version, why=why)
            changes = {f"models/{name}.yaml": text, found.file: (self.root / found.file).read_bytes()}
            return held.with_state(version, SHADOW).and_then(event), changes

        self._step(step, by, at_us)
        return self.version(version)

    def request(
        self, version: int, *, by: str, at_us: int, gates: Judged | None = None, why: str = "", despite: str = ""
    ) -> Event:
        """Ask that a version in shadow becomes champion, with what the gates found.

        Raises InputError where they failed, or were not asked, and `despite` does not say why all the same, and where
        it was asked for already.
        """

        def step(held: Held) -> tuple[Held, Changes]:
            self._in(held, version, SHADOW, "asked for")
            if held.request is not None and held.request.version == version:
                raise InputError(
                    f"version {version} of {self.model} waits for approval already: {held.request.who} asked for it at "
                    f"{held.request.at}"
                )
            if not despite and (gates is None or not gates.passed):
                failed = [item["name"] for item in gates.as_data()["gates"] if not item["passed"]] if gates else []
                said = f"fails its gates ({', '.join(failed)})" if gates else "was not put to the gates"
                raise InputError(
                    f"version {version} of {self.model} {said}: say why it is wanted all the same (despite)"
                )
            champion = held.champions[-1] if held.champions else 0
            event = Event(
                at=iso_time(at_us), who=by, what="request", version=version, why=why, replaced=champion,
                gates=None if gates is None else gates.as_data(), despite=despite,
            )  # fmt: skip
            return held.and_then(event), {}

        self._step(step, by, at_us)
        return self.history[-1]

    def approve(self, version: int, *, by: str, at_us: int, why: str = "") -> Version:
        """Make a version that was asked for champion; the one before retires.

        Raises InputError where nobody asked, where who asked approves (unless learning.toml says `people = 1`), or
        where another champion stands there than the one that it was measured against.
        """

        def step(held: Held) -> tuple[Held, Changes]:
            found = self._in(held, version, SHADOW, "approved")
            request = held.request
            if request is None or request.version != version:
                raise InputError(f"nobody has asked for version {version} of {self.model}: request it first")
            if _same(request.who, by) and read_learning(self.root).people > 1:
                raise InputError(
                    f"{by} asked for version {version} of {self.model}: a second person approves it "
                    "(or learning.toml says `people = 1`)"
                )
            champion = held.champions[-1] if held.champions else 0
            if request.replaced != champion:
                raise InputError(
                    f"version {version} was measured against version {request.replaced}, and the champion is "
                    f"{champion} now: request it again"
                )
            event = Event(at=iso_time(at_us), who=by, what="approved", version=version, why=why, replaced=champion)
            changes = {**self._pointed(found, held), f"models/{self.shadow_name(version)}.yaml": None}
            after = held.with_state(champion, RETIRED).with_state(version, CHAMPION).and_then(event)
            return after, changes

        self._step(step, by, at_us)
        return self.version(version)

    def roll_back(self, *, by: str, at_us: int, why: str = "") -> Version | None:
        """Make the champion before this one champion again; None where there was none, and rules decide alone again.

        Then the model's definition goes, and `score` and `bands` go out of the policies that read it. Raises
        InputError where the champion was there before the registry was, or there is none.
        """

        def step(held: Held) -> tuple[Held, Changes]:
            if not held.champions or (len(held.champions) == 1 and held.history[0].what == "adopted"):
                raise InputError(
                    f"{self.model} had no champion before: to decide without it, take `score: {self.model}` and the "
                    "bands out of the policy"
                )
            *earlier, now = held.champions
            before = earlier[-1] if earlier else 0
            after = held.with_state(now, RETIRED)
            event = Event(at=iso_time(at_us), who=by, what="back", version=before, why=why, replaced=now)
            if not before:
                return after.and_then(event), self._without()
            found = next(each for each in held.versions if each.number == before)
            expect_file(self.root, found)
            return after.with_state(before, CHAMPION).and_then(event), self._pointed(found, held)

        self._step(step, by, at_us)
        return self.champion

    def retire(self, version: int, *, by: str, at_us: int, why: str = "") -> Version:
        """Let a candidate or challenger rest; its files stay."""

        def step(held: Held) -> tuple[Held, Changes]:
            found = self.version(version)
            if found.state not in (CANDIDATE, SHADOW):
                hint = "promote another, or roll back" if found.state == CHAMPION else "it rests already"
                raise InputError(f"version {version} of {self.model} is {found.state}: {hint}")
            event = Event(at=iso_time(at_us), who=by, what="retired", version=version, why=why)
            gone: Changes = {f"models/{self.shadow_name(version)}.yaml": None} if found.state == SHADOW else {}
            return held.with_state(version, RETIRED).and_then(event), gone

        self._step(step, by, at_us)
        return self.version(version)

    # -- how a step is taken ------------------------------------------------------------------------------------------

    def _step(self, step: Callable[[Held], tuple[Held, Changes]], by: str, at_us: int) -> None:
        """Take a step: read anew under the lock, check what is proposed, write it."""
        if not by.strip() or not by.isprintable() or len(by) > 200:
            raise InputError("say who it is that does this: a name or an address, on one line")
        with editing(self.root):
            self.project = Project.load(self.root)
            held = read_held(self.root, self.model, self.project)
            self._held = held
            if not held.history and held.versions:
                adopted = Event(at=iso_time(at_us), who=by, what="adopted", version=held.versions[0].number)
                held = held.and_then(adopted)
            after, changes = step(held)
            if changes:
                expect_agreement(self.root, self.model, proposed(self.project, changes), after)
            store(self.root, self.model, after, changes)
            if changes:
                self.project = self.project.reload()
            self._held = after

    def _in(self, held: Held, version: int, state: str, wanted: str) -> Version:
        found = self.version(version)
        if found.state != state:
            ways = {
                CANDIDATE: "put it into shadow first", SHADOW: "it is in shadow already",
                CHAMPION: "it decides already", RETIRED: "a retired version comes back by a roll back, or trained anew",
            }  # fmt: skip
            raise InputError(
                f"version {version} of {self.model} is {found.state} and cannot be {wanted}: {ways[found.state]}"
            )
        expect_file(self.root, found)
        return found

    def _added(self, version: int, held: Held) -> tuple[Version, str]:
        folder = self.folder(version)
        where = f"{place_of(self.model)}/v{version}"
        card = read_card(folder)
        if card is None:
            raise InputError(
                f"{where} has no card.json: a version is a model file with its card, as training writes them"
            )
        try:
            name, event_type, kind = str(card["model"]), str(card["event_type"]), str(card["kind"])
            file, inputs = str(card["file"]), tuple(map(str, card["inputs"]))
            sha256 = str(card["sha256"])
        except (KeyError, TypeError):
            raise InputError(f"{where}/card.json lacks model, event_type, kind, file, inputs or sha256") from None
        if name != self.model:
            raise InputError(f"{where}/card.json is of model {name}, not of {self.model}")
        if held.event_type and event_type != held.event_type:
            raise InputError(f"{where} scores {event_type}, and {self.model} scores {held.event_type}")
        if "/" in file or file in (".", ".."):
            raise InputError(f"{where}/card.json names a file elsewhere: {file}")
        added = Version(
            number=version, state=CANDIDATE, file=f"{where}/{file}", sha256=sha256, inputs=inputs, kind=kind
        )
        expect_file(self.root, added)
        return added, event_type

    def _pointed(self, version: Version, held: Held) -> dict[str, bytes | None]:
        """The definition of the model with the file and the inputs of a version, and that file."""
        content = (self.root / version.file).read_bytes()
        there = defined_in(self.project, "model", self.model)
        if there is None:
            told = f"The champion of models/{self.model}: version {version.number}."
            path = os.path.relpath(version.file, "models")
            text = _definition(self.model, told, held.event_type, path, version.inputs, "live")
            return {f"models/{self.model}.yaml": text, version.file: content}
        text = self.project.contents()[there]
        path = os.path.relpath(version.file, PurePosixPath(there).parent)
        text = set_key(text, there, "model", self.model, "file", PurePosixPath(path).as_posix())
        model = model_of(self.project, self.model)
        if model is not None and tuple(model.inputs) != version.inputs:
            text = set_key(text, there, "model", self.model, "inputs", version.inputs)
        return {there: text, version.file: content}

    def _without(self) -> dict[str, bytes | None]:
        """The project without the model: without its definition, and what policies say of it."""
        changes: dict[str, bytes | None] = {}
        file = defined_in(self.project, "model", self.model)
        if file is not None:
            changes[file] = without(self.project.contents()[file], file, "model", self.model)
        for policy in self.project.sources.policies:
            there = defined_in(self.project, "policy", policy.name)
            if policy.score != self.model or there is None:
                continue
            text = changes.get(there) or self.project.contents()[there]
            for key in ("score", "bands"):
                text = set_key(text, there, "policy", policy.name, key, None)
            changes[there] = text
        return changes


def models_in(project: Project) -> tuple[str, ...]:
    """The models of a project that have versions: those that it defines, and those that wait to be promoted."""
    root = project.root
    registered = {path.parent.name for path in (root / "models").glob(f"*/{FILE}")} if root is not None else set()
    shadows = set[str]()
    for name in registered:
        assert root is not None
        shadows |= {f"{name}_v{each['number']}" for each in stored(root, name)["versions"]}
    return tuple(sorted({str(model.name) for model in project.definitions.models} - shadows | registered))


def _beside(version: Version) -> str:
    """The path of a version's file in the folder of its model."""
    return "/".join(PurePosixPath(version.file).parts[2:])


def _same(one: str, other: str) -> bool:
    return one.strip().casefold() == other.strip().casefold()


def _definition(name: str, told: str, event_type: str, file: str, inputs: tuple[str, ...], mode: str) -> bytes:
    lines = [f"model: {name}", f"description: '{told}'", f"for: {event_type}", f"file: {file}", "inputs:"]
    lines += [f"  - {item}" for item in inputs]
    if mode != "live":
        lines.append(f"mode: {mode}")
    return format_text("\n".join(lines) + "\n").encode()
