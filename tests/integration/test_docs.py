"""The documentation does what it says: its blocks are run in order, its outputs compared, its tables and links checked.

In a page, `console` blocks hold commands after `$ ` and what they print, `sh` blocks commands alone, `python` blocks
code (with outputs where it is written as a session, `>>> `). `...` in an output stands for anything. A `yaml`, `toml`,
`csv` or `json` block whose first line is `# some/path` is written to that file. Other blocks are not run.

A command that ends with `&` runs on while the page is followed, and is killed at its end; `$!` is its process, as in a
shell. A free port stands in the place of 8321, so that pages may be followed at the same time.
"""

from __future__ import annotations

import doctest
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import click
import numpy as np
import pytest
from ruamel.yaml import YAML

from integration.inside import inside
from parakh.cli.main import cli
from parakh.cli.reference import write_reference
from parakh.errors import ExpressionError
from parakh.expressions.check import Scope, TableType, check
from parakh.expressions.columns import Layout
from parakh.expressions.lists import ListIndex, TableIndex
from parakh.expressions.program import ProgramBuilder, References
from parakh.expressions.strings import Strings
from parakh.expressions.types import BOOLEAN, INTEGER, NULL_WORD, NUMBER, STRING, TIMESTAMP, Kind, Type, money
from parakh.expressions.values import to_word
from parakh.expressions.zones import Zone

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("PARAKH_DATA", ROOT.parent / "shared" / "data"))
HANDBOOK = DATA / "fraud-handbook" / "transactions_2018-06-11_2018-08-14.parquet"
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md")), *sorted((DOCS / "tutorial").glob("*.md"))]
TEXTS = sorted({*PAGES, *ROOT.glob("*.md"), *DOCS.rglob("*.md"), *(ROOT / "examples").glob("*/*.md")})
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# (\S+\.(?:yaml|toml|csv|ndjson))\n")
_PROGRESS = re.compile(r"^(?:compiling kernels|replaying|looking back|simulating).*\n", re.MULTILINE)
LONG = {"docs/promotion.md", "docs/suggestions.md"}
"""Pages that train on long streams; of these only the form of their commands is looked at unless it is asked for."""

_PLAIN = re.compile(r"parakh (?!demo|serve|top)(?:[^|&;<>#\n]|\\\n)+")
"""A command of Parakh alone; its arguments are left to a shell."""

PORT = "8321"
"""The service's own port, in the pages."""

_LOOSE = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@dataclass(frozen=True)
class Block:
    """A fenced block of a page: its language, its text and the line it begins on."""

    language: str
    text: str
    line: int


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [Block(m[1], m[2], text.count("\n", 0, m.start()) + 1) for m in _FENCE.finditer(text)]


def commands(block: Block) -> Iterator[tuple[str, str | None]]:
    """The commands of a block, each with the output that is shown; None where none is."""
    if block.language == "sh":
        lines = re.split(r"(?<!\\)\n", block.text.strip())
        for command in lines if all(map(_PLAIN.fullmatch, lines)) else [block.text]:
            yield command, None
        return
    for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        lines = part.split("\n")
        last = next(number for number, line in enumerate(lines) if not line.endswith("\\"))
        yield "\n".join(lines[: last + 1]), "\n".join(lines[last + 1 :])


def agree(shown: str, printed: str) -> bool:
    """Whether an output is what the page shows, apart from spaces and what `...` stands for."""
    return doctest.OutputChecker().check_output(shown.strip() + "\n", printed.strip() + "\n", _LOOSE)


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


