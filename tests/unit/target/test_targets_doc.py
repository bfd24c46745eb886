# SPDX-License-Identifier: Apache-2.0
"""docs/targets.md says what the code does: lines, packages, places and numbers."""

from __future__ import annotations

import re
from pathlib import Path

from harness.campaign.lane import AWAY_S
from harness.target import contact
from harness.target.ssh import MOST_SESSIONS, Backoff
from harness.target.sudo import SUDO, sudo_problem

TEXT = (Path(__file__).parents[3] / "docs" / "targets.md").read_text()
WORDS = " ".join(TEXT.split())


def test_the_sudoers_lines() -> None:
    _, remedy = sudo_problem("refused: sudo: sorry, you must have a tty to run sudo", "lab")
    lines = re.findall(r"'([^']*lab[^']*)'", remedy)
    assert len(lines) == 2
    assert all(line in TEXT for line in lines)
    assert SUDO[4] == "/bin/sh"


def test_the_packages_of_openembedded() -> None:
    assert set(re.findall(r"`(python3-[a-z]+)`", TEXT)) == {*contact.MODULES.values(), "python3-minimal"}


def test_the_places_in_their_order() -> None:
    tried = re.findall(r'try "?(/usr/local[^" |;]*|\$HOME[^"]*|/[^"]*)"?', contact._INNER)
    named = [place.replace("$HOME", "~").replace("$uid", "UID") for place in tried]
    assert named[0] in TEXT
    (row,) = (line for line in TEXT.splitlines() if line.startswith("| agent and probes"))
    assert re.findall(r"`([^`]+)`", row) == named[1:]


def test_the_numbers() -> None:
    oldest = ".".join(map(str, contact.OLDEST_PYTHON))
    assert f"Python {oldest} or newer" in WORDS
    assert f"`python3.{contact.NEWEST_PYTHON_NAMED}` down to `python{oldest}`" in WORDS
    assert f"{contact.LEAST_FREE_KB // 1024} MiB" in WORDS
    backoff = Backoff()
    assert backoff.tries == 6
    assert f"Six tries with {backoff.first_s:g} to {backoff.most_s:g} s in between" in WORDS
    assert f"uses {MOST_SESSIONS} sessions at most" in WORDS
    assert f"waited for {AWAY_S / 60:g} minutes" in WORDS
