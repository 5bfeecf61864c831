"""Where recorded events and their labels come from: what a set, a back-test or a look at drift replays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from parakh.decisions.decisions import Decisions
from parakh.decisions.definition import ProjectLike
from parakh.decisions.engine import Engine
from parakh.decisions.replay import Progress, Replay, Source, Summary
from parakh.events.merge import LogBatch

__all__ = ["Files", "Past", "Replaying"]

_FEW = 10


class Replaying(Protocol):
    """A replay that is ready to run; the engine's `words` hold a batch's columns while `on_entries` looks at it."""

    @property
    def engine(self) -> Engine: ...

    def run(
        self,
        on_batch: Callable[[Decisions, Progress], object] | None = None,
        *,
        on_entries: Callable[[LogBatch, Decisions], object] | None = None,
    ) -> Summary: ...


class Past(Protocol):
    """Recorded events and labels that can be replayed under a project, as often as one likes."""

    @property
    def event_types(self) -> tuple[str, ...]:
        """The types whose events are there, in order."""
        ...

    def replay(self, project: ProjectLike, *, batch_size: int = 4096) -> Replaying: ...

    def described(self) -> list[dict[str, Any]]:
        """What a card says about it: facts without paths of the machine."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """Files of events, and labels from a file or from columns of the events, known `label_delay_us` after them.

    What cannot be read goes to `quarantine`, where one is named. `started_us` bounds the times of events (us UTC; the
    clock's, unless said).

    >>> Files(sources=(Source("payment", "2025/payment.ndjson"),)).described()
    [{'event_type': 'payment', 'file': 'payment.ndjson'}]
    """

    sources: tuple[Source, ...]
    labels: str | None = None
    label_delay_us: int | None = None
    quarantine: Path | None = None
    started_us: int | None = None

    @property
    def event_types(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(source.event_type for source in self.sources))

    def replay(self, project: ProjectLike, *, batch_size: int = 4096) -> Replay:
        return Replay(
            project,
            self.sources,
            labels=self.labels,
            label_delay_us=self.label_delay_us,
            quarantine=self.quarantine,
            batch_size=batch_size,
            started_us=self.started_us,
        )

    def described(self) -> list[dict[str, Any]]:
        by_type: dict[str, list[str]] = {}
        for source in self.sources:
            by_type.setdefault(source.event_type, []).append(Path(source.path).name)
        return [
            {"event_type": event_type, "file": name}
            for event_type, names in by_type.items()
            for name in (names if len(names) <= _FEW else [f"{len(names):,} files, {names[0]} to {names[-1]}"])
        ]
