"""What the ledger is asked for: every parameter, every way of getting it wrong, and cursors that were not given out."""

from __future__ import annotations

import base64
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ledger_streams import HOSTILE

from parakh.service.ledger import BadCursor, BadFilter, LedgerFilter
from parakh.service.ledger.filters import read_cursor, write_cursor

NAMES = (
    "event_type", "outcome", "decided", "entity", "from", "to", "by", "rule", "flag", "min_score", "limit", "cursor",
)  # fmt: skip


def test_every_parameter_is_read() -> None:
    asked = LedgerFilter.of({
        "event_type": "payment", "outcome": "review,block", "decided": "true", "entity": "card:k:1",
        "from": "2026-01-01", "to": "2026-01-01T12:00:00+05:30", "by": "event", "rule": "big", "flag": "late",
        "min_score": "0.5", "limit": "500", "cursor": "x",
    })  # fmt: skip
    assert asked == LedgerFilter(
        event_type="payment", outcomes=(2, 3), decided=True, entity=("card", ("k:1",)),
        since_us=1_767_225_600_000_000, until_us=1_767_225_600_000_000 + 23_400_000_000, by_event_time=True,
        rule="big", flag="late", min_score=0.5, limit=500, cursor="x",
    )  # fmt: skip
    assert LedgerFilter.of({}) == LedgerFilter()


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("pair:a", ("a",)), ('pair:["a","b"]', ("a", "b")), ('pair:["[\\"a\\"]"]', ('["a"]',)), ("pair:[a", ("[a",)),
        ("pair:", ("",)), ('pair:["a",1]', ('["a",1]',)),
    ],
)  # fmt: skip
def test_a_joined_key_is_an_array_of_texts(text: str, key: tuple[str, ...]) -> None:
    assert LedgerFilter.of({"entity": text}).entity == ("pair", key)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("event_type", ""), ("outcome", ""), ("outcome", "blocked"), ("outcome", "allow,"), ("outcome", "ALLOW"),
        ("decided", "1"), ("entity", "card"), ("entity", ":k"), ("entity", "card:[]"),
        ("entity", 'c:["1","2","3","4","5","6","7"]'),
        ("from", "yesterday"), ("from", "1767225600"), ("from", "2026-13-01"), ("to", ""), ("by", "arrival"),
        ("flag", "early"), ("min_score", "high"), ("min_score", "nan"), ("min_score", "inf"), ("min_score", "1_0"),
        ("limit", "0"), ("limit", "501"), ("limit", "-1"), ("limit", "1e2"), ("limit", "\N{ARABIC-INDIC DIGIT ONE}"),
        ("rule", ""), ("cursor", ""), ("rule", "x" * 4001), ("rule", "\ud800"), ("entity", "card:\udfff"),
    ],
)  # fmt: skip
def test_a_bad_value_is_refused_with_a_hint_and_not_repeated(name: str, text: str) -> None:
    with pytest.raises(BadFilter) as refused:
        LedgerFilter.of({name: text})
    assert (refused.value.code, refused.value.parameter) == ("bad_filter", name)
    assert refused.value.hint or len(text) > 4000
    assert len(text) < 3 or text not in refused.value.message


def test_an_unknown_parameter_is_refused_with_the_nearest() -> None:
    with pytest.raises(BadFilter, match="outcome"):
        LedgerFilter.of({"outcomes": "block"})
    for name in HOSTILE:
        with pytest.raises(BadFilter) as refused:
            LedgerFilter.of({name: "x"})
        assert refused.value.hint
    with pytest.raises(BadFilter, match="before"):
        LedgerFilter.of({"from": "2026-01-02", "to": "2026-01-02"})


@given(st.sampled_from(NAMES), st.one_of(st.text(), st.text(alphabet='0123456789-:,[]"TZ.+eE')))
def test_whatever_is_given_is_read_or_refused(name: str, text: str) -> None:
    with contextlib.suppress(BadFilter):
        assert len(LedgerFilter.of({name: text}).digest) == 4


@given(st.integers(0, 2**62), st.integers(0, 2**32 - 1))
def test_a_cursor_names_its_place(position: int, index: int) -> None:
    asked = LedgerFilter(rule="big")
    cursor = write_cursor(asked, (position, index))
    assert read_cursor(asked, cursor, 2**62) == (position, index)
    with pytest.raises(BadCursor, match="another filter"):
        read_cursor(LedgerFilter(rule="small"), cursor, 2**62)
    assert read_cursor(LedgerFilter(rule="big", limit=3), cursor, 2**62) == (position, index)
    if position:
        with pytest.raises(BadCursor):
            read_cursor(asked, cursor, position - 1)


@given(st.one_of(st.text(max_size=60), st.binary(max_size=40).map(lambda data: base64.b64encode(data).decode())))
def test_a_cursor_that_was_not_given_out_is_refused(text: str) -> None:
    with pytest.raises(BadCursor) as refused:
        read_cursor(LedgerFilter(), text, 1_000)
    assert refused.value.code == "bad_cursor"


def test_a_cursor_is_not_read_in_two_ways() -> None:
    asked = LedgerFilter()
    cursor = write_cursor(asked, (100, 3))
    for other in (
        cursor + "=",
        cursor[:-1],
        cursor[:-1] + chr(ord(cursor[-1]) + 1),
        cursor + "A",
        " " + cursor,
        cursor.lower(),
    ):
        with pytest.raises(BadCursor):
            read_cursor(asked, other, 1_000)
