# SPDX-License-Identifier: Apache-2.0
"""What `lab up` says while boards come up: lines in a pipe, a line for each board on a terminal."""

from __future__ import annotations

import re

import pytest

from harness.cli.coming import Coming
from harness.errors import Unreachable
from harness.lab.state import Record

UP = Record("box", "x86_64", 2, 1024, "bookworm-x86_64", "rt", "tcg", 22, "k", 1, 1, "")
FAILED = Unreachable("board arm did not come up: panic: oh\x1b[2J", advice="its console said: oh")


def test_in_a_pipe_each_thing_that_happens_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    with Coming(["box", "arm", "old"], quiet=False) as coming:
        coming.say("box")("box: booting 6.1 by tcg")
        coming.done("arm", FAILED)
        coming.done("box", UP)
        coming.done("old", UP)
    out, err = capsys.readouterr()
    assert re.sub(r"[0-9]+ s", "N s", out).splitlines() == [
        "box: up after N s: bookworm-x86_64, rt kernel, tcg",
        "old: up already: bookworm-x86_64, rt kernel, tcg",
    ]
    assert err.splitlines() == [
        "isolbench: box: booting 6.1 by tcg",
        "isolbench: board arm did not come up: panic: oh\\x1b[2J",
        "  advice: its console said: oh",
    ]


def test_for_machines_only_what_went_wrong_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    with Coming(["box", "arm"], quiet=True) as coming:
        coming.say("box")("box: booting 6.1 by tcg")
        coming.done("box", UP)
        coming.done("arm", FAILED)
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 2


def test_on_a_terminal_each_board_that_is_not_up_yet_has_a_line() -> None:
    coming = Coming(["box", "arm", "rt"], quiet=False)
    coming.say("box")("box: booting 6.1 by tcg")
    coming.say("rt")("bookworm-x86_64: fetching\x1b[2J")
    coming.done("arm", FAILED)
    lines = coming._drawing().plain.splitlines()
    assert [re.sub(r"[0-9]+ s$", "N s", line) for line in lines] == [
        "box: booting 6.1 by tcg, N s",
        "rt: bookworm-x86_64: fetching\\x1b[2J, N s",
    ]
