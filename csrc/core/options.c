/* SPDX-License-Identifier: Apache-2.0 */
#include "core/options.h"

#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "core/clock.h"
#include "core/fault.h"

#define DURATION_PRESET "10s"
#define DURATION_MIN "1ms"
#define DURATION_MAX "168h"
#define PARAMS_MAX 32

static const struct unit {
	const char *name;
	uint64_t ns;
} units[] = {
	{ "ns", UINT64_C(1) },
	{ "us", UINT64_C(1000) },
	{ "ms", UINT64_C(1000000) },
	{ "s", UINT64_C(1000000000) },
	{ "min", UINT64_C(60000000000) },
	{ "h", UINT64_C(3600000000000) },
};

#define UNITS (sizeof(units) / sizeof(units[0]))
#define UNIT_NAMES "ns, us, ms, s, min, h"

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Digits into a number; false when there are none or they exceed 63 bits. */
static bool take_digits(const char **text, uint64_t *value)
{
	const char *at = *text;

	for (*value = 0; is_digit(*at); at++) {
		const uint64_t digit = (uint64_t)(*at - '0');

		if (*value > (INT64_MAX - digit) / 10)
			return false;
		*value = *value * 10 + digit;
	}
	if (at == *text)
		return false;
	*text = at;
	return true;
}

bool options_parse_int(const char *text, uint64_t *value)
{
	return take_digits(&text, value) && !*text;
}

uint64_t options_number(const char *name, const char *text, uint64_t min, uint64_t max)
{
	uint64_t value;

	if (!text || !options_parse_int(text, &value) || value < min || value > max)
		fault_usage("%s needs a number within %llu..%llu", name, (unsigned long long)min,
			    (unsigned long long)max);
	return value;
}

/*
 * The digits after the point, worth `unit` ns as a whole: F / 10^k * unit, exact or
 * false. More than 18 places never come out whole.
 */
static bool take_fraction(const char *digits, size_t places, uint64_t unit, uint64_t *ns)
{
	uint64_t value = 0, scale = 1;
	clock_u128 product;

	while (places && digits[places - 1] == '0')
		places--;
	if (places > 18)
		return false;
	for (size_t i = 0; i < places; i++) {
		value = value * 10 + (uint64_t)(digits[i] - '0');
		scale *= 10;
	}
	product = (clock_u128)value * unit;
	*ns = (uint64_t)(product / scale);
	return product % scale == 0;
}

bool options_parse_duration(const char *text, uint64_t *ns)
{
	const char *fraction = "";
	size_t places = 0;
	uint64_t whole, part;

	if (!take_digits(&text, &whole))
		return false;
	if (*text == '.') {
		fraction = text + 1;
		places = strspn(fraction, "0123456789");
		if (!places)
			return false;
		text = fraction + places;
	}
	for (size_t i = 0; i < UNITS; i++) {
		const uint64_t unit = units[i].ns;

		if (strcmp(text, units[i].name))
			continue;
		if (!take_fraction(fraction, places, unit, &part) ||
		    whole > (INT64_MAX - part) / unit)
			return false;
		*ns = whole * unit + part;
		return true;
	}
	return false;
}

const char *options_format_duration(uint64_t ns, char *text, size_t size)
{
	size_t unit = UNITS - 1;

	while (unit && (!ns || ns % units[unit].ns))
		unit--;
	snprintf(text, size, "%" PRIu64 "%s", ns / units[unit].ns, units[unit].name);
	return text;
}

/* ---- values ---- */

static bool parse_choice(const char *const *choices, const char *text, uint64_t *value)
{
	for (*value = 0; choices[*value]; ++*value)
		if (!strcmp(choices[*value], text))
			return true;
	return false;
}

static bool parse_value(const struct param *param, const char *text, uint64_t *value)
{
	switch (param->type) {
	case PARAM_DURATION: return options_parse_duration(text, value);
	case PARAM_CHOICE: return parse_choice(param->choices, text, value);
	case PARAM_INT: break;
	}
	return options_parse_int(text, value);
}

/* A constant of a table. */
static uint64_t known(const struct param *param, const char *text)
{
	uint64_t value;

	if (!parse_value(param, text, &value))
		fault_internal("a table holds the value \"%s\"", text);
	return value;
}

/* "a, b, c", for messages. */
static const char *list_choices(const struct param *param, char *text, size_t size)
{
	size_t used = 0;

	text[0] = '\0';
	for (size_t i = 0; param->choices[i] && used < size; i++)
		used += (size_t)snprintf(text + used, size - used, "%s%s", i ? ", " : "",
					 param->choices[i]);
	return text;
}

