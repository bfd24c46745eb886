/* SPDX-License-Identifier: Apache-2.0 */
#include "core/trace_hold.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <unistd.h>

#include "core/fault.h"
#include "core/json.h"
#include "core/trace_open.h"

static void say(const struct trace_opening *opening)
{
	struct json json;
	uint64_t open = 0;

	for (size_t i = 0; i < TRACE_SOURCES; i++)
		open += opening->states[i] == TRACE_OPEN;
	json_init(&json);
	json_open(&json, NULL, '{');
	json_string(&json, "level", trace_level_names[opening->level]);
	json_string(&json, "reason", opening->reason[0] ? opening->reason : NULL);
	json_u64(&json, "events", open);
	json_close(&json, '}');
	json_newline(&json);
	fputs(json.text, stdout);
	json_free(&json);
	if (fflush(stdout) || ferror(stdout))
		fault_environment(errno, "stdout has to be open", "cannot say what is held");
}

static void await_end(void)
{
	char ignored[64];
	ssize_t n;

	do
		n = read(STDIN_FILENO, ignored, sizeof(ignored));
	while (n > 0 || (n < 0 && errno == EINTR));
}

void trace_hold(const char *tracefs, bool task)
{
	const int here = sched_getcpu();
	struct trace_request request = {
		.cpu = task ? -1 : here,
		.tid = (int32_t)getpid(),
		.waits = true,		/* whichever probe comes */
		.ring_bytes = (size_t)sysconf(_SC_PAGESIZE) * TRACE_RING_LEAST_PAGES,
		.tracefs = tracefs,
	};
	static struct trace_events events, senders;
	static struct trace_opening opening;

	trace_events_open(&request, &events, &opening);
	request.cpu = here;
	if (opening.level == LEVEL_TRACEPOINTS)
		(void)trace_events_open_senders(&request, here, events.tracefs, &senders, &opening);
	say(&opening);
	await_end();
	trace_events_close(&senders);
	trace_events_close(&events);
}
