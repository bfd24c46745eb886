/* SPDX-License-Identifier: Apache-2.0 */
#include "core/trace_record.h"

#include <linux/perf_event.h>
#include <string.h>

enum { FIELD_VALUE, FIELD_EXTRA, FIELD_TEXT, FIELD_OTHER, FIELD_OTHER_TEXT };

/* What each record but a sample ends with (sample_id_all). */
struct sample_id {
	uint32_t pid, tid;
	uint64_t time;
	uint64_t id;
};

/* What each sample begins with. */
struct sample {
	uint64_t id;
	uint32_t pid, tid;
	uint64_t time;
};

const uint8_t *trace_bytes_peek(const struct trace_bytes *bytes, uint8_t *scratch, size_t *size)
{
	const uint64_t left = bytes->head - bytes->tail;
	const size_t at = (size_t)bytes->tail & (bytes->size - 1);
	struct perf_event_header header;

	/* Records are multiples of 8 bytes, so a header never wraps around. */
	*size = 0;
	if (left < sizeof(header) || left > bytes->size || at % 8)
		return NULL;
	memcpy(&header, bytes->data + at, sizeof(header));
	if (header.size < sizeof(header) || header.size % 8 || header.size > left)
		return NULL;
	*size = header.size;
	if (at + header.size <= bytes->size)
		return bytes->data + at;
	memcpy(scratch, bytes->data + at, bytes->size - at);
	memcpy(scratch + (bytes->size - at), bytes->data, header.size - (bytes->size - at));
	return scratch;
}

/*
 * A sample's task is numbered as in our container, sched_switch's as on the machine. The two numbers
 * of the measured task are exchanged in the latter, so that nobody else has either.
 */
static int32_t as_ours(const struct trace_layout *layout, int32_t tid)
{
	if (!layout->number)
		return tid;
	return tid == layout->number ? layout->tid : tid == layout->tid ? layout->number : tid;
}

/* `event` is the raw switch: who goes is who it was sampled in. */
static void decode_switch(struct trace_layout *layout, const struct trace_field *fields,
			  const uint8_t *raw, size_t size, struct trace_event *event)
{
	uint64_t other;
	const bool known = trace_field_number(&fields[FIELD_OTHER], raw, size, &other);

	if (known && layout->tid && event->tid == layout->tid && (int32_t)other > 0)
		layout->number = (int32_t)other;
	event->value = (uint64_t)(int64_t)as_ours(layout, (int32_t)event->value);
	/* Who went is of interest where the measured task comes. */
	if (known && (int32_t)event->value == layout->tid) {
		event->other = as_ours(layout, (int32_t)other);
		(void)trace_field_text(&fields[FIELD_OTHER_TEXT], raw, size, event->text,
				       sizeof(event->text));
	}
}

static enum trace_decoded decode_raw(struct trace_layout *layout, const struct trace_field *fields,
				     const uint8_t *rest, size_t size, struct trace_event *event)
{
	uint32_t length;

	if (size < sizeof(length))
		return TRACE_UNKNOWN;
	memcpy(&length, rest, sizeof(length));
	rest += sizeof(length);
	if (length > size - sizeof(length))
		return TRACE_UNKNOWN;
	/* A field that this kernel does not have leaves its place empty. */
	(void)trace_field_number(&fields[FIELD_VALUE], rest, length, &event->value);
	(void)trace_field_number(&fields[FIELD_EXTRA], rest, length, &event->extra);
	(void)trace_field_text(&fields[FIELD_TEXT], rest, length, event->text,
			       sizeof(event->text));
	if (event->kind == TRACE_CALLER)
		(void)trace_field_number(&fields[FIELD_OTHER], rest, length, &event->function);
	if (event->kind == TRACE_SWITCH)
		decode_switch(layout, fields, rest, length, event);
	return TRACE_DECODED;
}

static enum trace_decoded decode_sample(struct trace_layout *layout, const uint8_t *rest,
					size_t size, struct trace_event *event)
{
	struct sample sample;
	size_t i = 0;

	if (size < sizeof(sample))
		return TRACE_UNKNOWN;
	memcpy(&sample, rest, sizeof(sample));
	rest += sizeof(sample);
	size -= sizeof(sample);
	while (i < layout->count && layout->ids[i] != sample.id)
		i++;
	if (i == layout->count)
		return TRACE_UNKNOWN;
	event->time_ns = (int64_t)sample.time;
	event->tid = (int32_t)sample.tid;
	event->source = layout->sources[i];
	event->kind = (uint8_t)trace_sources[event->source].kind;
	if (event->source != SOURCE_SOFTWARE_FAULT)
		return decode_raw(layout, layout->fields[i], rest, size, event);
	if (size < sizeof(event->extra))
		return TRACE_UNKNOWN;
	memcpy(&event->extra, rest, sizeof(event->extra));
	return TRACE_DECODED;
}

enum trace_decoded trace_decode(struct trace_layout *layout, const uint8_t *record,
				size_t size, struct trace_event *event)
{
	struct perf_event_header header;
	struct sample_id id;
	const uint8_t *rest = record + sizeof(header);

	memset(event, 0, sizeof(*event));
	memcpy(&header, record, sizeof(header));
	size -= sizeof(header);
	if (header.type == PERF_RECORD_SAMPLE)
		return decode_sample(layout, rest, size, event);
	if (size < sizeof(id))
		return TRACE_UNKNOWN;
	memcpy(&id, rest + size - sizeof(id), sizeof(id));
	event->time_ns = (int64_t)id.time;
	event->tid = (int32_t)id.tid;
	switch (header.type) {
	case PERF_RECORD_LOST:
		if (size < 2 * sizeof(uint64_t) + sizeof(id))
			return TRACE_UNKNOWN;
		memcpy(&event->value, rest + sizeof(uint64_t), sizeof(event->value));
		return TRACE_DECODED_LOSS;
	case PERF_RECORD_SWITCH:
		if (!(header.misc & PERF_RECORD_MISC_SWITCH_OUT))
			return TRACE_IGNORED;
		event->source = SOURCE_SOFTWARE_SWITCH;
		event->kind = TRACE_PREEMPT;
		event->value = !!(header.misc & PERF_RECORD_MISC_SWITCH_OUT_PREEMPT);
		return TRACE_DECODED;
	case PERF_RECORD_THROTTLE:
		return TRACE_THROTTLED;
	case PERF_RECORD_UNTHROTTLE:
		return TRACE_IGNORED;
	default:
		return TRACE_UNKNOWN;
	}
}
