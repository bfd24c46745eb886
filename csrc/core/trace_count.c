/* SPDX-License-Identifier: Apache-2.0 */
#include "core/trace_count.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/trace_open.h"

static bool is_counted(const struct trace_event *event)
{
	return trace_sources[event->source].row || event->kind == TRACE_IRQ ||
	       event->kind == TRACE_IPI;
}

void trace_count(struct trace_counters *counters, const struct trace_event *event,
		 const struct trace_snapshot *begin, const struct trace_snapshot *end)
{
	const int64_t at = event->time_ns;
	struct trace_counter *counter;
	uint64_t value;
	size_t i;

	if (!is_counted(event) || at < begin->begin_ns || (end && at > end->end_ns))
		return;
	value = event->kind == TRACE_VECTOR ? 0 : event->value;
	for (i = 0; i < counters->used; i++)
		if (counters->counter[i].source == event->source &&
		    counters->counter[i].value == value)
			break;
	if (i == TRACE_COUNT_ROWS) {
		counters->overflow++;
		return;
	}
	counter = &counters->counter[i];
	if (i == counters->used) {
		counters->used++;
		*counter = (struct trace_counter){ .value = value, .source = event->source };
	}
	if (at <= begin->end_ns || (end && at >= end->begin_ns))
		counter->edge++;
	else
		counter->sure++;
}

static const char *label_of(const struct trace_findings *findings,
			    const struct trace_counter *counter)
{
	for (size_t i = LINKS_FIXED; i < findings->links_used; i++)
		if (findings->links[i].source == counter->source &&
		    findings->links[i].value == counter->value)
			return findings->links[i].label;
	return "";
}

/* Is it this row's: by the row's name, by its number, or by what stands behind it? */
static bool counts_for(const struct trace_findings *findings, const struct trace_counter *counter,
		       const struct sysfs_interrupt_row *row)
{
	const struct trace_source *source = &trace_sources[counter->source];
	const char *label;
	char number[24];

	switch (source->kind) {
	case TRACE_VECTOR:
		return !strcmp(source->row, row->name);
	case TRACE_IRQ:
		snprintf(number, sizeof(number), "%" PRIu64, counter->value);
		return !strcmp(number, row->name);
	case TRACE_IPI:
		label = strchr(label_of(findings, counter), ':');
		return label && !strcmp(label + 1, row->what);
	default:
		return false;
	}
}

/* Would each interrupt of this row be an event? Of several handlers each has one of its own. */
static bool has_events(const uint8_t *states, const struct sysfs_interrupt_row *row)
{
	const bool numbered = strspn(row->name, "0123456789") == strlen(row->name);
	bool any = false;

	for (size_t i = 0; i < TRACE_SOURCES; i++) {
		const struct trace_source *source = &trace_sources[i];
		const bool ours = source->row		      ? !strcmp(source->row, row->name) :
				  source->kind == TRACE_IRQ ? numbered && !strchr(row->what, ',') :
				  source->kind == TRACE_IPI ? !strncmp(row->name, "IPI", 3) : false;

		if (ours && states[i] != TRACE_OPEN)
			return false;
		any = any || ours;
	}
	return any;
}

void trace_balance(struct trace_balance *balance, const struct trace_counters *counters,
		   const struct trace_findings *findings, const uint8_t *states,
		   const struct trace_snapshot *begin, const struct trace_snapshot *end)
{
	balance->rows = 0;
	balance->known = begin->interrupts.rows && end->interrupts.rows && !counters->overflow;
	balance->holds = balance->known;
	for (size_t i = 0; i < end->interrupts.rows && balance->rows < TRACE_COUNT_ROWS; i++) {
		const struct sysfs_interrupt_row *last = &end->interrupts.row[i];
		const struct sysfs_interrupt_row *first =
			sysfs_interrupt(&begin->interrupts, last->name);
		struct trace_balance_row *row = &balance->row[balance->rows];

		*row = (struct trace_balance_row){ .interrupts = last->count - (first ? first->count : 0) };
		memcpy(row->name, last->name, sizeof(row->name));
		for (size_t c = 0; c < counters->used; c++) {
			if (!counts_for(findings, &counters->counter[c], last))
				continue;
			row->sure += counters->counter[c].sure;
			row->edge += counters->counter[c].edge;
		}
		/* x86 counts a TLB shootdown as the function call that it is, too. */
		if ((!row->interrupts && !row->sure && !row->edge) || !strcmp(row->name, "TLB"))
			continue;
		row->seen = has_events(states, last);
		row->holds = row->sure <= row->interrupts && row->interrupts <= row->sure + row->edge;
		balance->holds = balance->holds && (row->holds || !row->seen);
		balance->rows++;
	}
}
