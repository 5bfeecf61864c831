"""learning.toml -> `LearningSettings`: what a project wants of its learning loop, beside parakh.toml.

What a loss costs, how much people can review, how many good customers may be disturbed, what a challenger has to show,
and whether a second person approves. Every key has a default, so a project without the file learns as well.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from parakh.decisions.definition import DAY_US
from parakh.errors import Place, Problem, ProjectError
from parakh.learning.measures.costs import Costs
from parakh.project.keys import Key, Length, Name, Text, Word
from parakh.project.reading import Values
from parakh.project.settings_file import read_tables

__all__ = ["FILE", "METRICS", "GateSettings", "LearningSettings", "read_learning"]

FILE = "learning.toml"
METRICS = ("average_precision", "roc_auc", "recall_at_fpr_1pct")
"""What a challenger may be asked to do better: the greater, the better."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GateSettings:
    """What a challenger has to show before it may be promoted; `latency_us` is per event."""

    metric: str = "average_precision"
    calibration_error: float = 0.05
    stability: float = 0.25
    latency_us: float = 200.0
    positives: int = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class LearningSettings:
    """learning.toml; `review_capacity` is in events a day, `friction_limit` a share of the good events.

    `people` is how many a promotion needs: 2, one who asks and another who approves, or 1; with 0 `parakh learn`
    promotes by itself what has passed every gate.
    """

    label: str = "fraud"
    label_delay_us: int = 7 * DAY_US
    review_capacity: float = 100.0
    friction_limit: float = 0.02
    people: int = 2
    costs: Costs = field(default_factory=Costs)
    gates: GateSettings = field(default_factory=GateSettings)


_COST_KEYS = {
    "fraud_share": "The share of a fraud's amount that is lost where it passes; 1 by default.",
    "fraud_fixed": "What a fraud that passes costs beside its amount; 0 by default.",
    "review": "The work on a reviewed event; 2 by default.",
    "challenge": "The friction of a good event that is challenged; 0.2 by default.",
    "block_share": "The share of a good event's amount that is lost where it is blocked; 5% by default.",
    "block_fixed": "What a blocked good event costs beside; 1 by default.",
    "challenge_stops": "The share of frauds that a challenge stops; 90% by default.",
    "review_stops": "The share of frauds that a review stops; 100% by default.",
}
_SHAPES: dict[str, tuple[Key, ...]] = {
    "": (
        Key("label", Name("a label"), "The label to learn; fraud by default."),
        Key("label_delay", Length(), "After how long a label should have come; 7d by default."),
        Key("review_capacity", Text(), "Events that people can review in a day; 100 by default."),
        Key("friction_limit", Text(), "The most good events to challenge, review or block; 2% by default."),
        Key("people", Word(("0", "1", "2")), "How many a promotion needs; 0: `parakh learn` may. 2 by default."),
    ),
    "costs": tuple(Key(name, Text(), meaning) for name, meaning in _COST_KEYS.items()),
    "gates": (
        Key("metric", Word(METRICS), "What a challenger has to do better; average_precision by default."),
        Key("calibration_error", Text(), "The greatest expected calibration error; 0.05 by default."),
        Key("stability", Text(), "The greatest population stability index of an input; 0.25 by default."),
        Key("latency", Length(), "The longest that scoring an event may take; 200us by default."),
        Key("positives", Text(), "The fewest frauds to be judged on; 30 by default."),
    ),
}


@dataclass(frozen=True, slots=True)
class _Number:
    """How the number of a key may be written, and what it is in words; `least` and `most` bound it."""

    pattern: str
    what: str
    least: float = 0.0
    most: float = math.inf

    def example(self, value: float) -> str:
        """A value as learning.toml has it."""
        return f'"{100 * value:g}%"' if self.pattern.endswith("%?") else f"{value:g}"


_PLAIN = "[0-9]{1,12}(\\.[0-9]{1,6})?"
_AMOUNT = _Number(_PLAIN, "a number, 0 or more")
_OF_AMOUNT = _Number(f"{_PLAIN}%?", "a share of the amount")
_SHARE = _Number(f"{_PLAIN}%?", "a share, at most 100%", most=1.0)
_NUMBERS = {
    "review_capacity": _Number(_PLAIN, "a number, 1 or more", least=1.0),
    "friction_limit": _SHARE,
    "fraud_share": _OF_AMOUNT,
    "block_share": _OF_AMOUNT,
    "challenge_stops": _SHARE,
    "review_stops": _SHARE,
    "calibration_error": _SHARE,
    "positives": _Number("[0-9]{1,9}", "a whole number"),
}
"""How the keys that are numbers are read; those that do not stand here are amounts."""


def read_learning(folder: str | Path) -> LearningSettings:
    """The settings in a project's learning.toml; the defaults where there is none.

    Raises ProjectError with every mistake and its place.

    >>> import tempfile
    >>> read_learning(tempfile.mkdtemp()).people
    2
    """
    path = Path(folder) / FILE
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return LearningSettings()
    except OSError as error:
        raise ProjectError((Problem(f"{path} cannot be read: {error.strerror or error}"),)) from None
    tables = read_tables(content, FILE, _SHAPES)
    if isinstance(tables, Problem):
        raise ProjectError((tables,))
    problems = list(tables.reading.problems)
    nowhere = Values(Place(FILE, 1, 1))
    top, costs, gates = (tables.values.get(table, nowhere) for table in ("", "costs", "gates"))
    settings = LearningSettings(
        label=str(top.get("label", "fraud")),
        label_delay_us=top.get("label_delay", 7 * DAY_US),
        review_capacity=_number(top, "review_capacity", 100.0, problems),
        friction_limit=_number(top, "friction_limit", 0.02, problems),
        people=int(top.get("people", 2)),
        costs=Costs(**{name: _number(costs, name, _default(Costs, name), problems) for name in _COST_KEYS}),
        gates=GateSettings(
            metric=str(gates.get("metric", "average_precision")),
            calibration_error=_number(gates, "calibration_error", 0.05, problems),
            stability=_number(gates, "stability", 0.25, problems),
            latency_us=float(gates.get("latency", 200.0)),
            positives=int(_number(gates, "positives", 30, problems)),
        ),
    )
    if problems:
        raise ProjectError(tuple(problems))
    return settings


def _number(values: Values, key: str, default: float, problems: list[Problem]) -> float:
    text = values.get(key)
    if text is None:
        return default
    kind = _NUMBERS.get(key, _AMOUNT)
    if re.fullmatch(kind.pattern, text):
        number = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
        if kind.least <= number <= kind.most:
            return number
    hint = f"such as {key} = {kind.example(default)}"
    if kind.most == 1 and re.fullmatch("100|[0-9]{1,2}(\\.[0-9]+)?", text):
        hint = f'write {key} = "{text}%" if it is percent'
    problems.append(Problem(f"`{key}` must be {kind.what}", text.place, str(text), hint))
    return default


def _default(settings: type[Any], name: str) -> float:
    found: Mapping[str, Any] = {item.name: item.default for item in fields(settings)}
    return float(found[name])
