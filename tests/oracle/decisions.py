"""The oracle of decisions: from what the rules, bands and score say to one outcome, written from design 3.5 and 3.7."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

__all__ = ["SEVERITY", "BandSays", "HoldoutSays", "Outcome", "RuleSays", "decide", "is_taken"]

SEVERITY = ("allow", "challenge", "review", "block")


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleSays:
    """A rule's condition on one event: True (hit), False or None (unknown)."""

    name: str
    then: str
    holds: bool | None
    override: bool = False
    live: bool = True
    holdout: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class BandSays:
    """A band's condition on one event."""

    then: str
    holds: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldoutSays:
    """A policy's holdout on one event: whether chance takes it, and whether its amount is one that may pass."""

    taken: bool
    small: bool | None = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What is decided, what won (kind and name), whether the fallback was asked for, and whether it is held out."""

    word: str
    decided_by: tuple[str, str]
    degraded: bool
    held_out: bool = False


def decide(
    rules: Sequence[RuleSays],
    bands: Sequence[BandSays],
    *,
    otherwise: str,
    fallback: str,
    scored: bool,
    score: float | None,
    holdout: HoldoutSays | None = None,
    degraded: bool = False,
) -> Outcome:
    """One outcome; `degraded` where something else than the score is missing.

    A live override that hits decides alone, the most severe of several. Otherwise the most severe of the live rules
    that hit and of the bands that hold decides; an unknown score (`scored` says that the policy has a model) asks for
    the fallback beside them; with nothing asked for it is `otherwise`. Of equals the first one written wins, rules
    before bands before the fallback. See `_let_through` for what a holdout makes of that.
    """
    degraded = degraded or (scored and score is None)
    judged = _judged(rules, bands, otherwise=otherwise, fallback=fallback, degraded=degraded)
    return judged if holdout is None else _let_through(judged, rules, holdout)


def is_taken(event_type_and_id: bytes, *, policy: str, salt: str, share: Fraction) -> bool:
    """Whether chance takes an event, by the hash of its type and id (16 bytes), as ADR 11 says."""
    key = hashlib.sha256(policy.encode() + b"\0" + salt.encode()).digest()
    drawn = hashlib.blake2b(event_type_and_id, digest_size=8, key=key).hexdigest()
    return Fraction(int(drawn, 16), 2**64) < share


def _let_through(judged: Outcome, rules: Sequence[RuleSays], holdout: HoldoutSays) -> Outcome:
    """What would be stopped passes, where chance takes it and nothing forbids it."""
    decided = {rule.name: rule for rule in rules}.get(judged.decided_by[1]) if judged.decided_by[0] == "rule" else None
    forbidden = (
        judged.word == "allow",
        judged.degraded,
        judged.decided_by[0] == "fallback",
        decided is not None and decided.override,
        holdout.small is not True,
        any(rule.live and rule.holds is True and rule.then != "allow" and not rule.holdout for rule in rules),
    )
    if any(forbidden) or not holdout.taken:
        return judged
    return Outcome(word="allow", decided_by=("holdout", judged.word), degraded=False, held_out=True)


def _judged(
    rules: Sequence[RuleSays], bands: Sequence[BandSays], *, otherwise: str, fallback: str, degraded: bool
) -> Outcome:
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
