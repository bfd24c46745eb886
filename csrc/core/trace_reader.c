/* SPDX-License-Identifier: Apache-2.0 */
#include "core/trace_reader.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/placement.h"
#include "core/sysfs.h"
#include "core/trace_names.h"

#define PERIOD_MS 20

static struct reader {
	const struct trace_setup *setup;
	struct trace_report *report;
	struct trace_events events;
	struct trace_match match;
	struct trace_counters counters;
	struct trace_snapshot begin, end;
	bool ended;			/* `end` has been begun */
	bool begun;			/* the loop has, and what was before it is counted */
	struct clock_bracket origin, now;
	int64_t limit_ns;		/* later events are left for the next time */
	double granularity_units;
	uint64_t seen[TRACE_SOURCES];	/* records */
	struct trace_events *senders;	/* of each other CPU, or NULL */
	int16_t *sender_cpus;
	size_t sender_count;

	/* The event at the ring's tail, if there is one. */
	bool peeked;
	struct trace_event event;
	size_t record_bytes;
	uint8_t scratch[TRACE_RECORD_MAX], sent_scratch[TRACE_RECORD_MAX];
	size_t named;			/* tasks of the findings */

	pid_t self;
	uint64_t last;			/* the counter at the loop's end, once it has ended */
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

/* ---- events, in the counter's units ---- */

static uint64_t counter_at(int64_t time_ns)
{
	const double span_ns = (double)(reader.now.clock_ns - reader.origin.clock_ns);
	const double span_units = (double)(int64_t)(reader.now.counter - reader.origin.counter);
	const double ns = (double)(time_ns - reader.origin.clock_ns);

	return reader.origin.counter +
	       (uint64_t)(span_ns > 0.0 ? llround(ns * span_units / span_ns) : 0);
}

static void skip_record(void)
{
	reader.events.bytes.tail += reader.record_bytes;
	reader.peeked = false;
}

/* Decodes until there is an event. */
static bool find_event(void)
{
	struct trace_report *report = reader.report;
	const uint8_t *record;

	while (!reader.peeked) {
		record = trace_bytes_peek(&reader.events.bytes, reader.scratch, &reader.record_bytes);
		if (!record) {
			report->unknown += reader.events.bytes.head != reader.events.bytes.tail;
			reader.events.bytes.tail = reader.events.bytes.head;
			return false;
		}
		switch (trace_decode(&reader.events.layout, record, reader.record_bytes, &reader.event)) {
		case TRACE_DECODED:
			reader.peeked = true;
			break;
		case TRACE_UNKNOWN:
			report->unknown++;
			skip_record();
			break;
		case TRACE_DECODED_LOSS:
			report->lost += reader.event.value;
			skip_record();
			break;
		case TRACE_IGNORED:
			skip_record();
			break;
		}
	}
	return true;
}

static bool peek(void *context, struct trace_event *event, uint64_t *at)
{
	(void)context;
	if (!find_event() || reader.event.time_ns >= reader.limit_ns)
		return false;
	*event = reader.event;
	*at = counter_at(event->time_ns);
	return true;
}

static void pop(void *context)
{
	(void)context;
	/* Held against the kernel's count by its name, which only a link has. */
	if (reader.event.kind == TRACE_IPI)
		(void)trace_findings_link(&reader.report->findings, &reader.event);
	trace_count(&reader.counters, &reader.event, &reader.begin, reader.ended ? &reader.end : NULL);
	reader.seen[reader.event.source]++;
	reader.report->records++;
	skip_record();
}

/* ---- what other CPUs send ---- */

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

static void open_senders(void)
{
	const struct trace_request *request = &reader.setup->request;
	char online[1024];

	if (!of_a_cpu() ||
	    !sysfs_line(online, sizeof(online), "/sys/devices/system/cpu/online"))
		return;
	reader.senders = calloc(PLACEMENT_CPUS_MAX, sizeof(*reader.senders));
	reader.sender_cpus = calloc(PLACEMENT_CPUS_MAX, sizeof(*reader.sender_cpus));
	if (!reader.senders || !reader.sender_cpus)
		return;
	for (int cpu = 0; cpu < PLACEMENT_CPUS_MAX; cpu++) {
		if (cpu == request->cpu || !sysfs_list_has(online, cpu))
			continue;
		if (!trace_events_open_senders(request, cpu, reader.events.tracefs,
					       &reader.senders[reader.sender_count],
					       &reader.report->opening))
			return;
		reader.sender_cpus[reader.sender_count++] = (int16_t)cpu;
	}
}

static void open_all(void)
{
	struct trace_instruments *instruments = &reader.report->instruments;
	const int64_t begun_ns = clock_now_ns(CLOCK_MONOTONIC_RAW);
	const struct trace_calls before = read_calls();

	trace_events_open(&reader.setup->request, &reader.events, &reader.report->opening);
	open_senders();
	instruments->opening = trace_calls_between(before, read_calls());
	instruments->opening_ns = (uint64_t)(clock_now_ns(CLOCK_MONOTONIC_RAW) - begun_ns);
}

/* Ours, while the loop runs: function calls, and what woke a task there. */
static void note_own(const struct trace_sent *sent)
{
	const uint64_t first = atomic_load_explicit(&reader.setup->queue->first, memory_order_relaxed);
	const bool calls = sent->event.kind == TRACE_CALLER || !sent->event.extra;

	if (sent->event.tid == reader.self && calls && first && sent->at >= first &&
	    sent->at <= reader.last)
		reader.report->instruments.own++;
}

/* All that is in one of their rings, which this empties. */
static void take_sent(struct trace_events *sender, int16_t cpu)
{
	struct trace_sent sent = { .cpu = cpu };
	const uint8_t *record;
	size_t size;

	trace_events_look(sender);
	while ((record = trace_bytes_peek(&sender->bytes, reader.sent_scratch, &size))) {
		if (trace_decode(&sender->layout, record, size, &sent.event) == TRACE_DECODED) {
			sent.at = counter_at(sent.event.time_ns);
			trace_match_sent(&reader.match, &sent);
			note_own(&sent);
		}
		sender->bytes.tail += size;
	}
	trace_events_taken(sender);
}

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

/* ---- while the loop runs ---- */

static void match_gaps(void)
{
	struct trace_queue *queue = reader.setup->queue;
	/* In this order: trace_queue.h. */
	const uint64_t progress = atomic_load_explicit(&queue->progress, memory_order_acquire);
	const uint64_t pushed = atomic_load_explicit(&queue->pushed, memory_order_acquire);
	const uint64_t first = atomic_load_explicit(&queue->first, memory_order_relaxed);
	uint64_t taken = atomic_load_explicit(&queue->taken, memory_order_relaxed);

	/* What the ring has now is all of these gaps' events. */
	trace_events_look(&reader.events);
	reader.now = clock_bracket_take(CLOCK_MONOTONIC_RAW);
	reader.limit_ns = INT64_MAX;
	reader.match.tolerance =
		(uint64_t)((double)(reader.origin.width + reader.now.width) / 2.0 +
			   reader.granularity_units) + 1;
	for (size_t i = 0; i < reader.sender_count; i++)
		take_sent(&reader.senders[i], reader.sender_cpus[i]);
	if (!reader.begun) {
		trace_match_before(&reader.match, &first);
		reader.begun = true;
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
	for (size_t i = 0; i < reader.sender_count; i++) {
		trace_events_look(&reader.senders[i]);
		reader.senders[i].bytes.tail = reader.senders[i].bytes.head;
		trace_events_taken(&reader.senders[i]);
	}
	trace_events_look(&reader.events);
	reader.limit_ns = now_ns;
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
	held = reader.events.bytes.head - reader.events.bytes.tail;
	if (held > reader.report->ring_peak_bytes)
		reader.report->ring_peak_bytes = held;
	trace_events_taken(&reader.events);
}

/* ---- before and after ---- */

static void snapshot(struct trace_snapshot *taken)
{
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
	reader.match.feed = (struct trace_feed){ .peek = peek, .pop = pop };
	reader.match.tid = reader.setup->request.tid;
	reader.match.mult = message->mult;
	reader.origin = clock_bracket_take(CLOCK_MONOTONIC_RAW);
	reader.report->enabled = trace_events_enable(&reader.events);
	for (size_t i = 0; i < reader.sender_count; i++)
		(void)trace_events_enable(&reader.senders[i]);
	snapshot(&reader.begin);
	reader.report->instruments.enabling =
		trace_calls_between(before, trace_calls_of(&reader.begin.interrupts));
	reader.last = UINT64_MAX;
	reader.cpu_ns = cpu_time_ns();
}

/* What the instruments did while the loop ran. */
static void account(bool watched)
{
	struct trace_instruments *instruments = &reader.report->instruments;
	const uint64_t number = watched ? trace_event_number(of_a_cpu()) : 0;

	instruments->ended = trace_calls_of(&reader.end.interrupts);
	instruments->within = trace_calls_between(trace_calls_of(&reader.begin.interrupts),
						  instruments->ended);
	instruments->reader_ns = cpu_time_ns() - reader.cpu_ns;
	instruments->loop_ns = clock_ns(reader.match.mult,
					reader.last - atomic_load(&reader.setup->queue->first));
	instruments->elsewhere_known = number && reader.event_number;
	if (instruments->elsewhere_known)
		instruments->elsewhere = number - reader.event_number - 1;
}

/*
 * What the kernel counted is in the ring, or found no room there and was lost. Beyond both, some
 * kernels now and then count an event and write nothing: it is missing.
 */
static void count_all(void)
{
	const struct trace_layout *layout = &reader.events.layout;
	uint64_t lost = 0, absent = 0;

	for (size_t i = 0; i < layout->count; i++) {
		const uint64_t seen = reader.seen[layout->sources[i]];
		struct trace_total total;

		if (!trace_events_count(&reader.events, i, &total))
			continue;
		lost += total.lost;
		absent += total.count > seen ? total.count - seen : 0;
	}
	if (lost > reader.report->lost)
		reader.report->lost = lost;
	if (absent > reader.report->lost)
		reader.report->missing = absent - reader.report->lost;
}

static void finish(const struct trace_message *message)
{
	struct trace_report *report = reader.report;
	const struct trace_setup *setup = reader.setup;
	const int tracefs = reader.events.tracefs;

	reader.ended = true;
	reader.last = message->last;
	snapshot(&reader.end);
	account(reader.begun);
	trace_events_disable(&reader.events);
	step();
	if (reader.events.bytes.size)
		report->instruments.wakeups = reader.events.bytes.head / reader.events.bytes.size;
	trace_match_until(&reader.match, message->last);
	trace_match_after(&reader.match);
	count_all();
	report->dropped_gaps = atomic_load(&setup->queue->dropped);
	report->clock_error_ns = (double)reader.match.tolerance *
				 (double)(reader.now.clock_ns - reader.origin.clock_ns) /
				 (double)(int64_t)(reader.now.counter - reader.origin.counter);
	trace_names_set(&report->findings, open("/proc/kallsyms", O_RDONLY | O_CLOEXEC),
			tracefs < 0 ? -1 : openat(tracefs, "printk_formats", O_RDONLY | O_CLOEXEC));
	if (report->opening.level == LEVEL_TRACEPOINTS)
		trace_balance(&report->balance, &reader.counters, &report->findings,
			      report->opening.states, &reader.begin, &reader.end);
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

	struct rlimit files;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* Two for each CPU that may send interrupts here. */
	if (!getrlimit(RLIMIT_NOFILE, &files)) {
		files.rlim_cur = files.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &files);
	}
	memory = mmap(NULL, trace_report_bytes(setup->kept_max), PROT_READ | PROT_WRITE, MAP_SHARED,
		      setup->report, 0);
	if (getppid() != setup->parent || memory == MAP_FAILED)
		_exit(1);
	reader.setup = setup;
	reader.report = memory;
	trace_findings_init(&reader.report->findings, setup->kept_max);
	reader.self = getpid();
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
