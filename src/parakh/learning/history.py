"""A whole policy replayed on the past: what it decided on each event of one type, and what became of the event.

What a back-test counts, thresholds are chosen by and drift is seen in. A label counts as it was known by the cut-off,
by the rule that training sets follow.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from parakh.decisions.decisions import Decisions
from parakh.decisions.definition import DAY_US, ProjectLike
from parakh.decisions.plan import TypePlan
from parakh.decisions.policy import HOLDOUT
from parakh.decisions.replay import Progress, Summary
from parakh.errors import InputError
from parakh.events.definition import amount_field
from parakh.events.merge import LogBatch
from parakh.expressions.hints import closest
from parakh.expressions.strings import Strings
from parakh.expressions.types import NULL_WORD, Kind
from parakh.learning.columns import Input, Values, arrow_array, inputs_of, taken
from parakh.learning.dataset import target_of
from parakh.learning.gathering import Gathering, Span
from parakh.learning.past import Past
from parakh.rules.definition import Rule

__all__ = ["History", "Values", "make_history", "values_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """Decisions of one policy on the events of one type, in log order; arrays have one element an event.

    `amount` is in major units of `currency`, NaN where an event has none; `outcome` holds `Outcome`s; `won` is an index
    into `deciders`; `score` is that of the policy's model and `scores` those of every model, NaN where unknown; `hits`
    and `unknown` are bit sets over `rules`, 64 a word; `flags` are those of `decisions.policy`. What became of an
    event: `fraud` where it is matured and labelled so, `matured`, `labelled` (matured, with any label that holds) and
    since when (`known_at_us`, NULL_WORD: not). `bands` has a row for each band of the policy, in the order of
    `deciders`, and says where it held; `person` numbers whom an event belongs to by the first entity of its type
    (-1: nobody).
    """

    event_type: str
    label: str
    project_hash: str
    currency: str
    ids: pa.StringArray
    time_us: NDArray[np.int64]
    amount: NDArray[np.float64]
    outcome: NDArray[np.int8]
    won: NDArray[np.int32]
    deciders: tuple[tuple[str, str], ...]
    score: NDArray[np.float64]
    scores: dict[str, NDArray[np.float64]]
    rules: tuple[Rule, ...]
    hits: NDArray[np.uint64]
    unknown: NDArray[np.uint64]
    flags: NDArray[np.uint8]
    fraud: NDArray[np.bool_]
    matured: NDArray[np.bool_]
    labelled: NDArray[np.bool_]
    known_at_us: NDArray[np.int64]
    inputs: dict[str, Values]
    known_by_us: int
    summary: Summary
    bands: NDArray[np.bool_] = field(default_factory=lambda: np.zeros((0, 0), np.bool_))
    person: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))

    def __len__(self) -> int:
        return int(self.time_us.size)

    @property
    def good(self) -> NDArray[np.bool_]:
        """Matured and not known to be fraud."""
        return self.matured & ~self.fraud

    @property
    def held_out(self) -> NDArray[np.bool_]:
        """Let through as one of the policy's holdout."""
        return (self.flags & HOLDOUT) != 0

    def take(self, rows: NDArray[np.int64]) -> History:
        """The history of some of its events, in the order given."""
        kept: dict[str, Any] = {
            "ids": taken(self.ids, rows),
            "bands": self.bands[:, rows] if self.bands.size else self.bands,
        }
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, np.ndarray) and item.name != "bands" and value.size:
                kept[item.name] = value[rows]
        kept["scores"] = {name: scores[rows] for name, scores in self.scores.items()}
        kept["inputs"] = {name: taken(values, rows) for name, values in self.inputs.items()}
        return replace(self, **kept)

    def expect_scored(self, model: str) -> None:
        """Raise InputError where no model of this name scored the events."""
        if model not in self.scores:
            there = f"its models are {', '.join(self.scores)}" if self.scores else "it has none"
            raise InputError(f"no model {model} scores {self.event_type}; {there}")

    def hit(self, rule: int) -> NDArray[np.bool_]:
        """Where the rule of this number hit, in shadow too."""
        return _bit(self.hits, rule)

    def was_unknown(self, rule: int) -> NDArray[np.bool_]:
        """Where the condition of the rule of this number was NULL."""
        return _bit(self.unknown, rule)


