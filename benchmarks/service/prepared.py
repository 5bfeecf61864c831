"""Requests made before the clock runs, and what became of each: two files between the benchmark and its generator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["ANSWERED", "BROKEN", "REFUSED", "REPLAYED", "UNSENT", "WRONG", "Requests", "Sent", "post"]

UNSENT, ANSWERED, REFUSED, WRONG, REPLAYED, BROKEN = range(6)
"""Verdicts: not sent or not answered; 200 with an outcome for each event; another status; an answer without its
outcomes, or of another event; an answer said to be a repetition; a connection lost before the answer."""


@dataclass(frozen=True, slots=True)
class Requests:
    """HTTP requests as bytes. `events` is how many outcomes each is to be answered with; `ids` are those of the events
    in the order of the requests, or none."""

    wire: Sequence[bytes]
    events: Sequence[int]
    ids: Sequence[bytes] = ()

    def write(self, path: Path) -> None:
        np.savez(
            path,
            wire=np.frombuffer(b"".join(self.wire), np.uint8),
            ends=np.cumsum([len(one) for one in self.wire], dtype=np.int64),
            events=np.asarray(self.events, np.int32),
            ids=np.frombuffer(b"\n".join(self.ids), np.uint8),
        )

    @classmethod
    def read(cls, path: Path) -> Requests:
        with np.load(path) as held:
            wire, ends, ids = held["wire"].tobytes(), held["ends"].tolist(), held["ids"].tobytes()
            pieces = [wire[begin:end] for begin, end in zip([0, *ends[:-1]], ends)]
            return cls(pieces, held["events"].tolist(), ids.split(b"\n") if ids else ())


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of each request, in nanoseconds of the monotonic clock: when it was to be sent, when it was, and when
    its answer had come (0: never)."""

    due_ns: NDArray[np.int64]
    sent_ns: NDArray[np.int64]
    done_ns: NDArray[np.int64]
    verdicts: NDArray[np.uint8]
    events: NDArray[np.int32]
    began_ns: int
    problem: str = ""  # the first answer that was not as it should be

    def write(self, path: Path) -> None:
        np.savez(
            path, due=self.due_ns, sent=self.sent_ns, done=self.done_ns, verdicts=self.verdicts, events=self.events,
            began=np.int64(self.began_ns), problem=np.frombuffer(self.problem.encode(), np.uint8),
        )  # fmt: skip

    @classmethod
    def read(cls, path: Path) -> Sent:
        with np.load(path) as held:
            return cls(
                held["due"], held["sent"], held["done"], held["verdicts"], held["events"], int(held["began"]),
                held["problem"].tobytes().decode(errors="replace"),
            )  # fmt: skip

    @property
    def answered(self) -> NDArray[np.bool_]:
        return np.equal(self.verdicts, ANSWERED)

    @property
    def failed(self) -> int:
        """Requests that were sent and not answered as they should have been."""
        return int(np.count_nonzero((self.sent_ns > 0) & ~self.answered))

    def rate(self, warm_s: float = 0.0) -> float:
        """Events answered a second, after a time to warm up and before the last request was sent."""
        begin, end = self._warm_ns(warm_s), int(self.sent_ns.max())
        within = self.answered & (self.done_ns >= begin) & (self.done_ns <= end)
        return 1e9 * float(self.events[within].sum()) / max(1, end - begin)

    def latency_ms(self, *percents: float, warm_s: float = 0.0) -> tuple[float, ...]:
        """Percentiles of the time from when a request was to be sent until its answer had come.

        A request that never was answered counts as one that took for ever.
        """
        begin = self._warm_ns(warm_s)
        asked = (self.sent_ns > 0) & (self.due_ns >= begin)
        took = np.where(self.answered, (self.done_ns - self.due_ns) / 1e6, np.inf)[asked]
        return tuple(float(value) for value in np.percentile(took, percents, method="higher"))

    def _warm_ns(self, warm_s: float) -> int:
        """When all was warm: after so long, or a quarter of the time where all was sent sooner."""
        return self.began_ns + min(int(1e9 * warm_s), (int(self.sent_ns.max()) - self.began_ns) // 4)

    def late_ms(self, percent: float) -> float:
        """A percentile of how late the generator itself was: above a fraction of a latency, that figure is its own."""
        asked = self.sent_ns > 0
        return float(np.percentile((self.sent_ns - self.due_ns)[asked] / 1e6, percent)) if asked.any() else 0.0


def post(path: str, body: bytes, *, content_type: str = "application/json", headers: str = "") -> bytes:
    """One POST as it goes over the wire; `headers` are further lines, each with its CR LF."""
    return (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {content_type}\r\n{headers}"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body
