/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reader: a process of its own that opens the kernel's events, empties their ring while the
 * loop runs, and finds out which gap has which cause. A process, not a thread: the measured one
 * may be moved to a CPU that is its alone, and what a thread does to memory disturbs all CPUs
 * that its process runs on.
 *
 * It speaks with the measured process by messages on a socket, and leaves a struct trace_report
 * in a file in memory. In between, the loop writes to the queue, and neither ever waits.
 */
#ifndef ISOLBENCH_TRACE_READER_H
#define ISOLBENCH_TRACE_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "core/trace_count.h"
#include "core/trace_instruments.h"
#include "core/trace_match.h"
#include "core/trace_open.h"
#include "core/trace_queue.h"

enum trace_word {
	TRACE_OPENED,		/* the reader: events are open, and count nothing yet */
	TRACE_ARM,		/* to it: count */
	TRACE_ARMED,
	TRACE_FINISH,		/* to it: the loop has ended */
	TRACE_FINISHED,		/* the report is complete */
};

struct trace_message {
	enum trace_word word;
	uint64_t mult;		/* TRACE_ARM: units -> ns (clock.h) */
	double granularity_units;
	uint64_t last;		/* TRACE_FINISH: the counter at the loop's end */
};

bool trace_tell(int socket, const struct trace_message *message);
bool trace_hear(int socket, struct trace_message *message, int timeout_ms);

struct trace_report {
	struct trace_opening opening;
	bool enabled;			/* all that is open did count */
	uint64_t records;		/* events in the ring, whatever became of them */
	uint64_t lost;			/* for which the ring had no room */
	uint64_t missing;		/* that the kernel counted beyond those */
	uint64_t unknown;		/* records that could not be read */
	uint64_t sent_lost;		/* records of what other CPUs sent for which there was no room */
	uint64_t throttled;		/* how often the kernel held events back: too many */
	bool cpu_gone;			/* taken away in mid-run, and its events with it */
	bool steal_known;
	uint64_t steal_ns;		/* the host took from the CPU while the loop ran */
	uint64_t dropped_gaps;		/* for which the queue had no room */
	uint64_t ring_peak_bytes;	/* the most that was found in it */
	double clock_error_ns;		/* by which an event's time may be wrong */
	struct trace_balance balance;
	struct trace_instruments instruments;	/* but for closing, which comes after it */
	struct trace_findings findings;	/* last: it has an open end */
};

struct trace_setup {
	struct trace_request request;
	struct trace_queue *queue;	/* shared */
	int socket;
	int report;			/* a file of trace_report_bytes() bytes */
	size_t kept_max;
	bool aside;			/* it has another CPU: it may work while the loop runs */
	pid_t parent;
};

size_t trace_report_bytes(size_t kept_max);

_Noreturn void trace_reader_run(const struct trace_setup *setup);

#endif
