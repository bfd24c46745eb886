# SPDX-License-Identifier: Apache-2.0
"""An argument vector as the one string that SSH carries, such that no login shell can change it. Pure."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence

#: Words of these alone mean themselves in every shell. ``=`` is not among them: at the start of a word zsh takes it
#: for a command's path and tcsh for the directory stack.
_PLAIN = re.compile(rb"[A-Za-z0-9_@+:,./-]+")

#: Bytes that mean themselves between single quotes in every shell. Not there: the quote; the backslash (fish unescapes
#: it); ``!`` and line ends (csh expands history and does not let a quoted string span lines); control characters
#: and what is beyond ASCII (a login shell may be in any locale).
_QUOTABLE = re.compile(rb"[ \"#$%&()*+,./0-9:;<=>?@A-Z\[\]^_`a-z{|}~-]*")

#: Run by /bin/sh: ``$0`` is the command line with its awkward bytes as ``\0ooo``, which nothing before it interprets.
_DECODER = 'eval "$(printf %b "$0")"'


def command_line(argv: Sequence[str]) -> bytes:
    """For sh, bash, zsh, csh, tcsh, fish and busybox alike. ``exec``: the login shell does not linger on the target."""
    if not argv:
        raise ValueError("a command needs a name")
    words = [os.fsencode(word) for word in argv]
    if any(b"\0" in word for word in words):
        raise ValueError(f"an argument cannot hold a null byte: {list(argv)!r}")
    if all(_QUOTABLE.fullmatch(word) for word in words):
        return b"exec " + b" ".join(map(_quote, words))
    posix = os.fsencode("exec " + shlex.join(argv))
    encoded = b"".join(_encode(byte) for byte in posix)
    return b"exec /bin/sh -c '" + _DECODER.encode() + b"' '" + encoded + b"'"


def _quote(word: bytes) -> bytes:
    return word if _PLAIN.fullmatch(word) else b"'" + word + b"'"


def _encode(byte: int) -> bytes:
    raw = bytes([byte])
    return raw if _QUOTABLE.fullmatch(raw) else b"\\0%03o" % byte
