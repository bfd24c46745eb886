/* SPDX-License-Identifier: Apache-2.0 */
/* The injector, and the task that it wakes on the measured CPU. */
#include "core/disturb.h"

#include <errno.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "core/disturb_own.h"
#include "core/fault.h"

#define STACK_BYTES (2048 * 1024)	/* ThreadSanitizer puts 900 KiB of its own there */
#define NAP_NS 50000
#define LEAD_NS 5000		/* from telling the task until it is due: its cache line has come by then */
#define MARGIN_NS 20000000	/* before the end of the loop nothing is begun any more */
#define PRIORITY_MAX 99
#define RESET_ON_FORK 0x40000000

const char *const disturb_kind_names[DISTURB_KINDS] = {
	[DISTURB_MEMBARRIER] = "membarrier",
	[DISTURB_TLB] = "tlb",
	[DISTURB_RESCHEDULE] = "reschedule",
	[DISTURB_SIGNAL] = "signal",
	[DISTURB_TICK] = "tick",
	[DISTURB_FAULT] = "fault",
	[DISTURB_SYSCALL] = "syscall",
	[DISTURB_TASK] = "task",
	[DISTURB_NONE] = "none",
};

struct disturb_report disturb_report;

static struct disturb_request asked;
static pid_t process, measured;		/* the measured thread */
static pthread_t injector_thread, task_thread;
static pthread_barrier_t barrier;
static bool has_task;
static unsigned char *page;		/* of DISTURB_TLB */
static size_t page_bytes;
static int policy;			/* the measured task's, as the kernel has it */
static struct sched_param priority;
static _Atomic uint64_t begun;		/* the counter when the loop was; 0: not yet */
static _Atomic bool ended;
static double rate;			/* units per ns; published by `begun` */
static _Atomic uint32_t wake_word;	/* the futex that the task sleeps on */
static _Atomic bool leave;		/* published by wake_word: it is to end */
static uint64_t random_state;
static struct disturbance latest;	/* of those that were made */

void disturb_cannot(enum disturb_kind kind, int error, const char *what)
{
	char *reason = disturb_report.unavailable[kind];

	snprintf(reason, sizeof(disturb_report.unavailable[kind]), "%s%s%s", what, error ? ": " : "",
		 error ? strerror(error) : "");
}

static bool can(enum disturb_kind kind)
{
	return asked.wanted[kind] && !disturb_report.unavailable[kind][0];
}

/* Steele, Lea, Flood: splitmix64. */
static uint64_t random_next(void)
{
	uint64_t z = random_state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static void nap(uint64_t ns)
{
	const struct timespec span = { .tv_sec = (time_t)(ns / 1000000000),
				       .tv_nsec = (long)(ns % 1000000000) };

	(void)clock_nanosleep(CLOCK_MONOTONIC, 0, &span, NULL);
}

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

	placement_pin(asked.cpu);
	if (is_deadline() || above.sched_priority > PRIORITY_MAX) {
		disturb_cannot(DISTURB_TASK, 0, "no task has precedence over the measured one");
		return;
	}
	if (syscall(SYS_sched_setscheduler, 0, SCHED_FIFO, &above) && priority.sched_priority)
		disturb_cannot(DISTURB_TASK, errno, "no precedence over the measured task");
}

