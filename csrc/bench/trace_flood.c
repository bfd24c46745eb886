/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What does attribution do with very many entries? The probe's own loop enters the kernel at a
 * given rate, by the cheapest system call, and each is a gap with an event of its own. All that is
 * lost is to be counted: entries made = events that were read + events that found no room.
 *
 *   trace_flood [--cpu N] [--rate HZ] [--duration-ms N] [--ring-kib N]
 *
 * A line of JSON.
 */
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/fault.h"
#include "core/json.h"
#include "core/options.h"
#include "core/placement.h"
#include "core/trace.h"
#include "probes/gap_loop.h"

#define THRESHOLD_NS 150
#define KEPT 1024

static struct recorder recorder;
static struct ring ring;
static struct trace trace;

struct flood {
	uint64_t period;		/* units */
	uint64_t due;
	uint64_t made;
};

/* The loop's counter, with an entry before it where one is due: within the interval that ends there. */
static uint64_t read_flooded(void *context)
{
	struct flood *flood = context;

	if (flood->due && (int64_t)(counter_read() - flood->due) >= 0) {
		(void)syscall(SYS_getppid);
		flood->made++;
		/* What was missed is not made up for. */
		flood->due = counter_read() + flood->period;
	}
	return counter_read();
}

static void put(const struct flood *flood, const struct gap_loop *loop, double seconds)
{
	const struct trace_report *report = trace.report;
	struct json json;

	json_init(&json);
	json_open(&json, NULL, '{');
	json_string(&json, "bench", "trace_flood");
	json_string(&json, "level", trace_level_names[report ? report->opening.level : 0]);
	json_u64(&json, "made", flood->made);
	json_double(&json, "rate_hz", (double)flood->made / seconds);
	json_u64(&json, "gaps", loop->gaps);
	if (report) {
		json_u64(&json, "records", report->records);
		json_u64(&json, "lost", report->lost);
		json_u64(&json, "missing", report->missing);
		json_u64(&json, "unknown", report->unknown);
		json_u64(&json, "gaps_dropped", report->dropped_gaps);
		json_u64(&json, "gaps_matched", report->findings.gaps);
		json_u64(&json, "syscalls_found", report->findings.by_class[CLASS_SYSCALL]);
		json_u64(&json, "peak_bytes", report->ring_peak_bytes);
		json_double(&json, "reader_share", (double)report->instruments.reader_ns / 1e9 / seconds);
	}
	json_close(&json, '}');
	puts(json.text);
	json_free(&json);
}

int main(int argc, char **argv)
{
	struct placement_origin origin;
	struct clock_frequency frequency;
	struct clock_scale scale;
	struct flood flood = { 0 };
	struct gap_loop loop;
	uint64_t rate = 100000, duration_ms = 1000, ring_kib = 8192;
	int cpu = -1;

	fault_set_program("trace_flood");
	for (int i = 1; i < argc; i += 2) {
		const char *const name = argv[i], *const text = argv[i + 1];

		if (!strcmp(name, "--cpu"))
			cpu = (int)options_number(name, text, 0, PLACEMENT_CPUS_MAX - 1);
		else if (!strcmp(name, "--rate"))
			rate = options_number(name, text, 1, 10000000);
		else if (!strcmp(name, "--duration-ms"))
			duration_ms = options_number(name, text, 1, 600000);
		else if (!strcmp(name, "--ring-kib"))
			ring_kib = options_number(name, text, 16, 1 << 20);
		else
			fault_usage("unknown option %s", name);
	}
	placement_remember(&origin);
	placement_stay_off(&origin, cpu);
	placement_arm_safety_timer(duration_ms * 1000000 * 2 + UINT64_C(30000000000));
	trace_start(&trace, &(struct trace_request){ .cpu = cpu, .tid = (int32_t)getpid(),
						     .ring_bytes = (size_t)ring_kib << 10 },
		    KEPT, placement_other_cpu(&origin, cpu) >= 0);
	recorder_init(&recorder, 2, placement_allocate(recorder_length(2) * sizeof(uint64_t)));
	ring_init(&ring, placement_allocate(KEPT * sizeof(struct ring_entry)), KEPT);
	(void)placement_lock_memory();
	if (cpu >= 0)
		placement_pin(cpu);
	frequency = clock_calibrate();
	if (frequency.hz <= 0.0)
		fault_environment(0, "see dmesg about the TSC", "the cycle counter does not advance");
	scale = clock_scale_from(frequency.hz);
	flood.period = (uint64_t)(frequency.hz / (double)rate);
	gap_loop_init(&loop, &recorder, &ring, scale, THRESHOLD_NS,
		      (uint64_t)((double)duration_ms * frequency.hz / 1e3));
	trace_arm(&trace, scale.mult, clock_granularity());
	loop.queue = trace.queue;
	flood.due = counter_read() + flood.period;
	gap_loop_run(&loop, read_flooded, &flood);
	placement_return(&origin, cpu);
	trace_finish(&trace, loop.last);
	put(&flood, &loop, (double)(loop.last - loop.first) / frequency.hz);
	return 0;
}
