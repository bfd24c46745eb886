/* SPDX-License-Identifier: Apache-2.0 */
#include "core/trace_reader.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/placement.h"
#include "core/sysfs.h"
#include "core/trace_drain.h"
#include "core/trace_names.h"
#include "core/trace_senders.h"

#define PERIOD_MS 20

static struct reader {
	const struct trace_setup *setup;
	struct trace_report *report;
	struct trace_drain drain;
	struct trace_senders senders;
	struct trace_match match;
	bool begun;			/* the loop has, and what was before it is counted */
	double granularity_units;
	size_t named;			/* tasks of the findings */

	uint64_t cpu_ns;		/* its own CPU time when it began to count */
	uint64_t event_number;		/* when the loop began; 0: not known */
} reader;

/* ---- messages ---- */

bool trace_tell(int socket, const struct trace_message *message)
{
	return send(socket, message, sizeof(*message), MSG_NOSIGNAL) == sizeof(*message);
}

bool trace_hear(int socket, struct trace_message *message, int timeout_ms)
{
	struct pollfd waiting = { .fd = socket, .events = POLLIN };
	int ready;

	do
		ready = poll(&waiting, 1, timeout_ms);
	while (ready < 0 && errno == EINTR);
	return ready == 1 && recv(socket, message, sizeof(*message), 0) == sizeof(*message);
}

/* ---- before ---- */

static struct trace_calls read_calls(void)
{
	static struct sysfs_interrupts interrupts;

	(void)sysfs_interrupts_read(&interrupts, reader.setup->request.cpu);
	return trace_calls_of(&interrupts);
}

static bool of_a_cpu(void)
{
	return reader.setup->request.cpu >= 0 && reader.report->opening.level == LEVEL_TRACEPOINTS;
}

static void open_all(void)
{
	struct trace_instruments *instruments = &reader.report->instruments;
	const int64_t begun_ns = clock_now_ns(CLOCK_MONOTONIC_RAW);
	const struct trace_calls before = read_calls();

	trace_events_open(&reader.setup->request, &reader.drain.events, &reader.report->opening);
	trace_senders_open(&reader.senders, &reader.setup->request, reader.drain.events.tracefs,
			   &reader.report->opening);
	instruments->opening = trace_calls_between(before, read_calls());
	instruments->opening_ns = (uint64_t)(clock_now_ns(CLOCK_MONOTONIC_RAW) - begun_ns);
}

/* ---- while the loop runs ---- */

/* The names of those that sent something, as long as they are there. */
static void name_tasks(void)
{
	struct trace_findings *findings = &reader.report->findings;

	for (; reader.named < findings->tasks_used; reader.named++) {
		struct trace_task *task = &findings->tasks[reader.named];

		if (task->tid)
			(void)sysfs_line(task->name, sizeof(task->name), "/proc/%d/comm", task->tid);
	}
}

static void read_steal(struct trace_snapshot *taken)
{
	taken->steal_known = of_a_cpu() &&
			     sysfs_steal_ns(&taken->steal_ns, reader.setup->request.cpu);
}

static void match_gaps(void)
{
	struct trace_queue *queue = reader.setup->queue;
	/* In this order: trace_queue.h. */
	const uint64_t progress = atomic_load_explicit(&queue->progress, memory_order_acquire);
	const uint64_t pushed = atomic_load_explicit(&queue->pushed, memory_order_acquire);
	const uint64_t first = atomic_load_explicit(&queue->first, memory_order_relaxed);
	uint64_t taken = atomic_load_explicit(&queue->taken, memory_order_relaxed);

	/* What the ring has now is all of these gaps' events. */
	trace_events_look(&reader.drain.events);
	reader.drain.now = clock_bracket_take(CLOCK_MONOTONIC_RAW);
	reader.drain.limit_ns = INT64_MAX;
	reader.match.tolerance =
		(uint64_t)((double)(reader.drain.origin.width + reader.drain.now.width) / 2.0 +
			   reader.granularity_units) + 1;
	reader.senders.first = first;
	trace_senders_take(&reader.senders, &reader.drain, &reader.match);
	if (!reader.begun) {
		trace_match_before(&reader.match, &first);
		reader.begun = true;
		/* Not what was stolen while it waited for its begin; alone, it is too late for that. */
		if (reader.setup->aside)
			read_steal(&reader.drain.begin);
		reader.event_number = trace_event_number(of_a_cpu());
	}
	while (taken < pushed) {
		const struct trace_entry entry = queue->entries[taken % TRACE_QUEUE_ENTRIES];

		atomic_store_explicit(&queue->taken, ++taken, memory_order_release);
		trace_match_gap(&reader.match, &entry);
	}
	trace_match_until(&reader.match, progress);
	name_tasks();
	trace_instruments_note_cpu(&reader.report->instruments);
}

/* What came before now came before the loop, if that has not begun yet. */
static void discard(int64_t now_ns)
{
	trace_senders_discard(&reader.senders);
	trace_events_look(&reader.drain.events);
	reader.drain.limit_ns = now_ns;
	trace_match_before(&reader.match, NULL);
}

static void step(void)
{
	const int64_t now_ns = clock_now_ns(CLOCK_MONOTONIC_RAW);
	uint64_t held;

	if (atomic_load_explicit(&reader.setup->queue->first, memory_order_acquire))
		match_gaps();
	else
		discard(now_ns);
	held = reader.drain.events.bytes.head - reader.drain.events.bytes.tail;
	if (held > reader.report->ring_peak_bytes)
		reader.report->ring_peak_bytes = held;
	trace_events_taken(&reader.drain.events);
}

/* ---- before and after ---- */