static void *be_task(void *unused)
{
	uint32_t seen = atomic_load(&wake_word);

	(void)unused;
	(void)prctl(PR_SET_NAME, DISTURB_TASK_NAME);
	placement_prefault_stack();
	pthread_barrier_wait(&barrier);		/* disturb_warm(): in its cgroup by now */
	task_place();
	disturb_report.task_tid = (int32_t)syscall(SYS_gettid);
	placement_read(&disturb_report.task);
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
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

static void post(uint8_t kind, uint8_t call)
{
	disturb_shared.kind = kind;
	disturb_shared.call = call;
	atomic_store_explicit(&disturb_shared.due, counter_read() + (uint64_t)(LEAD_NS * rate),
			      memory_order_release);
}

static bool is_over(void)
{
	return atomic_load_explicit(&ended, memory_order_acquire);
}

/* The task did what it was asked to. False: the loop is over. */
static bool await_done(void)
{
	while ((int64_t)(atomic_load_explicit(&disturb_shared.due, memory_order_acquire) - counter_read()) <
	       INT64_MAX / 4) {
		if (is_over())
			return false;
		nap(NAP_NS);
	}
	return true;
}

/* It does it between its own stamps. */
static bool disturb_itself(struct disturbance *made)
{
	post(made->kind, made->call);
	if (!await_done())
		return false;
	made->at = disturb_shared.at;
	made->end = disturb_shared.end;
	return true;
}

/* Whoever only sends an interrupt does not know when it is there: not after the task runs again. */
static bool await_answer(struct disturbance *made)
{
	post(DISTURB_ANSWER, 0);
	if (!await_done())
		return false;
	made->end = disturb_shared.end;
	return true;
}

static bool await_effect(struct disturbance *made)
{
	while (!(made->effect = atomic_load_explicit(&disturb_shared.effect, memory_order_acquire))) {
		if (is_over())
			return false;
		nap(NAP_NS);
	}
	return true;
}

/* From here, between two stamps. */
static void disturb_from_here(struct disturbance *made)
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

/* Returns when its effects are over. False: the loop was before. */
static bool disturb(struct disturbance *made)
{
	atomic_store_explicit(&disturb_shared.effect, 0, memory_order_relaxed);
	switch (made->kind) {
	case DISTURB_FAULT:
	case DISTURB_SYSCALL:
		return disturb_itself(made);
	case DISTURB_TICK:
		return disturb_itself(made) && await_effect(made);
	case DISTURB_RESCHEDULE:
		disturb_from_here(made);
		return await_answer(made);
	case DISTURB_SIGNAL:
	case DISTURB_TASK:
		disturb_from_here(made);
		return await_effect(made);
	default:
		disturb_from_here(made);
		return true;
	}
}

/* ---- the injector ---- */

/* All kinds in a random order, then all of them in another one: equally often, and none foreseen. */
static size_t shuffle(uint8_t *kinds)
{
	size_t count = 0;

	for (uint8_t kind = 0; kind < DISTURB_KINDS; kind++)
		if (can(kind) && (kind != DISTURB_FAULT || disturb_page_left()))
			kinds[count++] = kind;
	for (size_t i = count; i > 1; i--) {
		const size_t other = random_next() % i;
		const uint8_t kind = kinds[i - 1];

		kinds[i - 1] = kinds[other];
		kinds[other] = kind;
	}
	return count;
}

static void keep(const struct disturbance *made)
{
	struct disturb_report *report = &disturb_report;

	report->made[made->kind]++;
	report->count++;
	if (report->stored < asked.capacity)
		asked.kept[report->stored++] = *made;
	latest = *made;
}

/* The last one may have been at work when the loop ended: then it is none of its. */
static void leave_out_latest(uint64_t last)
{
	struct disturb_report *report = &disturb_report;

	if (!report->count || ((int64_t)(latest.end - last) <= 0 &&
			       (!latest.effect || (int64_t)(latest.effect - last) <= 0)))
		return;
	report->made[latest.kind]--;
	report->unanswered++;
	if (report->stored == report->count--)
		report->stored--;
}

static void inject(uint64_t first)
{
	const uint64_t margin_ns = asked.duration_ns / 4 < MARGIN_NS ? asked.duration_ns / 4 : MARGIN_NS;
	const uint64_t last = first + (uint64_t)((double)(asked.duration_ns - margin_ns) * rate);
	uint8_t kinds[DISTURB_KINDS];
	size_t left = 0;

	for (;;) {
		struct disturbance made = { .call = (uint8_t)(random_next() % DISTURB_CALLS) };

		if (!left)
			left = shuffle(kinds);
		nap(asked.distance_ns / 2 + random_next() % (asked.distance_ns + 1));
		if (!left || is_over() || (int64_t)(counter_read() - last) >= 0)
			return;
		made.kind = kinds[--left];
		if (made.kind != DISTURB_SYSCALL)
			made.call = 0;
		if (disturb(&made))
			keep(&made);
		else
			disturb_report.unanswered++;
	}
}

/* Each is tried once before it counts. */
static void try_kinds(void)
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
		const int error = can(tries[i].kind) ? tries[i].once() : 0;

		if (error)
			disturb_cannot(tries[i].kind, error, tries[i].what);
	}
}

