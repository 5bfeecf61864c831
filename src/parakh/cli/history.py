"""What verbs that replay a whole policy share: which events and labels, which span of them, and the replay itself."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from parakh.cli.console import Console, dim, yellow
from parakh.cli.loading import given_past
from parakh.cli.options import LENGTH_OF_TIME, known_by_option, past_options, span_options
from parakh.cli.progress import Bar
from parakh.cli.replay import show_progress
from parakh.cli.words import plural

if TYPE_CHECKING:
    from parakh.decisions.replay import Summary
    from parakh.learning.history import History
    from parakh.learning.past import Past
    from parakh.learning.settings import LearningSettings
    from parakh.project.project import Project

__all__ = ["Asked", "history_options", "tell_labels"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What was asked for on the command line; None and () where nothing was said. Times and lengths in us."""

    events: tuple[str, ...]
    labels: str | None
    label_delay: int | None
    data: Path | None
    event_type: str | None
    label: str | None
    from_us: int | None
    to_us: int | None
    known_by: int | None
    maturity: int | None

    def settings(self, project: Path) -> LearningSettings:
        """The settings of a project's learning.toml, with the label and the maturity that were said instead."""
        from parakh.learning.settings import read_learning

        if self.from_us is not None and self.to_us is not None and self.from_us >= self.to_us:
            raise click.BadParameter("nothing lies between --from and --to", param_hint="--to")
        held = read_learning(project)
        return replace(
            held,
            label=self.label or held.label,
            label_delay_us=held.label_delay_us if self.maturity is None else self.maturity,
        )

    def expect_page(self, out: Path | None) -> None:
        """Refuse to write a page over an input, or where no folder is, before anything is replayed."""
        if out is None:
            return
        if not out.parent.is_dir():
            raise click.BadParameter(f"there is no folder {out.parent}", param_hint="--out")
        for name in (*self.events, *([self.labels] if self.labels else [])):
            path = Path(name.partition("=")[2] or name)
            if path.exists() and out.exists() and path.samefile(out):
                raise click.BadParameter(f"{out} is an input: it would be overwritten", param_hint="--out")

    def past(self, project: Project, settings: LearningSettings) -> Past:
        """Where the events come from; labels in their own columns are known when they mature, unless said."""
        return given_past(
            project, self.events, self.labels, self.label_delay, self.data, known_after_us=settings.label_delay_us
        )

    def history(
        self,
        project: Project,
        past: Past,
        settings: LearningSettings,
        errors: Console,
        *,
        title: str = "replaying",
        inputs: Collection[str] | None = (),
    ) -> History:
        """The past replayed through a project, with a bar."""
        from parakh.learning.history import make_history

        with Bar(errors, title) as bar:
            history = make_history(
                project,
                past,
                event_type=self.event_type,
                label=settings.label,
                from_us=self.from_us,
                to_us=self.to_us,
                known_by_us=self.known_by,
                label_delay_us=settings.label_delay_us,
                inputs=inputs,
                on_progress=lambda progress: show_progress(bar, progress),
            )
        tell_labels(history.summary, errors)
        return history


def tell_labels(summary: Summary, errors: Console) -> None:
    """Say how many labels did not count; nothing where all did."""
    for state, words in (("quarantined", "refused, or of events that did not come"), ("waiting", "of events to come")):
        if count := summary.labels[state]:
            errors.print(f"{yellow(plural(count, 'label'))} {words}: {dim('parakh label check FILE says which')}")


def history_options(command: Callable[..., int]) -> Callable[..., int]:
    """Add the options of a past and a span of it to a command, which is given them as `asked`."""

    @functools.wraps(command)
    def collected(**given: Any) -> int:
        asked = Asked(**{item.name: given.pop(item.name) for item in fields(Asked)})
        return command(asked=asked, **given)

    options = (
        click.option(
            "--maturity",
            type=LENGTH_OF_TIME,
            metavar="LENGTH",
            help="An event counts as matured after so long; label_delay of learning.toml, or 7d, unless said.",
        ),
        known_by_option,
        span_options,
        click.option(
            "--label",
            metavar="NAME",
            help="The label that says what was fraud; that of learning.toml, or fraud, unless said.",
        ),
        click.option(
            "--for", "event_type", metavar="TYPE", help="Of which event type; the one that has the label, unless said."
        ),
    )
    for option in options:
        collected = option(collected)
    return past_options()(collected)
