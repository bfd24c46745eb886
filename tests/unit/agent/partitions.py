# SPDX-License-Identifier: Apache-2.0
"""An invented kernel's cpuset of cgroup v2, with its tasks: the habits of 6.1 and of 6.12, as they were seen there.

6.1: a partition makes every task forget its affinity, when it begins and when it ends; one that is removed while it is
one, or loses its files, keeps its CPUs from the root until another partition of them is ended in order.
6.12: what a task asked for comes back, but not to kernel threads; CPUs of isolcpus are refused.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from harness.agent.system import Tree, format_cpus, parse_cpus

from .invented import Invented

ROOT = "/sys/fs/cgroup"
SERVICE = f"{ROOT}/system.slice"
OURS = f"{ROOT}/isolbench"
#: Tasks by habit: init, one that is pinned to CPU 0, one to the last, one to both, kernel threads, ourselves.
INIT, FIRST, LAST, BOTH, KTHREAD, WORKER, AGENT = 1, 20, 21, 22, 2, 3, 100
_UNMOVABLE = 0x04000000


@dataclass
class Group:
    """A child of the root. ``state`` as the kernel says it; ``valid`` where it is in effect."""

    cpus: set[int] = field(default_factory=set)
    exclusive: set[int] = field(default_factory=set)
    state: str = "member"

    @property
    def valid(self) -> bool:
        return self.state == "isolated"


@dataclass
class Task:
    group: str
    asked: set[int] | None = None
    now: set[int] = field(default_factory=set)
    kernel: bool = False
    movable: bool = True


class Kernel(Tree):
    """``before_change`` is called before each change that we make."""

    def __init__(
        self, root: str, *, old: bool, cpus: int = 4, isolcpus: Collection[int] = (), switched_on: bool = False
    ) -> None:
        super().__init__(root)
        self.old = old
        self.online = set(range(cpus))
        self.isolcpus = set(isolcpus)
        self.switched_on = switched_on
        self.lost: set[int] = set()
        self.groups: dict[str, Group] = {SERVICE: Group()}
        last = cpus - 1
        everywhere = self.online - self.isolcpus
        self.tasks = {
            INIT: Task(ROOT, None, set(everywhere)),
            KTHREAD: Task(ROOT, None, set(self.online), kernel=True),
            WORKER: Task(ROOT, None, set(self.online), kernel=True, movable=False),
            FIRST: Task(SERVICE, {0}, {0}),
            LAST: Task(ROOT, {last}, {last}),
            BOTH: Task(SERVICE, {0, last}, {0, last}),
            AGENT: Task(SERVICE, None, set(everywhere)),
        }
        self.before_change: Callable[[str], None] = lambda what: None

    # What it shows

    @property
    def effective(self) -> set[int]:
        parts = [group.cpus for group in self.groups.values() if group.valid]
        return self.online - self.lost - {cpu for part in parts for cpu in part}

    def read_bytes(self, path: str, limit: int = 1 << 22) -> bytes | None:
        text = self._text(path)
        return None if text is None else (text + "\n").encode()[:limit]

    def _text(self, path: str) -> str | None:
        folder, _, name = path.rpartition("/")
        words = path.split("/")
        if path == "/proc/sys/kernel/random/boot_id":
            return "boot"
        if path == "/sys/devices/system/cpu/online":
            return format_cpus(self.online)
        if path == "/proc/self/cgroup":
            return f"0::{self.tasks[AGENT].group[len(ROOT) :] or '/'}"
        if len(words) == 4 and words[1] == "proc" and name == "stat" and words[2].isdigit():
            task = self.tasks.get(int(words[2]))
            flags = 0 if task is None or task.movable else _UNMOVABLE
            return task and f"{words[2]} (a (task) of mine) S 1 1 1 0 0 {flags} {'0 ' * 12}{7000 + int(words[2])} 0"
        if folder == ROOT:
            shown = {"cgroup.subtree_control": "cpuset memory" if self.switched_on else "memory"}
            shown["cpuset.cpus.effective"] = format_cpus(self.effective)
            return shown.get(name)
        group = self.groups.get(folder)
        if group is None:
            return None
        if name == "cgroup.procs":
            return "\n".join(str(tid) for tid, task in self.tasks.items() if task.group == folder)
        if name == "cgroup.subtree_control":
            return ""
        files = {"cpuset.cpus": format_cpus(group.cpus), "cpuset.mems": "", "cpuset.cpus.partition": group.state}
        if not self.old:
            files["cpuset.cpus.exclusive"] = format_cpus(group.exclusive)
        return files.get(name) if self.switched_on else None

    def names(self, path: str) -> list[str]:
        if path == "/proc":
            return [str(tid) for tid in self.tasks]
        words = path.split("/")
        if words[1] == "proc" and words[-1] == "task":
            return [words[2]] if int(words[2]) in self.tasks else []
        return [folder[len(ROOT) + 1 :] for folder in self.groups] if path == ROOT else []

    def exists(self, path: str) -> bool:
        return path in self.groups or self._text(path) is not None

    def affinity(self, tid: int) -> list[int] | None:
        return sorted(self.tasks[tid].now) if tid in self.tasks else None

    # What it takes

    def write(self, path: str, value: str) -> int:
        self.before_change(path)
        folder, _, name = path.rpartition("/")
        if self._text(path) is None and name != "cgroup.procs":
            return errno.ENOENT
        if path == f"{ROOT}/cgroup.subtree_control":
            return self.switch(on=value.startswith("+"))
        if name == "cgroup.procs":
            return self.move(int(value), folder)
        group = self.groups[folder]
        if name == "cpuset.cpus":
            group.cpus = set(parse_cpus(value))
        elif name == "cpuset.cpus.exclusive":
            group.exclusive = set(parse_cpus(value)) if group.state != "member" else set()  # no good before it
        elif name == "cpuset.cpus.partition":
            self._change(folder, value)
        return 0

    def switch(self, *, on: bool) -> int:
        if not on:
            for folder, group in self.groups.items():
                self._drop(folder)
                group.cpus, group.exclusive, group.state = set(), set(), "member"
        self.switched_on = on
        return 0

    def _refusal(self, folder: str) -> str | None:
        group = self.groups[folder]
        others = {cpu for at, each in self.groups.items() if at != folder for cpu in each.cpus}
        if group.cpus & others and (self.old or not group.exclusive):
            return "Cpu list in cpuset.cpus not exclusive"
        if not self.old and group.cpus & self.isolcpus:
            return "partition config conflicts with housekeeping setup"
        if not self.effective - group.cpus:
            return "Parent unable to distribute cpu downstream"
        return None

    def _change(self, folder: str, state: str) -> None:
        group = self.groups[folder]
        refusal = self._refusal(folder) if state == "isolated" else None
        if refusal is not None:
            group.state = f"isolated invalid ({refusal})"
            return
        was, group.state = group.valid, state
        if was and not group.valid:
            self.lost -= group.cpus
        if was != group.valid:
            self._spread()

    def _spread(self) -> None:
        """Everybody outside of partitions gets what there is."""
        for task in self.tasks.values():
            group = self.groups.get(task.group)
            if group is not None and group.valid:
                task.now = set(group.cpus)
            elif self.old or task.kernel:
                if self.old or task.movable:
                    task.asked, task.now = None, set(self.effective)
            else:
                task.now = (task.asked or self.online - self.isolcpus) & self.effective or set(self.effective)

    def _drop(self, folder: str) -> None:
        """A partition that goes without having been ended."""
        group = self.groups[folder]
        if group.valid:
            group.state = "member"
            if self.old:
                self.lost |= group.cpus
            else:
                self._spread()

    def make_folder(self, path: str) -> int:
        self.before_change(path)
        if path in self.groups:
            return errno.EEXIST
        self.groups[path] = Group()
        return 0

    def remove_folder(self, path: str) -> int:
        self.before_change(path)
        if path not in self.groups:
            return errno.ENOENT
        if any(task.group == path for task in self.tasks.values()):
            return errno.EBUSY
        self._drop(path)
        del self.groups[path]
        return 0

    def move(self, tid: int, folder: str) -> int:
        if tid not in self.tasks:
            return errno.ESRCH
        if folder != ROOT and folder not in self.groups:
            return errno.ENOENT
        task = self.tasks[tid]
        task.group = folder
        group = self.groups.get(folder)
        if group is not None and group.valid:
            task.now = set(group.cpus)
        elif self.old:
            task.asked, task.now = None, set(self.online)
        else:
            task.now = (task.asked or self.online - self.isolcpus) & self.effective or set(self.effective)
        return 0

    def set_affinity(self, tid: int, cpus: Collection[int]) -> int:  # type: ignore[override]
        self.before_change(f"affinity of {tid}")
        task = self.tasks.get(tid)
        if task is None:
            return errno.ESRCH
        group = self.groups.get(task.group)
        allowed = group.cpus if group is not None and group.valid else self.effective
        if not task.movable or not set(cpus) & allowed:
            return errno.EINVAL
        task.now, task.asked = set(cpus) & allowed, set(cpus)
        return 0

    # What others do

    def fork(self, parent: int) -> int:
        tid = max(self.tasks) + 1
        old = self.tasks[parent]
        self.tasks[tid] = Task(old.group, old.asked, set(old.now), old.kernel, old.movable)
        return tid

    def everything(self) -> dict[str, object]:
        """What has to be put back."""
        return {
            "groups": sorted(self.groups),
            "cpuset": self.switched_on,
            "effective": sorted(self.effective),
            **{f"affinity of {tid}": sorted(task.now) for tid, task in self.tasks.items()},
        }


class Whole(Invented):
    """The invented machine with this kernel's control groups and tasks."""

    def __init__(self, root: str, kernel: Kernel) -> None:
        super().__init__(root)
        self.kernel = kernel
        kernel.before_change = lambda what: self.before_change(what)

    def _part(self, path: str) -> Kernel | None:
        words = path.split("/")
        ours = path.startswith(ROOT) or path == "/proc" or (words[1] == "proc" and words[2][:1].isdigit())
        return self.kernel if ours or path == "/proc/self/cgroup" else None

    def read_bytes(self, path: str, limit: int = 1 << 22) -> bytes | None:
        part = self._part(path)
        return part.read_bytes(path, limit) if part else super().read_bytes(path, limit)

    def names(self, path: str) -> list[str]:
        part = self._part(path)
        return part.names(path) if part else super().names(path)

    def exists(self, path: str) -> bool:
        part = self._part(path)
        return part.exists(path) if part else super().exists(path)

    def write(self, path: str, value: str) -> int:
        part = self._part(path)
        return part.write(path, value) if part else super().write(path, value)

    def make_folder(self, path: str) -> int:
        return self.kernel.make_folder(path)

    def remove_folder(self, path: str) -> int:
        return self.kernel.remove_folder(path)

    def affinity(self, tid: int) -> list[int] | None:
        return self.kernel.affinity(tid)

    def set_affinity(self, tid: int, cpus: Collection[int]) -> int:  # type: ignore[override]
        return self.kernel.set_affinity(tid, cpus)

    def everything(self) -> dict[str, object]:
        return {**super().everything(), **self.kernel.everything()}
