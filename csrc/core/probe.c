/* SPDX-License-Identifier: Apache-2.0 */
#include "core/probe.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "core/fault.h"
#include "core/json.h"
#include "core/output.h"
#include "core/poisson.h"
#include "core/trace_hold.h"

#define SAFETY_EXTRA_NS UINT64_C(5000000000)
#define START_ASKED_MAX_NS UINT64_C(60000000000)
#define ATTRIBUTION_MAX_NS UINT64_C(30000000000)	/* opening and closing events: a second, or ten under emulation */
#define START_AHEAD_MAX_NS INT64_C(10000000000)
#define START_BUSY_NS INT64_C(10000000)

void probe_recorder(struct recorder *recorder, uint64_t digits)
{
	const size_t bytes = recorder_length((unsigned int)digits) * sizeof(uint64_t);

	recorder_init(recorder, (unsigned int)digits, placement_allocate(bytes));
}

void probe_ring(struct ring *ring, uint64_t capacity)
{
	const size_t bytes = (size_t)capacity * sizeof(struct ring_entry);

	ring_init(ring, placement_allocate(bytes), (size_t)capacity);
}

static void attribute(struct run *run, uint64_t kept, bool waits)
{
	const struct trace_request request = {
		.cpu = run->options.cpu,
		.tid = (int32_t)getpid(),
		.waits = waits,
		.ring_bytes = (size_t)run->options.attribution_bytes,
		.tracefs = run->options.tracefs,
	};

	if (run->options.attribution)
		trace_start(&run->trace, &request, (size_t)kept,
			    placement_other_cpu(&run->origin, run->options.cpu) >= 0);
}

void probe_attribute(struct run *run, uint64_t kept)
{
	attribute(run, kept, false);
}

void probe_attribute_waits(struct run *run, uint64_t kept)
{
	attribute(run, kept, true);
}

uint64_t probe_units(const struct run *run, double ns)
{
	return (uint64_t)(ns * run->initial.hz / 1e9);
}

void probe_rate(struct run *run, size_t metric, uint64_t count)
{
	const double seconds = probe_duration_ns(run) / 1e9;

	run->values[metric].value = (double)count / seconds;
	run->values[metric].upper = poisson_upper95(count) / seconds;
	run->values[metric].count = count;
}

double probe_ns(const struct run *run, uint64_t units)
{
	return (double)units / run->final.hz * 1e9;
}

double probe_duration_ns(const struct run *run)
{
	return probe_ns(run, run->last - run->first);
}

/*
 * Started with a standard file closed, the next file opened would take its number, and
 * a message end up in a result. What is opened here cannot be written to: output that
 * was to go there still fails.
 */
static void occupy_standard_files(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDONLY);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

static void flush_stdout(void)
{
	if (fflush(stdout) || ferror(stdout))
		fault_environment(errno, "free space where the output goes", "cannot write to stdout");
}

static void calibrate(struct run *run)
{
	run->initial = clock_calibrate();
	if (run->initial.hz <= 0.0)
		fault_environment(0, "its CPU's counter cannot be used; see dmesg about the TSC",
				  "the cycle counter does not advance");
	run->scale = clock_scale_from(run->initial.hz);
	run->granularity_units = clock_granularity();
	clock_identify(&run->identity);
}

static void place(struct run *run)
{
	if (run->options.cgroup)
		placement_enter_cgroup(&run->origin, run->options.cgroup);
	if (run->options.cpu >= 0)
		placement_pin(run->options.cpu);
	placement_set_sched(&run->options.sched);
	placement_read(&run->start);
}

/*
 * Probes that are to begin together are ready at different times, however long each takes:
 * whoever started them hears of it, and then tells all the same time.
 */
static int64_t ask_start(void)
{
	char line[32] = "";
	size_t used = 0;
	uint64_t ns;

	if (write(STDOUT_FILENO, "ready\n", 6) != 6)
		fault_environment(errno, "stdout has to be open", "cannot say \"ready\"");
	while (used < sizeof(line) - 1 && !strchr(line, '\n')) {
		const ssize_t n = read(STDIN_FILENO, line + used, sizeof(line) - 1 - used);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			fault_environment(n < 0 ? errno : 0, "its time is to be written to stdin",
					  "nobody said when to begin");
		used += (size_t)n;
	}
	line[strcspn(line, "\n")] = '\0';
	if (!options_parse_int(line, &ns) || !ns || ns > INT64_MAX)
		fault_usage("\"%s\" on stdin is no time of CLOCK_MONOTONIC in ns", line);
	return (int64_t)ns;
}

/* How long until --start-at; 0 without it, or where it has passed. */
static uint64_t start_ahead_ns(const struct options *options)
{
	const int64_t ahead = options->start_at_ns - clock_now_ns(CLOCK_MONOTONIC);

	if (options->start_at_ns && ahead > START_AHEAD_MAX_NS)
		fault_usage("--start-at lies more than 10 s ahead of CLOCK_MONOTONIC");
	return options->start_at_ns && ahead > 0 ? (uint64_t)ahead : 0;
}

/*
 * Probes that are to begin together. Asleep at first, as their CPUs are alone; busy at the
 * end, so that each leaves its idle state before the loop and not in it.
 */
