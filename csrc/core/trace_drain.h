/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ring's records as events in the counter's units, and what became of each: whatever the
 * kernel wrote is counted here once, before anybody makes anything of it.
 */
#ifndef ISOLBENCH_TRACE_DRAIN_H
#define ISOLBENCH_TRACE_DRAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/clock.h"
#include "core/trace_count.h"
#include "core/trace_match.h"
#include "core/trace_open.h"

struct trace_drain {
	struct trace_events events;
	struct clock_bracket origin, now;	/* between which the counter's rate is taken */
	int64_t limit_ns;			/* later events are left for the next time */
	struct trace_findings *findings;
	struct trace_counters counters;
	struct trace_snapshot begin, end;
	bool ended;				/* `end` has been begun */

	uint64_t records, unknown, throttled;
	uint64_t lost;				/* by the ring's own word */
	uint64_t seen[TRACE_SOURCES];

	/* The event at the ring's tail, if there is one. */
	bool peeked;
	struct trace_event event;
	size_t record_bytes;
	uint8_t scratch[TRACE_RECORD_MAX];
};

uint64_t trace_drain_counter(const struct trace_drain *drain, int64_t time_ns);

/* For the matcher; `context` is the drain. */
struct trace_feed trace_drain_feed(struct trace_drain *drain);

/*
 * What the kernel counted is in the ring, or found no room there and was lost. Beyond both, a
 * kernel may count an event and write nothing: it is missing.
 */
void trace_drain_account(const struct trace_drain *drain, uint64_t *lost, uint64_t *missing);

#endif
