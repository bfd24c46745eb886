# SPDX-License-Identifier: Apache-2.0
"""Lines and tables: nothing cut, nothing wrapped in a pipe, and on a terminal never wider than it is."""

from __future__ import annotations

import io

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text

from harness.report.layout import Column, item, table

COLUMNS = [Column("mode"), *(Column(f"p{n}", right=True) for n in range(4)), Column("runs", group=1)]
WORDS = st.text("abcdefgh ", min_size=1, max_size=12).map(lambda text: text.strip() or "x")


def printed(terminal: bool, width: int, what, *arguments, **options) -> list[str]:
    stream = io.StringIO()
    console = Console(file=stream, width=width, force_terminal=terminal, color_system=None)
    what(console, *arguments, **options)
    return stream.getvalue().splitlines()


@given(st.lists(st.lists(WORDS, min_size=6, max_size=6), min_size=1, max_size=4), st.integers(40, 120))
def test_a_table_on_a_terminal_fits_and_every_part_has_the_key(rows, width):
    lines = printed(True, width, table, COLUMNS, [[Text(cell) for cell in row] for row in rows])
    assert max(map(len, lines)) <= width
    heads = [line for line in lines if line.startswith("  mode")]
    assert len(lines) == len(heads) * (len(rows) + 1)
    for column in COLUMNS[1:]:
        assert sum(column.title in head.split() for head in heads) == 1
    text = "\n".join(lines)
    for row in rows:
        assert all(cell in text for cell in row)


def test_columns_of_a_group_stay_together():
    rows = [[Text(cell) for cell in ("fifo", "1", "2", "3", "4", "a long text about the runs")]]
    assert printed(True, 40, table, COLUMNS, rows) == [
        "  mode  p0  p1  p2  p3",
        "  fifo   1   2   3   4",
        "  mode  runs",
        "  fifo  a long text about the runs",
    ]


def test_a_table_in_a_pipe_is_as_wide_as_it_is_without_padding():
    rows = [[Text("m" * 90), *[Text("1")] * 4, Text("x")], [Text("n"), *[Text("1")] * 4, Text("a longer end")]]
    lines = printed(False, 40, table, COLUMNS, rows)
    assert len(lines) == 3
    assert [line for line in lines if line.endswith(" ")] == []
    assert "m" * 90 in lines[1]


def test_an_item_hangs_on_a_terminal_and_is_one_line_in_a_pipe():
    text = "one two three four five six seven eight nine ten"
    assert printed(False, 30, item, "label", text) == [f"    label: {text}"]
    hung = printed(True, 40, item, "label", text)
    assert hung[0].startswith("    label: one two")
    assert [line[:6] for line in hung[1:]] == [" " * 6] * (len(hung) - 1)
    assert " ".join(" ".join(hung).split()) == f"label: {text}"


def test_without_rows_there_is_no_table():
    assert printed(True, 40, table, COLUMNS, []) == []


def test_a_table_that_cannot_fit_is_broken_between_words():
    lines = printed(
        True, 30, table, [Column("cell"), Column("is")], [[Text("nuc, gap, fifo, idle"), Text("word " * 8)]]
    )
    assert max(map(len, lines)) <= 30
    assert {word for line in lines for word in line.split()} == {"cell", "is", "nuc,", "gap,", "fifo,", "idle", "word"}
