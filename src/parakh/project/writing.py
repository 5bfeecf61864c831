"""Files written whole: each at once or not at all, and several of a project together, so that a crash leaves no half.

A step over several files is written into a journal first, and ended after; what a crash left is ended by the next who
edits the project, under the lock that one process at a time has.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

from parakh.errors import InputError

__all__ = ["JOURNAL", "Changes", "editing", "mend", "replace_files", "write_together", "write_whole"]

Changes: TypeAlias = Mapping[str, bytes | None]
"""The new bytes of files by their paths in the project's folder; None where a file goes."""

JOURNAL = ".unfinished.json"


def write_whole(path: Path, content: bytes) -> None:
    """Write a small file; an old one is replaced at once, never half. Raises OSError where the disk refuses."""
    handle, partial = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(partial, path.stat().st_mode & 0o777 if path.exists() else 0o644)
        os.replace(partial, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(partial)
        raise


def replace_files(root: Path, changes: Changes) -> None:
    """Write files whole, each at once or not at all, or remove them. Raises OSError where the disk refuses."""
    for file, content in changes.items():
        path = root / file
        if content is None:
            path.unlink(missing_ok=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content)


@contextlib.contextmanager
def editing(root: Path) -> Iterator[None]:
    """One process at a time edits a project, after what a crash left is ended; read its files under it.

    The folder itself is locked, and nothing is left behind. It is not to be entered twice by one thread.
    """
    handle = os.open(root, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        _finish(root)
        yield
    finally:
        os.close(handle)


def mend(root: Path) -> None:
    """End what a crash left half done; where nothing was, no lock is waited for."""
    if (root / JOURNAL).exists():
        with editing(root):
            pass


def write_together(root: Path, changes: Changes) -> None:
    """Write texts that belong together, all or, after a crash, all as soon as the project is edited again.

    Call it within `editing`. Raises OSError where the disk refuses.
    """
    if len(changes) > 1:
        texts = {file: None if content is None else content.decode() for file, content in changes.items()}
        write_whole(root / JOURNAL, json.dumps(texts, ensure_ascii=False).encode())
        _finish(root)
    else:
        replace_files(root, changes)


def _finish(root: Path) -> None:
    """End a step that was begun, now or before a crash."""
    journal = root / JOURNAL
    try:
        texts = json.loads(journal.read_text(encoding="utf-8"))
        changes = {str(file): None if text is None else str(text).encode() for file, text in texts.items()}
    except FileNotFoundError:
        return
    except (ValueError, AttributeError) as error:
        raise InputError(
            f"{journal} cannot be read ({error}): look at what it holds, write that by hand, and remove it"
        ) from None
    replace_files(root, changes)
    journal.unlink()
