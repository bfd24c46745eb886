/* SPDX-License-Identifier: Apache-2.0 */
#include "core/trace_match.h"

#include <string.h>

#include "core/clock.h"
#include "core/trace_held.h"

#define TLB_REMOTE 1	/* the reason of a shootdown that another CPU asked for */
#define SLEEPS 0x7f	/* of prev_state: asleep, stopped or dead in any way */

static bool is_before(uint64_t a, uint64_t b)
{
	return (int64_t)(a - b) < 0;
}

/* What is known of a gap while its events come. */
struct open_gap {
	struct trace_gap kept;
	uint16_t entry, cause;		/* links */
	uint16_t implied;		/* the class, as long as no entry came */
	unsigned int weight;
	unsigned int switches;
	bool waits;			/* `held` has begun */
	struct trace_held held;
};

static void add_to_chain(const struct trace_match *match, struct open_gap *gap, uint16_t link,
			 uint64_t at)
{
	const uint64_t units = is_before(at, gap->kept.start) ? 0 : at - gap->kept.start;
	const uint64_t ns = clock_ns(match->mult, units);

	if (gap->kept.chain == TRACE_CHAIN) {
		gap->kept.more++;
		return;
	}
	gap->kept.links[gap->kept.chain] = link;
	gap->kept.offsets_ns[gap->kept.chain++] = ns > UINT32_MAX ? UINT32_MAX : (uint32_t)ns;
}

/* The class that an event implies where no entry came before it. */
static enum trace_class implied_by(const struct trace_event *event)
{
	/* Who had to go was interrupted (0, or a bit beyond all states); who sleeps had asked for it. */
	if (event->kind == TRACE_SWITCH)
		return event->extra & SLEEPS && !event->other ? CLASS_SYSCALL : CLASS_INTERRUPT;
	if (event->kind == TRACE_PREEMPT)
		return event->value ? CLASS_INTERRUPT : CLASS_SYSCALL;
	return trace_kinds[event->kind].implies;
}

void trace_match_sent(struct trace_match *match, const struct trace_sent *sent)
{
	match->sent[match->sent_count++ % TRACE_SENT] = *sent;
	if (match->sent_count - match->sent_first > TRACE_SENT)
		match->sent_first = match->sent_count - TRACE_SENT;
}

static bool is_sent(const struct trace_event *event)
{
	return event->kind == TRACE_CALL || event->kind == TRACE_IPI || event->source == SOURCE_RESCHEDULE;
}

static bool sends(const struct trace_event *sent, const struct trace_event *event)
{
	/* The structure is used again, and its latest use may not have been recorded. */
	if (event->kind == TRACE_CALL)
		return sent->kind == TRACE_CALLER && sent->extra == event->extra &&
		       (!sent->function || sent->function == event->value);
	if (event->kind == TRACE_IPI)
		return sent->kind == TRACE_SENDER ||
		       (sent->kind == TRACE_RAISER && sent->value == event->value);
	return event->source == SOURCE_RESCHEDULE && sent->kind == TRACE_SENDER && !sent->extra;
}

/*
 * The latest that can have led to this event, which then has come: it and what was sent before it
 * are no later one's, whose own may not have been recorded. False: none can.
 */
static bool take_sent(struct trace_match *match, const struct trace_event *event, uint64_t at,
		      struct trace_sent *latest)
{
	bool found = false;

	if (!is_sent(event))
		return false;
	for (uint64_t i = match->sent_first; i != match->sent_count; i++) {
		struct trace_sent *sent = &match->sent[i % TRACE_SENT];

		if (!sends(&sent->event, event) || !is_before(sent->at, at + match->tolerance))
			continue;
		if (!found || is_before(latest->at, sent->at))
			*latest = *sent;
		found = true;
		sent->event.kind = TRACE_KINDS;
	}
	while (match->sent_first != match->sent_count &&
	       match->sent[match->sent_first % TRACE_SENT].event.kind == TRACE_KINDS)
		match->sent_first++;
	return found;
}

/* When it was sent is told to whoever holds the gap. */
static void add_sender(struct trace_match *match, struct open_gap *gap, uint16_t link,
		       const struct trace_sent *sent)
{
	/* What came to the task that was measured, not to one that ran in its place. */
	if (!sent || gap->kept.sender_cpu >= 0 || gap->switches)
		return;
	gap->kept.sender_cpu = sent->cpu;
	gap->kept.sender_tid = sent->event.tid;
	gap->kept.sender_site = trace_findings_link(match->findings, &sent->event);
	trace_findings_task(match->findings, sent->event.tid);
	/* Until then nobody was to come here: that is part of what it is to be sent. */
	if (gap->waits)
		trace_held_spent(&gap->held, sent->at, link);
}

/* The task that a switch brings, by which its time is known; `own`: of the measured one. */
static uint16_t task_link(struct trace_match *match, const struct trace_event *came, uint16_t own)
{
	if (!came->value)
		return LINK_IDLE;
	return (int32_t)came->value == match->tid ? own : trace_findings_link(match->findings, came);
}

/* Who has the CPU as a wait begins. */
static void begin_wait(struct trace_match *match, struct open_gap *gap)
{
	if (!match->waits || gap->waits)
		return;
	gap->waits = true;
	trace_held_begin(&gap->held, gap->kept.start,
			 match->known ? task_link(match, &match->came, LINK_NONE) : LINK_NONE, LINK_NONE);
}