static void *be_injector(void *unused)
{
	const struct sched_param lowest = { .sched_priority = 1 };
	uint64_t first;

	(void)unused;
	placement_pin(asked.injector_cpu);
	/* It sleeps nearly always; between its stamps nobody should come, if that is allowed. */
	(void)syscall(SYS_sched_setscheduler, 0, SCHED_FIFO, &lowest);
	disturb_report.injector_tid = (int32_t)syscall(SYS_gettid);
	placement_read(&disturb_report.injector);
	placement_prefault_stack();
	pthread_barrier_wait(&barrier);		/* disturb_warm() */
	pthread_barrier_wait(&barrier);
	try_kinds();
	pthread_barrier_wait(&barrier);
	while (!(first = atomic_load_explicit(&begun, memory_order_acquire)) && !is_over())
		nap(NAP_NS);
	if (first)
		inject(first);
	return NULL;
}

static void start(pthread_t *thread, void *(*function)(void *))
{
	pthread_attr_t attributes;
	int error;

	if (pthread_attr_init(&attributes) || pthread_attr_setstacksize(&attributes, STACK_BYTES))
		fault_internal("no stack for a thread");
	error = pthread_create(thread, &attributes, function, NULL);
	if (error)
		fault_environment(error, "raise RLIMIT_NPROC, free memory", "cannot start a thread");
	pthread_attr_destroy(&attributes);
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

void disturb_prepare(const struct disturb_request *request)
{
	sigset_t stamped;

	asked = *request;
	random_state = asked.seed;
	process = getpid();
	measured = (pid_t)syscall(SYS_gettid);
	has_task = asked.wanted[DISTURB_TASK] && asked.cpu >= 0;
	if (asked.wanted[DISTURB_TASK] && !has_task)
		disturb_cannot(DISTURB_TASK, 0, "the measured task is not pinned");
	if (asked.wanted[DISTURB_MEMBARRIER] &&
	    syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0))
		disturb_cannot(DISTURB_MEMBARRIER, errno, "membarrier(REGISTER_PRIVATE_EXPEDITED)");
	prepare_tlb();
#if defined(__aarch64__)
	if (asked.wanted[DISTURB_TLB])
		disturb_cannot(DISTURB_TLB, 0, "arm64 tells the other CPUs without an interrupt");
#endif
	if (pthread_barrier_init(&barrier, NULL, has_task ? 3 : 2))
		fault_internal("no barrier for the threads");
	/* Theirs to stamp is nobody's but the measured thread's. */
	sigemptyset(&stamped);
	sigaddset(&stamped, DISTURB_SIGNAL_SIGNAL);
	sigaddset(&stamped, DISTURB_TICK_SIGNAL);
	(void)pthread_sigmask(SIG_BLOCK, &stamped, NULL);
	start(&injector_thread, be_injector);
	if (has_task)
		start(&task_thread, be_task);
}

void disturb_warm(uint64_t clean_units)
{
	const uint64_t most = 2 * asked.duration_ns / asked.distance_ns + 2;

	disturb_report.has_task = has_task;
	policy = (int)syscall(SYS_sched_getscheduler, 0);
	(void)syscall(SYS_sched_getparam, 0, &priority);
	if (is_deadline() && asked.wanted[DISTURB_RESCHEDULE])
		disturb_cannot(DISTURB_RESCHEDULE, 0, "a task of SCHED_DEADLINE keeps its reservation");
	disturb_task_warm(asked.wanted, (size_t)most, clean_units);
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);		/* the task has its place, the injector tries */
	pthread_barrier_wait(&barrier);
}

void disturb_begin(double units_per_ns)
{
	rate = units_per_ns;
	atomic_store_explicit(&begun, counter_read(), memory_order_release);
}

void disturb_end(uint64_t last)
{
	atomic_store_explicit(&ended, true, memory_order_release);
	pthread_join(injector_thread, NULL);
	leave_out_latest(last);
	if (!has_task)
		return;
	atomic_store_explicit(&leave, true, memory_order_relaxed);
	wake_task();
	pthread_join(task_thread, NULL);
}
