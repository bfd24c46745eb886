/* SPDX-License-Identifier: Apache-2.0 */
#include "core/placement.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "core/fault.h"
#include "core/sysfs.h"

#define BITS (8 * sizeof(unsigned long))
#define MASK_WORDS (PLACEMENT_CPUS_MAX / BITS)
#define STACK_BYTES (128 * 1024)
#define HUGE_BYTES ((size_t)2 << 20)

/* Not in every C library's headers. */
#define POLICY_EXT 7
#define POLICY_RESET_ON_FORK 0x40000000
#define MEMORY_DEFAULT 0
#define MEMORY_PREFERRED 1
#define MEMORY_LOCAL 4
#define MEMORY_ASK_NODE (1 << 0)
#define MEMORY_ASK_ADDRESS (1 << 1)

/* What the probe allocated first stands for all of it. */
static void *allocated;

/* The first of its versions, which every kernel takes. */
struct scheduling {
	uint32_t size, policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime, deadline, period;
};

void placement_die_with_parent(int64_t expected)
{
	const pid_t parent = getppid();

	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		fault_environment(errno, "the kernel must allow prctl(PR_SET_PDEATHSIG)",
				  "cannot bind this program's life to its parent's");
	/* Before the prctl nobody would have told us. */
	if (getppid() != parent || (expected && parent != expected))
		fault_environment(0, "nobody is left to read a result", "the parent is gone");
}

void placement_arm_safety_timer(uint64_t after_ns)
{
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGALRM };
	const struct itimerspec when = {
		.it_value = { .tv_sec = (time_t)(after_ns / 1000000000),
			      .tv_nsec = (long)(after_ns % 1000000000) },
	};
	sigset_t alarm_only;
	timer_t timer;

	/* A parent may have left it ignored or blocked. */
	sigemptyset(&alarm_only);
	sigaddset(&alarm_only, SIGALRM);
	if (signal(SIGALRM, SIG_DFL) == SIG_ERR ||
	    sigprocmask(SIG_UNBLOCK, &alarm_only, NULL) < 0 ||
	    timer_create(CLOCK_MONOTONIC, &event, &timer) < 0 ||
	    timer_settime(timer, 0, &when, NULL) < 0)
		fault_environment(errno, "raise RLIMIT_SIGPENDING if it is exhausted",
				  "cannot arm the safety timer");
}

void placement_keep_pages(int cpu)
{
	const int node = cpu < 0 ? -1 : sysfs_node(cpu);
	unsigned long nodes[SYSFS_NODES_MAX / BITS] = { 0 };
	int mode = -1;

	if (syscall(SYS_get_mempolicy, &mode, NULL, 0UL, NULL, 0UL) || mode != MEMORY_DEFAULT)
		return;
	if (node >= 0)
		nodes[(size_t)node / BITS] = 1UL << ((size_t)node % BITS);
	/* The kernel takes one bit less than it is told. */
	if (node < 0 ||
	    syscall(SYS_set_mempolicy, MEMORY_PREFERRED, nodes, SYSFS_NODES_MAX + 1UL) < 0)
		(void)syscall(SYS_set_mempolicy, MEMORY_LOCAL, NULL, 0UL);
}

int placement_memory_node(void)
{
	int node = -1;

	if (!allocated || syscall(SYS_get_mempolicy, &node, NULL, 0UL, allocated,
				  (unsigned long)(MEMORY_ASK_NODE | MEMORY_ASK_ADDRESS)))
		return -1;
	return node;
}

int placement_lock_memory(void)
{
	return mlockall(MCL_CURRENT | MCL_FUTURE) < 0 ? errno : 0;
}

__attribute__((noinline)) void placement_prefault_stack(void)
{
	volatile unsigned char stack[STACK_BYTES];

	for (size_t i = 0; i < sizeof(stack); i += 1024)
		stack[i] = 0;
}

void *placement_allocate(size_t bytes)
{
	void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (memory == MAP_FAILED)
		fault_environment(errno, "free memory, raise RLIMIT_AS, or ask for a smaller ring",
				  "cannot allocate %zu bytes", bytes);
	if (!allocated)
		allocated = memory;
	return memory;
}

