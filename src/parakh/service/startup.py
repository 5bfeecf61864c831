"""From a project's folder and a data directory to a service that decides: lock, log, recovery, and the parts."""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import SystemRandom
from typing import IO

from parakh.decisions.engine import Engine
from parakh.errors import ParakhError
from parakh.project.project import Project
from parakh.service.addresses import guarded_client
from parakh.service.assembly import LiveVersion, Service
from parakh.service.changes import FOLDER, Changes
from parakh.service.desk import Desk
from parakh.service.enrichment import Enrichments
from parakh.service.entry_index import EntryIndex
from parakh.service.ledger import Ledger
from parakh.service.logs import get_log
from parakh.service.mistakes import Mistakes
from parakh.service.modelguard import ModelGuard
from parakh.service.observing import Observer
from parakh.service.outbox import Outbox
from parakh.service.personal.storing import Storing
from parakh.service.personal.tokens import Tokens
from parakh.service.personal.vault import TokenKey, open_token_key
from parakh.service.queue import DeskQueue
from parakh.service.recovery import BATCH, Progress, Recovered, build, recover
from parakh.service.settings import ServiceSettings
from parakh.service.snapshots import VersionEntry, find_snapshots
from parakh.service.telemetry import Telemetry
from parakh.service.upkeep import Upkeep
from parakh.service.versions import LiveProject, Versions
from parakh.service.warming import warm
from parakh.service.webhook_secrets import KeySeal
from parakh.streams.entries import PROJECT, ProjectVersion
from parakh.streams.log import EmbeddedLog
from parakh.streams.reader import LogReader

__all__ = ["Opened", "open_service"]

_START = "the start"
_SENDING_ENDS_S = 5.0
_LOG_FAILED = 74  # EX_IOERR
_MISTAKEN = 70  # EX_SOFTWARE
_TO_SAY_SO_S = 0.2
_VERIFIED_WHOLE = 8 << 30
_OWN_BYTES = 64 << 10
"""What the event loop writes to the log itself: some sixty single events, not a large piece of a batch."""
_log = get_log("startup")


@dataclass(frozen=True, slots=True)
class Opened:
    """A service and what a server has to know beside it."""

    service: Service
    outbox: Outbox
    recovered_from: int | None
    seconds: float


@asynccontextmanager
async def open_service(
    folder: Path | None,
    settings: ServiceSettings,
    *,
    now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    on_progress: Progress | None = None,
) -> AsyncIterator[Opened]:
    """The service of a project over a data directory, until it is left.

    Raises ParakhError where another process has the directory, or what is in it does not hold.
    """
    began = time.perf_counter()
    data = settings.data
    lock = _locked(data)
    try:
        for name in ("log", "snapshots", "building", "projects", "index"):
            (data / name).mkdir(mode=0o700, exist_ok=True)
        project = Project.load(folder) if folder is not None else None
        key = open_token_key(data, make=not any((data / "log").glob("*.log")))
        if key.master_made:
            _log.warning("a master key was made beside the data; keep it elsewhere, or give PARAKH_MASTER_KEY")
        store = Versions(data / "projects", key.tokens().of)
        loop = asyncio.get_running_loop()
        parts: list[DeskQueue] = []
        log = EmbeddedLog(
            data / "log",
            segment_bytes=settings.log.segment_bytes,
            verify_from=_verify_from(data),
            own_bytes=_OWN_BYTES,
            on_failure=lambda error: loop.call_soon_threadsafe(_stop_for_good, parts),
        )
        try:
            recovered = await asyncio.to_thread(recover, data, _reader(log), store, on_progress=on_progress)
            recovered = _at_version_of(folder, project, recovered, store, log, now_us())
            await asyncio.to_thread(warm, recovered.version, now_us())
            async with _assembled(folder, settings, log, recovered, store, key, now_us, parts) as (service, outbox):
                yield Opened(service, outbox, recovered.snapshot, time.perf_counter() - began)
        finally:
            log.close()
    finally:
        lock.close()


