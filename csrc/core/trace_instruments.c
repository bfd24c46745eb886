/* SPDX-License-Identifier: Apache-2.0 */
#include "core/trace_instruments.h"

#include <linux/perf_event.h>
#include <sched.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

struct trace_calls trace_calls_of(const struct sysfs_interrupts *interrupts)
{
	struct trace_calls calls = { .known = interrupts->rows };

	/* Called the same on x86 (CAL, IWI) and on arm64 (IPI1 and others). */
	for (size_t i = 0; i < interrupts->rows; i++)
		if (!strcmp(interrupts->row[i].what, "Function call interrupts") ||
		    !strcmp(interrupts->row[i].what, "IRQ work interrupts"))
			calls.count += interrupts->row[i].count;
	return calls;
}

struct trace_calls trace_calls_between(struct trace_calls before, struct trace_calls after)
{
	return (struct trace_calls){ before.known && after.known, after.count - before.count };
}

void trace_instruments_note_cpu(struct trace_instruments *instruments)
{
	const int16_t cpu = (int16_t)sched_getcpu();

	for (size_t i = 0; i < instruments->cpus_used; i++)
		if (instruments->cpus[i] == cpu)
			return;
	if (cpu >= 0 && instruments->cpus_used < TRACE_READER_CPUS)
		instruments->cpus[instruments->cpus_used++] = cpu;
}

uint64_t trace_event_number(bool cpu)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_SOFTWARE,
		.size = sizeof(attr),
		.config = PERF_COUNT_SW_DUMMY,	/* the only one without a static key in use */
		.disabled = 1,
		.exclude_kernel = !cpu,
		.exclude_hv = !cpu,
	};
	const int fd = (int)syscall(SYS_perf_event_open, &attr, cpu ? -1 : 0,
				    cpu ? sched_getcpu() : -1, -1, PERF_FLAG_FD_CLOEXEC);
	uint64_t number = 0;

	if (fd < 0)
		return 0;
	/* C libraries do not agree on the type of an ioctl's number. */
	if (syscall(SYS_ioctl, fd, (unsigned long)PERF_EVENT_IOC_ID, &number))
		number = 0;
	close(fd);
	return number;
}

static void put_calls(struct json *json, const char *key, struct trace_calls calls)
{
	if (calls.known)
		json_u64(json, key, calls.count);
	else
		json_null(json, key);
}

static void put_share(struct json *json, const char *key, double part, uint64_t whole)
{
	if (part > 0.0 && whole)
		json_double(json, key, part / (double)whole);
	else
		json_null(json, key);
}

void trace_instruments_json(const struct trace_instruments *instruments, uint64_t events,
			    double sample_ns, uint64_t stolen_ns, bool senders, struct json *json)
{
	const double cost_ns = (double)events * sample_ns;

	json_open(json, "instruments", '{');
	json_u64(json, "events", events);
	if (cost_ns > 0.0)
		json_double(json, "cost_ns", cost_ns);
	else
		json_null(json, "cost_ns");
	put_share(json, "share_of_stolen", (double)instruments->inside * sample_ns, stolen_ns);
	put_share(json, "share_of_run", cost_ns, instruments->loop_ns);
	json_open(json, "interrupts", '{');
	put_calls(json, "opening", instruments->opening);
	put_calls(json, "enabling", instruments->enabling);
	put_calls(json, "within", instruments->within);
	put_calls(json, "closing", instruments->closing);
	if (senders)
		json_u64(json, "own", instruments->own);
	else
		json_null(json, "own");
	json_u64(json, "wakeups", instruments->wakeups);
	json_close(json, '}');
	json_u64(json, "opening_ns", instruments->opening_ns);
	json_u64(json, "closing_ns", instruments->closing_ns);
	json_open(json, "reader", '{');
	json_u64(json, "cpu_ns", instruments->reader_ns);
	json_open(json, "cpus", '[');
	for (size_t i = 0; i < instruments->cpus_used; i++)
		json_i64(json, NULL, instruments->cpus[i]);
	json_close(json, ']');
	json_close(json, '}');
	if (instruments->elsewhere_known)
		json_u64(json, "opened_by_others", instruments->elsewhere);
	else
		json_null(json, "opened_by_others");
	json_close(json, '}');
}
