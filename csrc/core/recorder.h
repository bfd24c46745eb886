/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A histogram of nanoseconds with exactly HdrHistogram's bucket layout, plus what
 * a histogram cannot hold: the exact minimum and maximum, and how many values it
 * had no bucket for. Nothing given to a recorder is lost without being counted.
 *
 * The layout, for a lowest value of 1: values below `sub_buckets` (256 at 2 digits,
 * 2048 at 3) have a bucket each; above, every doubling of the value has half as
 * many buckets, each twice as wide. So a small value *is* its index, and the exact
 * minimum and maximum of small values can be read from the counts afterwards: a
 * hot loop may increment `counts[ns]` and need do nothing else. At 2 digits 1 ns..10 s
 * takes 28 KB, and a measurement touches a few lines of it: it stays in the L1D.
 */
#ifndef ISOLBENCH_RECORDER_H
#define ISOLBENCH_RECORDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RECORDER_LOWEST_NS UINT64_C(1)
#define RECORDER_HIGHEST_NS UINT64_C(10000000000)

struct recorder {
	uint64_t *counts;
	size_t length;			/* buckets */
	unsigned int digits;
	unsigned int half_magnitude;	/* log2(sub_buckets / 2) */
	uint64_t sub_buckets;

	uint64_t overflow;		/* above the highest; in `max` all the same */
	uint64_t negative;		/* intervals in which the counter went backwards */
	uint64_t min, max;		/* exact; complete after recorder_finish() */
	uint64_t recorded;		/* set by recorder_finish(): the sum of the counts */
};

/* The number of buckets for 2 or 3 significant digits. */
size_t recorder_length(unsigned int digits);

/* `counts`: recorder_length(digits) elements, the caller's. Clears everything. */
void recorder_init(struct recorder *recorder, unsigned int digits, uint64_t *counts);

/* The same, but what is in the counts stays there; `max` is that of before. */
void recorder_resume(struct recorder *recorder, unsigned int digits, uint64_t *counts, uint64_t max);

/* Clears everything; writes to every page of the counts. */
void recorder_reset(struct recorder *recorder);

/* The bucket of any value up to the highest. */
static inline __attribute__((always_inline)) size_t
recorder_index(const struct recorder *recorder, uint64_t ns)
{
	const unsigned int top = 63U - (unsigned int)__builtin_clzll(ns | (recorder->sub_buckets - 1));
	const unsigned int bucket = top - recorder->half_magnitude;

	return ((size_t)bucket << recorder->half_magnitude) + (size_t)(ns >> bucket);
}

/* Records any value: the complete path. */
static inline void recorder_add(struct recorder *recorder, uint64_t ns)
{
	if (ns < recorder->min)
		recorder->min = ns;
	if (ns > recorder->max)
		recorder->max = ns;
	if (__builtin_expect(ns > RECORDER_HIGHEST_NS, 0))
		recorder->overflow++;
	else
		recorder->counts[recorder_index(recorder, ns)]++;
}

/* Sums up, and takes into min and max what a hot loop only counted. */
void recorder_finish(struct recorder *recorder);

/* Has anything been seen that has a minimum and a maximum? After finish. */
bool recorder_any(const struct recorder *recorder);

/* The lowest and highest value that share a bucket with this index. */
uint64_t recorder_bucket_low(const struct recorder *recorder, size_t index);
uint64_t recorder_bucket_high(const struct recorder *recorder, size_t index);

/*
 * The value at a percentile as HdrHistogram has it (the highest value of its
 * bucket) over the recorded values; 0 when there are none. After finish.
 */
uint64_t recorder_percentile(const struct recorder *recorder, double percentile);

/* An upper bound of what recorder_encode() writes. */
size_t recorder_encoded_bound(const struct recorder *recorder);

/*
 * HdrHistogram's V2 payload, not compressed: a 40-byte header, then the counts as
 * ZigZag LEB128, runs of zeros as one negative number. Returns the bytes written.
 */
size_t recorder_encode(const struct recorder *recorder, uint8_t *bytes);

#endif
