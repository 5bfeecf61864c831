"""Progress on stderr: a bar where a terminal shows one and the work is long, elsewhere a line now and then."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING

from parakh.cli.console import Console, dim
from parakh.cli.words import thousands

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

__all__ = ["Bar"]

_PATIENCE_S = 2.0
_LINE_EVERY_S = 10.0


class Bar:
    """A bar that shows itself when the work takes long; use it as a context.

    `step` is for work in named parts, `to` for a share that is known, with what to say beside it.
    """

    def __init__(self, console: Console, title: str) -> None:
        self._console = console
        self._title = title
        self._began = time.monotonic()
        self._said = self._began
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._silent = False

    def __enter__(self) -> Bar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def step(self, doing: str, done: int, total: int) -> None:
        """So much of a part of the work is done."""
        self.to(done / total if total else None, f"{thousands(done)} of {thousands(total)}", doing)

    def to(self, share: float | None, words: str, doing: str = "") -> None:
        """The share done, None where the whole is not known, and words beside it."""
        now = time.monotonic()
        if now - self._began < _PATIENCE_S:
            return
        title = doing or self._title
        if not self._console.terminal:
            if now - self._said >= _LINE_EVERY_S:
                self._said = now
                done = f" {100 * share:.0f} %" if share is not None else ""
                self._console.print(dim(f"{title}:{done} {words}"))
            return
        if self._bar is None:
            self._start()
        assert self._bar is not None
        assert self._task is not None
        total = 1.0 if share is not None else None
        self._bar.update(self._task, description=title, completed=share or 0.0, total=total, words=words)

    def _start(self) -> None:
        from rich.console import Console as RichConsole
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TaskProgressColumn(),
            TextColumn("{task.fields[words]}"),
            TimeRemainingColumn(compact=True),
            console=RichConsole(file=self._console.stream, no_color=not self._console.color, force_terminal=True),
            transient=True,
            expand=True,
        )
        self._task = self._bar.add_task(self._title, total=None, words="")
        self._bar.start()
