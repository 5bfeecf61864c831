"""The client's encoding: what is sent says exactly what was given, and what JSON does not have is refused by name."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from uuid import UUID

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parakh.client import NotSent
from parakh.client.encoding import encode_event, encode_line


class Channel(Enum):
    ONLINE = "online"


class Country(StrEnum):
    INDIA = "IN"


class Level(IntEnum):
    HIGH = 3


@dataclasses.dataclass
class Payment:
    payment_id: str
    amount: Decimal
    channel: Channel = Channel.ONLINE


class Struct(msgspec.Struct, rename="camel", tag="payment", tag_field="kind"):
    payment_id: str
    card_number: str | msgspec.UnsetType = msgspec.UNSET


_FINITE = st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**30), max_value=10**30)


@given(_FINITE)
def test_a_decimal_is_sent_digit_by_digit(value: Decimal) -> None:
    sent = encode_event({"amount": value})
    text = sent.removeprefix(b'{"amount":').removesuffix(b"}").decode()
    assert "e" not in text.lower(), "plain digits, which every reader of JSON takes"
    assert Decimal(text) == value
    assert json.loads(sent, parse_float=Decimal, parse_int=Decimal)["amount"] == value


@given(st.dictionaries(
    st.text(min_size=1).filter(lambda name: not name.startswith("~")),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=8,
    ),
    max_size=6,
))  # fmt: skip
def test_what_json_has_comes_back_as_it_was(event: dict[str, object]) -> None:
    assert json.loads(encode_event(event)) == event
    line = encode_line(event)
    assert b"\n" not in line
    assert json.loads(line) == event


@given(st.datetimes(timezones=st.timezones()))
def test_a_time_is_sent_in_utc_to_the_microsecond(value: datetime) -> None:
    try:
        expected = value.astimezone(UTC)
    except OverflowError:
        with pytest.raises(NotSent, match="at"):
            encode_event({"at": value})
        return
    text = json.loads(encode_event({"at": value}))["at"]
    assert text.endswith("Z")
    assert datetime.fromisoformat(text) == expected


def test_values_of_a_program() -> None:
    event = {
        "naive": datetime(2026, 1, 2, 3, 4, 5, 6),
        "zoned": datetime(2026, 1, 1, 5, 30, tzinfo=timezone(timedelta(hours=5, minutes=30))),
        "day": date(2026, 1, 2),
        "uuid": UUID(int=7),
        "enum": Channel.ONLINE,
        "text_enum": Country.INDIA,
        "number_enum": Level.HIGH,
        "large": 2**70,
        "tuple": (1, Decimal("2.50")),
    }
    assert json.loads(encode_event(event), parse_float=Decimal) == {
        "naive": "2026-01-02T03:04:05.000006Z",
        "zoned": "2026-01-01T00:00:00.000000Z",
        "day": "2026-01-02",
        "uuid": "00000000-0000-0000-0000-000000000007",
        "enum": "online",
        "text_enum": "IN",
        "number_enum": 3,
        "large": 2**70,
        "tuple": [1, Decimal("2.50")],
    }


def test_scalars_of_numpy_are_what_they_hold() -> None:
    event = {
        "float64": np.float64(0.1),
        "float32": np.float32(0.1),
        "float16": np.float16(2.5),
        "int64": np.int64(-5),
        "uint64": np.uint64(2**64 - 1),
        "bool": np.bool_(True),
        "text": np.str_("a"),
        "time": np.datetime64("2026-01-01T10:00:00.123456789", "ns"),
        "array": np.array(3),
    }
    assert encode_event(event) == (
        b'{"float64":0.1,"float32":0.1,"float16":2.5,"int64":-5,"uint64":18446744073709551615,"bool":true,"text":"a",'
        b'"time":"2026-01-01T10:00:00.123456Z","array":3}'
    )


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_a_float32_is_read_back_as_the_same_float32(value: float) -> None:
    sent = json.loads(encode_event({"x": np.float32(value)}))["x"]
    assert np.float32(sent) == np.float32(value)


def test_dataclasses_and_structs_are_objects() -> None:
    assert encode_event(Payment("p1", Decimal("10.50"))) == b'{"payment_id":"p1","amount":10.50,"channel":"online"}'
    assert encode_event(Struct("p1")) == b'{"kind":"payment","paymentId":"p1"}'
    assert encode_event({"nested": Payment("p1", Decimal(1))}) == (
        b'{"nested":{"payment_id":"p1","amount":1,"channel":"online"}}'
    )


def test_bytes_are_sent_as_they_are() -> None:
    given_bytes = b' {"id": "p1",\n "amount": 1e2} \n'
    assert encode_event(given_bytes) == given_bytes
    assert encode_event(memoryview(given_bytes)) == given_bytes
    assert json.loads(encode_line(given_bytes)) == json.loads(given_bytes)
    assert b"\n" not in encode_line(given_bytes)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (float("nan"), "nan"),
        (float("inf"), "inf"),
        (Decimal("NaN"), "NaN"),
        (Decimal("-Infinity"), "Infinity"),
        (Decimal("1e100000"), "digits"),
        (np.float64("nan"), "nan"),
        (np.float32("inf"), "inf"),
        (np.datetime64("NaT"), "no time"),
        (np.timedelta64(1, "s"), "timedelta64"),
        (np.array([1, 2]), "one value"),
        (timedelta(seconds=1), "timedelta"),
        (b"bytes", "decode"),
        ({1: 2}, "texts"),
        ({1, 2}, "set"),
        (object(), "object"),
        ("\ud800", "surrogate"),
        ([1, {"deep": float("nan")}], "nan"),
    ],
    ids=lambda value: repr(value) if type(value) is not object else "object",
)
def test_what_json_does_not_have_is_refused_by_name(value: object, says: str) -> None:
    with pytest.raises(NotSent, match="amount") as refused:
        encode_event({"id": "p1", "amount": value})
    assert refused.value.field.startswith("amount")
    assert says in str(refused.value)


def test_pandas_missing_values_are_refused() -> None:
    pandas = pytest.importorskip("pandas")
    assert json.loads(encode_event({"at": pandas.Timestamp("2026-01-01 10:00:00.000000001", tz="UTC")})) == {
        "at": "2026-01-01T10:00:00.000000Z"
    }
    for missing in (pandas.NaT, pandas.NA):
        with pytest.raises(NotSent, match="at"):
            encode_event({"at": missing})


def test_the_place_of_a_wrong_value_is_named() -> None:
    with pytest.raises(NotSent) as refused:
        encode_event({"a": {"b": [0, {"c": float("nan")}]}})
    assert refused.value.field == "a.b[1].c"


def test_reserved_keys_depth_and_what_is_no_event() -> None:
    with pytest.raises(NotSent, match="reserved"):
        encode_event({"~degraded": True})
    deep: dict[str, object] = {}
    deep["a"] = deep
    with pytest.raises(NotSent, match="deeper"):
        encode_event(deep)
    for wrong in ("text", 5, None, ["p1"]):
        with pytest.raises(NotSent, match="an event is"):
            encode_event(wrong)
    with pytest.raises(NotSent, match="empty line"):
        encode_line(b" \n ")
