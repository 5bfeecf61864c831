"""The decoding kernels equal their definition in Python, on random lines: sound, odd and broken ones."""

from __future__ import annotations

import datetime
import json
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import parakh.events.decode as decode
from parakh.events import fields as column
from parakh.events.csv_rows import Cells
from parakh.events.decode import Decoded, Decoder, lay_out
from parakh.events.definition import EventType, Field, Label
from parakh.events.scalars import number_bits, scan_number
from parakh.expressions.columns import Layout
from parakh.expressions.strings import Strings
from parakh.expressions.types import BOOLEAN, INTEGER, NULL_WORD, NUMBER, STRING, TIMESTAMP, Kind, money

PAYMENT = EventType(
    name="payment",
    id="id",
    time="at",
    fields=(
        Field(name="id", type=STRING),
        Field(name="at", type=TIMESTAMP),
        Field(name="card", type=STRING),
        Field(name="amount", type=money("INR")),
        Field(name="yen", type=money("JPY")),
        Field(name="count", type=INTEGER),
        Field(name="ratio", type=NUMBER),
        Field(name="ratio_again", type=NUMBER, source="ratio"),
        Field(name="online", type=BOOLEAN),
        Field(name="seen", type=TIMESTAMP, source="device.seen"),
        Field(name="device", type=STRING, source="device.id"),
        Field(name="city", type=STRING, source="device.place.city name"),
    ),
    labels=(Label(name="fraud", source="is_fraud"), Label(name="kind", type=STRING, source="fraud_kind")),
)
KEYS = ["id", "at", "card", "amount", "yen", "count", "ratio", "online", "device", "is_fraud", "fraud_kind", "other"]

text = st.text(max_size=8) | st.sampled_from(
    ["", "नमस्ते", "é", "\u0000", "a\\b", '"', "\ud800", "12", "1.5", "true", "0"]
)
number_text = st.one_of(
    st.integers().map(str),
    st.integers(-(2**65), 2**65).map(str),
    st.decimals(allow_nan=False, allow_infinity=False, places=2, min_value=-(10**9), max_value=10**9).map(str),
    st.decimals(allow_nan=False, allow_infinity=False).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.tuples(st.integers(0, 10**20), st.integers(-400, 400)).map(lambda pair: f"{pair[0]}e{pair[1]}"),
    st.sampled_from([
        "-0", "0", "1", "-0.0", "1.0", "1.00", "0e5", "1e2", "1E+2", "00", "01", "1.", ".5", "+1", "1e", "1e400",
        "-1e-400",
        "NaN", "Infinity", "-Infinity", "9223372036854775807", "9223372036854775808", "-9223372036854775808",
        "18446744073709551616", "92233720368547758.07", "1" + "0" * 30,
    ]),
)  # fmt: skip
time_text = st.one_of(
    st.datetimes().map(lambda time: time.isoformat() + "Z"),
    st.datetimes().map(lambda time: time.isoformat(sep=" ")),
    st.sampled_from([
        "2026-01-01", "2026-02-29", "2024-02-29", "2026-13-01", "2026-01-01T10:00", "2026-01-01T10:00:00.123456789Z",
        "2026-01-01T10:00:00+05:30", "2026-01-01T10:00:00-0530", "2026-01-01T10:00:00+05", "2026-01-01T24:00:00Z",
        "2026-01-01T10:00:60Z", "2026-01-01 10:00:00 UTC", "2026-01-01t10:00:00z", "2026-1-1", "0000-01-01",
        "2026-01-01T10:00:00.Z", "2026-01-01T10:00:00,5Z", "2026-01-01T10:00:00+25:00", "1767225600", "1767225600000",
        " 2026-01-01 ", "2026-01-01T10:00:00Z ", "1969-12-31T23:59:59.999999Z", "2026-01-01T10:00:00+0",
        "2026-01-01T10:00Z", "2026-01-01T",
    ]),
)  # fmt: skip
space = st.sampled_from(["", "", "", " ", "\t", "\r\n", "  "])


def quoted(value: str) -> st.SearchStrategy[str]:
    return st.sampled_from([json.dumps(value), json.dumps(value, ensure_ascii=False)])


