# SPDX-License-Identifier: Apache-2.0
"""Entries of which no more is known than the interrupt: the processor's own, of other CPUs, of devices; NMIs."""

from __future__ import annotations

from ..table import Known, known

_TICK = "nohz-full isolcpus alone no-cpu-timers no-hz-full low-hz skew-tick"
_RESCHEDULE = "isolcpus pin-away alone workqueues"
_CALL = "no-unmap no-membarrier no-tracing no-perf no-cpuinfo rcu-normal own-process"
_WORK = "rcu-nocbs no-perf nohz-full no-cpu-timers"

KNOWN: tuple[Known, ...] = (
    # x86: irq_vectors
    known("vector", "local_timer", "the processor's timer went off: mostly the tick", _TICK + " watchdog"),
    known("vector", "reschedule", "another CPU woke a task here, or asked for a look at who is to run", _RESCHEDULE),
    known("vector", "call_function call_function_single", "another CPU had a function called here", _CALL),
    known("vector", "irq_work", "the kernel put off work on this CPU and interrupted itself for it", _WORK),
    known(
        "vector",
        "thermal_apic",
        "the processor's thermal interrupt: too hot, or power-limited",
        "cooling turbo governor",
    ),
    known(
        "vector",
        "threshold_apic deferred_error_apic error_apic",
        "the processor reports errors of memory or of its own",
        "hardware-errors mce-ignore-ce",
    ),
    known("vector", "spurious_apic", "an interrupt that nobody had asked for", "irq-affinity hardware-errors"),
    known("vector", "x86_platform_ipi", "an interrupt of the platform's own", "firmware look-up"),
    known("vector", "*", "an interrupt of the processor's own", "look-up more-events"),
    # arm64: ipi_entry, by the rows of /proc/interrupts
    known(
        "ipi",
        "|Rescheduling interrupts|",
        "another CPU woke a task here, or asked for a look at who is to run",
        _RESCHEDULE,
    ),
    known("ipi", "|Function call interrupts|", "another CPU had a function called here", _CALL),
    known("ipi", "|CPU stop*|", "another CPU stops this one: the machine goes down", "no-hotplug"),
    known(
        "ipi",
        "|Timer broadcast interrupts|",
        "the tick, broadcast: this CPU's own timer sleeps with it",
        "cpu-dma-latency nohz-full",
    ),
    known("ipi", "|IRQ work interrupts|", "the kernel put off work on this CPU and interrupted itself for it", _WORK),
    known(
        "ipi", "|CPU backtrace*|", "somebody wants to know what this CPU does: a stall, or SysRq", "nowatchdog watchdog"
    ),
    known("ipi", "|CPU wake-up interrupts|", "another CPU woke this one up", "isolcpus pin-away"),
    known("ipi", "|KGDB*|", "the kernel's debugger", "no-tracing"),
    known("ipi", "*", "another CPU interrupted this one", "isolcpus pin-away look-up"),
    # devices; on arm64 the timers are such interrupts as well
    known(
        "irq",
        "arch_timer arch_sys_timer timer* riscv-timer",
        "the processor's timer went off: mostly the tick",
        _TICK,
    ),
    known("irq", "*pmu* perf", "the performance counters' interrupt", "no-perf nmi-watchdog watchdog"),
    known("irq", "hpet* rtc*", "a clock chip's interrupt", "irq-affinity no-timers"),
    known("irq", "acpi", "the firmware reports something: power, lid, heat", "irq-affinity firmware"),
    known(
        "irq",
        "virtio* nvme* mlx* ixgbe* i40e* ice* ena* bnxt* eth* en* wl*",
        "a device's interrupt",
        "irq-affinity managed-irq irqaffinity io-elsewhere network-elsewhere preempt-rt",
    ),
    known("irq", "*", "a device's interrupt", "irq-affinity managed-irq irqaffinity io-elsewhere device preempt-rt"),
    # not maskable
    known(
        "nmi",
        "perf_event_nmi_handler perf_ibs_nmi_handler",
        "a performance counter ran over: perf, or the hard-lockup detector",
        "watchdog nmi-watchdog no-perf",
    ),
    known(
        "nmi",
        "nmi_cpu_backtrace_handler arch_*backtrace*",
        "somebody wants to know what this CPU does: a stall, or SysRq",
        "watchdog nowatchdog",
    ),
    known("nmi", "ghes_notify_nmi mce_*", "the hardware reports errors", "hardware-errors"),
    known("nmi", "*", "an interrupt that cannot be masked", "watchdog nmi-watchdog no-perf firmware"),
)
