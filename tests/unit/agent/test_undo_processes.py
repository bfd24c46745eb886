# SPDX-License-Identifier: Apache-2.0
"""A process that does not die (it hangs in the kernel) is told, and its entry stays for the next time."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.agent import undo as undo_module
from harness.agent.system import Tree
from harness.agent.undo import Undo


def test_what_cannot_be_killed_stays_in_the_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    undo = Undo(str(tmp_path), Tree(str(tmp_path)))
    undo.record([{"kind": "processes", "marker": "m"}])
    left = [5]
    monkeypatch.setattr(undo_module, "kill_marked", lambda *_, **__: [4, 5])
    monkeypatch.setattr(undo_module, "marked", lambda *_, **__: list(left))
    [report] = undo.play()
    assert (report["ok"], report["killed"], report["reason"]) == (False, [4], "still there after SIGKILL: 5")
    assert not undo.empty
    left.clear()
    [report] = undo.play()
    assert (report["ok"], report["killed"], report["reason"]) == (True, [4, 5], None)
    assert undo.empty
