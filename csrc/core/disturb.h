/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Disturbances of the measured task on purpose, at known times: the truth that attribution is held
 * against. A thread on another CPU, the *injector*, makes them one at a time, or has the task
 * make them itself, and begins none before the effects of the one before are over.
 *
 * The task makes its own through the counter that its loop reads (disturb_counter()): that is one
 * comparison more in each reading, with `due`, which only changes when there is something to do.
 * Its other share is what the handlers of its signals stamp. There is no system call in the loop but
 * the injected ones.
 *
 * Memory orders: `due` and `effect` are what the two threads tell each other by. The injector
 * publishes what is wanted by a release store to `due`, the task that it is done (and `at`, `end`)
 * by another; `effect` is stored with release by whoever it came to. All stamps are the counter's.
 */
#ifndef ISOLBENCH_DISTURB_H
#define ISOLBENCH_DISTURB_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/clock.h"
#include "core/placement.h"

enum disturb_kind {
	DISTURB_MEMBARRIER,	/* a call of a function on the other CPUs of the same memory */
	DISTURB_TLB,		/* memory of the task's is protected: the other CPUs have to know */
	DISTURB_RESCHEDULE,	/* the task's policy is changed and put back: it may have to go, and stays */
	DISTURB_SIGNAL,		/* sent by the injector */
	DISTURB_TICK,		/* a timer of the task's CPU time, armed by it, expires in a tick */
	DISTURB_FAULT,		/* minor, by the task */
	DISTURB_SYSCALL,	/* by the task */
	DISTURB_TASK,		/* another task comes to the CPU */
	DISTURB_NONE,		/* an instant at which nothing is done */
	DISTURB_KINDS
};

extern const char *const disturb_kind_names[DISTURB_KINDS];

/* One that was made. Stamps of the counter; its effect's is 0 where it has none of its own. */
struct disturbance {
	uint64_t at, end, effect;
	uint8_t kind;
	uint8_t call;		/* DISTURB_SYSCALL: which */
};

/* Of the calls that the task makes; the name as the kernel has it. */
const char *disturb_call_name(uint8_t call);

struct disturb_request {
	bool wanted[DISTURB_KINDS];
	int cpu;			/* the measured one; -1: wherever the task is */
	int injector_cpu;
	uint64_t duration_ns, distance_ns;	/* between two: half of it to one and a half */
	uint64_t seed;			/* of their order and distances */
	struct disturbance *kept;	/* memory for `capacity` of them */
	size_t capacity;
};

/* What came of it. */
struct disturb_report {
	uint64_t made[DISTURB_KINDS];
	char unavailable[DISTURB_KINDS][160];	/* why; "": it is not */
	uint64_t count;			/* made in all; `stored` of them are kept */
	size_t stored;
	uint64_t unanswered;		/* the loop ended before their effect came: not counted above */
	struct placement injector;
	int32_t injector_tid;
	struct placement task;		/* of DISTURB_TASK */
	int32_t task_tid;
	bool has_task;
};

extern struct disturb_report disturb_report;

/* At first: the threads. Before memory is locked. */
void disturb_prepare(const struct disturb_request *request);

/* On the measured CPU, under the policy to be measured with: what it takes, and whether it can be had. */
void disturb_warm(uint64_t clean_units);

/*
 * Right before the loop and after it, whose last reading was `last`. When disturb_end() returns
 * nothing is disturbed any more, and the task is as it was.
 */
void disturb_begin(double units_per_ns);
void disturb_end(uint64_t last);

/* The page faults that were made, those beyond the loop's end included. */
uint64_t disturb_faults(void);

/* ---- the loop's counter ---- */

struct disturb_shared {
	/* The counter at which the task is to act; far away: never. */
	_Alignas(128) _Atomic uint64_t due;
	/* Published by `due`, in one direction or the other. */
	_Alignas(128) uint8_t kind, call;
	uint64_t at, end;
	_Atomic uint64_t effect;	/* 0: none yet */
};

extern struct disturb_shared disturb_shared;

uint64_t disturb_act(uint64_t now);

static inline __attribute__((always_inline)) uint64_t disturb_counter(void *feed)
{
	const uint64_t now = counter_read();

	(void)feed;
	if (__builtin_expect((int64_t)(now - atomic_load_explicit(&disturb_shared.due,
								  memory_order_relaxed)) >= 0, 0))
		return disturb_act(now);
	return now;
}

#endif
