"""What the oracle takes an event to be is what the decoder reads from the same event, to the last digit."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest

from oracle.log import Event
from oracle.sources import as_line, as_object, plain
from parakh.events.decode import Decoded, Decoder, lay_out
from parakh.events.definition import EventType
from parakh.expressions.columns import Layout
from parakh.expressions.strings import Strings
from parakh.expressions.types import Kind
from properties.strategies import STARTED_US, scenario


@pytest.mark.parametrize("source", ["lines", "objects"])
def test_the_decoder_reads_what_the_oracle_reads(source: str, seed: int, rounds: int) -> None:
    random = Random(seed)
    for _ in range(rounds):
        case = scenario(random, events=40)
        for event_type in case.definitions.events:
            events = [entry for entry in case.log if isinstance(entry, Event) and entry.type == event_type.name]
            if events:
                _compare(source, event_type, events)


def _compare(source: str, event_type: EventType, events: list[Event]) -> None:
    layout, strings = Layout(), Strings()
    lay_out(event_type, layout)
    decoder = Decoder(event_type, layout, strings, started_us=STARTED_US)
    words = np.zeros((layout.width, len(events) + 1), np.int64)
    decoded = _decode(source, decoder, event_type, events, words)
    refused = [
        event.id is None or event.time is None or not 946_684_800_000_000 <= event.time <= STARTED_US + 300_000_000
        for event in events
    ]
    assert [bool(problem) for problem in decoded.problem] == refused
    taken = [row for row, bad in enumerate(refused) if not bad]
    for row in taken:
        event = events[row]
        assert decoded.times[row] == event.time
        for name, expected in event.fields.items():
            column = layout[name]
            word = int(words[column.slot, row + 1])
            number = float(words.view(np.float64)[column.slot, row + 1])
            text = strings.text(word) if column.type.kind is Kind.STRING and word >= 0 else None
            got = plain(word, number, column.type, text)
            assert got == expected, (name, expected, got)
            assert type(got) is type(expected), (name, expected, got)
    # The id tells events apart; the digest tells bodies apart.
    ids = {(decoded.id_hi[row], decoded.id_lo[row]): events[row].id for row in taken}
    assert len(ids) == len({events[row].id for row in taken})
    for left in taken:
        for right in taken:
            same = events[left].fields == events[right].fields
            assert (decoded.digest[left] == decoded.digest[right]) == same


def _decode(source: str, decoder: Decoder, event_type: EventType, events: list[Event], words: np.ndarray) -> Decoded:
    if source == "objects":
        return decoder.decode_objects([as_object(event, event_type) for event in events], words, 1)
    lines = [as_line(event, event_type) for event in events]
    lengths = np.array([len(line) for line in lines], np.int64)
    starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)[:-1]])
    return decoder.decode_lines(np.frombuffer(b"".join(lines), np.uint8), starts, lengths, words, 1)
