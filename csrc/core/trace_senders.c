/* SPDX-License-Identifier: Apache-2.0 */
#include "core/trace_senders.h"

#include <stdlib.h>
#include <string.h>

#include "core/placement.h"
#include "core/sysfs.h"

void trace_senders_open(struct trace_senders *senders, const struct trace_request *request,
			int tracefs, struct trace_opening *opening)
{
	char online[1024];

	senders->cpu = request->cpu;
	if (request->cpu < 0 || opening->level != LEVEL_TRACEPOINTS ||
	    !sysfs_line(online, sizeof(online), "/sys/devices/system/cpu/online"))
		return;
	senders->events = calloc(PLACEMENT_CPUS_MAX, sizeof(*senders->events));
	senders->cpus = calloc(PLACEMENT_CPUS_MAX, sizeof(*senders->cpus));
	if (!senders->events || !senders->cpus)
		return;
	for (int cpu = 0; cpu < PLACEMENT_CPUS_MAX; cpu++) {
		if (cpu == request->cpu || !sysfs_list_has(online, cpu))
			continue;
		if (!trace_events_open_senders(request, cpu, tracefs, &senders->events[senders->count],
					       opening))
			return;
		senders->cpus[senders->count++] = (int16_t)cpu;
	}
}

void trace_senders_enable(const struct trace_senders *senders)
{
	for (size_t i = 0; i < senders->count; i++)
		(void)trace_events_enable(&senders->events[i]);
}

/* Of several that were sent at once: is the measured CPU among them? One beyond the text is not known. */
static bool is_meant(const struct trace_senders *senders, struct trace_event *event)
{
	const size_t byte = (size_t)senders->cpu / 8;
	bool meant = true;

	if (event->kind == TRACE_RAISER) {
		meant = byte < sizeof(event->text) - 1 && event->text[byte] >> senders->cpu % 8 & 1;
		memset(event->text, 0, sizeof(event->text));
	}
	return meant;
}

static void note_own(struct trace_senders *senders, const struct trace_sent *sent)
{
	const bool calls = sent->event.kind == TRACE_CALLER || !sent->event.extra;

	if (sent->event.tid == senders->self && calls && senders->first &&
	    sent->at >= senders->first && sent->at <= senders->last)
		senders->own++;
}

void trace_senders_take(struct trace_senders *senders, const struct trace_drain *drain,
			struct trace_match *match)
{
	const uint8_t *record;
	size_t size;

	for (size_t i = 0; i < senders->count; i++) {
		struct trace_events *events = &senders->events[i];
		struct trace_sent sent = { .cpu = senders->cpus[i] };

		trace_events_look(events);
		while ((record = trace_bytes_peek(&events->bytes, senders->scratch, &size))) {
			const enum trace_decoded what = trace_decode(&events->layout, record, size,
								     &sent.event);

			if (what == TRACE_DECODED_LOSS)
				senders->lost += sent.event.value;
			if (what == TRACE_DECODED && is_meant(senders, &sent.event)) {
				sent.at = trace_drain_counter(drain, sent.event.time_ns);
				trace_match_sent(match, &sent);
				note_own(senders, &sent);
			}
			events->bytes.tail += size;
		}
		events->bytes.tail = events->bytes.head;	/* what is no record is given up */
		trace_events_taken(events);
	}
}

void trace_senders_discard(struct trace_senders *senders)
{
	for (size_t i = 0; i < senders->count; i++) {
		trace_events_look(&senders->events[i]);
		senders->events[i].bytes.tail = senders->events[i].bytes.head;
		trace_events_taken(&senders->events[i]);
	}
}