/* Who has the CPU from here on. Once the task has come, the way back belongs to what brought it. */
static void note_holder(struct trace_match *match, struct open_gap *gap, const struct trace_event *event,
			uint16_t link, uint64_t at)
{
	struct trace_held *held = &gap->held;

	if (!gap->waits)
		return;
	switch ((enum trace_kind)event->kind) {
	case TRACE_SWITCH:
		trace_held_task(held, at, task_link(match, event, gap->entry));
		break;
	case TRACE_WORK:
		trace_held_task(held, at, link);
		break;
	case TRACE_SOFTIRQ:
		trace_held_softirq(held, at, link);
		break;
	case TRACE_TIMER:
		trace_held_softirq_event(held, at, link);
		break;
	case TRACE_SOFTIRQ_END:
		trace_held_softirq_end(held, at);
		break;
	case TRACE_END:
		trace_held_end(held, at);
		break;
	default:
		/* What a task does itself, and what it takes to change to it, is its own. */
		if (trace_kinds[event->kind].entry)
			trace_held_entry(held, at, link);
		else if (event->kind != TRACE_TLB || event->value == TLB_REMOTE)
			trace_held_event(held, at, link);
		break;
	}
}

static void add_event(struct trace_match *match, struct open_gap *gap,
		      const struct trace_event *event, uint64_t at, const struct trace_sent *sent)
{
	const struct trace_kind_facts *facts = &trace_kinds[event->kind];
	unsigned int weight = facts->weight;
	uint16_t link;

	match->findings->inside++;
	/* It comes back, or nobody does. Was it not there at all, it came after who was. */
	if (event->kind == TRACE_SWITCH) {
		note_holder(match, gap, event, LINK_NONE, at);
		if (!event->value)
			return;
		if ((int32_t)event->value == match->tid && (gap->switches || !event->other))
			return;
	}
	if (event->kind == TRACE_END || event->kind == TRACE_SOFTIRQ_END) {
		note_holder(match, gap, event, LINK_NONE, at);
		return;
	}
	link = trace_findings_link(match->findings, event);
	add_to_chain(match, gap, link, at);
	add_sender(match, gap, link, sent);
	if (event->kind != TRACE_SWITCH)
		note_holder(match, gap, event, link, at);
	if (event->kind == TRACE_FAULT && !gap->kept.address)
		gap->kept.address = event->extra;
	if (event->kind == TRACE_SWITCH && !gap->switches++)
		gap->kept.tid = event->other ? event->other : (int32_t)event->value;
	if (facts->entry && gap->entry == LINK_NONE) {
		gap->entry = link;
		gap->kept.class = (uint8_t)facts->implies;
	}
	if (gap->implied == CLASS_UNEXPLAINED)
		gap->implied = (uint16_t)implied_by(event);
	/* The work of the task that came first, not of one that came later. */
	if (event->kind == TRACE_WORK && gap->switches != 1)
		weight = 0;
	if (weight > gap->weight) {
		gap->weight = weight;
		gap->cause = link;
	}
}

static bool is_foreign(const struct trace_match *match, const struct trace_event *event)
{
	return trace_sources[event->source].own && event->tid != match->tid;
}

static void close_gap(struct trace_match *match, struct open_gap *gap,
		      const struct trace_entry *entry)
{
	struct trace_findings *findings = match->findings;
	const uint64_t ns = clock_ns(match->mult, entry->units > entry->usual ?
					     entry->units - entry->usual : 0);

	if (gap->entry == LINK_NONE)
		gap->kept.class = (uint8_t)gap->implied;
	if (gap->waits) {
		const uint16_t most = trace_held_most(&gap->held, gap->kept.start + entry->units);

		gap->cause = most == LINK_NONE ? gap->cause : most;
	}
	gap->kept.cause = trace_findings_cause(findings, gap->kept.class, gap->entry, gap->cause);
	trace_findings_add(findings, &gap->kept, ns);
}

static void take(struct trace_match *match, const struct trace_event *event)
{
	if (event->kind == TRACE_SWITCH) {
		match->known = true;
		match->came = *event;
	}
	match->feed.pop(match->feed.context);
}

void trace_match_gap(struct trace_match *match, const struct trace_entry *entry)
{
	struct open_gap gap = {
		.kept = { .key = entry->key, .start = entry->start, .class = CLASS_UNEXPLAINED,
			  .sender_cpu = -1 },
		.entry = LINK_NONE,
		.cause = LINK_NONE,
		.implied = CLASS_UNEXPLAINED,
	};
	struct trace_event event;
	struct trace_sent sent;
	uint64_t at;

	while (match->feed.peek(match->feed.context, &event, &at) &&
	       is_before(at, entry->start + entry->units)) {
		const bool said = take_sent(match, &event, at, &sent);

		if (is_foreign(match, &event)) {
			match->findings->foreign++;
		} else if (is_before(at + match->tolerance, entry->start)) {
			match->findings->outside++;
		} else {
			begin_wait(match, &gap);
			add_event(match, &gap, &event, at, said ? &sent : NULL);
		}
		take(match, &event);
	}
	close_gap(match, &gap, entry);
}

/* Counts all events before `until` in `counter`; without an end, all. */
static void count_until(struct trace_match *match, const uint64_t *until, uint64_t *counter)
{
	struct trace_event event;
	struct trace_sent sent;
	uint64_t at;

	while (match->feed.peek(match->feed.context, &event, &at) &&
	       (!until || is_before(at + match->tolerance, *until))) {
		(void)take_sent(match, &event, at, &sent);
		(*(is_foreign(match, &event) ? &match->findings->foreign : counter))++;
		take(match, &event);
	}
}

void trace_match_until(struct trace_match *match, uint64_t until)
{
	count_until(match, &until, &match->findings->outside);
}

void trace_match_before(struct trace_match *match, const uint64_t *first)
{
	count_until(match, first, &match->findings->before);
}

void trace_match_after(struct trace_match *match)
{
	count_until(match, NULL, &match->findings->after);
}
