/* SPDX-License-Identifier: Apache-2.0 */
/* How each kind is made that the task does not make itself, and the task that comes. */
#include <errno.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "core/disturb_own.h"
#include "core/fault.h"
#include "core/sysfs.h"

#define TASK_NAME "disturber"
#define PRIORITY_MAX 99
#define SHOOTDOWN_TRIES 200
#define SHOOTDOWN_PAUSE_NS 1000000
#define RESET_ON_FORK 0x40000000

static pid_t process, measured;		/* the measured thread */
static unsigned char *page;		/* of DISTURB_TLB */
static size_t page_bytes;
static int policy;			/* the measured task's, as the kernel has it */
static struct sched_param priority;
static _Atomic uint32_t wake_word;	/* the futex that the task sleeps on */
static _Atomic bool leave;		/* published by wake_word: it is to end */

static bool is_deadline(void)
{
	return (policy & ~RESET_ON_FORK) == PLACEMENT_DEADLINE;
}

/* ---- the task that comes ---- */

static long futex(int operation, uint32_t value)
{
	return syscall(SYS_futex, &wake_word, operation, value, NULL, NULL, 0);
}

/* It has to win over the measured task, or it comes when that one's slice is over. */
static void task_place(void)
{
	const struct sched_param above = { .sched_priority = priority.sched_priority + 1 };

	placement_pin(disturb_asked.cpu);
	if (is_deadline() || above.sched_priority > PRIORITY_MAX) {
		disturb_cannot(DISTURB_TASK, 0, "no task has precedence over the measured one");
		return;
	}
	if (syscall(SYS_sched_setscheduler, 0, SCHED_FIFO, &above) && priority.sched_priority)
		disturb_cannot(DISTURB_TASK, errno, "no precedence over the measured task");
}

void *disturb_be_task(void *unused)
{
	uint32_t seen = atomic_load(&wake_word);

	(void)unused;
	(void)prctl(PR_SET_NAME, TASK_NAME);
	placement_prefault_stack();
	pthread_barrier_wait(&disturb_barrier);		/* disturb_warm(): in its cgroup by now */
	task_place();
	disturb_report.task_tid = (int32_t)syscall(SYS_gettid);
	placement_read(&disturb_report.task);
	pthread_barrier_wait(&disturb_barrier);
	for (;;) {
		uint64_t now;
		uint32_t word;

		(void)futex(FUTEX_WAIT_PRIVATE, seen);
		now = counter_read_ordered();
		word = atomic_load_explicit(&wake_word, memory_order_acquire);
		if (word == seen)
			continue;	/* a signal, or for no reason */
		if (atomic_load_explicit(&leave, memory_order_relaxed))
			return NULL;
		seen = word;
		atomic_store_explicit(&disturb_shared.effect, now, memory_order_release);
	}
}

static void wake_task(void)
{
	atomic_fetch_add_explicit(&wake_word, 1, memory_order_release);
	(void)futex(FUTEX_WAKE_PRIVATE, 1);
}

void disturb_dismiss_task(void)
{
	atomic_store_explicit(&leave, true, memory_order_relaxed);
	wake_task();
}

/* ---- one of each ---- */

static int barrier_once(void)
{
	return syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) ? errno : 0;
}

/* Written to, so that it is in the CPUs' memory of translations; then it may only be read. */
static int protect_once(void)
{
	*(volatile unsigned char *)page = 1;
	if (mprotect(page, page_bytes, PROT_READ) || mprotect(page, page_bytes, PROT_READ | PROT_WRITE))
		return errno;
	return 0;
}

/*
 * A task whose policy becomes an ordinary one while it runs elsewhere is told to see whether there
 * is a better one. There is none: it stays.
 */
static int reschedule_once(void)
{
	const bool ordinary = !priority.sched_priority;
	const struct sched_param one = { .sched_priority = 1 }, none = { 0 };
	const bool failed = syscall(SYS_sched_setscheduler, measured, ordinary ? SCHED_FIFO : SCHED_OTHER,
				    ordinary ? &one : &none);
	const int error = failed ? errno : 0;

	if (!failed && syscall(SYS_sched_setscheduler, measured, policy, &priority))
		fault_environment(errno, "a sandbox may forbid it", "the policy could not be put back");
	return error;
}

