/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How far apart are the counters of two CPUs? Found by round trips between two threads that
 * both spin: one reads its counter (a0), asks, the other reads its own (b) and answers, the
 * first reads again (a1). However long the way took,
 *
 *	b - a1 <= offset <= b - a0		(offset: the other's counter less ours)
 *
 * and the bounds of many round trips intersect to about the shortest one's length.
 *
 * Memory orders: each side publishes by a release store and sees by an acquire load, so the
 * answer's reading (a plain field) is complete when the answer is seen. The counter is read
 * ordered (clock.h): b is read after the question was seen, a1 after the answer was.
 */
#ifndef ISOLBENCH_OFFSET_H
#define ISOLBENCH_OFFSET_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define OFFSET_ROUNDS 2000

/* Written by one side each; on lines of their own. */
struct offset_channel {
	_Alignas(128) _Atomic uint32_t question;
	_Alignas(128) _Atomic uint32_t answer;
	uint64_t reading;		/* published by `answer` */
	uint64_t skew;			/* added to each reading, for tests; 0 */
};

struct offset_bounds {
	int64_t low, high;		/* units; low > high: not one offset explains all rounds */
	uint64_t round_trip;		/* units; the shortest */
};

/*
 * Both sides of the same number of rounds, at the same time. `timeout`: the most units to
 * wait for one answer; false if it did not come.
 */
bool offset_ask(struct offset_channel *channel, uint64_t timeout, struct offset_bounds *bounds);
bool offset_answer(struct offset_channel *channel, uint64_t timeout);

/*
 * Are the two one clock, as far as the round trips can tell? No: not one offset explains
 * them (but for two steps of `granularity`), or the offset surely exceeds `most`. All in units.
 */
bool offset_is_small(const struct offset_bounds *bounds, double granularity, double most);

#endif
