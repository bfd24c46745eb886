/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The loop of the probe `gap`, in a header because three programs must run the very
 * same code: the probe, the bench that times it, and the test that feeds it a
 * synthetic counter.
 *
 * Each iteration reads the counter and records the interval *before* the one just
 * begun: the next read is issued first, so that the processor converts and counts
 * one interval while it waits for the other. Recorded the plain way, the increment
 * waits for the counter, and an iteration takes half as long again.
 *
 * Intervals are contiguous: one read ends an interval and begins the next. What
 * the loop does about a gap lies within a later interval, and there is no time between
 * two intervals for an event to hide in. The reads need not be ordered for that: if one
 * is early, its two intervals are longer and shorter by the same amount.
 *
 * The hot path handles intervals under 256 ns (or under the threshold): there a
 * value is its own bucket, and the exact minimum and maximum follow from the counts
 * (recorder.h). Everything else, a counter that went backwards included (a huge number
 * then), leaves by the same one branch.
 */
#ifndef ISOLBENCH_GAP_LOOP_H
#define ISOLBENCH_GAP_LOOP_H

#include <stdint.h>

#include "core/clock.h"
#include "core/recorder.h"
#include "core/ring.h"
#include "core/trace_queue.h"

struct gap_loop {
	struct recorder *recorder;
	struct ring *ring;
	struct trace_queue *queue;	/* NULL: nobody asks for the causes */
	struct clock_scale scale;
	uint64_t threshold_ns;
	uint64_t small_units;		/* the hot path's longest interval */
	uint64_t duration_units;

	/* What came of it. */
	uint64_t first, last;		/* the counter at both ends: contiguous between */
	uint64_t iterations;		/* intervals, counted apart from the histogram */
	uint64_t gaps;			/* intervals of at least threshold_ns */
	uint64_t gap_units;		/* their sum */
	uint64_t quiet_since;		/* end of the latest gap */
	uint64_t quiet_units;		/* the longest stretch without one, so far */
};

typedef uint64_t (*gap_counter)(void *feed);

static inline __attribute__((always_inline)) uint64_t gap_real_counter(void *feed)
{
	(void)feed;
	return counter_read();
}

static inline void gap_loop_init(struct gap_loop *loop, struct recorder *recorder,
				 struct ring *ring, struct clock_scale scale,
				 uint64_t threshold_ns, uint64_t duration_units)
{
	const uint64_t limit =
		threshold_ns < recorder->sub_buckets ? threshold_ns : recorder->sub_buckets;

	*loop = (struct gap_loop){
		.recorder = recorder,
		.ring = ring,
		.scale = scale,
		.threshold_ns = threshold_ns,
		.small_units = clock_units_within(scale, limit - 1),
		.duration_units = duration_units,
	};
}

/* Is a stretch from `since` to `until` the longest so far? */
static inline void gap_loop_quiet(struct gap_loop *loop, uint64_t until)
{
	const uint64_t quiet = until - loop->quiet_since;

	if ((int64_t)quiet > (int64_t)loop->quiet_units)
		loop->quiet_units = quiet;
}

/* A gap, or not quite. */
static inline void gap_loop_note(struct gap_loop *loop, uint64_t start, uint64_t units)
{
	const uint64_t ns = clock_ns(loop->scale.mult, units);

	recorder_add(loop->recorder, ns);
	if (ns < loop->threshold_ns)
		return;
	loop->gaps++;
	loop->gap_units += units;
	gap_loop_quiet(loop, start);
	loop->quiet_since = start + units;
	ring_push(loop->ring, start, units);
	if (loop->queue)
		trace_queue_push(loop->queue, start, units, start);
}

/*
 * Any interval that the hot path does not take. Its time is the next interval's. Every entry
 * into the kernel takes long enough to come here, so that its end is told to who asks.
 */
static __attribute__((noinline, cold)) void
gap_loop_slow(struct gap_loop *loop, uint64_t start, uint64_t units)
{
	if ((int64_t)units < 0)
		loop->recorder->negative++;
	else
		gap_loop_note(loop, start, units);
	if (loop->queue)
		trace_queue_progress(loop->queue, start + units);
}

static inline __attribute__((always_inline)) void
gap_loop_run(struct gap_loop *loop, gap_counter read, void *feed)
{
	/* Locals: the counts could alias the loop's fields for all the compiler knows. */
	uint64_t *const counts = loop->recorder->counts;
	const uint64_t mult = loop->scale.mult;
	const uint64_t small = loop->small_units;
	uint64_t iterations = 0;
	uint64_t previous = read(feed);
	const uint64_t end = previous + loop->duration_units;
	uint64_t now;

	loop->first = previous;
	loop->quiet_since = previous;
	if (loop->queue)
		trace_queue_begin(loop->queue, previous);
	now = read(feed);
	for (;;) {
		const uint64_t next = read(feed);
		const uint64_t units = now - previous;

		if (__builtin_expect(units <= small, 1))
			counts[clock_small_ns(mult, units)]++;
		else
			gap_loop_slow(loop, previous, units);
		iterations++;
		if (__builtin_expect((int64_t)(now - end) >= 0, 0))
			break;
		previous = now;
		now = next;
	}
	loop->last = now;
	loop->iterations = iterations;
	gap_loop_quiet(loop, now);
	recorder_finish(loop->recorder);
}

#endif
