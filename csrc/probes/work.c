/* SPDX-License-Identifier: Apache-2.0 */
/*
 * work: how long does the same piece of work take, again and again? Where no interrupt
 * comes, a neighbour still takes cache, bandwidth, frequency or half of the core.
 *
 * The work walks through a buffer of half the L2 cache, line by line, in one fixed cycle
 * that no prefetcher foresees. Each step depends on the one before (latency: cache, and
 * memory where somebody threw the lines out), writes its line (bandwidth of what is thrown
 * out), and multiplies in four independent chains (the execution units a sibling shares).
 * The order is the same in every run and on every machine.
 *
 * A quantum is so many steps, by default four times around the buffer, and never so many as take
 * a certain time: what is calibrated comes out at one value today and at another tomorrow (a power
 * of two as well, where the time lies near its edge), and two runs that did different work say
 * nothing about each other. So the machine decides how long it takes, not how much is done.
 *
 * The work of all quanta is counted in the lines themselves: the sum must be what was asked.
 *
 * A quantum that takes longer than the shortest so far by `excess` is kept with its time; of what
 * made it so, only the time beyond the shortest is stolen.
 *
 * Quanta are contiguous: one read of the counter ends one and begins the next, so recording
 * a quantum is in the next one (own_cost_ns, of some 20 to 300 us).
 */
#include "core/fault.h"
#include "core/json.h"
#include "core/placement.h"
#include "core/probe.h"
#include "core/sysfs.h"

#define LINE_BYTES 64
#define UNKNOWN_L2_BYTES (UINT64_C(256) << 10)
#define SEED UINT64_C(0x9e3779b97f4a7c15)
#define ROUNDS 4
#define COST_QUANTA 1000
#define SAMPLE_STEPS 16384
#define SAMPLES 3
/* Of the 5 s that the safety timer gives a probe beside its duration and a half. */
#define SETUP_MOST_S 4.0

enum { PARAM_BUFFER, PARAM_STEPS, PARAM_EXCESS, PARAM_DIGITS, PARAM_RING };

static const struct param params[] = {
	[PARAM_BUFFER] = { "buffer-bytes", PARAM_INT, "0", "0", "67108864",
			   "the memory to work on; 0: half of the measured CPU's L2 cache", NULL },
	[PARAM_STEPS] = { "steps", PARAM_INT, "0", "0", "1099511627776",
			  "lines visited by one piece of work; 0: four times the buffer's", NULL },
	[PARAM_EXCESS] = { "excess", PARAM_DURATION, "5us", "100ns", "10s",
			   "a piece that takes so much longer than the shortest is kept one by one", NULL },
	[PARAM_DIGITS] = { "digits", PARAM_INT, "3", "2", "3",
			   "significant digits of the histogram", NULL },
	[PARAM_RING] = { "ring", PARAM_INT, "65536", "1", "16777216",
			 "slow pieces kept; later ones are only counted", NULL },
};

enum { METRIC_WORK, METRIC_SPREAD };

static const struct metric metrics[] = {
	[METRIC_WORK] = { "work_ns", METRIC_HISTOGRAM, "ns", "lower" },
	[METRIC_SPREAD] = { "work_spread", METRIC_SCALAR, "p99/p50", "lower" },
};

struct line {
	struct line *next;
	uint64_t steps;			/* how often it was here */
	uint64_t padding[LINE_BYTES / 8 - 2];
};

static struct recorder recorder;
static struct ring ring;
static struct trace_queue *queue;	/* NULL: nobody asks for the causes */
static uint64_t least_units;		/* the shortest piece so far: what one takes by itself */
static uint64_t excess_units;
static uint64_t slow;			/* pieces that took so much longer */
static struct line *lines;
static size_t count;			/* of lines */
static uint64_t l2_bytes;		/* 0: unknown */
static struct line *at;			/* where the next quantum begins */
static uint64_t steps;			/* of a quantum */
static uint64_t done;			/* of all quanta so far */
static int64_t begun_ns;		/* CLOCK_MONOTONIC */
static double cost_ns;
static enum tristate huge;

