/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The gaps of a loop, or whatever it asks the causes of, on their way to another process that finds out what caused them. One
 * writer, the loop, which never waits: where the reader lags, gaps are dropped and counted.
 *
 * Memory orders: an entry is plain and published by the release store to `pushed`, which the
 * reader loads with acquire; `taken` the other way round. `progress` is stored with release
 * after the gap that ends there was pushed: a reader that loads it first and `pushed` next
 * has all gaps that end until then.
 */
#ifndef ISOLBENCH_TRACE_QUEUE_H
#define ISOLBENCH_TRACE_QUEUE_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define TRACE_QUEUE_ENTRIES 16384

struct trace_entry {
	uint64_t start, units;	/* as the counter has it */
	uint64_t key;		/* by which the loop's own list of them knows it; never less than the one before */
	uint64_t usual;		/* units that it takes anyway: not stolen */
};

struct trace_queue {
	_Alignas(128) _Atomic uint64_t pushed;
	_Atomic uint64_t progress;	/* the counter: no gap that ends before it is still to come */
	_Atomic uint64_t first;		/* the counter at the loop's begin; 0: not yet */
	_Atomic uint64_t dropped;
	_Alignas(128) _Atomic uint64_t taken;
	_Alignas(128) struct trace_entry entries[TRACE_QUEUE_ENTRIES];
};

static inline void trace_queue_begin(struct trace_queue *queue, uint64_t first)
{
	atomic_store_explicit(&queue->progress, first, memory_order_relaxed);
	atomic_store_explicit(&queue->first, first, memory_order_release);
}

static inline void trace_queue_push_beyond(struct trace_queue *queue, uint64_t start, uint64_t units,
					   uint64_t key, uint64_t usual)
{
	const uint64_t pushed = atomic_load_explicit(&queue->pushed, memory_order_relaxed);
	const uint64_t taken = atomic_load_explicit(&queue->taken, memory_order_acquire);

	if (pushed - taken >= TRACE_QUEUE_ENTRIES) {
		atomic_store_explicit(&queue->dropped,
				      atomic_load_explicit(&queue->dropped, memory_order_relaxed) + 1,
				      memory_order_relaxed);
		return;
	}
	queue->entries[pushed % TRACE_QUEUE_ENTRIES] = (struct trace_entry){ start, units, key, usual };
	atomic_store_explicit(&queue->pushed, pushed + 1, memory_order_release);
}

static inline void trace_queue_push(struct trace_queue *queue, uint64_t start, uint64_t units,
				    uint64_t key)
{
	trace_queue_push_beyond(queue, start, units, key, 0);
}

static inline void trace_queue_progress(struct trace_queue *queue, uint64_t until)
{
	atomic_store_explicit(&queue->progress, until, memory_order_release);
}

#endif
