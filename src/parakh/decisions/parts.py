"""The decisions of one batch on one event type, in columns: what the engine hands on."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import msgspec
import numpy as np
from numpy.typing import NDArray

from parakh.decisions.policy import Judgement
from parakh.decisions.record import DecisionSchema, Writer, explained
from parakh.expressions.strings import Strings

__all__ = ["Judged", "Part"]


class Judged(msgspec.Struct, frozen=True):
    """What is counted of the decisions on one event type: bytes, of arrays as in `Judgement`, one element a decision.

    `held_out`: how many the policy's holdout let through, by the outcome that each would have had.
    """

    event_type: str
    outcome: bytes
    hits: bytes
    flags: bytes
    held_out: dict[str, int]


@dataclass(slots=True)
class Part:
    """The decisions on one event type in a batch; one element a decision in every array.

    `features` and `shadow_scores` hold columns (one row of the array a column); `contributions` has one row for each
    decision that is not allow, in order, or none. `position` is the place among all decisions of the batch.
    """

    schema: DecisionSchema
    writer: Writer
    position: NDArray[np.int64]
    rows: NDArray[np.int64]  # of the batch's frame, while it lasts
    id_hi: NDArray[np.uint64]
    id_lo: NDArray[np.uint64]
    ids: tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]
    event_time_us: NDArray[np.int64]
    decided_at_us: NDArray[np.int64]
    judgement: Judgement
    score: NDArray[np.float64]
    flags: NDArray[np.uint8]
    words: NDArray[np.int64]  # the frame's columns that outlive the batch: features, then shadow scores
    contributions: NDArray[np.float64]
    _explained: tuple[NDArray[np.int64], NDArray[np.float64]] | None = field(default=None, repr=False, compare=False)

    def __len__(self) -> int:
        return int(self.position.size)

    @property
    def explained(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The inputs that moved the score most of each decision that is not allow, and by how much (`explained`)."""
        if self._explained is None:
            self._explained = explained(self.contributions)
        return self._explained

    def held_out(self) -> dict[str, int]:
        """How many the policy's holdout let through, by the outcome that each would have had."""
        return self.schema.judge.held_out(self.judgement, self.flags)

    @property
    def judged(self) -> Judged:
        """What is counted of them."""
        judgement = self.judgement
        return Judged(
            self.schema.event_type,
            judgement.outcome.tobytes(),
            judgement.hits.tobytes(),
            self.flags.tobytes(),
            self.held_out(),
        )

    def id_texts(self) -> list[str]:
        """The id of each event."""
        buffer, starts, lengths = self.ids
        # Slices of bytes are cheaper than those of an array, but a few ids are not worth the copy of a large buffer.
        data = buffer.tobytes() if buffer.size < 2**20 or len(self) > 1024 else buffer.data
        return [str(data[s : s + n], "utf-8") for s, n in zip(starts.tolist(), lengths.tolist())]

    def records(self, strings: Strings) -> list[bytes]:
        """The encoded record of each decision."""
        buffer, offsets = self.writer.write(
            strings,
            self.words,
            self.judgement,
            self.explained,
            id_hi=self.id_hi,
            id_lo=self.id_lo,
            ids=self.ids,
            times=(self.event_time_us, self.decided_at_us),
            score=self.score,
            flags=self.flags,
        )
        bounds = offsets.tolist()
        data = buffer[: bounds[-1]].tobytes()
        return [data[start:end] for start, end in pairwise(bounds)]
