"""Reads and writes Parakh's own text format of logistic regression: an intercept, and a line for each input.

    {
     "format": "parakh-logistic",
     "version": 1,
     "intercept": -4.25,
     "inputs": [
      {"name": "amount", "signed_log": true, "fill": 120.5, "mean": 4.1, "scale": 1.3, "coefficient": 0.75}
     ]
    }

`raw = intercept + sum of coefficient * (value - mean) / scale` and `score = 1 / (1 + exp(-raw))`, where the value is
`fill` for NULL, and then, where `signed_log` is set, `sign(value) * ln(1 + |value|)`. A file is data from outside: it
is checked here throughout, in time linear in its size, and nothing heavy is imported: `parakh check` reads models too.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import asdict, dataclass
from typing import Any, NoReturn

from parakh.errors import ModelError

__all__ = ["BEGINNING", "FORMAT", "MAXIMUM_BYTES", "Logistic", "Term", "parse_logistic", "write_logistic"]

FORMAT = "parakh-logistic"
BEGINNING = re.compile(rb'\s*\{\s*"format"\s*:\s*"parakh-logistic"')
"""How a file of the format begins: its first key says what it is."""

MAXIMUM_BYTES = 4 * 2**20
_MOST_INPUTS = 10_000
_KEYS = ("format", "version", "intercept", "inputs")
_NUMBERS = ("fill", "mean", "scale", "coefficient")


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """What one input adds to the raw score: `coefficient * (value - mean) / scale`.

    `fill` stands in for NULL, in units of the input; with `signed_log` the value is sign(value) * ln(1 + |value|), and
    `mean` and `scale` are of that.
    """

    name: str
    signed_log: bool = False
    fill: float
    mean: float
    scale: float
    coefficient: float


@dataclass(frozen=True, slots=True)
class Logistic:
    """A parsed model."""

    intercept: float
    terms: tuple[Term, ...]


def write_logistic(model: Logistic) -> bytes:
    """The file of a model: one input a line, so that two versions can be compared.

    >>> term = Term(name="amount", fill=0.0, mean=10.0, scale=2.5, coefficient=0.5)
    >>> parse_logistic(write_logistic(Logistic(-1.0, (term,)))).terms[0].scale
    2.5
    """
    lines = [json.dumps(asdict(term), ensure_ascii=False, allow_nan=False) for term in model.terms]
    inputs = ",\n  ".join(lines)
    text = (
        f'{{\n "format": "{FORMAT}",\n "version": 1,\n "intercept": {json.dumps(model.intercept, allow_nan=False)},\n'
        f' "inputs": [\n  {inputs}\n ]\n}}\n'
    )
    return text.encode()


def parse_logistic(content: bytes) -> Logistic:
    """Parses a model file; raises ModelError, which says what is wrong, on all that is not sound."""
    if len(content) > MAXIMUM_BYTES:
        raise ModelError(f"the model has {len(content):,} bytes, more than the {MAXIMUM_BYTES:,} of its format")
    found = _decode(content)
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise ModelError(f"not a logistic model: it does not say «format»: «{FORMAT}»")
    _expect_keys("the model", found, _KEYS)
    if found["version"] != 1 or isinstance(found["version"], bool):
        raise ModelError(
            f"version {str(found['version'])[:20]!r} of {FORMAT} is not read (1 is): train the model again"
        )
    given = found["inputs"]
    if not isinstance(given, list) or not given:
        raise ModelError("«inputs» must be a list of at least one input")
    if len(given) > _MOST_INPUTS:
        raise ModelError(f"the model has {len(given):,} inputs, more than {_MOST_INPUTS:,}")
    terms = tuple(_term(number, item) for number, item in enumerate(given, 1))
    seen: set[str] = set()
    for number, term in enumerate(terms, 1):
        if term.name in seen:
            raise ModelError(f"input {number}: {term.name[:60]!r} is there twice")
        seen.add(term.name)
    return Logistic(_number("«intercept»", found["intercept"]), terms)


def _decode(content: bytes) -> Any:
    try:
        return json.loads(content.decode("utf-8"), parse_constant=_refuse, object_pairs_hook=_pairs)
    except UnicodeDecodeError as error:
        raise ModelError(f"not a logistic model: byte {error.start} is not UTF-8 text") from None
    except json.JSONDecodeError as error:
        raise ModelError(f"not JSON: {error.msg}, line {error.lineno}, column {error.colno}") from None
    except RecursionError:
        raise ModelError("not a logistic model: it is nested too deep") from None
    except ValueError:  # a whole number of thousands of digits
        raise ModelError("a number of the model is out of range") from None


def _refuse(word: str) -> NoReturn:
    raise ModelError(f"the model holds {word}, which is not a finite number")


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ModelError(f"«{twice[:40]}» is given twice")
    return found


def _term(number: int, given: Any) -> Term:
    where = f"input {number}"
    if not isinstance(given, dict):
        raise ModelError(f"{where} is not an object of {', '.join(('name', *_NUMBERS))}")
    name = given.get("name")
    if not isinstance(name, str) or not name:
        raise ModelError(f"{where} has no name")
    where = f"{where} ({name[:60]})"
    _expect_keys(where, given, ("name", *_NUMBERS), ("signed_log",))
    signed_log = given.get("signed_log", False)
    if not isinstance(signed_log, bool):
        raise ModelError(f"{where}: «signed_log» must be true or false")
    numbers = {key: _number(f"{where}: «{key}»", given[key]) for key in _NUMBERS}
    if numbers["scale"] <= 0:
        raise ModelError(f"{where}: «scale» must be above 0, not {numbers['scale']}")
    return Term(name=name, signed_log=signed_log, **numbers)


def _expect_keys(where: str, given: dict[str, Any], wanted: tuple[str, ...], allowed: tuple[str, ...] = ()) -> None:
    missing = [key for key in wanted if key not in given]
    if missing:
        raise ModelError(f"{where} has no «{missing[0]}»")
    unknown = [key for key in given if key not in (*wanted, *allowed)]
    if unknown:
        raise ModelError(f"{where} has «{unknown[0][:40]}», which the format does not know")


def _number(what: str, given: Any) -> float:
    if isinstance(given, bool) or not isinstance(given, int | float):
        raise ModelError(f"{what} must be a number")
    try:
        number = float(given)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ModelError(f"{what} is out of range")
    return number