scalar = st.one_of(
    number_text, time_text.flatmap(quoted), text.flatmap(quoted), number_text.flatmap(quoted),
    st.sampled_from(["true", "false", "null", "null", "True", "nul", '"', '"\\u12"', '"\\x"', "{", "]", "'a'"]),
)  # fmt: skip


def members(keys: st.SearchStrategy[str], values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    member = st.tuples(keys, space, space, values, space).map(
        lambda parts: f"{parts[0]}{parts[1]}:{parts[2]}{parts[3]}{parts[4]}"
    )
    return st.lists(member, max_size=8).map(lambda items: "{" + ",".join(items) + "}")


any_value = st.recursive(
    scalar,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: "[" + ", ".join(items) + "]"),
        members(text.flatmap(quoted), inner),
    ),
    max_leaves=6,
)
place = members(st.sampled_from(['"city name"', '"x"']), scalar)
device = st.one_of(scalar, members(st.sampled_from(['"id"', '"seen"', '"place"', '"y"']), st.one_of(scalar, place)))
sound_fields = {
    "id": text.filter(bool).flatmap(quoted) | st.integers(0, 10**20).map(str),
    "at": st.datetimes(min_value=datetime.datetime(2001, 1, 1), max_value=datetime.datetime(2027, 1, 1)).map(
        lambda time: json.dumps(time.isoformat())
    ),
}


@st.composite
def lines(draw: st.DrawFn) -> bytes:
    """A line that is mostly an event: sound id and time, other members of any value, sometimes damaged."""
    items = [(key, draw(value)) for key, value in sound_fields.items()]
    items += draw(st.lists(st.tuples(st.sampled_from(KEYS), scalar | any_value | device), max_size=6))
    items = draw(st.permutations(items))
    gap = draw(space)
    line = "{" + ",".join(f"{gap}{json.dumps(key)}{gap}:{gap}{value}{gap}" for key, value in items) + "}" + gap
    encoded = line.encode("utf-8", "surrogatepass")
    if draw(st.integers(0, 9)) == 0:
        place = draw(st.integers(0, len(encoded) - 1))
        encoded = encoded[:place] + draw(st.binary(max_size=2)) + encoded[place + draw(st.integers(0, 2)) :]
    return encoded.replace(b"\n", b" ")


def decoder(strings: Strings) -> tuple[Decoder, Layout]:
    layout = Layout()
    lay_out(PAYMENT, layout)
    return Decoder(PAYMENT, layout, strings, started_us=1_798_761_600_000_000), layout


def rows(decoded: Decoded, words: np.ndarray, layout: Layout, strings: Strings) -> list[dict[str, Any]]:
    """What was decoded, without codes and places, which may differ."""
    result = []
    ids = decoded.id_texts()
    for index in range(decoded.count):
        row: dict[str, Any] = {
            "problem": int(decoded.problem[index]), "field": int(decoded.problem_field[index]),
            "id": (int(decoded.id_hi[index]), int(decoded.id_lo[index]), ids[index]),
            "digest": int(decoded.digest[index]), "time": int(decoded.times[index]),
        }  # fmt: skip
        for name, item in layout.columns.items():
            row[name] = value(int(words[item.slot, index]), item.type.kind, strings)
        row["fraud"] = int(decoded.labels["fraud"][index])
        row["kind"] = value(int(decoded.labels["kind"][index]), Kind.STRING, strings)
        result.append(row)
    return result


def value(word: int, kind: Kind, strings: Strings) -> Any:
    return strings.text(word) if kind is Kind.STRING and word != NULL_WORD else word


