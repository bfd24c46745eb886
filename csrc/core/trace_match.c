/* SPDX-License-Identifier: Apache-2.0 */
#include "core/trace_match.h"

#include <string.h>

#include "core/clock.h"

size_t trace_findings_bytes(size_t kept_max)
{
	return sizeof(struct trace_findings) + kept_max * sizeof(struct trace_gap);
}

void trace_findings_init(struct trace_findings *findings, size_t kept_max)
{
	findings->kept_max = kept_max;
	findings->links_used = LINKS_FIXED;
	for (uint16_t class = 0; class < CLASSES; class++) {
		const uint16_t link = class == CLASS_UNEXPLAINED ? LINK_NONE : LINK_OTHER;

		findings->causes[class] =
			(struct trace_cause){ .class = class, .entry = link, .cause = link };
	}
	findings->causes_used = CLASSES;
}

#define SLEEPS 0x7f	/* of prev_state: asleep, stopped or dead in any way */

static bool is_before(uint64_t a, uint64_t b)
{
	return (int64_t)(a - b) < 0;
}

/* Kernel threads are named by the CPU they belong to: "ksoftirqd/1", "kworker/1:2". */
static void key_of(const struct trace_event *event, struct trace_link *key)
{
	*key = (struct trace_link){ .source = event->source, .kind = event->kind };
	memcpy(key->text, event->text, sizeof(key->text));
	if (event->kind != TRACE_SWITCH) {
		key->value = event->value;
		return;
	}
	for (size_t i = strcspn(key->text, "/"); i < sizeof(key->text); i++)
		key->text[i] = '\0';
}

static uint16_t link_of(struct trace_findings *findings, const struct trace_event *event)
{
	struct trace_link key;
	size_t i;

	key_of(event, &key);
	for (i = LINKS_FIXED; i < findings->links_used; i++) {
		const struct trace_link *link = &findings->links[i];

		if (link->source == key.source && link->value == key.value &&
		    !memcmp(link->text, key.text, sizeof(key.text)))
			return (uint16_t)i;
	}
	if (i == TRACE_LINKS) {
		findings->link_overflow++;
		return LINK_OTHER;
	}
	findings->links[i] = key;
	findings->links_used++;
	return (uint16_t)i;
}

void trace_findings_note(struct trace_findings *findings, const struct trace_event *event)
{
	(void)link_of(findings, event);
}

static uint16_t cause_of(struct trace_findings *findings, uint16_t class, uint16_t entry,
			 uint16_t cause)
{
	size_t i;

	for (i = 0; i < findings->causes_used; i++) {
		const struct trace_cause *known = &findings->causes[i];

		if (known->class == class && known->entry == entry && known->cause == cause)
			return (uint16_t)i;
	}
	if (i == TRACE_CAUSES) {
		findings->cause_overflow++;
		return class;
	}
	findings->causes[i].class = class;
	findings->causes[i].entry = entry;
	findings->causes[i].cause = cause;
	findings->causes_used++;
	return (uint16_t)i;
}

/* What is known of a gap while its events come. */
struct open_gap {
	struct trace_gap kept;
	uint16_t entry, cause;		/* links */
	uint16_t implied;		/* the class, as long as no entry came */
	unsigned int weight;
	unsigned int switches;
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
}

static bool sends(const struct trace_event *sent, const struct trace_event *event)
{
	if (event->kind == TRACE_CALL)
		return sent->kind == TRACE_CALLER && sent->extra == event->extra;
	if (event->kind == TRACE_IPI)
		return sent->kind == TRACE_SENDER;
	return event->source == SOURCE_RESCHEDULE && sent->kind == TRACE_SENDER && !sent->extra;
}

/* The latest that can have led to this event. */
static const struct trace_sent *sent_for(const struct trace_match *match,
					 const struct trace_event *event, uint64_t at)
{
	const uint64_t kept = match->sent_count < TRACE_SENT ? match->sent_count : TRACE_SENT;
	const struct trace_sent *latest = NULL;

	for (uint64_t i = 0; i < kept; i++) {
		const struct trace_sent *sent = &match->sent[i];

		if (sends(&sent->event, event) && is_before(sent->at, at + match->tolerance) &&
		    (!latest || is_before(latest->at, sent->at)))
			latest = sent;
	}
	return latest;
}

