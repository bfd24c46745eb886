/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel's events of one CPU, or of one task, in one ring that is mapped here.
 *
 * What can be had differs: all tracepoints that the kernel has (level TRACEPOINTS: a privilege,
 * and a tracefs); of the task its context switches and page faults alone (SOFTWARE); nothing.
 * It is never less in silence: the reason says what stood in the way.
 *
 * Opening an event disturbs every CPU (the kernel patches its code), and so does the last one to
 * be closed: both belong outside of what is measured.
 */
#ifndef ISOLBENCH_TRACE_OPEN_H
#define ISOLBENCH_TRACE_OPEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/trace_event.h"
#include "core/trace_events.h"
#include "core/trace_tracefs.h"

enum trace_level { LEVEL_NOTHING, LEVEL_SOFTWARE, LEVEL_TRACEPOINTS, LEVELS };

extern const char *const trace_level_names[LEVELS];

enum trace_state {
	TRACE_ABSENT,		/* this kernel has no such event */
	TRACE_REFUSED,
	TRACE_UNASKED,		/* it was not wanted */
	TRACE_OPEN,
};

struct trace_request {
	int cpu;		/* -1: wherever the task is */
	int32_t tid;		/* the measured task */
	bool waits;		/* what is measured is how long it waits for its CPU: ends are wanted */
	size_t ring_bytes;	/* a power of two, at least a page */
	const char *tracefs;	/* its folder; NULL: where it is mounted, else a private mount */
};

/* What the reader of a result is told. */
struct trace_opening {
	enum trace_level level;
	char reason[256];	/* why it is not more; "" at the highest level */
	uint8_t states[TRACE_SOURCES];
	size_t ring_bytes;
	struct trace_tracing tracing;
};

/* Opens what can be had; nothing is counted before trace_events_enable(). */
void trace_events_open(const struct trace_request *request, struct trace_events *events,
		       struct trace_opening *opening);

/*
 * Of another CPU: what it sends to the one of `request`. False where it does not say (an older
 * kernel). To be closed as the others.
 */
bool trace_events_open_senders(const struct trace_request *request, int cpu, int tracefs,
			       struct trace_events *events, struct trace_opening *opening);

#endif
