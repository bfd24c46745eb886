/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wake: how late does a task run that asked to be woken at a certain time?
 *
 * Deadlines are absolute, of CLOCK_MONOTONIC: what comes late does not push the next ones
 * back. A value is the clock right after waking less the deadline, so the half of one
 * clock read is in it. Whole periods that were slept through are counted as missed, one by
 * one: served + missed is what was planned, always.
 *
 * The loop makes one system call a period, the wait. The clock is read by the vDSO (where
 * the kernel's clocksource allows it: else own_cost_ns tells), the CPU likewise.
 */
#include <errno.h>
#include <math.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "core/fault.h"
#include "core/json.h"
#include "core/periods.h"
#include "core/placement.h"
#include "core/probe.h"
#include "core/sysfs.h"

#define WARM_PERIODS 16
#define WARM_INTERVAL_NS UINT64_C(100000)

enum { PARAM_INTERVAL, PARAM_METHOD, PARAM_SLACK, PARAM_THRESHOLD, PARAM_DIGITS, PARAM_RING };

enum method { METHOD_NANOSLEEP, METHOD_TIMERFD };

static const char *const methods[] = {
	[METHOD_NANOSLEEP] = "clock_nanosleep", [METHOD_TIMERFD] = "timerfd", NULL,
};

static const struct param params[] = {
	[PARAM_INTERVAL] = { "interval", PARAM_DURATION, "1ms", "20us", "60s",
			     "the time between two deadlines", NULL },
	[PARAM_METHOD] = { "method", PARAM_CHOICE, "clock_nanosleep", NULL, NULL,
			   "how it waits", methods },
	[PARAM_SLACK] = { "slack", PARAM_DURATION, "1ns", "1ns", "1s",
			  "how late clock_nanosleep may be on purpose; 50us is Linux' default, and"
			  " real-time tasks have none", NULL },
	[PARAM_THRESHOLD] = { "threshold", PARAM_DURATION, "100us", "100ns", "10s",
			      "a wake-up at least this late is kept one by one", NULL },
	[PARAM_DIGITS] = { "digits", PARAM_INT, "2", "2", "3",
			   "significant digits of the histogram", NULL },
	[PARAM_RING] = { "ring", PARAM_INT, "65536", "1", "16777216",
			 "late wake-ups kept; later ones are only counted", NULL },
};

enum { METRIC_WAKE, METRIC_LATE_RATE };

static const struct metric metrics[] = {
	[METRIC_WAKE] = { "wake_ns", METRIC_HISTOGRAM, "ns", "lower" },
	[METRIC_LATE_RATE] = { "late_rate_hz", METRIC_RATE, "Hz", "lower" },
};

static struct recorder recorder;
static struct ring ring;
static struct trace_queue *queue;	/* NULL: nobody asks for the causes */
static double units_per_ns;
static struct periods periods;
static struct clock_cost cost;
static struct sysfs_idle idle_before, idle_after;
static uint64_t timer_before, timer_after;
static bool timer_known;
static uint64_t threshold_ns;
static uint64_t late;			/* wake-ups of at least threshold_ns: those that came */
static bool roaming;			/* not pinned */
static int home;			/* the measured CPU, or that of the latest wake-up */
static uint64_t elsewhere;		/* wake-ups on another CPU than `home` */
static int slack, slack_error;		/* as read back; why it could not be set */
static int timer = -1;

static void prepare(struct run *run)
{

	if (run->params[PARAM_INTERVAL] > run->options.duration_ns)
		fault_usage("--interval is longer than --duration: no deadline fits");
	probe_attribute_waits(run, run->params[PARAM_RING]);
	probe_recorder(&recorder, run->params[PARAM_DIGITS]);
	probe_ring(&ring, run->params[PARAM_RING]);
	threshold_ns = run->params[PARAM_THRESHOLD];
	if (run->params[PARAM_METHOD] == METHOD_TIMERFD) {
		timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
		if (timer < 0)
			fault_environment(errno, "raise RLIMIT_NOFILE if it is exhausted",
					  "cannot create a timer");
	}
}

static struct timespec timespec_of(int64_t ns)
{
	return (struct timespec){ .tv_sec = (time_t)(ns / 1000000000),
				  .tv_nsec = (long)(ns % 1000000000) };
}

/* The interval from the deadline until now, in the counter's units: what came between? */
static __attribute__((noinline, cold)) void attribute(int64_t deadline, int64_t ns)
{
	const uint64_t now = counter_read();
	const uint64_t units = (uint64_t)((double)ns * units_per_ns);

	if ((uint64_t)ns >= threshold_ns)
		trace_queue_push(queue, now - units, units, (uint64_t)(deadline - periods.start_ns));
	trace_queue_progress(queue, now);
}

/* A wake-up for the next deadline: what there is to say about it, and where it was. */
static inline __attribute__((always_inline)) void note(int64_t now)
{
	const int64_t deadline = periods_deadline(&periods);
	const int64_t ns = now - deadline;
	const int cpu = placement_cpu_now();

	if (__builtin_expect(cpu != home, 0)) {
		elsewhere++;
		if (roaming)
			home = cpu;
	}
	if (__builtin_expect(ns < 0, 0)) {
		recorder.negative++;
		return;
	}
	recorder_add(&recorder, (uint64_t)ns);
	if ((uint64_t)ns >= threshold_ns) {
		late++;
		ring_push(&ring, (uint64_t)(deadline - periods.start_ns), (uint64_t)ns);
	}
	if (__builtin_expect(queue != NULL, 0))
		attribute(deadline, ns);
}

static void wait_by_nanosleep(void)
{
	while (periods_left(&periods)) {
		const struct timespec deadline = timespec_of(periods_deadline(&periods));
		int64_t now;

		while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &deadline, NULL) == EINTR)
			;
		now = clock_now_ns(CLOCK_MONOTONIC);
		note(now);
		periods_serve(&periods, periods_expired(&periods, now));
	}
}

