/* SPDX-License-Identifier: Apache-2.0 */
#include "core/trace_events.h"

#include <errno.h>
#include <linux/perf_event.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* C libraries do not agree on the type of an ioctl's number. */
static long control(int fd, unsigned long request, intptr_t argument)
{
	return syscall(SYS_ioctl, fd, request, argument);
}

/* Of Linux 6.0: how many of an event's records the ring had no room for. */
#ifndef PERF_FORMAT_LOST
#define PERF_FORMAT_LOST (1U << 4)
#endif

static int open_as(struct perf_event_attr *attr, int32_t tid, int cpu, uint64_t read_format)
{
	attr->read_format = read_format;
	return (int)syscall(SYS_perf_event_open, attr, cpu < 0 ? tid : -1, cpu, -1, PERF_FLAG_FD_CLOEXEC);
}

int trace_event_open(uint32_t type, uint64_t config, int32_t tid, int cpu, size_t ring_bytes)
{
	static bool without_lost;	/* an older kernel */
	int fd;
	struct perf_event_attr attr = {
		.type = type,
		.size = sizeof(attr),
		.config = config,
		.sample_period = 1,
		.sample_type = PERF_SAMPLE_IDENTIFIER | PERF_SAMPLE_TID | PERF_SAMPLE_TIME,
		.disabled = 1,
		.sample_id_all = 1,
		.use_clockid = 1,
		.clockid = CLOCK_MONOTONIC_RAW,
		/* Nobody sleeps on it: to be woken would cost an interrupt to self. */
		.watermark = 1,
		.wakeup_watermark = (uint32_t)ring_bytes,
	};

	if (type == PERF_TYPE_TRACEPOINT) {
		attr.sample_type |= PERF_SAMPLE_RAW;
	} else {
		attr.exclude_kernel = 1;
		attr.exclude_hv = 1;
		if (config == PERF_COUNT_SW_DUMMY)
			attr.context_switch = 1;
		else
			attr.sample_type |= PERF_SAMPLE_ADDR;
	}
	fd = open_as(&attr, tid, cpu, without_lost ? 0 : PERF_FORMAT_LOST);
	if (fd < 0 && errno == EINVAL && !without_lost) {
		fd = open_as(&attr, tid, cpu, 0);
		without_lost = fd >= 0;
	}
	return fd;
}

bool trace_event_filter(int fd, const char *filter)
{
	return !control(fd, PERF_EVENT_IOC_SET_FILTER, (intptr_t)filter);
}

static bool map_ring(struct trace_events *events, int fd, size_t bytes)
{
	void *ring = MAP_FAILED;

	/* Without the privilege there is a limit to it (perf_event_mlock_kb). */
	for (; bytes >= TRACE_RING_LEAST_PAGES * events->page_bytes; bytes /= 2) {
		ring = mmap(NULL, events->page_bytes + bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (ring != MAP_FAILED || errno != EPERM)
			break;
	}
	if (ring == MAP_FAILED)
		return false;
	events->ring = ring;
	events->bytes = (struct trace_bytes){
		.data = (const uint8_t *)ring + events->page_bytes, .size = bytes,
	};
	return true;
}

bool trace_events_add(struct trace_events *events, int fd, size_t ring_bytes)
{
	if (events->ring ? control(fd, PERF_EVENT_IOC_SET_OUTPUT, events->fds[0]) :
			   !map_ring(events, fd, ring_bytes))
		return false;
	events->fds[events->count++] = fd;
	return true;
}

bool trace_events_add_source(struct trace_events *events, int fd, size_t source,
			     const struct trace_field *fields, size_t ring_bytes)
{
	struct trace_layout *layout = &events->layout;

	if (control(fd, PERF_EVENT_IOC_ID, (intptr_t)&layout->ids[layout->count]) ||
	    !trace_events_add(events, fd, ring_bytes))
		return false;
	layout->sources[layout->count] = (uint8_t)source;
	if (fields)
		memcpy(layout->fields[layout->count], fields, sizeof(layout->fields[0]));
	layout->count++;
	return true;
}

void trace_events_drop(struct trace_events *events)
{
	if (events->ring)
		munmap(events->ring, events->page_bytes + events->bytes.size);
	for (size_t i = 0; i < events->count; i++)
		close(events->fds[i]);
	events->count = events->layout.count = 0;
	events->ring = NULL;
}

bool trace_events_enable(const struct trace_events *events)
{
	bool all = true;

	for (size_t i = 0; i < events->count; i++)
		all = !control(events->fds[i], PERF_EVENT_IOC_ENABLE, 0) && all;
	return all;
}

void trace_events_disable(const struct trace_events *events)
{
	for (size_t i = 0; i < events->count; i++)
		(void)control(events->fds[i], PERF_EVENT_IOC_DISABLE, 0);
}

bool trace_events_count(const struct trace_events *events, size_t i, struct trace_total *total)
{
	const size_t silent = events->count - events->layout.count;	/* those without samples */
	uint64_t values[2] = { 0 };
	const ssize_t n = read(events->fds[silent + i], values, sizeof(values));

	if (n < (ssize_t)sizeof(values[0]))
		return false;
	*total = (struct trace_total){ values[0], values[1] };
	return true;
}

void trace_events_look(struct trace_events *events)
{
	const struct perf_event_mmap_page *page = events->ring;

	if (page)
		events->bytes.head = __atomic_load_n(&page->data_head, __ATOMIC_ACQUIRE);
}

void trace_events_taken(struct trace_events *events)
{
	struct perf_event_mmap_page *page = events->ring;

	if (page)
		__atomic_store_n(&page->data_tail, events->bytes.tail, __ATOMIC_RELEASE);
}

void trace_events_close(struct trace_events *events)
{
	trace_events_drop(events);
	if (events->tracefs >= 0)
		close(events->tracefs);
	events->tracefs = -1;
}
