"""CSV is split as Python's csv module splits it, in whatever blocks it comes."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import parakh.events.readers as readers
from parakh.events.csv_rows import unquoted
from parakh.events.sources import Columns, open_source

cell = st.text(st.sampled_from('ab,"\n é'), max_size=6)
quoted_cell = st.text(st.sampled_from('ab,"\n\r é'), max_size=6)
# (cells, how they are quoted): csv leaves a lone carriage return unquoted, which then means nothing for certain.
table = st.one_of(
    st.tuples(st.lists(st.lists(cell, min_size=3, max_size=3), max_size=12), st.just(csv.QUOTE_MINIMAL)),
    st.tuples(st.lists(st.lists(quoted_cell, min_size=3, max_size=3), max_size=12), st.just(csv.QUOTE_ALL)),
)
ending = st.sampled_from(["\n", "\r\n"])


@settings(max_examples=300, deadline=None, print_blob=True)
@given(table, ending, st.booleans(), st.integers(1, 40))
def test_rows_are_those_of_the_csv_module(
    tmp_path_factory: pytest.TempPathFactory, content: tuple[list[list[str]], int], end: str, last: bool, block: int
) -> None:
    rows, quoting = content
    text = io.StringIO()
    # A lone empty or blank row would be a blank line, which both leave out in their own way.
    rows = [[*row, "z"] for row in rows]
    csv.writer(text, lineterminator=end, quoting=quoting).writerows([["a", "b", "c", "d"], *rows])
    written = text.getvalue() if last else text.getvalue().removesuffix(end)
    path = Path(tmp_path_factory.mktemp("csv") / "rows.csv")
    path.write_bytes(written.encode())
    found = []
    lines = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(readers, "_BLOCK", block)
        for chunk in open_source(path, Columns(("c", "a"), ("d", "none"))):
            cells = chunk.cells  # type: ignore[attr-defined]
            assert cells.whole.all()
            assert cells.columns == ("c", "a", "d")
            for row in range(chunk.count):
                found.append([(unquoted(cells, row, place) or b"").decode() for place in range(3)])
                lines.append((chunk.line(row), chunk.raw(row)))
    assert found == [[row[2], row[0], row[3]] for row in rows]
    # Each row's own bytes and line are where it stands in the file.
    place = written.find(end) + len(end)
    for line, raw in lines:
        assert line == written[:place].count("\n") + 1
        assert written.encode()[len(written[:place].encode()) :].startswith(raw)
        place += len(raw.decode()) + len(end)
