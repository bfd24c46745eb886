/* SPDX-License-Identifier: Apache-2.0 */
/* What a probe says: --describe, result.json and its files, the summary for a person. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/fault.h"
#include "core/json.h"
#include "core/output.h"
#include "core/probe.h"

#define DIGITS_OF(x) #x
#define TEXT_OF(x) DIGITS_OF(x)
#if defined(__clang__)
#define COMPILER "clang " TEXT_OF(__clang_major__) "." TEXT_OF(__clang_minor__) "." \
	TEXT_OF(__clang_patchlevel__)
#else
#define COMPILER "gcc " TEXT_OF(__GNUC__) "." TEXT_OF(__GNUC_MINOR__) "." \
	TEXT_OF(__GNUC_PATCHLEVEL__)
#endif
#if defined(__GLIBC__)
#define LIBRARY "glibc " TEXT_OF(__GLIBC__) "." TEXT_OF(__GLIBC_MINOR__)
#else
#define LIBRARY "musl"		/* which has no macro to be known by */
#endif
#if defined(__x86_64__)
#define ARCH "x86_64"
#else
#define ARCH "aarch64"
#endif

/* ---- --describe ---- */

static void describe_bound(struct json *json, const struct param *param, const char *key,
			   const char *text)
{
	uint64_t value;

	if (param->type != PARAM_INT) {
		json_string(json, key, text);
		return;
	}
	if (!options_parse_int(text, &value))
		fault_internal("a table holds the value \"%s\"", text);
	json_u64(json, key, value);
}

void result_describe(const struct probe *probe, struct json *json)
{
	static const char *const types[] = {
		[PARAM_INT] = "int", [PARAM_DURATION] = "duration", [PARAM_CHOICE] = "choice",
	};

	json_open(json, NULL, '{');
	json_u64(json, "schema", PROBE_SCHEMA);
	json_string(json, "probe", probe->name);
	json_string(json, "summary", probe->summary);
	json_string(json, "own_cost", probe->own_cost);
	if (options_helper(probe->scope))
		json_string(json, "helper", options_helper(probe->scope));
	else
		json_null(json, "helper");
	if (probe->attributes_always)
		json_string(json, "attributes", "always");
	else
		json_bool(json, "attributes", probe->attributes);
	json_open(json, "params", '{');
	for (size_t i = 0; i < probe->param_count; i++) {
		const struct param *param = &probe->params[i];

		json_open(json, param->name, '{');
		json_string(json, "type", types[param->type]);
		describe_bound(json, param, "default", param->preset);
		if (param->type == PARAM_CHOICE) {
			json_open(json, "choices", '[');
			for (size_t c = 0; param->choices[c]; c++)
				json_string(json, NULL, param->choices[c]);
			json_close(json, ']');
		} else {
			describe_bound(json, param, "min", param->min);
			describe_bound(json, param, "max", param->max);
		}
		json_string(json, "help", param->help);
		json_close(json, '}');
	}
	json_close(json, '}');
	json_open(json, "metrics", '{');
	for (size_t i = 0; i < probe->metric_count; i++) {
		const struct metric *metric = &probe->metrics[i];

		json_open(json, metric->name, '{');
		json_string(json, "kind", metric->kind == METRIC_HISTOGRAM ? "histogram" : "scalar");
		json_string(json, "unit", metric->unit);
		json_string(json, "better", metric->better);
		json_close(json, '}');
	}
	json_close(json, '}');
	json_close(json, '}');
	json_newline(json);
}

/* ---- files ---- */

/* Names of the files, kept until the output is committed. */
static char names[PROBE_METRICS_MAX + 1][64];

static const char *file_name(size_t slot, const char *stem, const char *ending)
{
	const int n = snprintf(names[slot], sizeof(names[slot]), "%s.%s", stem, ending);

	if (n < 0 || (size_t)n >= sizeof(names[slot]))
		fault_internal("the name %s is too long", stem);
	return names[slot];
}

static void write_histograms(const struct probe *probe, const struct run *run,
			     struct output *output)
{
	for (size_t i = 0; i < probe->metric_count; i++) {
		const struct recorder *recorder = run->values[i].recorder;
		uint8_t *bytes;

		if (probe->metrics[i].kind != METRIC_HISTOGRAM)
			continue;
		bytes = malloc(recorder_encoded_bound(recorder));
		if (!bytes)
			fault_environment(0, "free memory", "no memory for a histogram's text");
		output_write(output, file_name(i, probe->metrics[i].name, "hdr"), bytes,
			     recorder_encode(recorder, bytes));
		free(bytes);
	}
}

