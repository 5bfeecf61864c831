"""What verbs begin with: a project from a folder, events from `TYPE=FILE`, a compile that is announced."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from parakh.cli.console import Console, dim
from parakh.cli.problems import show_problems
from parakh.errors import ProjectError

if TYPE_CHECKING:
    from parakh.decisions.replay import Source
    from parakh.learning.past import Past
    from parakh.project.project import Project

__all__ = [
    "await_kernels",
    "expect_label_columns",
    "given_past",
    "load_project",
    "named_sources",
    "project_argument",
    "warm_kernels",
]

project_argument = click.argument(
    "project", type=click.Path(exists=True, file_okay=False, path_type=Path), default=".", required=False
)
"""A project's folder; the folder where one stands, unless said."""


def load_project(folder: Path) -> Project:
    """The project in a folder; its problems are shown with their lines, and the command ends with 1."""
    from parakh.project.project import Project

    if not folder.is_dir():
        raise click.UsageError(f"{folder} is not a folder: a project is a folder with a parakh.toml")
    try:
        return Project.load(folder)
    except ProjectError as error:
        show_problems(error.problems, Console.stderr(), folder)
        raise click.exceptions.Exit(1) from None


def named_sources(project: Project, arguments: Sequence[str]) -> list[Source]:
    """Event files as they were given: FILE where the type is clear, TYPE=FILE else.

    The type is clear where the project has one event type, or where the file is named after one (`payment.ndjson.gz`).
    A folder stands for the files in it, in order of their paths; one that has a file or folder named after each event
    type, for all of these.
    """
    from parakh.decisions.replay import Source
    from parakh.events.sources import files_in

    found = []
    for event_type, path in (named for argument in arguments for named in _named(project, argument)):
        files = files_in(path) if path != "-" and Path(path).is_dir() else [path]
        found += [Source(event_type, file) for file in files]
    return found


def given_past(
    project: Project,
    events: Sequence[str],
    labels: str | None,
    label_delay: int | None,
    data: Path | None,
    *,
    known_after_us: int | None = None,
    quarantine: Path | None = None,
) -> Past:
    """The past that `past_options` name: files of events, or the log of a service.

    Labels in columns of the events are known `known_after_us` after them, where neither --labels nor --label-delay is
    said.
    """
    from parakh.learning.log_past import ServiceLog
    from parakh.learning.past import Files

    if data is not None:
        for given, option in ((events, "--events"), (labels, "--labels")):
            if given:
                raise click.BadParameter(
                    "events and labels come from --data, or from files: say one", param_hint=option
                )
        return ServiceLog(data)
    if not events:
        raise click.UsageError(
            "where do the events come from? Name their files (--events) or a service's data (--data)"
        )
    sources = tuple(named_sources(project, events))
    if labels is None:
        expect_label_columns(project, sources, label_delay)
        label_delay = known_after_us if label_delay is None else label_delay
    else:
        from parakh.cli.label_files import expect_labels

        expect_labels(labels)
    return Files(sources=sources, labels=labels, label_delay_us=label_delay, quarantine=quarantine)


def expect_label_columns(project: Project, sources: Sequence[Source], label_delay: int | None) -> None:
    """Refuse a delay where no label stands in the events: a column that nobody named would be left out in silence."""
    if label_delay is None:
        return
    given = {source.event_type for source in sources}
    labels = [(event, label) for event in project.definitions.events if event.name in given for label in event.labels]
    if any(label.source is not None for _, label in labels):
        return
    hint = "".join(
        f"; say which column it is, as in `{label.name}: {{type: {label.type.kind.value}, from: {label.name}}}` "
        f"under `labels` of event {event.name}"
        for event, label in labels[:1]
    )
    raise click.BadParameter(f"no label is read from these events{hint}", param_hint="--label-delay")


def _named(project: Project, argument: str) -> list[tuple[str, str]]:
    """An event type and its file or folder; several where a folder has one for each of several types."""
    types = [event.name for event in project.definitions.events]
    before, equals, after = argument.partition("=")
    if equals and before in types:
        if not after:
            raise click.BadParameter(f"{argument!r} names no file after {before}=", param_hint="--events")
        return [(before, after)]
    if equals and not Path(argument).exists():
        close = _close(before, types)
        raise click.BadParameter(
            f"{before!r} is not an event type of this project; {close or 'they are ' + ', '.join(types)}",
            param_hint="--events",
        )
    name = Path(argument).resolve().name if argument != "-" else argument
    is_folder = argument != "-" and Path(argument).is_dir()
    if is_folder and name not in types and (within := _by_type(Path(argument), types)):
        return within
    if len(types) == 1:
        return [(types[0], argument)]
    stem = name.split(".")[0]
    if stem in types:
        return [(stem, argument)]
    if argument != "-" and not Path(argument).exists():
        raise click.BadParameter(f"{argument}: there is no such file", param_hint="--events")
    raise click.BadParameter(
        f"of which type are the events in {argument}? Say TYPE={argument}, where TYPE is one of {', '.join(types)}",
        param_hint="--events",
    )


def _by_type(folder: Path, types: Sequence[str]) -> list[tuple[str, str]]:
    """What in a folder is named after event types: files and folders."""
    return [
        (name, str(path))
        for name in types
        for path in sorted([*folder.glob(name), *folder.glob(f"{name}.*")])
        if path.is_dir() or path.is_file()
    ]


def _close(name: str, names: Sequence[str]) -> str:
    import difflib

    close = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {close[0]}=?" if close else ""


def warm_kernels(console: Console) -> threading.Thread | None:
    """Begin to compile the kernels in the background where this machine has not compiled them yet, and say so.

    Whoever needs the engine calls `await_kernels` first; None where everything is compiled already.
    """
    from parakh.decisions.warmup import needs_compile, warm_up

    if not needs_compile():
        return None
    console.print(dim("compiling kernels, once per machine: about 30 s"))

    def compile_quietly() -> None:
        # What goes wrong here goes wrong again where the kernels are used, and is told there.
        with contextlib.suppress(Exception):
            warm_up()

    thread = threading.Thread(target=compile_quietly, name="compile kernels", daemon=True)
    thread.start()
    return thread


def await_kernels(warming: threading.Thread | None, console: Console) -> None:
    """Wait until the kernels are compiled, and show that something is going on."""
    if warming is None:
        return
    from parakh.cli.progress import Bar

    began = time.monotonic()
    with Bar(console, "compiling kernels") as bar:
        while warming.is_alive():
            warming.join(0.25)
            bar.to(None, f"{time.monotonic() - began:.0f} s")
