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

/* Who has it now, if an interrupt has ended meanwhile. */
static uint16_t holder_now(const struct trace_held *held)
{
	return held->interrupt && held->below != held->none ? held->below : held->holder;
}

static void pass(struct trace_held *held, uint16_t holder, bool interrupt)
{
	held->holder = holder;
	held->interrupt = interrupt;
}

void trace_held_task(struct trace_held *held, uint64_t at, uint16_t task)
{
	charge(held, at, holder_now(held));
	held->task = held->below = task;
	pass(held, task, false);
}

void trace_held_entry(struct trace_held *held, uint64_t at, uint16_t link)
{
	charge(held, at, holder_now(held));
	if (!held->interrupt)
		held->below = held->holder;
	pass(held, link, true);
}

void trace_held_event(struct trace_held *held, uint64_t at, uint16_t link)
{
	charge(held, at, held->holder);
	held->holder = link;
}

void trace_held_softirq(struct trace_held *held, uint64_t at, uint16_t link)
{
	charge(held, at, held->holder);
	held->below = link;
	pass(held, link, false);
}

void trace_held_softirq_event(struct trace_held *held, uint64_t at, uint16_t link)
{
	charge(held, at, holder_now(held));
	held->below = link;
	pass(held, link, false);
}

void trace_held_end(struct trace_held *held, uint64_t at)
{
	charge(held, at, held->holder);
	pass(held, held->below, false);
}

void trace_held_softirq_end(struct trace_held *held, uint64_t at)
{
	charge(held, at, holder_now(held));
	held->below = held->task;
	pass(held, held->task, false);
}

uint16_t trace_held_most(struct trace_held *held, uint64_t until)
{
	size_t most = 0;

	charge(held, until, holder_now(held));
	for (size_t i = 1; i < held->used; i++)
		if (held->by[i].units > held->by[most].units)
			most = i;
	return held->used ? held->by[most].link : held->none;
}
