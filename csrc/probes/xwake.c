/* SPDX-License-Identifier: Apache-2.0 */
/*
 * xwake: how long does it take from the moment another CPU decides to wake this task until
 * it runs? Two threads: the *waker* on its own CPU, and the measured one, which sleeps.
 *
 * In each period the waker reads the counter (the stamp), publishes it, and wakes. The
 * measured thread reads the counter first thing after its wait and records the difference,
 * so the waker's system call is in it, as it is for who wakes, and so is what keeps the
 * waker from it: it runs under the policy that was asked for the measured thread. The waker wakes only a
 * thread that has answered the wake-up before, and lets an interval pass in between, so
 * that it sleeps; a period in which the answer is still due is missed and counted.
 *
 * Memory orders: `stamp` and `stop` are plain; the waker's release store to `word` publishes
 * them and the measured thread's acquire load of it sees them. The other way, the
 * release store to `ack` says that they were read, and the waker's acquire load lets it
 * write the next. The counter is read ordered, the stamp before the store, the end after
 * the wait has returned.
 *
 * The stamp is one CPU's counter and the end another's: the offset between them is
 * measured before and after, and stated; where they are not synchronised nothing is measured.
 */
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/fault.h"
#include "core/json.h"
#include "core/offset.h"
#include "core/periods.h"
#include "core/placement.h"
#include "core/probe.h"
#include "core/sysfs.h"

#define WARM_PERIODS 16
#define WARM_INTERVAL_NS UINT64_C(200000)
#define WAKER_STACK_BYTES (2048 * 1024)	/* ThreadSanitizer puts 900 KiB of its own there */
#define ANSWER_TIMEOUT_S 5.0
#define OFFSET_MAX_NS 1000.0		/* surely further apart than this: refused */
#define ACK_POLL_NS 100000

enum { PARAM_INTERVAL, PARAM_METHOD, PARAM_THRESHOLD, PARAM_DIGITS, PARAM_RING };

enum method { METHOD_FUTEX, METHOD_EVENTFD };

static const char *const methods[] = {
	[METHOD_FUTEX] = "futex", [METHOD_EVENTFD] = "eventfd", NULL,
};

static const struct param params[] = {
	[PARAM_INTERVAL] = { "interval", PARAM_DURATION, "1ms", "50us", "60s",
			     "the time between two wake-ups", NULL },
	[PARAM_METHOD] = { "method", PARAM_CHOICE, "futex", NULL, NULL,
			   "what the task sleeps on", methods },
	[PARAM_THRESHOLD] = { "threshold", PARAM_DURATION, "100us", "100ns", "10s",
			      "a wake-up at least this long is kept one by one", NULL },
	[PARAM_DIGITS] = { "digits", PARAM_INT, "2", "2", "3",
			   "significant digits of the histogram", NULL },
	[PARAM_RING] = { "ring", PARAM_INT, "65536", "1", "16777216",
			 "late wake-ups kept; later ones are only counted", NULL },
};

enum { METRIC_XWAKE, METRIC_LATE_RATE };

static const struct metric metrics[] = {
	[METRIC_XWAKE] = { "xwake_ns", METRIC_HISTOGRAM, "ns", "lower" },
	[METRIC_LATE_RATE] = { "late_rate_hz", METRIC_RATE, "Hz", "lower" },
};

/* ---- what both threads see ---- */

static struct {
	_Alignas(128) _Atomic uint32_t word;	/* the futex: the number of the latest wake-up */
	bool stop;			/* published by `word`: the last one, not to be recorded */
	uint64_t stamp;			/* published by `word` */
	_Alignas(128) _Atomic uint32_t ack;	/* the latest wake-up that was answered */
} shared;

static struct offset_channel channel;
static pthread_barrier_t barrier;	/* both threads are at the same step of their script */
static int event = -1;
static enum method method;
static int waker_cpu;
static struct sched_request waker_sched;
static uint64_t duration_ns, interval_ns;
static uint64_t answer_timeout;		/* units; set before the first barrier */

/* ---- the waker ---- */

static pthread_t waker_thread;
static struct periods periods;		/* the waker's; the measured thread reads it after joining */
static struct placement waker_placement;
static struct sysfs_idle idle_before, idle_after;	/* of the measured CPU */

