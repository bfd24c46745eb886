/* SPDX-License-Identifier: Apache-2.0 */
#include "core/trace_findings.h"

#include <stdbool.h>
#include <string.h>

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

static bool is_link(const struct trace_link *link, const struct trace_link *key)
{
	return link->source == key->source && link->value == key->value &&
	       !memcmp(link->text, key->text, sizeof(key->text));
}

/* The place of a link, or where it would be: never without one, for there are more places than links. */
static uint16_t *place_of(struct trace_findings *findings, const struct trace_link *key)
{
	uint64_t hash = key->value + key->source;
	size_t i;

	for (i = 0; i < sizeof(key->text) && key->text[i]; i++)
		hash = hash * 31 + (unsigned char)key->text[i];
	i = (size_t)(hash * UINT64_C(0x9e3779b97f4a7c15) >> 48) % TRACE_PLACES;
	while (findings->places[i] && !is_link(&findings->links[findings->places[i]], key))
		i = (i + 1) % TRACE_PLACES;
	return &findings->places[i];
}

uint16_t trace_findings_link(struct trace_findings *findings, const struct trace_event *event)
{
	struct trace_link key;
	uint16_t *place;

	key_of(event, &key);
	place = place_of(findings, &key);
	if (*place)
		return *place;
	if (findings->links_used == TRACE_LINKS) {
		findings->link_overflow++;
		return LINK_OTHER;
	}
	*place = (uint16_t)findings->links_used;
	findings->links[findings->links_used++] = key;
	return *place;
}

uint16_t trace_findings_cause(struct trace_findings *findings, uint16_t class, uint16_t entry,
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

void trace_findings_task(struct trace_findings *findings, int32_t tid)
{
	for (size_t i = 0; i < findings->tasks_used; i++)
		if (findings->tasks[i].tid == tid)
			return;
	if (findings->tasks_used < TRACE_TASKS)
		findings->tasks[findings->tasks_used++].tid = tid;
}

void trace_findings_add(struct trace_findings *findings, const struct trace_gap *gap, uint64_t ns)
{
	struct trace_cause *cause = &findings->causes[gap->cause];
	struct recorder buckets;

	cause->count++;
	cause->stolen_ns += ns;
	recorder_resume(&buckets, TRACE_DIGITS, cause->counts, cause->max_ns);
	recorder_add(&buckets, ns);
	cause->max_ns = buckets.max;
	findings->gaps++;
	findings->by_class[gap->class]++;
	findings->stolen_by_class_ns[gap->class] += ns;
	if (findings->kept < findings->kept_max)
		findings->gaps_kept[findings->kept++] = *gap;
}

const struct trace_gap *trace_findings_gap(const struct trace_findings *findings, uint64_t key,
					   size_t *hint)
{
	while (*hint < findings->kept && (int64_t)(findings->gaps_kept[*hint].key - key) < 0)
		(*hint)++;
	return *hint < findings->kept && findings->gaps_kept[*hint].key == key ?
	       &findings->gaps_kept[*hint] : NULL;
}