static uint64_t parse_param(const struct param *param, const char *text)
{
	uint64_t value;

	if (!parse_value(param, text, &value)) {
		char known_choices[128];

		if (param->type == PARAM_CHOICE)
			fault_usage("--%s %s: not one of %s", param->name, text,
				    list_choices(param, known_choices, sizeof(known_choices)));
		if (param->type == PARAM_DURATION)
			fault_usage("--%s %s: not a duration: a number and a unit of " UNIT_NAMES
				    ", whole nanoseconds", param->name, text);
		fault_usage("--%s %s: not a whole number", param->name, text);
	}
	if (param->min && (value < known(param, param->min) || value > known(param, param->max)))
		fault_usage("--%s %s: not within %s..%s", param->name, text, param->min, param->max);
	return value;
}

/* Every policy that needs no more than a priority: which of them is a mode, the agent decides. */
static const struct {
	const char *name;
	int policy;
	bool realtime;
} policies[] = {
	{ "other", SCHED_OTHER, false },
	{ "batch", SCHED_BATCH, false },
	{ "idle", SCHED_IDLE, false },
	{ "fifo", SCHED_FIFO, true },
	{ "rr", SCHED_RR, true },
};

/* "RUNTIME/PERIOD", durations both. What the kernel wants of them it says itself. */
static bool parse_reservation(const char *text, struct sched_request *request)
{
	const char *slash = strchr(text, '/');
	char runtime[32];

	if (!slash || (size_t)(slash - text) >= sizeof(runtime))
		return false;
	memcpy(runtime, text, (size_t)(slash - text));
	runtime[slash - text] = '\0';
	return options_parse_duration(runtime, &request->runtime_ns) &&
	       options_parse_duration(slash + 1, &request->period_ns) &&
	       request->runtime_ns && request->runtime_ns <= request->period_ns;
}

static struct sched_request parse_sched(const char *text)
{
	static const char deadline[] = "deadline:";
	struct sched_request reserved = { .policy = PLACEMENT_DEADLINE };
	const size_t length = strcspn(text, ":");
	const bool with_priority = text[length] == ':';
	uint64_t priority = 0;

	if (!strncmp(text, deadline, sizeof(deadline) - 1)) {
		if (parse_reservation(text + sizeof(deadline) - 1, &reserved))
			return reserved;
		fault_usage("--sched %s: wanted is deadline:RUNTIME/PERIOD, two durations"
			    " (deadline:500us/1ms), the runtime within the period", text);
	}
	for (size_t i = 0; i < sizeof(policies) / sizeof(policies[0]); i++) {
		if (strlen(policies[i].name) != length || strncmp(text, policies[i].name, length) ||
		    policies[i].realtime != with_priority)
			continue;
		if (with_priority && (!options_parse_int(text + length + 1, &priority) ||
				      priority < 1 || priority > 99))
			break;
		return (struct sched_request){ .policy = policies[i].policy,
					       .priority = (int)priority };
	}
	fault_usage("--sched %s: none of other, batch, idle, fifo:N, rr:N with N in 1..99,"
		    " deadline:RUNTIME/PERIOD", text);
}

/* ---- the common table ---- */

static const struct param duration_param = {
	"duration", PARAM_DURATION, DURATION_PRESET, DURATION_MIN, DURATION_MAX, NULL, NULL,
};

static const struct param cpu_param = { "cpu", PARAM_INT, NULL, "0", "8191", NULL, NULL };
static const struct param waker_param = { "waker-cpu", PARAM_INT, NULL, "0", "8191", NULL, NULL };
static const struct param injector_param = {
	"injector-cpu", PARAM_INT, NULL, "0", "8191", NULL, NULL,
};
static const struct param start_param = {
	"start-at", PARAM_INT, NULL, "1", "9223372036854775807", NULL, NULL,
};
static const struct param attribution_param = {
	"attribution-ring", PARAM_INT, NULL, "16", "1048576", NULL, NULL,
};
static const struct param parent_param = { "parent", PARAM_INT, NULL, "1", "4194304", NULL, NULL };

static void set_cpu(struct options *options, const char *text)
{
	options->cpu = (int)parse_param(&cpu_param, text);
}

static void set_waker_cpu(struct options *options, const char *text)
{
	options->helper_cpu = (int)parse_param(&waker_param, text);
}

static void set_injector_cpu(struct options *options, const char *text)
{
	options->helper_cpu = (int)parse_param(&injector_param, text);
}

