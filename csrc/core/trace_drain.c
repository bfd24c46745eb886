/* SPDX-License-Identifier: Apache-2.0 */
#include "core/trace_drain.h"

#include <math.h>

uint64_t trace_drain_counter(const struct trace_drain *drain, int64_t time_ns)
{
	const double span_ns = (double)(drain->now.clock_ns - drain->origin.clock_ns);
	const double span_units = (double)(int64_t)(drain->now.counter - drain->origin.counter);
	const double ns = (double)(time_ns - drain->origin.clock_ns);

	return drain->origin.counter +
	       (uint64_t)(span_ns > 0.0 ? llround(ns * span_units / span_ns) : 0);
}

static void skip_record(struct trace_drain *drain)
{
	drain->events.bytes.tail += drain->record_bytes;
	drain->peeked = false;
}

/* Decodes until there is an event. */
static bool find_event(struct trace_drain *drain)
{
	const uint8_t *record;

	while (!drain->peeked) {
		record = trace_bytes_peek(&drain->events.bytes, drain->scratch, &drain->record_bytes);
		if (!record) {
			drain->unknown += drain->events.bytes.head != drain->events.bytes.tail;
			drain->events.bytes.tail = drain->events.bytes.head;
			return false;
		}
		switch (trace_decode(&drain->events.layout, record, drain->record_bytes, &drain->event)) {
		case TRACE_DECODED:
			drain->peeked = true;
			break;
		case TRACE_UNKNOWN:
			drain->unknown++;
			skip_record(drain);
			break;
		case TRACE_DECODED_LOSS:
			drain->lost += drain->event.value;
			skip_record(drain);
			break;
		case TRACE_THROTTLED:
			drain->throttled++;
			skip_record(drain);
			break;
		case TRACE_IGNORED:
			skip_record(drain);
			break;
		}
	}
	return true;
}

static bool peek(void *context, struct trace_event *event, uint64_t *at)
{
	struct trace_drain *drain = context;

	if (!find_event(drain) || drain->event.time_ns >= drain->limit_ns)
		return false;
	*event = drain->event;
	*at = trace_drain_counter(drain, event->time_ns);
	return true;
}

static void pop(void *context)
{
	struct trace_drain *drain = context;

	/* Held against the kernel's count by its name, which only a link has. */
	if (drain->event.kind == TRACE_IPI)
		(void)trace_findings_link(drain->findings, &drain->event);
	trace_count(&drain->counters, &drain->event, &drain->begin, drain->ended ? &drain->end : NULL);
	drain->seen[drain->event.source]++;
	drain->records++;
	skip_record(drain);
}

struct trace_feed trace_drain_feed(struct trace_drain *drain)
{
	return (struct trace_feed){ .peek = peek, .pop = pop, .context = drain };
}

void trace_drain_account(const struct trace_drain *drain, uint64_t *lost, uint64_t *missing)
{
	const struct trace_layout *layout = &drain->events.layout;
	uint64_t without_room = 0, absent = 0;

	for (size_t i = 0; i < layout->count; i++) {
		const uint64_t seen = drain->seen[layout->sources[i]];
		struct trace_total total;

		if (!trace_events_count(&drain->events, i, &total))
			continue;
		without_room += total.lost;
		absent += total.count > seen ? total.count - seen : 0;
	}
	*lost = without_room > drain->lost ? without_room : drain->lost;
	*missing = absent > *lost ? absent - *lost : 0;
}
