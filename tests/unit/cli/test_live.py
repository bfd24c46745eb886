# SPDX-License-Identifier: Apache-2.0
"""What is drawn on a terminal while something goes on: what it last was stays there, or nothing of it does."""

from __future__ import annotations

import io

import pytest
from rich.text import Text

from harness.cli.consoles import Console
from harness.cli.live import drawn

#: Moves up a line and erases it.
ERASED = "\x1b[1A\x1b[2K"


@pytest.mark.parametrize("transient", [False, True])
def test_what_is_drawn_last_is_what_there_is_at_the_end(transient: bool) -> None:
    out = io.StringIO()
    state = ["begins"]
    with drawn(Console(file=out, force_terminal=True), lambda: Text(state[0]), transient=transient):
        state[0] = "all done"
    last = out.getvalue().rpartition("all done")
    assert last[1]
    assert (ERASED in last[2]) == transient


def test_a_reader_who_left_is_no_error() -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            if "done" in text:
                raise BrokenPipeError
            return super().write(text)

    state = ["begins"]
    with drawn(Console(file=Gone(), force_terminal=True), lambda: Text(state[0])):
        state[0] = "done"
