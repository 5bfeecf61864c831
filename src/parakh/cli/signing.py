"""Who signs a step in the registry: as version control or else the system knows; it is not proved here."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import click

__all__ = ["signed_by"]


def signed_by(project: Path, given: str | None) -> str:
    """Who was given, else git's user.email in the project's folder, else $USER.

    Raises BadParameter of --by where none is known, or what was given is blank: a variable that is not set is nobody.
    """
    if given is not None:
        if not given.strip():
            raise click.BadParameter("it is blank: name a person, or leave it out", param_hint="--by")
        return given.strip()
    try:
        found = subprocess.run(
            ["git", "-C", str(project), "config", "user.email"], capture_output=True, text=True, check=False, timeout=10
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        found = ""
    who = found or os.environ.get("USER", "")
    if not who:
        raise click.BadParameter("neither git nor the system says who you are: say it", param_hint="--by")
    return who
