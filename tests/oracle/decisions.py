"""The oracle of decisions: from what the rules, bands and score say to one outcome, written from design 3.5 and 3.7."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["SEVERITY", "BandSays", "Outcome", "RuleSays", "decide"]

SEVERITY = ("allow", "challenge", "review", "block")


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleSays:
    """A rule's condition on one event: True (hit), False or None (unknown)."""

    name: str
    then: str
    holds: bool | None
    override: bool = False
    live: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class BandSays:
    """A band's condition on one event."""

    then: str
    holds: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What is decided, what won (kind and name), and whether the fallback stood in for an unknown score."""

    word: str
    decided_by: tuple[str, str]
    degraded: bool


def decide(
    rules: Sequence[RuleSays],
    bands: Sequence[BandSays],
    *,
    otherwise: str,
    fallback: str,
    scored: bool,
    score: float | None,
) -> Outcome:
    """One outcome.

    A live override that hits decides alone, the most severe of several. Otherwise the most severe of the live rules
    that hit and of the bands that hold decides; an unknown score (`scored` says that the policy has a model) asks for
    the fallback beside them; with nothing asked for it is `otherwise`. Of equals the first one written wins, rules
    before bands before the fallback.
    """
    degraded = scored and score is None
    hits = [rule for rule in rules if rule.live and rule.holds is True]
    overrides = [(rule.then, ("rule", rule.name)) for rule in hits if rule.override]
    if overrides:
        word, by = _most_severe(overrides)
        return Outcome(word=word, decided_by=by, degraded=degraded)
    asked = [(rule.then, ("rule", rule.name)) for rule in hits]
    asked += [(band.then, ("band", band.then)) for band in bands if band.holds is True]
    if degraded:
        asked.append((fallback, ("fallback", fallback)))
    if not asked:
        asked.append((otherwise, ("otherwise", otherwise)))
    word, by = _most_severe(asked)
    return Outcome(word=word, decided_by=by, degraded=degraded)


def _most_severe(asked: Sequence[tuple[str, tuple[str, str]]]) -> tuple[str, tuple[str, str]]:
    """The first of the most severe (max() keeps the first of equals)."""
    return max(asked, key=lambda item: SEVERITY.index(item[0]))