/* A cycle through all lines (Sattolo), by a generator of fixed seed (xorshift64*). */
static void link_lines(void)
{
	uint64_t state = SEED;
	/* First the order: `steps` of line i holds the index of the i-th visited. */
	for (size_t i = 0; i < count; i++)
		lines[i].steps = i;
	for (size_t i = count - 1; i > 0; i--) {
		size_t other;
		uint64_t swap;

		state ^= state >> 12;
		state ^= state << 25;
		state ^= state >> 27;
		other = (size_t)(((clock_u128)(state * UINT64_C(0x2545f4914f6cdd1d)) * i) >> 64);
		swap = lines[i].steps;
		lines[i].steps = lines[other].steps;
		lines[other].steps = swap;
	}
	/* A cyclic permutation: the successor of line i is what stands there. */
	for (size_t i = 0; i < count; i++)
		lines[i].next = &lines[lines[i].steps];
	for (size_t i = 0; i < count; i++)
		lines[i].steps = 0;
	at = lines;
}

static void prepare(struct run *run)
{
	uint64_t bytes = run->params[PARAM_BUFFER];
	struct placement here;

	begun_ns = clock_now_ns(CLOCK_MONOTONIC);
	placement_read(&here);
	l2_bytes = sysfs_cache_bytes(run->options.cpu >= 0 ? run->options.cpu : here.cpu, 2);
	if (!bytes)
		bytes = (l2_bytes ? l2_bytes : UNKNOWN_L2_BYTES) / 2;
	count = (size_t)bytes / sizeof(struct line);
	if (count < 2)
		fault_usage("--buffer-bytes: at least two lines of %d bytes", LINE_BYTES);
	probe_attribute(run, run->params[PARAM_RING]);
	probe_recorder(&recorder, run->params[PARAM_DIGITS]);
	probe_ring(&ring, run->params[PARAM_RING]);
	steps = run->params[PARAM_STEPS] ? run->params[PARAM_STEPS] : ROUNDS * count;
	lines = placement_allocate_huge(count * sizeof(struct line));
	link_lines();
	huge = placement_is_huge(lines, count * sizeof(struct line));
}

static __attribute__((noinline)) void quantum(uint64_t n)
{
	struct line *line = at;
	uint64_t a = 1, b = 3, c = 5, d = 7;

	done += n;
	for (; n; n--) {
		line = line->next;
		line->steps++;
		a = a * UINT64_C(0x5851f42d4c957f2d) + n;
		b = (b ^ n) * UINT64_C(0x14057b7ef767814f);
		c = c * UINT64_C(0x2545f4914f6cdd1d) + n;
		d = (d ^ n) * UINT64_C(0x9e3779b97f4a7c15);
	}
	at = line;
	/* Somebody might read the sums and the memory, for all the compiler knows. */
	__asm__ volatile("" : : "r"(a), "r"(b), "r"(c), "r"(d) : "memory");
}

static __attribute__((noinline, cold)) void keep(uint64_t start, uint64_t units)
{
	slow++;
	ring_push(&ring, start, units);
	if (queue)
		trace_queue_push_beyond(queue, start, units, start, least_units);
}

/* One copy, so that what is warmed is what is measured with. */
static __attribute__((noinline)) void work(struct run *run, uint64_t n, uint64_t duration_units)
{
	const uint64_t mult = run->scale.mult;
	uint64_t previous = counter_read_ordered();
	const uint64_t end = previous + duration_units;
	uint64_t iterations = 0;

	run->first = previous;
	do {
		uint64_t now, units;

		quantum(n);
		now = counter_read_ordered();
		units = now - previous;
		probe_record(&recorder, mult, units);
		if (__builtin_expect((int64_t)(units - least_units) >= (int64_t)excess_units, 0))
			keep(previous, units);
		else if ((int64_t)units > 0 && units < least_units)
			least_units = units;
		if (queue)
			trace_queue_progress(queue, now);
		iterations++;
		previous = now;
	} while ((int64_t)(previous - end) < 0);
	run->last = previous;
	run->iterations = iterations;
}

/*
 * Two quanta come on top of the duration: one to warm up, and the last, which may begin
 * right before the end. The shortest sample tells: a longer one was interrupted.
 */
