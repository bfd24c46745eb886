/* SPDX-License-Identifier: Apache-2.0 */
#include "core/trace_open.h"

#include <errno.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "core/sysfs.h"
#include "core/trace_tracefs.h"

#define FORMAT_MAX 16384
#define SENDER_PAGES 16

const char *const trace_level_names[LEVELS] = {
	[LEVEL_NOTHING] = "nothing",
	[LEVEL_SOFTWARE] = "software",
	[LEVEL_TRACEPOINTS] = "tracepoints",
};

/* Of "common_pid" the kernel speaks by its own numbers, not by those of a container. */
static bool in_first_pid_space(void)
{
	char link[64];
	const ssize_t n = readlink("/proc/self/ns/pid", link, sizeof(link) - 1);

	link[n > 0 ? n : 0] = '\0';
	return !strcmp(link, "pid:[4026531836]");
}

struct wanted {
	int cpu;
	const char *filter;	/* NULL: all of them */
	bool strictly;		/* not without the filter */
};

/* Where it is refused, errno says why. */
static enum trace_state open_tracepoint(const struct trace_request *request, size_t index,
					const struct wanted *wanted, int tracefs,
					struct trace_events *events)
{
	const struct trace_source *source = &trace_sources[index];
	const char *const names[TRACE_FIELDS] = { source->value, source->extra, source->text,
						  source->other, source->other_text };
	struct trace_field fields[TRACE_FIELDS];
	static char format[FORMAT_MAX];
	char path[128];
	int id, fd, error;

	snprintf(path, sizeof(path), "events/%s/format", source->event);
	if (!tracefs_read(tracefs, path, format, sizeof(format)))
		return errno == ENOENT ? TRACE_ABSENT : TRACE_REFUSED;
	id = trace_format_parse(format, names, fields, TRACE_FIELDS);
	if (id < 0) {
		errno = EINVAL;
		return TRACE_REFUSED;
	}
	fd = trace_event_open(PERF_TYPE_TRACEPOINT, (uint64_t)id, request->tid, wanted->cpu,
			      request->ring_bytes);
	if (fd < 0)
		return TRACE_REFUSED;
	if ((!wanted->filter || trace_event_filter(fd, wanted->filter) ||
	     !wanted->strictly) &&
	    trace_events_add_source(events, fd, index, fields, request->ring_bytes))
		return TRACE_OPEN;
	error = errno;
	close(fd);
	errno = error;
	return TRACE_REFUSED;
}

static bool open_faults(const struct trace_request *request, int cpu, struct trace_events *events)
{
	const int fd = trace_event_open(PERF_TYPE_SOFTWARE, PERF_COUNT_SW_PAGE_FAULTS, request->tid, cpu,
					request->ring_bytes);

	if (fd < 0)
		return false;
	if (trace_events_add_source(events, fd, SOURCE_SOFTWARE_FAULT, NULL, request->ring_bytes))
		return true;
	close(fd);
	return false;
}

/* With what the machine itself says of why. */
static void say_why(struct trace_opening *opening, const char *what, int error)
{
	char paranoid[16], lockdown[64];

	if (error != EACCES && error != EPERM) {
		snprintf(opening->reason, sizeof(opening->reason), "%s: %s", what, strerror(error));
		return;
	}
	if (!sysfs_line(paranoid, sizeof(paranoid), "/proc/sys/kernel/perf_event_paranoid"))
		snprintf(paranoid, sizeof(paranoid), "not there");
	if (!sysfs_line(lockdown, sizeof(lockdown), "/sys/kernel/security/lockdown"))
		lockdown[0] = '\0';
	snprintf(opening->reason, sizeof(opening->reason),
		 "%s: %s (perf_event_paranoid is %s%s%s)", what, strerror(error), paranoid,
		 lockdown[0] ? ", lockdown: " : "", lockdown);
}

static bool open_tracepoints(const struct trace_request *request, struct trace_events *events,
			     struct trace_opening *opening)
{
	bool faults = false;
	char own[48];

