/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The records of a perf ring, one by one, as events. Pure: what is read is bytes, of the
 * kernel's ring or of a test. Whatever they are, nothing outside of them is read.
 */
#ifndef ISOLBENCH_TRACE_RECORD_H
#define ISOLBENCH_TRACE_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/trace_event.h"
#include "core/trace_format.h"

#define TRACE_RECORD_MAX 65536	/* its header has 16 bits for it */

/* The fields of each sample, in this order: IDENTIFIER, TID, TIME, then ADDR or RAW. */
struct trace_layout {
	int32_t tid;				/* the measured task; 0: none is */
	int32_t number;				/* its number where the kernel does not speak ours; 0: the same */
	size_t count;
	uint64_t ids[TRACE_SOURCES];		/* that records name their event by */
	uint8_t sources[TRACE_SOURCES];		/* index of trace_sources */
	struct trace_field fields[TRACE_SOURCES][TRACE_FIELDS];
};

struct trace_bytes {
	const uint8_t *data;
	size_t size;		/* a power of two */
	uint64_t head, tail;	/* of which the position is the rest */
};

/*
 * The record at the tail: in place, or in `scratch` of TRACE_RECORD_MAX bytes where it wraps
 * around. Sets its size, by which the tail is to advance. NULL: none, or none that can be
 * (*size is 0 then, and all that is left is to be given up).
 */
const uint8_t *trace_bytes_peek(const struct trace_bytes *bytes, uint8_t *scratch, size_t *size);

enum trace_decoded {
	TRACE_DECODED,
	TRACE_DECODED_LOSS,	/* `value`: records for which there was no room */
	TRACE_THROTTLED,	/* from here on the kernel held the event back */
	TRACE_IGNORED,		/* of a kind that says nothing of entries */
	TRACE_UNKNOWN,		/* malformed, or of an event that is not ours */
};

/* Learns the task's `number` as it goes. */
enum trace_decoded trace_decode(struct trace_layout *layout, const uint8_t *record,
				size_t size, struct trace_event *event);

#endif
