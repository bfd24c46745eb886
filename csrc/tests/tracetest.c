/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shows the parts of attribution to the tests, as selftest.c does those of the rest.
 *
 *   format NAME...          a tracepoint's `format` -> JSON: its id, and each field or null
 *   decode FOLDER SIZE HEAD TAIL TID SOURCE=ID...
 *                           the bytes of a ring of SIZE, FOLDER being a tracefs with formats
 *                           -> JSON: what each record is, and what was left over
 *   match TID HZ TOLERANCE KEPT [SYMBOLS [FORMATS]]
 *                           "event AT SOURCE TID VALUE EXTRA [TEXT][<OTHER]" lines in order of time,
 *                           and between them "gap START UNITS [USUAL]", "wait
 *                           START UNITS" (for the CPU), "before AT", "until AT",
 *                           "after", "sent AT SOURCE TID VALUE EXTRA CPU [FUNCTION]" (of another CPU)
 *                           -> JSON: the object attribution and the gaps
 *   balance OPEN            "begin ROW COUNT [WHAT]", "end ROW COUNT [WHAT]", and "event AT
 *                           SOURCE VALUE", readings from 100 to 200 and from 1000 to 1100;
 *                           OPEN: sources by comma -> JSON: the rows
 *   soak SECONDS RATE START  an invented run: gaps of four events each, so many a second, of a
 *                           counter of 1 GHz that begins at START, of ever new tasks
 *                           -> JSON: what was found, and by how much memory grew meanwhile
 *   SOURCE is as in result.json: irq/irq_handler_entry.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/fault.h"
#include "core/json.h"
#include "core/options.h"
#include "core/trace.h"
#include "core/trace_count.h"
#include "core/trace_format.h"
#include "core/trace_match.h"
#include "core/trace_names.h"
#include "core/trace_record.h"

static uint64_t argument(char **argv, int i)
{
	uint64_t value;

	if (!argv[i] || !options_parse_int(argv[i], &value))
		fault_usage("argument %d is missing or no number", i);
	return value;
}

static uint8_t source_of(const char *name)
{
	for (uint8_t i = 0; i < TRACE_SOURCES; i++)
		if (!strcmp(trace_source_name(i), name))
			return i;
	fault_usage("no source %s", name);
}

/* ---- format ---- */

static void put_field(struct json *json, const char *name, const struct trace_field *field)
{
	if (!field->size) {
		json_null(json, name);
		return;
	}
	json_open(json, name, '{');
	json_u64(json, "offset", field->offset);
	json_u64(json, "size", field->size);
	json_bool(json, "signed", field->is_signed);
	json_bool(json, "located", field->located);
	json_close(json, '}');
}

static void command_format(int argc, char **argv)
{
	static char text[65536];
	struct trace_field fields[16];
	const size_t count = (size_t)(argc - 2);
	struct json json;

	if (count > sizeof(fields) / sizeof(fields[0]))
		fault_usage("too many fields");
	text[fread(text, 1, sizeof(text) - 1, stdin)] = '\0';
	json_init(&json);
	json_open(&json, NULL, '{');
	json_i64(&json, "id", trace_format_parse(text, (const char *const *)argv + 2, fields, count));
	for (size_t i = 0; i < count; i++)
		put_field(&json, argv[i + 2], &fields[i]);
	json_close(&json, '}');
	puts(json.text);
	json_free(&json);
}

/* ---- decode ---- */

static void add_to_layout(struct trace_layout *layout, const char *folder, char *pair)
{
	static char text[65536];
	char *const equals = strchr(pair, '='), path[512];
	const struct trace_source *source;
	FILE *file;

	if (!equals)
		fault_usage("%s: SOURCE=ID is wanted", pair);
	*equals = '\0';
	layout->sources[layout->count] = source_of(pair);
	layout->ids[layout->count] = strtoull(equals + 1, NULL, 10);
	source = &trace_sources[layout->sources[layout->count]];
	if (source->event) {
		const char *const names[TRACE_FIELDS] = { source->value, source->extra, source->text,
							  source->other, source->other_text };

		snprintf(path, sizeof(path), "%s/events/%s/format", folder, source->event);
		file = fopen(path, "re");
		if (!file)
			fault_usage("no %s", path);
		text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
		fclose(file);
		(void)trace_format_parse(text, names, layout->fields[layout->count], TRACE_FIELDS);
	}
	layout->count++;
}

