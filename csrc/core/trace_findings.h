/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What was found out about a run's gaps: in memory of a fixed size, however long the run was.
 * Where there is no more room, what comes is counted with others.
 */
#ifndef ISOLBENCH_TRACE_FINDINGS_H
#define ISOLBENCH_TRACE_FINDINGS_H

#include <stddef.h>
#include <stdint.h>

#include "core/recorder.h"
#include "core/trace_event.h"

enum {
	TRACE_CHAIN = 12,	/* events of a gap that are kept; later ones are counted */
	TRACE_LINKS = 4096,	/* different events: a task, a function, an interrupt */
	TRACE_CAUSES = 256,
	TRACE_LABEL = 80,
	TRACE_TASKS = 256,
	TRACE_DIGITS = 2,
	TRACE_PLACES = 8192,	/* of an index to them: more than there are */
	TRACE_BUCKETS = 3584,	/* recorder_length(TRACE_DIGITS) */
};

enum { LINK_OTHER, LINK_NONE, LINK_IDLE, LINKS_FIXED };

/* What events have in common that differ in time only. */
struct trace_link {
	uint64_t value;
	uint8_t source;
	uint8_t kind;
	char text[TRACE_TEXT];
	char label[TRACE_LABEL];	/* set by trace_names.h */
};

/* The first CLASSES of them hold what has no cause, and what there was no room for. */
struct trace_cause {
	uint16_t class;
	uint16_t entry, cause;		/* links */
	uint64_t count;
	uint64_t stolen_ns, max_ns;
	uint64_t counts[TRACE_BUCKETS];	/* as struct recorder's */
};

struct trace_gap {
	uint64_t key;			/* by which it is found */
	uint64_t start;
	int32_t sender_tid;		/* who sent its first interrupt from another CPU */
	int16_t sender_cpu;		/* -1: nobody did, or it is not known */
	uint16_t sender_site;		/* link: from where in the kernel */
	uint64_t address;		/* of its first fault */
	int32_t tid;			/* of the first task that came; 0: none did */
	uint32_t more;			/* events beyond the chain */
	uint16_t cause;			/* index of causes */
	uint8_t class;
	uint8_t chain;
	uint16_t links[TRACE_CHAIN];
	uint32_t offsets_ns[TRACE_CHAIN];	/* from the gap's begin */
};

/* A task that sent interrupts; whoever knows fills in its name. */
struct trace_task {
	int32_t tid;
	char name[16];			/* "": not known (yet) */
};

struct trace_findings {
	uint64_t gaps;			/* all that came */
	uint64_t by_class[CLASSES];
	uint64_t stolen_by_class_ns[CLASSES];
	uint64_t inside, outside;	/* events in a gap, and between the gaps */
	uint64_t before, after;		/* events beyond the loop's begin and end */
	uint64_t foreign;		/* synchronous ones of other tasks */
	uint64_t link_overflow, cause_overflow;
	size_t links_used, causes_used, tasks_used, kept, kept_max;
	struct trace_task tasks[TRACE_TASKS];
	uint16_t places[TRACE_PLACES];	/* links by a hash, or the next free place; 0: free */
	struct trace_link links[TRACE_LINKS];
	struct trace_cause causes[TRACE_CAUSES];
	struct trace_gap gaps_kept[];	/* the first kept_max */
};

size_t trace_findings_bytes(size_t kept_max);

/* `findings`: zeroed memory of that size. */
void trace_findings_init(struct trace_findings *findings, size_t kept_max);

/* Of an event, which need not be in a gap (it is to have a name all the same). */
uint16_t trace_findings_link(struct trace_findings *findings, const struct trace_event *event);

/* The index of those of one class, entry and cause. */
uint16_t trace_findings_cause(struct trace_findings *findings, uint16_t class, uint16_t entry,
			      uint16_t cause);

/* A gap that took `ns` beyond what is usual; its `cause` is set. */
void trace_findings_add(struct trace_findings *findings, const struct trace_gap *gap, uint64_t ns);

/* A task that sent something: to be named. */
void trace_findings_task(struct trace_findings *findings, int32_t tid);

/* The gap of this key, of those kept; NULL: none. `hint`: where to begin; 0 at first. */
const struct trace_gap *trace_findings_gap(const struct trace_findings *findings, uint64_t key,
					   size_t *hint);

#endif
