/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the instruments themselves do to the measured CPU: they disturb, and a result says how
 * much. Interrupts are those of function calls and of IRQ work, whoever sent them: opening,
 * enabling and closing events send such.
 */
#ifndef ISOLBENCH_TRACE_INSTRUMENTS_H
#define ISOLBENCH_TRACE_INSTRUMENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/json.h"
#include "core/sysfs.h"

enum { TRACE_READER_CPUS = 16 };

/* Between two readings of /proc/interrupts. */
struct trace_calls {
	bool known;
	uint64_t count;
};

struct trace_instruments {
	struct trace_calls opening, enabling, within, closing;
	struct trace_calls ended;	/* as it stood when the loop had ended */
	uint64_t opening_ns, closing_ns;
	uint64_t own;			/* while the loop ran: what the reader sent to its CPU */
	uint64_t wakeups;		/* by the ring, each time it has been filled once more */
	uint64_t loop_ns;
	uint64_t inside;		/* events in gaps, whose time these have */
	uint64_t reader_ns;		/* CPU time while the loop ran */
	size_t cpus_used;
	int16_t cpus[TRACE_READER_CPUS];	/* on which the reader was seen meanwhile */
	bool elsewhere_known;
	uint64_t elsewhere;		/* events that others opened meanwhile, anywhere */
};

/* Of what sysfs_interrupts_read() found; not known where it found nothing. */
struct trace_calls trace_calls_of(const struct sysfs_interrupts *interrupts);
struct trace_calls trace_calls_between(struct trace_calls before, struct trace_calls after);

/* The caller's CPU. */
void trace_instruments_note_cpu(struct trace_instruments *instruments);

/*
 * The kernel numbers all events in one row: the number of one opened now; 0: it cannot be had.
 * `cpu`: of the caller's CPU, else of the caller. Neither has the kernel patch anything, nor
 * interrupts another CPU, where events of that scope are open already.
 */
uint64_t trace_event_number(bool cpu);

/*
 * Their object of the result. `events` is how many the CPU paid for, `sample_ns` what for each
 * (0: not known), `stolen_ns` the time of all gaps; `senders`: the kernel says who interrupts.
 */
void trace_instruments_json(const struct trace_instruments *instruments, uint64_t events,
			    double sample_ns, uint64_t stolen_ns, bool senders, struct json *json);

#endif
