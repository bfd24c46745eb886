/* SPDX-License-Identifier: Apache-2.0 */
#include "core/recorder.h"

#include <string.h>

#define V2_COOKIE UINT32_C(0x1c849313)	/* 0x1c849303, word size field 1: LEB128 */
#define V2_HEADER_BYTES 40
#define V2_COUNT_BYTES 9		/* the longest LEB128 of this dialect */

static unsigned int half_magnitude(unsigned int digits)
{
	/* sub_buckets: the power of two that holds 2 * 10^digits. */
	return digits == 2 ? 7 : 10;
}

size_t recorder_length(unsigned int digits)
{
	const unsigned int half = half_magnitude(digits);
	uint64_t beyond = UINT64_C(2) << half;
	size_t buckets = 1;

	for (; beyond <= RECORDER_HIGHEST_NS; beyond <<= 1)
		buckets++;
	return (buckets + 1) << half;
}

void recorder_resume(struct recorder *recorder, unsigned int digits, uint64_t *counts, uint64_t max)
{
	*recorder = (struct recorder){
		.counts = counts,
		.length = recorder_length(digits),
		.digits = digits,
		.half_magnitude = half_magnitude(digits),
		.sub_buckets = UINT64_C(2) << half_magnitude(digits),
		.min = UINT64_MAX,
		.max = max,
	};
}

void recorder_init(struct recorder *recorder, unsigned int digits, uint64_t *counts)
{
	recorder_resume(recorder, digits, counts, 0);
	recorder_reset(recorder);
}

void recorder_reset(struct recorder *recorder)
{
	memset(recorder->counts, 0, recorder->length * sizeof(*recorder->counts));
	recorder->overflow = 0;
	recorder->negative = 0;
	recorder->min = UINT64_MAX;
	recorder->max = 0;
	recorder->recorded = 0;
}

void recorder_finish(struct recorder *recorder)
{
	recorder->recorded = 0;
	for (size_t i = 0; i < recorder->length; i++) {
		if (!recorder->counts[i])
			continue;
		recorder->recorded += recorder->counts[i];
		if (i < recorder->sub_buckets) {
			if (i < recorder->min)
				recorder->min = i;
			if (i > recorder->max)
				recorder->max = i;
		}
	}
}

bool recorder_any(const struct recorder *recorder)
{
	return recorder->recorded || recorder->overflow;
}

uint64_t recorder_bucket_low(const struct recorder *recorder, size_t index)
{
	const size_t half = (size_t)1 << recorder->half_magnitude;
	const size_t bucket = index >> recorder->half_magnitude;

	if (index < 2 * half)
		return index;
	return (uint64_t)((index & (half - 1)) + half) << (bucket - 1);
}

uint64_t recorder_bucket_high(const struct recorder *recorder, size_t index)
{
	return recorder_bucket_low(recorder, index + 1) - 1;
}

uint64_t recorder_percentile(const struct recorder *recorder, double percentile)
{
	uint64_t target, total = 0;

	if (!recorder->recorded)
		return 0;
	target = (uint64_t)(percentile * (double)recorder->recorded / 100.0 + 0.5);
	if (!target)
		target = 1;
	for (size_t i = 0; i < recorder->length; i++) {
		total += recorder->counts[i];
		if (total >= target)
			return recorder_bucket_high(recorder, i);
	}
	return 0;
}

/* ---- V2 ---- */

static uint8_t *put_be(uint8_t *at, uint64_t value, unsigned int bytes)
{
	while (bytes--)
		*at++ = (uint8_t)(value >> (8 * bytes));
	return at;
}

/*
 * HdrHistogram's LEB128 ends at nine bytes, the last of which carries eight bits:
 * ordinary LEB128 would need a tenth.
 */
static uint8_t *put_leb128(uint8_t *at, int64_t value)
{
	uint64_t rest = (uint64_t)value << 1 ^ (uint64_t)(value >> 63);

	for (int i = 0; i < V2_COUNT_BYTES - 1; i++) {
		if (rest < 0x80) {
			*at++ = (uint8_t)rest;
			return at;
		}
		*at++ = (uint8_t)(rest | 0x80);
		rest >>= 7;
	}
	*at++ = (uint8_t)rest;
	return at;
}

size_t recorder_encoded_bound(const struct recorder *recorder)
{
	return V2_HEADER_BYTES + recorder->length * V2_COUNT_BYTES;
}

size_t recorder_encode(const struct recorder *recorder, uint8_t *bytes)
{
	const double ratio = 1.0;
	size_t used = recorder->length;
	uint64_t ratio_bits;
	uint8_t *at = bytes + V2_HEADER_BYTES;
	uint8_t *header = bytes;

	while (used && !recorder->counts[used - 1])
		used--;
	for (size_t i = 0; i < used;) {
		size_t zeros = 0;

		while (!recorder->counts[i + zeros])
			zeros++;
		if (zeros) {
			at = put_leb128(at, -(int64_t)zeros);
			i += zeros;
		} else {
			at = put_leb128(at, (int64_t)recorder->counts[i++]);
		}
	}

	memcpy(&ratio_bits, &ratio, sizeof(ratio_bits));
	header = put_be(header, V2_COOKIE, 4);
	header = put_be(header, (uint64_t)(at - bytes) - V2_HEADER_BYTES, 4);
	header = put_be(header, 0, 4);			/* normalizing index offset */
	header = put_be(header, recorder->digits, 4);
	header = put_be(header, RECORDER_LOWEST_NS, 8);
	header = put_be(header, RECORDER_HIGHEST_NS, 8);
	put_be(header, ratio_bits, 8);
	return (size_t)(at - bytes);
}