def make_history(
    project: ProjectLike,
    past: Past,
    *,
    event_type: str | None = None,
    label: str = "fraud",
    from_us: int | None = None,
    to_us: int | None = None,
    known_by_us: int | None = None,
    label_delay_us: int = 7 * DAY_US,
    inputs: Collection[str] | None = (),
    batch_size: int = 4096,
    on_progress: Callable[[Progress], object] | None = None,
) -> History:
    """Replay the past through the project as it stands and keep what it decided.

    Times are as in `gathering.Span`; `inputs` are the names of model inputs to keep beside, None for all of them.
    Raises InputError where there is no such event type, label or input, or no event in the span.
    """
    event = target_of(project.definitions, past.event_types, event_type, label)
    replaying = past.replay(project, batch_size=batch_size)
    plan = replaying.engine.plan.by_name[event.name]
    if not plan.decided:
        raise InputError(f"the project has neither a policy nor rules for {event.name}: nothing would be decided")
    there, left_out = inputs_of(plan, project.definitions)
    span = Span(
        event_type=event.name,
        label=label,
        from_us=from_us,
        to_us=to_us,
        known_by_us=known_by_us,
        label_delay_us=label_delay_us,
    )
    asked = _asked(there, left_out, inputs)
    gathering = Gathering(replaying, span, asked, personal_id=event.id in left_out)
    decided = _Decided(plan)

    def take(batch: LogBatch, decisions: Decisions) -> None:
        for part, kept in gathering.take(batch, decisions):
            frame = part.rows[kept]
            decided.outcome.append(part.judgement.outcome[kept])
            decided.won.append(part.judgement.won[kept])
            decided.hits.append(part.judgement.hits[kept])
            decided.unknown.append(part.judgement.unknown[kept])
            decided.score.append(part.score[kept])
            decided.flags.append(part.flags[kept])
            decided.numbers.append(replaying.engine.words[decided.slots[:, None], frame])
            decided.bands.append(replaying.engine.words[decided.band_slots[:, None], frame])

    told = None if on_progress is None else (lambda _, progress: on_progress(progress))
    summary = replaying.run(told, on_entries=take)
    gathering.expect_rows(summary)
    known = gathering.known()
    numbers = np.concatenate(decided.numbers, axis=1)
    scores = numbers[: len(plan.models)].view(np.float64)
    banded = np.concatenate(decided.bands, axis=1)
    money = None if decided.amount is None else plan.layout[decided.amount].type
    return History(
        event_type=event.name,
        label=label,
        project_hash=project.hash,
        currency=(money.currency if money is not None else None) or project.definitions.settings.currency,
        ids=gathering.ids,
        time_us=gathering.times,
        amount=np.full(gathering.count, np.nan) if money is None else _major(numbers[-1], money.digits),
        outcome=np.concatenate(decided.outcome),
        won=np.concatenate(decided.won),
        deciders=plan.schema.judge.deciders,
        score=np.concatenate(decided.score),
        scores={item.model.name: scores[number].copy() for number, item in enumerate(plan.models)},
        rules=plan.schema.judge.rules,
        hits=np.concatenate(decided.hits),
        unknown=np.concatenate(decided.unknown),
        bands=banded[: len(plan.bands)] == 1,
        flags=np.concatenate(decided.flags),
        person=_numbered(banded[-1]) if decided.person is not None else np.full(gathering.count, -1, np.int32),
        fraud=known.positive,
        matured=known.matured,
        labelled=known.labelled,
        known_at_us=known.known_at_us,
        inputs={item.name: values_of(words, item, replaying.engine.strings) for item, words in gathering.columns()},
        known_by_us=known.known_by_us,
        summary=summary,
    )


def values_of(words: NDArray[np.int64], item: Input, strings: Strings) -> Values:
    """The values of an input of a replay, as a model or a miner of rules reads them."""
    kind = item.column.type.kind
    if kind is Kind.STRING:
        return arrow_array(words, item.column, strings)
    if kind is Kind.NUMBER:
        return words.view(np.float64).copy()
    return _major(words, item.column.type.digits)


class _Decided:
    """The decisions so far, a list of arrays a batch; `slots` are where the frame holds scores and the amount,
    `band_slots` the bands and the person.
    """

    def __init__(self, plan: TypePlan) -> None:
        self.amount = amount_field(plan.event)
        slots = [item.output.slot for item in plan.models]
        self.slots = np.array(slots + ([] if self.amount is None else [plan.layout[self.amount].slot]), np.int64)
        self.person = next((item.name for item in plan.event.fields if item.entity), None)
        whose = [] if self.person is None else [plan.layout[self.person].slot]
        self.band_slots = np.array([*plan.bands, *whose], np.int64)
        self.outcome: list[NDArray[np.int8]] = []
        self.won: list[NDArray[np.int32]] = []
        self.hits: list[NDArray[np.uint64]] = []
        self.unknown: list[NDArray[np.uint64]] = []
        self.score: list[NDArray[np.float64]] = []
        self.flags: list[NDArray[np.uint8]] = []
        self.numbers: list[NDArray[np.int64]] = []
        self.bands: list[NDArray[np.int64]] = []


def _asked(there: list[Input], left_out: list[str], inputs: Collection[str] | None) -> list[Input]:
    """The inputs that are asked for; raises InputError for one that is not there."""
    if inputs is None:
        return there
    names = [item.name for item in there]
    for name in inputs:
        if name in left_out:
            raise InputError(f"{name} is personal: it is kept out of what is learned from and of reports")
        if name not in names:
            near = closest(name, names)
            raise InputError(f"there is no input {name!r}{f'; {near}' if near else ''}")
    return [item for item in there if item.name in inputs]


def _major(words: NDArray[np.int64], digits: int) -> NDArray[np.float64]:
    return np.where(words == NULL_WORD, np.nan, words / float(10**digits))


def _numbered(words: NDArray[np.int64]) -> NDArray[np.int32]:
    """Keys as numbers from 0 that say nothing but which are the same, -1 for NULL."""
    number = np.full(words.size, -1, np.int32)
    known = words != NULL_WORD
    number[known] = np.unique(words[known], return_inverse=True)[1]
    return number


def _bit(sets: NDArray[np.uint64], number: int) -> NDArray[np.bool_]:
    return (sets[:, number >> 6] >> np.uint64(number & 63)) & np.uint64(1) == 1
