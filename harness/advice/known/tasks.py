# SPDX-License-Identifier: Apache-2.0
"""Tasks that came in the measured one's place: threads of the kernel, daemons, others."""

from __future__ import annotations

from ...agent.knobs import MEDDLERS
from ..table import Known, known

#: As the kernel names tasks: 15 characters of the program's name.
_DAEMONS = tuple(dict.fromkeys(name.partition(".")[0][:15] for name in MEDDLERS))

KNOWN: tuple[Known, ...] = (
    known(
        "task",
        "ksoftirqd",
        "softirqs were too many to be handled at once",
        "irq-affinity network-elsewhere io-elsewhere rcu-nocbs nohz-full",
    ),
    known(
        "task",
        "ktimers ktimersd",
        "timers, run by a thread (PREEMPT_RT)",
        "isolcpus nohz-full timer-migration no-timers",
    ),
    known(
        "task",
        "kworker",
        "a kernel worker; what it did is not known",
        "workqueues stat-interval isolcpus nohz-full fifo",
    ),
    known("task", "rcuc", "callbacks of RCU, run by a thread of this CPU", "rcu-nocbs nohz-full rcu-nocb-cpu"),
    known("task", "rcuog rcuop rcuos rcuo*", "callbacks of RCU that other CPUs are relieved of", "isolcpus pin-away"),
    known("task", "rcu_* rcub rcu_tasks*", "the thread that drives RCU's grace periods", "isolcpus pin-away"),
    known(
        "task",
        "migration",
        "the kernel stops this CPU to move a task or to patch code",
        "no-hotplug no-tracing isolcpus pin-away",
    ),
    known("task", "watchdog*", "the lockup detector's thread", "watchdog nowatchdog"),
    known("task", "cpuhp", "a CPU goes offline or comes online", "no-hotplug"),
    known("task", "idle_inject* kidle_inj*", "the kernel makes the CPU idle, to cool it", "cooling turbo"),
    known("task", "kcompactd*", "memory is compacted", "compaction isolcpus thp"),
    known("task", "khugepaged", "memory is gathered into huge pages", "thp isolcpus"),
    known("task", "ksmd", "same pages are merged", "ksm isolcpus"),
    known("task", "kswapd* oom_reaper kreclaimd*", "memory is short", "isolcpus no-drain"),
    known("task", "numad ksmtuned", "a daemon that moves memory or merges it", "services"),
    known("task", "irq irq-*", "a device's interrupt, handled by a thread", "irq-affinity isolcpus device"),
    known(
        "task",
        "jbd2 kblockd kjournald* xfsaild xfs* btrfs* nvme* dm* md* loop* z_* txg*",
        "threads of block devices and file systems",
        "isolcpus pin-away io-elsewhere",
    ),
    known(
        "task",
        "kauditd khungtaskd kthreadd kdevtmpfs ecryptfs* scsi_eh* hwrng kvm* vhost* card0* psimon",
        "threads of the kernel that may run anywhere",
        "isolcpus pin-away",
    ),
    known(
        "task",
        "systemd* dbus* cron* crond rsyslogd journald sshd* snapd agetty polkitd",
        "daemons of the system",
        "isolcpus pin-away services",
    ),
    Known(
        "task",
        _DAEMONS,
        "a daemon that meddles with settings, or work that a timer starts",
        ("services", "isolcpus", "pin-away"),
    ),
    known("task", "*", "another task, which may run on this CPU", "isolcpus pin-away services fifo"),
    known(
        "switch",
        "preempted",
        "another task came (only perf's software events could be had: which one is not known)",
        "isolcpus pin-away workqueues fifo",
    ),
    known("switch", "slept", "the task itself waited for something", "no-syscalls mlockall"),
    known("switch", "*", "another task came", "isolcpus pin-away"),
)