class Reader:
    """Somebody who does what a page says, in a folder of their own."""

    def __init__(self, page: Path, folder: Path) -> None:
        self.page = page
        self.folder = folder
        self.names: dict[str, object] = {"__name__": "__main__"}
        self.running: list[subprocess.Popen[bytes]] = []
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = str(free.getsockname()[1])

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *error: object) -> None:
        for process in self.running:
            process.kill()
            process.wait()

    def follow(self, block: Block) -> None:
        where = f"{name(self.page)}:{block.line}"
        block = replace(block, text=block.text.replace(PORT, self.port))
        if block.language in ("sh", "console"):
            for command, shown in commands(block):
                self.run(where, command, shown)
        elif block.language == "python":
            self.python(where, block.text)
        elif found := _FILE.match(block.text):
            path = self.folder / found[1]
            path.parent.mkdir(parents=True, exist_ok=True)
            keep = path.suffix in (".yaml", ".toml")
            path.write_text(block.text if keep else block.text[found.end() :], encoding="utf-8")

    def run(self, where: str, command: str, shown: str | None) -> None:
        environment = {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "COLUMNS": "100",
            "NO_COLOR": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        if self.running:
            command = command.replace("$!", str(self.running[-1].pid))
        if command.endswith(" &"):
            with (self.folder / f"running-{len(self.running)}.txt").open("wb") as told_to:
                self.running.append(
                    subprocess.Popen(
                        ["bash", "-c", f"exec {command.removesuffix(' &')}"],
                        cwd=self.folder, env=os.environ | environment, stdout=told_to, stderr=told_to,
                    )
                )  # fmt: skip
            return
        if _PLAIN.fullmatch(command):
            words = subprocess.run(
                ["bash", "-c", f"printf '%s\\0' {command}"],
                cwd=self.folder, env=os.environ | environment, capture_output=True, text=True, check=True,
            ).stdout.split("\0")  # fmt: skip
            code, out, err = inside(words[1:-1], environment)
        else:
            done = subprocess.run(
                ["bash", "-c", f"set -o pipefail\n{command}"],
                cwd=self.folder, env=os.environ | environment, capture_output=True, text=True, check=False, timeout=600,
            )  # fmt: skip
            code, out, err = done.returncode, done.stdout, done.stderr
        refused = shown is not None and re.search("^error:|failed", shown, re.MULTILINE)
        assert code in ((1, 2) if refused else (0,)), f"{where}: {command}\n{out}{err}"
        if shown is None:
            return
        # Problems are told on stderr; where a command is well, stderr has only progress and notes.
        printed = out if code == 0 else out + _PROGRESS.sub("", err)
        assert agree(shown, printed), f"{where}: {command}\n--- shown\n{shown}\n--- printed\n{printed}"

    def python(self, where: str, text: str) -> None:
        if ">>>" not in text:
            exec(compile(text, where, "exec"), self.names)
            return
        test = doctest.DocTestParser().get_doctest(text, {}, where, where, 0)
        test.globs = self.names
        printed: list[str] = []
        result = doctest.DocTestRunner(optionflags=_LOOSE).run(test, out=printed.append, clear_globs=False)
        assert not result.failed, "".join(printed)


@pytest.mark.parametrize(
    "page", [pytest.param(page, marks=[pytest.mark.long] if name(page) in LONG else []) for page in PAGES], ids=name
)
def test_a_page_does_what_it_says(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if "fraud-handbook/transactions.parquet" in page.read_text(encoding="utf-8"):
        if not HANDBOOK.exists():
            pytest.skip("the data of the Fraud Detection Handbook are not there")
        (tmp_path / "fraud-handbook").mkdir()
        (tmp_path / "fraud-handbook" / "transactions.parquet").symlink_to(HANDBOOK)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    with Reader(page, tmp_path) as reader:
        monkeypatch.setenv("PARAKH_URL", f"http://127.0.0.1:{reader.port}")
        monkeypatch.setenv("PARAKH_PORT", reader.port)
        for block in blocks(page):
            reader.follow(block)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands_have_verbs_and_options_that_there_are(page: Path) -> None:
    for block in blocks(page):
        if block.language in ("sh", "console"):
            for command, _ in commands(block):
                for line in re.findall(r"^parakh (.+)", command.replace("\\\n", " "), re.MULTILINE):
                    words = re.split(r" [|&;>]", line)[0].split()
                    verb: click.Command = cli
                    while isinstance(verb, click.Group) and words and not words[0].startswith("-"):
                        found = verb.get_command(click.Context(verb), words.pop(0))
                        assert found is not None, f"{name(page)}:{block.line}: {line}"
                        verb = found
                    options = {option for each in verb.params for option in (*each.opts, *each.secondary_opts)}
                    given = {word.partition("=")[0] for word in words if re.match("--?[a-z]", word)}
                    assert given <= options | {"--help", "--version"}, f"{name(page)}:{block.line}: {line}"


@pytest.mark.parametrize("page", TEXTS, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(_FENCE, "", page.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)|<img src=\"([^\"]+)\"", text):
        found = target[0] or target[1]
        if not found.startswith(("http://", "https://")):
            assert (page.parent / found).exists(), f"{name(page)} links to {found}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_yaml_blocks_are_yaml(page: Path) -> None:
    for block in blocks(page):
        if block.language == "yaml":
            assert list(YAML(typ="safe", pure=True).load_all(block.text)), f"{name(page)}:{block.line}"


def test_the_reference_is_up_to_date(tmp_path: Path) -> None:
    write_reference(tmp_path)
    made = {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()}
    held = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "docs" / "reference").iterdir()}
    assert held == made, "run: make docs"


