"""Training sets by replay: for each event what the engine knew when it came, and what became of it by a cut-off.

A row is made from the log before its event, a label from what was known by the cut-off, so that nothing of the future
stands in either: the same log up to the cut-off gives the same set, byte for byte, whatever came later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from parakh.decisions.decisions import Decisions
from parakh.decisions.definition import DAY_US, Definitions, Policy, ProjectLike
from parakh.decisions.policy import HOLDOUT
from parakh.decisions.replay import Progress, Summary
from parakh.errors import InputError
from parakh.events.definition import EventType
from parakh.events.merge import LogBatch
from parakh.expressions.hints import closest
from parakh.expressions.strings import Strings
from parakh.expressions.types import BOOLEAN
from parakh.expressions.values import iso_time
from parakh.learning.columns import (
    Input,
    arrow_array,
    inputs_of,
    mask_array,
    set_name,
    taken,
    text_array,
    words_array,
)
from parakh.learning.gathering import FAR, Gathering, Span
from parakh.learning.known import stands_for
from parakh.learning.past import Past

__all__ = ["SPLITS", "Choice", "Counted", "Dataset", "Part", "make_dataset", "target_of"]

SPLITS = ("train", "gap", "test")
_TIME = pa.timestamp("us", "UTC")


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which set: events of one type with their times in [from_us, to_us), and what was known of them by `known_by_us`.

    Times are us UTC; None leaves a side open, and for `known_by_us` is the time of the last event. An event is matured
    when `label_delay_us` have passed since it by then. Events before `test_from_us` less `gap_us` are for training,
    those from `test_from_us` on for testing. `sample` is the share kept of events that are not positive; `seed` says
    which. `labels_of_stopped` says that labels are known whatever was decided: see `make_dataset`.
    """

    event_type: str
    label: str = "fraud"
    from_us: int | None = None
    to_us: int | None = None
    known_by_us: int | None = None
    test_from_us: int | None = None
    gap_us: int = 7 * DAY_US
    label_delay_us: int = 7 * DAY_US
    sample: float = 1.0
    seed: int = 0
    labels_of_stopped: bool = False

    @property
    def span(self) -> Span:
        """The events that it is about, and what counts as known of them."""
        return Span(
            event_type=self.event_type,
            label=self.label,
            from_us=self.from_us,
            to_us=self.to_us,
            known_by_us=self.known_by_us,
            label_delay_us=self.label_delay_us,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """Events of the span by what is known of them, before sampling; positive + negative + immature = events.

    `unlabelled` are the negatives about which no label is known; `labels` the matured events about which one is.
    `learned_late` are positives of the training part that became known only when the test had begun. `stopped` are left
    out, and none of `events`: the `held_out` among these speak for them.
    """

    events: int
    positive: int
    negative: int
    unlabelled: int
    immature: int
    after_cut_off: int
    learned_late: int
    stopped: int
    held_out: int

    @property
    def labels(self) -> int:
        return self.positive + self.negative - self.unlabelled


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Rows of one part of a set - training, gap or test - by label."""

    rows: int
    positive: int
    negative: int
    immature: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """A training set: its table, one row an event in log order, and the choice that it was made by.

    `inputs` are what a model may read, `left_out` says what is personal and not among them, `past` where the events
    came from. `held_out_share` is that of the policy's holdout, None where no event was held out.
    """

    table: pa.Table
    inputs: tuple[Input, ...]
    left_out: tuple[str, ...]
    choice: Choice
    known_by_us: int
    counted: Counted
    parts: dict[str, Part]
    replayed: Summary
    past: tuple[dict[str, Any], ...]
    held_out_share: float | None


def target_of(definitions: Definitions, given: Iterable[str], event_type: str | None, label: str) -> EventType:
    """The event type that a set is about: the one asked for, or the only one of those given that has the label.

    Raises InputError where there is no such type or label, or the label is not true or false.
    """
    types = {event.name: event for event in definitions.events}
    if event_type is not None and event_type not in types:
        raise InputError(f"the project has no event type {event_type!r}; there are: {', '.join(types)}")
    asked = [types[name] for name in dict.fromkeys(given) if name in types and event_type in (None, name)]
    if not asked:
        raise InputError(f"no file has events of {event_type}: name one with --events {event_type}=FILE")
    having = [event for event in asked if any(item.name == label for item in event.labels)]
    if not having:
        names = sorted({item.name for event in asked for item in event.labels})
        there = f"there {'is' if len(names) == 1 else 'are'} {', '.join(names)}" if names else "it has none"
        near = closest(label, names)
        hint = f"; {near}" if near else ""
        raise InputError(f"{' and '.join(event.name for event in asked)}: no label {label!r}, {there}{hint}")
    if len(having) > 1:
        raise InputError(f"a set is about one event type; say which with --for: {', '.join(e.name for e in having)}")
    kind = next(item.type for item in having[0].labels if item.name == label)
    if kind != BOOLEAN:
        raise InputError(
            f"label {label} of {having[0].name} is {kind}; a set is made for a label that is true or false"
        )
    return having[0]


def make_dataset(
    project: ProjectLike,
    past: Past,
    choice: Choice,
    *,
    batch_size: int = 4096,
    on_progress: Callable[[Progress], object] | None = None,
) -> Dataset:
    """Replay the past and keep what a model is trained with.

    Of what a policy stops labels do not come, and its frauds would be learned as good. Where the policy has a holdout,
    stopped events are therefore left out, and each that it let through weighs 1 / share, as in gates - unless the
    choice says that labels are known of stopped events too. Without a holdout they count as they are.

    Raises InputError where there is nothing to learn from: no such event or label, no event in the span, none matured.
    """
    event = target_of(project.definitions, past.event_types, choice.event_type, choice.label)
    policy = project.definitions.policy(event.name)
    share = policy.holdout.share if policy is not None and policy.holdout is not None else 0.0
    decided = bool(share) and not choice.labels_of_stopped
    replaying = past.replay(project if decided else _Undecided.of(project, event.name), batch_size=batch_size)
    inputs, left_out = inputs_of(replaying.engine.plan.by_name[event.name], project.definitions)
    gathering = Gathering(replaying, choice.span, inputs, personal_id=event.id in left_out)
    said = [f"{name} (event_id holds its token or hash)" if name == event.id else name for name in left_out]
    weights = [np.empty(0)]

    def take(batch: LogBatch, decisions: Decisions) -> None:
        for part, kept in gathering.take(batch, decisions):
            if decided:
                held_out = (part.flags[kept] & HOLDOUT) != 0
                weights.append(stands_for(part.judgement.outcome[kept], held_out, share))

    told = None if on_progress is None else (lambda _, progress: on_progress(progress))
    summary = replaying.run(told, on_entries=take)
    gathering.expect_rows(summary)
    stands = _Standing(np.concatenate(weights), share)
    if not stands.held_out.any():  # nothing speaks for what was stopped
        stands = _Standing(np.ones(gathering.count), None)
    return _dataset(gathering, choice, replaying.engine.strings, summary, tuple(said), past.described(), stands)


@dataclass(frozen=True, slots=True)
class _Standing:
    """For how many events each row stands, and the share of the holdout that says so.

    `share` is None where all stand for one.
    """

    weight: NDArray[np.float64]
    share: float | None

    @property
    def held_out(self) -> NDArray[np.bool_]:
        return self.weight > 1


@dataclass(frozen=True, slots=True)
class _Undecided:
    """A project that takes events in as its origin does, with the same features, and judges nothing."""

    definitions: Definitions
    hash: str

    @classmethod
    def of(cls, project: ProjectLike, event_type: str) -> _Undecided:
        policy = Policy(event_type=event_type)
        return cls(replace(project.definitions, rules=(), models=(), policies=(policy,)), project.hash)


def _dataset(
    gathering: Gathering,
    choice: Choice,
    strings: Strings,
    summary: Summary,
    left_out: tuple[str, ...],
    described: list[dict[str, Any]],
    stands: _Standing,
) -> Dataset:
    """The set of what was gathered."""
    times, known = gathering.times, gathering.known()
    split = _split(times, choice)
    counts = stands.weight > 0
    late = known.positive & (split == 0) & (known.known_at_us >= (choice.test_from_us or FAR))
    counted = Counted(
        events=int(counts.sum()),
        positive=int((counts & known.positive).sum()),
        negative=int((counts & known.matured & ~known.positive).sum()),
        unlabelled=int((counts & known.matured & ~known.labelled).sum()),
        immature=int((counts & ~known.matured).sum()),
        after_cut_off=gathering.beyond,
        learned_late=int((counts & late).sum()),
        stopped=int((~counts).sum()),
        held_out=int(stands.held_out.sum()),
    )
    _expect_labels(choice, counted, known.known_by_us, int(times.min()))
    whole = known.positive | stands.held_out  # few, and never sampled
    keep = np.flatnonzero(counts & (whole | _sampled(gathering.hashes[1], choice.sample, choice.seed)))
    columns: dict[str, pa.Array] = {
        "event_id": taken(gathering.ids, keep),
        "event_time": words_array(times[keep], _TIME),
    }
    for item, words in gathering.columns():
        columns[set_name(item.name, choice.event_type)] = arrow_array(words[keep], item.column, strings)
    columns["label"] = mask_array(known.positive[keep], ~known.matured[keep])
    columns["label_known_at"] = words_array(known.known_at_us[keep], _TIME)
    columns["matured"] = mask_array(known.matured[keep])
    columns["split"] = text_array(split[keep], SPLITS)
    weight = stands.weight[keep] * np.where(whole[keep], 1.0, 1.0 / choice.sample)
    columns["weight"] = words_array(weight.view(np.int64), pa.float64())
    return Dataset(
        table=pa.Table.from_arrays(list(columns.values()), names=list(columns)),
        inputs=gathering.inputs,
        left_out=left_out,
        choice=choice,
        known_by_us=known.known_by_us,
        counted=counted,
        parts=_parts(split[keep], known.positive[keep], known.matured[keep]),
        replayed=summary,
        past=tuple(described),
        held_out_share=stands.share,
    )


def _split(times: NDArray[np.int64], choice: Choice) -> NDArray[np.int32]:
    """The number of each event's part in SPLITS."""
    if choice.test_from_us is None:
        return np.zeros(times.size, np.int32)
    begun = (times >= choice.test_from_us - choice.gap_us).astype(np.int32)
    return begun + (times >= choice.test_from_us).astype(np.int32)


def _parts(split: NDArray[np.int32], positive: NDArray[np.bool_], matured: NDArray[np.bool_]) -> dict[str, Part]:
    """The parts that have rows."""
    result = {}
    for number, name in enumerate(SPLITS):
        mine = split == number
        rows, true, known = (int(mask.sum()) for mask in (mine, mine & positive, mine & matured))
        if rows:
            result[name] = Part(rows=rows, positive=true, negative=known - true, immature=rows - known)
    return result


def _sampled(hashes: NDArray[np.uint64], share: float, seed: int) -> NDArray[np.bool_]:
    """Which events a share of them is: a property of each event's id and the seed, whatever else there is."""
    if share >= 1:
        return np.ones(hashes.size, np.bool_)
    word = hashes ^ np.uint64(seed * 0x9E3779B97F4A7C15 % 2**64)
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        word = (word ^ (word >> np.uint64(33))) * np.uint64(factor)
    return (word ^ (word >> np.uint64(33))) < np.uint64(int(share * 2**64))


def _expect_labels(choice: Choice, counted: Counted, known_by_us: int, first_us: int) -> None:
    """Refuse a set from which nothing can be learned."""
    cut = f"the cut-off {iso_time(known_by_us)}"
    delay = f"{choice.label_delay_us / DAY_US:g}d"
    if counted.immature == counted.events:
        raise InputError(
            f"no {choice.event_type} is matured: the first was at {iso_time(first_us)}, less than {delay} before {cut}"
            "; say a later --known-by or a shorter --label-delay"
        )
    if not counted.labels:
        raise InputError(
            f"no label {choice.label!r} was known of any {choice.event_type} by {cut}; "
            "are these the labels of these events? A later --known-by sees more of them"
        )
