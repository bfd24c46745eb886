/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What does recording every interval cost? Times, in one process and in interleaved
 * blocks, (a) a loop that only reads the counter, (b) the loop of the probe `gap`, as it
 * is, (c) an iteration as other latency testers write it: a fenced read, a 64-bit
 * division, an array of one-microsecond buckets, (d) the loop of the probe `sense`, in which
 * nothing is due.
 *
 * A block runs for a fixed time, by the counter, and each kind checks the time as the probe
 * does. Judged by the ratio of the medians; the bar is 1.10. On a machine without that
 * peace (emulation), read the figure and do not judge by it.
 *
 * With --attribution, (e) is the probe's loop while the kernel's events are on and their reader
 * takes its gaps. They are on during the other blocks as well then: what they do to those shows
 * against a run without.
 *
 *   gap_speed [--cpu N] [--blocks N] [--block-ms N] [--attribution] [--check]
 *
 * A line of JSON, then one for a person. --check: exit 1 above the bar.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/disturb.h"
#include "core/fault.h"
#include "core/json.h"
#include "core/options.h"
#include "core/placement.h"
#include "core/trace.h"
#include "probes/gap_loop.h"

#define BAR 1.10
#define BLOCKS_MIN 31
#define BLOCKS_MAX 1001
#define DIVIDED_BUCKETS 4096

enum kind { BARE, GAP, DIVIDED, SENSE, TRACED, KINDS };

static const char *const kind_names[KINDS] = { "bare", "gap", "divided", "sense", "traced" };

static struct recorder recorder;
static struct ring ring;
static struct trace trace;
static struct clock_scale scale;
static double frequency_hz;
static uint64_t block_units;

struct block {
	uint64_t iterations;
	uint64_t units;
};

static __attribute__((noinline)) struct block run_bare(void)
{
	uint64_t iterations = 0;
	const uint64_t first = counter_read();
	const uint64_t end = first + block_units;
	uint64_t now;

	do {
		now = counter_read();
		iterations++;
	} while (__builtin_expect((int64_t)(now - end) < 0, 1));
	return (struct block){ iterations, now - first };
}

static __attribute__((noinline)) struct block run_loop(struct trace_queue *queue)
{
	struct gap_loop loop;

	gap_loop_init(&loop, &recorder, &ring, scale, 1000, block_units);
	loop.queue = queue;
	gap_loop_run(&loop, gap_real_counter, NULL);
	return (struct block){ loop.iterations, loop.last - loop.first };
}

static struct block run_gap(void)
{
	return run_loop(NULL);
}

static struct block run_traced(void)
{
	return run_loop(trace.queue);
}

static __attribute__((noinline)) struct block run_sense(void)
{
	struct gap_loop loop;

	atomic_store(&disturb_shared.due, counter_read() + INT64_MAX / 2);
	gap_loop_init(&loop, &recorder, &ring, scale, 1000, block_units);
	gap_loop_run(&loop, disturb_counter, NULL);
	return (struct block){ loop.iterations, loop.last - loop.first };
}

/* One fence before the read, as they have it. */
static inline __attribute__((always_inline)) uint64_t fenced_read(void)
{
#if defined(__x86_64__)
	__asm__ volatile("lfence" ::: "memory");
#else
	__asm__ volatile("isb" ::: "memory");
#endif
	return counter_read();
}

static __attribute__((noinline)) struct block run_divided(void)
{
	static uint64_t buckets[DIVIDED_BUCKETS];
	/* Volatile: a divisor known to the compiler would become a multiplication. */
	static volatile uint64_t units_per_us;
	uint64_t iterations = 0, max = 0, min = UINT64_MAX;
	const uint64_t first = fenced_read();
	const uint64_t end = first + block_units;
	uint64_t previous = first, now;

	units_per_us = frequency_hz < 1e6 ? 1 : (uint64_t)(frequency_hz / 1e6);
	do {
		uint64_t us;

		now = fenced_read();
		us = (now - previous) / units_per_us;
		buckets[us < DIVIDED_BUCKETS ? us : DIVIDED_BUCKETS - 1]++;
		if (us > max)
			max = us;
		if (us < min)
			min = us;
		previous = now;
		iterations++;
	} while (__builtin_expect((int64_t)(now - end) < 0, 1));
	buckets[0] += max + min;
	return (struct block){ iterations, now - first };
}

static struct block (*const runs[KINDS])(void) = {
	run_bare, run_gap, run_divided, run_sense, run_traced,
};

static int compare_double(const void *a, const void *b)
{
	const double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *values, size_t n)
{
	qsort(values, n, sizeof(*values), compare_double);
	return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2.0;
}

