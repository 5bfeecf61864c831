"""What is stored of an event: its declared fields, treated as they ask, with every number as it was written."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from personal_project import project, random_events

from parakh.decisions.definition import Definitions, Settings
from parakh.decisions.engine import Engine
from parakh.decisions.stored import stored_definitions
from parakh.events.definition import EventType, Field, Label
from parakh.expressions.types import BOOLEAN, INTEGER, NUMBER, STRING, TIMESTAMP, money
from parakh.features.definition import Entity
from parakh.service.limits import check_json
from parakh.service.personal import sealing
from parakh.service.personal.plain import Joined
from parakh.service.personal.storing import ReservedKey, Storing, extended, masked
from parakh.service.personal.tokens import Tokens

TOKENS = Tokens(bytes(range(32)))
CARD = "4111111111111111"
ROUNDS = int(os.environ.get("PARAKH_ROUNDS", "300"))
SEPARATORS = [(",", ":"), (", ", ": ")]
BYTES = [b"", b'"', b",", b"}", b"1", b"\\", b"\x80", b" "]
FIELDS = (
    Field(name="id", type=STRING),
    Field(name="at", type=TIMESTAMP),
    Field(name="amount", type=money("INR")),
    Field(name="note", type=STRING),
    Field(name="account", type=STRING, entity="account"),
    Field(name="points", type=INTEGER),
    Field(name="ratio", type=NUMBER),
    Field(name="yes", type=BOOLEAN),
)


def storing(*fields: Field, derive: tuple[tuple[str, str], ...] = (), labels: tuple[Label, ...] = ()) -> Storing:
    """Storing of one event type `e` of FIELDS, of which some are replaced or added."""
    names = {item.name: item for item in (*FIELDS, *fields)}
    event = EventType(name="e", id="id", time="at", fields=tuple(names.values()), derive=derive, labels=labels)
    return Storing(
        Definitions(settings=Settings(name="s"), events=(event,), entities=(Entity(name="account"),)), TOKENS.of
    )


def stored(body: str, *fields: Field, **more: Any) -> str:
    return storing(*fields, **more).store("e", body.encode()).decode()


TOKEN = Field(name="card", type=STRING, personal="token")


def test_declared_fields_are_kept_in_their_order_and_others_left_out() -> None:
    body = '{ "yes": true, "cvv": "737", "amount" : 5.10, "id":"a", "deep": {"x": [1]}, "at":"2026-01-01" }'
    assert stored(body) == '{"id":"a","at":"2026-01-01","amount":5.10,"yes":true}'
    assert stored(body, TOKEN) == '{"id":"a","at":"2026-01-01","amount":5.10,"yes":true}'
    assert stored("{}", TOKEN) == "{}"


@pytest.mark.parametrize(
    "number", ["5.10", "1e2", "1E+2", "-0", "-0.0", "0.1e-7", "123456789012345678901234567890", "5.0"]
)
def test_numbers_keep_their_text(number: str) -> None:
    for extra in ("", ',"note":"a\\u0041"', ',"note":"call 4111-1111-1111-1111"', f',"card":"{CARD}"'):
        assert f'"ratio":{number}' in stored(f'{{"ratio":{number},"amount":{number}{extra}}}', TOKEN)
        assert f'"amount":{number}' in stored(f'{{"ratio":{number},"amount":{number}{extra}}}', TOKEN)


@pytest.mark.parametrize("value", [f'"{CARD}"', CARD, '"\\u0034111111111111111"', "4.111111111111111e15"])
def test_one_value_has_one_token_however_it_is_written(value: str) -> None:
    assert json.loads(stored(f'{{"card":{value}}}', TOKEN)) == {"card": TOKENS.of(CARD)}


def test_treatments() -> None:
    fields = (
        TOKEN,
        Field(name="email", type=STRING, personal="mask"),
        Field(name="phone", type=STRING, personal="drop"),
        Field(name="born", type=TIMESTAMP, personal="drop"),
    )
    body = '{"card":"","email":"asha@x.in","phone":"9876543210","born":"2000-01-01"}'
    assert json.loads(stored(body, *fields)) == {"card": TOKENS.of(""), "email": "•••••x.in"}
    assert json.loads(stored('{"card":null,"email":null,"phone":null}', *fields)) == {"card": None, "email": None}
    assert json.loads(stored('{"email":"short"}', *fields)) == {"email": "•••••"}
    assert json.loads(stored('{"email":12345678}', *fields)) == {"email": "••••5678"}
    assert json.loads(stored('{"email":"नमस्ते दुनिया"}', *fields)) == {"email": masked("नमस्ते दुनिया")}


def test_of_a_key_that_comes_twice_the_last_holds() -> None:
    assert json.loads(stored('{"card":"a","card":"b","ratio":1,"ratio":2}', TOKEN)) == {
        "card": TOKENS.of("b"),
        "ratio": 2,
    }
    nested = Field(name="card", type=STRING, personal="token", source="m.pan")
    body = '{"m":{"pan":"a"},"m":{"pan":"b","pan":"c"}}'
    assert json.loads(stored(body, nested)) == {"m.pan": TOKENS.of("c")}
    assert json.loads(stored('{"m":{"pan":"a"},"m":{}}', nested)) == {}
    assert json.loads(stored('{"m.pan":"x","m":{"pan":"a"}}', nested)) == {"m.pan": TOKENS.of("x")}
    assert json.loads(stored('{"m.pan":null,"m":{"pan":"a"}}', nested)) == {"m.pan": None}


@pytest.mark.parametrize(
    "body", ['{"~derived":{}}', '{"a":1,"~":2}', '{"\\u007ex":1}', '{"~ip":1,"card":NaN}', '{"~x":1,"~x":2}']
)
def test_reserved_keys_are_refused(body: str) -> None:
    for made in (storing(), storing(TOKEN)):
        assert made.plain("e", body.encode()) is None
        for use in (lambda made: made.store("e", body.encode()), lambda made: made.store_all("e", [body.encode()])):
            with pytest.raises(ReservedKey) as caught:
                use(made)
            assert caught.value.key.startswith("~")


def test_a_tilde_elsewhere_is_no_reserved_key() -> None:
    assert json.loads(stored('{"note":"~x","deep":{"~":1}}')) == {"note": "~x"}


# -- card numbers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "hidden"),
    [
        ('"call 4111 1111 1111 1111"', "call **** **** **** 1111"),
        ('"4111\\u0031111-11111111"', "************-****1111"),
        (CARD, "************1111"),
        ('"line\\nbreak 378282246310005"', "line\nbreak ***********0005"),
        ('"4111111111111112"', "4111111111111112"),
    ],
)
def test_card_numbers_in_free_text_are_masked(value: str, hidden: str) -> None:
    for made in (storing(), storing(TOKEN)):
        body = f'{{"id":"a","note":{value},"card":"x"}}'.encode()
        assert made.plain("e", body) is None
        if "*" in hidden:
            hidden = hidden.replace("************-****1111", "********-****1111")
        assert json.loads(made.store("e", body))["note"] == hidden


def test_an_id_that_looks_like_a_card_number_is_left_unless_it_is_personal() -> None:
    assert json.loads(stored(f'{{"id":"{CARD}","note":"{CARD}"}}')) == {"id": CARD, "note": "************1111"}
    personal = Field(name="id", type=STRING, personal="token")
    assert json.loads(stored(f'{{"id":"{CARD}"}}', personal)) == {"id": TOKENS.of(CARD)}
    assert json.loads(stored('{"id":""}', personal)) == {"id": ""}


def test_a_key_that_is_a_card_number_becomes_a_token() -> None:
    made = storing()
    first, second = (
        json.loads(made.store("e", f'{{"account":"{number}"}}'.encode())) for number in (CARD, "4000000000001111")
    )
    assert first == {"account": TOKENS.of(CARD)}
    assert second == {"account": "4000000000001111"}  # its check digit is wrong
    assert made.key("account", CARD) == TOKENS.of(CARD)
    assert made.key("account", "a1") == "a1"


def test_what_no_field_takes_is_left_empty() -> None:
    assert stored(f'{{"points":{{"x": "{CARD}"}},"note":["{CARD}"]}}', TOKEN) == '{"note":[],"points":[]}'


def test_other_types_are_left() -> None:
    assert json.loads(stored(f'{{"points":{CARD}}}')) == {"points": int(CARD)}


@pytest.mark.parametrize("amount", [CARD, f'"{CARD}"', f"{CARD}.00", '"4111 1111 1111 1111"'])
def test_a_card_number_is_no_amount(amount: str) -> None:
    for made in (storing(), storing(TOKEN)):
        for body in (f'{{"id":"a","amount":{amount}}}', f'{{"id":"a","note":"\\u0041","amount":{amount}}}'):
            assert made.plain("e", body.encode()) is None
            assert CARD not in made.store("e", body.encode()).decode().replace(" ", "")
    assert storing().store("e", b'{"amount":4111111111111112}') == b'{"amount":4111111111111112}'


def test_what_is_derived_of_personal_and_free_text_has_no_card_number() -> None:
    derive = (("said", "case when card = 'x' then note else 'none' end"),)
    body = f'{{"id":"a","at":"2026-01-01","card":"x","note":"use {CARD} please"}}'
    whole = json.loads(stored(body, TOKEN, derive=derive))
    assert whole["~derived"] == {"said": "use ************1111 please"}


# -- bodies that are stored as they came ------------------------------------------------------------------------------


def test_plain_bodies_are_stored_as_they_came() -> None:
    made = storing()
    body = '{"id":"a", "at":"2026-01-01 10:00:00", "note":"naïve", "amount":5.10}'.encode()
    assert made.plain("e", body) is body
    for other in (
        b'{"id":"a","id":"b"}', b'{"id":"a","x":1,"x":2}', b'{"id":"a\\n"}', b'{"note":"4111 1111 1111 1111"}',
        b'{"id":"\xff"}', b'{"id":', b"[]", b"", b'{"id":NaN}', b'{"~":1}', b"[" * 100_000, b'{"id":"a"}{}',
        b'{"id":"a","x":[1]}', b'{"id":"a","x":01}', b'{"id":"a","x":.5}', b'{"id":"a","x":tru}', b'{"id":"a",}',
    ):  # fmt: skip
        assert made.plain("e", other) is None
    assert storing(Field(name="x", type=STRING, source="a.b")).plain("e", body) is None
    assert storing(TOKEN, derive=(("d", "case when card = 'x' then note end"),)).plain("e", body) is None


def test_personal_values_of_plain_bodies_are_treated() -> None:
    mask, drop = (Field(name=name, type=STRING, personal=name) for name in ("mask", "drop"))
    made = storing(TOKEN, mask, drop)
    body = '{"card":"%s","id":"a","mask":"größe@example.com","drop":"737","amount":5}' % CARD  # noqa: UP031
    stored = made.plain("e", body.encode())
    assert stored is not None
    assert json.loads(stored) == json.loads(made.store("e", body.encode()))
    assert CARD.encode() not in stored
    assert b"737" not in stored
    assert made.plain("e", b'{"card":"x"}') == b'{"card":"%b"}' % TOKENS.of("x").encode()
    assert made.plain("e", b'{"drop":"x"}') == b"{}"
    for careful in (b'{"card":4111111111111111}', b'{"card":"\\u0041"}', b'{"drop":[1]}', b'{"mask":null}'):
        assert made.plain("e", careful) is None


def joined(lines: Sequence[bytes]) -> tuple[bytes, int]:
    """Lines as a batch has them, each with its line break, and how many they are."""
    return b"".join(line + b"\n" for line in lines), len(lines)


def test_members_that_are_not_declared_are_left_out() -> None:
    made = storing()
    assert made.plain("e", b' { "cvv" : 123 , "id":"a","lat":-1.5e3,"amount":5 , "up" : null,"no":"x" } ') == (
        b'{"id":"a","amount":5}'
    )
    lines = [b'{"cvv":1}', b'{"id":"a"}', b"", b'{"id":"b","cvv":"4111111111111111"}', b"{}", b'{"id":NaN}']
    assert made.plain_lines("e", *joined(lines)) == [b"{}", b'{"id":"a"}', None, b'{"id":"b"}', b"{}", None]
    assert made.plain_lines("e", *joined(lines[::-1])) == [None, b"{}", b'{"id":"b"}', None, b'{"id":"a"}', b"{}"]
    plain = made.plain_lines("e", *joined([lines[3], lines[4], lines[1]]))
    assert isinstance(plain, Joined)
    assert (plain.bodies, plain.lengths.tolist()) == (b'{"id":"b"}{}{"id":"a"}', [10, 2, 10])


@given(st.data())
@settings(max_examples=ROUNDS, deadline=None)
def test_plain_bodies_are_what_care_would_make_of_them(data: st.DataObject) -> None:
    """Whatever stands in a body: what is stored without care says the same as what is stored with it."""
    kinds = st.sampled_from([None, "token", "mask", "drop"])
    personal = {name: data.draw(kinds) for name in ("note", "account", "points", "id", "cvv")}
    types = {"points": INTEGER}
    made = storing(*(
        Field(name=name, type=types.get(name, STRING), personal=kind)
        for name, kind in personal.items()
        if kind is not None and (name != "id" or kind == "token")
    ))  # fmt: skip
    scalars = st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=8),
        st.sampled_from([CARD, f"a {CARD} b", "4111 1111 1111 1111", "12345678901234", "x-1-2-3"]),
    )  # fmt: skip
    keys = st.sampled_from(["id", "at", "note", "amount", "points", "account", "cvv", "lat", "~d", "größe"])
    nested = st.lists(scalars, max_size=2) | st.dictionaries(st.text(max_size=3), scalars, max_size=2)
    record = data.draw(st.dictionaries(keys, st.one_of(scalars, scalars, scalars, nested), max_size=8))
    text = json.dumps(record, ensure_ascii=data.draw(st.booleans()), separators=data.draw(st.sampled_from(SEPARATORS)))
    body = text.encode("utf-8", "surrogatepass")
    if data.draw(st.booleans()):  # a byte is another, or gone
        place = data.draw(st.integers(0, len(body)))
        body = body[:place] + data.draw(st.sampled_from(BYTES)) + body[place + 1 :]
    plain = made.plain("e", body)
    if plain is None:
        return
    if b"\n" not in body:
        lines = made.plain_lines("e", *joined([body, b"{}", body]))
        assert (lines.apart() if isinstance(lines, Joined) else lines) == [plain, b"{}", plain]
    assert check_json(body, 64) is None
    try:
        expected = json.loads(made.store("e", body))
    except ValueError:
        with pytest.raises(json.JSONDecodeError):
            json.loads(plain)
    else:
        assert json.loads(plain) == expected


def test_deep_and_large_bodies_cost_little() -> None:
    made = storing(TOKEN)
    assert made.store("e", b'{"card":' + b"[" * 100_000) == b"{"
    assert made.store("e", b'{"x":' + b"[" * 200 + b"]" * 200 + b',"id":"a"}') == b'{"id":"a"}'
    assert made.store("e", b'{"note":"' + b"1 " * 200_000 + b'"}').startswith(b'{"note":"1 1')


# -- against an oracle ------------------------------------------------------------------------------------------------


def oracle(body: dict[str, Any]) -> dict[str, Any]:
    """The stored form of an event without card numbers, the obvious way."""
    kept = {}
    for name in ("id", "at", "card", "email", "a.b", "note"):
        value = body.get(name)
        if name == "a.b" and isinstance(body.get("a"), dict):
            value = body["a"].get("b")
        given = "b" in (body.get("a") or {}) if name == "a.b" else name in body
        if not given:
            continue
        if value is not None and name == "card":
            value = TOKENS.of(str(value))
        if value is not None and name == "email":
            value = masked(str(value))
        kept[name] = value
    return kept


texts = st.text(st.characters(exclude_categories=["Cs", "Nd"]), max_size=20)
events = st.fixed_dictionaries(
    {},
    optional={
        "id": texts,
        "at": texts,
        "card": texts | st.integers() | st.none(),
        "email": texts | st.none(),
        "a": st.dictionaries(st.sampled_from(["b", "c"]), texts | st.none(), max_size=2),
        "note": texts,
        "x": st.recursive(
            texts | st.floats(allow_nan=False, allow_infinity=False),
            lambda inner: st.lists(inner, max_size=3),
            max_leaves=5,
        ),
    },
)


@given(events, st.booleans(), st.booleans())
def test_stored_bodies_are_those_of_the_oracle(event: dict[str, Any], ascii: bool, spaced: bool) -> None:
    fields = (
        Field(name="id", type=STRING),
        Field(name="at", type=TIMESTAMP),
        TOKEN,
        Field(name="email", type=STRING, personal="mask"),
        Field(name="inner", type=STRING, source="a.b"),
        Field(name="note", type=STRING),
    )
    flat = tuple(item for item in fields if item.name != "inner")
    body = json.dumps(event, ensure_ascii=ascii, indent=1 if spaced else None).encode()
    for chosen in (fields, flat):
        kind = EventType(name="e", id="id", time="at", fields=chosen)
        made = Storing(Definitions(settings=Settings(name="s"), events=(kind,)), TOKENS.of)
        expected = {name: value for name, value in oracle(event).items() if name != "a.b" or chosen is fields}
        found = made.store("e", body)
        assert json.loads(found) == expected
        assert list(json.loads(found)) == list(expected)
        assert made.store_all("e", [body, body]) == [found, found]


# -- canaries ---------------------------------------------------------------------------------------------------------


def test_canaries_in_personal_fields_are_never_stored() -> None:
    """Card numbers, CVVs, Aadhaar numbers, in bodies of all kinds: neither stored nor among the engine's texts."""
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    whole = replace(project().definitions, rules=(), lists=project().definitions.lists, policies=())
    made = Storing(whole, TOKENS.of)

    class Behind:
        definitions = stored_definitions(whole, TOKENS.of)
        hash = "h"

    engine = Engine(Behind(), batch_size=64)
    before = bytes(engine.strings.arrays()["bytes"])
    bodies = []
    canaries = []
    for number in range(600):
        card = str(chance.randrange(4 * 10**15, 5 * 10**15))
        aadhaar = str(chance.randrange(2 * 10**11, 10**12))
        cvv = f"cvv{chance.randrange(10**6):06d}"
        mail = f"canary{number}@example.com"
        canaries += [card, aadhaar, cvv, mail, mail.upper()]
        event: dict[str, Any] = {
            "id": f"e{number}", "at": "2026-01-01T10:00:00Z", "method": {"pan": card, "cvv": cvv}, "other_card": card,
            "aadhaar": aadhaar, "email": chance.choice([mail, mail.upper()]), "name": mail, "device": "d", "amount": 1,
            "extra": {"pan": card},
        }  # fmt: skip
        body = json.dumps(event).encode()
        damage = chance.randrange(12)
        if damage == 0:
            body = body[: chance.randrange(len(body))]
        elif damage == 1:
            body = body.replace(b'"amount": 1', b'"amount": {"x": "' + card.encode() + b'"}')
        elif damage == 2:
            body = body.replace(b'"device": "d"', b'"device": "\\ud800"')
        elif damage == 3:
            body = body.replace(b'"extra"', b'"aadhaar"')
        elif damage == 4:
            body = body.replace(b'"' + mail.encode(), b'"\\u0063' + mail.encode()[1:])
        elif damage == 5:
            body += b"x"
        elif damage == 6:
            body = b"\xff" + body
        bodies.append(body)
    kept = [made.store("payment", body) for body in bodies]
    assert kept == made.store_all("payment", bodies), f"seed {seed}"
    for body in kept:
        engine.decide_lines("payment", body)
    arena = bytes(engine.strings.arrays()["bytes"])[len(before) :]
    text = b"\n".join(kept) + arena
    found = [canary for canary in canaries if canary.encode() in text]
    assert not found, f"seed {seed}"
    assert engine.counts.accepted > 200


