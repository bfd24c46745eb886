/* SPDX-License-Identifier: Apache-2.0 */
#include "core/trace_held.h"

static void charge(struct trace_held *held, uint64_t at, uint16_t link)
{
	const int64_t units = (int64_t)(at - held->since);
	size_t i = 0;

	/* Times of two sources: an event may seem to come before what it follows. */
	if (units <= 0)
		return;
	held->since = at;
	while (i < held->used && held->by[i].link != link)
		i++;
	if (i == TRACE_HOLDERS)
		return;
	if (i == held->used) {
		held->by[held->used++].link = link;
		held->by[i].units = 0;
	}
	held->by[i].units += (uint64_t)units;
}

void trace_held_begin(struct trace_held *held, uint64_t at, uint16_t task, uint16_t none)
{
	*held = (struct trace_held){
		.since = at, .none = none, .task = task, .below = task, .holder = task,
	};
}

void trace_held_spent(struct trace_held *held, uint64_t at, uint16_t link)
{
	charge(held, at, link);
}

/* What came since the latest event, if that was an interrupt: who knows when it ended? */
static uint16_t interrupted(const struct trace_held *held)
{
	return held->below == held->none ? held->holder : held->below;
}

void trace_held_task(struct trace_held *held, uint64_t at, uint16_t task)
{
	charge(held, at, interrupted(held));
	held->task = held->below = held->holder = task;
}

void trace_held_entry(struct trace_held *held, uint64_t at, uint16_t link)
{
	charge(held, at, interrupted(held));
	held->holder = link;
}

void trace_held_event(struct trace_held *held, uint64_t at, uint16_t link)
{
	charge(held, at, held->holder);
	held->holder = link;
}

void trace_held_softirq(struct trace_held *held, uint64_t at, uint16_t link)
{
	trace_held_event(held, at, link);
	held->below = link;
}

void trace_held_end(struct trace_held *held, uint64_t at)
{
	charge(held, at, held->holder);
	held->holder = held->below;
}

void trace_held_softirq_end(struct trace_held *held, uint64_t at)
{
	held->below = held->task;
	trace_held_end(held, at);
}

uint16_t trace_held_most(struct trace_held *held, uint64_t until)
{
	size_t most = 0;

	charge(held, until, held->holder);
	for (size_t i = 1; i < held->used; i++)
		if (held->by[i].units > held->by[most].units)
			most = i;
	return held->used ? held->by[most].link : held->none;
}
