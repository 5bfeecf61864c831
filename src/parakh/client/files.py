"""A project's files as they are sent to be checked or applied: {path: text, or {"base64": ...} for what is no text}."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final, TypeAlias

from parakh.client.errors import NotSent

__all__ = ["Files", "ProjectSource", "as_sent", "files_of"]

Files: TypeAlias = Mapping[str, str | bytes]
ProjectSource: TypeAlias = "str | os.PathLike[str] | Files"
"""A project's folder, or its files by their paths from the folder, with / between the parts."""

_LARGEST: Final = 256 * 2**20
_MOST: Final = 10_000
_SETTINGS: Final = "parakh.toml"


def files_of(project: ProjectSource) -> dict[str, str | bytes]:
    """The files of a project, by path; of a folder every file but hidden ones and what hidden folders hold.

    Raises NotSent where the folder is no project, or is larger than any project is.
    """
    if isinstance(project, Mapping):
        return dict(project)
    root = Path(project)
    if not (root / _SETTINGS).is_file():
        raise NotSent(f"{root} has no {_SETTINGS}: a project is a folder that has one")
    found, size = dict[str, str | bytes](), 0
    for directory, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != "__pycache__")
        for name in sorted(names):
            path = Path(directory, name)
            if name.startswith(".") or not path.is_file():
                continue
            size += path.stat().st_size
            if size > _LARGEST or len(found) >= _MOST:
                raise NotSent(
                    f"{root} holds more than {_LARGEST >> 20} MB or {_MOST:,} files; keep events elsewhere, "
                    "or give the project's files as a mapping"
                )
            found[path.relative_to(root).as_posix()] = path.read_bytes()
    return found


def as_sent(files: Files) -> dict[str, str | dict[str, str]]:
    """Files as JSON holds them.

    >>> as_sent({"parakh.toml": b'name = "shop"', "models/a.onnx": b"\\xff"})
    {'parakh.toml': 'name = "shop"', 'models/a.onnx': {'base64': '/w=='}}
    """
    return {path: _sent(content) for path, content in files.items()}


def _sent(content: str | bytes) -> str | dict[str, str]:
    if isinstance(content, str):
        return content
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(content).decode("ascii")}
