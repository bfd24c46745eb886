/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows a probe's parts to the tests: each command reads lines (or words) on stdin,
 * gives them to the real code, and prints what came out.
 *
 *   index DIGITS            values     -> bucket index, lowest and highest of the bucket
 *   encode DIGITS           "value count" lines -> the V2 payload
 *   record DIGITS           values     -> JSON: counters, min, max, percentiles
 *   feed MULT_HZ THRESHOLD_NS RING DIGITS   counter readings -> JSON: the loop of `gap` over them
 *   duration                texts      -> ns or "error", and the canonical spelling
 *   int                     texts      -> value or "error"
 *   poisson                 counts     -> upper bounds
 *   granularity             steps      -> the estimate
 *   json                    one text (to the end) -> it as a JSON string
 *   double                  numbers    -> JSON numbers
 *   mask                    CPU numbers -> a CPU list
 *   convert HZ              units      -> ns by the hot path and by the wide one
 *   periods INTERVAL DURATION   "s TIME" or "m TIME": at TIME the next deadline is served or
 *                           missed -> JSON: planned, served, missed, deadlines
 *   list LIST               CPU numbers -> 1 for each that is in the list, else 0
 *   timer CPU                          -> its timer interrupts, or "unknown"
 *   offset SKEW             two threads compare counters, one of which is SKEW units ahead
 *   small GRANULARITY MOST  "low high" lines -> 1 if such bounds are those of one clock
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/fault.h"
#include "core/json.h"
#include "core/offset.h"
#include "core/options.h"
#include "core/periods.h"
#include "core/placement.h"
#include "core/poisson.h"
#include "core/recorder.h"
#include "core/ring.h"
#include "core/sysfs.h"
#include "probes/gap_loop.h"

static struct recorder recorder;
static struct ring ring;

static uint64_t argument(char **argv, int i)
{
	uint64_t value;

	if (!argv[i] || !options_parse_int(argv[i], &value))
		fault_usage("argument %d is missing or no number", i);
	return value;
}

static void setup_recorder(unsigned int digits)
{
	recorder_init(&recorder, digits, calloc(recorder_length(digits), sizeof(uint64_t)));
}

static void command_index(char **argv)
{
	uint64_t value;

	setup_recorder((unsigned int)argument(argv, 2));
	while (scanf("%" SCNu64, &value) == 1) {
		const size_t index = recorder_index(&recorder, value);

		printf("%zu %" PRIu64 " %" PRIu64 "\n", index,
		       recorder_bucket_low(&recorder, index),
		       recorder_bucket_high(&recorder, index));
	}
}

static void command_encode(char **argv)
{
	uint64_t value, count;
	uint8_t *bytes;

	setup_recorder((unsigned int)argument(argv, 2));
	while (scanf("%" SCNu64 " %" SCNu64, &value, &count) == 2)
		recorder.counts[recorder_index(&recorder, value)] += count;
	bytes = malloc(recorder_encoded_bound(&recorder));
	if (!bytes)
		fault_internal("no memory");
	fwrite(bytes, 1, recorder_encode(&recorder, bytes), stdout);
	free(bytes);
}

static void put_recorder(struct json *json)
{
	recorder_finish(&recorder);
	json_u64(json, "length", recorder.length);
	json_u64(json, "recorded", recorder.recorded);
	json_u64(json, "overflow", recorder.overflow);
	json_u64(json, "negative", recorder.negative);
	if (recorder_any(&recorder)) {
		json_u64(json, "min", recorder.min);
		json_u64(json, "max", recorder.max);
	}
	json_u64(json, "p50", recorder_percentile(&recorder, 50.0));
	json_u64(json, "p99", recorder_percentile(&recorder, 99.0));
	json_u64(json, "p100", recorder_percentile(&recorder, 100.0));
	json_open(json, "counts", '[');
	for (size_t i = 0; i < recorder.length; i++) {
		if (!recorder.counts[i])
			continue;
		json_open(json, NULL, '[');
		json_u64(json, NULL, i);
		json_u64(json, NULL, recorder.counts[i]);
		json_close(json, ']');
	}
	json_close(json, ']');
}

static void command_record(char **argv)
{
	struct json json;
	uint64_t value;

	setup_recorder((unsigned int)argument(argv, 2));
	while (scanf("%" SCNu64, &value) == 1)
		recorder_add(&recorder, value);
	json_init(&json);
	json_open(&json, NULL, '{');
	put_recorder(&json);
	json_close(&json, '}');
	puts(json.text);
	json_free(&json);
}