@asynccontextmanager
async def _assembled(
    folder: Path | None,
    settings: ServiceSettings,
    log: EmbeddedLog,
    recovered: Recovered,
    store: Versions,
    key: TokenKey,
    now_us: Callable[[], int],
    parts: list[DeskQueue],
) -> AsyncIterator[tuple[Service, Outbox]]:
    data, tokens = settings.data, key.tokens()
    loop = asyncio.get_running_loop()
    telemetry = Telemetry()
    guard = ModelGuard(time.monotonic)
    desk = Desk(recovered.engine, log, recovered.entries, guard=guard)
    observer = Observer(telemetry, desk, guard)
    for entry in recovered.versions:
        desk.learn_version(store.get(entry.hash))
    mistakes = Mistakes(data / "mistakes.json")
    queue = DeskQueue(desk, now_us, mistakes=mistakes)
    parts.append(queue)
    answer = desk.answer_of
    ledger = Ledger(data / "index", log, lambda hash: store.get(hash).definitions, answer)
    allowed = recovered.version.definitions.settings.enrichment_hosts
    outbox = Outbox(
        data / "service.db",
        log,
        answer,
        clock=now_us,
        rng=SystemRandom(),
        client_factory=lambda: guarded_client(allowed, timeout_s=settings.webhooks.timeout_us / 1e6, public=True),
        allowed=allowed,
        timeout_s=settings.webhooks.timeout_us / 1e6,
        attempts=settings.webhooks.attempts,
        in_flight=settings.webhooks.in_flight,
        on_result=telemetry.webhook,
        seal=KeySeal(key.key),
    )
    keep_us = settings.log.keep_us or recovered.version.definitions.settings.horizon_us
    upkeep = Upkeep(
        data, desk, queue, log, telemetry, settings.snapshots, keep_us, ledger.forget_before,
        on_snapshot=lambda: changes.forget_built(), snapshot_position=recovered.snapshot or 0,
    )  # fmt: skip
    changes = Changes(
        data, folder, store, desk, queue, log, recovered.version, recovered.versions,
        on_switch=lambda live: use(live), on_rebuilt=upkeep.request,
    )  # fmt: skip
    service = Service(
        desk, log, queue, ledger, changes, upkeep, telemetry, _live(recovered.version, tokens, desk), guard, now_us,
        settings.limits.depth,
    )  # fmt: skip

    closing: list[asyncio.Task[None]] = []

    def use(live: LiveProject) -> None:
        before, service.live = service.live, _live(live, tokens, desk)
        observer.count()
        telemetry.use_project(live.original.definitions, live.hash)
        closing.append(loop.create_task(before.enrichments.aclose()))

    telemetry.use_project(recovered.version.original.definitions, recovered.version.hash)
    _watch(service, outbox)
    mistakes.on_refused = observer.refused
    queue.observe = observer.decided
    queue.committed = observer.committed
    telemetry.before_exposition(observer.count)
    queue.mistaken = lambda error: _stop_mistaken(loop, error)
    queue.begin = lambda waited_s: guard.begin(max(0.0, service.live.deadline_s - waited_s))
    log.on_durable(lambda position: loop.call_soon_threadsafe(queue.durable, position))
    sending = asyncio.create_task(outbox.run())
    tasks = [sending, asyncio.create_task(upkeep.run()), asyncio.create_task(ledger.run())]
    try:
        yield service, outbox
    finally:
        queue.drain()
        await asyncio.to_thread(log.wait, log.end)
        queue.durable(log.durable)
        outbox.stop()
        for task in tasks:
            if task is not sending:
                task.cancel()
        await asyncio.wait([sending], timeout=_SENDING_ENDS_S)
        sending.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await changes.close()
        await service.live.enrichments.aclose()
        guard.close()
        outbox.close()


def _live(version: LiveProject, tokens: Tokens, desk: Desk) -> LiveVersion:
    definitions = version.original.definitions
    deadlines = [policy.deadline_us for policy in definitions.policies]
    enrichments = Enrichments(definitions, clock=time.monotonic)
    types = {plan.event.name: plan.index for plan in desk.engine.plan.types}
    return LiveVersion(
        storing=Storing(definitions, tokens.of),
        enrichments=enrichments,
        types=types,
        short={name: index for name, index in types.items() if not enrichments.asks(name)},
        events={event.name: event for event in definitions.events},
        deadline_s=min(deadlines, default=50_000) / 1e6,
    )


