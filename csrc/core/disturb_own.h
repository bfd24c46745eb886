/* SPDX-License-Identifier: Apache-2.0 */
/* What the two sides of disturb.h have between them. */
#ifndef ISOLBENCH_DISTURB_OWN_H
#define ISOLBENCH_DISTURB_OWN_H

#include <signal.h>

#include "core/disturb.h"

#define DISTURB_SIGNAL_SIGNAL SIGUSR1
#define DISTURB_TICK_SIGNAL SIGPROF
#define DISTURB_CALLS 4
#define DISTURB_TASK_NAME "disturber"

/* What the task may be asked to do beside the kinds: to say that it runs. */
#define DISTURB_ANSWER DISTURB_KINDS

/* So far away from `now` that it never is. */
static inline uint64_t disturb_never(uint64_t now)
{
	return now + INT64_MAX / 2;
}

/* A kind cannot be made: `error` (0: none) says why, in words. */
void disturb_cannot(enum disturb_kind kind, int error, const char *what);

/* The task's preparation, by itself: `most` faults at most. */
void disturb_task_warm(const bool *wanted, size_t most, uint64_t clean_units);

/* Is there a page that was not touched yet? */
bool disturb_page_left(void);

#endif
