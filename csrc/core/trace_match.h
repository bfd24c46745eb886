/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which events lie in which gap, and what that says of it. Pure: gaps and events come in the
 * order of time, in the counter's units, and the findings lie in memory that is there.
 *
 * An event belongs to the gap that it lies in; one that lies in none is counted, and no gap's.
 * The class of a gap is that of its first entry, its cause the event that says most about why. Of
 * a wait for the CPU the cause is what held it up longest instead (trace_held.h).
 */
#ifndef ISOLBENCH_TRACE_MATCH_H
#define ISOLBENCH_TRACE_MATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/trace_event.h"
#include "core/trace_findings.h"
#include "core/trace_queue.h"

#define TRACE_SENT 1024	/* what other CPUs sent lately */

/* Events in order of time. peek() gives the next and where it lies, and false without one. */
struct trace_feed {
	bool (*peek)(void *context, struct trace_event *event, uint64_t *at);
	void (*pop)(void *context);
	void *context;
};

/* What another CPU sent: an event of kind TRACE_CALLER, TRACE_SENDER or TRACE_RAISER, and when. */
struct trace_sent {
	uint64_t at;
	struct trace_event event;
	int16_t cpu;
};

struct trace_match {
	struct trace_findings *findings;
	struct trace_feed feed;
	int32_t tid;			/* the measured task */
	bool waits;			/* gaps are waits for the CPU, of which all events come */
	bool known;			/* who runs, by the latest switch: */
	struct trace_event came;
	uint64_t mult;			/* units -> ns (clock.h) */
	uint64_t tolerance;		/* units by which an event may seem too early */
	uint64_t sent_first, sent_count;	/* before the first all have come */
	struct trace_sent sent[TRACE_SENT];	/* a circle */
};

/* What another CPU sent; of each of them in order of time, and before the gaps it ends up in. */
void trace_match_sent(struct trace_match *match, const struct trace_sent *sent);

/* A gap, and all events before its end. */
void trace_match_gap(struct trace_match *match, const struct trace_entry *entry);

/* All events before `until` that are left: in no gap. */
void trace_match_until(struct trace_match *match, uint64_t until);

/* The same, but they belong to no loop: before its begin (NULL: to come), or after its end. */
void trace_match_before(struct trace_match *match, const uint64_t *first);
void trace_match_after(struct trace_match *match);

#endif
