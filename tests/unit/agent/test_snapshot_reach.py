# SPDX-License-Identifier: Apache-2.0
"""Which CPUs and which cgroups a snapshot looks at."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.agent import snapshot
from harness.agent.system import Tree
from harness.agent.validity import judge

from .test_validity import evidence

STAT = "".join(f"cpu{cpu} 10 0 5 900 0 1 1 {cpu} 0 0\n" for cpu in range(4))


def plant(root: Path, files: dict[str, str]) -> Tree:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return Tree(str(root))


def test_a_task_that_is_not_pinned_may_be_hit_on_any_of_its_cpus(tmp_path: Path) -> None:
    tree = plant(tmp_path, {"proc/stat": STAT})
    assert snapshot.take(tree, [3])["steal_ticks"] == {"3": 3}
    seen = snapshot.take(tree, [3], [0, 1])  # isolcpus=2,3: it cannot come to the CPU that others measure
    assert seen["steal_ticks"] == {"0": 0, "1": 1}
    assert set(seen["throttled"]) == set(seen["frequency"]) == {"0", "1"}
    assert seen["interrupts"] == {}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, None),
        ({"proc/self/cgroup": "0::/\n"}, None),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.stat": "usage_usec 5\nnr_throttled 3\n"}, 3),
        (
            {
                "proc/self/cgroup": "0::/a.slice/b\n",
                "sys/fs/cgroup/cpu.stat": "usage_usec 5\n",
                "sys/fs/cgroup/a.slice/cpu.stat": "nr_throttled 3\n",
                "sys/fs/cgroup/a.slice/b/cpu.stat": "nr_throttled 4\n",
            },
            7,
        ),
        (
            {
                "proc/self/cgroup": "5:cpuset:/x\n4:cpu,cpuacct:/x\n",
                "sys/fs/cgroup/cpu,cpuacct/x/cpu.stat": "nr_periods 9\nnr_throttled 2\n",
            },
            2,
        ),
    ],
)
def test_stops_by_a_quota(tmp_path: Path, files: dict[str, str], expected: int | None) -> None:
    assert snapshot.quota_throttled(plant(tmp_path, files)) == expected


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, None),
        ({"state": "disabled\n"}, "disabled"),
        ({"state": "enabled\n", "root/ops": "lavd_1.0\n"}, "lavd_1.0"),
    ],
)
def test_which_bpf_scheduler_runs(tmp_path: Path, files: dict[str, str], expected: str | None) -> None:
    tree = plant(tmp_path, {f"sys/kernel/sched_ext/{name}": text for name, text in files.items()})
    assert snapshot.take(tree, [0])["sched_ext"] == expected


def test_a_quota_that_stopped_us_is_a_reason() -> None:
    seen = evidence()
    seen.before["quota_throttled"] = seen.after["quota_throttled"] = 7
    assert judge(seen).state == "valid"
    seen.after["quota_throttled"] = 9
    [reason] = judge(seen).reasons
    assert (reason["rule"], reason["state"]) == ("quota", "suspect")
    assert "2 times" in reason["text"]