static void snapshot(struct trace_snapshot *taken)
{
	read_steal(taken);
	taken->begin_ns = clock_now_ns(CLOCK_MONOTONIC_RAW);
	if (!sysfs_interrupts_read(&taken->interrupts, reader.setup->request.cpu))
		taken->interrupts.rows = 0;
	taken->end_ns = clock_now_ns(CLOCK_MONOTONIC_RAW);
}

static uint64_t cpu_time_ns(void)
{
	return (uint64_t)clock_now_ns(CLOCK_PROCESS_CPUTIME_ID);
}

static void arm(const struct trace_message *message)
{
	const struct trace_calls before = read_calls();

	reader.granularity_units = message->granularity_units;
	reader.match.findings = &reader.report->findings;
	reader.match.feed = trace_drain_feed(&reader.drain);
	reader.match.tid = reader.setup->request.tid;
	reader.match.waits = reader.setup->request.waits && of_a_cpu();
	reader.drain.findings = &reader.report->findings;
	reader.match.mult = message->mult;
	reader.drain.origin = clock_bracket_take(CLOCK_MONOTONIC_RAW);
	reader.report->enabled = trace_events_enable(&reader.drain.events);
	trace_senders_enable(&reader.senders);
	snapshot(&reader.drain.begin);
	reader.report->instruments.enabling =
		trace_calls_between(before, trace_calls_of(&reader.drain.begin.interrupts));
	reader.senders.self = (int32_t)getpid();
	reader.senders.last = UINT64_MAX;
	reader.cpu_ns = cpu_time_ns();
}

/* What the instruments did while the loop ran. */
static void account(bool watched)
{
	struct trace_instruments *instruments = &reader.report->instruments;
	const uint64_t number = watched ? trace_event_number(of_a_cpu()) : 0;

	instruments->ended = trace_calls_of(&reader.drain.end.interrupts);
	instruments->within = trace_calls_between(trace_calls_of(&reader.drain.begin.interrupts),
						  instruments->ended);
	instruments->reader_ns = cpu_time_ns() - reader.cpu_ns;
	instruments->loop_ns = clock_ns(reader.match.mult,
					reader.senders.last - atomic_load(&reader.setup->queue->first));
	instruments->elsewhere_known = number && reader.event_number;
	if (instruments->elsewhere_known)
		instruments->elsewhere = number - reader.event_number - 1;
}

static bool is_gone(int cpu)
{
	char online[1024];

	return sysfs_line(online, sizeof(online), "/sys/devices/system/cpu/online") &&
	       !sysfs_list_has(online, cpu);
}

/* What the ring held, and what it should have. */
static void sum_up(struct trace_report *report)
{
	report->records = reader.drain.records;
	report->unknown = reader.drain.unknown;
	report->sent_lost = reader.senders.lost;
	report->throttled = reader.drain.throttled;
	trace_drain_account(&reader.drain, &report->lost, &report->missing);
	report->cpu_gone = of_a_cpu() && is_gone(reader.setup->request.cpu);
	report->instruments.own = reader.senders.own;
	report->steal_known = reader.drain.begin.steal_known && reader.drain.end.steal_known;
	report->steal_ns = reader.drain.end.steal_ns - reader.drain.begin.steal_ns;
}

static void finish(const struct trace_message *message)
{
	struct trace_report *report = reader.report;
	const struct trace_setup *setup = reader.setup;
	const int tracefs = reader.drain.events.tracefs;

	reader.drain.ended = true;
	reader.senders.last = message->last;
	snapshot(&reader.drain.end);
	account(reader.begun);
	trace_events_disable(&reader.drain.events);
	step();
	if (reader.drain.events.bytes.size)
		report->instruments.wakeups = reader.drain.events.bytes.head / reader.drain.events.bytes.size;
	trace_match_until(&reader.match, message->last);
	trace_match_after(&reader.match);
	sum_up(report);
	report->dropped_gaps = atomic_load(&setup->queue->dropped);
	report->clock_error_ns = (double)reader.match.tolerance *
				 (double)(reader.drain.now.clock_ns - reader.drain.origin.clock_ns) /
				 (double)(int64_t)(reader.drain.now.counter - reader.drain.origin.counter);
	trace_names_set(&report->findings, open("/proc/kallsyms", O_RDONLY | O_CLOEXEC),
			tracefs < 0 ? -1 : openat(tracefs, "printk_formats", O_RDONLY | O_CLOEXEC));
	if (report->opening.level == LEVEL_TRACEPOINTS)
		trace_balance(&report->balance, &reader.drain.counters, &report->findings,
			      report->opening.states, &reader.drain.begin, &reader.drain.end);
}

size_t trace_report_bytes(size_t kept_max)
{
	return sizeof(struct trace_report) + trace_findings_bytes(kept_max) -
	       sizeof(struct trace_findings);
}

_Noreturn void trace_reader_run(const struct trace_setup *setup)
{
	struct trace_message message = { .word = TRACE_OPENED };
	void *memory;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	memory = mmap(NULL, trace_report_bytes(setup->kept_max), PROT_READ | PROT_WRITE, MAP_SHARED,
		      setup->report, 0);
	if (getppid() != setup->parent || memory == MAP_FAILED)
		_exit(1);
	reader.setup = setup;
	reader.report = memory;
	trace_findings_init(&reader.report->findings, setup->kept_max);
	open_all();
	if (!trace_tell(setup->socket, &message) || !trace_hear(setup->socket, &message, -1))
		_exit(1);
	arm(&message);
	message.word = TRACE_ARMED;
	if (!trace_tell(setup->socket, &message))
		_exit(1);
	while (!trace_hear(setup->socket, &message, setup->aside ? PERIOD_MS : -1))
		step();
	finish(&message);
	message.word = TRACE_FINISHED;
	_exit(trace_tell(setup->socket, &message) ? 0 : 1);
}
