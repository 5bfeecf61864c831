"""A program on a terminal: what it prints there, with colours and a live view."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path


def on_terminal(
    arguments: list[str],
    *,
    columns: int = 100,
    rows: int = 40,
    folder: Path | None = None,
    first: str = "",
    **environment: str,
) -> tuple[int, str]:
    """The exit code of `parakh` with these arguments, and everything that it wrote to its terminal.

    `first` is Python that the process runs before.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    hidden = ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "CI")
    clear = {key: value for key, value in os.environ.items() if key not in hidden}
    said = b""
    with subprocess.Popen(
        [sys.executable, "-c", f"{first}\nfrom parakh.cli.main import main\nmain()", *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=folder,
        env={**clear, "TERM": "xterm-256color", **environment},
    ) as process:
        os.close(theirs)
        while True:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # Linux says so when the other side is closed
                break
            if not piece:
                break
            said += piece
        code = process.wait(timeout=300)
    os.close(ours)
    return code, said.decode("utf-8", "replace")
