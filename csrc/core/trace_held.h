/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What held a task up that wanted to run: of the time from when it was due until it ran, who had
 * the CPU how long. Who was there has it first (nobody: that is the idle state and the way out of
 * it), then each event until the next one. Of most interrupts no end is to be seen, but they are
 * short: what lies between one and the next entry, or a switch, belongs to what it interrupted.
 */
#ifndef ISOLBENCH_TRACE_HELD_H
#define ISOLBENCH_TRACE_HELD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TRACE_HOLDERS = 16 };

struct trace_held {
	uint64_t since;
	uint16_t none;			/* link: not known */
	uint16_t task;			/* link: who runs, nobody being one */
	uint16_t below;			/* link: what an interrupt interrupts: that, or a softirq's */
	uint16_t holder;		/* link: who has it since then */
	bool interrupt;			/* that is one, and may have ended by now */
	size_t used;
	struct {
		uint16_t link;
		uint64_t units;
	} by[TRACE_HOLDERS];
};

void trace_held_begin(struct trace_held *held, uint64_t at, uint16_t task, uint16_t none);

/* Until `at` it was `link`'s, whoever seemed to have it. */
void trace_held_spent(struct trace_held *held, uint64_t at, uint16_t link);

/* A task comes, or none does. */
void trace_held_task(struct trace_held *held, uint64_t at, uint16_t task);

/* An interrupt; what it does; a softirq, and what that does: those may be interrupted. */
void trace_held_entry(struct trace_held *held, uint64_t at, uint16_t link);
void trace_held_event(struct trace_held *held, uint64_t at, uint16_t link);
void trace_held_softirq(struct trace_held *held, uint64_t at, uint16_t link);
void trace_held_softirq_event(struct trace_held *held, uint64_t at, uint16_t link);

/* Where the kernel says so: the end of an interrupt's handler, and of a softirq. */
void trace_held_end(struct trace_held *held, uint64_t at);
void trace_held_softirq_end(struct trace_held *held, uint64_t at);

/* Who had it longest until then, the first of equals. */
uint16_t trace_held_most(struct trace_held *held, uint64_t until);

#endif