int main(int argc, char **argv)
{
	static double ns[KINDS][BLOCKS_MAX];
	double medians[KINDS] = { 0 }, ratio;
	int kinds = TRACED;
	size_t blocks = 61;
	uint64_t block_ms = 10;
	int cpu = -1;
	bool check = false;
	struct placement_origin origin;
	struct json json;

	fault_set_program("gap_speed");
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--cpu")) {
			i++;
			cpu = (int)options_number("--cpu", argv[i], 0, PLACEMENT_CPUS_MAX - 1);
		} else if (!strcmp(argv[i], "--blocks")) {
			i++;
			blocks = (size_t)options_number("--blocks", argv[i], BLOCKS_MIN, BLOCKS_MAX);
		} else if (!strcmp(argv[i], "--block-ms")) {
			i++;
			block_ms = options_number("--block-ms", argv[i], 1, 10000);
		} else if (!strcmp(argv[i], "--attribution")) {
			kinds = KINDS;
		} else if (!strcmp(argv[i], "--check")) {
			check = true;
		} else {
			fault_usage("unknown option %s", argv[i]);
		}
	}

	if (kinds == KINDS) {
		placement_remember(&origin);
		placement_stay_off(&origin, cpu);
		trace_start(&trace, &(struct trace_request){ .cpu = cpu, .tid = (int32_t)getpid(),
							     .ring_bytes = (size_t)8 << 20 },
			    65536, placement_other_cpu(&origin, cpu) >= 0);
	}
	recorder_init(&recorder, 2, placement_allocate(recorder_length(2) * sizeof(uint64_t)));
	ring_init(&ring, placement_allocate(65536 * sizeof(struct ring_entry)), 65536);
	(void)placement_lock_memory();
	if (cpu >= 0)
		placement_pin(cpu);
	frequency_hz = clock_calibrate().hz;
	if (frequency_hz <= 0.0)
		fault_environment(0, "see dmesg about the TSC", "the cycle counter does not advance");
	scale = clock_scale_from(frequency_hz);
	block_units = (uint64_t)((double)block_ms * frequency_hz / 1e3);

	if (trace.asked)
		trace_arm(&trace, scale.mult, clock_granularity());
	for (int kind = 0; kind < kinds; kind++)
		(void)runs[kind]();
	for (size_t block = 0; block < blocks; block++) {
		/* Each kind comes first, second and last equally often. */
		for (size_t turn = 0; turn < (size_t)kinds; turn++) {
			const size_t kind = (block + turn) % (size_t)kinds;
			struct block done;

			recorder_reset(&recorder);
			ring_reset(&ring);
			done = runs[kind]();
			ns[kind][block] = (double)done.units / (double)done.iterations /
					  frequency_hz * 1e9;
		}
	}

	if (trace.asked)
		trace_finish(&trace, counter_read());
	for (int kind = 0; kind < kinds; kind++)
		medians[kind] = median(ns[kind], blocks);
	ratio = medians[GAP] / medians[BARE];

	json_init(&json);
	json_open(&json, NULL, '{');
	json_string(&json, "bench", "gap_speed");
	json_u64(&json, "blocks", blocks);
	json_u64(&json, "block_ms", block_ms);
	json_i64(&json, "cpu", cpu);
	json_open(&json, "median_ns", '{');
	for (int kind = 0; kind < kinds; kind++)
		json_double(&json, kind_names[kind], medians[kind]);
	json_close(&json, '}');
	json_double(&json, "ratio", ratio);
	json_double(&json, "divided_ratio", medians[DIVIDED] / medians[BARE]);
	json_double(&json, "sense_ratio", medians[SENSE] / medians[BARE]);
	if (trace.asked) {
		json_string(&json, "level", trace_level_names[trace.report ? trace.report->opening.level : 0]);
		json_double(&json, "traced_ratio", medians[TRACED] / medians[BARE]);
		json_double(&json, "sample_ns", trace.sample_ns);
	}
	json_double(&json, "bar", BAR);
	json_bool(&json, "within", ratio <= BAR);
	json_close(&json, '}');
	puts(json.text);
	printf("bare %.2f ns, gap %.2f ns, fenced and divided %.2f ns an iteration:"
	       " gap/bare %.3f (bar %.2f, %s)\n",
	       medians[BARE], medians[GAP], medians[DIVIDED], ratio, BAR,
	       ratio <= BAR ? "held" : "NOT held");
	json_free(&json);
	return check && ratio > BAR ? 1 : 0;
}