static void set_duration(struct options *options, const char *text)
{
	options->duration_ns = parse_param(&duration_param, text);
}

static void set_sched(struct options *options, const char *text)
{
	options->sched = parse_sched(text);
}

static void set_cgroup(struct options *options, const char *text)
{
	if (text[0] != '/')
		fault_usage("--cgroup %s: not an absolute path", text);
	options->cgroup = text;
}

static void set_out(struct options *options, const char *text)
{
	if (!*text)
		fault_usage("--out: an empty name");
	options->out = text;
}

static void set_parent(struct options *options, const char *text)
{
	options->parent = (int64_t)parse_param(&parent_param, text);
}

static void set_start_at(struct options *options, const char *text)
{
	options->start_asked = !strcmp(text, "-");
	options->start_at_ns = options->start_asked ? 0 : (int64_t)parse_param(&start_param, text);
}

static void set_attribution(struct options *options, const char *text)
{
	options->attribution = !strcmp(text, "perf");
	options->attribution_off = !strcmp(text, "off");
	if (!options->attribution && !options->attribution_off)
		fault_usage("--attribution %s: none of off, perf", text);
}

static void set_attribution_ring(struct options *options, const char *text)
{
	options->attribution_bytes = parse_param(&attribution_param, text) << 10;
	if (options->attribution_bytes & (options->attribution_bytes - 1))
		fault_usage("--attribution-ring %s: not a power of two", text);
}

static void set_tracefs(struct options *options, const char *text)
{
	if (text[0] != '/')
		fault_usage("--tracefs %s: not an absolute path", text);
	options->tracefs = text;
}

static void set_hold_events(struct options *options, const char *text)
{
	options->action = ACTION_HOLD;
	options->hold_task = !strcmp(text, "task");
	if (!options->hold_task && strcmp(text, "cpu"))
		fault_usage("--hold-events %s: none of cpu, task", text);
}

static void set_describe(struct options *options, const char *text)
{
	(void)text;
	options->action = ACTION_DESCRIBE;
}

static void set_version(struct options *options, const char *text)
{
	(void)text;
	options->action = ACTION_VERSION;
}

static void set_help(struct options *options, const char *text)
{
	(void)text;
	options->action = ACTION_HELP;
}

static const struct common {
	const char *name;
	const char *value;	/* what it takes; NULL: nothing */
	const char *help;
	void (*set)(struct options *options, const char *text);
	enum option_scope scope;	/* OPTIONS_ALONE: all have it; else those of this one */
} commons[] = {
	{ "cpu", "N", "measure on this CPU (default: wherever the task happens to run)", set_cpu,
	  OPTIONS_ALONE },
	{ "duration", "TIME", "measure this long (default " DURATION_PRESET ")", set_duration,
	  OPTIONS_ALONE },
	{ "sched", "POLICY", "other, batch, idle, fifo:N, rr:N or deadline:RUNTIME/PERIOD"
	  " (default: as inherited)", set_sched, OPTIONS_ALONE },
	{ "cgroup", "DIR", "measure in this cgroup of version 2 (default: where it is started)",
	  set_cgroup, OPTIONS_ALONE },
	{ "out", "DIR", "write the result here (default: a summary on stdout)", set_out,
	  OPTIONS_ALONE },
	{ "parent", "PID", "end at once unless this is the parent", set_parent, OPTIONS_ALONE },
	{ "start-at", "NS", "begin at this CLOCK_MONOTONIC; -: say \"ready\", then read it (default: when ready)",
	  set_start_at, OPTIONS_ALONE },
	{ "attribution", "WORD", "off, or perf: what interrupted it, by the kernel's events (default off)",
	  set_attribution, OPTIONS_ALONE },
	{ "attribution-ring", "KIB", "room for events, a power of two (default 8192)",
	  set_attribution_ring, OPTIONS_ALONE },
	{ "tracefs", "DIR", "where it is mounted (default: where it is, else mounted for itself alone)",
	  set_tracefs, OPTIONS_ALONE },
	{ "hold-events", "WORD", "measure nothing: hold attribution's events open (cpu, or task) until stdin ends",
	  set_hold_events, OPTIONS_ALONE },
	{ "describe", NULL, "print parameters and metrics as JSON", set_describe, OPTIONS_ALONE },
	{ "version", NULL, "print the version", set_version, OPTIONS_ALONE },
	{ "help", NULL, "print this", set_help, OPTIONS_ALONE },
	{ "waker-cpu", "N", "wake from this CPU (default: an allowed one that is not isolated)",
	  set_waker_cpu, OPTIONS_WITH_WAKER },
	{ "injector-cpu", "N", "disturb from this CPU (default: an allowed one that is not isolated)",
	  set_injector_cpu, OPTIONS_WITH_INJECTOR },
};

