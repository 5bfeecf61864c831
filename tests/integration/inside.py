"""Commands of Parakh that are run in the tests' own process, for a fresh interpreter takes seconds to begin."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from unittest.mock import patch

from parakh.cli.main import run

__all__ = ["inside"]


def inside(arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> tuple[int, str, str]:
    """The exit code of `parakh` with these arguments, and what it says on stdout and stderr."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8") for _ in range(2))
    with patch.dict(os.environ, environment or {}), redirect_stdout(out), redirect_stderr(err):
        code = run(arguments)
    said = []
    for stream in (out, err):
        stream.seek(0)
        said.append(stream.read())
    return code, said[0], said[1]