/* ---- the loop, over a synthetic counter ---- */

struct feed {
	uint64_t *values;
	size_t length, next;
};

static uint64_t feed_read(void *argument_of_loop)
{
	struct feed *feed = argument_of_loop;
	const size_t at = feed->next < feed->length ? feed->next++ : feed->length - 1;

	return feed->values[at];
}

static void command_feed(char **argv)
{
	const double hz = (double)argument(argv, 2);
	const uint64_t threshold_ns = argument(argv, 3);
	const size_t capacity = (size_t)argument(argv, 4);
	struct feed feed = { 0 };
	size_t room = 1024;
	struct gap_loop loop;
	struct json json;

	setup_recorder((unsigned int)argument(argv, 5));
	ring_init(&ring, calloc(capacity, sizeof(struct ring_entry)), capacity);
	feed.values = malloc(room * sizeof(uint64_t));
	while (feed.values && scanf("%" SCNu64, &feed.values[feed.length]) == 1) {
		if (++feed.length == room)
			feed.values = realloc(feed.values, (room *= 2) * sizeof(uint64_t));
	}
	if (!feed.values || feed.length < 2)
		fault_usage("at least two readings are needed");

	/* The run ends at the last reading, which must be the highest. */
	gap_loop_init(&loop, &recorder, &ring, clock_scale_from(hz), threshold_ns,
		      feed.values[feed.length - 1] - feed.values[0]);
	gap_loop_run(&loop, feed_read, &feed);

	json_init(&json);
	json_open(&json, NULL, '{');
	json_u64(&json, "first", loop.first);
	json_u64(&json, "last", loop.last);
	json_u64(&json, "iterations", loop.iterations);
	json_u64(&json, "gaps", loop.gaps);
	json_u64(&json, "gap_units", loop.gap_units);
	json_u64(&json, "quiet_units", loop.quiet_units);
	json_u64(&json, "ring_dropped", ring.dropped);
	json_open(&json, "ring", '[');
	for (size_t i = 0; i < ring.stored; i++) {
		json_open(&json, NULL, '[');
		json_u64(&json, NULL, ring.entries[i].start);
		json_u64(&json, NULL, ring.entries[i].units);
		json_close(&json, ']');
	}
	json_close(&json, ']');
	put_recorder(&json);
	json_close(&json, '}');
	puts(json.text);
	json_free(&json);
	free(feed.values);
}

/* ---- the rest ---- */

static void command_duration(char **argv)
{
	char line[256], canonical[32];

	(void)argv;
	while (fgets(line, sizeof(line), stdin)) {
		uint64_t ns;

		line[strcspn(line, "\n")] = '\0';
		if (options_parse_duration(line, &ns))
			printf("%" PRIu64 " %s\n", ns,
			       options_format_duration(ns, canonical, sizeof(canonical)));
		else
			puts("error");
	}
}

static void command_int(char **argv)
{
	char line[256];

	(void)argv;
	while (fgets(line, sizeof(line), stdin)) {
		uint64_t value;

		line[strcspn(line, "\n")] = '\0';
		if (options_parse_int(line, &value))
			printf("%" PRIu64 "\n", value);
		else
			puts("error");
	}
}

static void command_poisson(char **argv)
{
	uint64_t count;

	(void)argv;
	while (scanf("%" SCNu64, &count) == 1)
		printf("%.17g\n", poisson_upper95(count));
}

static void command_granularity(char **argv)
{
	static uint64_t steps[65536];
	size_t n = 0;

	(void)argv;
	while (n < sizeof(steps) / sizeof(steps[0]) && scanf("%" SCNu64, &steps[n]) == 1)
		n++;
	printf("%.17g\n", clock_granularity_of(steps, n));
}

static void command_json(char **argv)
{
	static char text[65536];
	const size_t n = fread(text, 1, sizeof(text) - 1, stdin);
	struct json json;

	(void)argv;
	text[n] = '\0';
	json_init(&json);
	json_string(&json, NULL, text);
	fputs(json.text, stdout);
	json_free(&json);
}

static void command_double(char **argv)
{
	double value;
	struct json json;

	(void)argv;
	json_init(&json);
	json_open(&json, NULL, '[');
	while (scanf("%lf", &value) == 1)
		json_double(&json, NULL, value);
	json_close(&json, ']');
	puts(json.text);
	json_free(&json);
}

