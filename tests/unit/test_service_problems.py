"""Problem details: one closed table, and bodies that any text can stand in."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parakh.events.reasons import Reason
from parakh.service.problems import CODES, LONGEST_DETAIL, TYPE_BASE, problem, refusal


def test_every_reason_of_the_engine_has_a_code_of_status_422() -> None:
    reasons = [reason for reason in Reason if reason is not Reason.OK]
    assert len(reasons) > 15
    for reason in reasons:
        assert CODES[reason.code].status == 422
        assert json.loads(refusal(reason).body)["title"].casefold() == reason.text.casefold()


def test_no_two_codes_differ_in_case_or_sign_alone_and_all_have_words() -> None:
    assert len({code.replace("_", "").casefold() for code in CODES}) == len(CODES)
    assert all(400 <= code.status <= 599 and len(code.title) > 10 for code in CODES.values())


def test_a_code_that_is_not_in_the_table_is_a_mistake_of_ours() -> None:
    with pytest.raises(KeyError):
        problem("teapot")


@given(st.sampled_from(sorted(CODES)), st.text(), st.text(), st.text(), st.one_of(st.none(), st.integers(1, 9)))
def test_a_body_is_json_with_the_members_of_rfc_9457(code: str, detail: str, hint: str, field: str, line: int) -> None:
    said = problem(code, detail, hint=hint, field=field, line=line)
    body = json.loads(said.body)
    assert body["type"] == TYPE_BASE + code
    assert body["status"] == said.status == CODES[code].status
    assert body["code"] == said.code == code
    assert body.get("detail", "") == (detail if len(detail) <= LONGEST_DETAIL else detail[: LONGEST_DETAIL - 1] + "…")
    assert (body.get("hint", ""), body.get("field", ""), body.get("line")) == (hint, field, line)
    headers = dict(said.headers)
    assert headers[b"content-type"] == b"application/problem+json"
    assert (b"www-authenticate" in headers) == (said.status == 401)
    assert b"retry-after" not in headers


def test_half_of_a_surrogate_pair_can_be_said() -> None:
    assert json.loads(problem("bad_json", "\ud800").body)["detail"] == "\ud800"


def test_a_detail_does_not_grow_with_what_it_is_about() -> None:
    assert len(problem("bad_json", "x" * 10_000_000).body) < 3 * LONGEST_DETAIL


@pytest.mark.parametrize(("seconds", "header"), [(0.001, b"1"), (1.0, b"1"), (1.2, b"2"), (30, b"30")])
def test_retry_after_is_whole_seconds_and_never_none(seconds: float, header: bytes) -> None:
    assert dict(problem("overloaded", retry_after_s=seconds).headers)[b"retry-after"] == header
