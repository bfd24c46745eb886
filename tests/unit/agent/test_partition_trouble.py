# SPDX-License-Identifier: Apache-2.0
"""A partition that cannot be ended, was ended by somebody else, or of which tasks come and go as it is ended."""

from __future__ import annotations

import errno
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest

from harness.agent.knobs.partition import Partition
from harness.agent.system import Tree
from harness.agent.undo import Undo

from .partitions import AGENT, FIRST, LAST, OURS, ROOT, SERVICE, Kernel, Task

BOTH_KERNELS = pytest.mark.parametrize("old", [True, False], ids=["6.1", "6.12"])


def made(tmp_path: Path, kernel: Kernel) -> Undo:
    undo = Undo(str(tmp_path), kernel)
    assert Partition(kernel).set([3], [0, 1, 2], undo).ok
    return undo


def ended(undo: Undo) -> tuple[bool, str | None]:
    [report] = undo.play()
    return report["ok"], report["reason"]


class Watched(Kernel):
    """Where something happens as soon as somebody has listed all processes."""

    def __init__(self, root: str, **more: Any) -> None:
        super().__init__(root, **more)
        self.happens: Callable[[], object] | None = None

    def names(self, path: str) -> list[str]:
        found = super().names(path)
        if path == "/proc" and self.happens is not None:
            happens, self.happens = self.happens, None
            happens()
        return found


@BOTH_KERNELS
def test_a_task_that_is_born_as_all_are_looked_at_has_its_cpus_again(tmp_path: Path, *, old: bool) -> None:
    kernel = Watched(str(tmp_path), old=old)
    born: list[int] = []
    kernel.happens = lambda: born.append(kernel.fork(LAST))
    undo = made(tmp_path, kernel)
    assert ended(undo) == (True, None)
    assert kernel.tasks[born[0]].now == {3}


@BOTH_KERNELS
def test_a_task_that_enters_as_it_is_ended_is_moved_out(tmp_path: Path, *, old: bool) -> None:
    kernel = Watched(str(tmp_path), old=old)
    undo = made(tmp_path, kernel)
    late = kernel.fork(AGENT)
    kernel.happens = lambda: kernel.move(late, OURS)
    assert ended(undo) == (True, None)
    assert kernel.tasks[late].group == SERVICE


def test_tasks_go_to_the_root_where_the_agents_own_cgroup_is_gone(tmp_path: Path) -> None:
    kernel = Kernel(str(tmp_path), old=False)
    undo = made(tmp_path, kernel)
    kernel.move(FIRST, OURS)
    for task in kernel.tasks.values():
        task.group = ROOT if task.group == SERVICE else task.group
    del kernel.groups[SERVICE]
    assert ended(undo) == (True, None)
    assert kernel.tasks[FIRST].group == ROOT


class Stuck(Kernel):
    """That takes some things and does none of them, while ``stuck``."""

    stuck = False

    def _change(self, folder: str, state: str) -> None:
        if not self.stuck:
            super()._change(folder, state)

    def remove_folder(self, path: str) -> int:
        return errno.EBUSY if self.stuck else super().remove_folder(path)

    def set_affinity(self, tid: int, cpus: Collection[int]) -> int:  # type: ignore[override]
        return errno.EPERM if self.stuck else super().set_affinity(tid, cpus)


@BOTH_KERNELS
def test_one_that_stays_a_partition_is_never_removed_as_it_is(tmp_path: Path, *, old: bool) -> None:
    """6.1 would lose its CPUs by that."""
    kernel = Stuck(str(tmp_path), old=old)
    before = kernel.everything()
    undo = made(tmp_path, kernel)
    kernel.stuck = True
    done, reason = ended(undo)
    assert not done
    assert f"{OURS} stays a partition: it reads 'isolated' after member was written" in str(reason)
    assert kernel.groups[OURS].state == "isolated"
    assert not undo.empty
    kernel.stuck = False
    assert ended(undo) == (True, None)
    assert kernel.everything() == before


def test_a_cgroup_that_cannot_be_removed_is_told_with_its_errno(tmp_path: Path) -> None:
    kernel = Stuck(str(tmp_path), old=False)
    undo = made(tmp_path, kernel)
    kernel.groups[OURS].state = "member"  # ended by somebody
    kernel.stuck = True
    assert ended(undo) == (False, f"{OURS} cannot be removed (EBUSY)")


def test_a_task_that_does_not_take_its_cpus_back_is_named_and_tried_again(tmp_path: Path) -> None:
    kernel = Stuck(str(tmp_path), old=True)
    undo = made(tmp_path, kernel)
    kernel.set_affinity(FIRST, {1, 2})  # by its owner
    kernel._change(OURS, "member")  # and 6.1 forgets what each had
    del kernel.groups[OURS]
    kernel.stuck = True
    done, reason = ended(undo)
    assert not done
    assert f"{FIRST}: EPERM" in str(reason)
    kernel.stuck = False
    assert ended(undo) == (True, None)
    assert kernel.tasks[FIRST].now == {0}


def test_what_came_after_somebody_else_had_ended_it_is_left_alone(tmp_path: Path) -> None:
    kernel = Kernel(str(tmp_path), old=False)
    undo = made(tmp_path, kernel)
    kernel._change(OURS, "member")
    kernel.remove_folder(OURS)
    kernel.tasks[1000] = Task(SERVICE, {0, 1, 2}, {0, 1, 2})  # as a task that a partition had narrowed looks
    assert ended(undo) == (True, None)
    assert kernel.tasks[1000].now == {0, 1, 2}


def test_lost_cpus_are_brought_back_and_cpuset_left_off_as_somebody_wanted(tmp_path: Path) -> None:
    kernel = Kernel(str(tmp_path), old=True, switched_on=True)
    undo = made(tmp_path, kernel)
    kernel.switch(on=False)
    assert 3 not in kernel.effective
    assert ended(undo) == (True, None)
    assert kernel.effective == {0, 1, 2, 3}
    assert not kernel.switched_on


class Forgetful(Kernel):
    """From which lost CPUs do not come back."""

    def _change(self, folder: str, state: str) -> None:
        lost = set(self.lost)
        super()._change(folder, state)
        self.lost |= lost


def test_cpus_that_are_lost_for_good_are_told(tmp_path: Path) -> None:
    kernel = Forgetful(str(tmp_path), old=True)
    undo = made(tmp_path, kernel)
    kernel.switch(on=False)
    assert ended(undo) == (False, "CPU 3 is lost to the root cgroup until the next boot")
    assert OURS not in kernel.groups


def test_where_no_cgroups_are_mounted_any_more_nothing_is_done(tmp_path: Path) -> None:
    kernel = Kernel(str(tmp_path), old=False)
    undo = made(tmp_path, kernel)
    for path, text in (("proc/sys/kernel/random/boot_id", "boot"), ("sys/devices/system/cpu/online", "0-3")):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_text(f"{text}\n")
    assert [(each["ok"], each["reason"]) for each in Undo(str(tmp_path), Tree(str(tmp_path))).play()] == [(True, None)]
    assert undo.empty