static void put_event(struct json *json, const struct trace_event *event)
{
	json_string(json, "event", trace_source_name(event->source));
	json_i64(json, "time_ns", event->time_ns);
	json_i64(json, "tid", event->tid);
	json_u64(json, "value", event->value);
	json_u64(json, "extra", event->extra);
	json_string(json, "text", event->text);
	json_i64(json, "other", event->other);
}

static void command_decode(int argc, char **argv)
{
	static const char *const whats[] = {
		[TRACE_DECODED] = "event", [TRACE_DECODED_LOSS] = "loss",
		[TRACE_THROTTLED] = "throttled", [TRACE_IGNORED] = "ignored", [TRACE_UNKNOWN] = "unknown",
	};
	static uint8_t scratch[TRACE_RECORD_MAX];
	static struct trace_layout layout;
	const size_t size = (size_t)argument(argv, 3);
	uint8_t *data = calloc(1, size);
	struct trace_bytes bytes = { data, size, argument(argv, 4), argument(argv, 5) };
	const uint8_t *record;
	struct json json;
	size_t length;

	layout.tid = (int32_t)argument(argv, 6);
	for (int i = 7; i < argc; i++)
		add_to_layout(&layout, argv[2], argv[i]);
	if (!data || fread(data, 1, size, stdin) != size)
		fault_usage("less than %zu bytes", size);
	json_init(&json);
	json_open(&json, NULL, '{');
	json_open(&json, "records", '[');
	while ((record = trace_bytes_peek(&bytes, scratch, &length))) {
		struct trace_event event;
		const enum trace_decoded what = trace_decode(&layout, record, length, &event);

		json_open(&json, NULL, '{');
		json_string(&json, "what", whats[what]);
		if (what == TRACE_DECODED)
			put_event(&json, &event);
		if (what == TRACE_DECODED_LOSS)
			json_u64(&json, "lost", event.value);
		json_close(&json, '}');
		bytes.tail += length;
	}
	json_close(&json, ']');
	json_u64(&json, "left", bytes.head - bytes.tail);
	json_close(&json, '}');
	puts(json.text);
	json_free(&json);
	free(data);
}

/* ---- match ---- */

struct line {
	char word[16];
	uint64_t at, units, usual;
	int cpu;
	struct trace_event event;
};

static struct line *lines;
static size_t line_count, next_event;

static void skip_to_event(void)
{
	while (next_event < line_count && strcmp(lines[next_event].word, "event"))
		next_event++;
}

static bool peek(void *context, struct trace_event *event, uint64_t *at)
{
	(void)context;
	skip_to_event();
	if (next_event == line_count)
		return false;
	*event = lines[next_event].event;
	*at = lines[next_event].at;
	return true;
}

static void pop(void *context)
{
	(void)context;
	next_event++;
}

static void read_line(const char *text, struct line *line)
{
	char source[64];
	int used = 0;

	memset(line, 0, sizeof(*line));
	if (sscanf(text, "sent %" SCNu64 " %63s %" SCNd32 " %" SCNu64 " %" SCNu64 " %d %" SCNu64, &line->at,
		   source, &line->event.tid, &line->event.value, &line->event.extra, &line->cpu,
		   &line->event.function) >= 6) {
		snprintf(line->word, sizeof(line->word), "sent");
		line->event.source = source_of(source);
		line->event.kind = (uint8_t)trace_sources[line->event.source].kind;
	} else if (sscanf(text, "event %" SCNu64 " %63s %" SCNd32 " %" SCNu64 " %" SCNu64 " %n", &line->at,
		   source, &line->event.tid, &line->event.value, &line->event.extra, &used) == 5) {
		snprintf(line->word, sizeof(line->word), "event");
		snprintf(line->event.text, sizeof(line->event.text), "%.*s", TRACE_TEXT - 1, text + used);
		line->event.source = source_of(source);
		line->event.kind = (uint8_t)trace_sources[line->event.source].kind;
		(void)sscanf(strchr(line->event.text, '<') ? strchr(line->event.text, '<') : "", "<%" SCNd32,
			     &line->event.other);
		line->event.text[strcspn(line->event.text, "<")] = '\0';
	} else if (sscanf(text, "%15s %" SCNu64 " %" SCNu64 " %" SCNu64, line->word, &line->at,
			  &line->units, &line->usual) < 1) {
		fault_usage("no such line: %s", text);
	}
}

static void read_lines(void)
{
	char text[256];
	size_t room = 1024;

	lines = malloc(room * sizeof(*lines));
	while (lines && fgets(text, sizeof(text), stdin)) {
		text[strcspn(text, "\n")] = '\0';
		if (line_count == room)
			lines = realloc(lines, (room *= 2) * sizeof(*lines));
		if (lines)
			read_line(text, &lines[line_count++]);
	}
	if (!lines)
		fault_internal("no memory");
}

