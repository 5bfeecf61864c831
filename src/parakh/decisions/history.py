"""What decisions look back on: every feature of the new events of a batch, read in log order.

Labels act at their places between the events.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from parakh.decisions.admission import Admitted
from parakh.decisions.label_keys import key_words
from parakh.decisions.labelling import Placed
from parakh.decisions.plan import Intake
from parakh.events.labels import LabelRows
from parakh.features.reads import key_fields
from parakh.features.state import Entries, FeatureState

__all__ = ["History"]

_NOTHING = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True)
class History:
    """The windows of an engine, and the definitions that they were laid out by."""

    state: FeatureState
    intake: Intake

    def read(
        self, words: NDArray[np.int64], flags: NDArray[np.uint8], admitted: Admitted, placed: Placed | None
    ) -> None:
        """Every feature of every new event into the frame `words`, and the events and labels into the windows.

        Raises StateLimitError where the windows would outgrow what they can hold.
        """
        if placed is None:
            self.state.process(words, flags, Entries(admitted.table))
            return
        # What a label about a key is about depends on the events before it: the batch is cut there.
        cuts = [0, *placed.order[placed.held < 0].tolist(), 2 * int(max(admitted.entries.max(initial=0), 0)) + 2]
        cuts[-1] = max(cuts[-1], int(placed.order.max()) + 1)
        for low, high in pairwise(cuts):
            events = (2 * admitted.entries >= low) & (2 * admitted.entries < high)
            labels = np.flatnonzero((placed.order >= low) & (placed.order < high))
            self._process(words, flags, admitted, events, placed, labels)

    def _process(
        self,
        words: NDArray[np.int64],
        flags: NDArray[np.uint8],
        admitted: Admitted,
        events: NDArray[np.bool_],
        placed: Placed,
        which: NDArray[np.int64],
    ) -> None:
        """Some of the new events and of the labels, in the order of their entries."""
        labels = placed.labels.take(which)
        held, number = self._about(labels, placed.held[which])
        updates = self.state.label_updates(
            types=labels.event_type[number].astype(np.int64),
            labels=labels.label[number].astype(np.int64),
            held=held,
            ranks=labels.rank[number].astype(np.int64),
            values=labels.value[number],
        )
        count = int(held.size)
        order = np.concatenate([2 * admitted.entries[events], placed.order[which][number]])
        # At one place a label stands before nothing else: an entry is an event or a label, or labels after an event.
        acting = Entries.of(np.full(count, Entries.LABEL), np.arange(count), np.zeros(count))
        table = np.concatenate([admitted.table[events], acting.table])[np.argsort(order, kind="stable")]
        self.state.process(words, flags, Entries(table), updates)

    def _about(self, labels: LabelRows, held: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The held events that labels are about, and the number of the label for each."""
        if not labels.count or (held >= 0).all():
            return held, np.arange(labels.count)
        rows = []
        for number, row in enumerate(held.tolist()):
            found = np.array([row])
            if row < 0:
                event_type, code = int(labels.event_type[number]), int(labels.key[number])
                event = self.intake.events[event_type]
                carrying = []
                for way in key_fields(self.intake.entities[labels.entity[number]], event):
                    key = key_words(code, [event.field(name).type for name in way], self.intake.strings)
                    if key is not None:
                        carrying.append(self.state.held_with_key(event_type, way, key))
                found = np.unique(np.concatenate([_NOTHING, *carrying]))
            rows.append(found)
        numbers = np.repeat(np.arange(labels.count), [found.size for found in rows])
        return np.concatenate(rows), numbers