static void post(bool stop)
{
	const uint32_t next = atomic_load_explicit(&shared.word, memory_order_relaxed) + 1;
	const uint64_t one = 1;

	shared.stop = stop;
	shared.stamp = counter_read_ordered();
	atomic_store_explicit(&shared.word, next, memory_order_release);
	if (method == METHOD_FUTEX)
		(void)syscall(SYS_futex, &shared.word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
	else if (write(event, &one, sizeof(one)) != sizeof(one))
		fault_environment(errno, "a sandbox may forbid it", "cannot write to the eventfd");
}

static bool answered(void)
{
	return atomic_load_explicit(&shared.ack, memory_order_acquire) ==
	       atomic_load_explicit(&shared.word, memory_order_relaxed);
}

static void sleep_until(int64_t ns)
{
	const struct timespec when = { .tv_sec = (time_t)(ns / 1000000000),
				       .tv_nsec = (long)(ns % 1000000000) };

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &when, NULL) == EINTR)
		;
}

static void wake_periodically(uint64_t interval, uint64_t duration)
{
	periods_init(&periods, clock_now_ns(CLOCK_MONOTONIC), interval, duration);
	while (periods_left(&periods)) {
		uint64_t expired;

		sleep_until(periods_deadline(&periods));
		expired = periods_expired(&periods, clock_now_ns(CLOCK_MONOTONIC));
		if (answered()) {
			post(false);
			periods_serve(&periods, expired);
		} else {
			periods_miss(&periods, expired);
		}
	}
	/* The end must find it asleep or at work, never between: so the last answer first. */
	do
		sleep_until(clock_now_ns(CLOCK_MONOTONIC) + ACK_POLL_NS);
	while (!answered());
	post(true);
}

static void answer(void)
{
	if (!offset_answer(&channel, answer_timeout))
		fault_environment(0, "is it taken by a real-time task?",
				  "the measured CPU did not answer for %.0f s", ANSWER_TIMEOUT_S);
}

static void *waker(void *unused)
{
	(void)unused;
	placement_pin(waker_cpu);
	placement_set_sched(&waker_sched);
	placement_read(&waker_placement);
	placement_prefault_stack();
	pthread_barrier_wait(&barrier);		/* warm() */
	answer();
	wake_periodically(WARM_INTERVAL_NS, WARM_PERIODS * WARM_INTERVAL_NS);
	pthread_barrier_wait(&barrier);		/* measure() */
	wake_periodically(interval_ns, duration_ns);
	pthread_barrier_wait(&barrier);		/* its end */
	answer();
	return NULL;
}

/* ---- the measured thread ---- */

static struct recorder recorder;
static struct ring ring;
static struct clock_scale scale;
static uint64_t threshold_ns;
static struct trace_queue *queue;	/* NULL: nobody asks for the causes */
static uint64_t late;			/* wake-ups of at least threshold_ns */
static uint64_t awake;			/* stamps that found it not asleep: no wake-ups */
static uint64_t beside;			/* it woke on the waker's own CPU, if not pinned */
static double counter_ns;
static struct offset_bounds offset_before, offset_after;

