/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where and how the measuring task runs, what ends it, and what came of what was
 * asked: everything set here is read back by placement_read().
 *
 * Raw system calls where the C library is no help: musl answers ENOSYS to
 * sched_setscheduler() and knows no CPU beyond 1023.
 */
#ifndef ISOLBENCH_PLACEMENT_H
#define ISOLBENCH_PLACEMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/clock.h"

#define PLACEMENT_CPUS_MAX 8192
#define PLACEMENT_INHERIT (-1)
#define PLACEMENT_DEADLINE 6	/* SCHED_DEADLINE, which is not in every C library's headers */

struct sched_request {
	int policy;		/* SCHED_FIFO and so on, or PLACEMENT_INHERIT: leave it alone */
	int priority;
	uint64_t runtime_ns, period_ns;	/* of SCHED_DEADLINE; its deadline is the period's end */
};

/* What the kernel says about this task now. */
struct placement {
	char affinity[1024];	/* a CPU list: "1", "0-3,6" */
	const char *policy;	/* "other", "fifo", ... */
	int priority;
	uint64_t runtime_ns, period_ns;	/* of SCHED_DEADLINE, else 0 */
	char cgroup[256];	/* as /proc/self/cgroup has it; "" unless it was asked for */
	int cpu;
};

/*
 * SIGKILL when the parent dies; to the kernel that is the *thread* that started this
 * program, so whoever starts probes does it from a thread that stays. `expected`: the parent's pid where it is known, else 0:
 * then a parent that died before this program's first instruction cannot be noticed.
 */
void placement_die_with_parent(int64_t expected);

/*
 * A last resort, armed before the task moves: SIGALRM by its default action. A timer
 * of CLOCK_MONOTONIC; limits and timers of CPU time keep the tick alive on a nohz_full CPU.
 */
void placement_arm_safety_timer(uint64_t after_ns);

/*
 * Keeps NUMA balancing off this task's memory, which it would unmap now and then to see
 * who uses it, locked or not: each page then costs a fault. A memory policy of one's own
 * exempts from that; one that was inherited (numactl) is left alone. Best effort.
 *
 * With `cpu` (-1: none) memory comes from that CPU's node: it is touched from another CPU,
 * which may be of another node, and would be kept there.
 */
void placement_keep_pages(int cpu);

/* The NUMA node of what was allocated, as the kernel says; -1 where it does not. */
int placement_memory_node(void);

/* mlockall(). Returns 0 or the errno, which is a finding and not an end. */
int placement_lock_memory(void);

/* Touches the stack that the run will use. */
void placement_prefault_stack(void);

/* Zeroed, page-aligned memory, the caller's for the life of the process. */
void *placement_allocate(size_t bytes);

/*
 * The same, in huge pages where the kernel has them to give: which physical pages a buffer
 * has decides how it lies in a cache, and a huge one lies the same way every time. Touched.
 */
void *placement_allocate_huge(size_t bytes);

/* Is all of it in huge pages? By /proc/self/smaps; unknown where that does not say. */
enum tristate placement_is_huge(const void *memory, size_t bytes);

/* Moves to one CPU and verifies it. */
void placement_pin(int cpu);
void placement_set_sched(const struct sched_request *request);
void placement_read(struct placement *placement);

/* Where the task was before it went to measure. */
struct placement_origin {
	unsigned long mask[PLACEMENT_CPUS_MAX / (8 * sizeof(unsigned long))];
	long mask_bytes;
	int policy, priority;
	int cgroup;		/* its cgroup.procs, open, or -1: nothing to go back to */
};

/*
 * Goes to the cgroup in folder `path`, with all threads: to be done before pinning, for its
 * cpuset decides what CPUs there are. placement_return() goes back.
 */
void placement_enter_cgroup(struct placement_origin *origin, const char *path);

void placement_remember(struct placement_origin *origin);

/*
 * An allowed CPU to work from while `cpu` is measured: neither isolated nor a sibling of
 * `cpu` if there is such a one, else any other; -1 if there is none.
 */
int placement_other_cpu(const struct placement_origin *origin, int cpu);

/*
 * The CPU on which the caller runs, without a system call; -1 where that is impossible.
 * To be prepared once by the thread that asks.
 */
void placement_cpu_prepare(void);
int placement_cpu_now(void);

/*
 * Back to the original CPUs, but for the measured one if others are left (-1: none is):
 * preparation and paperwork leave timers and deferred work on the CPU they run on.
 * Best effort, no result depends on it.
 */
void placement_stay_off(const struct placement_origin *origin, int cpu);

/*
 * After the loop: the original policy, off the measured CPU, and memory unlocked, for
 * what is allocated from now on would count against RLIMIT_MEMLOCK. Best effort.
 */
void placement_return(const struct placement_origin *origin, int cpu);

/* Exposed for tests: "0-1,5" for a CPU mask. Returns false if it does not fit. */
bool placement_format_mask(const unsigned long *mask, size_t words, char *text, size_t size);

#endif