#define COMMONS (sizeof(commons) / sizeof(commons[0]))

const char *options_helper(enum option_scope scope)
{
	return scope == OPTIONS_WITH_WAKER ? waker_param.name :
	       scope == OPTIONS_WITH_INJECTOR ? injector_param.name : NULL;
}

static bool has(enum option_scope scope, const struct common *option)
{
	return option->scope == OPTIONS_ALONE || option->scope == scope;
}

/* Does `arg` name this option? Sets `value` if it is "name=value". */
static bool names(const char *arg, const char *name, const char **value)
{
	const size_t length = strlen(name);

	*value = NULL;
	if (strncmp(arg, name, length))
		return false;
	if (arg[length] == '=')
		*value = arg + length + 1;
	return arg[length] == '=' || arg[length] == '\0';
}

static const char *needed(int argc, char **argv, int *i, const char *name, const char *value)
{
	if (value)
		return value;
	if (*i + 1 >= argc)
		fault_usage("--%s needs a value", name);
	return argv[++*i];
}

void options_parse(int argc, char **argv, enum option_scope scope, const struct param *params,
		   size_t count, struct options *options, uint64_t *values)
{
	bool seen[COMMONS + PARAMS_MAX] = { false };

	if (count > PARAMS_MAX)
		fault_internal("%zu parameters", count);
	*options = (struct options){
		.action = ACTION_MEASURE,
		.cpu = -1,
		.duration_ns = known(&duration_param, DURATION_PRESET),
		.sched = { .policy = PLACEMENT_INHERIT },
		.helper_cpu = -1,
		.attribution_bytes = UINT64_C(8) << 20,
	};
	for (size_t p = 0; p < count; p++)
		values[p] = known(&params[p], params[p].preset);

	for (int i = 1; i < argc; i++) {
		const char *value = NULL;
		size_t o;

		if (strncmp(argv[i], "--", 2))
			fault_usage("unexpected argument \"%s\"", argv[i]);
		for (o = 0; o < COMMONS + count; o++)
			if ((o >= COMMONS || has(scope, &commons[o])) &&
			    names(argv[i] + 2, o < COMMONS ? commons[o].name :
				  params[o - COMMONS].name, &value))
				break;
		if (o == COMMONS + count)
			fault_usage("unknown option %s", argv[i]);
		if (seen[o])
			fault_usage("--%s is given twice",
				    o < COMMONS ? commons[o].name : params[o - COMMONS].name);
		seen[o] = true;
		if (o >= COMMONS) {
			const struct param *param = &params[o - COMMONS];

			values[o - COMMONS] =
				parse_param(param, needed(argc, argv, &i, param->name, value));
		} else if (commons[o].value) {
			commons[o].set(options, needed(argc, argv, &i, commons[o].name, value));
		} else {
			if (value)
				fault_usage("--%s takes no value", commons[o].name);
			commons[o].set(options, NULL);
		}
	}
}

void options_print_help(const char *program, const char *summary, enum option_scope scope,
			const struct param *params, size_t count)
{
	printf("usage: %s [options]\n%s\n\n", program, summary);
	for (size_t i = 0; i < COMMONS; i++) {
		char left[32];

		if (!has(scope, &commons[i]))
			continue;
		snprintf(left, sizeof(left), "--%s %s", commons[i].name,
			 commons[i].value ? commons[i].value : "");
		printf("  %-20s %s\n", left, commons[i].help);
	}
	printf("\nparameters of %s:\n", program);
	for (size_t i = 0; i < count; i++) {
		static const char *const values[] = {
			[PARAM_INT] = "N", [PARAM_DURATION] = "TIME", [PARAM_CHOICE] = "WORD",
		};
		char left[32], choices[128];

		snprintf(left, sizeof(left), "--%s %s", params[i].name, values[params[i].type]);
		if (params[i].type == PARAM_CHOICE)
			printf("  %-20s %s (default %s; one of %s)\n", left, params[i].help,
			       params[i].preset, list_choices(&params[i], choices, sizeof(choices)));
		else
			printf("  %-20s %s (default %s, %s..%s)\n", left, params[i].help,
			       params[i].preset, params[i].min, params[i].max);
	}
	printf("\nTIME is a number with a unit of " UNIT_NAMES ": 10s, 1.5us.\n"
	       "Exit codes: 0 measured, 2 usage, 3 the machine refused, 1 a bug.\n");
}
