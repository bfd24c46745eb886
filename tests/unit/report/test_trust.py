# SPDX-License-Identifier: Apache-2.0
"""How far causes are to be trusted, and what is advised against them."""

from __future__ import annotations

from typing import Any

from harness.report.causes import notes
from harness.stats.causes import total

from ..stats.test_causes import cause, told


def measured(*causes: dict[str, Any], **more: Any) -> Any:
    return total([told(*causes, **more)], [1.0])


def test_whose_events_were_opened_meanwhile_is_said() -> None:
    def of(opened: int) -> list[str]:
        found = measured(cause("task:cat", 1), instruments={"events": 1, "opened_by_others": opened})
        return [note.text for note in notes(found, late=False) if note.about == "others"]

    assert of(3) == ["Others opened 3 perf events on the machine meanwhile."]
    assert of(0) == []