def _at_version_of(
    folder: Path | None,
    project: Project | None,
    recovered: Recovered | None,
    store: Versions,
    log: EmbeddedLog,
    now_us: int,
) -> Recovered:
    """State at the version of the project's folder, where the folder has changed since the log last saw it."""
    if recovered is None:
        if project is None or folder is None:
            raise ParakhError("the data directory is empty: give the folder of a project to begin with")
        version = store.keep(project)
        said = ProjectVersion.of(version.hash, version.name, project.contents(), rebuilt=True, who=_START, why=FOLDER)
        entry = VersionEntry(log.end, version.hash, version.name, now_us, True, _START, FOLDER)
        log.wait(log.append(PROJECT, said.encode(), arrived_us=now_us))
        return Recovered(Engine(version, batch_size=BATCH, live=True), EntryIndex(), log.end, version, [entry], None)
    if project is None or project.hash == recovered.version.hash:
        return recovered
    if any(entry.hash == project.hash for entry in recovered.versions):
        # It decided before, and was taken back or replaced: a start does not undo that.
        _log.warning("the folder holds a version that decided before; another decides now", hash=project.hash)
        return recovered
    version = store.keep(project)
    rebuilt = not recovered.engine.plan.intake.serves(version.definitions)
    if rebuilt:
        _log.info("the project's events or features changed: its history is built from the log", hash=version.hash)
        built = build(version, _reader(log), until=log.end)
        if built.unreadable:
            raise ParakhError(
                f"the project has changed, and {built.unreadable:,} events of the log cannot be read by it; start with "
                "the project as it was, or keep the fields that those events have"
            )
        recovered.engine, recovered.entries = built.engine, built.entries
    else:
        recovered.engine.apply(version)
    said = ProjectVersion.of(version.hash, version.name, project.contents(), rebuilt=rebuilt, who=_START, why=FOLDER)
    recovered.versions.append(VersionEntry(log.end, version.hash, version.name, now_us, rebuilt, _START, FOLDER))
    log.wait(log.append(PROJECT, said.encode(), arrived_us=now_us))
    recovered.version, recovered.position = version, log.end
    return recovered


def _watch(service: Service, outbox: Outbox) -> None:
    telemetry, desk, log, upkeep = service.telemetry, service.desk, service.log, service.upkeep
    telemetry.watch("parakh_log_durable_bytes", lambda: log.durable)
    telemetry.watch("parakh_state_bytes", lambda: desk.engine.nbytes + desk.entries.nbytes)
    telemetry.watch("parakh_state_limit_bytes", lambda: desk.engine.project.definitions.settings.state_bytes)
    telemetry.watch("parakh_state_records", lambda: desk.engine.state.records)
    telemetry.watch("parakh_state_keys", lambda: desk.engine.state.keys)
    telemetry.watch("parakh_ids", lambda: len(desk.engine.ids))
    telemetry.watch("parakh_queue_depth", lambda: service.queue.depth)
    telemetry.watch("parakh_snapshot_position", lambda: upkeep.snapshot_position)
    telemetry.watch("parakh_snapshot_age_seconds", lambda: upkeep.snapshot_age_s)
    telemetry.watch("parakh_index_lag_bytes", lambda: log.durable - service.ledger.position)
    telemetry.watch("parakh_outbox_pending", lambda: outbox.counts.pending)
    telemetry.watch("parakh_outbox_dead", lambda: outbox.counts.dead)
    telemetry.watch(
        "parakh_breaker_state",
        lambda: {
            name: float(breaker.state.value)
            for name, breaker in {**service.live.enrichments.breakers, **service.guard.breakers}.items()
        },
    )


def _verify_from(data: Path) -> int:
    """The whole log is checked at the start where that takes seconds; a longer one from its newest snapshot on."""
    size = sum(path.stat().st_size for path in (data / "log").glob("*.log"))
    newest = next(find_snapshots(data / "snapshots"), None)
    return 0 if size <= _VERIFIED_WHOLE or newest is None else newest.position


def _reader(log: EmbeddedLog) -> LogReader:
    return LogReader.of(log.folder, durable=log.durable)


def _locked(data: Path) -> IO[bytes]:
    """The directory for this process alone."""
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = (data / "lock").open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise ParakhError(f"another process serves {data}; one at a time may write its log") from None
    return file


def _stop_mistaken(loop: asyncio.AbstractEventLoop, error: Exception) -> None:
    """Deciding failed by a mistake of ours: what the engine holds may not be what the log says; a start mends it."""
    _log.failed("deciding_failed", error)
    loop.call_later(_TO_SAY_SO_S, os._exit, _MISTAKEN)


def _stop_for_good(parts: list[DeskQueue]) -> None:
    """The log could not be written: nothing more is acknowledged, and a start finds what is on disk."""
    for queue in parts:
        queue.fail()
    _log.error("the log failed: the process ends, since a second try may seem to succeed without the data")
    os._exit(_LOG_FAILED)
