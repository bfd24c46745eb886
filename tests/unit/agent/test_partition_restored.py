# SPDX-License-Identifier: Apache-2.0
"""A partition that is made, killed over, cut short, meddled with and ended at any point: nothing of it is left."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from harness.agent.knobs.partition import Partition
from harness.agent.undo import Undo

from .partitions import AGENT, INIT, OURS, Kernel
from .sequences import Sequence, thoroughly

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


class Partitioned(Sequence):
    def __init__(self, folder: str, machine: dict[str, Any]) -> None:
        self.kernel = Kernel(folder, **machine)
        super().__init__(folder, self.kernel)
        self.tampered = False

    def take(self, kind: str, life: int, cut: int) -> None:
        kernel = self.kernel
        if kind in ("set", "play"):
            with self.life(life, cut) as undo:
                if kind == "play":
                    undo.play()
                elif undo.empty:  # as the agent does: what is left of another life is put back first
                    last = max(kernel.online)
                    Partition(kernel).set([last], sorted(kernel.online - {last}), undo)
        elif kind == "fork":
            parent = INIT if OURS not in kernel.groups else AGENT
            self.expected[f"affinity of {kernel.fork(parent)}"] = self.expected[f"affinity of {parent}"]
        elif kind == "switch off" and not Undo(self.folder, kernel).empty:
            kernel.switch(on=False)
            self.tampered = True
        elif kind == "enter" and OURS in kernel.groups:
            kernel.move(kernel.fork(AGENT), OURS)
            self.expected[f"affinity of {max(kernel.tasks)}"] = self.expected[f"affinity of {AGENT}"]

    def found(self) -> dict[str, Any]:
        found = super().found()
        if self.tampered:  # whoever switched it off answers for that
            found["cpuset"] = self.expected["cpuset"]
        return found


@thoroughly
@given(machine=machines, taken=st.lists(steps, min_size=1, max_size=10))
def test_the_machine_is_as_it_was_found(memory: str, machine: dict[str, Any], taken: list[Any]) -> None:
    Partitioned(memory, machine).run(taken)
