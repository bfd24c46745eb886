# SPDX-License-Identifier: Apache-2.0
"""What other CPUs have called here, by interrupts of each other; flushes of the TLB where no more is known."""

from __future__ import annotations

from ..table import Known, known

_FLUSH = "no-unmap own-process thp ksm numa-balancing compaction no-fork"

KNOWN: tuple[Known, ...] = (
    known(
        "call",
        "ipi_mb ipi_sync_core ipi_rseq ipi_sync_rq_state",
        "membarrier(2) of a thread of the same process, or a global one",
        "no-membarrier own-process",
    ),
    known(
        "call",
        "flush_tlb_func* *flush_tlb* do_flush_*",
        "mappings were taken away: the TLB is flushed (a shootdown)",
        _FLUSH,
    ),
    known(
        "call",
        "do_kernel_range_flush *kernel_range*",
        "the kernel gives back mappings of its own (vfree, modules, BPF)",
        "no-tracing no-hotplug",
    ),
    known(
        "call",
        "tlb_remove_table_smp_sync tlb_remove_*",
        "page tables are freed, of huge pages for the most part",
        "thp no-unmap ksm",
    ),
    known(
        "call",
        "do_sync_core *sync_core* *text_poke* *patch_text*",
        "the kernel's code is patched: tracepoints, static keys, BPF",
        "no-tracing kfence-static-keys no-hotplug",
    ),
    known(
        "call",
        "rcu_exp_handler rcu_exp_* rcu_barrier* rcu_* srcu_*",
        "RCU asks this CPU: an expedited grace period, or a barrier",
        "rcu-normal rcu-nocbs no-hotplug",
    ),
    known(
        "call",
        "remote_function event_function* perf_* __perf_* *perf_event*",
        "perf opens, closes or reads a counter here",
        "no-perf no-tracing nmi-watchdog",
    ),
    known(
        "call",
        "*rdmsr* *wrmsr* *msr_*",
        "a model-specific register is read or written from elsewhere",
        "no-cpuinfo no-perf",
    ),
    known(
        "call",
        "aperfmperf* *freq* cpufreq* get_cur* *cppc*",
        "somebody asks for the clock's frequency",
        "no-cpuinfo governor",
    ),
    known("call", "clocksource_verify* *tsc*", "the clocks of the CPUs are compared", "tsc-reliable"),
    known(
        "call",
        "retrigger_next_event clock_was_set* tick_* hrtimers_*",
        "the time of day was set, or a timer's hardware reprogrammed",
        "no-clock-steps",
    ),
    known(
        "call",
        "nohz_full_kick* nohz_csd_func tick_nohz* wake_up_idle* nohz_*",
        "this CPU has to look again whether its tick may stop, or to balance",
        "nohz-full no-cpu-timers isolcpus alone",
    ),
    known(
        "call",
        "sched_ttwu_pending ttwu_* __ttwu_* *reschedule*",
        "another CPU queued a task here to be woken",
        "isolcpus pin-away workqueues",
    ),
    known("call", "invalidate_bh_lru* *bh_lru*", "buffers of a block device are dropped", "no-block-devices"),
    known("call", "drain_* *drain* lru_*", "memory that this CPU caches has to be given back", "no-drain"),
    known(
        "call",
        "mtrr_* *wbinvd* cache_* flush_cache* *resctrl* *rdt* update_cpu_closid_rmid*",
        "caches or what governs them are changed",
        "no-hotplug look-up",
    ),
    known("call", "*mce* mcheck*", "the hardware's errors are looked after", "mce-ignore-ce hardware-errors"),
    known("call", "*microcode* *cpu_stop* stop_* do_nothing", "all CPUs are asked to come by", "no-hotplug no-tracing"),
    known(
        "call",
        "kvm_* *vmx* *svm* ack_kick *kick*",
        "a virtual machine is kicked: one runs on this machine",
        "pin-away isolcpus",
    ),
    known("call", "*", "another CPU had this function called here", "look-up no-tracing no-perf no-cpuinfo"),
    known("tlb", "remote_send_ipi", "the task itself took mappings away, and told other CPUs", "no-unmap mlockall"),
    known("tlb", "local_shootdown local_mm_shootdown", "the task itself took mappings away", "no-unmap mlockall"),
    known("tlb", "task_switch", "another task came, with other mappings", "isolcpus pin-away fifo"),
    known("tlb", "*", "mappings were taken away by another CPU: the TLB is flushed (a shootdown)", _FLUSH),
)