static void command_mask(char **argv)
{
	unsigned long mask[PLACEMENT_CPUS_MAX / (8 * sizeof(unsigned long))] = { 0 };
	const size_t bits = 8 * sizeof(unsigned long);
	char text[65536];
	size_t cpu;

	(void)argv;
	while (scanf("%zu", &cpu) == 1 && cpu < PLACEMENT_CPUS_MAX)
		mask[cpu / bits] |= 1UL << (cpu % bits);
	if (!placement_format_mask(mask, sizeof(mask) / sizeof(mask[0]), text, sizeof(text)))
		fault_internal("the list does not fit");
	puts(text);
}

static void command_convert(char **argv)
{
	const struct clock_scale scale = clock_scale_from((double)argument(argv, 2));
	uint64_t units;

	while (scanf("%" SCNu64, &units) == 1) {
		const uint64_t ns = clock_ns(scale.mult, units);

		printf("%" PRIu64 " %" PRIu64 " %" PRIu64 "\n",
		       ns < 1000000 ? clock_small_ns(scale.mult, units) : ns, ns,
		       clock_units_within(scale, ns));
	}
}

static void command_periods(char **argv)
{
	struct periods periods;
	struct json json;
	int64_t now;
	char what;

	periods_init(&periods, 0, argument(argv, 2), argument(argv, 3));
	json_init(&json);
	json_open(&json, NULL, '{');
	json_open(&json, "deadlines", '[');
	while (periods_left(&periods) && scanf(" %c %" SCNd64, &what, &now) == 2) {
		json_i64(&json, NULL, periods_deadline(&periods));
		if (what == 's')
			periods_serve(&periods, periods_expired(&periods, now));
		else
			periods_miss(&periods, periods_expired(&periods, now));
	}
	json_close(&json, ']');
	json_u64(&json, "planned", periods.planned);
	json_u64(&json, "served", periods.served);
	json_u64(&json, "missed", periods.missed);
	json_bool(&json, "left", periods_left(&periods));
	json_close(&json, '}');
	puts(json.text);
	json_free(&json);
}

static void command_list(char **argv)
{
	int cpu;

	while (scanf("%d", &cpu) == 1)
		printf("%d\n", sysfs_list_has(argv[2] ? argv[2] : "", cpu));
}

static void command_timer(char **argv)
{
	uint64_t count;

	if (sysfs_timer_interrupts(&count, (int)argument(argv, 2)))
		printf("%" PRIu64 "\n", count);
	else
		puts("unknown");
}

static struct offset_channel channel;

static void *answer(void *unused)
{
	(void)unused;
	return offset_answer(&channel, UINT64_C(1) << 62) ? &channel : NULL;
}

static void command_offset(char **argv)
{
	struct offset_bounds bounds;
	pthread_t other;

	channel.skew = (uint64_t)strtoll(argv[2] ? argv[2] : "0", NULL, 10);
	if (pthread_create(&other, NULL, answer, NULL) ||
	    !offset_ask(&channel, UINT64_C(1) << 62, &bounds) || pthread_join(other, NULL))
		fault_internal("no thread, or no answer");
	printf("%" PRId64 " %" PRId64 " %" PRIu64 "\n", bounds.low, bounds.high, bounds.round_trip);
	printf("%d\n", offset_ask(&channel, 1000, &bounds));	/* nobody answers any more */
}

static void command_small(char **argv)
{
	struct offset_bounds bounds = { 0 };

	while (scanf("%" SCNd64 " %" SCNd64, &bounds.low, &bounds.high) == 2)
		printf("%d\n", offset_is_small(&bounds, (double)argument(argv, 2),
					       (double)argument(argv, 3)));
}

static const struct {
	const char *name;
	void (*run)(char **argv);
} commands[] = {
	{ "index", command_index }, { "encode", command_encode }, { "record", command_record },
	{ "feed", command_feed }, { "duration", command_duration }, { "int", command_int },
	{ "poisson", command_poisson }, { "granularity", command_granularity },
	{ "json", command_json }, { "double", command_double }, { "mask", command_mask },
	{ "convert", command_convert }, { "periods", command_periods }, { "list", command_list },
	{ "timer", command_timer }, { "offset", command_offset }, { "small", command_small },
};

int main(int argc, char **argv)
{
	fault_set_program("selftest");
	for (size_t i = 0; argc > 1 && i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (strcmp(argv[1], commands[i].name))
			continue;
		commands[i].run(argv);
		return fflush(stdout) || ferror(stdout) ? PROBE_EXIT_ENVIRONMENT : PROBE_EXIT_OK;
	}
	fault_usage("one of its commands is needed");
}
