/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What all probes have in common: the order of a run, the command line, the result.
 *
 * A probe is a table (parameters, metrics) and four functions; probe_main() does
 * the rest, always in this order, because each step spoils or needs another:
 *
 *   options; die with the parent
 *   off the measured CPU; safety timer	(it stays on the CPU where it is armed)
 *   memory of the CPU's node; prepare()	(before it is locked; events that attribute are opened)
 *   lock and prefault memory
 *   calibrate the counter		(10 ms of busy waiting)
 *   cgroup, CPU and scheduler, read back
 *   events that attribute begin to count
 *   warm(): the loop, once		(code, data and branches are then known to the CPU)
 *   wait for --start-at			(several probes of a run begin together)
 *   brackets, rusage			(armed: from here on nothing is opened or allocated)
 *   measure(): the loop
 *   rusage, bracket, read back
 *   off the measured CPU and out of the cgroup; collect(); write
 */
#ifndef ISOLBENCH_PROBE_H
#define ISOLBENCH_PROBE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/clock.h"
#include "core/options.h"
#include "core/placement.h"
#include "core/recorder.h"
#include "core/ring.h"
#include "core/trace.h"

#define PROBE_VERSION "0.1.0"
#define PROBE_SCHEMA 1		/* of result.json and --describe; history: 1, the first */
#define PROBE_METRICS_MAX 16
#define PROBE_PARAMS_MAX 16

enum metric_kind { METRIC_HISTOGRAM, METRIC_SCALAR, METRIC_RATE };

struct metric {
	const char *name;
	enum metric_kind kind;	/* a rate is a scalar with a count and a bound */
	const char *unit;
	const char *better;	/* "lower" or "higher" */
};

/* What a probe says about one metric; which fields count depends on the kind. */
struct metric_value {
	const struct recorder *recorder;	/* histogram */
	uint64_t missed;			/* periods that were due and never happened */
	double value;				/* scalar, rate */
	double upper;				/* rate: one-sided 95 % bound */
	uint64_t count;				/* rate: events */
};

/* The single events a probe kept: written as one JSON line each. */
struct event_list {
	const char *name;		/* "gaps": the file is gaps.jsonl */
	const char *at_key, *length_key;
	const struct ring *ring;
	bool in_ns;			/* entries are ns since `first`, not counter units */
	uint64_t count;			/* stored and dropped */
	uint64_t threshold_ns;
};

struct run {
	struct options options;
	struct placement_origin origin;
	uint64_t params[PROBE_PARAMS_MAX];	/* in the order of the table */
	struct clock_frequency initial, final;
	struct clock_scale scale;		/* the initial frequency's */
	double granularity_units;
	struct clock_identity identity;

	/* measure() sets these, in counter units: the instants it covers. */
	uint64_t first, last;
	uint64_t iterations;

	/* collect() sets these; the resolution is the counter's unless it says otherwise. */
	double own_cost_ns;			/* see struct probe's own_cost */
	double resolution_ns;			/* the least difference that two values can show */
	struct metric_value values[PROBE_METRICS_MAX];
	struct event_list events;		/* name NULL: none */

	struct trace trace;			/* of probe_attribute() */

	/* The frame around the loop. */
	struct clock_bracket raw_begin, realtime_begin, boottime_begin;
	struct clock_bracket raw_end, realtime_end, boottime_end;
	struct placement start, end;
	int memory_error;
	int memory_node;	/* -1: not known */
	uint64_t minor_faults, major_faults;
	uint64_t injected_faults;	/* of the minor ones, those that were made on purpose: collect() */
	uint64_t voluntary_switches, involuntary_switches;
};

struct json;
struct output;

struct probe {
	const char *name;
	const char *summary;
	enum option_scope scope;
	const struct param *params;
	size_t param_count;
	const struct metric *metrics;
	size_t metric_count;
	bool attributes;	/* prepare() calls probe_attribute(), the loop fills its queue */
	bool attributes_always;	/* whether or not that is asked for */
	const char *own_cost;	/* what own_cost_ns is, and how it was found: "the mean of ..." */
	void (*prepare)(struct run *run);
	void (*warm)(struct run *run);
	void (*measure)(struct run *run);
	void (*collect)(struct run *run);
	/* Files of its own, and members of the result that say so. Or NULL: none. */
	void (*extra)(const struct run *run, struct output *output, struct json *json);
	/* What only this probe knows, as members of the result's object "detail". Or NULL. */
	void (*detail)(const struct run *run, struct json *json);
	/* Of that what must be equal for two runs to be compared: "identity". Or NULL: nothing. */
	void (*identity)(const struct run *run, struct json *json);
};

int probe_main(const struct probe *probe, int argc, char **argv);

/* For prepare(): a recorder and a ring with their memory. */
void probe_recorder(struct recorder *recorder, uint64_t digits);
void probe_ring(struct ring *ring, uint64_t capacity);

/*
 * For prepare(), of a probe that attributes: opens the kernel's events if that is asked for. The
 * loop then gives its gaps to run->trace.queue, unless that is NULL; `kept` of them are
 * attributed one by one.
 */
void probe_attribute(struct run *run, uint64_t kept);

/* The same of a probe whose gaps are times for which the task waits for its CPU. */
void probe_attribute_waits(struct run *run, uint64_t kept);

/* For warm() and measure(): ns as counter units by the initial frequency. */
uint64_t probe_units(const struct run *run, double ns);

/* For the loop: an interval of `units`, by the initial frequency. A negative one is counted. */
static inline __attribute__((always_inline)) void
probe_record(struct recorder *recorder, uint64_t mult, uint64_t units)
{
	if (__builtin_expect((int64_t)units < 0, 0))
		recorder->negative++;
	else
		recorder_add(recorder, clock_ns(mult, units));
}

/* For collect(): a rate of so many events, with its bound. */
void probe_rate(struct run *run, size_t metric, uint64_t count);

/* Counter units as ns by the final frequency: for offsets and durations. */
double probe_ns(const struct run *run, uint64_t units);

/* What the whole run covered. */
double probe_duration_ns(const struct run *run);

/* The texts, for probe.c (result.c writes them). */
void result_describe(const struct probe *probe, struct json *json);
void result_write(const struct probe *probe, struct run *run, struct output *output);
void result_summarise(const struct probe *probe, const struct run *run);

#endif
