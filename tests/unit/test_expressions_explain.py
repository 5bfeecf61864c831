"""Explanations: every clause in words, with its value and its truth."""

from __future__ import annotations

import pytest

from parakh.expressions.check import Scope, TableType, check
from parakh.expressions.explain import describe_name, explain
from parakh.expressions.lists import ListIndex, TableIndex
from parakh.expressions.program import References
from parakh.expressions.strings import Strings
from parakh.expressions.types import BOOLEAN, INTEGER, NUMBER, STRING, TIMESTAMP, money
from parakh.expressions.values import Value, from_word, iso_time, timestamp_us, to_word
from parakh.expressions.zones import Zone

SCOPE = Scope(
    {
        "amount": money("INR"),
        "fee": money("INR"),
        "card.payments_10m": INTEGER,
        "card.usual_30d": NUMBER,
        "night": BOOLEAN,
        "country": STRING,
        "paid_at": TIMESTAMP,
    },
    lists={"blocked": STRING},
    tables={"risk": TableType(STRING, {"share": NUMBER})},
)
VALUES: dict[str, Value] = {
    "amount": 12.5,
    "fee": 1,
    "card.payments_10m": 7,
    "night": True,
    "country": "IN",
    "paid_at": "2024-02-01 03:00:00",
}


def references() -> References:
    strings = Strings()
    blocked = ListIndex(STRING)
    blocked.add([("IN", 50, None)], strings)
    risk = TableIndex(STRING, {"share": NUMBER})
    risk.put("IN", (0.25,), strings)
    return References(strings, {"blocked": blocked}, {"risk": risk}, Zone("Asia/Kolkata"))


@pytest.mark.parametrize(
    ("text", "truth", "words"),
    [
        ("card.payments_10m >= 6", True, "card payments in 10 min is 7, at least 6"),
        ("card.payments_10m > 7", False, "card payments in 10 min is 7, not more than 7"),
        ("5 < amount", True, "amount is 12.50, more than 5"),
        ("amount <= fee", False, "amount is 12.50, not at most fee (1.00)"),
        ("country = 'IN'", True, "country is IN"),
        ("country = 'US'", False, "country is IN, not US"),
        ("country <> 'US'", True, "country is IN, not US"),
        ("country in ('IN', 'US')", True, "country is IN, one of IN, US"),
        ("country not in ('IN')", False, "country is IN, one of IN"),
        ("amount between 1 and fee", False, "amount is 12.50, not between 1 and fee (1.00)"),
        ("country like 'I%'", True, "country is IN, like I%"),
        ("amount / card.usual_30d > 3", None, "amount / card usual in 30 days is unknown"),
        ("card.usual_30d is null", True, "card usual in 30 days is unknown"),
        ("amount is null", False, "amount is known: 12.50"),
        ("night", True, "night is true"),
        ("not night", False, "not (night is true)"),
        ("in_list(country, 'blocked')", True, "country (IN) is on list blocked"),
        ("lookup('risk', country, 'share') < 0.5", True, "share of country in risk is 0.25, less than 0.5"),
        ("hour(paid_at) = 8", True, "hour of paid at is 8"),
        ("starts_with(country, 'U')", False, "country is IN, does not start with U"),
        ("coalesce(card.usual_30d, 0) = 0", True, "card usual in 30 days (else 0) is 0"),
        ("amount > fee and (night or country = 'US')", True, None),
    ],
)
def test_words(text: str, truth: bool | None, words: str | None) -> None:
    explained = explain(check(text, SCOPE), VALUES, references=references(), at_us=60)
    assert explained.truth is truth
    if words is not None:
        assert explained.words == words


def test_clauses_are_told_apart() -> None:
    typed = check("amount > 5 and (country = 'US' or card.usual_30d > 1) and not night", SCOPE)
    explained = explain(typed, VALUES)
    assert explained.truth is False
    assert [clause.source for clause in explained[True]] == ["amount > 5", "night"]
    assert [clause.source for clause in explained[False]] == ["country = 'US'"]
    assert [clause.source for clause in explained[None]] == ["card.usual_30d > 1"]
    assert [part.joined_by for part in explained.clause.parts] == ["", "or", "not"]


def test_a_value_is_told_in_its_units() -> None:
    assert explain(check("amount * 2", SCOPE), VALUES).value == 25.0
    assert explain(check("amount * 2", SCOPE), VALUES).words == "amount * 2 is 25"


def test_own_words_for_names() -> None:
    typed = check("card.payments_10m >= 6", SCOPE)
    assert explain(typed, VALUES, lambda name: "Zahlungen").words == "Zahlungen is 7, at least 6"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("card.spent_calendar_day", "card spent today"),
        ("card.spent_calendar_month", "card spent this month"),
        ("card.spent_1h", "card spent in 1 hour"),
        ("card.spent_30s", "card spent in 30 s"),
        ("new_device", "new device"),
    ],
)
def test_names_in_words(name: str, words: str) -> None:
    assert describe_name(name) == words


@pytest.mark.parametrize(
    ("value", "type"),
    [
        (None, NUMBER),
        (None, STRING),
        (True, BOOLEAN),
        (-7, INTEGER),
        (0.1, NUMBER),
        ("it's", STRING),
        ("2024-01-31T10:00:00.000001Z", TIMESTAMP),
    ],
)
def test_values_come_back_from_their_words(value: Value, type: object) -> None:
    strings = Strings()
    assert from_word(to_word(value, type, strings), type, strings) == value  # type: ignore[arg-type]


def test_money_is_exact_in_and_out() -> None:
    strings = Strings()
    assert to_word(0.1, money("INR"), strings) == 10
    assert to_word(5, money("JPY"), strings) == 5
    assert to_word("2024-01-31 05:30+05:30", TIMESTAMP, strings) == to_word("2024-01-31", TIMESTAMP, strings)
    for value, type in ((0.001, money("INR")), (1.5, money("JPY")), ("5", INTEGER), (2**63, INTEGER), (1, STRING)):
        if type is STRING:
            assert strings.text(to_word(value, type, strings)) == "1"
        else:
            with pytest.raises(ValueError):
                to_word(value, type, strings)


@pytest.mark.parametrize(
    "text", ["", "2024", "2024-13-01", "20240131", "2024-W01-1", "31.01.2024", "2024-01-31 25:00", "now"]
)
def test_what_is_no_time(text: str) -> None:
    assert timestamp_us(text) is None


def test_times_as_people_read_them() -> None:
    assert iso_time(0) == "1970-01-01T00:00:00Z"
    assert iso_time(2**62) == str(2**62)
