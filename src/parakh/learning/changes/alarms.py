"""Alarms of drift: what has changed and still is so, each in one sentence - what, since when, from what to what."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from parakh.expressions.values import iso_time
from parakh.learning.changes.drift import ALARM, WATCH, told
from parakh.learning.changes.tracks import ALARMED, Track

__all__ = ["Alarm", "alarms_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """Something that has changed and still is: what, since when, how far, beyond which bound, in one sentence.

    `level` is alarm or watch. `event_type`, `kind`, `subject` and `since_us` name it: found again it is the same one.
    """

    level: str
    event_type: str
    kind: str
    subject: str
    since_us: int
    value: float
    bound: float
    text: str

    def as_data(self) -> dict[str, Any]:
        """As JSON has it, and as a service takes it."""
        return {
            "event_type": self.event_type, "kind": self.kind, "subject": self.subject, "since": iso_time(self.since_us),
            "value": self.value, "bound": self.bound, "text": self.text,
        }  # fmt: skip


def alarms_of(
    tracks: Sequence[Track],
    periods: npt.NDArray[np.int64],
    event_type: str,
    day: Callable[[int], str],
    earlier: npt.NDArray[np.int64],
) -> tuple[Alarm, ...]:
    """What has changed and still is so in the newest period; the alarms first, the farthest beyond first.

    `day` says a time as a day, for people; `earlier` are the periods before the first, for what began in one of them.
    """
    found = []
    for track in tracks:
        last = track.last
        if last is None or track.began is None:
            continue
        since_us = int(periods[track.began] if track.began >= 0 else earlier[track.began])
        value = float(track.value[last])
        if track.kind == "stability":
            bound = max(ALARM if track.state[last] == ALARMED else WATCH, float(track.high[last]))
        else:
            bound = float(track.high[last] if value > track.high[last] else track.low[last])
        alarm = Alarm(
            level="alarm" if track.state[last] == ALARMED else "watch", event_type=event_type, kind=track.kind,
            subject=track.subject, since_us=since_us, value=value, bound=bound,
            text=_sentence(track, last, day(since_us), bound, event_type),
        )  # fmt: skip
        usual = track.before(last)
        far = value / bound if track.kind == "stability" else abs(value - usual) / (usual + 1e-9)
        found.append((alarm.level, -far, track.kind, track.subject, alarm))
    return tuple(item[-1] for item in sorted(found, key=lambda item: item[:-1]))


def _sentence(track: Track, last: int, since: str, bound: float, event_type: str) -> str:
    value = float(track.value[last])
    if track.kind == "stability":
        said = f"{track.subject} is spread otherwise since {since}: index {value:.2f}, bound {bound:.2f}"
        return said + _moved(track, last)
    if track.kind == "received":
        return (
            f"{value:,.0f} {event_type} events a day came since {since}; before it was {track.before(last):,.0f}, and "
            f"chance ends at {bound:,.0f}"
        )
    what = {
        "missing": f"{track.subject} is missing in",
        "hit_rate": f"rule {track.subject} hits",
        "label_rate": f"{track.subject} is true of",
    }[track.kind]
    of = "matured events" if track.kind == "label_rate" else f"{event_type} events"
    return (
        f"{what} {_percent(value)} of {of} since {since}; it was {_percent(track.reference)}, and chance ends at "
        f"{_percent(bound)}"
    )


def _moved(track: Track, last: int) -> str:
    """What of an input's spread is told in words: its mean, and how much is missing, where they moved."""
    old, new = track.baseline, track.counts
    if old is None or new is None:
        return ""
    told_of = ""
    if (
        old.mean is not None
        and track.mean is not None
        and abs(float(track.mean[last]) - old.mean) > 0.1 * abs(old.mean)
    ):
        told_of = f"; its mean went from {told(old.mean)} to {told(float(track.mean[last]))}"
    missing = float(new[last, -1] / new[last].sum())
    if abs(missing - old.null_share) > 0.02:
        told_of += f"; missing in {_percent(missing)}, before in {_percent(old.null_share)}"
    return told_of


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