# -- the tables of docs/expressions.md: what an expression gives, and what Parakh says to traps ----------------

ROW: dict[str, tuple[Type, bool | float | str | None]] = {
    "amount": (money("INR"), 123.45),
    "fee": (money("INR"), 2.5),
    "dollars": (money("USD"), 1.0),
    "items": (INTEGER, 7),
    "country": (STRING, "IN"),
    "device": (STRING, None),
    "night": (BOOLEAN, True),
    "paid_at": (TIMESTAMP, "2025-01-01T22:00:00Z"),
    "opened_at": (TIMESTAMP, "2024-12-08T23:20:00Z"),
    "card.payments_10m": (INTEGER, 7),
    "card.usual_30d": (NUMBER, 100.0),
    "card.idle": (NUMBER, None),
}
"""The event of docs/expressions.md."""


def table_rows(heading: str) -> list[tuple[str, str]]:
    """The first two cells of the rows of the table under a heading of docs/expressions.md."""
    text = (ROOT / "docs" / "expressions.md").read_text(encoding="utf-8")
    section = text[text.index(f"\n## {heading}\n") :].split("\n## ")[1]
    lines = [line for line in section.split("\n") if line.startswith("| `")]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    assert len(cells) > 5, heading
    return [(row[0].strip("`").replace("\\|", "|"), row[1]) for row in cells]


SCOPE = Scope(
    {column: type for column, (type, _) in ROW.items()},
    lists={"watched": STRING},
    tables={"countries": TableType(STRING, {"risk": NUMBER})},
    unavailable={"fraud": "labels are known later: read them in features"},
)


def value_of(text: str) -> str:
    """What an expression gives on the event of the page, as the page writes it."""
    strings = Strings()
    watched = ListIndex(STRING)
    watched.add([("PK", None, None)], strings)
    countries = TableIndex(STRING, {"risk": NUMBER})
    countries.put("IN", (0.2,), strings)
    layout = Layout()
    for column, type in SCOPE.columns.items():
        layout.add(column, type)
    references = References(strings, {"watched": watched}, {"countries": countries}, Zone("Asia/Kolkata"))
    builder = ProgramBuilder(layout, references, layout["paid_at"].slot)
    typed, slot = check(text, SCOPE), layout.scratch()
    builder.output(typed, slot)
    words = np.full((layout.width, 1), NULL_WORD, np.int64)
    for column, (type, value) in ROW.items():
        words[layout[column].slot, 0] = to_word(value, type, strings)
    builder.build().run(words, 0, 1, np.zeros(1, np.uint8))
    if typed.type.is_float:
        number = float(words.view(np.float64)[slot, 0])
        return "NULL" if number != number else f"{number:.6g}"
    word = int(words[slot, 0])
    if word == NULL_WORD:
        return "NULL"
    match typed.type.kind:
        case Kind.BOOLEAN:
            return "true" if word else "false"
        case Kind.MONEY:
            return f"{typed.type.currency} {word / 10**typed.type.digits:.{typed.type.digits}f}"
        case Kind.STRING:
            return f"'{strings.text(word)}'"
    return str(word)


def test_expressions_give_what_the_page_says() -> None:
    for text, shown in table_rows("What expressions give"):
        assert value_of(text) == shown, text


def test_traps_are_met_with_the_words_of_the_page() -> None:
    for text, said in table_rows("Traps"):
        with pytest.raises(ExpressionError) as caught:
            check(text, SCOPE)
        assert agree(said, caught.value.message), f"{text}: {caught.value.message}"
