/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Do the events account for the interrupts that the kernel counted? Each interrupt that has an
 * event is counted twice, by us and in /proc/interrupts. That is read before and after, and
 * reading takes a while, in which interrupts come: they may be in it or not, and are the slack.
 */
#ifndef ISOLBENCH_TRACE_COUNT_H
#define ISOLBENCH_TRACE_COUNT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/sysfs.h"
#include "core/trace_event.h"
#include "core/trace_match.h"

#define TRACE_COUNT_ROWS 256

struct trace_snapshot {
	int64_t begin_ns, end_ns;	/* when reading began and ended, CLOCK_MONOTONIC_RAW */
	struct sysfs_interrupts interrupts;
	bool steal_known;
	uint64_t steal_ns;		/* of the CPU, since boot */
};

struct trace_counter {
	uint64_t value;			/* of the event: which interrupt it is */
	uint8_t source;
	uint64_t sure;			/* events between the readings */
	uint64_t edge;			/* events while one of them was made */
};

struct trace_counters {
	size_t used;
	uint64_t overflow;		/* events for which there was no room */
	struct trace_counter counter[TRACE_COUNT_ROWS];
};

/* `end` is NULL as long as the second reading has not begun. */
void trace_count(struct trace_counters *counters, const struct trace_event *event,
		 const struct trace_snapshot *begin, const struct trace_snapshot *end);

struct trace_balance_row {
	char name[12];
	uint64_t interrupts;		/* by the kernel's count */
	uint64_t sure, edge;
	bool seen;			/* it has events */
	bool holds;			/* sure <= interrupts <= sure + edge */
};

/* Rows that differ between the readings or have events, but for those counted in others as well. */
struct trace_balance {
	bool known;			/* false: one of the readings could not be made */
	bool holds;			/* of all rows that have events */
	size_t rows;
	struct trace_balance_row row[TRACE_COUNT_ROWS];
};

/* `links` of `findings` have the names of interrupts that are known by address. */
void trace_balance(struct trace_balance *balance, const struct trace_counters *counters,
		   const struct trace_findings *findings, const uint8_t *states,
		   const struct trace_snapshot *begin, const struct trace_snapshot *end);

#endif