static void note_task(struct trace_findings *findings, int32_t tid)
{
	for (size_t i = 0; i < findings->tasks_used; i++)
		if (findings->tasks[i].tid == tid)
			return;
	if (findings->tasks_used < TRACE_TASKS)
		findings->tasks[findings->tasks_used++].tid = tid;
}

static void add_sender(struct trace_match *match, struct open_gap *gap,
		       const struct trace_event *event, uint64_t at)
{
	const struct trace_sent *sent;

	/* What came to the task that was measured, not to one that ran in its place. */
	if (gap->kept.sender_cpu >= 0 || gap->switches ||
	    (event->kind != TRACE_CALL && event->kind != TRACE_IPI &&
	     event->source != SOURCE_RESCHEDULE))
		return;
	sent = sent_for(match, event, at);
	if (!sent)
		return;
	gap->kept.sender_cpu = sent->cpu;
	gap->kept.sender_tid = sent->event.tid;
	gap->kept.sender_site = link_of(match->findings, &sent->event);
	note_task(match->findings, sent->event.tid);
}

static void add_event(struct trace_match *match, struct open_gap *gap,
		      const struct trace_event *event, uint64_t at)
{
	const struct trace_kind_facts *facts = &trace_kinds[event->kind];
	unsigned int weight = facts->weight;
	uint16_t link;

	match->findings->inside++;
	/* It comes back, or nobody does. Was it not there at all, it came after who was. */
	if (event->kind == TRACE_SWITCH) {
		if (!event->value)
			return;
		if ((int32_t)event->value == match->tid && (gap->switches || !event->other))
			return;
	}
	link = link_of(match->findings, event);
	add_to_chain(match, gap, link, at);
	add_sender(match, gap, event, at);
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

static void close_gap(struct trace_match *match, struct open_gap *gap, uint64_t units)
{
	struct trace_findings *findings = match->findings;
	const uint64_t ns = clock_ns(match->mult, units);
	struct trace_cause *cause;
	struct recorder buckets;

	if (gap->entry == LINK_NONE)
		gap->kept.class = (uint8_t)gap->implied;
	gap->kept.cause = cause_of(findings, gap->kept.class, gap->entry, gap->cause);
	cause = &findings->causes[gap->kept.cause];
	cause->count++;
	cause->stolen_ns += ns;
	recorder_resume(&buckets, TRACE_DIGITS, cause->counts, cause->max_ns);
	recorder_add(&buckets, ns);
	cause->max_ns = buckets.max;
	findings->gaps++;
	findings->by_class[gap->kept.class]++;
	findings->stolen_by_class_ns[gap->kept.class] += ns;
	if (findings->kept < findings->kept_max)
		findings->gaps_kept[findings->kept++] = gap->kept;
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
	uint64_t at;

	while (match->feed.peek(match->feed.context, &event, &at) &&
	       is_before(at, entry->start + entry->units)) {
		if (is_foreign(match, &event))
			match->findings->foreign++;
		else if (is_before(at + match->tolerance, entry->start))
			match->findings->outside++;
		else
			add_event(match, &gap, &event, at);
		match->feed.pop(match->feed.context);
	}
	close_gap(match, &gap, entry->units);
}

/* Counts all events before `until` in `counter`; without an end, all. */
static void count_until(struct trace_match *match, const uint64_t *until, uint64_t *counter)
{
	struct trace_event event;
	uint64_t at;

	while (match->feed.peek(match->feed.context, &event, &at) &&
	       (!until || is_before(at + match->tolerance, *until))) {
		(*(is_foreign(match, &event) ? &match->findings->foreign : counter))++;
		match->feed.pop(match->feed.context);
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

const struct trace_gap *trace_findings_gap(const struct trace_findings *findings, uint64_t key,
					   size_t *hint)
{
	while (*hint < findings->kept && is_before(findings->gaps_kept[*hint].key, key))
		(*hint)++;
	return *hint < findings->kept && findings->gaps_kept[*hint].key == key ?
	       &findings->gaps_kept[*hint] : NULL;
}
