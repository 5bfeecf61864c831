"""`parakh init`: a runnable project of card payments, copied out of the package, to begin with."""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from parakh.errors import Problem, ProjectError

__all__ = ["create"]

NOT_COPIED = ("__pycache__", "data", "out", "events.ndjson")


def create(folder: str | Path, template: str = "card-payments") -> list[Path]:
    """Writes the template into a new or empty folder; returns the files written.

    Raises ProjectError where the folder holds something already, or there is no such template.
    """
    target = Path(folder)
    if target.exists() and not target.is_dir():
        raise ProjectError((Problem(f"{target} is a file", hint="name a folder that is new or empty"),))
    if target.is_dir() and any(target.iterdir()):
        raise ProjectError((Problem(f"{target} is not empty", hint="name a folder that is new or empty"),))
    source = _template(template)
    written = list[Path]()
    try:
        _copy(source, target, written)
    except OSError as error:
        problem = Problem(f"{target} cannot be written: {error.strerror or error}")
        raise ProjectError((problem,)) from None
    return written


def _template(name: str) -> Traversable:
    """The template in the installed package, or in the source tree that an editable install runs from."""
    packaged = files("parakh.project") / "template" / name
    if packaged.is_dir():
        return packaged
    tree = Path(__file__).resolve().parents[3] / "examples"
    if name in {item.name for item in tree.iterdir() if item.is_dir()} if tree.is_dir() else False:
        return tree / name
    raise ProjectError((Problem(f"there is no template {name!r}", hint="the template is card-payments"),))


def _copy(source: Traversable, target: Path, written: list[Path]) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for item in sorted(source.iterdir(), key=lambda entry: entry.name):
        if item.name in NOT_COPIED or item.name.startswith("."):
            continue
        if item.is_dir():
            _copy(item, target / item.name, written)
        else:
            (target / item.name).write_bytes(item.read_bytes())
            written.append(target / item.name)
