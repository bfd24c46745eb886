# SPDX-License-Identifier: Apache-2.0
"""From the kernel's files to the rule: one file changes between two snapshots, and exactly that is told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from harness.agent import snapshot
from harness.agent.system import Tree
from harness.agent.validity import judge

from .test_validity import RESULT, evidence

CPU = "sys/devices/system/cpu"
CLOCK = "sys/devices/system/clocksource/clocksource0"
TRACING = "sys/kernel/tracing"
STAT = "cpu1 {busy} 0 5 900 0 1 1 0 0 0\ncpu3 10 0 5 900 0 1 1 {steal} 0 0\n"
#: (rule, file, before, after); None: the file is not there.
CHANGES: list[tuple[str, str, str | None, str | None]] = [
    ("rebooted", "proc/sys/kernel/random/boot_id", "a", "b"),
    ("kernel-changed", "proc/sys/kernel/osrelease", "6.12.0", "6.12.1"),
    ("kernel-changed", "proc/sys/kernel/version", "#1 SMP", "#2 SMP"),
    ("clocksource-changed", f"{CLOCK}/current_clocksource", "tsc", "hpet"),
    ("tsc-state", f"{CLOCK}/available_clocksource", "tsc hpet", "hpet"),
    ("cpus-changed", f"{CPU}/online", "0-3", "0-2"),
    ("isolation-changed", f"{CPU}/isolated", "3", "2-3"),
    ("isolation-changed", "sys/fs/cgroup/cpuset.cpus.isolated", "", "2"),
    ("microcode-changed", f"{CPU}/cpu3/microcode/version", "0x1", "0x2"),
    ("modules-changed", "proc/modules", "ext4 9 1 - Live 0x0", "ext4 9 1 - Live 0x0\nkvm 1 0 - Live 0x0"),
    ("livepatch-changed", "sys/kernel/livepatch/fix/enabled", None, "1"),
    ("livepatch-changed", "sys/kernel/livepatch/fix/transition", "0", "1"),
    ("scheduler-changed", "sys/kernel/sched_ext/state", "disabled", "enabled"),
    ("tracing-changed", f"{TRACING}/set_event", "", "sched:sched_switch"),
    ("tracing-changed", f"{TRACING}/kprobe_events", "", "p:mine do_exit"),
    ("tracing-changed", f"{TRACING}/instances/mine/current_tracer", None, "function"),
    ("tracing-changed", f"{TRACING}/instances/mine/set_event", "", "irq:irq_handler_entry"),
    ("throttled", f"{CPU}/cpu3/thermal_throttle/core_throttle_count", "0", "1"),
    ("throttled", "sys/class/thermal/cooling_device0/cur_state", "0", "3"),
    ("frequency-changed", f"{CPU}/cpu3/cpufreq/scaling_governor", "performance", "powersave"),
    ("frequency-changed", f"{CPU}/cpu3/cpufreq/scaling_max_freq", "3000000", "2000000"),
    ("energy-changed", f"{CPU}/intel_pstate/no_turbo", "1", "0"),
    ("energy-changed", f"{CPU}/cpufreq/boost", "0", "1"),
    ("sibling-busy", "proc/stat", STAT.format(busy=9, steal=0), STAT.format(busy=99, steal=0)),
    ("steal", "proc/stat", STAT.format(busy=9, steal=0), STAT.format(busy=9, steal=2)),
    ("quota", "sys/fs/cgroup/cpu.stat", "nr_throttled 0", "nr_throttled 1"),
    ("irq-affinity-changed", "proc/irq/36/smp_affinity_list", "0-2", "0-3"),
    ("settings-changed", "proc/sys/kernel/sched_rt_runtime_us", "-1", "950000"),
    ("settings-changed", "sys/devices/virtual/workqueue/cpumask", "7", "f"),
    ("settings-changed", "proc/sys/vm/compact_unevictable_allowed", "0", "1"),
    ("settings-changed", "proc/sys/vm/compaction_proactiveness", "0", "20"),
    (
        "settings-changed",
        "sys/kernel/mm/transparent_hugepage/enabled",
        "always madvise [never]",
        "[always] madvise never",
    ),
    ("swapping", "proc/vmstat", "pswpin 3\npswpout 4", "pswpin 3\npswpout 5"),
    ("tainted", "proc/sys/kernel/tainted", "0", "512"),
    ("logged-in", "run/systemd/sessions/1", "CLASS=user\nREMOTE=1", "CLASS=user\nTTY=pts/0"),
    ("meddling-service", "proc/77/comm", "bash", "irqbalance"),
]
#: What else there is; a change needs its surroundings.
BACKGROUND = {
    "proc/self/cgroup": "0::/\n",
    "proc/irq/9/smp_affinity_list": "0-2",
    "proc/stat": STAT.format(busy=9, steal=0),
    f"{CPU}/cpu3/topology/thread_siblings_list": "1,3",
    f"{TRACING}/current_tracer": "nop",
    "sys/class/thermal/cooling_device0/type": "Processor",
    "sys/class/thermal/cooling_device1/type": "Fan",
    "sys/class/thermal/cooling_device1/cur_state": "1",
    "run/systemd/sessions/9": "CLASS=manager",
}
IDS = [f"{rule}-{path.rsplit('/', 1)[1]}" for rule, path, _, _ in CHANGES]


def write(root: Path, name: str, text: str | None) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if text is None:
        path.unlink(missing_ok=True)
    else:
        path.write_text(text)


@pytest.mark.parametrize(("rule", "name", "before", "after"), CHANGES, ids=IDS)
def test_a_file_that_changes_breaks_its_rule(
    rule: str, name: str, before: str | None, after: str | None, tmp_path: Path
) -> None:
    for background, text in BACKGROUND.items():
        write(tmp_path, background, text)
    tree = Tree(str(tmp_path))
    write(tmp_path, name, before)
    first = snapshot.take(tree, [3])
    seen = replace(evidence(), before=first, after=dict(first), results=[RESULT])
    assert judge(seen).state == "valid"
    write(tmp_path, name, after)
    # A second later, by its clocks: the rules about time are not meant here.
    times = {key: first[key] + 10**9 for key in ("monotonic_ns", "boottime_ns", "realtime_ns")}
    verdict = judge(replace(seen, after={**snapshot.take(tree, [3]), **times}))
    assert {reason["rule"] for reason in verdict.reasons} == {rule}


def test_interrupts_are_kept_in_few_words(tmp_path: Path) -> None:
    for irq in range(200):
        write(tmp_path, f"proc/irq/{irq}/smp_affinity_list", "0-63" if irq != 7 else "5")
    write(tmp_path, "proc/irq/default_smp_affinity", "ff")
    assert snapshot.take(Tree(str(tmp_path)), [3])["irq_affinity"] == {"0-63": "0-6,8-199", "5": "7"}


def test_interrupts_are_counted_on_the_controls_cpu_as_well(tmp_path: Path) -> None:
    table = "      CPU0  CPU1  CPU3\n LOC:    7     8     9   Local timer interrupts\n  36:    0     1     2   PCI-MSI"
    write(tmp_path, "proc/interrupts", table)
    seen = snapshot.take(Tree(str(tmp_path)), [3], beside=[0])
    assert seen["interrupts"] == {"3": {"LOC": 9, "36": 2}, "0": {"LOC": 7}}


def test_moved_interrupts_are_named() -> None:
    seen = evidence()
    seen.before["irq_affinity"], seen.after["irq_affinity"] = {"0": "1-9,40"}, {"1": "1-9", "0": "40"}
    [reason] = judge(seen).reasons
    assert reason["text"] == "somebody moved interrupts: 1, 2, 3, 4, 5 and 4 more"
