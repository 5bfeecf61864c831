"""One turn of the loop in words: the verdict first, what became of each challenger, and where it disagrees."""

from __future__ import annotations

from parakh.cli.words import plural, thousands
from parakh.learning.loop import ASKED, KEPT, PROMOTED, Challenger, Disagreement, Turn

__all__ = ["became_words", "disagreement_words", "verdict"]


def verdict(done: Turn) -> str:
    """What a reader has to know, in one or two sentences."""
    new = done.new
    if new.became == PROMOTED:
        first = f"Version {new.version} of {done.model} passed every gate and decides from now on."
    elif new.became == ASKED:
        first = f"Version {new.version} of {done.model} passed every gate and waits for a second person."
    elif new.gates.passed:
        other = f"version {done.champion} decides" if done.waiting is None else f"version {done.waiting} waits already"
        first = f"Version {new.version} of {done.model} passed every gate; {other}, it stays in shadow."
    else:
        failed = [gate.name for gate in new.gates.gates if not gate.passed]
        first = f"Version {new.version} of {done.model} failed at: {', '.join(failed)}. What decides stays as it is."
    rules = f"{plural(len(done.rules), 'rule')} wait in shadow." if done.rules else "No rule is suggested."
    if len(done.rules) == 1:
        rules = "1 rule waits in shadow."
    return f"{first} {rules}"


def became_words(done: Turn, item: Challenger) -> str:
    """What became of a challenger."""
    if item.became == PROMOTED:
        return f"version {item.version} is champion: learning.toml lets the loop promote what passes every gate"
    if item.became == ASKED or item.version == done.waiting:
        return f"version {item.version} waits for approval by a second person"
    if item.became == KEPT:
        other = f"version {done.champion} decides" if done.waiting is None else f"version {done.waiting} waits already"
        why = f": {other}" if item.gates.passed else ""
        return f"version {item.version} goes on scoring in shadow{why}; the next turn looks again"
    why = "it passed, and another ranks higher" if item.gates.passed else "it did not pass"
    return f"version {item.version} rests: {why}"


def disagreement_words(found: Disagreement) -> str:
    """Where champion and challenger differ, on what a desk would see."""
    return (
        f"of the {thousands(found.events)} events that each ranks highest {thousands(found.shared)} are the same, with "
        f"{plural(found.both_frauds, 'fraud')}; the challenger alone has {thousands(found.challenger_frauds)} more, "
        f"the champion alone {thousands(found.champion_frauds)}"
    )
