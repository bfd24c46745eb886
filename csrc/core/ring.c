/* SPDX-License-Identifier: Apache-2.0 */
#include "core/ring.h"

#include <string.h>

void ring_init(struct ring *ring, struct ring_entry *entries, size_t capacity)
{
	ring->entries = entries;
	ring->capacity = capacity;
	ring_reset(ring);
}

void ring_reset(struct ring *ring)
{
	memset(ring->entries, 0, ring->capacity * sizeof(*ring->entries));
	ring->stored = 0;
	ring->dropped = 0;
}