def test_it_is_a_function_of_the_body_and_the_key() -> None:
    chance = random.Random(3)
    bodies = [body for event_type, body in random_events(chance, 200) if event_type == "payment"]
    first, second = (Storing(project().definitions, TOKENS.of) for _ in range(2))
    assert first.store_all("payment", bodies) == [second.store("payment", body) for body in reversed(bodies)][::-1]
    other = Storing(project().definitions, Tokens(bytes(32)).of)
    assert first.store("payment", bodies[0]) != other.store("payment", bodies[0])


def test_texts_of_sealed_values_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "_MOST_TEXTS", 500)
    made = Storing(project().definitions, TOKENS.of)
    held = made._shapes["payment"].sealing
    assert held is not None
    sizes = []
    for number in range(3_000):
        body = f'{{"id":"{number}","at":"2026-01-01","method":{{"pan":"4{number}"}},"email":"{number}@example.com"}}'
        whole = json.loads(made.store("payment", body.encode()))
        assert whole["~derived"]["visa"] is True
        assert whole["~derived"]["house"] == "own"
        sizes.append(len(held._strings))
    assert max(sizes) <= 520


# -- labels, ids and keys ---------------------------------------------------------------------------------------------


def test_labels_name_events_and_keys_as_they_are_stored() -> None:
    made = Storing(project().definitions, TOKENS.of)

    def label(**more: Any) -> Any:
        return json.loads(made.label(json.dumps({"label": "fraud", "known_at": "2026-01-01", **more}).encode()))

    assert label(event_type="payment", event_id=CARD)["event_id"] == CARD
    assert label(event_type="login", event_id="e1")["event_id"] == TOKENS.of("e1")
    assert label(event_type="login", event_id=TOKENS.of("e1"))["event_id"] == TOKENS.of("e1")
    assert label(event_type="payment", entity="card", key=CARD)["key"] == TOKENS.of(CARD)
    assert label(event_type="payment", entity="card", key=int(CARD))["key"] == TOKENS.of(CARD)
    assert label(event_type="payment", entity="device", key="d1")["key"] == "d1"
    assert label(event_type="payment", entity="device", key=CARD)["key"] == TOKENS.of(CARD)
    assert label(event_type="payment", event_id="p", value=f"see {CARD}")["value"] == "see ************1111"
    assert label(event_type="payment", event_id="p", value=0.1, note=CARD) == {
        "label": "fraud", "known_at": "2026-01-01", "event_type": "payment", "event_id": "p", "value": 0.1,
    }  # fmt: skip
    for body, refused in ((b"\xff", b"\xff"), (b"{", b"{"), (b"[1]", b"[]"), (b"[NaN]", b"{")):
        assert made.label(body) == refused


