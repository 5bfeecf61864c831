"""The loop: matured labels become a challenger and suggested rules, are proved on later events, and wait for people.

One turn makes a set, trains a challenger, puts it into shadow and to the gates beside the challengers that were there,
asks for the promotion of the best that passed, and suggests rules for what the policy lets pass. In shadow stay the new
one, the best that passed and the one that waits for approval, so that their number has a bound. It puts a model into
force by itself only where learning.toml says `people = 0` and every gate is passed.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parakh.decisions.definition import DAY_US
from parakh.decisions.replay import Progress
from parakh.errors import InputError, ParakhError
from parakh.expressions.values import iso_time
from parakh.learning.card import write_dataset
from parakh.learning.dataset import Choice as Cut
from parakh.learning.dataset import make_dataset
from parakh.learning.fitting.model_card import Carded, make_card, write_model
from parakh.learning.fitting.samples import read_samples
from parakh.learning.fitting.training import TRIALS, Trained, train
from parakh.learning.fitting.training import Choice as Training
from parakh.learning.history import History, make_history
from parakh.learning.past import Past
from parakh.learning.promotion.gates import Gates, judge, learned_until_us
from parakh.learning.promotion.registry import SHADOW, Registry
from parakh.learning.settings import LearningSettings
from parakh.learning.suggesting.evidence import Search, Suggested
from parakh.learning.suggesting.proposals import names_of, propose, read_memory
from parakh.learning.suggesting.suggestions import facts_of, suggest
from parakh.project.project import Project

__all__ = ["ASKED", "KEPT", "PROMOTED", "RESTS", "Challenger", "Disagreement", "Told", "Turn", "Wish", "turn"]

KEPT, ASKED, PROMOTED, RESTS = "kept in shadow", "asked for", "promoted", "rests"
_TEST_SHARE = 0.3
_LONGEST_TEST_US = 56 * DAY_US

Told = Callable[[str, float | None, str], object]
"""Is told what is being done, the share of it that is done (None: not known), and words beside it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a turn is to do: for which event type (None: the one with the label) and model, and who signs it.

    It looks at events with times in [from_us, to_us) as known by the cut-off `known_by_us` (None: the time of the last
    event); `at_us` is when it is done. All times are us UTC.
    """

    event_type: str | None = None
    model: str | None = None
    from_us: int | None = None
    to_us: int | None = None
    known_by_us: int | None = None
    by: str
    at_us: int
    trials: int = TRIALS
    budget_s: float | None = None
    seed: int = 0
    precision: float = 0.5
    most_rules: int = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Disagreement:
    """Champion and challenger on the events that a desk would see: those that each ranks highest, `events` of each.

    `shared` are in both, with `both_frauds`; the others hold `champion_frauds` and `challenger_frauds`.
    """

    events: int
    shared: int
    both_frauds: int
    champion_frauds: int
    challenger_frauds: int

    def as_data(self) -> dict[str, int]:
        return {
            "events": self.events,
            "shared": self.shared,
            "both_frauds": self.both_frauds,
            "champion_frauds": self.champion_frauds,
            "challenger_frauds": self.challenger_frauds,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenger:
    """A version in shadow: what the gates found, what became of it, and how far it disagrees with the champion."""

    version: int
    gates: Gates
    became: str
    new: bool
    disagreement: Disagreement | None

    def as_data(self) -> dict[str, Any]:
        return {
            "version": self.version,
            "new": self.new,
            "became": self.became,
            "gates": self.gates.as_data(),
            "disagreement": None if self.disagreement is None else self.disagreement.as_data(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What one turn did. `champion` is the version that decides after it, None where there is none.

    `suggested` is None where too little passes the policy to look for rules in it; `no_rules` says why.
    """

    model: str
    event_type: str
    label: str
    currency: str
    known_by_us: int
    test_from_us: int
    rows: int
    frauds: int
    challengers: tuple[Challenger, ...]
    champion_before: int | None
    champion: int | None
    waiting: int | None
    carded: Carded
    suggested: Suggested | None
    no_rules: str
    rules: tuple[str, ...]
    past: tuple[Mapping[str, Any], ...]

    @property
    def new(self) -> Challenger:
        """The challenger of this turn."""
        return next(item for item in self.challengers if item.new)

    def as_data(self) -> dict[str, Any]:
        """For programs."""
        return {
            "model": self.model,
            "event_type": self.event_type,
            "label": self.label,
            "known_by": iso_time(self.known_by_us),
            "test_from": iso_time(self.test_from_us),
            "rows": self.rows,
            "frauds": self.frauds,
            "champion_before": self.champion_before,
            "champion": self.champion,
            "waiting": self.waiting,
            "challengers": [item.as_data() for item in self.challengers],
            "suggested": None if self.suggested is None else self.suggested.as_data(),
            "no_rules": self.no_rules,
            "rules": list(self.rules),
        }


