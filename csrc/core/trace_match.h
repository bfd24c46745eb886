/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which events lie in which gap, and what that says of it. Pure: gaps and events come in the
 * order of time, in the counter's units, and the findings lie in memory that is there.
 *
 * An event belongs to the gap that it lies in; one that lies in none is counted, and no gap's.
 * The class of a gap is that of its first entry, its cause the event that says most about why.
 */
#ifndef ISOLBENCH_TRACE_MATCH_H
#define ISOLBENCH_TRACE_MATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/recorder.h"
#include "core/trace_event.h"
#include "core/trace_queue.h"

enum {
	TRACE_CHAIN = 12,	/* events of a gap that are kept; later ones are counted */
	TRACE_LINKS = 4096,	/* different events: a task, a function, an interrupt */
	TRACE_CAUSES = 256,
	TRACE_LABEL = 80,
	TRACE_TASKS = 256,
	TRACE_SENT = 1024,	/* what other CPUs sent lately */
	TRACE_DIGITS = 2,
	TRACE_BUCKETS = 3584,	/* recorder_length(TRACE_DIGITS) */
};

enum { LINK_OTHER, LINK_NONE, LINKS_FIXED };

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
	struct trace_link links[TRACE_LINKS];
	struct trace_cause causes[TRACE_CAUSES];
	struct trace_gap gaps_kept[];	/* the first kept_max */
};

size_t trace_findings_bytes(size_t kept_max);

/* `findings`: zeroed memory of that size. */
void trace_findings_init(struct trace_findings *findings, size_t kept_max);

/* Events in order of time. peek() gives the next and where it lies, and false without one. */
struct trace_feed {
	bool (*peek)(void *context, struct trace_event *event, uint64_t *at);
	void (*pop)(void *context);
	void *context;
};

/* What another CPU sent: an event of kind TRACE_CALLER or TRACE_SENDER, and when. */
struct trace_sent {
	uint64_t at;
	struct trace_event event;
	int16_t cpu;
};

struct trace_match {
	struct trace_findings *findings;
	struct trace_feed feed;
	int32_t tid;			/* the measured task */
	uint64_t mult;			/* units -> ns (clock.h) */
	uint64_t tolerance;		/* units by which an event may seem too early */
	uint64_t sent_count;
	struct trace_sent sent[TRACE_SENT];	/* a circle */
};

/* What another CPU sent; of each of them in order of time, and before the gaps it ends up in. */
void trace_match_sent(struct trace_match *match, const struct trace_sent *sent);

/* A gap, and all events before its end. */
void trace_match_gap(struct trace_match *match, const struct trace_entry *entry);

/* All events before `until` that are left: in no gap. */
void trace_match_until(struct trace_match *match, uint64_t until);

/* The same, but they belong to no loop: before its begin (NULL: to come), or after its end. */
void trace_match_before(struct trace_match *match, const uint64_t *first);
void trace_match_after(struct trace_match *match);

/* A link for an event that may be in no gap: it is to have a name all the same. */
void trace_findings_note(struct trace_findings *findings, const struct trace_event *event);

/* The gap of this key, of those kept; NULL: none. `hint`: where to begin; 0 at first. */
const struct trace_gap *trace_findings_gap(const struct trace_findings *findings, uint64_t key,
					   size_t *hint);

#endif