static void write_events(struct run *run, struct output *output)
{
	const struct event_list *events = &run->events;
	struct json json;

	if (!events->name)
		return;
	output_begin(output, file_name(PROBE_METRICS_MAX, events->name, "jsonl"));
	json_init(&json);
	for (size_t i = 0; i < events->ring->stored; i++) {
		const struct ring_entry *entry = &events->ring->entries[i];
		/* An entry after a counter that stepped back may lie before the begin. */
		const double units = (double)(int64_t)(entry->start - run->first);

		json_reset(&json);
		json_open(&json, NULL, '{');
		json_i64(&json, events->at_key, events->in_ns ? (int64_t)entry->start :
			 (int64_t)llround(units / run->final.hz * 1e9));
		json_u64(&json, events->length_key, events->in_ns ? entry->units :
			 clock_ns(run->scale.mult, entry->units));
		trace_gap_json(&run->trace, entry->start, &json);
		json_close(&json, '}');
		json_newline(&json);
		output_append(output, json.text, json.used);
	}
	json_free(&json);
	output_end(output);
}

/* ---- result.json ---- */

/* What the machine's clocks showed at both ends: NTP moves them against the counter in between. */
static void write_clocks(const struct run *run, struct json *json)
{
	json_open(json, "started", '{');
	json_i64(json, "realtime_ns", clock_at(&run->realtime_begin, run->first, run->final.hz));
	json_i64(json, "boottime_ns", clock_at(&run->boottime_begin, run->first, run->final.hz));
	json_i64(json, "monotonic_raw_ns", clock_at(&run->raw_begin, run->first, run->final.hz));
	json_close(json, '}');
	json_open(json, "ended", '{');
	json_i64(json, "realtime_ns", clock_at(&run->realtime_end, run->last, run->final.hz));
	json_i64(json, "boottime_ns", clock_at(&run->boottime_end, run->last, run->final.hz));
	json_i64(json, "monotonic_raw_ns", clock_at(&run->raw_end, run->last, run->final.hz));
	json_close(json, '}');
}

static void write_params(const struct probe *probe, const struct run *run, struct json *json)
{
	json_open(json, "params", '{');
	for (size_t i = 0; i < probe->param_count; i++) {
		const struct param *param = &probe->params[i];
		char name[64];

		snprintf(name, sizeof(name), "%s%s", param->name,
			 param->type == PARAM_DURATION ? "_ns" : "");
		for (char *at = strchr(name, '-'); at; at = strchr(at, '-'))
			*at = '_';
		if (param->type == PARAM_CHOICE)
			json_string(json, name, param->choices[run->params[i]]);
		else
			json_u64(json, name, run->params[i]);
	}
	json_close(json, '}');
}

static void write_clock(const struct run *run, struct json *json)
{
	const struct clock_identity *identity = &run->identity;

	json_open(json, "clock", '{');
	json_string(json, "source", identity->source);
	json_double(json, "frequency_hz", run->final.hz);
	json_double(json, "frequency_error_ppm", run->final.error_ppm);
	json_double(json, "frequency_initial_hz", run->initial.hz);
	json_double(json, "frequency_initial_error_ppm", run->initial.error_ppm);
	json_double(json, "drift_ppm", (run->final.hz - run->initial.hz) / run->initial.hz * 1e6);
	json_double(json, "granularity_ns", run->granularity_units / run->final.hz * 1e9);
	json_tristate(json, "invariant", identity->invariant);
	json_tristate(json, "virtual", identity->virtualised);
	json_string(json, "kernel_clocksource",
		    identity->kernel_clocksource[0] ? identity->kernel_clocksource : NULL);
	json_close(json, '}');
}

static void write_placement(const char *key, const struct placement *placement, struct json *json)
{
	json_open(json, key, '{');
	json_string(json, "affinity", placement->affinity);
	json_string(json, "policy", placement->policy);
	json_i64(json, "priority", placement->priority);
	if (placement->period_ns) {
		json_u64(json, "runtime_ns", placement->runtime_ns);
		json_u64(json, "period_ns", placement->period_ns);
	}
	if (placement->cgroup[0])
		json_string(json, "cgroup", placement->cgroup);
	json_i64(json, "cpu", placement->cpu);
	json_close(json, '}');
}

static void write_effective(const struct run *run, struct json *json)
{
	json_open(json, "effective", '{');
	write_placement("start", &run->start, json);
	write_placement("end", &run->end, json);
	json_bool(json, "memory_locked", !run->memory_error);
	json_string(json, "memory_error", run->memory_error ? strerror(run->memory_error) : NULL);
	if (run->memory_node < 0)
		json_null(json, "memory_node");
	else
		json_i64(json, "memory_node", run->memory_node);
	json_close(json, '}');
	json_open(json, "faults", '{');
	json_u64(json, "minor", run->minor_faults);
	json_u64(json, "major", run->major_faults);
	if (run->injected_faults)
		json_u64(json, "injected", run->injected_faults);
	json_close(json, '}');
	json_open(json, "switches", '{');
	json_u64(json, "voluntary", run->voluntary_switches);
	json_u64(json, "involuntary", run->involuntary_switches);
	json_close(json, '}');
}