/* Returns whether it slept; an eventfd does not tell, and is taken to. */
static inline __attribute__((always_inline)) bool wait_once(uint32_t seen)
{
	uint64_t value;

	if (method == METHOD_FUTEX)
		return !syscall(SYS_futex, &shared.word, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
	if (read(event, &value, sizeof(value)) < 0 && errno != EINTR)
		fault_environment(errno, "a sandbox may forbid it", "cannot read the eventfd");
	return true;
}

static void note(uint64_t stamp, uint64_t now)
{
	const uint64_t units = now - stamp;
	uint64_t ns;

	if (__builtin_expect(placement_cpu_now() == waker_cpu, 0))
		beside++;
	if ((int64_t)units < 0) {
		recorder.negative++;
		return;
	}
	ns = clock_ns(scale.mult, units);
	recorder_add(&recorder, ns);
	if (ns >= threshold_ns) {
		late++;
		ring_push(&ring, stamp, units);
		if (queue)
			trace_queue_push(queue, stamp, units, stamp);
	}
	if (queue)
		trace_queue_progress(queue, now);
}

/* One copy, so that what is warmed is what is measured with. */
static __attribute__((noinline)) void be_woken(void)
{
	uint32_t seen = atomic_load_explicit(&shared.ack, memory_order_relaxed);
	bool stop = false;

	while (!stop) {
		const bool slept = wait_once(seen);
		const uint64_t now = counter_read_ordered();
		const uint32_t word = atomic_load_explicit(&shared.word, memory_order_acquire);

		if (word == seen)
			continue;		/* a signal, or for no reason */
		seen = word;
		stop = shared.stop;
		if (!stop) {
			if (slept)
				note(shared.stamp, now);
			else
				awake++;
		}
		atomic_store_explicit(&shared.ack, word, memory_order_release);
	}
}

static void prepare(struct run *run)
{
	const int cpu = run->options.cpu;
	pthread_attr_t attributes;
	int error;

	probe_attribute_waits(run, run->params[PARAM_RING]);
	if (run->params[PARAM_INTERVAL] > run->options.duration_ns)
		fault_usage("--interval is longer than --duration: no wake-up fits");
	if (cpu >= 0 && cpu == run->options.helper_cpu)
		fault_usage("--waker-cpu %d: that is the measured CPU", cpu);
	waker_cpu = run->options.helper_cpu >= 0 ? run->options.helper_cpu :
						  placement_other_cpu(&run->origin, cpu);
	if (waker_cpu < 0 || (cpu < 0 && placement_other_cpu(&run->origin, waker_cpu) < 0))
		fault_environment(0, "allow this task a second CPU (taskset, cpuset)",
				  "there is one allowed CPU only, and no other to wake the task from");

	probe_recorder(&recorder, run->params[PARAM_DIGITS]);
	probe_ring(&ring, run->params[PARAM_RING]);
	method = (enum method)run->params[PARAM_METHOD];
	interval_ns = run->params[PARAM_INTERVAL];
	duration_ns = run->options.duration_ns;
	waker_sched = run->options.sched;
	if (method == METHOD_EVENTFD) {
		event = eventfd(0, EFD_CLOEXEC);
		if (event < 0)
			fault_environment(errno, "raise RLIMIT_NOFILE if it is exhausted",
					  "cannot create an eventfd");
	}
	/* It starts here, off the measured CPU, and waits at the barrier until warm(). */
	if (pthread_barrier_init(&barrier, NULL, 2) || pthread_attr_init(&attributes) ||
	    pthread_attr_setstacksize(&attributes, WAKER_STACK_BYTES))
		fault_internal("no barrier or stack for the waker");
	error = pthread_create(&waker_thread, &attributes, waker, NULL);
	if (error)
		fault_environment(error, "raise RLIMIT_NPROC, free memory",
				  "cannot start the waking thread");
	pthread_attr_destroy(&attributes);
}

static double as_ns(const struct run *run, int64_t units)
{
	return (double)units / run->initial.hz * 1e9;
}

static bool synchronised(const struct run *run, const struct offset_bounds *offset)
{
	return offset_is_small(offset, run->granularity_units,
			       OFFSET_MAX_NS * run->initial.hz / 1e9);
}

/* A task that is not pinned keeps off the waker's CPU meanwhile: both sides spin. */
static void ask(const struct run *run, struct offset_bounds *offset)
{
	const bool roaming = run->options.cpu < 0;

	if (roaming)
		placement_stay_off(&run->origin, waker_cpu);
	if (!offset_ask(&channel, answer_timeout, offset))
		fault_environment(0, "is it taken by a real-time task?",
				  "CPU %d did not answer for %.0f s", waker_cpu, ANSWER_TIMEOUT_S);
	if (roaming)
		placement_stay_off(&run->origin, -1);
}

static void warm(struct run *run)
{
	if (run->identity.invariant == STATE_NO)
		fault_environment(0, "measure on a machine whose TSC is invariant",
				  "the counter's rate follows the CPU's: those of two CPUs drift apart");
	placement_cpu_prepare();
	scale = run->scale;
	answer_timeout = (uint64_t)(run->initial.hz * ANSWER_TIMEOUT_S);
	counter_ns = counter_cost_ns(scale);
	pthread_barrier_wait(&barrier);
	ask(run, &offset_before);
	if (!synchronised(run, &offset_before))
		fault_environment(0, "see dmesg about the TSC, or choose another --waker-cpu",
				  "the counter of CPU %d is %.0f to %.0f ns ahead of the task's",
				  waker_cpu, as_ns(run, offset_before.low),
				  as_ns(run, offset_before.high));
	be_woken();
	recorder_reset(&recorder);
	ring_reset(&ring);
	late = awake = beside = 0;
	threshold_ns = run->params[PARAM_THRESHOLD];
	sysfs_idle_read(&idle_before, run->options.cpu);
}

static void measure(struct run *run)
{
	run->first = counter_read_ordered();
	queue = run->trace.queue;
	if (queue)
		trace_queue_begin(queue, run->first);
	pthread_barrier_wait(&barrier);
	be_woken();
	run->last = counter_read_ordered();
	sysfs_idle_read(&idle_after, run->options.cpu);
	pthread_barrier_wait(&barrier);
	ask(run, &offset_after);
}

static void collect(struct run *run)
{
	pthread_join(waker_thread, NULL);
	recorder_finish(&recorder);
	run->iterations = periods.served;
	if (recorder.recorded + recorder.overflow + recorder.negative + awake != periods.served ||
	    periods.served + periods.missed != periods.planned)
		fault_internal("%llu periods planned, but %llu served and %llu missed",
			       (unsigned long long)periods.planned,
			       (unsigned long long)periods.served,
			       (unsigned long long)periods.missed);
	run->own_cost_ns = counter_ns;
	run->values[METRIC_XWAKE].recorder = &recorder;
	run->values[METRIC_XWAKE].missed = periods.missed;
	/* What never came is later than any threshold. */
	probe_rate(run, METRIC_LATE_RATE, late + periods.missed);
	run->events = (struct event_list){
		.name = "late",
		.at_key = "at_ns",
		.length_key = "xwake_ns",
		.ring = &ring,
		.count = late,
		.threshold_ns = threshold_ns,
	};
}

static void put_offset(const struct run *run, const char *key, const struct offset_bounds *offset,
		       struct json *json)
{
	json_open(json, key, '{');
	json_double(json, "low_ns", as_ns(run, offset->low));
	json_double(json, "high_ns", as_ns(run, offset->high));
	json_double(json, "round_trip_ns", as_ns(run, (int64_t)offset->round_trip));
	json_close(json, '}');
}

static void detail(const struct run *run, struct json *json)
{
	json_u64(json, "periods", periods.planned);
	json_open(json, "waker", '{');
	json_i64(json, "cpu", waker_placement.cpu);
	json_string(json, "policy", waker_placement.policy);
	json_i64(json, "priority", waker_placement.priority);
	json_close(json, '}');
	if (placement_cpu_now() >= 0)
		json_u64(json, "woke_on_waker_cpu", beside);
	else
		json_null(json, "woke_on_waker_cpu");
	/* Left out of the histogram. Of an eventfd only the sum is known, and they are in it. */
	json_u64(json, "not_asleep", method == METHOD_FUTEX ? awake :
		 periods.served > run->voluntary_switches ?
		 periods.served - run->voluntary_switches : 0);
	json_bool(json, "not_asleep_recorded", method == METHOD_EVENTFD);
	sysfs_idle_json(json, "idle_states", &idle_before, &idle_after);
	/* The waker's counter less the measured CPU's; not corrected for. */
	json_open(json, "counter_offset", '{');
	put_offset(run, "before", &offset_before, json);
	put_offset(run, "after", &offset_after, json);
	json_bool(json, "synchronised",
		  synchronised(run, &offset_before) && synchronised(run, &offset_after));
	json_close(json, '}');
}

static const struct probe xwake = {
	.name = "xwake",
	.summary = "measures how long it takes to wake a sleeping task from another CPU",
	.scope = OPTIONS_WITH_WAKER,
	.params = params,
	.param_count = sizeof(params) / sizeof(params[0]),
	.metrics = metrics,
	.metric_count = sizeof(metrics) / sizeof(metrics[0]),
	.attributes = true,
	.own_cost = "one ordered reading of the counter, the mean of 4096: in every value",
	.prepare = prepare,
	.warm = warm,
	.measure = measure,
	.collect = collect,
	.detail = detail,
};

int main(int argc, char **argv)
{
	return probe_main(&xwake, argc, argv);
}