def test_a_label_finds_the_event_that_it_is_about() -> None:
    whole = project().definitions
    made = Storing(whole, TOKENS.of)

    class Behind:
        definitions = stored_definitions(whole, TOKENS.of)
        hash = "h"

    engine = Engine(Behind(), batch_size=8)
    fraud = {"event_type": "payment", "label": "fraud", "value": True, "known_at": "2026-01-01T10:01:00Z"}
    event = {"id": "p1", "at": "2026-01-01T10:00:00Z", "method": {"pan": CARD}, "device": "d"}
    later = {**event, "id": "p2", "at": "2026-01-01T10:02:00Z"}
    lines = b"\n".join(made.store("payment", json.dumps(item).encode()) for item in (event, later))
    labels = made.label(json.dumps({**fraud, "entity": "card", "key": CARD}).encode())
    decisions = engine.decide({"payment": lines}, labels=[json.loads(labels)])
    assert [item.features["card.frauds_1h"] for item in decisions] == [0, 1]


def test_members_are_added_to_whatever_stands_there() -> None:
    assert extended(b' {"a":1 }\r\n', b'"b":2') == b' {"a":1,"b":2}'
    assert extended(b"{ }", b'"b":2') == b'{"b":2}'
    assert extended(b"{}", b"") == b"{}"
    assert extended(b"\xff", b'"b":2') == b"\xff"


@given(st.text(max_size=40))
def test_a_masked_text_shows_four_letters_at_most(text: str) -> None:
    hidden = masked(text)
    assert len(hidden) == len(text)
    assert hidden[:-4] == "•" * max(len(text) - 4, 0)
    assert hidden[-4:] == (text[-4:] if len(text) >= 8 else "•" * len(text[-4:]))


def test_decimal_texts_of_the_slow_way() -> None:
    """A body that only Python reads (half of a surrogate pair) keeps its numbers too."""
    found = storing(TOKEN).store(
        "e", b'{"note":"\\ud800","amount":5.10,"ratio":1e2,"points":12345678901234567890,"yes":true}'
    )
    whole = json.loads(found, parse_float=Decimal)
    assert (whole["amount"], whole["ratio"], whole["points"], whole["yes"]) == (
        Decimal("5.10"),
        100,
        12345678901234567890,
        True,
    )