static void write_histogram(size_t slot, const struct metric *metric,
			    const struct metric_value *value, struct json *json)
{
	const struct recorder *recorder = value->recorder;

	json_open(json, metric->name, '{');
	json_string(json, "file", names[slot]);
	json_string(json, "unit", metric->unit);
	json_u64(json, "digits", recorder->digits);
	json_u64(json, "lowest", RECORDER_LOWEST_NS);
	json_u64(json, "highest", RECORDER_HIGHEST_NS);
	json_u64(json, "recorded", recorder->recorded);
	json_u64(json, "overflow", recorder->overflow);
	json_u64(json, "negative", recorder->negative);
	json_u64(json, "dropped", 0);	/* a histogram has room for every value */
	json_u64(json, "missed", value->missed);
	if (recorder_any(recorder)) {
		json_u64(json, "min", recorder->min);
		json_u64(json, "max", recorder->max);
	} else {
		json_null(json, "min");
		json_null(json, "max");
	}
	json_close(json, '}');
}

static void write_scalar(const struct metric *metric, const struct metric_value *value,
			 struct json *json)
{
	json_open(json, metric->name, '{');
	json_double(json, "value", value->value);
	if (metric->kind == METRIC_RATE) {
		json_double(json, "upper", value->upper);
		json_u64(json, "count", value->count);
	}
	json_string(json, "unit", metric->unit);
	json_close(json, '}');
}

static void write_metrics(const struct probe *probe, const struct run *run, struct json *json)
{
	json_open(json, "histograms", '{');
	for (size_t i = 0; i < probe->metric_count; i++)
		if (probe->metrics[i].kind == METRIC_HISTOGRAM)
			write_histogram(i, &probe->metrics[i], &run->values[i], json);
	json_close(json, '}');
	json_open(json, "scalars", '{');
	for (size_t i = 0; i < probe->metric_count; i++)
		if (probe->metrics[i].kind != METRIC_HISTOGRAM)
			write_scalar(&probe->metrics[i], &run->values[i], json);
	json_close(json, '}');
	if (run->events.name) {
		json_open(json, run->events.name, '{');
		json_string(json, "file", names[PROBE_METRICS_MAX]);
		json_u64(json, "count", run->events.count);
		json_u64(json, "stored", run->events.ring->stored);
		json_u64(json, "dropped", run->events.ring->dropped);
		json_u64(json, "threshold_ns", run->events.threshold_ns);
		json_close(json, '}');
	}
}

void result_write(const struct probe *probe, struct run *run, struct output *output)
{
	struct json json;

	write_histograms(probe, run, output);
	write_events(run, output);

	json_init(&json);
	json_open(&json, NULL, '{');
	json_u64(&json, "schema", PROBE_SCHEMA);
	json_string(&json, "probe", probe->name);
	json_string(&json, "version", PROBE_VERSION);
	json_string(&json, "arch", ARCH);
	json_string(&json, "compiler", COMPILER ", " LIBRARY);
	if (run->options.cpu >= 0)
		json_i64(&json, "cpu", run->options.cpu);
	else
		json_null(&json, "cpu");
	write_clocks(run, &json);
	json_u64(&json, "duration_ns", (uint64_t)llround(probe_duration_ns(run)));
	write_params(probe, run, &json);
	write_clock(run, &json);
	json_open(&json, "loop", '{');
	json_u64(&json, "iterations", run->iterations);
	json_double(&json, "own_cost_ns", run->own_cost_ns);
	json_double(&json, "resolution_ns", run->resolution_ns);
	json_close(&json, '}');
	write_effective(run, &json);
	write_metrics(probe, run, &json);
	trace_json(&run->trace, &json);
	if (probe->extra)
		probe->extra(run, output, &json);
	if (probe->detail) {
		json_open(&json, "detail", '{');
		probe->detail(run, &json);
		json_close(&json, '}');
	}
	if (probe->identity || run->trace.asked) {
		json_open(&json, "identity", '{');
		if (probe->identity)
			probe->identity(run, &json);
		trace_identity_json(&run->trace, &json);
		json_close(&json, '}');
	}
	json_close(&json, '}');
	json_newline(&json);
	output_commit(output, json.text, json.used);
	json_free(&json);
}

/* ---- the summary ---- */