static void do_lines(struct trace_match *match)
{
	for (size_t i = 0; i < line_count; i++) {
		const struct line *line = &lines[i];

		match->waits = !strcmp(line->word, "wait");
		if (match->waits || !strcmp(line->word, "gap"))
			trace_match_gap(match, &(struct trace_entry){ line->at, line->units, line->at,
								      line->usual });
		else if (!strcmp(line->word, "sent"))
			trace_match_sent(match, &(struct trace_sent){ line->at, line->event,
								      (int16_t)line->cpu });
		else if (!strcmp(line->word, "before"))
			trace_match_before(match, &line->at);
		else if (!strcmp(line->word, "until"))
			trace_match_until(match, line->at);
		else if (!strcmp(line->word, "after"))
			trace_match_after(match);
	}
}

static void put_gaps(struct trace *trace, struct json *json)
{
	json_open(json, "gaps", '[');
	for (size_t i = 0; i < line_count; i++) {
		if (strcmp(lines[i].word, "gap") && strcmp(lines[i].word, "wait"))
			continue;
		json_open(json, NULL, '{');
		trace_gap_json(trace, lines[i].at, json);
		json_close(json, '}');
	}
	json_close(json, ']');
}

static void command_match(int argc, char **argv)
{
	const size_t kept = (size_t)argument(argv, 5);
	struct trace_report *report = calloc(1, trace_report_bytes(kept));
	struct trace trace = { .asked = true, .report = report };
	static struct trace_match match;
	struct json json;

	match = (struct trace_match){
		.feed = { .peek = peek, .pop = pop },
		.tid = (int32_t)argument(argv, 2),
		.mult = clock_scale_from((double)argument(argv, 3)).mult,
		.tolerance = argument(argv, 4),
	};
	if (!report)
		fault_internal("no memory");
	report->opening.level = LEVEL_TRACEPOINTS;
	trace_findings_init(&report->findings, kept);
	match.findings = &report->findings;
	read_lines();
	do_lines(&match);
	trace_names_set(&report->findings, argc > 6 ? open(argv[6], O_RDONLY) : -1,
			argc > 7 ? open(argv[7], O_RDONLY) : -1);
	json_init(&json);
	json_open(&json, NULL, '{');
	trace_json(&trace, &json);
	put_gaps(&trace, &json);
	json_close(&json, '}');
	puts(json.text);
	json_free(&json);
	free(report);
	free(lines);
}

/* ---- balance ---- */

static void add_row(struct sysfs_interrupts *interrupts, const char *name, uint64_t count,
		    const char *what)
{
	struct sysfs_interrupt_row *row = &interrupts->row[interrupts->rows++];

	snprintf(row->name, sizeof(row->name), "%.11s", name);
	snprintf(row->what, sizeof(row->what), "%.51s", what);
	row->count = count;
}

static void command_balance(char **argv)
{
	static struct trace_snapshot begin = { .begin_ns = 100, .end_ns = 200 };
	static struct trace_snapshot end = { .begin_ns = 1000, .end_ns = 1100 };
	static struct trace_counters counters;
	static struct trace_balance balance;
	struct trace_findings *findings = calloc(1, trace_findings_bytes(0));
	uint8_t states[TRACE_SOURCES] = { TRACE_ABSENT };
	char text[256], word[16], name[64];

	for (char *name_of = strtok(argv[2], ","); name_of; name_of = strtok(NULL, ","))
		states[source_of(name_of)] = TRACE_OPEN;
	if (!findings)
		fault_internal("no memory");
	trace_findings_init(findings, 0);
	while (fgets(text, sizeof(text), stdin)) {
		struct trace_event event = { 0 };
		uint64_t count;
		int used = 0;

		text[strcspn(text, "\n")] = '\0';
		if (sscanf(text, "event %" SCNd64 " %63s %" SCNu64, &event.time_ns, name,
			   &event.value) == 3) {
			event.source = source_of(name);
			event.kind = (uint8_t)trace_sources[event.source].kind;
			trace_count(&counters, &event, &begin, event.time_ns < 1000 ? NULL : &end);
		} else if (sscanf(text, "%15s %11s %" SCNu64 " %n", word, name, &count, &used) == 3) {
			add_row(strcmp(word, "begin") ? &end.interrupts : &begin.interrupts, name, count,
				text + used);
		}
	}
	trace_balance(&balance, &counters, findings, states, &begin, &end);
	printf("{\"known\":%s,\"holds\":%s,\"rows\":[", balance.known ? "true" : "false",
	       balance.holds ? "true" : "false");
	for (size_t i = 0; i < balance.rows; i++)
		printf("%s[\"%s\",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%s]", i ? "," : "",
		       balance.row[i].name, balance.row[i].interrupts, balance.row[i].sure,
		       balance.row[i].edge, balance.row[i].seen ? "true" : "false");
	puts("]}");
	free(findings);
}

