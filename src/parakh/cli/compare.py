"""Two projects on the same events: which outcomes change, and what that means for money and for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from parakh.cli.console import Console
from parakh.cli.facts import read_facts
from parakh.cli.progress import Bar
from parakh.cli.replay import show_progress
from parakh.cli.report.data import Movement
from parakh.cli.verdicts import Totals, Verdicts, good_people_changed, movements

if TYPE_CHECKING:
    from parakh.cli.verdicts import Facts
    from parakh.decisions.decisions import Decisions
    from parakh.decisions.replay import Progress, Source
    from parakh.project.project import Project

__all__ = ["Comparison", "compare", "comparison_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What a change does: outcomes from and to, the sums before and after, and the good people it concerns."""

    currency: str
    labelled: bool
    decided: int
    movements: tuple[Movement, ...]
    before: Totals
    after: Totals
    people_gained: int  # good people stopped before who are not stopped now
    people_lost: int


def compare(
    before: Project,
    after: Project,
    sources: Sequence[Source],
    *,
    labels: str | None,
    label_delay_us: int | None,
    console: Console,
) -> Comparison:
    """Replay the events through both projects, one after the other; progress is shown on the console."""
    from parakh.decisions.replay import Replay

    facts = read_facts(after, sources, labels)
    verdicts = []
    for project, title in ((before, "replaying with the old"), (after, "replaying with the new")):
        gathered = Verdicts(facts)
        replay = Replay(project, sources, labels=labels, label_delay_us=label_delay_us)
        with Bar(console, title) as bar:

            def take(decisions: Decisions, progress: Progress, gathered: Verdicts = gathered, bar: Bar = bar) -> None:
                gathered.take(decisions)
                show_progress(bar, progress)

            replay.run(take)
        verdicts.append(gathered)
    return comparison_of(verdicts[0], verdicts[1], facts, after.definitions.settings.currency)


def comparison_of(before: Verdicts, after: Verdicts, facts: dict[str, Facts], currency: str) -> Comparison:
    """The comparison of two replays that were gathered on the same facts."""
    old, new = before.judged(), after.judged()
    gained, lost = good_people_changed(old, new)
    return Comparison(
        currency=next((item.currency for item in facts.values() if item.currency), currency),
        labelled=any(bool((item.fraud >= 0).any()) for item in facts.values()),
        decided=before.totals.decided,
        movements=movements(old, new),
        before=before.totals,
        after=after.totals,
        people_gained=gained,
        people_lost=lost,
    )