static void summarise_ns(const char *label, uint64_t ns)
{
	if (ns < 10000)
		printf("  %s %" PRIu64 " ns", label, ns);
	else if (ns < 10000000)
		printf("  %s %.1f us", label, (double)ns / 1e3);
	else
		printf("  %s %.1f ms", label, (double)ns / 1e6);
}

static void summarise_histogram(const char *name, const struct recorder *recorder, uint64_t missed)
{
	static const struct {
		double percentile;
		const char *label;
	} shown[] = {
		{ 50.0, "p50" }, { 99.0, "p99" }, { 99.9, "p99.9" },
		{ 99.99, "p99.99" }, { 99.999, "p99.999" },
	};

	printf("%-13s", name);
	if (!recorder_any(recorder)) {
		printf("  nothing was recorded, %" PRIu64 " missed\n", missed);
		return;
	}
	summarise_ns("min", recorder->min);
	for (size_t i = 0; i < sizeof(shown) / sizeof(shown[0]); i++)
		summarise_ns(shown[i].label, recorder_percentile(recorder, shown[i].percentile));
	summarise_ns("max", recorder->max);
	printf("\n               %" PRIu64 " recorded, %" PRIu64 " overflow, %" PRIu64 " negative",
	       recorder->recorded, recorder->overflow, recorder->negative);
	if (missed)
		printf(", %" PRIu64 " MISSED", missed);
	putchar('\n');
}

static void summarise_metric(const struct metric *metric, const struct metric_value *value)
{
	switch (metric->kind) {
	case METRIC_HISTOGRAM:
		summarise_histogram(metric->name, value->recorder, value->missed);
		break;
	case METRIC_SCALAR:
		printf("%-13s  %.10g %s\n", metric->name, value->value, metric->unit);
		break;
	case METRIC_RATE:
		printf("%-13s  %.6g %s (%" PRIu64 " events; at most %.6g with 95 %% confidence)\n",
		       metric->name, value->value, metric->unit, value->count, value->upper);
		break;
	}
}

static const char *tristate_text(enum tristate state, const char *yes, const char *no,
				 const char *unknown)
{
	return state == STATE_YES ? yes : state == STATE_NO ? no : unknown;
}

void result_summarise(const struct probe *probe, const struct run *run)
{
	const struct clock_identity *identity = &run->identity;

	printf("%s on CPU %d (%s", probe->name, run->start.cpu, run->start.policy);
	if (run->start.priority)
		printf(":%d", run->start.priority);
	printf(", %s) for %.3f s\n", run->options.cpu >= 0 ? "pinned" : "not pinned",
	       probe_duration_ns(run) / 1e9);
	for (size_t i = 0; i < probe->metric_count; i++)
		summarise_metric(&probe->metrics[i], &run->values[i]);
	if (run->events.name)
		printf("%-13s  %" PRIu64 " of at least %" PRIu64 " ns, %" PRIu64 " not stored\n",
		       run->events.name, run->events.count, run->events.threshold_ns,
		       run->events.ring->dropped);
	trace_summarise(&run->trace);
	printf("loop           %" PRIu64 " iterations, own cost %.4g ns (%s), resolution %.3g ns\n",
	       run->iterations, run->own_cost_ns, probe->own_cost, run->resolution_ns);
	if (probe->detail || probe->identity) {
		struct json json;

		json_init(&json);
		if (probe->identity)
			probe->identity(run, &json);
		if (probe->detail)
			probe->detail(run, &json);
		printf("detail         %s\n", json.text);
		json_free(&json);
	}
	printf("clock          %s %.6f MHz +- %.3g ppm, drift %.3g ppm, steps of %.3g ns, %s, %s,"
	       " kernel uses %s\n",
	       identity->source, run->final.hz / 1e6, run->final.error_ppm,
	       (run->final.hz - run->initial.hz) / run->initial.hz * 1e6,
	       run->granularity_units / run->final.hz * 1e9,
	       tristate_text(identity->invariant, "invariant", "NOT invariant", "perhaps invariant"),
	       tristate_text(identity->virtualised, "virtual machine", "metal", "machine unknown"),
	       identity->kernel_clocksource[0] ? identity->kernel_clocksource : "an unknown clock");
	if (run->memory_error)
		printf("note           memory is not locked: %s (raise RLIMIT_MEMLOCK)\n",
		       strerror(run->memory_error));
	if (run->minor_faults || run->major_faults)
		printf("note           %" PRIu64 " minor, %" PRIu64 " major page faults while measuring\n",
		       run->minor_faults, run->major_faults);
	if (run->start.cpu != run->end.cpu)
		printf("note           began on CPU %d and ended on CPU %d\n", run->start.cpu,
		       run->end.cpu);
}
