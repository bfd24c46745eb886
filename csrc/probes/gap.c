/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gap: in which intervals does a task that only polls the cycle counter make no
 * progress? Every interval is in the histogram; those of at least the threshold are
 * also kept one by one, with their time.
 */
#include <math.h>

#include "core/fault.h"
#include "core/placement.h"
#include "core/probe.h"
#include "probes/gap_loop.h"

#define WARM_NS 1e6

enum { PARAM_THRESHOLD, PARAM_DIGITS, PARAM_RING };

static const struct param params[] = {
	[PARAM_THRESHOLD] = { "threshold", PARAM_DURATION, "1us", "50ns", "10s",
			      "an interval at least this long is a gap", NULL },
	[PARAM_DIGITS] = { "digits", PARAM_INT, "2", "2", "3",
			   "significant digits of the histogram; 3 exceeds the L1 cache", NULL },
	[PARAM_RING] = { "ring", PARAM_INT, "65536", "1", "16777216",
			 "gaps kept one by one; later ones are only counted", NULL },
};

enum { METRIC_GAP, METRIC_STOLEN, METRIC_QUIET, METRIC_GAP_RATE };

static const struct metric metrics[] = {
	[METRIC_GAP] = { "gap_ns", METRIC_HISTOGRAM, "ns", "lower" },
	[METRIC_STOLEN] = { "stolen_ppm", METRIC_SCALAR, "ppm", "lower" },
	[METRIC_QUIET] = { "quiet_max_ns", METRIC_SCALAR, "ns", "higher" },
	[METRIC_GAP_RATE] = { "gap_rate_hz", METRIC_RATE, "Hz", "lower" },
};

static struct recorder recorder;
static struct ring ring;
static struct gap_loop loop;

static void prepare(struct run *run)
{
	probe_attribute(run, run->params[PARAM_RING]);
	probe_recorder(&recorder, run->params[PARAM_DIGITS]);
	probe_ring(&ring, run->params[PARAM_RING]);
}

/* One copy of the loop, so that what is warmed is what is measured with. */
static __attribute__((noinline)) void loop_once(void)
{
	gap_loop_run(&loop, gap_real_counter, NULL);
}

static void warm(struct run *run)
{
	/* First with everything a gap, for the slow path's sake. */
	gap_loop_init(&loop, &recorder, &ring, run->scale, 1, probe_units(run, WARM_NS / 4));
	loop_once();
	gap_loop_init(&loop, &recorder, &ring, run->scale, run->params[PARAM_THRESHOLD],
		      probe_units(run, WARM_NS));
	loop_once();
	recorder_reset(&recorder);
	ring_reset(&ring);
	gap_loop_init(&loop, &recorder, &ring, run->scale, run->params[PARAM_THRESHOLD],
		      probe_units(run, (double)run->options.duration_ns));
}

static void measure(struct run *run)
{
	loop.queue = run->trace.queue;
	loop_once();
	run->first = loop.first;
	run->last = loop.last;
	run->iterations = loop.iterations;
}

/*
 * What an iteration takes by itself: the mean of the intervals that are no gap. Their
 * median would do for a fine counter; with one that moves 20 ns at a time half of them
 * are 0. Where most are gaps (the threshold is below the loop's own time) it is the median.
 */
static double own_cost(const struct run *run)
{
	const uint64_t others = run->iterations - loop.gaps;

	if (loop.gaps > others || recorder.negative)
		return (double)recorder_percentile(&recorder, 50.0);
	return probe_ns(run, run->last - run->first - loop.gap_units) / (double)others;
}

static void collect(struct run *run)
{
	const double duration_ns = probe_duration_ns(run);
	double stolen_ns;

	if (recorder.recorded + recorder.overflow + recorder.negative != run->iterations)
		fault_internal("%llu intervals, but %llu recorded, %llu overflow, %llu negative",
			       (unsigned long long)run->iterations,
			       (unsigned long long)recorder.recorded,
			       (unsigned long long)recorder.overflow,
			       (unsigned long long)recorder.negative);
	run->own_cost_ns = own_cost(run);
	if ((double)run->params[PARAM_THRESHOLD] <= run->own_cost_ns)
		fault_warn("the loop itself takes %.0f ns here: a threshold of %llu ns finds gaps"
			   " that are none", run->own_cost_ns,
			   (unsigned long long)run->params[PARAM_THRESHOLD]);

	/* Less the loop's own time, which it would have taken anyway. */
	stolen_ns = probe_ns(run, loop.gap_units) - (double)loop.gaps * run->own_cost_ns;
	run->values[METRIC_GAP].recorder = &recorder;
	run->values[METRIC_STOLEN].value = fmax(stolen_ns, 0.0) / duration_ns * 1e6;
	run->values[METRIC_QUIET].value = round(probe_ns(run, loop.quiet_units));
	probe_rate(run, METRIC_GAP_RATE, loop.gaps);
	run->events = (struct event_list){
		.name = "gaps",
		.at_key = "at_ns",
		.length_key = "gap_ns",
		.ring = &ring,
		.count = loop.gaps,
		.threshold_ns = run->params[PARAM_THRESHOLD],
	};
}

static const struct probe gap = {
	.name = "gap",
	.summary = "measures the intervals in which a busy task makes no progress",
	.params = params,
	.param_count = sizeof(params) / sizeof(params[0]),
	.metrics = metrics,
	.metric_count = sizeof(metrics) / sizeof(metrics[0]),
	.attributes = true,
	.own_cost = "the mean interval that is no gap: in every value",
	.prepare = prepare,
	.warm = warm,
	.measure = measure,
	.collect = collect,
};

int main(int argc, char **argv)
{
	return probe_main(&gap, argc, argv);
}
