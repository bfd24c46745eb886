/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keeping the events of attribution open over several runs, so that what each of them opens and
 * closes is never the first nor the last of its kind: only those have the kernel patch its code,
 * with interrupts to every CPU. What is held counts nothing, and ends with this process.
 */
#ifndef ISOLBENCH_TRACE_HOLD_H
#define ISOLBENCH_TRACE_HOLD_H

#include <stdbool.h>

/*
 * Opens them, says on stdout in one line of JSON what could be had, and waits for the end of
 * stdin. `task`: for runs that are not pinned as well, whose events are those of a task.
 */
void trace_hold(const char *tracefs, bool task);

#endif
