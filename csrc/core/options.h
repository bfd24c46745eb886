/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command line of every probe: a common table and the probe's own. What a probe
 * declares here is parsed, checked, explained (--help), described (--describe) and
 * written into its result, from one table.
 */
#ifndef ISOLBENCH_OPTIONS_H
#define ISOLBENCH_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/placement.h"

enum param_type { PARAM_INT, PARAM_DURATION, PARAM_CHOICE };

struct param {
	const char *name;	/* --name; in the result `name`, a duration `name_ns` */
	enum param_type type;
	const char *preset;	/* the default, as one would type it */
	const char *min, *max;	/* the same; inclusive; NULL for a choice */
	const char *help;
	const char *const *choices;	/* of a choice, NULL at the end; its value is the index */
};

enum option_action { ACTION_MEASURE, ACTION_DESCRIBE, ACTION_VERSION, ACTION_HELP, ACTION_HOLD };

struct options {
	enum option_action action;
	int cpu;			/* -1: not pinned */
	uint64_t duration_ns;
	struct sched_request sched;
	const char *cgroup;		/* the folder of the cgroup to measure in; NULL: stay */
	const char *out;		/* NULL: a summary on stdout */
	int64_t parent;			/* 0: not given */
	int helper_cpu;			/* of a probe that has one; -1: not given */
	int64_t start_at_ns;		/* of CLOCK_MONOTONIC; 0: as soon as it is ready */
	bool start_asked;		/* it is read from stdin, once "ready" was said on stdout */
	bool attribution;		/* by the kernel's events: what interrupted it */
	bool attribution_off;		/* which was said, and is not merely the default */
	uint64_t attribution_bytes;	/* of their ring */
	const char *tracefs;		/* where it lies; NULL: to be found */
	bool hold_task;			/* of ACTION_HOLD: what runs that are not pinned need as well */
};

/*
 * A duration with its unit (ns, us, ms, s, min, h), decimals allowed: "1.5us". Exact:
 * false if it is malformed, no whole number of ns, or beyond 2^63 ns.
 */
bool options_parse_duration(const char *text, uint64_t *ns);

/* A plain decimal number, nothing around it. */
bool options_parse_int(const char *text, uint64_t *value);

/* The same within bounds, of the argument called `name`; a usage fault for anything else, NULL too. */
uint64_t options_number(const char *name, const char *text, uint64_t min, uint64_t max);

/* The shortest exact spelling: 1500 -> "1500ns", 10^10 -> "10s". Returns `text`. */
const char *options_format_duration(uint64_t ns, char *text, size_t size);

/* Which of the common options, that are no parameter of a bench, a probe has. */
enum option_scope { OPTIONS_ALONE, OPTIONS_WITH_WAKER, OPTIONS_WITH_INJECTOR };

/* The option that takes the CPU of a probe's helper, for --describe; NULL: it has none. */
const char *options_helper(enum option_scope scope);

/* Ends the process on bad usage. `values`: one element per param, in its order. */
void options_parse(int argc, char **argv, enum option_scope scope, const struct param *params,
		   size_t count, struct options *options, uint64_t *values);

void options_print_help(const char *program, const char *summary, enum option_scope scope,
			const struct param *params, size_t count);

#endif
