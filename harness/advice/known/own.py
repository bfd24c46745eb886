# SPDX-License-Identifier: Apache-2.0
"""What the measured task did itself, and what nobody says anything of."""

from __future__ import annotations

from ..table import Known, known

KNOWN: tuple[Known, ...] = (
    known("syscall", "membarrier", "the task's own membarrier(2)", "no-membarrier no-syscalls"),
    known(
        "syscall",
        "munmap mprotect madvise mremap brk",
        "the task itself changed its mappings",
        "no-unmap populate no-syscalls",
    ),
    known("syscall", "mmap mlock mlock2 mlockall", "the task itself took memory", "populate mlockall"),
    known(
        "syscall",
        "clock_gettime gettimeofday time clock_nanosleep_time64",
        "the time was asked for by a system call: the vDSO could not answer",
        "tsc-reliable no-syscalls",
    ),
    known(
        "syscall",
        "nanosleep clock_nanosleep futex* poll ppoll select pselect6 epoll_* pause sched_yield",
        "the task itself waited",
        "no-syscalls fifo",
    ),
    known("syscall", "rt_sigreturn restart_syscall", "a signal came and was handled", "no-signals no-timers"),
    known("syscall", "*", "a system call of the task's own", "no-syscalls mitigations-off"),
    known(
        "signal",
        "SIGALRM SIGVTALRM SIGPROF SIGXCPU RT*",
        "a signal came, as timers send it",
        "no-timers no-cpu-timers no-signals",
    ),
    known(
        "signal",
        "SIGSEGV SIGBUS SIGILL SIGFPE SIGTRAP SIGSYS",
        "the task ran into what it may not do, and was told by a signal",
        "look-up no-syscalls",
    ),
    known(
        "idle",
        "*",
        "nobody: the CPU took so long to leave its idle state, or the host to give it back",
        "cpu-dma-latency pin-vcpu turbo governor",
    ),
    known("other", "*", "more different causes than were told apart", "more-events"),
    known("signal", "*", "a signal came for the measured task", "no-signals no-timers"),
    known(
        "fault", "user", "a page fault of the task's own", "mlockall populate no-fork numa-balancing ksm thp compaction"
    ),
    known("fault", "kernel", "a page fault in a system call of the task's own", "mlockall populate no-syscalls"),
    known("fault", "*", "a page fault", "mlockall populate"),
    known(
        "unexplained",
        "*",
        "no event lies in it: a virtual machine's host, the firmware, or what the kernel does not tell",
        "pin-vcpu firmware secure-world hwlat osnoise nosmt cpu-dma-latency turbo metal",
    ),
)