void *placement_allocate_huge(size_t bytes)
{
	const size_t whole = (bytes + HUGE_BYTES - 1) & ~(HUGE_BYTES - 1);
	unsigned char *memory = mmap(NULL, whole + HUGE_BYTES, PROT_READ | PROT_WRITE,
				     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	size_t before;

	if (memory == MAP_FAILED)
		fault_environment(errno, "free memory, raise RLIMIT_AS, or ask for less",
				  "cannot allocate %zu bytes", bytes);
	/* What sticks out would be locked as well. */
	before = (HUGE_BYTES - ((uintptr_t)memory & (HUGE_BYTES - 1))) & (HUGE_BYTES - 1);
	if (before)
		munmap(memory, before);
	munmap(memory + before + whole, HUGE_BYTES - before);
	(void)madvise(memory + before, whole, MADV_HUGEPAGE);
	memset(memory + before, 0, whole);
	return memory + before;
}

enum tristate placement_is_huge(const void *memory, size_t bytes)
{
	FILE *smaps = fopen("/proc/self/smaps", "re");
	const unsigned long at = (unsigned long)memory;
	enum tristate huge = STATE_UNKNOWN;
	bool within = false;
	char line[512];

	while (smaps && fgets(line, sizeof(line), smaps)) {
		unsigned long first, last, kb;

		if (sscanf(line, "%lx-%lx ", &first, &last) == 2)
			within = first <= at && at < last;
		else if (within && sscanf(line, "AnonHugePages: %lu kB", &kb) == 1)
			huge = kb * 1024 >= bytes ? STATE_YES : STATE_NO;
	}
	if (smaps)
		fclose(smaps);
	return huge;
}

/* ---- CPU lists ---- */

static bool in_mask(const unsigned long *mask, size_t words, size_t cpu)
{
	return cpu < words * BITS && (mask[cpu / BITS] >> (cpu % BITS) & 1);
}

bool placement_format_mask(const unsigned long *mask, size_t words, char *text, size_t size)
{
	size_t used = 0;

	text[0] = '\0';
	for (size_t cpu = 0; cpu < words * BITS; cpu++) {
		size_t last = cpu;
		int n;

		if (!in_mask(mask, words, cpu))
			continue;
		while (in_mask(mask, words, last + 1))
			last++;
		n = snprintf(text + used, size - used, last > cpu ? "%s%zu-%zu" : "%s%zu",
			     used ? "," : "", cpu, last);
		if (n < 0 || (size_t)n >= size - used)
			return false;
		used += (size_t)n;
		cpu = last;
	}
	return true;
}

static void read_affinity(char *text, size_t size)
{
	unsigned long mask[MASK_WORDS] = { 0 };

	if (syscall(SYS_sched_getaffinity, 0, sizeof(mask), mask) < 0)
		fault_environment(errno, "a sandbox may forbid it", "cannot read the CPU affinity");
	if (!placement_format_mask(mask, MASK_WORDS, text, size))
		fault_internal("a CPU list of more than %zu characters", size);
}

/* ---- placing ---- */

void placement_pin(int cpu)
{
	unsigned long mask[MASK_WORDS] = { 0 };
	unsigned int now = 0;

	if (cpu < 0 || cpu >= PLACEMENT_CPUS_MAX)
		fault_internal("CPU %d is out of range", cpu);
	mask[(size_t)cpu / BITS] = 1UL << ((size_t)cpu % BITS);
	if (syscall(SYS_sched_setaffinity, 0, sizeof(mask), mask) < 0)
		fault_environment(errno, errno == EINVAL ?
				  "the CPU must exist, be online, and be in this task's cpuset" :
				  "a sandbox or container may forbid it",
				  "cannot move to CPU %d", cpu);
	if (syscall(SYS_getcpu, &now, NULL, NULL) < 0 || (int)now != cpu)
		fault_environment(0, "the cpuset may have changed meanwhile",
				  "asked for CPU %d, but running on CPU %u", cpu, now);
}

static const char *policy_name(long policy)
{
	switch (policy & ~(long)POLICY_RESET_ON_FORK) {
	case SCHED_OTHER: return "other";
	case SCHED_FIFO: return "fifo";
	case SCHED_RR: return "rr";
	case SCHED_BATCH: return "batch";
	case SCHED_IDLE: return "idle";
	case PLACEMENT_DEADLINE: return "deadline";
	case POLICY_EXT: return "ext";
	default: return "unknown";
	}
}

/* Why not: the kernel has four errnos for it, and none of them is plain. */
static const char *deadline_advice(int error)
{
	switch (error) {
	case EPERM:
		return "root or CAP_SYS_NICE is needed, and a root domain that is this task's CPUs and no"
		       " others: a cpuset partition of its own, or sched_rt_runtime_us=-1";
	case EBUSY:
		return "the root domain's bandwidth is given away: ask for less, end other tasks of"
		       " SCHED_DEADLINE, or raise sched_rt_runtime_us";
	case EINVAL:
		return "the kernel takes runtimes from 1024 ns, and periods from sched_deadline_period_min_us"
		       " to sched_deadline_period_max_us";
	default:
		return "a sandbox or container may forbid it";
	}
}

static void set_deadline(const struct sched_request *request)
{
	const struct scheduling wanted = {
		.size = sizeof(wanted), .policy = PLACEMENT_DEADLINE,
		.runtime = request->runtime_ns,
		.deadline = request->period_ns, .period = request->period_ns,
	};

	const struct timespec pause = { .tv_sec = (time_t)(request->period_ns / 4 / 1000000000),
					.tv_nsec = (long)(request->period_ns / 4 % 1000000000) };

	/* What a task had that has just ended is given back at the end of its period, not before. */
	for (int tries = 0; syscall(SYS_sched_setattr, 0, &wanted, 0U) < 0; tries++) {
		if (errno != EBUSY || tries == 8)
			fault_environment(errno, deadline_advice(errno),
					  "cannot set SCHED_DEADLINE, %llu of each %llu ns",
					  (unsigned long long)request->runtime_ns,
					  (unsigned long long)request->period_ns);
		(void)nanosleep(&pause, NULL);
	}
}

void placement_set_sched(const struct sched_request *request)
{
	const struct sched_param param = { .sched_priority = request->priority };

	if (request->policy == PLACEMENT_INHERIT)
		return;
	if (request->policy == PLACEMENT_DEADLINE) {
		set_deadline(request);
		return;
	}
	if (syscall(SYS_sched_setscheduler, 0, request->policy, &param) < 0) {
		if (request->priority)
			fault_environment(errno,
					  "run as root, or give CAP_SYS_NICE, or raise RLIMIT_RTPRIO"
					  " (with cgroup v1 also cpu.rt_runtime_us)",
					  "cannot set SCHED_%s priority %d",
					  request->policy == SCHED_FIFO ? "FIFO" : "RR",
					  request->priority);
		fault_environment(errno, "run as root, or give CAP_SYS_NICE",
				  "cannot set the policy \"%s\"", policy_name(request->policy));
	}
}

static void read_reservation(struct placement *placement)
{
	struct scheduling now = { .size = sizeof(now) };

	placement->runtime_ns = placement->period_ns = 0;
	if (strcmp(placement->policy, "deadline"))
		return;
	if (syscall(SYS_sched_getattr, 0, &now, (unsigned int)sizeof(now), 0U) < 0)
		fault_environment(errno, "a sandbox may forbid it", "cannot read what SCHED_DEADLINE grants");
	placement->runtime_ns = now.runtime;
	placement->period_ns = now.period;
}

/* The line of version 2: "0::/path". */
static void read_cgroup(char *path, size_t size)
{
	FILE *groups = fopen("/proc/self/cgroup", "re");
	char line[512];

	path[0] = '\0';
	while (groups && fgets(line, sizeof(line), groups)) {
		line[strcspn(line, "\n")] = '\0';
		if (!strncmp(line, "0::/", 4) && strlen(line + 3) < size)
			memcpy(path, line + 3, strlen(line + 3) + 1);
	}
	if (groups)
		fclose(groups);
}

static bool in_cgroup;

static int open_members(const char *folder)
{
	char path[sizeof(((struct placement *)0)->cgroup) + 64];

	if ((size_t)snprintf(path, sizeof(path), "%s/cgroup.procs", folder) >= sizeof(path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	return open(path, O_WRONLY | O_CLOEXEC);
}

void placement_enter_cgroup(struct placement_origin *origin, const char *path)
{
	char here[sizeof(((struct placement *)0)->cgroup)], home[sizeof(here) + 16];
	const int there = open_members(path);

	read_cgroup(here, sizeof(here));
	snprintf(home, sizeof(home), "/sys/fs/cgroup%s", here);
	origin->cgroup = here[0] ? open_members(home) : -1;
	if (there < 0 || write(there, "0", 1) != 1)
		fault_environment(errno, "root is needed, and a cgroup of version 2 that is there",
				  "cannot go to the cgroup %s", path);
	close(there);
	in_cgroup = true;
}

void placement_read(struct placement *placement)
{
	struct sched_param param = { 0 };
	unsigned int cpu = 0;
	long policy;

	read_affinity(placement->affinity, sizeof(placement->affinity));
	policy = syscall(SYS_sched_getscheduler, 0);
	if (policy < 0 || syscall(SYS_sched_getparam, 0, &param) < 0 ||
	    syscall(SYS_getcpu, &cpu, NULL, NULL) < 0)
		fault_environment(errno, "a sandbox may forbid it", "cannot read the scheduling policy");
	placement->policy = policy_name(policy);
	placement->priority = param.sched_priority;
	placement->cpu = (int)cpu;
	read_reservation(placement);
	/* Not without need: a file that is opened here leaves work behind on the measured CPU. */
	placement->cgroup[0] = '\0';
	if (in_cgroup)
		read_cgroup(placement->cgroup, sizeof(placement->cgroup));
}

void placement_remember(struct placement_origin *origin)
{
	struct sched_param param = { 0 };

	memset(origin->mask, 0, sizeof(origin->mask));
	origin->mask_bytes = syscall(SYS_sched_getaffinity, 0, sizeof(origin->mask), origin->mask);
	origin->policy = (int)syscall(SYS_sched_getscheduler, 0);
	(void)syscall(SYS_sched_getparam, 0, &param);
	origin->priority = param.sched_priority;
	origin->cgroup = -1;
}

int placement_other_cpu(const struct placement_origin *origin, int cpu)
{
	char isolated[1024], siblings[256];
	int any = -1;

	(void)sysfs_line(isolated, sizeof(isolated), "/sys/devices/system/cpu/isolated");
	(void)sysfs_line(siblings, sizeof(siblings),
			 "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu);
	for (int other = 0; other < PLACEMENT_CPUS_MAX; other++) {
		if (other == cpu || !in_mask(origin->mask, MASK_WORDS, (size_t)other))
			continue;
		if (!sysfs_list_has(isolated, other) && !sysfs_list_has(siblings, other))
			return other;
		if (any < 0)
			any = other;
	}
	return any;
}

/* ---- where am I? ---- */

#if defined(__x86_64__)

/* The vDSO reads a segment's limit. */
void placement_cpu_prepare(void)
{
}

int placement_cpu_now(void)
{
	return sched_getcpu();
}

#else

/* Linux' struct rseq, as far as every kernel has it. */
static struct {
	uint32_t cpu_id_start;
	volatile uint32_t cpu_id;
	uint64_t rseq_cs;
	uint32_t flags, padding[3];
} __attribute__((aligned(32))) area = { .cpu_id = UINT32_MAX };

#define RSEQ_SIGNATURE 0xd428bc00
#ifndef SYS_rseq
#define SYS_rseq 293
#endif

static enum { CPU_BY_NOTHING, CPU_BY_RSEQ, CPU_BY_LIBRARY } cpu_source;

/* There is no vDSO for it; a static musl registers no rseq area, glibc does and reads it. */
void placement_cpu_prepare(void)
{
	if (!syscall(SYS_rseq, &area, sizeof(area), 0, RSEQ_SIGNATURE))
		cpu_source = CPU_BY_RSEQ;
	else
		cpu_source = errno == ENOSYS ? CPU_BY_NOTHING : CPU_BY_LIBRARY;
}

int placement_cpu_now(void)
{
	switch (cpu_source) {
	case CPU_BY_RSEQ: return (int)area.cpu_id;
	case CPU_BY_LIBRARY: return sched_getcpu();
	case CPU_BY_NOTHING: break;
	}
	return -1;
}

#endif

void placement_stay_off(const struct placement_origin *origin, int cpu)
{
	unsigned long mask[MASK_WORDS];
	unsigned long any = 0;

	if (origin->mask_bytes <= 0)
		return;
	memcpy(mask, origin->mask, sizeof(mask));
	if (cpu >= 0)
		mask[(size_t)cpu / BITS] &= ~(1UL << ((size_t)cpu % BITS));
	for (size_t word = 0; word < MASK_WORDS; word++)
		any |= mask[word];
	(void)syscall(SYS_sched_setaffinity, 0, (size_t)origin->mask_bytes,
		      any ? mask : origin->mask);
}

/*
 * The kernel gives a reservation back at the end of its period, and to the root domain
 * where the task is then: one that has moved away meanwhile leaves its share taken for good.
 */
static void await_end_of_reservation(uint64_t period_ns)
{
	const uint64_t enough_ns = period_ns + 1000000;
	const struct timespec pause = { .tv_sec = (time_t)(enough_ns / 1000000000),
					.tv_nsec = (long)(enough_ns % 1000000000) };

	if (period_ns)
		(void)nanosleep(&pause, NULL);
}

void placement_return(const struct placement_origin *origin, int cpu)
{
	const struct sched_param param = { .sched_priority = origin->priority };
	struct placement now;

	(void)munlockall();
	placement_read(&now);
	if (origin->policy >= 0)
		(void)syscall(SYS_sched_setscheduler, 0, origin->policy, &param);
	await_end_of_reservation(now.period_ns);
	if (origin->cgroup >= 0 && write(origin->cgroup, "0", 1) == 1)
		close(origin->cgroup);
	placement_stay_off(origin, cpu);
}
