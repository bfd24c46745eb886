# SPDX-License-Identifier: Apache-2.0
"""Timers that went off, of high resolution and of the wheel; why the tick stays on; softirqs."""

from __future__ import annotations

from ..table import Known, known

_TICK = "nohz-full isolcpus alone no-cpu-timers no-hz-full low-hz skew-tick"

KNOWN: tuple[Known, ...] = (
    known("hrtimer", "tick_nohz_handler tick_sched_timer", "the timer tick", _TICK),
    known(
        "hrtimer", "watchdog_timer_fn", "the soft-lockup detector looks after this CPU", "watchdog nowatchdog nohz-full"
    ),
    known(
        "hrtimer",
        "hrtimer_wakeup",
        "a task's sleep ended: it had fallen asleep on this CPU",
        "no-timers pin-away isolcpus timer-migration",
    ),
    known("hrtimer", "posix_timer_fn", "a timer of timer_create(2) went off", "no-timers no-signals timer-migration"),
    known(
        "hrtimer", "it_real_fn", "a timer of setitimer(2) or alarm(2) went off", "no-timers no-signals timer-migration"
    ),
    known("hrtimer", "timerfd_*", "a timer of timerfd_create(2) went off", "no-timers pin-away timer-migration"),
    known(
        "hrtimer",
        "perf_mux_hrtimer_handler perf_swevent_hrtimer",
        "perf counts, or takes turns with too many counters",
        "no-perf",
    ),
    known(
        "hrtimer",
        "dl_task_timer inactive_task_timer dl_*",
        "the budget of a deadline task, or of the fair server, is replenished",
        "fair-server no-deadline pin-away",
    ),
    known("hrtimer", "sched_rt_period_timer", "the throttle of real-time tasks", "rt-throttling"),
    known("hrtimer", "sched_cfs_period_timer sched_cfs_slack_timer", "the CPU quota of a cgroup", "no-quota"),
    known("hrtimer", "hrtick", "the scheduler ends a slice by a timer of its own (HRTICK)", "alone pin-away"),
    known(
        "hrtimer",
        "sched_clock_poll",
        "the scheduler's clock is read before its counter wraps",
        "timer-migration irq-affinity",
    ),
    known(
        "hrtimer",
        "sync_timer_callback sync_hw_clock",
        "the hardware clock is set by NTP's time",
        "timer-migration services isolcpus",
    ),
    known("hrtimer", "timerlat_irq osnoise*", "a tracer of latencies is at work", "no-tracing"),
    known(
        "hrtimer",
        "napi_watchdog dev_* *gro*",
        "a network interface is polled by a timer",
        "network-elsewhere irq-affinity",
    ),
    known("hrtimer", "tmigr_* tick_broadcast*", "timers of idle CPUs are expired here", "timer-migration nohz-full"),
    known("hrtimer", "kvm_* apic_timer_fn", "a virtual machine's timer: one runs on this machine", "pin-away isolcpus"),
    known(
        "hrtimer",
        "*",
        "a high-resolution timer that was armed on this CPU",
        "timer-migration isolcpus no-timers look-up",
    ),
    known("timer", "clocksource_watchdog", "the TSC is checked against another clock, CPU by CPU", "tsc-reliable"),
    known("timer", "tsc_sync_check_timer_fn", "the TSC's offset is checked", "tsc-reliable"),
    known("timer", "mce_timer_fn", "corrected hardware errors are polled for", "mce-ignore-ce"),
    known(
        "timer",
        "delayed_work_timer_fn",
        "the time of delayed kernel work came: it is queued on this CPU",
        "workqueues stat-interval isolcpus nohz-full",
    ),
    known(
        "timer",
        "process_timeout",
        "a task's time-out ended: it had begun to wait on this CPU",
        "no-timers pin-away isolcpus",
    ),
    known(
        "timer",
        "tcp_* neigh_* dev_watchdog inet* fq_* ip_* nf_* br_*",
        "a timer of the network stack",
        "network-elsewhere isolcpus offline-online",
    ),
    known(
        "timer",
        "blk_* commit_timeout laptop_mode* jbd2*",
        "a timer of block devices or of a file system",
        "io-elsewhere isolcpus offline-online",
    ),
    known(
        "timer", "mix_interrupt_randomness", "randomness is gathered, where interrupts came", "irq-affinity isolcpus"
    ),
    known("timer", "rcu_* srcu_*", "a timer of RCU", "rcu-nocbs nohz-full"),
    known("timer", "intel_* amd_* gov_* thermal*", "a timer of power management", "governor cooling"),
    known(
        "timer",
        "*",
        "a kernel timer that was armed on this CPU",
        "isolcpus nohz-full timer-migration offline-online look-up",
    ),
    known("tick", "POSIX_TIMER", "the tick stays on: a timer on CPU time is armed", "no-cpu-timers"),
    known("tick", "PERF_EVENTS", "the tick stays on: perf counts here by turns or by frequency", "no-perf"),
    known(
        "tick",
        "SCHED",
        "the tick stays on: more than one task wants to run here",
        "alone pin-away isolcpus rt-throttling",
    ),
    known("tick", "CLOCK_UNSTABLE", "the tick stays on: the scheduler's clock cannot be trusted", "tsc-reliable"),
    known("tick", "RCU RCU_EXP", "the tick stays on: RCU waits for this CPU", "rcu-nocbs rcu-normal no-syscalls"),
    known("tick", "stopped", "the tick was stopped: as it should be", "no-syscalls"),
    known("tick", "*", "the tick stays on, for a reason without a name", "nohz-full look-up"),
    known(
        "softirq", "TIMER HRTIMER", "timers of this CPU are run", "isolcpus nohz-full timer-migration offline-online"
    ),
    known("softirq", "NET_TX NET_RX", "packets are handled here", "irq-affinity network-elsewhere preempt-rt"),
    known(
        "softirq", "BLOCK IRQ_POLL", "ends of block requests are handled here", "irq-affinity managed-irq io-elsewhere"
    ),
    known("softirq", "HI TASKLET", "a driver's tasklet", "irq-affinity io-elsewhere preempt-rt"),
    known("softirq", "SCHED", "the scheduler balances", "isolcpus nohz-full alone"),
    known("softirq", "RCU", "callbacks of RCU", "rcu-nocbs nohz-full no-syscalls"),
    known("softirq", "*", "work put off by an interrupt", "irq-affinity isolcpus look-up"),
)