static void refuse_endless(const struct run *run)
{
	const double duration_s = (double)run->options.duration_ns / 1e9;
	double least_ns = 0.0, quantum_s, setup_s;

	for (int i = 0; i < SAMPLES; i++) {
		const uint64_t before = counter_read_ordered();
		double ns;

		quantum(SAMPLE_STEPS);
		ns = (double)clock_ns(run->scale.mult, counter_read_ordered() - before);
		if (!i || ns < least_ns)
			least_ns = ns;
	}
	quantum_s = least_ns / SAMPLE_STEPS * (double)steps / 1e9;
	setup_s = (double)(clock_now_ns(CLOCK_MONOTONIC) - begun_ns) / 1e9;
	if (quantum_s > duration_s || setup_s + 2.0 * quantum_s > duration_s / 2.0 + SETUP_MOST_S)
		fault_usage("--steps, --buffer-bytes: a piece of work takes %.3g s here, after "
			    "%.3g s of set-up: too long for a duration of %.3g s",
			    quantum_s, setup_s, duration_s);
}

static void warm(struct run *run)
{
	/* Twice around: the lines are then in the cache. */
	quantum(2 * count);
	refuse_endless(run);
	least_units = INT64_MAX;
	excess_units = probe_units(run, (double)run->params[PARAM_EXCESS]);
	work(run, 0, probe_units(run, COST_QUANTA * 20.0));
	cost_ns = (double)clock_ns(run->scale.mult, run->last - run->first) /
		  (double)run->iterations;
	least_units = INT64_MAX;
	work(run, steps, 0);
	recorder_reset(&recorder);
	ring_reset(&ring);
	slow = 0;
	for (size_t i = 0; i < count; i++)
		lines[i].steps = 0;
	done = 0;
}

static void measure(struct run *run)
{
	queue = run->trace.queue;
	if (queue)
		trace_queue_begin(queue, counter_read_ordered());
	work(run, steps, probe_units(run, (double)run->options.duration_ns));
}

static uint64_t usual_ns(const struct run *run)
{
	return clock_ns(run->scale.mult, least_units);
}

static void collect(struct run *run)
{
	uint64_t sum = 0;

	recorder_finish(&recorder);
	if (recorder.recorded + recorder.overflow + recorder.negative != run->iterations)
		fault_internal("%llu quanta, but %llu recorded",
			       (unsigned long long)run->iterations,
			       (unsigned long long)recorder.recorded);
	for (size_t i = 0; i < count; i++)
		sum += lines[i].steps;
	if (sum != done || done != run->iterations * steps)
		fault_internal("%llu steps of work, but %llu in the lines",
			       (unsigned long long)done, (unsigned long long)sum);
	run->events = (struct event_list){
		.name = "slow",
		.at_key = "at_ns",
		.length_key = "work_ns",
		.ring = &ring,
		.count = slow,
		.threshold_ns = usual_ns(run) + run->params[PARAM_EXCESS],
	};
	run->own_cost_ns = cost_ns;
	run->values[METRIC_WORK].recorder = &recorder;
	run->values[METRIC_SPREAD].value = (double)recorder_percentile(&recorder, 99.0) /
					   (double)recorder_percentile(&recorder, 50.0);
}

static void detail(const struct run *run, struct json *json)
{
	if (l2_bytes)
		json_u64(json, "l2_bytes", l2_bytes);
	else
		json_null(json, "l2_bytes");
	json_u64(json, "lines", count);
	json_u64(json, "line_bytes", LINE_BYTES);
	json_u64(json, "steps_done", done);
	json_u64(json, "usual_ns", usual_ns(run));
}

static void identity(const struct run *run, struct json *json)
{
	json_u64(json, "buffer_bytes", count * sizeof(struct line));
	json_u64(json, "steps", steps);
	json_tristate(json, "huge_pages", huge);
	(void)run;
}

static const struct probe work_probe = {
	.name = "work",
	.summary = "measures how long a fixed piece of work takes, over and over",
	.params = params,
	.param_count = sizeof(params) / sizeof(params[0]),
	.metrics = metrics,
	.metric_count = sizeof(metrics) / sizeof(metrics[0]),
	.attributes = true,
	.own_cost = "reading the counter and recording, the mean of pieces without work: in every value",
	.prepare = prepare,
	.warm = warm,
	.measure = measure,
	.collect = collect,
	.detail = detail,
	.identity = identity,
};

int main(int argc, char **argv)
{
	return probe_main(&work_probe, argc, argv);
}