/* The kernel counts the expirations itself; one read takes them all. */
static void wait_by_timerfd(void)
{
	const struct itimerspec when = {
		.it_value = timespec_of(periods_deadline(&periods)),
		.it_interval = timespec_of(periods.interval_ns),
	};

	if (timerfd_settime(timer, TFD_TIMER_ABSTIME, &when, NULL) < 0)
		fault_environment(errno, "a sandbox may forbid it", "cannot set the timer");
	while (periods_left(&periods)) {
		uint64_t expired;

		if (read(timer, &expired, sizeof(expired)) != sizeof(expired)) {
			if (errno == EINTR)
				continue;
			fault_environment(errno, "a sandbox may forbid it", "cannot read the timer");
		}
		note(clock_now_ns(CLOCK_MONOTONIC));
		periods_serve(&periods, expired);
	}
}

/* One copy of each loop, so that what is warmed is what is measured with. */
static __attribute__((noinline)) void loop_once(enum method method)
{
	if (method == METHOD_TIMERFD)
		wait_by_timerfd();
	else
		wait_by_nanosleep();
}

static void forget(void)
{
	recorder_reset(&recorder);
	ring_reset(&ring);
	late = elsewhere = 0;
}

static void warm(struct run *run)
{
	const enum method method = (enum method)run->params[PARAM_METHOD];

	if (prctl(PR_SET_TIMERSLACK, (unsigned long)run->params[PARAM_SLACK], 0UL, 0UL, 0UL) < 0)
		slack_error = errno;
	slack = prctl(PR_GET_TIMERSLACK, 0UL, 0UL, 0UL, 0UL);
	placement_cpu_prepare();
	roaming = run->options.cpu < 0;
	home = roaming ? placement_cpu_now() : run->options.cpu;
	cost = clock_cost_of(CLOCK_MONOTONIC);
	/* With everything late, for that path's sake. */
	threshold_ns = 0;
	periods_init(&periods, clock_now_ns(CLOCK_MONOTONIC), WARM_INTERVAL_NS,
		     WARM_PERIODS * WARM_INTERVAL_NS);
	loop_once(method);
	threshold_ns = run->params[PARAM_THRESHOLD];
	forget();
	sysfs_idle_read(&idle_before, run->options.cpu);
	timer_known = sysfs_timer_interrupts(&timer_before, run->options.cpu);
}