/* From here, between two stamps. */
void disturb_from_here(struct disturbance *made)
{
	made->at = counter_read_ordered();
	switch (made->kind) {
	case DISTURB_MEMBARRIER: (void)barrier_once(); break;
	case DISTURB_TLB: (void)protect_once(); break;
	case DISTURB_RESCHEDULE: (void)reschedule_once(); break;
	case DISTURB_SIGNAL: (void)syscall(SYS_tgkill, process, measured, DISTURB_SIGNAL_SIGNAL); break;
	case DISTURB_TASK: wake_task(); break;
	default: break;
	}
	made->end = counter_read_ordered();
}

/* ---- what it takes ---- */

/* How many the measured CPU had so far; false where this kernel does not count them. */
static bool shootdowns(uint64_t *count)
{
	static struct sysfs_interrupts interrupts;
	const struct sysfs_interrupt_row *row = NULL;

	if (sysfs_interrupts_read(&interrupts, disturb_asked.cpu))
		row = sysfs_interrupt(&interrupts, "TLB");
	*count = row ? row->count : 0;
	return row;
}

/*
 * Some hypervisors, and some processors, do it for the other CPUs without telling them. Nor is told
 * who does not run at the moment: so for a while.
 */
static void try_shootdowns(void)
{
	const struct timespec pause = { .tv_nsec = SHOOTDOWN_PAUSE_NS };
	uint64_t before, after;

	if (!disturb_can(DISTURB_TLB) || !shootdowns(&before))
		return;
	for (int i = 0; i < SHOOTDOWN_TRIES; i++) {
		(void)protect_once();
		if (!shootdowns(&after) || after != before)
			return;
		(void)nanosleep(&pause, NULL);
	}
	disturb_cannot(DISTURB_TLB, 0, "the other CPU is not interrupted for it here");
}

void disturb_try(void)
{
	static const struct {
		enum disturb_kind kind;
		int (*once)(void);
		const char *what;
	} tries[] = {
		{ DISTURB_MEMBARRIER, barrier_once, "membarrier(PRIVATE_EXPEDITED)" },
		{ DISTURB_TLB, protect_once, "mprotect" },
		{ DISTURB_RESCHEDULE, reschedule_once, "sched_setscheduler of the measured task" },
	};

	for (size_t i = 0; i < sizeof(tries) / sizeof(tries[0]); i++) {
		const int error = disturb_can(tries[i].kind) ? tries[i].once() : 0;

		if (error)
			disturb_cannot(tries[i].kind, error, tries[i].what);
	}
	try_shootdowns();
}

static void prepare_tlb(void)
{
	page_bytes = (size_t)sysconf(_SC_PAGESIZE);
	/* One of its own between two that are none: its protection is no neighbour's. */
	page = mmap(NULL, 3 * page_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (page == MAP_FAILED || mprotect(page + page_bytes, page_bytes, PROT_READ | PROT_WRITE))
		fault_environment(errno, "free memory", "cannot allocate a page");
	page += page_bytes;
}

void disturb_make_prepare(void)
{
	process = getpid();
	measured = (pid_t)syscall(SYS_gettid);
	if (disturb_can(DISTURB_MEMBARRIER) &&
	    syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0))
		disturb_cannot(DISTURB_MEMBARRIER, errno, "membarrier(REGISTER_PRIVATE_EXPEDITED)");
	prepare_tlb();
#if defined(__aarch64__)
	if (disturb_can(DISTURB_TLB))
		disturb_cannot(DISTURB_TLB, 0, "arm64 tells the other CPUs without an interrupt");
#endif
}

void disturb_make_warm(void)
{
	policy = (int)syscall(SYS_sched_getscheduler, 0);
	(void)syscall(SYS_sched_getparam, 0, &priority);
	if (is_deadline() && disturb_can(DISTURB_RESCHEDULE))
		disturb_cannot(DISTURB_RESCHEDULE, 0, "a task of SCHED_DEADLINE keeps its reservation");
}
