"""`parakh fmt`: one layout, every comment and quote kept, and never another meaning."""

from __future__ import annotations

from pathlib import Path

import pytest

from parakh.errors import ProjectError
from parakh.project.format import format_text

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").rglob("*.yaml"))

UNTIDY = """\


# header
# yaml-language-server: $schema=x

rule:   card_testing   # c
# about then
then: block
for: payment


when:     card.payments_10m >= 6 and amount < 5    # cut
tests:
- given: {amount: 1.00,
    card.payments_10m: 7}
  expect: hit
  # tail of first
# before second
- expect: unknown
  given:
      card.payments_10m: null   # x
      amount: 1.00
text: |
      abc
        def

# after text
mode:   'live'
# end
---   # only a comment
---
signals: payment
define:
   a: |+
     x +
       y

   b: "x # y"
"""

TIDY = """\
# header
# yaml-language-server: $schema=x

rule: card_testing     # c
for: payment

when: card.payments_10m >= 6 and amount < 5        # cut
# about then
then: block
text: |
  abc
    def

# after text
mode: 'live'
tests:
  - given: {amount: 1.00, card.payments_10m: 7}
    expect: hit
    # tail of first
  # before second
  - given:
      card.payments_10m: null   # x
      amount: 1.00
    expect: unknown
# end
---
      # only a comment
---
signals: payment
define:
  a: |+
    x +
      y

  b: "x # y"
"""


def test_a_file_is_laid_out() -> None:
    assert format_text(UNTIDY) == TIDY


def test_a_file_that_is_laid_out_stays() -> None:
    assert format_text(TIDY) == TIDY


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", ""),
        ("\n\n", ""),
        ("# note", "# note\n"),
        ("---\n---\nrule: a\n---\n\n---\nrule: b\n", "rule: a\n---\nrule: b\n"),
        ("rule: a\r\nwhen: b   \r\n", "rule: a\nwhen: b\n"),
        ("\ufeffrule: a\n", "rule: a\n"),
        ("rule: a\nfor: [ a,b ,c ]\n", "rule: a\nfor: [a, b, c]\n"),
        ("list: a\nitems:\n- a\n-   {note: x,   value: b}\n", "list: a\nitems:\n  - a\n  - {value: b, note: x}\n"),
        ("list: a\nitems: [\n  a, # first\n  b\n]\n", "list: a\nitems: [\n  a, # first\n  b\n  ]\n"),
        ("rule: a\nunknown: 1\nwhen: x\n", "rule: a\nwhen: x\nunknown: 1\n"),
        ("todo:   x\n", "todo: x\n"),
        ("rule: a\nwhen:\n", "rule: a\nwhen:\n"),
        ("- a\n-   b  \n", "- a\n-   b\n"),
        ("rule: a\ndescription: one\n    two\n\n    three\n", "rule: a\ndescription: one\n  two\n\n  three\n"),
        ("rule: a\ndescription: >-\n      one\n      two\n", "rule: a\ndescription: >-\n  one\n  two\n"),
        ("rule: a\ndescription: |4\n      one\n    two\n", "rule: a\ndescription: |2\n    one\n  two\n"),
        ("rule: a\nwhen:  |\n  one \n  two\n", "rule: a\nwhen:  |\n  one \n  two\n"),
        ("rule: a\nwhen: |  # why\n   x\n", "rule: a\nwhen: | # why\n  x\n"),
    ],
)
def test_the_small_cases(before: str, after: str) -> None:
    assert format_text(before) == after
    assert format_text(after) == after


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: "/".join(path.parts[-3:]))
def test_the_examples_are_laid_out(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert format_text(text) == text


def test_what_is_not_yaml_is_said() -> None:
    with pytest.raises(ProjectError) as caught:
        format_text("rule: a\n---\nrule: 'b\n", "rules/x.yaml")
    assert str(caught.value).startswith("rules/x.yaml:3:7: not YAML: this quote is not closed")
