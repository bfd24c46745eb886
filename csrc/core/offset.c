/* SPDX-License-Identifier: Apache-2.0 */
#include "core/offset.h"

#include "core/clock.h"

static inline void relax(void)
{
#if defined(__x86_64__)
	__asm__ volatile("pause");
#else
	__asm__ volatile("yield");
#endif
}

static bool spin_until(_Atomic uint32_t *word, uint32_t value, uint64_t timeout)
{
	const uint64_t since = counter_read();

	while (atomic_load_explicit(word, memory_order_acquire) != value) {
		if ((int64_t)(counter_read() - since - timeout) > 0)
			return false;
		relax();
	}
	return true;
}

bool offset_ask(struct offset_channel *channel, uint64_t timeout, struct offset_bounds *bounds)
{
	const uint32_t base = atomic_load_explicit(&channel->question, memory_order_relaxed);

	*bounds = (struct offset_bounds){ INT64_MIN, INT64_MAX, UINT64_MAX };
	for (uint32_t i = 1; i <= OFFSET_ROUNDS; i++) {
		const uint64_t before = counter_read_ordered();
		uint64_t after;
		int64_t low, high;

		atomic_store_explicit(&channel->question, base + i, memory_order_release);
		if (!spin_until(&channel->answer, base + i, timeout))
			return false;
		after = counter_read_ordered();
		low = (int64_t)(channel->reading - after);
		high = (int64_t)(channel->reading - before);
		if (low > bounds->low)
			bounds->low = low;
		if (high < bounds->high)
			bounds->high = high;
		if (after - before < bounds->round_trip)
			bounds->round_trip = after - before;
	}
	return true;
}

bool offset_answer(struct offset_channel *channel, uint64_t timeout)
{
	const uint32_t base = atomic_load_explicit(&channel->answer, memory_order_relaxed);

	for (uint32_t i = 1; i <= OFFSET_ROUNDS; i++) {
		if (!spin_until(&channel->question, base + i, timeout))
			return false;
		channel->reading = counter_read_ordered() + channel->skew;
		atomic_store_explicit(&channel->answer, base + i, memory_order_release);
	}
	return true;
}

bool offset_is_small(const struct offset_bounds *bounds, double granularity, double most)
{
	return (double)bounds->low <= (double)bounds->high + 2.0 * granularity &&
	       (double)bounds->low <= most && (double)bounds->high >= -most;
}