/* ---- soak ---- */

static struct soak {
	uint64_t at, step, gap, part;		/* counter units; which gap, and which of its events */
	uint64_t gaps;
} soak;

static const struct {
	const char *event;
	uint64_t after;
} soaked[] = {
	{ "irq_vectors/local_timer_entry", 100 },
	{ "timer/hrtimer_expire_entry", 200 },
	{ "irq/softirq_entry", 300 },
	{ "sched/sched_switch", 400 },
};

static bool soak_peek(void *context, struct trace_event *event, uint64_t *at)
{
	static uint8_t sources[4];

	(void)context;
	if (!sources[3])
		for (size_t i = 0; i < 4; i++)
			sources[i] = source_of(soaked[i].event);
	if (soak.gap == soak.gaps)
		return false;
	memset(event, 0, sizeof(*event));
	event->source = sources[soak.part];
	event->kind = (uint8_t)trace_sources[event->source].kind;
	event->value = event->kind == TRACE_SWITCH ? 100000 + soak.gap : 7;
	if (event->kind == TRACE_SWITCH)
		snprintf(event->text, sizeof(event->text), "task%" PRIu64, soak.gap % 10000);
	*at = soak.at + soak.gap * soak.step + soaked[soak.part].after;
	return true;
}

static void soak_pop(void *context)
{
	(void)context;
	soak.part = (soak.part + 1) % 4;
	soak.gap += !soak.part;
}

/* Of what was touched so far, in KiB. */
static long memory_kib(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return usage.ru_maxrss;
}

static void command_soak(char **argv)
{
	static struct trace_match match;
	struct trace_report *report = calloc(1, trace_report_bytes(16));
	long before_kib = 0;

	if (!report)
		fault_internal("no memory");
	soak = (struct soak){
		.at = strtoull(argv[4], NULL, 10),
		.step = 1000000000 / argument(argv, 3),
		.gaps = argument(argv, 2) * argument(argv, 3),
	};
	trace_findings_init(&report->findings, 16);
	match = (struct trace_match){
		.findings = &report->findings,
		.feed = { .peek = soak_peek, .pop = soak_pop },
		.tid = 1,
		.waits = true,
		.mult = clock_scale_from(1e9).mult,
	};
	for (uint64_t i = 0; i < soak.gaps; i++) {
		const uint64_t start = soak.at + i * soak.step;

		trace_match_gap(&match, &(struct trace_entry){ start, 1000, start, 0 });
		trace_match_until(&match, start + 2000);
		if (i == soak.gaps / 10)
			before_kib = memory_kib();
	}
	trace_match_after(&match);
	printf("{\"gaps\":%" PRIu64 ",\"interrupts\":%" PRIu64 ",\"stolen_ns\":%" PRIu64
	       ",\"inside\":%" PRIu64 ",\"outside\":%" PRIu64 ",\"after\":%" PRIu64
	       ",\"kept\":%zu,\"links\":%zu,\"link_overflow\":%" PRIu64 ",\"causes\":%zu,\"grown_kib\":%ld}\n",
	       report->findings.gaps, report->findings.by_class[CLASS_INTERRUPT],
	       report->findings.stolen_by_class_ns[CLASS_INTERRUPT], report->findings.inside,
	       report->findings.outside, report->findings.after, report->findings.kept,
	       report->findings.links_used, report->findings.link_overflow, report->findings.causes_used,
	       memory_kib() - before_kib);
	free(report);
}

int main(int argc, char **argv)
{
	const char *const command = argc > 1 ? argv[1] : "";

	fault_set_program("tracetest");
	if (!strcmp(command, "format"))
		command_format(argc, argv);
	else if (!strcmp(command, "decode") && argc > 5)
		command_decode(argc, argv);
	else if (!strcmp(command, "match") && argc > 5)
		command_match(argc, argv);
	else if (!strcmp(command, "balance") && argc > 2)
		command_balance(argv);
	else if (!strcmp(command, "soak") && argc > 4)
		command_soak(argv);
	else
		fault_usage("no such command: %s", command);
	return 0;
}
