# SPDX-License-Identifier: Apache-2.0
"""A partition that is made, killed over, cut short, meddled with and ended at any point: nothing of it is left."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.agent.knobs.partition import Partition
from harness.agent.undo import Undo

from .mortal import Killed, Life, MortalUndo
from .partitions import AGENT, INIT, OURS, Kernel

machines = st.fixed_dictionaries(
    {
        "old": st.booleans(),
        "cpus": st.sampled_from((2, 4, 8)),
        "switched_on": st.booleans(),
    }
)
lives = st.integers(0, 60)
steps = st.one_of(
    st.tuples(st.sampled_from(["set", "play"]), lives, st.integers(0, 1 << 20)),
    st.tuples(st.sampled_from(["fork", "switch off", "enter", "leave it to itself"]), st.just(0), st.just(0)),
)


class Sequence:
    def __init__(self, folder: str, machine: dict[str, Any]) -> None:
        self.folder = folder
        self.kernel = Kernel(folder, **machine)
        self.expected = self.kernel.everything()
        self.tampered = False

    def take(self, kind: str, life: int, cut: int) -> None:
        kernel = self.kernel
        if kind in ("set", "play"):
            one = Life(life, cut)
            undo = MortalUndo(self.folder, kernel, one)
            kernel.before_change = one.step
            try:
                if kind == "play":
                    undo.play()
                elif undo.empty:  # as the agent does: what is left of another life is put back first
                    last = max(kernel.online)
                    Partition(kernel).set([last], sorted(kernel.online - {last}), undo)
            except Killed:
                pass
            kernel.before_change = lambda _: None
        elif kind == "fork":
            parent = INIT if OURS not in kernel.groups else AGENT
            self.expected[f"affinity of {kernel.fork(parent)}"] = self.expected[f"affinity of {parent}"]
        elif kind == "switch off" and not Undo(self.folder, kernel).empty:
            kernel.switch(on=False)
            self.tampered = True
        elif kind == "enter" and OURS in kernel.groups:
            kernel.move(kernel.fork(AGENT), OURS)
            self.expected[f"affinity of {max(kernel.tasks)}"] = self.expected[f"affinity of {AGENT}"]

    def end(self) -> None:
        undo = Undo(self.folder, self.kernel)
        report = undo.play()
        assert [each for each in report if not each["ok"]] == []
        assert undo.empty
        assert undo.play() == []
        found = self.kernel.everything()
        if self.tampered:  # whoever switched it off answers for that
            found["cpuset"] = self.expected["cpuset"]
        assert found == self.expected


@pytest.fixture(scope="module")
def memory() -> Iterator[str]:
    """A folder in memory: the journal is synced at each change."""
    where = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=where) as folder:
        yield folder


@settings(max_examples=1000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(machine=machines, taken=st.lists(steps, min_size=1, max_size=10))
def test_the_machine_is_as_it_was_found(memory: str, machine: dict[str, Any], taken: list[Any]) -> None:
    Path(memory, "undo.jsonl").unlink(missing_ok=True)
    sequence = Sequence(memory, machine)
    for step in taken:
        sequence.take(*step)
    sequence.end()
