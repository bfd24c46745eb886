# SPDX-License-Identifier: Apache-2.0
"""A partition is what the kernel says it is, and when it ends the machine is as it was found."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from harness.agent import cgroups, partition
from harness.agent.knobs.base import Outcome
from harness.agent.knobs.partition import Partition
from harness.agent.system import Tree
from harness.agent.undo import Undo

from .partitions import AGENT, BOTH, FIRST, INIT, KTHREAD, LAST, OURS, ROOT, SERVICE, WORKER, Group, Kernel

BOTH_KERNELS = pytest.mark.parametrize("old", [True, False], ids=["6.1", "6.12"])


def undo_of(tmp_path: Path, kernel: Kernel) -> Undo:
    return Undo(str(tmp_path), kernel)


@BOTH_KERNELS
def test_it_is_made_of_the_measured_cpu_and_takes_it_from_everybody(tmp_path: Path, *, old: bool) -> None:
    kernel = Kernel(str(tmp_path), old=old)
    knob = Partition(kernel)
    outcome = knob.set([3], [0, 1, 2], undo_of(tmp_path, kernel))
    assert (outcome.ok, outcome.effective, outcome.reason) == (True, "isolated", None)
    assert knob.advise(outcome) is None
    assert kernel.groups[OURS].cpus == {3}
    assert all(3 not in task.now for tid, task in kernel.tasks.items() if tid != WORKER)
    # Those who were elsewhere stay where they were: also the agent, which has stepped aside, and its load.
    assert (kernel.tasks[FIRST].now, kernel.tasks[BOTH].now) == ({0}, {0})


@BOTH_KERNELS
@pytest.mark.parametrize("switched_on", [True, False])
def test_the_machine_is_as_it_was_found(tmp_path: Path, *, old: bool, switched_on: bool) -> None:
    kernel = Kernel(str(tmp_path), old=old, switched_on=switched_on)
    before = kernel.everything()
    undo = undo_of(tmp_path, kernel)
    Partition(kernel).set([3], [0, 1, 2], undo)
    child = kernel.fork(FIRST)
    stranger = kernel.fork(LAST)
    kernel.move(stranger, OURS)
    [report] = undo.play(only=frozenset({"partition"}))
    assert (report["ok"], report["reason"], report["found"]) == (True, None, "isolated")
    after = kernel.everything()
    assert {key: after[key] for key in before} == before
    assert kernel.tasks[child].now == {0}  # what it inherited
    assert kernel.tasks[stranger].group == SERVICE  # where the agent is
    assert undo.empty


@pytest.mark.parametrize(
    ("old", "isolcpus", "siblings", "cpus", "said", "advice"),
    [
        (False, {3}, set(), [3], "conflicts with housekeeping", "without isolcpus"),
        (True, set(), {2, 3}, [3], "not exclusive", "another cgroup"),
        (True, set(), set(), [0, 1, 2, 3], "unable to distribute", "leave the rest"),
    ],
)
def test_a_rejection_after_a_successful_write_is_found_by_reading_back(
    tmp_path: Path, isolcpus: set[int], siblings: set[int], cpus: list[int], said: str, advice: str, *, old: bool
) -> None:
    kernel = Kernel(str(tmp_path), old=old, isolcpus=isolcpus, switched_on=True)
    kernel.groups[SERVICE].cpus = siblings
    before = kernel.everything()
    undo = undo_of(tmp_path, kernel)
    knob = Partition(kernel)
    outcome = knob.set(cpus, [0], undo)
    assert not outcome.ok
    assert outcome.errno is None
    assert said in str(outcome.effective)
    assert said in str(outcome.reason)
    assert advice in str(knob.advise(outcome))
    assert all(each["ok"] for each in undo.play())
    assert kernel.everything() == before


def test_from_6_7_a_sibling_that_names_the_cpu_is_not_in_the_way(tmp_path: Path) -> None:
    kernel = Kernel(str(tmp_path), old=False, switched_on=True)
    kernel.groups[SERVICE].cpus = {2, 3}
    assert Partition(kernel).set([3], [0, 1, 2], undo_of(tmp_path, kernel)).ok


def test_nothing_is_made_where_the_undo_cannot_be_written(tmp_path: Path) -> None:
    kernel = Kernel(str(tmp_path), old=True)
    before = kernel.everything()
    outcome = Partition(kernel).set([3], [0], Undo(str(tmp_path / "absent"), kernel))
    assert (outcome.ok, outcome.errno, outcome.reason) == (False, "ENOENT", "undo cannot be written")
    assert kernel.everything() == before


def test_a_cgroup_of_that_name_that_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    kernel = Kernel(str(tmp_path), old=True)
    kernel.groups[OURS] = Group()
    undo = undo_of(tmp_path, kernel)
    outcome = Partition(kernel).set([3], [0], undo)
    assert (outcome.ok, outcome.errno) == (False, "EEXIST")
    assert undo.empty
    assert OURS in kernel.groups


class Closed(Kernel):
    """Of an agent that may not write there."""

    number = errno.EACCES

    def write(self, path: str, value: str) -> int:
        return self.number


@pytest.mark.parametrize(
    ("number", "name", "advice"),
    [
        (errno.EACCES, "EACCES", "as root"),
        (errno.EROFS, "EROFS", "on the machine itself"),
        (errno.EBUSY, "EBUSY", "cgroup-v2.rst"),
    ],
)
def test_a_refused_write_is_told_with_its_errno(tmp_path: Path, number: int, name: str, advice: str) -> None:
    kernel = Closed(str(tmp_path), old=False)
    kernel.number = number
    knob = Partition(kernel)
    outcome = knob.set([3], [0], undo_of(tmp_path, kernel))
    assert (outcome.ok, outcome.errno) == (False, name)
    assert outcome.reason == "+cpuset in /sys/fs/cgroup/cgroup.subtree_control refused"
    assert advice in str(knob.advise(outcome))


class Stubborn(Kernel):
    """That refuses one thing: to make the group, or to write one of its files."""

    stubborn = ""

    def make_folder(self, path: str) -> int:
        return errno.ENOSPC if path == self.stubborn else super().make_folder(path)

    def write(self, path: str, value: str) -> int:
        return errno.EINVAL if path == self.stubborn else super().write(path, value)


@BOTH_KERNELS
@pytest.mark.parametrize(
    ("path", "name"),
    [(OURS, "ENOSPC"), (f"{OURS}/cpuset.cpus", "EINVAL"), (f"{OURS}/cpuset.cpus.partition", "EINVAL")],
)
def test_what_was_refused_is_named_and_all_before_it_put_back(
    tmp_path: Path, path: str, name: str, *, old: bool
) -> None:
    kernel = Stubborn(str(tmp_path), old=old)
    before = kernel.everything()
    undo = undo_of(tmp_path, kernel)
    kernel.stubborn = path
    outcome = Partition(kernel).set([3], [0, 1, 2], undo)
    assert (outcome.ok, outcome.errno, outcome.reason) == (False, name, f"{path} refused")
    assert all(each["ok"] for each in undo.play())
    assert kernel.everything() == before


def test_a_reason_that_only_a_newer_kernel_has_is_no_matter_of_privileges(tmp_path: Path) -> None:
    said = Outcome("partition", "isolated", None, "isolated invalid (Have remote partition underneath)")
    assert "who else has made partitions" in str(Partition(Kernel(str(tmp_path), old=False)).advise(said))


def test_what_somebody_has_come_to_use_stays_switched_on(tmp_path: Path) -> None:
    kernel = Kernel(str(tmp_path), old=False)
    undo = undo_of(tmp_path, kernel)
    Partition(kernel).set([3], [0, 1, 2], undo)
    kernel.groups[SERVICE].cpus = {0, 1}
    [report] = undo.play()
    assert report["ok"]
    assert "cpuset stays switched on" in report["reason"]
    assert kernel.switched_on
    assert kernel.groups[SERVICE].cpus == {0, 1}


def test_cpus_that_6_1_lost_are_brought_back(tmp_path: Path) -> None:
    kernel = Kernel(str(tmp_path), old=True)
    before = kernel.everything()
    undo = undo_of(tmp_path, kernel)
    Partition(kernel).set([3], [0, 1, 2], undo)
    kernel.switch(on=False)  # systemd, for one
    assert kernel.effective == {0, 1, 2}
    assert all(each["ok"] for each in undo.play())
    assert kernel.everything() == before


@BOTH_KERNELS
def test_what_an_owner_changed_meanwhile_stays(tmp_path: Path, *, old: bool) -> None:
    kernel = Kernel(str(tmp_path), old=old)
    undo = undo_of(tmp_path, kernel)
    Partition(kernel).set([3], [0, 1, 2], undo)
    kernel.set_affinity(FIRST, {1})
    undo.play()
    assert kernel.tasks[FIRST].now == {1}


def test_a_number_that_is_another_tasks_by_now_is_left_alone(tmp_path: Path) -> None:
    kernel = Kernel(str(tmp_path), old=False)
    undo = undo_of(tmp_path, kernel)
    Partition(kernel).set([3], [0, 1, 2], undo)
    [entry] = [each for each in undo.entries() if each["kind"] == "partition"]
    entry["tasks"] = {"1": [[FIRST, 1]]}  # began at another time
    partition.play(entry, kernel)
    assert kernel.tasks[FIRST].now == {0}


def test_whether_it_still_is_one(tmp_path: Path) -> None:
    kernel = Kernel(str(tmp_path), old=False)
    knob = Partition(kernel)
    outcome = knob.set([3], [0, 1, 2], undo_of(tmp_path, kernel))
    assert knob.verify(outcome) is None
    kernel.groups[OURS].state = "isolated invalid (…)"
    assert "isolated invalid" in str(knob.verify(outcome))
    kernel.switch(on=False)
    assert "gone" in str(knob.verify(outcome))


def test_kernel_threads_are_written_down_but_for_those_that_cannot_be_moved(tmp_path: Path) -> None:
    kernel = Kernel(str(tmp_path), old=False)
    kernel.tasks[KTHREAD].now = {0, 1, 2}  # as nohz_full leaves it
    undo = undo_of(tmp_path, kernel)
    Partition(kernel).set([3], [0, 1, 2], undo)
    [entry] = undo.entries()
    written = {tid for tasks in entry["tasks"].values() for tid, _ in tasks}
    assert written == {INIT, FIRST, LAST, BOTH, KTHREAD, AGENT}
    undo.play()
    assert kernel.tasks[KTHREAD].now == {0, 1, 2}


@pytest.mark.parametrize(
    ("text", "where"),
    [("0::/a/b\n", f"{ROOT}/a/b"), ("0::/\n", ROOT), ("4:cpuset:/x\n", ROOT), ("4:cpu:/x\n0::/y\n", f"{ROOT}/y")],
)
def test_where_our_own_cgroup_is(tmp_path: Path, text: str, where: str) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text(text)
    assert cgroups.own(Tree(str(tmp_path))) == where


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"cgroup.controllers": "cpu cpuset"}, {"controllers": ["cpu", "cpuset"], "root": True, "isolated": None}),
        (
            {"cgroup.controllers": "cpuset", "cpuset.cpus.isolated": "2-3"},
            {"controllers": ["cpuset"], "root": True, "isolated": [2, 3]},
        ),
        ({"cgroup.controllers": "", "cgroup.type": "domain"}, {"controllers": [], "root": False, "isolated": None}),
    ],
)
def test_what_the_facts_say(tmp_path: Path, files: dict[str, str], told: dict[str, object]) -> None:
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    for name, text in files.items():
        (tmp_path / "sys/fs/cgroup" / name).write_text(text + "\n")
    assert cgroups.gather(Tree(str(tmp_path))) == {"version": 2, **told}
