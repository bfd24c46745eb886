/* SPDX-License-Identifier: Apache-2.0 */
#include "core/trace.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/sysfs.h"

#define ANSWER_MS 10000	/* within the time that probe.c gives for all of it */
#define CALLS 257

static void fail(struct trace *trace, const char *why)
{
	trace->failure = why;
	trace->queue = NULL;
	if (trace->reader) {
		(void)kill(trace->reader, SIGKILL);
		(void)waitpid(trace->reader, NULL, 0);
		trace->reader = 0;
	}
}

static bool await(struct trace *trace, enum trace_word word)
{
	struct trace_message message;

	if (trace_hear(trace->socket, &message, ANSWER_MS) && message.word == word)
		return true;
	fail(trace, "the process that reads the events ended before its time, or hung");
	return false;
}

void trace_start(struct trace *trace, const struct trace_request *request, size_t kept_max,
		 bool aside)
{
	const int report = memfd_create("isolbench-attribution", MFD_CLOEXEC);
	void *queue = mmap(NULL, sizeof(*trace->queue), PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int sockets[2];

	*trace = (struct trace){ .asked = true };
	if (report < 0 || queue == MAP_FAILED ||
	    ftruncate(report, (off_t)trace_report_bytes(kept_max)) ||
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets)) {
		fail(trace, "no memory, or no socket, for the process that reads the events");
		return;
	}
	memset(queue, 0, sizeof(*trace->queue));
	trace->queue = queue;
	trace->socket = sockets[0];
	trace->setup = (struct trace_setup){
		.request = *request,
		.queue = queue,
		.socket = sockets[1],
		.report = report,
		.kept_max = kept_max,
		.aside = aside,
		.parent = getpid(),
	};
	trace->reader = fork();
	if (!trace->reader) {
		close(sockets[0]);
		trace_reader_run(&trace->setup);
	}
	close(sockets[1]);
	if (trace->reader < 0) {
		trace->reader = 0;
		fail(trace, "the process that reads the events could not be started");
		return;
	}
	(void)await(trace, TRACE_OPENED);
}

static int compare_u64(const void *a, const void *b)
{
	const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* The median time of the cheapest system call, in units. */
static uint64_t call_units(void)
{
	uint64_t units[CALLS];

	for (size_t i = 0; i < CALLS; i++) {
		const uint64_t before = counter_read_ordered();

		(void)syscall(SYS_getppid);
		units[i] = counter_read_ordered() - before;
	}
	qsort(units, CALLS, sizeof(units[0]), compare_u64);
	return units[CALLS / 2];
}

void trace_arm(struct trace *trace, uint64_t mult, double granularity_units)
{
	const struct trace_message message = {
		.word = TRACE_ARM, .mult = mult, .granularity_units = granularity_units,
	};
	uint64_t off, on;

	if (!trace->reader)
		return;
	off = call_units();
	if (!trace_tell(trace->socket, &message)) {
		fail(trace, "the process that reads the events ended before its time");
		return;
	}
	if (!await(trace, TRACE_ARMED))
		return;
	on = call_units();
	if (on > off)
		trace->sample_ns = (double)clock_ns(mult, on - off);
}

/* The reader's end is that of its events. */
static void await_closing(struct trace *trace, const struct trace_report *report)
{
	static struct sysfs_interrupts interrupts;
	const int64_t begun_ns = clock_now_ns(CLOCK_MONOTONIC_RAW);

	(void)waitpid(trace->reader, NULL, 0);
	trace->reader = 0;
	(void)sysfs_interrupts_read(&interrupts, trace->setup.request.cpu);
	trace->instruments = report->instruments;
	trace->instruments.inside = report->findings.inside;
	trace->instruments.closing =
		trace_calls_between(report->instruments.ended, trace_calls_of(&interrupts));
	trace->instruments.closing_ns = (uint64_t)(clock_now_ns(CLOCK_MONOTONIC_RAW) - begun_ns);
}

void trace_finish(struct trace *trace, uint64_t last)
{
	const struct trace_message message = { .word = TRACE_FINISH, .last = last };
	void *report;

	if (!trace->reader)
		return;
	if (!trace_tell(trace->socket, &message)) {
		fail(trace, "the process that reads the events ended before its time");
		return;
	}
	if (!await(trace, TRACE_FINISHED))
		return;
	report = mmap(NULL, trace_report_bytes(trace->setup.kept_max), PROT_READ, MAP_SHARED,
		      trace->setup.report, 0);
	if (report == MAP_FAILED) {
		fail(trace, "no memory for what the events said");
		return;
	}
	trace->report = report;
	await_closing(trace, report);
}
