/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The account of a periodic task: deadline k lies k intervals after the start, for k in
 * 1..planned. Every one of them is either served or missed, so that at the end
 *
 *	served + missed = planned
 *
 * holds exactly. A task that comes late to a deadline by whole intervals has missed as many
 * of the following; it never runs after them in a burst, whose latencies would hide the loss.
 */
#ifndef ISOLBENCH_PERIODS_H
#define ISOLBENCH_PERIODS_H

#include <stdbool.h>
#include <stdint.h>

struct periods {
	int64_t start_ns;		/* of the clock in use */
	int64_t interval_ns;
	uint64_t planned;
	uint64_t next;			/* the deadline to wait for: 1..planned, above: none */
	uint64_t served, missed;
};

static inline void periods_init(struct periods *periods, int64_t start_ns, uint64_t interval_ns,
				uint64_t duration_ns)
{
	*periods = (struct periods){
		.start_ns = start_ns,
		.interval_ns = (int64_t)interval_ns,
		.planned = duration_ns / interval_ns,
		.next = 1,
	};
}

static inline bool periods_left(const struct periods *periods)
{
	return periods->next <= periods->planned;
}

static inline int64_t periods_deadline(const struct periods *periods)
{
	return periods->start_ns + (int64_t)periods->next * periods->interval_ns;
}

/* `expired` deadlines, from the next one on, are over, and none of them was served. */
static inline void periods_miss(struct periods *periods, uint64_t expired)
{
	const uint64_t left = periods->planned + 1 - periods->next;

	periods->missed += expired < left ? expired : left;
	periods->next += expired;
}

/* The same, but the first of them was served. */
static inline void periods_serve(struct periods *periods, uint64_t expired)
{
	periods->served++;
	periods->next++;
	periods_miss(periods, expired - 1);
}

/* How many are over at `now_ns`, when the task comes to the next one: at least 1. */
static inline uint64_t periods_expired(const struct periods *periods, int64_t now_ns)
{
	const int64_t late = now_ns - periods_deadline(periods);

	return late < periods->interval_ns ? 1 : 1 + (uint64_t)(late / periods->interval_ns);
}

#endif
