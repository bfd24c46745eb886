/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The events of a run in the order they happened, in memory that was there before.
 * When the ring is full, later events are counted and not stored: what is in it is
 * the complete beginning, never a mixture.
 */
#ifndef ISOLBENCH_RING_H
#define ISOLBENCH_RING_H

#include <stddef.h>
#include <stdint.h>

struct ring_entry {
	uint64_t start;		/* counter at the event's begin */
	uint64_t units;		/* its length */
};

struct ring {
	struct ring_entry *entries;
	size_t capacity;
	size_t stored;
	uint64_t dropped;
};

/* `entries`: `capacity` elements, the caller's. */
void ring_init(struct ring *ring, struct ring_entry *entries, size_t capacity);

/* Forgets everything; writes to every page. */
void ring_reset(struct ring *ring);

static inline void ring_push(struct ring *ring, uint64_t start, uint64_t units)
{
	if (__builtin_expect(ring->stored < ring->capacity, 1))
		ring->entries[ring->stored++] = (struct ring_entry){ start, units };
	else
		ring->dropped++;
}

#endif
