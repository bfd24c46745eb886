# SPDX-License-Identifier: Apache-2.0
"""Each rule of validity once: what breaking it makes of a run, what it means, and what would change it. Pure data.

Reports, ``show``, ``doctor`` and docs/validity.md speak of the rules in these words. ``see`` names the kernel's own
documentation (its place in the kernel's source) or a manual page.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Mapping

INVALID, SUSPECT = "invalid", "suspect"


@dataclass(frozen=True)
class Rule:
    state: str
    means: str
    advice: str
    see: str = ""

    @property
    def remedy(self) -> str:
        """The advice, and where to read about it."""
        return f"{self.advice} ({self.see})" if self.see else self.advice


_DOC = "Documentation"
_ADMIN = f"{_DOC}/admin-guide"
_PARAMETERS = f"{_ADMIN}/kernel-parameters.txt"

RULES: Mapping[str, Rule] = {
    # The machine
    "rebooted": Rule(
        INVALID,
        "the boot id changed",
        "run it again; if it crashes each time, see its console",
    ),
    "kernel-changed": Rule(INVALID, "release or build of the kernel changed", "run it again"),
    "clocksource-changed": Rule(
        INVALID,
        "the kernel changed to another clocksource",
        "see dmesg for the reason; boot with tsc=reliable if the TSC is",
        _PARAMETERS,
    ),
    "tsc-state": Rule(
        INVALID,
        "the list of clocksources that the kernel trusts changed",
        "see dmesg for the reason; a TSC that it gave up stays so until the next boot",
        f"{_DOC}/timers/timekeeping.rst",
    ),
    "cpus-changed": Rule(
        INVALID,
        "a CPU went online or offline",
        "stop what hotplugs CPUs",
        f"{_DOC}/core-api/cpu_hotplug.rst",
    ),
    "isolation-changed": Rule(
        INVALID,
        "the kernel's set of isolated CPUs changed",
        "stop what makes cpuset partitions: container managers, tuned, cset",
        f"{_ADMIN}/cgroup-v2.rst",
    ),
    "modules-changed": Rule(
        INVALID,
        "a kernel module was loaded or removed",
        "load what the load needs beforehand, and stop what loads modules on demand",
    ),
    "microcode-changed": Rule(
        INVALID,
        "the CPU's microcode was replaced",
        "load microcode at boot, not while measuring",
        f"{_DOC}/arch/x86/microcode.rst",
    ),
    "livepatch-changed": Rule(
        INVALID,
        "a livepatch was loaded, removed or in transition",
        "do not patch while measuring",
        f"{_DOC}/livepatch/livepatch.rst",
    ),
    "scheduler-changed": Rule(
        INVALID,
        "a BPF scheduler was loaded or left",
        "stop scx services while measuring",
        f"{_DOC}/scheduler/sched-ext.rst",
    ),
    "tracing-changed": Rule(
        INVALID,
        "tracer, trace events, probes or tracing instances changed",
        "leave tracefs and perf probe alone while measuring: each change interrupts all CPUs",
        f"{_DOC}/trace/ftrace.rst",
    ),
    "suspended": Rule(
        INVALID,
        "the machine slept",
        "keep it awake: systemd-inhibit, or mask sleep.target",
        f"{_ADMIN}/pm/sleep-states.rst",
    ),
    "dmesg": Rule(
        INVALID,
        "the kernel warned of a bug, lockup, stall, machine check, lack of memory, throttling or an unsound clock",
        "look at dmesg on the target",
        f"{_ADMIN}/lockup-watchdogs.rst, {_DOC}/RCU/stallwarn.rst",
    ),
    "dmesg-lost": Rule(
        SUSPECT,
        "the kernel's log was overwritten before it could be read",
        "find what floods dmesg, or boot with a larger log_buf_len",
        _PARAMETERS,
    ),
    "tainted": Rule(
        SUSPECT,
        "the kernel became tainted",
        "see dmesg, and which flag it is",
        f"{_ADMIN}/tainted-kernels.rst",
    ),
    "settings-changed": Rule(
        SUSPECT,
        "a setting of the kernel that reaches isolated CPUs was changed",
        "stop what sets it: tuned, sysctl.d at boot, configuration management",
        f"{_ADMIN}/sysctl/kernel.rst",
    ),
    # The measured task
    "wrong-cpu": Rule(INVALID, "not each CPU that was asked for was measured", "see log.txt; report it if it stays"),
    "unknown-placement": Rule(
        INVALID, "the probe did not read back where and as what it ran", "see log.txt; report it if it stays"
    ),
    "affinity-lost": Rule(
        INVALID,
        "the task ran, or was allowed, elsewhere than on its CPU",
        "stop what moves tasks: cpuset managers, tuned, numad",
        "sched_setaffinity(2)",
    ),
    "affinity-changed": Rule(
        INVALID,
        "where a task that is not pinned may run changed under it",
        "stop what moves tasks: cpuset managers, tuned, numad",
        "sched_setaffinity(2)",
    ),
    "policy-lost": Rule(
        INVALID,
        "scheduling policy or priority were not as asked",
        "stop what renices tasks: rtkit, ananicy, uresourced",
        "sched(7)",
    ),
    "partition-lost": Rule(
        INVALID,
        "the cpuset partition, or the task's place in it, did not last for the whole run",
        "stop what changes control groups: container managers, cset; under systemd, what has units reloaded",
        f"{_ADMIN}/cgroup-v2.rst",
    ),
    "fifo-throttled": Rule(
        SUSPECT,
        "the scheduler itself takes time from FIFO tasks, and that could not be switched off",
        "see the reason",
        f"{_DOC}/scheduler/sched-rt-group.rst",
    ),
    "started-apart": Rule(
        SUSPECT,
        "the probes of one run did not begin together",
        "measure for longer, or find what keeps the target from starting them",
    ),
    "memory-unlocked": Rule(
        SUSPECT, "the probe's memory could not be locked", "become: sudo, or raise the memlock limit", "mlockall(2)"
    ),
    "major-faults": Rule(
        INVALID,
        "the measuring loop had to wait for a page from a disk",
        "free memory on the target",
        "getrusage(2)",
    ),
    "minor-faults": Rule(
        INVALID,
        "the measuring loop had page faults, though all was there beforehand",
        "tune: [thp, compaction, ksm, numa-balancing], or switch them off yourself (vm.compact_unevictable_allowed=0, "
        "vm.compaction_proactiveness=0)",
        f"{_ADMIN}/mm/transhuge.rst, {_ADMIN}/mm/ksm.rst, {_ADMIN}/sysctl/vm.rst",
    ),
    # Heat and frequency
    "throttled": Rule(
        INVALID,
        "the CPU was slowed down because of heat or power",
        "cool it, or lower its top frequency; a board may need a stronger supply",
        f"{_DOC}/driver-api/thermal/sysfs-api.rst",
    ),
    "frequency-changed": Rule(
        SUSPECT,
        "governor, limits of the frequency or energy preference changed",
        "tune: [governor, services], or stop tuned, thermald and power-profiles-daemon",
        f"{_ADMIN}/pm/cpufreq.rst",
    ),
    "energy-changed": Rule(
        SUSPECT,
        "turbo, boost or SMT were switched",
        "tune: [turbo, services], or stop tuned, thermald and power-profiles-daemon",
        f"{_ADMIN}/pm/intel_pstate.rst",
    ),
    # Neighbours
    "sibling-busy": Rule(
        INVALID,
        "the SMT sibling of the measured CPU was busy for more than 5 % of the run",
        "isolate the whole core, boot with nosmt, or declare it (smt: shared in the inventory)",
        _PARAMETERS,
    ),
    "steal": Rule(
        SUSPECT,
        "the hypervisor took time from the CPU",
        "measure on metal, or pin the virtual CPU on its host",
        f"{_DOC}/filesystems/proc.rst",
    ),
    "quota": Rule(
        SUSPECT,
        "a CPU quota stopped the agent's cgroup",
        "lift the container's CPU limit (cpu.max, --cpus, CPUQuota=)",
        f"{_DOC}/scheduler/sched-bwc.rst",
    ),
    "irq-affinity-changed": Rule(
        SUSPECT,
        "somebody changed the affinity of interrupts",
        "tune: [services], or stop irqbalance",
        f"{_DOC}/core-api/irq/irq-affinity.rst",
    ),
    "swapping": Rule(SUSPECT, "the machine swapped", "swapoff -a, or free memory", f"{_ADMIN}/sysctl/vm.rst"),
    "logged-in": Rule(SUSPECT, "somebody was logged in on a terminal", "log out, or measure at night", "utmp(5)"),
    "meddling-service": Rule(
        SUSPECT,
        "a service ran that undoes settings or works at any time",
        "tune: [services], or stop it",
    ),
    "tracer-active": Rule(
        SUSPECT,
        "somebody else traced: a tracer or trace events were on, or a process had perf events or BPF programs",
        "echo nop > /sys/kernel/tracing/current_tracer; stop perf, bpftrace and what monitors with them",
        f"{_DOC}/trace/ftrace.rst",
    ),
    # The load
    "load-ended": Rule(
        INVALID, "the load ended before the measurement did", "use a load that lasts longer than settle and duration"
    ),
    "load-short": Rule(
        INVALID,
        "the load had less than 90 % of the CPU time that it was due",
        "see that nothing else runs on the housekeeping CPUs",
    ),
    "load-strayed": Rule(
        INVALID,
        "a process of the load could run on other CPUs than the load's",
        "use a load that leaves its affinity alone (no taskset, numactl or pinning of its own)",
        "sched_setaffinity(2)",
    ),
    # The instrument
    "threshold-too-low": Rule(
        SUSPECT,
        "the measuring loop itself takes longer than the threshold",
        "raise the threshold; an emulated counter, or one that traps, is slow",
    ),
    "clock-drift": Rule(
        SUSPECT,
        "the counter changed its rate against CLOCK_MONOTONIC_RAW",
        "is the TSC sound? see dmesg, and whether a hypervisor migrated this machine",
        f"{_DOC}/timers/timekeeping.rst",
    ),
    "clock-varies": Rule(
        SUSPECT,
        "the counter has no invariant rate",
        "fix the frequency: tune: [governor, turbo]; or use a newer CPU",
        f"{_DOC}/timers/timekeeping.rst",
    ),
    "samples-lost": Rule(SUSPECT, "samples were dropped or negative", "is the clock sound? see clocksource and dmesg"),
    "ring-loss": Rule(
        SUSPECT, "more single events than there was room for", "raise the threshold, or the ring, in the bench's params"
    ),
    "counts-not-conserved": Rule(
        SUSPECT, "fewer or more values arrived than the probe says it recorded", "report it: this is a bug of the probe"
    ),
    "events-lost": Rule(
        SUSPECT,
        "attribution lost events or gaps: some causes are missing, and shares are wrong",
        "raise the threshold or, where it held back, kernel.perf_event_max_sample_rate; let the housekeeping CPUs have"
        " time for the reader of events",
    ),
    "events-not-conserved": Rule(
        SUSPECT,
        "attribution had fewer or more events of an interrupt than the kernel counted",
        "where the kernel withheld records, it hides some tasks, and no setting helps; where it withheld none,"
        " report it",
        f"{_DOC}/trace/events.rst",
    ),
    # Knobs
    "knob-changed": Rule(
        SUSPECT,
        "a setting that the run had made was changed meanwhile",
        "tune: [services], or stop what sets it: tuned, irqbalance",
    ),
    "knob-ineffective": Rule(
        SUSPECT,
        "a setting that was asked for, or that the mode relies on, could not be made",
        "see the reason",
        f"{_DOC}/scheduler/sched-rt-group.rst",
    ),
}
