# SPDX-License-Identifier: Apache-2.0
"""The cpuset partition of a mode. Set, read back and put back as knobs are, but no knob: it is no best effort, and a
run that asks for it is not measured without it. How it is made and ended: :mod:`harness.agent.partition`.
"""

from __future__ import annotations

from typing import Any, Sequence

from .. import affinity, partition
from ..system import Tree, errno_name, format_cpus
from ..undo import Undo
from .base import NOT_OURS, Outcome, shown

#: By what stands in the kernel's own reason (``perr_strings`` of kernel/cgroup/cpuset.c).
_ADVICE = {
    "not exclusive": "another cgroup has this CPU in its cpuset.cpus: look under /sys/fs/cgroup, or use kernel 6.7",
    "housekeeping": "boot without isolcpus for this CPU, or use mode: pinned",
    "distribute": "leave the rest of the machine a CPU",
    "partition root": "the agent must see the machine's own root cgroup: run it outside of containers",
    "hotplug": "bring the CPU online, or measure another (isolated: …)",
}
_OTHERS = "look under /sys/fs/cgroup for who else has made partitions there; Documentation/admin-guide/cgroup-v2.rst"


class Partition:
    """Set and put back as knobs are, but no knob: what needs it is not measured without it."""

    name = partition.NAME
    helpers = False
    roams = False

    def __init__(self, tree: Tree | None = None) -> None:
        self.tree = tree or Tree()

    def show(self) -> dict[str, Any]:
        return shown(partition.state(self.tree))

    def set(self, measured: Sequence[int], housekeeping: Sequence[int], undo: Undo) -> Outcome:  # noqa: ARG002
        """``effective`` is what the kernel says of it; anything but ``isolated`` is a refusal, with its reason."""
        cpus = format_cpus(measured)
        if self.tree.exists(partition.PATH):
            why = f"{partition.PATH} is there already, and nothing says by whom: rmdir it, after member"
            return Outcome(self.name, partition.WANTED, None, partition.state(self.tree), "EEXIST", why)
        before = affinity.found(self.tree)
        # A second look: a task that was born meanwhile, or whose parent was listed before it was pinned.
        before = {**affinity.found(self.tree), **before}
        try:
            undo.record([partition.entry(self.tree, cpus, before)])
        except OSError as error:
            return Outcome(
                self.name, partition.WANTED, None, None, errno_name(error.errno or 0), "undo cannot be written"
            )
        number, what = partition.make(self.tree, cpus)
        state = partition.state(self.tree)
        away = measured if state == partition.WANTED else ()
        left = {task: affinity.without(had, away) for task, had in before.items()}
        affinity.put(self.tree, {task: rest for task, rest in left.items() if rest})
        detail = {"path": partition.PATH, "cpus": cpus, "tasks": len(before)}
        if state == partition.WANTED:
            return Outcome(self.name, partition.WANTED, None, state, detail=detail)
        reason = f"{what} refused" if number else f"the kernel says {state!r}"
        return Outcome(
            self.name, partition.WANTED, None, state, errno_name(number) if number else None, reason, detail=detail
        )

    def verify(self, outcome: Outcome) -> str | None:  # noqa: ARG002 (the protocol's)
        state = partition.state(self.tree)
        return (
            None
            if state == partition.WANTED
            else f"{partition.PATH} is no isolated partition any more, but {state or 'gone'}"
        )

    def restore(self) -> None:
        return

    def advise(self, outcome: Outcome) -> str | None:
        if outcome.ok:
            return None
        if outcome.errno is not None:
            return NOT_OURS.get(outcome.errno, _OTHERS)
        said = str(outcome.effective)
        return next((advice for sign, advice in _ADVICE.items() if sign in said), _OTHERS)
