"""Types of expressions: what mixes and what does not, and what the reader is told; a golden file has every message."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from parakh.errors import ExpressionError
from parakh.expressions.check import Scope, TableType, check, check_condition
from parakh.expressions.types import BOOLEAN, INTEGER, NUMBER, STRING, TIMESTAMP, Type, money

GOLDEN = Path(__file__).parent.parent / "golden" / "expressions" / "mistakes.txt"
SCOPE = Scope(
    columns={
        "amount": money("INR"),
        "fee": money("INR"),
        "dollars": money("USD"),
        "yen": money("JPY"),
        "n": INTEGER,
        "score": NUMBER,
        "night": BOOLEAN,
        "country": STRING,
        "paid_at": TIMESTAMP,
        "opened_at": TIMESTAMP,
        "card.payments_10m": INTEGER,
        "card.payments_1h": INTEGER,
        "card.usual_30d": NUMBER,
        "device.cards_1d": INTEGER,
    },
    lists={"blocked_countries": STRING, "amounts": money("INR")},
    tables={"merchants": TableType(STRING, {"risk": NUMBER, "region": STRING})},
    unavailable={"fraud": "labels are known later: read them in features"},
)


@pytest.mark.parametrize(
    ("text", "type"),
    [
        ("amount + fee", money("INR")),
        ("amount - 0.5", money("INR")),
        ("-amount", money("INR")),
        ("abs(amount)", money("INR")),
        ("round(amount)", money("INR")),
        ("least(amount, fee, 100)", money("INR")),
        ("coalesce(amount, 0)", money("INR")),
        ("case when night then amount else 0 end", money("INR")),
        ("amount % 100", money("INR")),
        ("amount * 2", NUMBER),
        ("amount / 2", NUMBER),
        ("amount / fee", NUMBER),
        ("amount / card.usual_30d", NUMBER),
        ("coalesce(amount, score)", NUMBER),
        ("n + 1", INTEGER),
        ("n // 2", INTEGER),
        ("n / 2", NUMBER),
        ("n + 0.5", NUMBER),
        ("coalesce(n, 0.5)", NUMBER),
        ("round(n)", INTEGER),
        ("hour(paid_at)", INTEGER),
        ("date_diff('days', opened_at, paid_at)", INTEGER),
        ("date_diff('day', '2024-01-01', paid_at)", INTEGER),
        ("greatest(paid_at, opened_at)", TIMESTAMP),
        ("coalesce(paid_at, '2024-01-01')", TIMESTAMP),
        ("lookup('merchants', country, 'region')", STRING),
        ("lookup('merchants', lower(country), 'risk')", NUMBER),
        ("in_list(country, 'blocked_countries')", BOOLEAN),
        ("in_list(amount, 'amounts')", BOOLEAN),
        ("nullif(country, '')", STRING),
        ("night is not true", BOOLEAN),
        ("true", BOOLEAN),
    ],
)
def test_types(text: str, type: Type) -> None:
    assert check(text, SCOPE).type == type


def test_what_an_expression_reads() -> None:
    typed = check(
        "in_list(country, 'blocked_countries') or lookup('merchants', country, 'risk') > card.usual_30d", SCOPE
    )
    assert typed.names == ("country", "card.usual_30d")
    assert (typed.lists, typed.tables) == (("blocked_countries",), ("merchants",))


def test_a_condition_is_a_boolean() -> None:
    assert check_condition("amount > 5", SCOPE).type == BOOLEAN
    with pytest.raises(ExpressionError, match="a condition is true or false"):
        check_condition("amount", SCOPE)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("card.payments_1d > 1", "card.payments_10m or card.payments_1h"),
        ("crad.payments_10m > 1", "card.payments_10m"),
        ("device.payments_10m > 1", "card.payments_10m"),
        ("payments_10m > 1", "card.payments_10m"),
        ("Amount > 1", "amount"),
        ("amout > 1", "amount"),
        ("card.zzz > 1", "card has payments_10m"),
        ("fraud", "read them in features"),
        ("in_list(country, 'blocked')", "blocked_countries"),
        ("lookup('merchant', country, 'risk')", "merchants"),
        ("lookup('merchants', country, 'rsk')", "risk"),
    ],
)
def test_hints_say_what_may_have_been_meant(text: str, hint: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        check(text, SCOPE)
    assert hint in caught.value.hint


def rendered(text: str) -> str:
    """A mistake as people see it: the text, what is wrong in it, the message and the hint."""
    try:
        typed = check(text, SCOPE)
    except ExpressionError as error:
        marks = " " * error.start + "^" * max(1, error.end - error.start)
        hint = f"\n    hint: {error.hint}" if error.hint else ""
        return f"{text}\n{marks}\n    {error.message}{hint}\n"
    return f"{text}\n    is {typed.type}\n"


def test_every_message_is_as_agreed() -> None:
    """Run with PARAKH_GOLDEN=write after a change of messages, and read the difference."""
    blocks = GOLDEN.read_text(encoding="utf-8").split("\n\n")
    texts = [block.strip("\n").split("\n")[0] for block in blocks]
    told = "\n".join(rendered(text) for text in texts)
    if os.environ.get("PARAKH_GOLDEN") == "write":
        GOLDEN.write_text(told, encoding="utf-8")
    assert len(texts) > 60
    assert told == GOLDEN.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("day_of_week(at) = 0", "days of the week go from 1 (Monday) to 7 (Sunday): this never holds"),
        ("hour(at) in (22, 24)", "hours go from 0 to 23: this never holds"),
        ("hour(at) > 23", "hours go from 0 to 23: this never holds"),
        ("hour(at) != 24", "hours go from 0 to 23: this always holds"),
        ("tries = 2.5", "this is integer: it is never 2.5"),
        ("amount in (5, 5.005)", "money INR has 2 decimals: it is never 5.005"),
    ],
)
def test_what_a_literal_can_never_be_is_refused(text: str, said: str) -> None:
    scope = Scope({"at": TIMESTAMP, "tries": INTEGER, "amount": money("INR")})
    with pytest.raises(ExpressionError) as caught:
        check(text, scope)
    assert caught.value.message == said


@pytest.mark.parametrize("text", ["hour(at) >= 23", "hour(at) < 24", "day_of_week(at) >= 6", "tries >= 2.5"])
def test_what_it_can_be_is_not(text: str) -> None:
    assert check(text, Scope({"at": TIMESTAMP, "tries": INTEGER})).type == BOOLEAN
