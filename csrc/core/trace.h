/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attribution, from the measured process' side: it starts the reader (trace_reader.h) before
 * anything is measured, tells it when the loop begins and ends, and writes down what it found.
 * Where nothing can be had the run goes on, and the result says why.
 */
#ifndef ISOLBENCH_TRACE_H
#define ISOLBENCH_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "core/json.h"
#include "core/trace_queue.h"
#include "core/trace_reader.h"

struct trace {
	bool asked;
	struct trace_queue *queue;	/* for the loop; NULL: nobody reads */
	struct trace_setup setup;
	pid_t reader;			/* 0: none */
	int socket;
	const char *failure;		/* why there is no report; NULL: there is one, or will be */
	const struct trace_report *report;	/* after trace_finish() */
	struct trace_instruments instruments;	/* of the report, with what closing did */
	double sample_ns;		/* what one event costs the task; 0: not measured */
	size_t hint;
};

/*
 * Starts the reader and waits until its events are open. Off the measured CPU, before the
 * process has a thread or locked memory. `aside`: there is another CPU for it.
 */
void trace_start(struct trace *trace, const struct trace_request *request, size_t kept_max,
		 bool aside);

/* On the measured CPU: from here on events are counted. */
void trace_arm(struct trace *trace, uint64_t mult, double granularity_units);

/* Off it: the findings. `last`: the counter at the loop's end. */
void trace_finish(struct trace *trace, uint64_t last);

/* Members of the line of the gap with this key; gaps in order of time. */
void trace_gap_json(struct trace *trace, uint64_t key, struct json *json);

/* The result's object "attribution", where it was asked for. */
void trace_json(const struct trace *trace, struct json *json);

/* Instruments disturb: what was used is part of the run's identity. */
void trace_identity_json(const struct trace *trace, struct json *json);

/* The same for a person. */
void trace_summarise(const struct trace *trace);

#endif
