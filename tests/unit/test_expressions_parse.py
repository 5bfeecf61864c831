"""Reading expressions: every trap that SQL and sqlglot set is refused or read as DuckDB reads it."""

from __future__ import annotations

from decimal import Decimal

import pytest

from parakh.errors import ExpressionError, Place, SourceText
from parakh.expressions.aggregate import ParsedAggregate, parse_aggregate
from parakh.expressions.parse import is_name, parse
from parakh.expressions.syntax import (
    Arithmetic,
    Between,
    Call,
    Case,
    Compare,
    In,
    IsBoolean,
    IsNull,
    Like,
    Literal,
    Logic,
    Name,
    Negate,
    Not,
    Syntax,
)

A, B, C = Name("a"), Name("b"), Name("c")


@pytest.mark.parametrize(
    ("text", "root"),
    [
        ("card.payments_10m >= 6", Compare(">=", Name("card.payments_10m"), Literal(6))),
        ("a != b", Compare("!=", A, B)),
        ("a <> b", Compare("!=", A, B)),
        ("a == b", Compare("=", A, B)),
        ("not a = b", Not(Compare("=", A, B))),
        ("not a in (1, 2)", In(A, (Literal(1), Literal(2)), negated=True)),
        ("a not in (1)", In(A, (Literal(1),), negated=True)),
        ("a between 1 and 2 and c", Logic("and", (Between(A, Literal(1), Literal(2)), C))),
        ("a not between b and c", Between(A, B, C, negated=True)),
        ("a is not null", IsNull(A, negated=True)),
        ("a = b is null", IsNull(Compare("=", A, B))),
        ("a is not true", IsBoolean(A, True, negated=True)),
        ("a is not distinct from b", Compare("is not distinct from", A, B)),
        ("a = null", Compare("=", A, Literal(None))),
        ("'it''s'", Literal("it's")),
        ("'a\\'", Literal("a\\")),
        ("-5", Literal(-5)),
        ("- - 5", Literal(5)),
        ("-a", Negate(A)),
        ("a - -5", Arithmetic("-", A, Literal(-5))),
        ("a - b - c", Arithmetic("-", Arithmetic("-", A, B), C)),
        ("a + b * c", Arithmetic("+", A, Arithmetic("*", B, C))),
        ("a // b % c", Arithmetic("%", Arithmetic("//", A, B), C)),
        ("1e3", Literal(Decimal(1000))),
        ("1_000", Literal(1000)),
        ("0.10", Literal(Decimal("0.1"))),
        ("a and (b and c)", Logic("and", (A, B, C))),
        ("a or b and c", Logic("or", (A, Logic("and", (B, C))))),
        ("a not like 'x!%' escape '!'", Like(A, Literal("x!%"), "!", negated=True)),
        ("a ilike 'x%'", Like(A, Literal("x%"), any_case=True)),
        ("case when a then 1 end", Case(None, ((A, Literal(1)),), None)),
        ("case a when 1 then b else c end", Case(A, ((Literal(1), B),), C)),
        ("date_diff('day', a, b)", Call("date_diff", (Literal("day"), A, B))),
        ("datediff('DAY', a, b)", Call("date_diff", (Literal("day"), A, B))),
        ("HOUR(a)", Call("hour", (A,))),
        ("pow(a, 2)", Call("power", (A, Literal(2)))),
        ("größe = 1", Compare("=", Name("größe"), Literal(1))),
        ("date", Name("date")),
        ("a\n  and b", Logic("and", (A, B))),
    ],
)
def test_reads(text: str, root: Syntax) -> None:
    assert parse(text).root == root


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a b", "an operator is missing"),
        ("a as b", "not allowed"),
        ("1; drop table x", "statements"),
        ("a = b = c", "do not chain"),
        ("1 < a < 5", "do not chain"),
        ("a is distinct from b is distinct from c", "do not chain"),
        ("a is null is null", "do not chain"),
        ("a = not b", "parentheses"),
        ("a -- b", "comments"),
        ("a /* b */", "comments"),
        ("--5", "comments"),
        ('"a" = 1', "double quotes"),
        ("`a` = 1", "backquotes"),
        ("'a' 'b'", "side by side"),
        ("'a", "not closed"),
        ("E'a'", "not a name"),
        ("$$a$$", "not allowed"),
        ("x'00'", "an operator is missing"),
        ("a::int", "casts"),
        ("cast(a as int)", "no function"),
        ("date '2024-01-01'", "an operator is missing"),
        ("interval 1 day", "cannot be a name"),
        ("a ** 2", "not allowed"),
        ("a ^ 2", "not allowed"),
        ("a || b", "joined"),
        ("a[1]", "brackets"),
        ("[1, 2]", "brackets"),
        ("{'a': 1}", "braces"),
        ("x -> x", "lambdas"),
        ("?", "parameters"),
        ("$1", "parameters"),
        ("@a", "not allowed"),
        ("a:b", "not allowed"),
        ("now()", "no function"),
        ("current_date", "not allowed"),
        ("dayofweek(a)", "no function"),
        ("random() < 0.5", "no function"),
        ("count(*)", "no function"),
        ("*", "stands for nothing"),
        ("a.*", "a name is missing"),
        ("(select 1)", "cannot be a name"),
        ("a in (select 1)", "sub-queries"),
        ("exists(select 1)", "no function"),
        ("sum(a) over ()", "no function"),
        ("a over ()", "not allowed"),
        ("lower(distinct a)", "cannot be a name"),
        ("a.b.c", "at most two parts"),
        ("a . b", "no blanks"),
        ("a.lower()", "methods"),
        ("a.10m", "a name is missing"),
        ("0x1F", "an operator is missing"),
        (".5", "before the point"),
        ("1e400", "too large"),
        ("9223372036854775808", "beyond 64 bits"),
        ("1" + "0" * 30, "beyond 64 bits"),
        ("9" * 5000, "beyond 64 bits"),
        ("a in ()", "empty"),
        ("a in b", "needs a list"),
        ("a, b", "comma"),
        ("(a, b) in ((1, 2))", "comma"),
        ("a isnull", "not allowed"),
        ("a is unknown", "followed by null"),
        ("a collate b", "not allowed"),
        ("a = any(b)", "no function"),
        ("a similar to b", "not a name"),
        ("a ~ b", "not allowed"),
        ("hour(a => 1)", "not allowed"),
        ("hour(a, b)", "does not take 2"),
        ("starts_with(a)", "does not take 1"),
        ("abs()", "needs arguments"),
        ("date_diff(a, b, c)", "unit"),
        ("case when a end", "does not belong"),
        ("case when a then 1", "not closed"),
        ("a then b", "without `case`"),
        ("(a", "not closed"),
        ("a)", "closes nothing"),
        ("a and", "a value is missing"),
        ("and a", "cannot be a name"),
        ("", "empty"),
        ("  \n ", "empty"),
        ("a\x00b", "U+0000"),
        ("a\u200bb", "U+200B"),
        ("\ud800", "U+D800"),
    ],
)
def test_refuses(text: str, message: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse(text)
    assert message in caught.value.message
    assert 0 <= caught.value.start <= caught.value.end <= len(text)


ATTACKS = [
    "__import__('os').system('id')",
    "().__class__.__bases__[0]",
    "eval('1')",
    "exec('1')",
    "lambda: 0",
    "read_csv('/etc/passwd')",
    "read_text('/etc/passwd')",
    "(select content from read_text('/etc/passwd'))",
    "getenv('HOME')",
    "pg_sleep(10)",
    "attach 'x.db'",
    "copy t to 'x'",
    "install httpfs",
    "load httpfs",
    "pragma version",
    "set memory_limit = '1GB'",
    "{{ 7 * 7 }}",
    "{% raw %}",
    "${jndi:ldap://x}",
    "'; drop table t; --",
    "1 union select 1",
    "xp_cmdshell('id')",
    "query('select 1')",
    "columns('.*')",
    "unnest([1])",
    "getvariable('x')",
    "nextval('s')",
    "struct_pack(a := 1)",
    "read_parquet('s3://x')",
    "list_transform([1], x -> x)",
    "try(1)",
    "error('x')",
    "version()",
    "current_setting('x')",
    "a; select 1",
    "regexp_matches(a, '(a+)+$')",
]
CONTEXTS = [
    "{}",
    "a = {}",
    "{} = 1",
    "a and {}",
    "({})",
    "not ({})",
    "abs({})",
    "case when {} then 1 end",
    "a in (1, {})",
    "a between 1 and {}",
    "coalesce(a, {}, 0)",
    "a like 'x' and ({}) is null",
    "in_list({}, 'x')",
    "lookup('t', {}, 'c') > 1",
]


@pytest.mark.parametrize("attack", ATTACKS)
def test_refuses_escapes_everywhere(attack: str) -> None:
    assert len(ATTACKS) * len(CONTEXTS) >= 500
    for context in CONTEXTS:
        with pytest.raises(ExpressionError):
            parse(context.replace("{}", attack))


@pytest.mark.parametrize("text", ["a.__class__", "__import__", "_x"])
def test_names_of_python_are_only_names(text: str) -> None:
    assert parse(text).root == Name(text)


def test_limits_hold_at_their_edges() -> None:
    parse(" or ".join(["a"] * 199))
    with pytest.raises(ExpressionError, match="more than 200 parts"):
        parse(" or ".join(["a"] * 201))
    parse(f"a in ({', '.join(map(str, range(1500)))})")
    with pytest.raises(ExpressionError, match="at most 8,192"):
        parse(f"a in ({', '.join(map(str, range(2500)))})")
    parse("abs(" * 19 + "a" + ")" * 19)
    with pytest.raises(ExpressionError, match="20 levels"):
        parse("abs(" * 21 + "a" + ")" * 21)
    parse("(" * 30 + "a" + ")" * 30)
    parse("a + " * 90 + "a")


@pytest.mark.parametrize("piece", ["(", "not ", "- ", "abs(", "case when ", "a and (", "a in (", "-(", "a = ("])
def test_deep_nesting_is_refused_and_not_a_crash(piece: str) -> None:
    with pytest.raises(ExpressionError):
        parse(piece * (8_000 // len(piece)) + "a")


def test_errors_point_at_the_offending_text() -> None:
    text = SourceText("amount > 5 and\n  amout < now()", Place("rules/a.yaml", 3, 5))
    with pytest.raises(ExpressionError) as caught:
        parse(text)
    assert text[caught.value.start : caught.value.end] == "now"
    assert "use that field" in caught.value.hint
    assert text.at(caught.value.start).line == 4


def test_positions_of_parts() -> None:
    text = "a = null or case when b then true else false end = 'x''y'"
    expression = parse(text)
    spans = {text[part.start : part.end] for part in expression.walk()}
    assert {"a", "null", "a = null", "b", "true", "false", "'x''y'"} <= spans


def test_names_in_the_order_of_the_text() -> None:
    assert parse("b > 1 and a < b or card.x in (c, 1)").names == ("b", "a", "card.x", "c")


@pytest.mark.parametrize("name", ["amount", "date", "value", "größe", "level", "count", "hour"])
def test_a_plain_column_is_a_name(name: str) -> None:
    assert is_name(name)


@pytest.mark.parametrize(
    "name", ["from", "case", "set", "order", "null", "true", "a b", "a.b", "1a", "", "a-b", "'a'", "and"]
)
def test_what_is_no_plain_column_is_no_name(name: str) -> None:
    assert not is_name(name)


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("count(*)", ParsedAggregate("count", False, None, 6)),
        ("count( * )", ParsedAggregate("count", False, None, 7)),
        ("COUNT(distinct card)", ParsedAggregate("count", True, "card", 15)),
        ("sum(amount * (1 + n))", ParsedAggregate("sum", False, "amount * (1 + n)", 4)),
        ("last( kyc_level )", ParsedAggregate("last", False, "kyc_level", 6)),
        ("since_last()", ParsedAggregate("since_last", False, None, 11)),
        ("max(case when a = ')' then 1 end)", ParsedAggregate("max", False, "case when a = ')' then 1 end", 4)),
    ],
)
def test_reads_aggregates(text: str, parsed: ParsedAggregate) -> None:
    assert parse_aggregate(text) == parsed
    if parsed.argument:
        assert text[parsed.offset :].startswith(parsed.argument)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("amount", "count(*)"),
        ("mean(amount)", "avg"),
        ("sun(amount)", "sum"),
        ("median(amount)", "aggregates:"),
        ("sum(amount) / count(*)", "signals"),
        ("sum(amount) + (1)", "signals"),
        ("sum()", "sum(amount)"),
        ("count()", "count(*)"),
        ("since_last(amount)", ""),
        ("sum(distinct amount)", "count(distinct x)"),
        ("(sum(amount))", "count(*)"),
        ("", ""),
        ("sum(amount", "count(*)"),
    ],
)
def test_refuses_aggregates(text: str, hint: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse_aggregate(text)
    assert hint in caught.value.hint
