"""Changes of the project while the service runs: checked, applied without dropping a request, taken back.

A version that keeps the windows as they are decides at once. One whose events or features differ has its state built
from the log first, by a process beside this one, while the old version decides; then the rest is caught up, and the
switch is an entry of the log like any other. The last wish holds: whatever is applied meanwhile acts, and what is being
built is given up.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from parakh.errors import ModelError, ParakhError, ProjectError
from parakh.errors import Problem as Mistake
from parakh.project.diff import diff
from parakh.project.project import Project
from parakh.service import snapshots
from parakh.service.answers import Answer, iso
from parakh.service.beside import worker
from parakh.service.desk import Desk
from parakh.service.enrichment import check_environment
from parakh.service.logs import get_log
from parakh.service.problems import Problem, problem
from parakh.service.queue import DeskQueue
from parakh.service.recovery import BATCH, built_name, catch_up
from parakh.service.snapshots import VersionEntry
from parakh.service.state import StateBuilder
from parakh.service.versions import LiveProject, Versions
from parakh.streams.entries import ProjectVersion
from parakh.streams.failpoints import reach
from parakh.streams.log import EmbeddedLog
from parakh.streams.reader import LogReader

__all__ = ["FOLDER", "Changes"]

FOLDER = "folder"
"""Why a version stands in the log: the project's folder held it."""

_NEARLY = 1 << 20
_MOST_MISTAKES = 100
_encode = msgspec.json.Encoder().encode
_log = get_log("changes")
Told = Answer | Problem


@dataclass(slots=True)
class _Building:
    """A version whose state is being built."""

    version: LiveProject
    until: int
    position: int = 0
    failed: str = ""

    @property
    def progress(self) -> float:
        return min(1.0, self.position / self.until) if self.until else 1.0


@dataclass(frozen=True, slots=True)
class _GivenUp:
    """A version whose build was given up, and the one that was applied instead."""

    hash: str
    replaced_by: str


