/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of disturb.h have between them. */
#ifndef ISOLBENCH_DISTURB_OWN_H
#define ISOLBENCH_DISTURB_OWN_H

#include <pthread.h>
#include <signal.h>

#include "core/disturb.h"

#define DISTURB_SIGNAL_SIGNAL SIGUSR1
#define DISTURB_TICK_SIGNAL SIGPROF
#define DISTURB_CALLS 4

/* What the task may be asked to do beside the kinds: to say that it runs. */
#define DISTURB_ANSWER DISTURB_KINDS

/* So far away from `now` that it never is. */
static inline uint64_t disturb_never(uint64_t now)
{
	return now + INT64_MAX / 2;
}

extern struct disturb_request disturb_asked;
extern pthread_barrier_t disturb_barrier;	/* all threads are at the same step */

/* Is it wanted, and nothing known against it? */
bool disturb_can(enum disturb_kind kind);

/* A kind cannot be made: `error` (0: none) says why, in words. */
void disturb_cannot(enum disturb_kind kind, int error, const char *what);

/* Before there are threads, and on the measured CPU, under its policy. */
void disturb_make_prepare(void);
void disturb_make_warm(void);

/* Each is tried before it counts, while the task runs. */
void disturb_try(void);

/* From here, between two stamps: all kinds but the task's own. */
void disturb_from_here(struct disturbance *made);

/* The thread that comes to the measured CPU, and how it is told to end. */
void *disturb_be_task(void *unused);
void disturb_dismiss_task(void);

/* The task's preparation, by itself: `most` faults at most. */
void disturb_task_warm(const bool *wanted, size_t most, uint64_t clean_units);

/* Is there a page that was not touched yet? */
bool disturb_page_left(void);

#endif
