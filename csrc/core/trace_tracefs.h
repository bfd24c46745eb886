/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel's folder of tracepoints: found where it is mounted, else mounted for us alone. Says
 * as well whether somebody else traces.
 */
#ifndef ISOLBENCH_TRACE_TRACEFS_H
#define ISOLBENCH_TRACE_TRACEFS_H

#include <stdbool.h>
#include <stddef.h>

struct trace_tracing {
	bool private_mount;
	char tracer[32];	/* of another one at work: "" if there is none, or no telling */
	bool others;		/* events are on for somebody else's tracing */
};

/* `path`: its folder; NULL: where it is mounted. A descriptor, or -1 and errno. */
int tracefs_open(const char *path, struct trace_tracing *tracing);

/* Reads the start of a file; false, "" and errno if it cannot be read, or is empty. */
bool tracefs_read(int folder, const char *name, char *text, size_t size);

#endif
