# SPDX-License-Identifier: Apache-2.0
"""A run that was under way when its target went down is a failed attempt; one that was not lost is none."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.campaign.under_way import UnderWay
from harness.errors import ConnectionLost
from harness.lab.state import BoardFolder

PANIC = "[   5.0] Kernel panic - not syncing: oh\n"


class Kept:
    """In the place of the ledger: runs that are open, and what is said of those that failed."""

    def __init__(self) -> None:
        self.finished: set[str] = set()
        self.failed: list[tuple[str, str, str, bytes, bool]] = []

    def open(self, run: str) -> bool:
        return run not in self.finished

    def fail(self, run: str, reason: str, fault: str, *, log: bytes, final: bool) -> None:
        self.failed.append((run, reason, fault, log, final))


@pytest.fixture
def kept() -> Kept:
    return Kept()


@pytest.fixture
def of_board(kept: Kept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> UnderWay:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    BoardFolder("box").path.mkdir(parents=True)
    return begun(kept, virtual=True)


def begun(kept: Kept, *, virtual: bool) -> UnderWay:
    target: Any = SimpleNamespace(name="box", virtual=object() if virtual else None)
    ledger: Any = kept
    under_way = UnderWay(target, ledger)
    under_way.submitted("first boot")
    under_way.started("r1")
    return under_way


def test_another_boot_id_costs_the_run_that_was_measured(kept: Kept) -> None:
    under_way = begun(kept, virtual=False)
    under_way.met("second boot")
    under_way.met("third boot")
    reason = "the target went down during the run: its boot id changed"
    assert kept.failed == [("r1", reason, "infrastructure", b"", False)]


@pytest.mark.parametrize("why", ["the same boot", "it had finished", "it was received"])
def test_a_run_that_was_not_lost_is_no_attempt(kept: Kept, why: str) -> None:
    under_way = begun(kept, virtual=False)
    if why == "it had finished":
        kept.finished.add("r1")
    elif why == "it was received":
        under_way.received("r1")
    under_way.met("first boot" if why == "the same boot" else "second boot")
    assert kept.failed == []


def test_the_console_of_a_board_ends_the_waiting_and_is_the_attempts_log(kept: Kept, of_board: UnderWay) -> None:
    of_board.check()
    BoardFolder("box").console.write_text(PANIC)
    with pytest.raises(ConnectionLost, match=r"the board went down: panic: .*not syncing: oh"):
        of_board.check()
    of_board.met("second boot")
    ((run, reason, fault, log, final),) = kept.failed
    assert (run, fault, log, final) == ("r1", "infrastructure", PANIC.encode(), False)
    assert reason == "the target went down during the run: panic: [   5.0] Kernel panic - not syncing: oh"


def test_what_is_gone_for_good_is_not_tried_again(kept: Kept, of_board: UnderWay) -> None:
    of_board.lost("board box is not up", final=True)
    assert [failed[4] for failed in kept.failed] == [True]
