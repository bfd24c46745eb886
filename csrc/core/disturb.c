/* SPDX-License-Identifier: Apache-2.0 */
/* The injector: what is done next, and when; what came of it. */
#include "core/disturb.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "core/disturb_own.h"
#include "core/fault.h"

#define STACK_BYTES (2048 * 1024)	/* ThreadSanitizer puts 900 KiB of its own there */
#define NAP_NS 50000
#define SPIN_NS 1000000		/* to be there when the task is */
#define LEAD_NS 5000		/* from telling the task until it is due: its cache line has come by then */
#define MARGIN_NS 20000000	/* before the end of the loop nothing is begun any more */

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
struct disturb_request disturb_asked;
pthread_barrier_t disturb_barrier;

static pthread_t injector_thread, task_thread;
static bool has_task;
static _Atomic uint64_t begun;		/* the counter when the loop was; 0: not yet */
static _Atomic bool tried, ended;
static double rate;			/* units per ns; published by `begun` */
static uint64_t random_state;
static struct disturbance latest;	/* of those that were made */

void disturb_cannot(enum disturb_kind kind, int error, const char *what)
{
	char *reason = disturb_report.unavailable[kind];

	snprintf(reason, sizeof(disturb_report.unavailable[kind]), "%s%s%s", what, error ? ": " : "",
		 error ? strerror(error) : "");
}

bool disturb_can(enum disturb_kind kind)
{
	return disturb_asked.wanted[kind] && !disturb_report.unavailable[kind][0];
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

static void post(uint8_t kind, uint8_t call)
{
	const double lead_ns = kind == DISTURB_ANSWER ? 0 : LEAD_NS;

	disturb_shared.kind = kind;
	disturb_shared.call = call;
	atomic_store_explicit(&disturb_shared.due, counter_read() + (uint64_t)(lead_ns * rate),
			      memory_order_release);
}

static bool is_over(void)
{
	return atomic_load_explicit(&ended, memory_order_acquire);
}

/* The task did what it was asked to, mostly at once. False: the loop is over. */
static bool await_done(void)
{
	const uint64_t asleep = counter_read() + (uint64_t)(SPIN_NS * rate);

	while ((int64_t)(atomic_load_explicit(&disturb_shared.due, memory_order_acquire) - counter_read()) <
	       INT64_MAX / 4) {
		if (is_over())
			return false;
		if ((int64_t)(counter_read() - asleep) > 0)
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

/* Returns when the task is seen to run. */
static bool await_task(void)
{
	post(DISTURB_ANSWER, 0);
	return await_done();
}

/* Whoever only sends an interrupt does not know when it is there: not after the task runs again. */
static bool await_return(struct disturbance *made)
{
	if (!await_task())
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

/*
 * Returns when its effects are over. False: the loop was before. A task that does not run cannot be
 * disturbed, so it is waited for: somebody else may have its CPU, or the host an emulated one.
 */
static bool disturb(struct disturbance *made)
{
	atomic_store_explicit(&disturb_shared.effect, 0, memory_order_relaxed);
	switch (made->kind) {
	case DISTURB_FAULT:
	case DISTURB_SYSCALL:
		return disturb_itself(made);
	case DISTURB_TICK:
		return disturb_itself(made) && await_effect(made);
	default:
		break;
	}
	if (!await_task())
		return false;
	disturb_from_here(made);
	switch (made->kind) {
	case DISTURB_RESCHEDULE:
		return await_return(made);
	case DISTURB_SIGNAL:
	case DISTURB_TASK:
		return await_effect(made);
	default:
		return true;
	}
}

/* ---- the injector ---- */

/* All kinds in a random order, then all of them in another one: equally often, and none foreseen. */
static size_t shuffle(uint8_t *kinds)
{
	size_t count = 0;

	for (uint8_t kind = 0; kind < DISTURB_KINDS; kind++)
		if (disturb_can(kind) && (kind != DISTURB_FAULT || disturb_page_left()))
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
	if (report->stored < disturb_asked.capacity)
		disturb_asked.kept[report->stored++] = *made;
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
	const uint64_t margin_ns = disturb_asked.duration_ns / 4 < MARGIN_NS ? disturb_asked.duration_ns / 4 : MARGIN_NS;
	const uint64_t last = first + (uint64_t)((double)(disturb_asked.duration_ns - margin_ns) * rate);
	uint8_t kinds[DISTURB_KINDS];
	size_t left = 0;

	for (;;) {
		struct disturbance made = { .call = (uint8_t)(random_next() % DISTURB_CALLS) };
		const uint64_t pause_ns = disturb_asked.distance_ns / 2 + random_next() % (disturb_asked.distance_ns + 1);

		if (!left)
			left = shuffle(kinds);
		/* Whoever ends the loop does not wait for one that is not to come. */
		if ((int64_t)(counter_read() + (uint64_t)((double)pause_ns * rate) - last) >= 0)
			return;
		nap(pause_ns);
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

static void *be_injector(void *unused)
{
	const struct sched_param lowest = { .sched_priority = 1 };
	uint64_t first;

	(void)unused;
	placement_pin(disturb_asked.injector_cpu);
	/* It sleeps nearly always; between its stamps nobody should come, if that is allowed. */
	(void)syscall(SYS_sched_setscheduler, 0, SCHED_FIFO, &lowest);
	disturb_report.injector_tid = (int32_t)syscall(SYS_gettid);
	placement_read(&disturb_report.injector);
	placement_prefault_stack();
	pthread_barrier_wait(&disturb_barrier);		/* disturb_warm() */
	pthread_barrier_wait(&disturb_barrier);
	disturb_try();
	atomic_store_explicit(&tried, true, memory_order_release);
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

void disturb_prepare(const struct disturb_request *request)
{
	sigset_t stamped;

	disturb_asked = *request;
	random_state = disturb_asked.seed;
	has_task = disturb_asked.wanted[DISTURB_TASK] && disturb_asked.cpu >= 0;
	if (disturb_asked.wanted[DISTURB_TASK] && !has_task)
		disturb_cannot(DISTURB_TASK, 0, "the measured task is not pinned");
	disturb_make_prepare();
	if (pthread_barrier_init(&disturb_barrier, NULL, has_task ? 3 : 2))
		fault_internal("no barrier for the threads");
	/* Theirs to stamp is nobody's but the measured thread's. */
	sigemptyset(&stamped);
	sigaddset(&stamped, DISTURB_SIGNAL_SIGNAL);
	sigaddset(&stamped, DISTURB_TICK_SIGNAL);
	(void)pthread_sigmask(SIG_BLOCK, &stamped, NULL);
	start(&injector_thread, be_injector);
	if (has_task)
		start(&task_thread, disturb_be_task);
}

void disturb_warm(uint64_t clean_units)
{
	const uint64_t most = 2 * disturb_asked.duration_ns / disturb_asked.distance_ns + 2;

	disturb_report.has_task = has_task;
	disturb_make_warm();
	disturb_task_warm(disturb_asked.wanted, (size_t)most, clean_units);
	pthread_barrier_wait(&disturb_barrier);
	pthread_barrier_wait(&disturb_barrier);		/* the task has its place, the injector tries */
	while (!atomic_load_explicit(&tried, memory_order_acquire))
		;
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
	disturb_dismiss_task();
	pthread_join(task_thread, NULL);
}