def turn(
    folder: Path,
    past: Past,
    wish: Wish,
    settings: LearningSettings,
    *,
    on_progress: Told | None = None,
    on_trained: Callable[[Trained, Carded, Path], object] | None = None,
) -> Turn:
    """Go round once; `on_trained` may add to a new version's folder before it enters the registry.

    All of it is as known by one moment, the wish's or that of the last event when it began. Raises InputError where
    there is too little to learn from, as the steps do; the project is then as it was, but for a version that was
    trained already: it rests, and the registry says why, unless it passed and was asked for before.
    """
    told: Told = on_progress or (lambda doing, share, words: None)
    project = Project.load(folder)
    looked = _looked(project, past, wish, settings, told)
    wish = replace(wish, event_type=looked.event_type, known_by_us=looked.known_by_us)
    name = wish.model or _model_of(project, looked.event_type) or f"{looked.event_type}_{settings.label}"
    registry = Registry.open(folder, name)
    registry.expect_scores(looked.event_type)
    before = registry.champion
    trained, carded = _trained(project, past, wish, settings, looked, name, told)
    number = registry.claim()
    write_model(trained, carded, registry.folder(number))
    if on_trained is not None:
        on_trained(trained, carded, registry.folder(number))
    del trained
    registry.add(number, by=wish.by, at_us=wish.at_us)
    try:
        challengers = _tried(registry, number, past, wish, settings, looked, told)
        rules = _proposed(registry.project, looked)
    except BaseException as error:
        _let_rest(folder, name, number, wish, error)
        raise
    champion, request = registry.champion, registry.request_open
    return Turn(
        model=name,
        event_type=looked.event_type,
        label=settings.label,
        currency=looked.currency,
        known_by_us=looked.known_by_us,
        test_from_us=looked.test_from_us,
        rows=looked.rows,
        frauds=looked.frauds,
        challengers=challengers,
        champion_before=None if before is None else before.number,
        champion=None if champion is None else champion.number,
        waiting=None if request is None else request.version,
        carded=carded,
        suggested=looked.suggested,
        no_rules=looked.no_rules,
        rules=tuple(rules),
        past=tuple(past.described()),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Looked:
    """What the first look at the past leaves: not the history itself, which is large with all inputs in it."""

    event_type: str
    currency: str
    known_by_us: int
    test_from_us: int
    rows: int
    frauds: int
    suggested: Suggested | None
    no_rules: str


def _looked(project: Project, past: Past, wish: Wish, settings: LearningSettings, told: Told) -> _Looked:
    """Look at what was decided, and search rules in it: after this its inputs are not needed any more."""
    seen = _history(project, past, wish, settings, told, "looking at what was decided", inputs=None)
    test_from = _test_from(seen, settings)
    suggested, no_rules = _suggested(project, seen, wish, settings, told)
    return _Looked(
        event_type=seen.event_type,
        currency=seen.currency,
        known_by_us=seen.known_by_us,
        test_from_us=test_from,
        rows=int(seen.matured.sum()),
        frauds=int(seen.fraud.sum()),
        suggested=suggested,
        no_rules=no_rules,
    )


def _tried(
    registry: Registry,
    number: int,
    past: Past,
    wish: Wish,
    settings: LearningSettings,
    looked: _Looked,
    told: Told,
) -> tuple[Challenger, ...]:
    """Put the new version into shadow and all that are there to the gates; ask for one, and let others rest."""
    before = registry.champion
    registry.shadow(number, by=wish.by, at_us=wish.at_us)
    shadows = [each.number for each in registry.versions if each.state == SHADOW]
    inputs = {item for version in shadows for item in registry.version(version).inputs}
    shadowed = _history(registry.project, past, wish, settings, told, "putting challengers to the gates", inputs=inputs)
    judged = _judged(registry, shadowed, shadows, looked.test_from_us, settings)
    disagreements = {
        version: _disagreement(shadowed, registry, version, gates, settings) if before else None
        for version, gates in judged.items()
    }
    became = _settled(registry, number, judged, wish, settings)
    return tuple(
        Challenger(
            version=version,
            gates=gates,
            became=became[version],
            new=version == number,
            disagreement=disagreements[version],
        )
        for version, gates in judged.items()
    )


def _settled(
    registry: Registry, number: int, judged: dict[int, Gates], wish: Wish, settings: LearningSettings
) -> dict[int, str]:
    """What becomes of each: the best that passed is asked for, and all rest but it, the new one and the one asked for.

    Each of those in shadow scores every live event, and a turn adds one.
    """
    best = _best(judged)
    became = dict.fromkeys(judged, KEPT)
    if registry.request_open is None and best is not None:
        registry.request(best, by=wish.by, at_us=wish.at_us, gates=judged[best])
        became[best] = ASKED
        if settings.people == 0:
            registry.approve(best, by=wish.by, at_us=wish.at_us)
            became[best] = PROMOTED
    request = registry.request_open
    kept = {number, best, None if request is None else request.version}
    for version, gates in judged.items():
        if version not in kept and registry.version(version).state == SHADOW:
            why = _failed(gates) or f"passed, and version {best} ranks higher"
            registry.retire(version, by=wish.by, at_us=wish.at_us, why=why)
            became[version] = RESTS
    return became


def _let_rest(folder: Path, model: str, number: int, wish: Wish, error: BaseException) -> None:
    """Retire a challenger whose turn failed, so that it does not go on scoring in silence; one asked for waits."""
    why = " ".join(str(error).split())[:300] or type(error).__name__
    with contextlib.suppress(ParakhError, OSError):  # the first error is the one to tell
        registry = Registry.open(folder, model)
        asked = registry.request_open
        if asked is None or asked.version != number:
            registry.retire(number, by=wish.by, at_us=wish.at_us, why=f"its turn failed: {why}")


def _history(
    project: Project,
    past: Past,
    wish: Wish,
    settings: LearningSettings,
    told: Told,
    doing: str,
    *,
    inputs: set[str] | None,
) -> History:
    return make_history(
        project,
        past,
        event_type=wish.event_type,
        label=settings.label,
        from_us=wish.from_us,
        to_us=wish.to_us,
        known_by_us=wish.known_by_us,
        label_delay_us=settings.label_delay_us,
        inputs=inputs,
        on_progress=_replayed(told, doing),
    )


def _replayed(told: Told, doing: str) -> Callable[[Progress], object]:
    def tell(progress: Progress) -> None:
        share = progress.done_bytes / progress.total_bytes if progress.total_bytes else None
        told(doing, share, f"{progress.events:,} events")

    return tell


def _test_from(history: History, settings: LearningSettings) -> int:
    """Where the test begins: the last part of what has matured, at midnight UTC where the span allows it."""
    times = history.time_us[history.matured]
    if not times.size:
        raise InputError(
            f"no {history.event_type} has matured by {iso_time(history.known_by_us)}: labels take "
            f"{settings.label_delay_us / DAY_US:g} days (hint: a later --known-by, or `label_delay` in learning.toml)"
        )
    first, last = int(times.min()), int(times.max())
    length = min(round(_TEST_SHARE * (last - first)), _LONGEST_TEST_US)
    begin = last - length
    return begin // DAY_US * DAY_US if length >= 4 * DAY_US else begin


def _model_of(project: Project, event_type: str) -> str | None:
    """The model that the policy of an event type reads."""
    policy = project.definitions.policy(event_type)
    return None if policy is None else policy.score


def _trained(
    project: Project,
    past: Past,
    wish: Wish,
    settings: LearningSettings,
    looked: _Looked,
    name: str,
    told: Told,
) -> tuple[Trained, Carded]:
    cut = Cut(
        event_type=looked.event_type,
        label=settings.label,
        from_us=wish.from_us,
        to_us=wish.to_us,
        known_by_us=looked.known_by_us,
        test_from_us=looked.test_from_us,
        gap_us=settings.label_delay_us,
        label_delay_us=settings.label_delay_us,
    )
    with tempfile.TemporaryDirectory() as folder:
        made = make_dataset(project, past, cut, on_progress=_replayed(told, "making a training set"))
        write_dataset(made, project, Path(folder))
        del made
        samples = read_samples(Path(folder))
    choice = Training(trials=wish.trials, budget_s=wish.budget_s, seed=wish.seed)
    trained = train(samples, choice, on_progress=lambda share, words: told("training a challenger", share, words))
    told("training a challenger", None, "its card")
    carded = make_card(
        trained,
        model=name,
        costs=settings.costs,
        capacity=settings.review_capacity,
        zone=project.definitions.settings.time_zone,
    )
    return trained, carded


def _judged(
    registry: Registry, history: History, shadows: list[int], test_from: int, settings: LearningSettings
) -> dict[int, Gates]:
    """Each challenger against the champion on the test's events, as far as none of them has learned from these."""
    champion = registry.champion
    cards = [registry.card(version) or {} for version in (*shadows, *([champion.number] if champion else []))]
    learned = [until + 1 for card in cards if (until := learned_until_us(card)) is not None]
    return {
        version: judge(
            history,
            challenger=registry.shadow_name(version),
            champion=None if champion is None else registry.model,
            card=registry.card(version) or {},
            policy=registry.project.definitions.policy(history.event_type),
            settings=settings,
            from_us=max(test_from, *learned),
            zone=registry.project.definitions.settings.time_zone,
        )
        for version in shadows
    }


def _best(judged: dict[int, Gates]) -> int | None:
    """Of those that passed, the best on the gates' metric; of equals the older."""
    passed = [version for version, gates in judged.items() if gates.passed]
    return max(
        passed, key=lambda version: (judged[version].measured[judged[version].challenger], -version), default=None
    )


def _failed(gates: Gates) -> str:
    return "; ".join(f"{gate.name}: {gate.why}" for gate in gates.gates if not gate.passed)


def _disagreement(
    history: History, registry: Registry, version: int, gates: Gates, settings: LearningSettings
) -> Disagreement:
    rows = np.flatnonzero(history.matured & (history.time_us >= gates.from_us) & (history.time_us <= gates.to_us))
    days = max(1.0, (gates.to_us - gates.from_us) / DAY_US)
    count = int(min(rows.size, max(1, round(settings.review_capacity * days))))
    fraud = history.fraud[rows]
    champion = _highest(history.scores[gates.champion][rows], count)
    challenger = _highest(history.scores[registry.shadow_name(version)][rows], count)
    return Disagreement(
        events=count,
        shared=int((champion & challenger).sum()),
        both_frauds=int((fraud & champion & challenger).sum()),
        champion_frauds=int((fraud & champion & ~challenger).sum()),
        challenger_frauds=int((fraud & challenger & ~champion).sum()),
    )


def _highest(score: NDArray[np.float64], count: int) -> NDArray[np.bool_]:
    """The rows of the so many highest scores; of equals the earlier, the unknown last."""
    mask = np.zeros(score.size, np.bool_)
    mask[np.argsort(-np.nan_to_num(score, nan=-np.inf), kind="stable")[:count]] = True
    return mask


def _suggested(
    project: Project, seen: History, wish: Wish, settings: LearningSettings, told: Told
) -> tuple[Suggested | None, str]:
    """Rules for the frauds that the policy lets pass; None and the reason where too little passes to look there."""
    memory = read_memory(project.root or Path())
    facts = facts_of(seen, project)
    search = Search(precision=wish.precision, most=wish.most_rules, delay_us=settings.label_delay_us, seed=wish.seed)
    try:
        found = suggest(
            facts,
            search,
            settings.costs,
            names=names_of(project, memory),
            rejected=memory.rejected(seen.event_type),
            on_progress=lambda done, total: told(
                "looking for rules", done / total if total else None, f"{done} of {total}"
            ),
        )
    except InputError as error:
        return None, str(error)
    return found, ""


def _proposed(project: Project, looked: _Looked) -> list[str]:
    """Write what was suggested, in shadow."""
    if looked.suggested is None:
        return []
    return propose(project, looked.suggested, event_type=looked.event_type, currency=looked.currency)