static void measure(struct run *run)
{
	periods_init(&periods, clock_now_ns(CLOCK_MONOTONIC), run->params[PARAM_INTERVAL],
		     run->options.duration_ns);
	if (roaming)
		home = placement_cpu_now();
	units_per_ns = run->initial.hz / 1e9;
	run->first = counter_read_ordered();
	queue = run->trace.queue;
	if (queue)
		trace_queue_begin(queue, run->first);
	loop_once((enum method)run->params[PARAM_METHOD]);
	run->last = counter_read_ordered();
	run->iterations = periods.served;
	timer_known = timer_known && sysfs_timer_interrupts(&timer_after, run->options.cpu);
	sysfs_idle_read(&idle_after, run->options.cpu);
}

static void collect(struct run *run)
{
	recorder_finish(&recorder);
	if (recorder.recorded + recorder.overflow + recorder.negative != periods.served ||
	    periods.served + periods.missed != periods.planned)
		fault_internal("%llu periods planned, but %llu served and %llu missed",
			       (unsigned long long)periods.planned,
			       (unsigned long long)periods.served,
			       (unsigned long long)periods.missed);
	run->own_cost_ns = cost.read_ns;
	/* An upper bound: a clock may move on more than once between two readings. */
	run->resolution_ns = fmax((double)(cost.step_ns ? cost.step_ns : cost.resolution_ns), 1.0);
	run->values[METRIC_WAKE].recorder = &recorder;
	run->values[METRIC_WAKE].missed = periods.missed;
	/* What never came is later than any threshold. */
	probe_rate(run, METRIC_LATE_RATE, late + periods.missed);
	run->events = (struct event_list){
		.name = "late",
		.at_key = "at_ns",
		.length_key = "wake_ns",
		.ring = &ring,
		.in_ns = true,
		.count = late,
		.threshold_ns = threshold_ns,
	};
}

static void detail(const struct run *run, struct json *json)
{
	json_u64(json, "periods", periods.planned);
	json_string(json, "clock", "monotonic");
	json_u64(json, "clock_resolution_ns", cost.resolution_ns);
	if (slack >= 0)
		json_i64(json, "timer_slack_ns", slack);
	else
		json_null(json, "timer_slack_ns");
	json_string(json, "timer_slack_error", slack_error ? strerror(slack_error) : NULL);
	/* Of a pinned task: on another CPU than asked; else: than where it woke before. */
	if (home >= 0)
		json_u64(json, "woke_elsewhere", elsewhere);
	else
		json_null(json, "woke_elsewhere");
	/*
	 * Where the timer expired is not shown to user space. The measured CPU's own timer
	 * interrupts tell whether it can have been there: fewer than wake-ups say it was not.
	 */
	if (timer_known)
		json_u64(json, "timer_interrupts", timer_after - timer_before);
	else
		json_null(json, "timer_interrupts");
	sysfs_idle_json(json, "idle_states", &idle_before, &idle_after);
	(void)run;
}

static const struct probe wake = {
	.name = "wake",
	.summary = "measures how late a task wakes up that sleeps until absolute deadlines",
	.params = params,
	.param_count = sizeof(params) / sizeof(params[0]),
	.metrics = metrics,
	.metric_count = sizeof(metrics) / sizeof(metrics[0]),
	.attributes = true,
	.own_cost = "one reading of the clock, the mean of 4096: about half of it in every value",
	.prepare = prepare,
	.warm = warm,
	.measure = measure,
	.collect = collect,
	.detail = detail,
};

int main(int argc, char **argv)
{
	return probe_main(&wake, argc, argv);
}
