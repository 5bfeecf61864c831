"""Rules that data suggest: mined on an early span of the past, judged on a later one that the search never saw.

Looked for are frauds that the policy lets pass. What is mined on the early span is judged once each on the later one,
after a gap in which labels come. A condition stays where its precision there is beyond chance for so many tries, where
it holds up day by day, and where it saves more than it costs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from parakh.decisions.definition import ProjectLike
from parakh.decisions.names import Names
from parakh.learning.columns import taken
from parakh.learning.history import History
from parakh.learning.measures.costs import Costs
from parakh.learning.suggesting.evidence import Facts, Search, Suggested, Suggestion
from parakh.learning.suggesting.judging import Judge, Judged, split
from parakh.learning.suggesting.mining import Mine, mine
from parakh.learning.suggesting.terms import Condition, Mask
from parakh.rules.definition import Outcome

__all__ = ["facts_of", "suggest"]

_ALIKE = 0.7
"""Two conditions whose hits overlap by more (Jaccard) are one."""


def facts_of(history: History, project: ProjectLike) -> Facts:
    """The facts of a history that was made with all inputs (`inputs=None`)."""
    event = next(item for item in project.definitions.events if item.name == history.event_type)
    columns = Names(project.definitions).rules(event).columns
    return Facts(
        ids=history.ids,
        time_us=history.time_us,
        amount=history.amount,
        fraud=history.fraud,
        matured=history.matured,
        known_at_us=history.known_at_us,
        stopped=history.outcome != Outcome.ALLOW,
        values={name: held for name, held in history.inputs.items() if name in columns},
        types={name: columns[name] for name in history.inputs if name in columns},
        rules={f"rule {rule.name}": history.hit(number) for number, rule in enumerate(history.rules)},
    )


def suggest(
    facts: Facts,
    search: Search,
    costs: Costs,
    *,
    names: Sequence[str] = (),
    rejected: Sequence[Condition] = (),
    on_progress: Callable[[int, int], object] | None = None,
) -> Suggested:
    """Mine, judge and prune; best by what they save first.

    `names` are those that are no longer free; what hits as a rejected condition did is not suggested again. Raises
    InputError where too little of the past is matured to mine or to judge on.
    """
    spans = split(facts, search)
    early, late = spans.early, spans.late
    task = Mine(
        values={name: taken(values, early) for name, values in facts.values.items()},
        kinds={name: type.kind for name, type in facts.types.items()},
        fraud=facts.fraud[early],
        precision=search.precision,
        seed=search.seed,
    )
    mined = mine(task, most=search.most + search.most // 2 + 2, on_progress=on_progress)
    judge = Judge(facts, search, costs, late, len(mined))
    judged, fell = list[Judged](), list[tuple[str, str]]()
    for condition in mined:
        one = judge.judged(condition, task)
        why = judge.fault(one)
        if why:
            fell.append((str(condition), why))
        else:
            judged.append(one)
    known = [(name, hits[late]) for name, hits in facts.rules.items()]
    known += [(f"the rejected {old}", judge.hits(old)) for old in rejected if set(old.names) <= facts.values.keys()]
    kept = _kept(judged, judge, search.most, known, fell)
    used = list(names)
    suggestions = list[Suggestion]()
    for one in kept:
        others = [other.hits for other in kept if other is not one]
        alone = one.hits & ~_any(others, late.size) & judge.passed & judge.fraud
        name = _free(f"suggested_{one.condition.slug}", used)
        used.append(name)
        amount = float(np.nansum(judge.amount[alone]))
        suggestions.append(replace(one.suggestion, name=name, alone_frauds=int(alone.sum()), alone_amount=amount))
    return Suggested(
        suggestions=tuple(suggestions),
        mined=spans.mined,
        judged=spans.judged,
        last_us=facts.last_us,
        passed_frauds=int((judge.fraud & judge.passed).sum()),
        tried=len(mined),
        fell=tuple(fell),
    )


def _kept(
    judged: list[Judged], judge: Judge, most: int, known: list[tuple[str, Mask]], fell: list[tuple[str, str]]
) -> list[Judged]:
    """What to suggest, one after another what then adds most; of two that are alike the one of more worth."""
    left, kept = list[Judged](), list[Judged]()
    for one in sorted(judged, key=lambda item: (-item.worth, str(item.condition))):
        others = [*known, *((str(item.condition), item.hits) for item in left)]
        alike = next((name for name, hits in others if _jaccard(one.hits, hits) > _ALIKE), None)
        if alike is None:
            left.append(one)
        else:
            fell.append((str(one.condition), f"hits nearly as {alike}"))
    while left and len(kept) < most:
        covered = _any([one.hits for one in kept], judge.late.size)
        adds = [judge.saved(one.hits & ~covered) for one in left]
        best = left.pop(int(np.argmax(adds)))
        why = judge.adds_too_little(best.hits & ~covered)
        if why:
            fell.append((str(best.condition), why))
        else:
            kept.append(best)
    fell.extend((str(one.condition), f"{most} others save more") for one in left)
    return kept


def _any(masks: Sequence[Mask], size: int) -> Mask:
    return np.logical_or.reduce(masks) if masks else np.zeros(size, np.bool_)


def _jaccard(one: Mask, other: Mask) -> float:
    either = int((one | other).sum())
    return int((one & other).sum()) / either if either else 0.0


def _free(name: str, taken: Sequence[str]) -> str:
    return next(tried for tried in (name, *(f"{name}_{n}" for n in range(2, 10_000))) if tried not in taken)
