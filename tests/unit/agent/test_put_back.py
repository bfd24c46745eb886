# SPDX-License-Identifier: Apache-2.0
"""What could not be put back at once is put back as soon as it can be, while the daemon lives and by the next one."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.agent.put_back import FIRST_S, MOST_S, MOST_TRIES, PutBack
from harness.agent.system import Tree
from harness.agent.undo import Undo, file_entry


class Machine:
    """One setting, ``/knob``, which cannot be written until it is ``mend``ed; and a clock."""

    def __init__(self, folder: Path) -> None:
        self.knob = folder / "knob"
        self.knob.mkdir()
        self.now_s = 1000.0
        self.tries: list[float] = []
        machine = self

        class Counted(Undo):
            def play(self, **how: frozenset[str] | frozenset[int] | None) -> list[dict[str, object]]:
                machine.tries.append(machine.now_s)
                return super().play(**how)  # type: ignore[arg-type]

        self.undo = Counted(str(folder), Tree(str(folder)))
        self.undo.record([file_entry("x", "/knob", "1")])
        report = Undo.play(self.undo)
        self.put_back = PutBack(self.undo, frozenset(), report, lambda: self.now_s)

    def mend(self) -> None:
        self.knob.rmdir()
        self.knob.write_text("0")

    def wait(self, until_s: float) -> None:
        """As an idle daemon does."""
        while (due_s := self.put_back.due_s) is not None and due_s <= until_s:
            self.now_s = max(self.now_s, due_s)
            self.put_back.retry_if_due()
        self.now_s = until_s


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_it_is_tried_again_by_itself_ever_more_rarely(machine: Machine) -> None:
    machine.wait(4000)
    gaps = [after - before for before, after in zip([1000.0, *machine.tries], machine.tries, strict=False)]
    assert gaps[:8] == [5, 10, 20, 40, 80, 160, 300, 300]
    assert set(gaps[8:]) == {MOST_S}
    machine.mend()
    machine.wait(5000)
    assert machine.knob.read_text() == "1"
    assert machine.put_back.due_s is None
    assert [(each["path"], each["ok"]) for each in machine.put_back.take()] == [("/knob", True)]
    assert machine.put_back.take() == []


def test_a_contact_has_it_tried_at_once(machine: Machine) -> None:
    machine.wait(1100)
    tried = len(machine.tries)
    machine.mend()
    machine.put_back.retry_for_contact()
    assert machine.knob.read_text() == "1"
    machine.put_back.retry_for_contact()
    assert len(machine.tries) == tried + 1


def test_contacts_in_a_row_are_not_all_kept_waiting(machine: Machine) -> None:
    machine.put_back.retry_for_contact()
    assert machine.tries == []
    machine.now_s += FIRST_S
    machine.put_back.retry_for_contact()
    machine.put_back.retry_for_contact()
    assert len(machine.tries) == 1
    for _ in range(2):  # what is still as it should not be is told each time
        assert [(each["path"], each["ok"]) for each in machine.put_back.take()] == [("/knob", False)]


def test_a_daemon_does_not_live_for_it_for_ever(machine: Machine) -> None:
    assert not machine.put_back.hopeless
    machine.wait(1000 + 5 + 10 + 20 + 40 + 80 + 160 + 300)
    assert len(machine.tries) == MOST_TRIES - 1
    assert machine.put_back.hopeless
    machine.put_back.attempted([])  # somebody used it: it has work again
    assert not machine.put_back.hopeless


def test_asked_to_it_says_all_that_nobody_was_told(machine: Machine) -> None:
    assert [each["ok"] for each in machine.put_back.play()] == [False]
    machine.mend()
    machine.wait(1100)
    assert [each["ok"] for each in machine.put_back.play()] == [True]
    assert machine.put_back.play() == []