static void await_start(int64_t start_ns)
{
	const int64_t busy_ns = start_ns - START_BUSY_NS;
	const struct timespec busy = { .tv_sec = (time_t)(busy_ns / 1000000000),
				       .tv_nsec = (long)(busy_ns % 1000000000) };

	if (!start_ns)
		return;
	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &busy, NULL) == EINTR)
		;
	while (clock_now_ns(CLOCK_MONOTONIC) < start_ns)
		;
}

static void measure(const struct probe *probe, struct run *run)
{
	struct rusage before, after;

	/* CLOCK_MONOTONIC_RAW last: the frequency spans from this bracket to the last one. */
	run->realtime_begin = clock_bracket_take(CLOCK_REALTIME);
	run->boottime_begin = clock_bracket_take(CLOCK_BOOTTIME);
	run->raw_begin = clock_bracket_take(CLOCK_MONOTONIC_RAW);
	getrusage(RUSAGE_THREAD, &before);

	probe->measure(run);

	getrusage(RUSAGE_THREAD, &after);
	run->raw_end = clock_bracket_take(CLOCK_MONOTONIC_RAW);
	run->realtime_end = clock_bracket_take(CLOCK_REALTIME);
	run->boottime_end = clock_bracket_take(CLOCK_BOOTTIME);
	placement_read(&run->end);

	run->minor_faults = (uint64_t)(after.ru_minflt - before.ru_minflt);
	run->major_faults = (uint64_t)(after.ru_majflt - before.ru_majflt);
	run->voluntary_switches = (uint64_t)(after.ru_nvcsw - before.ru_nvcsw);
	run->involuntary_switches = (uint64_t)(after.ru_nivcsw - before.ru_nivcsw);

	run->final = clock_frequency_between(&run->raw_begin, &run->raw_end);
	if (run->final.hz <= 0.0 || run->last - run->first > INT64_MAX)
		fault_environment(0, "this CPU's counter cannot be used; see dmesg about the TSC",
				  "the cycle counter went backwards over the run");
}

/* --describe and its like; false: a run is wanted. */
static bool print_only(const struct probe *probe, const struct options *options)
{
	struct json json;

	switch (options->action) {
	case ACTION_MEASURE:
	case ACTION_HOLD:
		return false;
	case ACTION_DESCRIBE:
		json_init(&json);
		result_describe(probe, &json);
		fputs(json.text, stdout);
		json_free(&json);
		break;
	case ACTION_VERSION:
		printf("%s %s\n", probe->name, PROBE_VERSION);
		break;
	case ACTION_HELP:
		options_print_help(probe->name, probe->summary, probe->scope, probe->params,
				   probe->param_count);
		break;
	}
	flush_stdout();
	return true;
}

int probe_main(const struct probe *probe, int argc, char **argv)
{
	static struct run run;
	struct output *output = NULL;

	fault_set_program(probe->name);
	occupy_standard_files();
	if (probe->param_count > PROBE_PARAMS_MAX || probe->metric_count > PROBE_METRICS_MAX)
		fault_internal("its tables are too long");
	options_parse(argc, argv, probe->scope, probe->params, probe->param_count, &run.options,
		      run.params);
	if (print_only(probe, &run.options))
		return PROBE_EXIT_OK;
	if (run.options.attribution_off && probe->attributes_always)
		fault_usage("--attribution off: %s does nothing without it", probe->name);
	run.options.attribution = run.options.attribution || probe->attributes_always;
	if ((run.options.attribution || run.options.action == ACTION_HOLD) && !probe->attributes)
		fault_usage("--attribution: what %s measures is not attributed", probe->name);

	placement_die_with_parent(run.options.parent);
	if (run.options.action == ACTION_HOLD) {
		trace_hold(run.options.tracefs, run.options.hold_task);
		return PROBE_EXIT_OK;
	}
	placement_remember(&run.origin);
	if (run.options.cpu >= 0)
		placement_stay_off(&run.origin, run.options.cpu);
	placement_arm_safety_timer(start_ahead_ns(&run.options) +
				   (run.options.start_asked ? START_ASKED_MAX_NS : 0) +
				   (run.options.attribution ? ATTRIBUTION_MAX_NS : 0) + run.options.duration_ns +
				   run.options.duration_ns / 2 + SAFETY_EXTRA_NS);
	if (run.options.out)
		output = output_open(run.options.out);
	placement_keep_pages(run.options.cpu);
	probe->prepare(&run);
	run.memory_error = placement_lock_memory();
	run.memory_node = placement_memory_node();
	placement_prefault_stack();
	calibrate(&run);
	place(&run);
	trace_arm(&run.trace, run.scale.mult, run.granularity_units);
	probe->warm(&run);
	if (run.options.start_asked) {
		run.options.start_at_ns = ask_start();
		(void)start_ahead_ns(&run.options);	/* not too far? */
	}
	await_start(run.options.start_at_ns);
	measure(probe, &run);

	/*
	 * Writing leaves work behind (writeback, per-CPU caches of the kernel): not on the
	 * CPU that the next run wants quiet.
	 */
	placement_return(&run.origin, run.options.cpu);
	trace_finish(&run.trace, run.last);
	/* Values are whole ns, however fine the counter is. */
	run.resolution_ns = fmax(run.granularity_units / run.final.hz * 1e9, 1.0);
	probe->collect(&run);
	if (output) {
		result_write(probe, &run, output);
	} else {
		result_summarise(probe, &run);
		flush_stdout();
	}
	return PROBE_EXIT_OK;
}