def spans(items: list[bytes]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    lengths = np.array([len(item) for item in items], np.int64)
    starts = np.cumsum(lengths + 1) - lengths - 1
    return np.frombuffer(bytearray(b"\n".join(items) + b"\n"), np.uint8), starts, lengths


def python_alone(
    buffer: Any, starts: Any, lengths: Any, first_row: Any, words: Any, labels: Any, out: Any, meta: Any, salt: Any,
    fields: Any, *rest: Any,
) -> int:  # fmt: skip
    """Stands in for the kernel and is sure of nothing."""
    for index in range(starts.shape[0]):
        column.clear_row(fields, words, labels, out, first_row + index, index)
    out[column.PROBLEM] = column.UNSURE
    return int(starts.shape[0])


@settings(max_examples=400, deadline=None, print_blob=True)
@given(st.lists(lines(), min_size=1, max_size=4))
def test_the_kernel_reads_json_as_python_does(items: list[bytes]) -> None:
    fast_strings, slow_strings = Strings(), Strings()
    fast, layout = decoder(fast_strings)
    slow, _ = decoder(slow_strings)
    words = np.full((layout.width, len(items)), 7, np.int64)
    fast_rows = rows(fast.decode_lines(*spans(items), words, 0), words, layout, fast_strings)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decode, "decode_json", python_alone)
        words = np.full((layout.width, len(items)), 7, np.int64)
        slow_rows = rows(slow.decode_lines(*spans(items), words, 0), words, layout, slow_strings)
    assert fast_rows == slow_rows


@settings(max_examples=300, deadline=None, print_blob=True)
@given(st.lists(st.fixed_dictionaries(dict.fromkeys(KEYS, number_text | time_text | text)), min_size=1, max_size=4))
def test_the_kernel_reads_csv_as_python_does(records: list[dict[str, str]]) -> None:
    encoded = [[record[name].encode("utf-8", "surrogatepass") for name in KEYS] for record in records]
    cells = [cell for record in encoded for cell in record]
    buffer, starts, lengths = spans(cells)
    shape = (len(records), len(KEYS))
    whole = np.ones(len(records), np.uint8)
    block = Cells(buffer, tuple(KEYS), starts.reshape(shape), lengths.reshape(shape), whole, starts, lengths)

    def all_rows() -> list[dict[str, Any]]:
        strings = Strings()
        fast, layout = decoder(strings)
        words = np.full((layout.width, len(records)), 7, np.int64)
        return rows(fast.decode_cells(block, words, 0), words, layout, strings)

    def unsure(buffer: Any, starts: Any, lengths: Any, whole: Any, columns: Any, first_row: Any, *rest: Any) -> int:
        return python_alone(buffer, starts, lengths, first_row, *rest)

    fast_rows = all_rows()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decode, "decode_cells", unsure)
        slow_rows = all_rows()
    assert fast_rows == slow_rows


@settings(max_examples=1000, deadline=None, print_blob=True)
@given(number_text | st.floats(allow_nan=False, allow_infinity=False).map(repr))
def test_numbers_are_the_nearest_float(number: str) -> None:
    buffer = np.frombuffer(bytearray(number.encode()), np.uint8)
    end, mantissa, exponent, negative, _ = scan_number(buffer, 0, buffer.shape[0])
    if end == buffer.shape[0]:
        sure, bits = number_bits(np.uint64(mantissa), exponent, negative)
        if sure:
            assert struct.unpack("<d", struct.pack("<q", bits))[0] == float(number)


@settings(max_examples=200, deadline=None, print_blob=True)
@given(st.permutations(KEYS), space)
def test_the_digest_is_of_the_values_alone(keys: list[str], gap: str) -> None:
    values = {
        "id": '"p1"', "at": '"2026-01-01T00:00:00Z"', "card": '"c"', "amount": "1.50", "yen": "3", "count": "4",
        "ratio": "0.5", "online": "true", "device": '{"id": "d"}', "is_fraud": "1", "fraud_kind": '"x"', "other": "[1]",
    }  # fmt: skip
    one = "{" + ",".join(f'"{key}":{gap}{values[key]}{gap}' for key in keys) + "}"
    two = json.dumps({key: json.loads(values[key]) for key in KEYS})
    fast, layout = decoder(Strings())
    words = np.empty((layout.width, 2), np.int64)
    decoded = fast.decode_lines(*spans([one.encode().replace(b"\n", b" "), two.encode()]), words, 0)
    assert decoded.problem.tolist() == [0, 0]
    assert decoded.digest[0] == decoded.digest[1]
