/* SPDX-License-Identifier: Apache-2.0 */
/* What the other CPUs send to the measured one, of the kernels that say so: a ring for each of them. */
#ifndef ISOLBENCH_TRACE_SENDERS_H
#define ISOLBENCH_TRACE_SENDERS_H

#include <stddef.h>
#include <stdint.h>

#include "core/trace_drain.h"
#include "core/trace_match.h"
#include "core/trace_open.h"

struct trace_senders {
	struct trace_events *events;	/* of each other CPU; NULL: none can be had */
	int16_t *cpus;
	size_t count;
	int cpu;			/* the measured one */
	uint64_t lost;			/* records for which their rings had no room */
	int32_t self;			/* the reader: what it sends itself, */
	uint64_t first, last;		/* between these times, */
	uint64_t own;			/* is counted: function calls, and what woke a task there */
	uint8_t scratch[TRACE_RECORD_MAX];
};

/* Opens those of all CPUs that are online, two descriptors each. */
void trace_senders_open(struct trace_senders *senders, const struct trace_request *request,
			int tracefs, struct trace_opening *opening);

void trace_senders_enable(const struct trace_senders *senders);

/* All that is in their rings, which this empties, by the clock of `drain`. */
void trace_senders_take(struct trace_senders *senders, const struct trace_drain *drain,
			struct trace_match *match);
void trace_senders_discard(struct trace_senders *senders);

#endif
