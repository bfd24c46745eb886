/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sense: does attribution find what happens? The loop of `gap`, with attribution always on, while
 * a thread on another CPU disturbs it in all the ways that it can, at times that are kept. Which gap
 * should have had which cause is then known, and whoever reads the result compares.
 */
#include <math.h>
#include <stdio.h>
#include <unistd.h>

#include "core/disturb.h"
#include "core/fault.h"
#include "core/json.h"
#include "core/output.h"
#include "core/placement.h"
#include "core/probe.h"
#include "probes/gap_loop.h"

#define WARM_NS 1e6
#define FILE_NAME "disturbances.jsonl"

enum { PARAM_KINDS, PARAM_DISTANCE, PARAM_THRESHOLD, PARAM_DIGITS, PARAM_RING };

static const char *const kinds[] = {
	"all", "membarrier", "tlb", "reschedule", "signal", "tick", "fault", "syscall", "task", "none", NULL,
};

static const struct param params[] = {
	[PARAM_KINDS] = { "kinds", PARAM_CHOICE, "all", NULL, NULL, "which disturbances to make", kinds },
	[PARAM_DISTANCE] = { "distance", PARAM_DURATION, "5ms", "1ms", "10s",
			     "between two of them, in the mean: half of it to one and a half", NULL },
	[PARAM_THRESHOLD] = { "threshold", PARAM_DURATION, "300ns", "50ns", "10s",
			      "an interval at least this long is a gap", NULL },
	[PARAM_DIGITS] = { "digits", PARAM_INT, "2", "2", "3",
			   "significant digits of the histogram; 3 exceeds the L1 cache", NULL },
	[PARAM_RING] = { "ring", PARAM_INT, "65536", "1", "16777216",
			 "gaps, and disturbances, kept one by one; later ones are only counted", NULL },
};

enum { METRIC_GAP, METRIC_GAP_RATE };

static const struct metric metrics[] = {
	[METRIC_GAP] = { "gap_ns", METRIC_HISTOGRAM, "ns", "lower" },
	[METRIC_GAP_RATE] = { "gap_rate_hz", METRIC_RATE, "Hz", "lower" },
};

static struct recorder recorder;
static struct ring ring;
static struct gap_loop loop;
static struct disturbance *kept;
static uint64_t seed;
static int injector_cpu;

static void prepare(struct run *run)
{
	const int cpu = run->options.cpu;
	const uint64_t only = run->params[PARAM_KINDS];
	struct disturb_request request = {
		.cpu = cpu,
		.duration_ns = run->options.duration_ns,
		.distance_ns = run->params[PARAM_DISTANCE],
		.capacity = (size_t)run->params[PARAM_RING],
	};

	probe_attribute(run, run->params[PARAM_RING]);
	probe_recorder(&recorder, run->params[PARAM_DIGITS]);
	probe_ring(&ring, run->params[PARAM_RING]);
	if (cpu >= 0 && cpu == run->options.helper_cpu)
		fault_usage("--injector-cpu %d: that is the measured CPU", cpu);
	injector_cpu = run->options.helper_cpu >= 0 ? run->options.helper_cpu :
						      placement_other_cpu(&run->origin, cpu);
	request.injector_cpu = injector_cpu;
	if (injector_cpu < 0 || (cpu < 0 && placement_other_cpu(&run->origin, injector_cpu) < 0))
		fault_environment(0, "allow this task a second CPU (taskset, cpuset)",
				  "there is one allowed CPU only, and no other to disturb the task from");
	for (int kind = 0; kind < DISTURB_KINDS; kind++)
		request.wanted[kind] = !only || only == (uint64_t)kind + 1;
	kept = placement_allocate(request.capacity * sizeof(*kept));
	request.kept = kept;
	request.seed = seed = counter_read() ^ (uint64_t)getpid() << 48;
	disturb_prepare(&request);
}

/* One copy of the loop, so that what is warmed is what is measured with. */
static __attribute__((noinline)) void loop_once(void)
{
	gap_loop_run(&loop, disturb_counter, NULL);
}

static void warm(struct run *run)
{
	const uint64_t threshold_ns = run->params[PARAM_THRESHOLD];

	/* Disturbed from where it is itself, it would not run at that instant. */
	if (run->options.cpu < 0)
		placement_stay_off(&run->origin, injector_cpu);
	disturb_warm(probe_units(run, (double)threshold_ns));
	/* First with everything a gap, for the slow path's sake. */
	gap_loop_init(&loop, &recorder, &ring, run->scale, 1, probe_units(run, WARM_NS / 4));
	loop_once();
	gap_loop_init(&loop, &recorder, &ring, run->scale, threshold_ns, probe_units(run, WARM_NS));
	loop_once();
	recorder_reset(&recorder);
	ring_reset(&ring);
	gap_loop_init(&loop, &recorder, &ring, run->scale, threshold_ns,
		      probe_units(run, (double)run->options.duration_ns));
}

