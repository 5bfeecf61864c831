"""Decisions on stored events, by the stored definitions, are those that the project makes on what came in."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from personal_project import CARDS, EMAILS, Project, asked, project, random_events

from parakh.decisions.check import check_definitions
from parakh.decisions.definition import Definitions
from parakh.decisions.engine import Engine
from parakh.decisions.plan import compile_intake, compile_plan
from parakh.decisions.samples import sample_project
from parakh.decisions.stored import sealed, stored_definitions
from parakh.events.reasons import Reason
from parakh.expressions.strings import Strings
from parakh.expressions.types import Kind
from parakh.service.personal.cards import has_card_number
from parakh.service.personal.storing import Storing
from parakh.service.personal.tokens import Tokens, is_token

TOKENS = Tokens(bytes(range(32)))


def texts_of(definitions: Definitions) -> str:
    """All that a definition says in its texts."""
    return repr(replace(definitions, models=()))


def test_the_project_of_these_tests_holds() -> None:
    assert check_definitions(project().definitions) == []
    assert check_definitions(asked().definitions) == []


def test_without_personal_fields_nothing_changes() -> None:
    definitions = sample_project().definitions
    assert stored_definitions(definitions, TOKENS.of) == definitions


@pytest.mark.parametrize("whole", [project(), asked()], ids=["plain", "enriched"])
def test_what_is_stored_compiles(whole: Project) -> None:
    stored = stored_definitions(whole.definitions, TOKENS.of)
    intake = compile_intake(stored, Strings(), started_us=None)
    plan = compile_plan(stored, whole.hash, intake)
    assert [item.event.name for item in plan.types] == ["payment", "login"]
    assert intake.serves(stored_definitions(whole.definitions, TOKENS.of))


def test_fields_of_stored_events() -> None:
    definitions = asked().definitions
    assert sealed(definitions, "payment") == (
        "visa", "digits", "age", "small", "house", "known_id", "scheme", "share", "spare", "latest", "one_of",
        "has_name",
    )  # fmt: skip
    assert sealed(definitions, "login") == ("small",)
    payment = stored_definitions(definitions, TOKENS.of).event_type("payment")
    fields = {item.name: item for item in payment.fields}
    assert not {"aadhaar", "born", "income", "cvv", "hidden"} & set(fields)
    assert all(item.personal is None for item in payment.fields)
    assert fields["card"].entity == "card"
    assert fields["card"].source == "method.pan"
    assert (fields["share"].source, fields["share"].type.kind) == ("~derived.share", Kind.NUMBER)
    assert str(fields["spare"].type) == "money INR"
    assert (fields["ip_risk.country"].source, fields["ip_risk.country"].type.kind) == ("~ip_risk.country", Kind.STRING)
    assert (fields["~degraded"].source, fields["~degraded"].type.kind) == ("~degraded", Kind.BOOLEAN)
    assert payment.derive == (("twice", "amount + amount"),)
    assert "~degraded" not in {item.name for item in stored_definitions(definitions, TOKENS.of).events[1].fields}


def test_what_is_compared_with_tokens_is_a_token() -> None:
    definitions = project().definitions
    stored = stored_definitions(definitions, TOKENS.of)
    when = {(rule.name, rule.event_types): rule.when for rule in stored.rules}
    one = TOKENS.of("4111111111111111")
    assert when["equal", ("payment",)] == f"card = '{one}' or '{TOKENS.of('4012888888881881')}' = other_card"
    assert when["text", ("payment",)] == "it_s = 'it''s' or reference = '4111111111111111'"
    assert when["mixed", ("payment",)] == "ip = '10.0.0.1'"
    assert when["mixed", ("login",)] == f"ip = '{TOKENS.of('10.0.0.1')}'"
    assert when["disabled", ("login",)] == f"ip in ('{TOKENS.of('10.0.0.1')}', '{TOKENS.of('4')}')"
    assert when["on_list", ("payment",)] == "in_list(card, 'stolen~tokens') or in_list(reference, 'stolen')"
    assert when["only_tokens", ("payment",)] == "in_list(email, 'mails')"
    lists = {item.name: [entry.value for entry in item.entries] for item in stored.lists}
    assert lists["stolen"] == [entry.value for entry in definitions.lists[0].entries]
    assert lists["stolen~tokens"][2] == TOKENS.of("4012888888881881")
    assert all(is_token(str(value)) for value in lists["mails"])
    assert set(lists) == {"stolen", "stolen~tokens", "mails"}
    tables = {item.name: [row.key for row in item.rows] for item in stored.tables}
    assert tables["owners~tokens"][0] == one
    assert tables["owners"] == ["4111111111111111", "4", "x"]
    assert "schemes" not in tables
    assert stored.policies[0].bands[0].when == f"card in ('{TOKENS.of('6011111111111117')}')"
    assert len(when["in_many", ("payment",)]) < 200
    assert definitions.rules[0].name == "equal"


def test_it_is_a_function_of_definitions_and_tokens() -> None:
    definitions = asked().definitions
    assert stored_definitions(definitions, TOKENS.of) == stored_definitions(asked().definitions, TOKENS.of)
    other = stored_definitions(definitions, Tokens(bytes(32)).of)
    assert texts_of(other) != texts_of(stored_definitions(definitions, TOKENS.of))


def stored_project(whole: Project) -> Project:
    return Project(stored_definitions(whole.definitions, TOKENS.of))


def told(decisions: Any, names: dict[str, str]) -> list[tuple[Any, ...]]:
    """All of decisions that must be equal; features that are texts as their tokens."""
    rows = []
    for item in decisions:
        features = {
            name: TOKENS.of(value) if value is not None and names.get(name) == "token" else value
            for name, value in item.features.items()
        }
        rows.append(
            (item.event_id, item.outcome, item.decided_by, item.rules, item.shadow_rules, item.unknown, features)
        )
    return rows


def same_decisions(seed: int, batches: bool) -> None:
    chance = random.Random(seed)
    whole = project()
    storing = Storing(whole.definitions, TOKENS.of)
    engine = Engine(whole, batch_size=64)
    behind = Engine(stored_project(whole), batch_size=64)
    token_features = {
        f"{entity}.{name}": "token" for entity in ("card", "device") for name in ("last_card_1h", "first_mail_1h")
    }
    events = random_events(chance, 160)
    first = 0
    while first < len(events):
        event_type = events[first][0]
        stop = first + 1
        while stop < len(events) and events[stop][0] == event_type and stop - first < 40:
            stop += 1
        bodies = [body for _, body in events[first:stop]]
        if batches:
            stored = storing.store_all(event_type, bodies)
        else:
            stored = [storing.store(event_type, body) for body in bodies]
        left = engine.decide_lines(event_type, b"\n".join(bodies))
        right = behind.decide_lines(event_type, b"\n".join(stored))
        expected = told(left, token_features)
        if event_type == "login":
            expected = [(TOKENS.of(row[0]), *row[1:]) for row in expected]
        assert told(right, {}) == expected, f"seed {seed}"
        first = stop
    assert dict(engine.counts.quarantined) == dict(behind.counts.quarantined), f"seed {seed}"
    assert engine.counts.accepted == behind.counts.accepted > 100
    arena = bytes(behind.strings.arrays()["bytes"])
    for secret in (
        *(card for card in CARDS if len(card) > 12),
        *(mail for mail in EMAILS if len(mail) > 9),
        "499118665246",
    ):
        listed = secret in ("4111111111111111", "378282246310005", "4012888888881881")  # in the project's own rules
        assert listed or secret.encode() not in arena, f"seed {seed}"


@pytest.mark.parametrize("batches", [False, True], ids=["one by one", "in batches"])
@pytest.mark.parametrize("run", range(6))
def test_decisions_are_the_same(run: int, batches: bool) -> None:
    same_decisions(random.randrange(2**32) if run else 7, batches)


def test_every_rule_of_these_tests_is_tried() -> None:
    """Else equal decisions would say little: nearly every rule hits somewhere, and nearly every one is unknown."""
    chance = random.Random(11)
    engine = Engine(project(), batch_size=64)
    hit: set[str] = set()
    unknown: set[str] = set()
    for event_type, body in random_events(chance, 2_000):
        for item in engine.decide_lines(event_type, body):
            hit.update((*item.rules, *item.shadow_rules))
            unknown.update(item.unknown)
    names = {rule.name for rule in project().definitions.rules} - {"disabled"}
    assert names - hit <= set()
    assert len(unknown) > 12


def test_enrichment_answers_are_read_from_the_stored_event() -> None:
    whole = asked()
    storing = Storing(whole.definitions, TOKENS.of)
    engine = Engine(stored_project(whole), batch_size=8)
    body = storing.store("payment", b'{"id":"p1","at":"2026-01-01","device":"d"}')
    from parakh.service.personal.storing import extended

    answered = extended(body, b'"~ip_risk":{"risk":0.7,"country":"IN"}')
    (decision,) = engine.decide_lines("payment", answered)
    assert "risky" in decision.rules
    plain = storing.store("payment", b'{"id":"p2","at":"2026-01-01","device":"d"}')
    (decision,) = engine.decide_lines("payment", extended(plain, b'"~degraded":true'))
    assert "risky" in decision.unknown
    column = engine.plan.by_name["payment"].layout["~degraded"]
    assert engine.words[column.slot, 0] == 1


def test_a_sealed_value_is_no_key() -> None:
    """A joined key names fields; a derived value of that name carries none, and must not once it is stored."""
    whole = project().definitions
    joined = replace(whole.entities[2], name="scheme_device", key=("scheme", "device"))
    login = whole.events[1]
    fields = tuple(item for item in login.fields if item.name != "ip")
    scheme = replace(fields[3], name="scheme", entity=None)
    changed = replace(
        whole, entities=(*whole.entities, replace(joined, features=())), rules=(), signals=(), policies=()
    )
    changed = replace(changed, events=(whole.events[0], replace(login, fields=(*fields, scheme))))
    from parakh.features.reads import key_fields

    stored = stored_definitions(changed, TOKENS.of)
    for before, after in zip(changed.events, stored.events, strict=True):
        for entity in changed.entities:
            assert key_fields(entity, before) == key_fields(entity, after)


def test_the_reason_of_a_refusal_is_the_same() -> None:
    whole = project()
    storing = Storing(whole.definitions, TOKENS.of)
    engine, behind = Engine(whole, batch_size=8), Engine(stored_project(whole), batch_size=8)
    right = b'"id":"p1","at":"2026-01-01"'
    card = CARDS[0].encode()
    bodies = {
        b'{"id":"p1","at":"2026-01-01","method":{"pan":"' + card + b'"},"x":"\xff"}': Reason.BAD_UTF8,
        b'{"method":{"pan":"' + card + b'"},' + right + b',"x":}': Reason.BAD_JSON,
        b"null": Reason.NOT_AN_OBJECT,
        b'["' + card + b'"]': Reason.NOT_AN_OBJECT,
        b"[NaN]": Reason.BAD_JSON,
        b"{" + right + b',"undeclared":NaN}': Reason.BAD_JSON,
        b"{" + right + b',"ratio":NaN}': Reason.NOT_FINITE,
        b"{" + right + b',"email":NaN}': Reason.NOT_FINITE,
        b"{" + right + b',"email":true}': Reason.WRONG_TYPE,
        b"{" + right + b',"email":["' + card + b'"]}': Reason.WRONG_TYPE,
        b"{" + right + b',"email":1.5}': Reason.WRONG_TYPE,
        b"{" + right + b',"email":1e40}': Reason.OUT_OF_RANGE,
        b"{" + right + b',"email":"\\ud800"}': Reason.BAD_UTF8,
        b"{" + right + b',"name":{"first":"x"}}': Reason.WRONG_TYPE,
        b"{" + right + b',"method":"' + card + b'"}': Reason.WRONG_TYPE,
        b"{" + right + b',"method":{"pan":["' + card + b'"]}}': Reason.WRONG_TYPE,
        b"{" + right + b',"born":"soon"}': Reason.WRONG_TYPE,
        b"{" + right + b',"born":1e400}': Reason.OUT_OF_RANGE,
        b"{" + right + b',"born":NaN}': Reason.NOT_FINITE,
        b"{" + right + b',"aadhaar":"\\udfff"}': Reason.BAD_UTF8,
        b"{" + right + b',"income":true}': Reason.WRONG_TYPE,
        b"{" + right + b',"amount":5.123}': Reason.TOO_MANY_DECIMALS,
        b"{" + right + b',"reference":{"pan":"' + card + b'"}}': Reason.WRONG_TYPE,
        b'{"at":"2026-01-01","email":"x"}': Reason.MISSING_ID,
        b'{"id":"","at":"2026-01-01"}': Reason.MISSING_ID,
        b'{"id":"p1"}': Reason.MISSING_TIME,
        b'{"id":"p1","at":"1990-01-01"}': Reason.TIME_BEFORE_EARLIEST,
    }
    for number, (body, reason) in enumerate(bodies.items()):
        for of in (engine, behind):
            before = sum(of.counts.quarantined.values())
            stored = storing.store("payment", body)
            assert not of.decide_lines("payment", body if of is engine else stored)
            assert sum(of.counts.quarantined.values()) == before + 1
            assert of.counts.quarantined[reason.code], (number, body, stored)
        assert dict(engine.counts.quarantined) == dict(behind.counts.quarantined), (body, stored)
        assert card not in stored
    assert card not in bytes(behind.strings.arrays()["bytes"]).replace(card, b"", 1)  # it stands in a rule
    login = b'{"id":"","at":"2026-01-01"}'
    assert storing.store("login", login) == login


def test_words_of_sealed_values_come_back_as_they_were() -> None:
    """Times of all ages, money of all sizes and every double go through JSON unchanged."""
    from parakh.decisions.definition import Settings
    from parakh.events.definition import EventType, Field
    from parakh.expressions.types import INTEGER, NUMBER, STRING, TIMESTAMP, money

    fields = (
        Field(name="at", type=TIMESTAMP),
        Field(name="when", type=TIMESTAMP),
        Field(name="sum", type=money("INR")),
        Field(name="ratio", type=NUMBER),
        Field(name="points", type=INTEGER),
        Field(name="yes", type=STRING, personal="token"),
    )
    names = ("when", "sum", "ratio", "points")
    derive = tuple((f"{name}_2", f"case when yes = 'y' then {name} end") for name in names)
    fields = tuple(replace(item, name=f"a_{item.name}") if item.name == "when" else item for item in fields)
    derive = tuple((name, text.replace("then when ", "then a_when ")) for name, text in derive)
    event = EventType(name="e", id="row", time="at", fields=fields, derive=derive)
    definitions = Definitions(settings=Settings(name="words", currency="INR"), events=(event,))
    assert check_definitions(definitions) == []
    stored = stored_definitions(definitions, TOKENS.of)
    storing = Storing(definitions, TOKENS.of)
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    bodies = []
    for _ in range(2_000):
        times = [
            chance.randrange(-(10**11) + 1, 10**11), chance.uniform(-1e10, 1e10), chance.randrange(10**16, 10**17),
            f"{chance.randrange(1, 10_000):04d}-0{chance.randrange(1, 10)}-11T10:00:00.{chance.randrange(10**6):06d}Z",
        ]  # fmt: skip
        cents = chance.randrange(-(2**62), 2**62)
        ratio = float(np.uint64(chance.getrandbits(64)).view(np.float64))
        ratio = ratio if np.isfinite(ratio) else 0.1
        money_text = f"{'-' if cents < 0 else ''}{abs(cents) // 100}.{abs(cents) % 100:02d}"
        money_text = "0.01" if has_card_number(money_text) else money_text  # is no amount
        body = f'{{"at":"2026-01-01","a_when":{chance.choice(times)!r},"sum":{money_text},"ratio":{ratio!r},"yes":"y",'
        body += f'"points":{chance.randrange(-(2**63) + 1, 2**63)}}}'
        bodies.append(body.replace("'", '"').encode())
    raw = compile_intake(definitions, Strings(), started_us=None)
    after = compile_intake(stored, Strings(), started_us=None)
    columns = []
    for intake, lines in ((raw, bodies), (after, storing.store_all("e", bodies))):
        layout = intake.layouts["e"]
        words = np.zeros((layout.width, len(lines)), np.int64)
        lengths = np.array([len(line) for line in lines])
        buffer = np.frombuffer(bytearray(b"".join(lines)), np.uint8)
        decoded = intake.decoders["e"].decode_lines(buffer, np.cumsum(lengths) - lengths, lengths, words, 0)
        assert not decoded.problem.any(), f"seed {seed}"
        intake.programs["e"].run(words, 0, len(lines), np.zeros(len(lines), np.uint8))
        columns.append({name: words[layout[f"{name}_2"].slot] for name in names})
    for name in names:
        assert np.array_equal(columns[0][name], columns[1][name]), f"{name}, seed {seed}"
