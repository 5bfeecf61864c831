"""Records are written by a kernel and read by msgspec: both must mean the same."""

import numpy as np
import pytest

from parakh.decisions.decisions import Decisions
from parakh.decisions.definition import Band, Policy
from parakh.decisions.parts import Part
from parakh.decisions.policy import DEGRADED, LATE, Judge
from parakh.decisions.record import DecisionSchema, Writer, feature_values, read_record
from parakh.decisions.tables import arrow_schema
from parakh.expressions.columns import Column
from parakh.expressions.strings import Strings
from parakh.expressions.types import INTEGER, NULL_WORD, NUMBER, STRING, money
from parakh.rules.definition import Mode, Outcome, Rule

RULES = (
    Rule(name="often", event_types=("payment",), when="true", then=Outcome.REVIEW, reason="R1", text="paid often"),
    Rule(name="trusted", event_types=("payment",), when="true", then=Outcome.ALLOW, override=True, reason="R2"),
    Rule(name="trial", event_types=("payment",), when="true", then=Outcome.BLOCK, mode=Mode.SHADOW, reason="R3"),
)
FEATURES = (
    Column("card.payments_1d", 0, INTEGER),
    Column("card.spent_1d", 1, money("INR")),
    Column("card.usual_30d", 2, NUMBER),
    Column("card.last_city", 3, STRING),
)


@pytest.fixture
def decisions() -> Decisions:
    """Three payments: one reviewed by rule, one trusted (with the trial rule hit), one whose score is unknown."""
    policy = Policy(
        event_type="payment", score="fraud", bands=(Band(Outcome.BLOCK, "score > 0.9"),), fallback=Outcome.CHALLENGE
    )
    judge = Judge(policy, RULES, rule_slots=(4, 5, 6), band_slots=(7,), score_slot=8)
    strings = Strings()
    words = np.zeros((9, 3), np.int64)
    numbers = words.view(np.float64)
    words[0] = [7, 0, NULL_WORD]
    words[1] = [123_456, -5, NULL_WORD]
    numbers[2] = [1.5, np.nan, 2.0]
    words[3] = [strings.intern("पुणे"), NULL_WORD, strings.intern("Oslo")]
    words[4] = [1, 1, NULL_WORD]
    words[5] = [0, 1, 0]
    words[6] = [0, 1, 0]
    words[7] = [0, 1, NULL_WORD]
    numbers[8] = [0.25, 0.95, np.nan]
    flags = np.array([0, LATE, 0], np.uint8)
    judgement = judge.judge(words, 0, 3, flags)
    schema = DecisionSchema("payment", "hash", FEATURES, judge, "fraud", ("amount", "night"), (), (("fraud", "abc"),))
    texts = ["p1", "", "p-३"]
    encoded = [text.encode() for text in texts]
    lengths = np.array([len(item) for item in encoded])
    ids = (np.frombuffer(b"".join(encoded), np.uint8).copy(), np.cumsum(lengths) - lengths, lengths)
    part = Part(
        schema=schema,
        writer=Writer(schema),
        position=np.array([1, 0, 2]),
        rows=np.arange(3),
        id_hi=np.array([1, 2, 3], np.uint64),
        id_lo=np.array([4, 5, 6], np.uint64),
        ids=ids,
        event_time_us=np.array([10, 20, 30]),
        decided_at_us=np.array([11, 21, 31]),
        judgement=judgement,
        score=numbers[8].copy(),
        flags=flags,
        words=words[:4].copy(),
        contributions=np.array([[0.5, -0.75, -2.0], [0.0, 0.0, 0.0]]),
    )
    return Decisions([part], strings, arrow_schema([schema]))


def test_a_record_reads_as_it_was_decided(decisions: Decisions) -> None:
    records = [read_record(data) for data in decisions.records()]
    assert [record.event_id for record in records] == ["", "p1", "p-३"]
    trusted, reviewed, unknown = records
    assert (reviewed.outcome_word, reviewed.decided_by, reviewed.score) == ("review", ("rule", "often"), 0.25)
    assert [(r.code, r.text, r.contribution) for r in reviewed.reasons] == [
        ("R1", "paid often", None),
        ("night", "", -0.75),
        ("amount", "", 0.5),
    ]
    assert feature_values(reviewed, FEATURES) == {
        "card.payments_1d": 7,
        "card.spent_1d": 1234.56,
        "card.usual_30d": 1.5,
        "card.last_city": "पुणे",
    }
    assert reviewed.decision_id == (1).to_bytes(8, "big") + (4).to_bytes(8, "big")
    assert (reviewed.project, reviewed.models) == ("hash", (("fraud", "abc"),))
    assert trusted.outcome_word == "allow"
    assert trusted.decided_by == ("rule", "trusted")
    assert (trusted.hits, trusted.shadow_hits) == (("often", "trusted"), ("trial",))
    assert trusted.flag_names == ("late",)
    assert set(feature_values(trusted, FEATURES).values()) == {0, -0.05, None}
    assert (unknown.outcome_word, unknown.decided_by, unknown.score) == ("challenge", ("fallback", "challenge"), None)
    assert unknown.unknown == ("often",)
    assert unknown.flags == DEGRADED


def test_the_table_and_the_rows_agree(decisions: Decisions) -> None:
    table = decisions.to_arrow(features=True)
    assert table.column("event_id").to_pylist() == [decision.event_id for decision in decisions]
    assert table.column("rules").to_pylist() == [["often", "trusted"], ["often"], []]
    assert table.column("shadow").to_pylist() == [["trial"], [], []]
    assert table.column("unknown").to_pylist() == [[], [], ["often"]]
    assert table.column("flags").to_pylist() == [["late"], [], ["degraded"]]
    assert [str(value) for value in table.column("card.spent_1d").to_pylist()] == ["-0.05", "1234.56", "None"]
    assert table.column("card.last_city").to_pylist() == [None, "पुणे", "Oslo"]
    assert decisions.to_arrow().num_columns == 11
    assert decisions[1].features["card.payments_1d"] == 7
    assert "2 more" not in repr(decisions)
    assert repr(decisions).startswith("3 decisions")


def test_joining_keeps_the_order(decisions: Decisions) -> None:
    joined = Decisions.concat([decisions, decisions])
    assert [decision.event_id for decision in joined] == ["", "p1", "p-३", "", "p1", "p-३"]
    assert joined.counts()["payment"] == {"allow": 2, "challenge": 2, "review": 2, "block": 0}
