# SPDX-License-Identifier: Apache-2.0
"""Which lines of the kernel's log make a run worthless: the kernel's own, all of them, also in a flood."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.agent import kmsg
from harness.agent.kmsg import PATTERNS, Kmsg
from harness.agent.system import Tree


def log_of(root: Path, *records: str) -> Kmsg:
    (root / "dev").mkdir()
    (root / "dev/kmsg").write_text("\n".join(records) + "\n")
    return Kmsg(Tree(str(root)))


def test_what_a_program_writes_there_is_not_the_kernels_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = iter([b"12,1,5000000,-;app[7]: WARNING: BUG\n", b"4,2,6000000,-;WARNING: CPU: 1\n", b""])
    log = log_of(tmp_path)
    monkeypatch.setattr(kmsg.os, "read", lambda *_: next(records))
    said = log.collect()
    assert said is not None
    assert len(said["lines"]) == 2
    assert said["matches"] == ["[6.000000] WARNING: CPU: 1"]


def test_a_flood_does_not_wash_a_match_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flood = [f"6,{n},1,-;{'x' * 40}\n".encode() for n in range(50)]
    records = iter([b"4,0,1,-;BUG: soft lockup\n", *flood, b""])
    log = log_of(tmp_path)
    monkeypatch.setattr(kmsg, "_KEEP_BYTES", 100)
    monkeypatch.setattr(kmsg.os, "read", lambda *_: next(records))
    said = log.collect()
    assert said is not None
    assert [line[-11:] for line in said["matches"]] == ["soft lockup"]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("hwmon hwmon1: Undervoltage detected!", True),
        ("Under-voltage detected! (0x00050005)", True),
        ("warning: `tool' uses deprecated v2 capabilities", False),
        ("driver: known bug in firmware, worked around", False),
        ("sched: RT throttling activated", True),
    ],
)
def test_which_lines_count(line: str, *, expected: bool) -> None:
    assert bool(PATTERNS.search(line)) is expected