@dataclass(slots=True)
class Changes:
    """The versions of a running service. `folder` is the project's own, for an apply without files.

    `on_switch` is called when another version decides; `on_rebuilt` when its state is another too.
    """

    data: Path
    folder: Path | None
    store: Versions
    desk: Desk
    queue: DeskQueue
    log: EmbeddedLog
    version: LiveProject
    entries: list[VersionEntry]
    on_switch: Callable[[LiveProject], object]
    on_rebuilt: Callable[[], object]
    _building: _Building | None = None
    _given_up: _GivenUp | None = None
    _task: asyncio.Task[None] | None = None
    _ending: set[asyncio.Task[None]] = field(default_factory=set)
    _one: asyncio.Lock = field(default_factory=asyncio.Lock)
    _bench: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held by a build until its process has ended and what it leaves behind is removed, and while what was built for
    others is."""

    # -- what is asked ------------------------------------------------------------------------------------------------

    def shown(self) -> Answer:
        """The version that decides, and the one that is being built."""
        definitions = self.version.original.definitions
        said: dict[str, Any] = {
            **self._state(self.version.hash),
            "name": self.version.name,
            "events": [event.name for event in definitions.events],
            "entities": [entity.name for entity in definitions.entities],
            "rules": [{"name": rule.name, "mode": rule.mode.value} for rule in definitions.rules],
            "models": [model.name for model in definitions.models],
        }
        if self._building is not None:
            building = self._building
            said["building"] = {"hash": building.version.hash, "progress": round(building.progress, 4)}
            if building.failed:
                said["building"]["failed"] = building.failed
        if self._given_up is not None:
            said["given_up"] = {"hash": self._given_up.hash, "replaced_by": self._given_up.replaced_by}
        return Answer(200, _encode(said))

    def listed(self) -> Answer:
        """All versions that stand in the log, the newest first."""
        return Answer(
            200,
            _encode(
                {
                    "versions": [
                        {
                            "hash": entry.hash,
                            "name": entry.name,
                            "state": "live" if number == 0 else "past",
                            "applied_at": iso(entry.arrived_us),
                            "by": entry.who,
                            "position": entry.position,
                            "history": "rebuilt" if entry.rebuilt else "kept",
                        }
                        for number, entry in enumerate(reversed(self.entries))
                    ]
                }
            ),
        )

    async def check(self, files: Mapping[str, bytes] | None) -> Told:
        """Whether a project holds, and what applying it would do to the history."""
        try:
            project = await asyncio.to_thread(self._read, files)
        except ProjectError as error:
            return _refused(error)
        live = self.store.live(project)
        kept = self.desk.engine.plan.intake.serves(live.definitions)
        return Answer(
            200,
            _encode(
                {
                    "valid": True,
                    "hash": project.hash,
                    "history": "kept" if kept else "rebuilt",
                    "live": self.version.hash,
                    "changes": [
                        {"kind": change.kind, "name": change.name, "status": change.status}
                        for change in diff(self.version.original, project).changes
                    ],
                }
            ),
        )

    async def apply(self, files: Mapping[str, bytes] | None, version: str | None, who: str) -> Told:
        """Let a project decide: files, the server's own folder, or a version that decided before.

        Another version that is being built is given up, since it was to replace one that shall not decide any more.
        """
        why = FOLDER if files is None and version is None else ""
        async with self._one:
            try:
                if version is not None:
                    live = self.store.get(self.store.matching(version))
                else:
                    project = await asyncio.to_thread(self._read, files)
                    live = await asyncio.to_thread(self.store.keep, project)
                check_environment(live.original.definitions)
            except ProjectError as error:
                return _refused(error)
            except ParakhError as error:
                return problem("not_found", str(error))
            # From here on nothing is waited for until it is done, so that no build can end in between.
            if live.hash == self.version.hash:
                if self._under_way is not None:
                    self._give_up(live.hash)
                return self._applied(live.hash)
            if self._under_way is not None and self._under_way.version.hash == live.hash:
                return self._applied(live.hash)
            if not self.desk.engine.plan.intake.serves(live.definitions):
                self._give_up(live.hash)
                self._building = _Building(live, self.log.durable)
                self._task = asyncio.create_task(self._build(self._building, who, why))
                return self._applied(live.hash)
            try:
                position = self.switch(live, who, why)
            except ModelError as error:
                return _refused(ProjectError((Mistake(str(error)),)))
            self._give_up(live.hash)
            return (await self.queue.when_durable(position, self._applied(live.hash)))[0]

    def switch(self, live: LiveProject, who: str, why: str, built: StateBuilder | None = None) -> int:
        """Let a version decide from here on; answers from where on the log that is kept."""
        self.queue.drain()
        if built is None:
            self.desk.engine.apply(live)
        else:
            self.desk.engine, self.desk.entries = built.engine, built.entries
        version = ProjectVersion.of(
            live.hash, live.name, live.original.contents(), rebuilt=built is not None, who=who, why=why
        )
        arrived_us = self.queue.arrived_us()
        self.entries.append(
            VersionEntry(self.log.end, live.hash, live.name, arrived_us, version.rebuilt, who, version.why)
        )
        position = self.desk.switch(version, arrived_us)
        self.version = live
        self.on_switch(live)
        return position

    async def forget_built(self) -> None:
        """Remove what was built for versions that were switched to: a snapshot holds their state by now."""
        if self._under_way is not None or self._bench.locked():
            return
        async with self._bench:
            await self._remove_built()

    async def close(self) -> None:
        """Give up what is being built."""
        if self._task is not None:
            self._task.cancel()
            self._ending.add(self._task)
        await asyncio.gather(*self._ending, return_exceptions=True)

    def _read(self, files: Mapping[str, bytes] | None) -> Project:
        if files is not None:
            return self.store.check(files)
        if self.folder is None:
            raise ProjectError((Mistake("the service was started without a folder; send the project's files"),))
        return Project.load(self.folder)

    def _applied(self, hash: str) -> Answer:
        """What an apply answers; a retry of it is told too which build was given up for it."""
        said = self._state(hash)
        if self._given_up is not None and self._given_up.replaced_by == hash:
            said["replaced"] = self._given_up.hash
        return Answer(200 if hash == self.version.hash else 202, _encode(said))

    def _state(self, hash: str) -> dict[str, Any]:
        """Whether a version decides already, or how far its history is."""
        live = hash == self.version.hash
        previous = next((entry.hash for entry in reversed(self.entries) if entry.hash != self.version.hash), None)
        progress = 1.0 if live or self._building is None else round(self._building.progress, 4)
        return {
            "hash": hash,
            "state": "live" if live else "building",
            "progress": progress,
            "previous": previous if live else self.version.hash,
        }

    # -- building -----------------------------------------------------------------------------------------------------

    @property
    def _under_way(self) -> _Building | None:
        return self._building if self._building is not None and not self._building.failed else None

    def _give_up(self, replaced_by: str) -> None:
        """Give up what is being built, if anything is: its task is stopped where it waits, before it could switch."""
        building, self._given_up = self._under_way, None
        self._building = None
        if building is not None and self._task is not None:
            self._given_up = _GivenUp(building.version.hash, replaced_by)
            self._task.cancel()
            self._ending.add(self._task)
            self._task.add_done_callback(self._ending.discard)
            _log.info("build_given_up", hash=building.version.hash)

    async def _build(self, building: _Building, who: str, why: str) -> None:
        async with self._bench:
            try:
                await self._build_and_switch(building, who, why)
            except asyncio.CancelledError:
                building.failed = "it was given up"
                raise
            except (ParakhError, OSError) as error:
                building.failed = str(error)
            except Exception as error:
                # A mistake of ours: it may quote what an event carried. Another version can be applied all the same.
                building.failed = f"a mistake of the service's own ({type(error).__name__})"
                _log.failed("build_failed", error, hash=building.version.hash)
            finally:
                if building.failed:
                    await self._remove_built(built_name(building.version.hash))

    async def _remove_built(self, name: str = "") -> None:
        """Remove what was built, whole or not, under a name; all of it, unless one is given."""
        # Of one name what was left half done goes first: the whole is set aside under its name.
        for folder in sorted((self.data / "building").glob(f"{name}*"), reverse=True):
            with contextlib.suppress(OSError):  # it is tried again after the next snapshot
                await asyncio.to_thread(snapshots.remove, folder)

    async def _build_and_switch(self, building: _Building, who: str, why: str) -> None:
        await self._build_beside(building)
        reach("versions.built")
        built = await asyncio.to_thread(self._load, building)
        # What came meanwhile is caught up beside, until so little is left that nobody notices.
        while self.log.durable - built.position > _NEARLY:
            until = self.log.durable
            await asyncio.to_thread(catch_up, built, self._reader(until), until=until)
        # Nothing is waited for from here to the switch: a build that was given up does not come here.
        assert self._building is building, "a build that was given up is stopped"
        self.queue.drain()
        self.log.wait(self.log.end)
        catch_up(built, self._reader(self.log.durable), until=self.log.durable)
        if built.unreadable:
            raise ParakhError(f"{built.unreadable:,} events of the log cannot be read by this version")
        if built.engine.full is not None:
            raise built.engine.full
        self.switch(building.version, who, why, built)
        reach("versions.switched")
        self._building = None
        self.on_rebuilt()

    async def _build_beside(self, building: _Building) -> None:
        async with worker("build", self.data, building.until, building.version.hash) as builder:
            async for said in builder.said():
                building.position = said.get("position", building.position)
                if "unreadable" in said:
                    raise ParakhError(f"{said['unreadable']:,} events of the log cannot be read by this version")
                if "error" in said:
                    raise ParakhError(f"the history could not be built: {said['error']}")
            if code := await builder.code():
                raise ParakhError(f"the process that builds the history ended with {code}")

    def _load(self, building: _Building) -> StateBuilder:
        manifest = snapshots.read_manifest(self._folder(building))
        engine, entries = snapshots.restore(manifest, building.version, batch_size=BATCH, live=True)
        return StateBuilder(engine, entries, position=manifest.position, strict=False)

    def _folder(self, building: _Building) -> Path:
        return self.data / "building" / built_name(building.version.hash)

    def _reader(self, until: int) -> LogReader:
        return LogReader.of(self.log.folder, durable=until)


def _refused(error: ProjectError) -> Problem:
    """A project's mistakes as a problem, each with its place."""
    mistakes = [
        {
            "message": item.message,
            **({"file": item.place.file, "line": item.place.line, "column": item.place.column} if item.place else {}),
            **({"text": item.text} if item.text else {}),
            **({"hint": item.hint} if item.hint else {}),
        }
        for item in error.problems[:_MOST_MISTAKES]
    ]
    count = len(error.problems)
    return problem("project_invalid", f"{count} mistake{'s' if count != 1 else ''}", problems=mistakes)