static void measure(struct run *run)
{
	loop.queue = run->trace.queue;
	disturb_begin(run->initial.hz / 1e9);
	loop_once();
	run->first = loop.first;
	run->last = loop.last;
	run->iterations = loop.iterations;
	disturb_end(run->last);
	if (run->options.cpu < 0)
		placement_stay_off(&run->origin, -1);
}

static void collect(struct run *run)
{
	const uint64_t others = run->iterations - loop.gaps;

	run->own_cost_ns = loop.gaps > others || recorder.negative ?
			   (double)recorder_percentile(&recorder, 50.0) :
			   probe_ns(run, run->last - run->first - loop.gap_units) / (double)others;
	run->injected_faults = disturb_faults();
	run->values[METRIC_GAP].recorder = &recorder;
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

/* ---- what was done ---- */

/* As those of the gaps: since the loop's first reading. */
static void put_time(const struct run *run, struct json *json, const char *key, uint64_t counter)
{
	const double units = (double)(int64_t)(counter - run->first);

	json_i64(json, key, (int64_t)llround(units / run->final.hz * 1e9));
}

static void write_disturbances(const struct run *run, struct output *output)
{
	struct json json;

	output_begin(output, FILE_NAME);
	json_init(&json);
	for (size_t i = 0; i < disturb_report.stored; i++) {
		const struct disturbance *made = &kept[i];

		json_reset(&json);
		json_open(&json, NULL, '{');
		json_string(&json, "kind", disturb_kind_names[made->kind]);
		put_time(run, &json, "at_ns", made->at);
		put_time(run, &json, "end_ns", made->end);
		if (made->effect)
			put_time(run, &json, "effect_ns", made->effect);
		if (made->kind == DISTURB_SYSCALL)
			json_string(&json, "name", disturb_call_name(made->call));
		json_close(&json, '}');
		json_newline(&json);
		output_append(output, json.text, json.used);
	}
	json_free(&json);
	output_end(output);
}

static void extra(const struct run *run, struct output *output, struct json *json)
{
	const struct disturb_report *report = &disturb_report;

	write_disturbances(run, output);
	json_open(json, "disturbances", '{');
	json_string(json, "file", FILE_NAME);
	json_u64(json, "count", report->count);
	json_u64(json, "stored", report->stored);
	json_u64(json, "dropped", report->count - report->stored);
	json_u64(json, "unanswered", report->unanswered);
	json_u64(json, "threshold_ns", run->params[PARAM_THRESHOLD]);
	json_open(json, "made", '{');
	for (int kind = 0; kind < DISTURB_KINDS; kind++)
		if (report->made[kind])
			json_u64(json, disturb_kind_names[kind], report->made[kind]);
	json_close(json, '}');
	json_open(json, "unavailable", '{');
	for (int kind = 0; kind < DISTURB_KINDS; kind++)
		if (report->unavailable[kind][0])
			json_string(json, disturb_kind_names[kind], report->unavailable[kind]);
	json_close(json, '}');
	json_close(json, '}');
}

/* As it read it back. */
static void put_place(struct json *json, const struct placement *placement)
{
	json_i64(json, "cpu", placement->cpu);
	json_string(json, "affinity", placement->affinity);
	json_string(json, "policy", placement->policy);
	json_i64(json, "priority", placement->priority);
}

static void detail(const struct run *run, struct json *json)
{
	char text[24];

	(void)run;
	json_open(json, "injector", '{');
	json_i64(json, "tid", disturb_report.injector_tid);
	put_place(json, &disturb_report.injector);
	json_close(json, '}');
	if (disturb_report.has_task) {
		json_open(json, "task", '{');
		json_i64(json, "tid", disturb_report.task_tid);
		put_place(json, &disturb_report.task);
		json_close(json, '}');
	} else {
		json_null(json, "task");
	}
	/* More digits than a reader of JSON may keep. */
	snprintf(text, sizeof(text), "%016llx", (unsigned long long)seed);
	json_string(json, "seed", text);
}

static const struct probe sense = {
	.name = "sense",
	.summary = "disturbs a busy task at known times, to see whether attribution finds it",
	.scope = OPTIONS_WITH_INJECTOR,
	.params = params,
	.param_count = sizeof(params) / sizeof(params[0]),
	.metrics = metrics,
	.metric_count = sizeof(metrics) / sizeof(metrics[0]),
	.attributes = true,
	.attributes_always = true,
	.own_cost = "the mean interval that is no gap: in every value",
	.prepare = prepare,
	.warm = warm,
	.measure = measure,
	.collect = collect,
	.extra = extra,
	.detail = detail,
};

int main(int argc, char **argv)
{
	return probe_main(&sense, argc, argv);
}
