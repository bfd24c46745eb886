# SPDX-License-Identifier: Apache-2.0
"""What kernel workers came for, by the function that they ran."""

from __future__ import annotations

from ..table import Known, known

_BOUND = "isolcpus nohz-full fifo"

KNOWN: tuple[Known, ...] = (
    known(
        "work",
        "vmstat_update vmstat_shepherd refresh_vm_stats",
        "memory counters of this CPU are gathered",
        f"stat-interval nohz-full {_BOUND.replace(' nohz-full', '')}",
    ),
    known(
        "work",
        "lru_add_drain_per_cpu drain_local_pages* drain_local_* *drain_local*",
        "memory that this CPU caches has to be given back",
        "no-drain compaction",
    ),
    known(
        "work", "flush_backlog", "packets of an interface that goes away are dropped, on each CPU", "network-elsewhere"
    ),
    known(
        "work",
        "cache_reap *slab* *kmem_cache* flush_cpu_*",
        "caches of the kernel's memory are shrunk, CPU by CPU",
        "isolcpus no-drain",
    ),
    known(
        "work", "wb_* writeback_* *wb_work* bdi_*", "dirty pages are written back", "workqueues isolcpus io-elsewhere"
    ),
    known(
        "work",
        "blk_* scsi_* nvme_* dm_* md_* loop_* disk_events_workfn",
        "work of block devices",
        "workqueues isolcpus io-elsewhere",
    ),
    known(
        "work",
        "xfs_* ext4_* btrfs_* nfs* rpc_* cifs_* jbd2_* xlog_*",
        "work of a file system",
        "workqueues isolcpus io-elsewhere",
    ),
    known("work", "dbs_work_handler od_* cs_* cpufreq_* *_pstate*", "the governor chooses a frequency", "governor"),
    known("work", "thermal_* *throttle* *thermal* intel_powerclamp*", "heat is looked after", "cooling governor turbo"),
    known(
        "work", "mce_* *cmci* ghes_* edac_*", "the hardware's errors are looked after", "mce-ignore-ce hardware-errors"
    ),
    known("work", "psi_* *psi*", "pressure stall figures are averaged (psi=0 at boot ends it)", "workqueues isolcpus"),
    known("work", "toggle_allocation_gate kfence_*", "KFENCE takes its next sample", "kfence-static-keys workqueues"),
    known(
        "work",
        "clocksource_watchdog* tsc_* *refine_calibration*",
        "the TSC is checked against another clock",
        "tsc-reliable",
    ),
    known("work", "*rcu*", "RCU: grace periods, or what waits for their end", "rcu-nocbs rcu-normal workqueues"),
    known(
        "work",
        "*memcg* *vmpressure* *reclaim* *compact* *shrink*",
        "memory is short, or a cgroup's is",
        "compaction no-drain",
    ),
    known(
        "work",
        "neigh_* *netdev* linkwatch_* *net_* tcp_* addrconf_* wg_* *xfrm*",
        "work of the network stack",
        "network-elsewhere workqueues isolcpus",
    ),
    known(
        "work",
        "flush_to_ldisc console_* fb_* *_output_poll* drm_* cursor_* *vt_*",
        "work of consoles and displays",
        "workqueues isolcpus io-elsewhere",
    ),
    known(
        "work",
        "mix_interrupt_randomness *random* crng_*",
        "randomness is gathered, where interrupts came",
        "irq-affinity",
    ),
    known(
        "work",
        "jump_label_* *static_key* bpf_* *text_poke* do_free_init *module*",
        "the kernel's code is patched or freed",
        "no-tracing no-hotplug",
    ),
    known(
        "work",
        "sched_tick_remote",
        "the tick of nohz_full CPUs, done elsewhere for them, runs here",
        "workqueues isolcpus nohz-full",
    ),
    known(
        "work",
        "free_work delayed_vfree_work pcpu_balance_workfn purge_* *vmap*",
        "the kernel gives back memory of its own",
        "workqueues isolcpus",
    ),
    known(
        "work",
        "kernfs_* css_* cgroup_* key_garbage_collector delayed_fput* delayed_mntput* *fsnotify* rht_*",
        "housekeeping of the kernel that may be done anywhere",
        "workqueues isolcpus",
    ),
    known("work", "*", "work that was queued for a kernel worker here", "workqueues isolcpus fifo look-up"),
)
