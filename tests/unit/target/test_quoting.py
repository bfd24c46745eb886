# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.target.quoting import command_line

ARGUMENTS = st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), min_size=1)

#: What no login shell in the world reads as anything else, between single quotes or bare.
HARMLESS = re.compile(rb"exec [ -~]*")


def as_sh_reads(line: bytes) -> list[str]:
    """What /bin/sh makes of a command line of ours: shlex reads single quotes as it does; %b is undone here."""
    words = shlex.split(line.decode("ascii"))
    if words[1:3] != ["/bin/sh", "-c"] or not words[3].startswith("eval"):
        return words[1:]
    assert words[3] == 'eval "$(printf %b "$0")"'
    inner = re.sub(r"\\0([0-7]{3})", lambda match: chr(int(match[1], 8)), words[4])
    return shlex.split(inner.encode("latin-1").decode())[1:]


@given(ARGUMENTS)
def test_every_argument_survives(argv: list[str]) -> None:
    assert as_sh_reads(command_line(argv)) == argv


@given(ARGUMENTS)
def test_nothing_that_a_login_shell_would_touch(argv: list[str]) -> None:
    line = command_line(argv)
    assert HARMLESS.fullmatch(line)
    assert b"!" not in line  # history in csh, also between single quotes
    assert all(after == b"0" for after in re.findall(rb"\\(.)", line))  # fish unescapes \\ and \' alone
    for quoted in re.findall(rb"'([^']*)'", line):
        assert b"\n" not in quoted


def test_plain_commands_stay_readable() -> None:
    assert (
        command_line(["/usr/bin/python3", "-I", "two words", "$HOME"])
        == b"exec /usr/bin/python3 -I 'two words' '$HOME'"
    )


@pytest.mark.parametrize("word", ["=ls", "~", "%1", "^a", "{a,b}", ""])
def test_words_that_some_shell_expands_are_quoted(word: str) -> None:
    assert command_line(["echo", word]) == f"exec echo '{word}'".encode()


def test_bytes_that_are_not_utf_8_go_through() -> None:
    assert rb"\0377" in command_line(["echo", "\udcff"])


@pytest.mark.parametrize("argv", [[], ["a\0b"]])
def test_what_cannot_be_sent(argv: list[str]) -> None:
    with pytest.raises(ValueError, match=r"a command needs a name|null byte"):
        command_line(argv)
