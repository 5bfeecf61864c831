"""One decision at length in a terminal: outcome, reasons, timelines of its keys, rules clause by clause, score."""

from __future__ import annotations

from collections.abc import Sequence

from parakh.cli import timeline
from parakh.cli.console import Console, bold, clean, cut, dim, green, outcome, pad, red, width, yellow
from parakh.cli.report.data import Clause, Contribution, Story
from parakh.cli.words import plural

__all__ = ["show_story"]

_SIGNS = {True: ("✓", red), False: ("✗", dim), None: ("?", yellow)}


def show_story(story: Story, console: Console, *, every_rule: bool = False) -> None:
    """Print the story; rules that did not hit are counted, or with `every_rule` shown too."""
    event = f"{story.event_type} {clean(story.event_id)}"
    console.print(f"{outcome(story.outcome, story.outcome.upper())}  {bold(event)}  {dim(story.time)}")
    why = [f"decided by {story.decided_by}"]
    if story.score is not None:
        why.append(f"score {story.score:.3f}")
    if story.truth:
        why.append(f"in truth {story.truth}")
    console.say(dim(" · ".join(why)))
    if story.reasons:
        console.print("")
    room = min(24, max([5, *(width(clean(code)) for code, _ in story.reasons)]))
    for code, words in story.reasons:
        console.say(f"{bold(pad(clean(code), room))} {clean(words)}", indent="  ", hanging=" " * (room + 3))
    if story.facts:
        console.print("", *_facts(story.facts, console.columns))
    if story.timelines:
        console.print("", *timeline.draw(story.timelines, console.columns))
    _show_rules(story, console, every_rule)
    if story.contributions:
        _show_contributions(story, console)


def _facts(facts: Sequence[tuple[str, str]], columns: int) -> list[str]:
    lines = [""]
    used = 0
    for name, value in facts:
        plain = width(f"{name} {clean(value)}")
        if used and used + plain + 5 > columns:
            lines.append("")
            used = 0
        lines[-1] += f"{'   ' if used else '  '}{dim(name)} {clean(value)}"
        used += plain + 3
    return lines


def _show_rules(story: Story, console: Console, every_rule: bool) -> None:
    hits = [rule for rule in story.rules if rule[1]]
    unknown = [rule for rule in story.rules if rule[1] is None]
    others = [rule for rule in story.rules if rule[1] is False]
    if not story.rules:
        return
    console.print("", bold("rules"))
    if not hits:
        console.print(dim("  none hit"))
    for name, truth, clauses in [*hits, *unknown, *(others if every_rule else ())]:
        sign, style = _SIGNS[truth]
        console.print(f"  {style(sign)} {bold(name) if truth else name}")
        for clause in clauses:
            _show_clause(clause, console)
    if others and not every_rule:
        console.print(dim(f"  {plural(len(others), 'rule')} did not hit (--all shows why)"))


def _show_clause(clause: Clause, console: Console) -> None:
    sign, style = _SIGNS[clause.truth]
    indent = " " * (6 + 2 * clause.depth)
    console.print(f"{indent}{style(sign)} {cut(clean(clause.text), max(20, console.columns - len(indent) - 2))}")


def _show_contributions(story: Story, console: Console) -> None:
    most = max(abs(item.added) for item in story.contributions) or 1.0
    names = max(width(item.name) for item in story.contributions)
    values = max(width(item.value) for item in story.contributions)
    names = min(names, max(16, console.columns - values - 40))
    base = f" from {story.base:+.3f}" if story.base is not None else ""
    console.print("", f"{bold('score')} {dim(f'what each input added to the raw score,{base}; exact (SHAP)')}")
    for item in story.contributions:
        console.print(_contribution(item, names, values, most, max(8, console.columns - names - values - 16)))


def _contribution(item: Contribution, names: int, values: int, most: float, room: int) -> str:
    bar = "█" * max(1, round(min(room, 28) * abs(item.added) / most))
    style = red if item.added > 0 else green
    name = pad(cut(clean(item.name), names), names)
    return f"  {name}  {pad(clean(item.value), values, '>')}  {item.added:+7.3f}  {style(bar)}"
