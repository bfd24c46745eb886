# SPDX-License-Identifier: Apache-2.0
"""Did the machine stay what it was, and did the kernel say that something is wrong with it?"""

from __future__ import annotations

from typing import Iterator

from .evidence import Evidence, Finding, shortened

#: Two clocks cannot be read at one instant: less than this between them is no suspend.
SUSPEND_NS = 50 * 10**6
#: Said once a boot: the scheduler stopped a real-time task, of whoever.
_RT_THROTTLING = "RT throttling activated"
#: Of a log full of warnings the first few.
_MOST_LINES = 5

_SAME = (
    ("boot_id", "rebooted", "the machine was rebooted"),
    ("kernel", "kernel-changed", "the kernel changed"),
    ("kernel_version", "kernel-changed", "the kernel's build changed"),
    ("clocksource", "clocksource-changed", "the clocksource changed"),
    ("clocksources", "tsc-state", "the kernel's trust in a clock changed"),
    ("online", "cpus-changed", "a CPU went online or offline"),
    ("isolated", "isolation-changed", "other CPUs are isolated"),
    ("modules_sha256", "modules-changed", "a module was loaded or removed"),
    ("microcode", "microcode-changed", "the microcode was replaced"),
    ("livepatch", "livepatch-changed", "a livepatch was switched"),
    ("sched_ext", "scheduler-changed", "a BPF scheduler was loaded or left"),
    ("tracing", "tracing-changed", "tracing was switched by others"),
    ("frequency", "frequency-changed", "governor or frequency limits changed"),
    ("energy", "energy-changed", "turbo, boost or SMT setting changed"),
    ("tainted", "tainted", "the kernel became tainted"),
)


def unchanged(seen: Evidence) -> Iterator[Finding]:
    """What must not change while a run goes on."""
    for key, rule, what in _SAME:
        if seen.changed(key):
            yield Finding(rule, f"{what}: {shortened(seen.before[key])} -> {shortened(seen.after[key])}")
    asleep = [side["boottime_ns"] - side["monotonic_ns"] for side in (seen.before, seen.after) if "boottime_ns" in side]
    if len(asleep) == 2 and asleep[1] - asleep[0] > SUSPEND_NS:
        yield Finding("suspended", f"the machine slept for {(asleep[1] - asleep[0]) / 1e9:.1f} s")


def settings(seen: Evidence) -> Iterator[Finding]:
    """Also those that nobody asked us to set: a sysctl that came or went reaches isolated CPUs all the same."""
    for name, before, after in seen.entries("settings"):
        if before != after:
            yield Finding("settings-changed", f"{name} was changed: {shortened(before)} -> {shortened(after)}")


def heat(seen: Evidence) -> Iterator[Finding]:
    """Counters of throttling where the CPU has them, and cooling devices that hold a CPU back."""
    for cpu, earlier, counts in seen.entries("throttled"):
        grown = [name for name, count in counts.items() if name in earlier and count > earlier[name]]
        if grown:
            yield Finding("throttled", f"CPU {cpu} was throttled ({', '.join(grown)})")
    for name, before, after in seen.entries("cooling"):
        if before > 0 or after > 0:  # powerclamp says -1 when it is at rest
            yield Finding("throttled", f"{name} held the CPU back: state {before} before, {after} after")


def kernel_log(seen: Evidence) -> Iterator[Finding]:
    matches = (seen.kmsg or {}).get("matches", [])
    ours = [line for line in matches if seen.mode.priority and _RT_THROTTLING in line]
    for line in ours[:1]:
        yield Finding("fifo-throttled", f"the kernel said: {line[:200]}")
    for line in [line for line in matches if line not in ours][:_MOST_LINES]:
        yield Finding("dmesg", f"the kernel said: {line[:200]}")
    if (seen.kmsg or {}).get("lost"):
        yield Finding("dmesg-lost", "the kernel's log was overwritten before it could be read")
