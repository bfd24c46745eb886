/* SPDX-License-Identifier: Apache-2.0 */
/* Perf events that write into one ring, which is mapped here. What they are is of no interest here. */
#ifndef ISOLBENCH_TRACE_EVENTS_H
#define ISOLBENCH_TRACE_EVENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/trace_event.h"
#include "core/trace_record.h"

#define TRACE_RING_LEAST_PAGES 4

struct trace_events {
	struct trace_layout layout;
	int fds[TRACE_SOURCES + 1];
	size_t count;
	int tracefs;		/* its folder, open; -1: none */
	void *ring;		/* NULL: none */
	size_t page_bytes;
	struct trace_bytes bytes;	/* the ring as trace_events_look() last saw it */
};

/*
 * One of a CPU, or (-1) of a task wherever it is: disabled, sampling each time, on
 * CLOCK_MONOTONIC_RAW. Nobody is ever woken by it. A descriptor, or -1 and errno.
 */
int trace_event_open(uint32_t type, uint64_t config, int32_t tid, int cpu, size_t ring_bytes);
bool trace_event_filter(int fd, const char *filter);

/* The first event has the ring, the others write into it. */
bool trace_events_add(struct trace_events *events, int fd, size_t ring_bytes);

/* One that samples: its records are known by its id. */
bool trace_events_add_source(struct trace_events *events, int fd, size_t source,
			     const struct trace_field *fields, size_t ring_bytes);

/* Closes them; those that come later have another ring. */
void trace_events_drop(struct trace_events *events);

bool trace_events_enable(const struct trace_events *events);
void trace_events_disable(const struct trace_events *events);

struct trace_total {
	uint64_t count;		/* how often it happened, while it counted */
	uint64_t lost;		/* records for which the ring had no room; 0 before Linux 6.0 */
};

/* Of the i-th event of the layout. */
bool trace_events_count(const struct trace_events *events, size_t i, struct trace_total *total);

/* Sets the head of `bytes` to what there is by now; tells the kernel of its tail. */
void trace_events_look(struct trace_events *events);
void trace_events_taken(struct trace_events *events);

void trace_events_close(struct trace_events *events);

#endif