	events->tracefs = tracefs_open(request->tracefs, &opening->tracing);
	if (events->tracefs < 0) {
		snprintf(opening->reason, sizeof(opening->reason), "no tracefs: %s", strerror(errno));
		return false;
	}
	/* Who is not ours is left out in any case, but without the filter has been in the ring. */
	snprintf(own, sizeof(own), "common_pid == %d", request->tid);
	for (size_t i = 0; i < SOURCE_CALLER; i++) {
		const struct wanted wanted = {
			.cpu = request->cpu,
			.filter = trace_sources[i].own && in_first_pid_space() ? own : NULL,
		};

		if (trace_sources[i].ends && !request->waits) {
			opening->states[i] = TRACE_UNASKED;
			continue;
		}
		opening->states[i] = (uint8_t)open_tracepoint(request, i, &wanted, events->tracefs,
							      events);
		if (opening->states[i] == TRACE_REFUSED) {
			say_why(opening, events->count ? "not all tracepoints" : "no tracepoints", errno);
			if (!events->count)
				return false;
		}
		faults = faults || (opening->states[i] == TRACE_OPEN &&
				    trace_sources[i].kind == TRACE_FAULT);
	}
	if (!events->count) {
		snprintf(opening->reason, sizeof(opening->reason),
			 "this kernel has none of the tracepoints");
		return false;
	}
	if (!faults)
		opening->states[SOURCE_SOFTWARE_FAULT] =
			open_faults(request, request->cpu, events) ? TRACE_OPEN : TRACE_REFUSED;
	return true;
}

static bool open_software(const struct trace_request *request, struct trace_events *events,
			  struct trace_opening *opening)
{
	const int fd = trace_event_open(PERF_TYPE_SOFTWARE, PERF_COUNT_SW_DUMMY, request->tid, -1,
					request->ring_bytes);
	const size_t said = strlen(opening->reason);

	if (fd < 0 || !trace_events_add(events, fd, request->ring_bytes)) {
		snprintf(opening->reason + said, sizeof(opening->reason) - said,
			 "; no software events: %s", strerror(errno));
		if (fd >= 0)
			close(fd);
		return false;
	}
	opening->states[SOURCE_SOFTWARE_SWITCH] = TRACE_OPEN;
	opening->states[SOURCE_SOFTWARE_FAULT] =
		open_faults(request, -1, events) ? TRACE_OPEN : TRACE_REFUSED;
	return true;
}

bool trace_events_open_senders(const struct trace_request *request, int cpu, int tracefs,
			       struct trace_events *events, struct trace_opening *opening)
{
	struct trace_request smaller = *request;
	char target[32];
	struct wanted wanted = { .cpu = cpu, .strictly = true };

	memset(events, 0, sizeof(*events));
	events->page_bytes = (size_t)sysconf(_SC_PAGESIZE);
	events->tracefs = -1;
	smaller.ring_bytes = SENDER_PAGES * events->page_bytes;
	snprintf(target, sizeof(target), "cpu == %d", request->cpu);
	for (size_t i = SOURCE_CALLER; i <= SOURCE_RAISER; i++) {
		/* Of a set of CPUs older kernels cannot filter: who looks at it does. */
		wanted.filter = i == SOURCE_RAISER ? NULL : target;
		opening->states[i] = (uint8_t)open_tracepoint(&smaller, i, &wanted, tracefs, events);
		if (opening->states[i] == TRACE_REFUSED)
			say_why(opening, "not all of who sends interrupts", errno);
	}
	return events->count;
}

/* As many descriptors as may be had: with two for each CPU of a large machine, more than is usual. */
static void raise_limit(void)
{
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files))
		return;
	files.rlim_cur = files.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &files);
}

void trace_events_open(const struct trace_request *request, struct trace_events *events,
		       struct trace_opening *opening)
{
	memset(opening, 0, sizeof(*opening));
	memset(events, 0, sizeof(*events));
	events->page_bytes = (size_t)sysconf(_SC_PAGESIZE);
	events->tracefs = -1;
	events->layout.tid = request->tid;
	raise_limit();
	if (open_tracepoints(request, events, opening)) {
		opening->level = LEVEL_TRACEPOINTS;
	} else {
		trace_events_drop(events);
		memset(opening->states, TRACE_REFUSED, sizeof(opening->states));
		if (open_software(request, events, opening))
			opening->level = LEVEL_SOFTWARE;
	}
	opening->ring_bytes = events->bytes.size;
}
