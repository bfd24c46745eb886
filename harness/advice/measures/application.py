# SPDX-License-Identifier: Apache-2.0
"""What only the measured program, or those that run beside it, can do otherwise: mostly nobody sees if they do."""

from __future__ import annotations

from collections.abc import Mapping

from .base import Holds, Measure, unknown


def _application(text: str, doc: str, holds: Holds = unknown) -> Measure:
    return Measure("application", text, doc, holds)


MEASURES: Mapping[str, Measure] = {
    "no-membarrier": _application(
        "no membarrier(2) in other threads of the process (liburcu, garbage collectors and JITs make it): "
        "MEMBARRIER_CMD_GLOBAL waits instead of interrupting",
        "membarrier(2)",
    ),
    "no-unmap": _application(
        "no munmap, mprotect, madvise or mremap in other threads of the process meanwhile: take memory once, "
        "from pools, and tell malloc to keep it (M_TRIM_THRESHOLD, M_MMAP_THRESHOLD)",
        "mallopt(3)",
    ),
    "own-process": _application(
        "a process of its own for the measured task: threads that share its memory interrupt it to change mappings",
        "core-api/cachetlb.rst",
    ),
    "mlockall": _application(
        "mlockall(MCL_CURRENT | MCL_FUTURE), with all memory touched before: no faults later",
        "mlock(2)",
    ),
    "populate": _application(
        "map with MAP_POPULATE (or madvise MADV_POPULATE_WRITE), and touch the stack, before the time matters",
        "mmap(2)",
    ),
    "no-fork": _application(
        "no fork(2) beside it in the same process: each page written next is copied in a fault (use posix_spawn)",
        "fork(2)",
    ),
    "no-syscalls": _application(
        "no system calls in the loop that matters: clock_gettime by the vDSO, input and output by shared memory with a "
        "thread elsewhere",
        "vdso(7)",
    ),
    "no-cpu-timers": _application(
        "no timers on CPU time (timer_create with CLOCK_*_CPUTIME_ID, setitimer ITIMER_VIRTUAL or ITIMER_PROF, "
        "RLIMIT_CPU): each keeps the tick on",
        "timer_create(2)",
    ),
    "no-timers": _application(
        "arm timers and sleep in threads that are pinned elsewhere: a timer expires on the CPU where it was armed",
        "timer_create(2)",
    ),
    "no-signals": _application(
        "no signals to the measured thread: block them there, and take them elsewhere", "signal(7)"
    ),
    "pin-away": _application(
        "keep other tasks off the CPU: taskset, systemd's CPUAffinity= or AllowedCPUs=, or a cpuset",
        "sched_setaffinity(2)",
    ),
    "alone": _application(
        "one runnable task on the CPU, no more: a second one brings back the tick and is waited for",
        "timers/no_hz.rst",
    ),
    "io-elsewhere": _application(
        "start input and output on other CPUs: the end of a request comes back to the CPU that began it",
        "block/blk-mq.rst",
    ),
    "network-elsewhere": _application(
        "send and receive on other CPUs, and set rps_cpus and xps_cpus of the interfaces without this one",
        "networking/scaling.rst",
    ),
    "no-tracing": _application(
        "start and stop nothing that patches code meanwhile: perf, ftrace, kprobes, BPF programs, modules, livepatches",
        "staging/static-keys.rst",
    ),
    "no-perf": _application(
        "no perf, turbostat or other reader of counters that looks at each CPU by turns",
        "admin-guide/perf-security.rst",
    ),
    "no-cpuinfo": _application(
        "nobody reads /proc/cpuinfo, scaling_cur_freq or MSRs meanwhile (monitoring agents do): each read asks the CPU",
        "admin-guide/pm/cpufreq.rst",
    ),
    "no-clock-steps": _application(
        "set no clock while it is measured: steps of NTP or date(1) interrupt each CPU; slewing does not",
        "timers/hrtimers.rst",
    ),
    "no-block-devices": _application(
        "open, close, mount and unmount nothing meanwhile: buffers of each CPU are dropped for it",
        "core-api/cachetlb.rst",
    ),
    "no-drain": _application(
        "no mlock, memory hotplug, compaction by hand, drop_caches or CMA meanwhile: each has all CPUs "
        "give back what they cache",
        "admin-guide/sysctl/vm.rst",
    ),
    "no-hotplug": _application(
        "take no CPU offline or online, load no microcode and no module meanwhile: all CPUs are stopped for it",
        "core-api/cpu_hotplug.rst",
    ),
    "fifo": _application(
        "run it with SCHED_FIFO 1 (mode fifo): ordinary tasks wait; with more, threads of the kernel starve "
        "and keep the tick on",
        "sched(7)",
        lambda state: state.ahead or None,
    ),
    "no-deadline": _application(
        "for a loop that never sleeps SCHED_FIFO, not SCHED_DEADLINE: its budget runs out by design",
        "scheduler/sched-deadline.rst",
    ),
    "no-quota": _application(
        "no CPU quota on its cgroup (cpu.max of it and of those above reads max)", "scheduler/sched-bwc.rst"
    ),
    "offline-online": _application(
        "take the CPU offline and online once before: timers that were armed there move away",
        "admin-guide/kernel-per-CPU-kthreads.rst",
    ),
    "look-up": _application(
        "look the function up in the kernel's source, or see who leads to it: trace-cmd record -T -e on that CPU",
        "trace/events.rst",
    ),
    "more-events": _application(
        "trace the CPU with more events (irq_vectors, timer, workqueue, sched) to see what is between",
        "admin-guide/cpu-isolation.rst",
    ),
}
