/* SPDX-License-Identifier: Apache-2.0 */
/* What was found, as JSON and for a person. */
#include <inttypes.h>
#include <stdio.h>

#include "core/trace.h"

static const char *label_of(const struct trace_findings *findings, uint16_t link)
{
	return findings->links[link].label;
}

/* Of a gap without a cause there is no label. */
static void put_label(struct json *json, const char *key, const struct trace_findings *findings,
		      uint16_t link)
{
	json_string(json, key, link == LINK_NONE ? NULL : label_of(findings, link));
}

/* NULL: it is not known. */
static const char *task_name(const struct trace_findings *findings, int32_t tid)
{
	for (size_t i = 0; i < findings->tasks_used; i++)
		if (findings->tasks[i].tid == tid && findings->tasks[i].name[0])
			return findings->tasks[i].name;
	return NULL;
}

void trace_gap_json(struct trace *trace, uint64_t key, struct json *json)
{
	const struct trace_findings *findings = trace->report ? &trace->report->findings : NULL;
	const struct trace_gap *gap;
	char address[32];

	if (!findings || !trace->report->opening.level)
		return;
	gap = trace_findings_gap(findings, key, &trace->hint);
	if (!gap)
		return;
	json_string(json, "class", trace_class_names[gap->class]);
	put_label(json, "cause", findings, findings->causes[gap->cause].cause);
	json_open(json, "chain", '[');
	for (size_t i = 0; i < gap->chain; i++) {
		json_open(json, NULL, '[');
		json_u64(json, NULL, gap->offsets_ns[i]);
		json_string(json, NULL, label_of(findings, gap->links[i]));
		json_close(json, ']');
	}
	json_close(json, ']');
	if (gap->more)
		json_u64(json, "more", gap->more);
	if (gap->address) {
		snprintf(address, sizeof(address), "%#" PRIx64, gap->address);
		json_string(json, "address", address);
	}
	if (gap->tid)
		json_i64(json, "tid", gap->tid);
	if (gap->sender_cpu >= 0) {
		json_open(json, "sender", '{');
		json_i64(json, "cpu", gap->sender_cpu);
		json_i64(json, "tid", gap->sender_tid);
		json_string(json, "task", task_name(findings, gap->sender_tid));
		json_string(json, "site", label_of(findings, gap->sender_site));
		json_close(json, '}');
	}
}

static void put_events(const struct trace_opening *opening, struct json *json)
{
	static const struct {
		const char *key;
		enum trace_state state;
	} lists[] = {
		{ "open", TRACE_OPEN }, { "absent", TRACE_ABSENT }, { "refused", TRACE_REFUSED },
	};

	json_open(json, "events", '{');
	for (size_t l = 0; l < sizeof(lists) / sizeof(lists[0]); l++) {
		json_open(json, lists[l].key, '[');
		for (size_t i = 0; i < TRACE_SOURCES; i++) {
			/* The software events stand in for tracepoints that cannot be had. */
			if (opening->states[i] != lists[l].state ||
			    (!trace_sources[i].event && lists[l].state == TRACE_ABSENT))
				continue;
			json_string(json, NULL, trace_source_name(i));
		}
		json_close(json, ']');
	}
	json_close(json, '}');
}

static void put_classes(const struct trace_findings *findings, struct json *json)
{
	json_open(json, "classes", '{');
	for (size_t i = 0; i < CLASSES; i++) {
		json_open(json, trace_class_names[i], '{');
		json_u64(json, "count", findings->by_class[i]);
		json_u64(json, "stolen_ns", findings->stolen_by_class_ns[i]);
		json_close(json, '}');
	}
	json_close(json, '}');
}

/* Pairs of a bucket's lowest value and its count. */
static void put_buckets(const struct trace_cause *cause, struct json *json)
{
	struct recorder recorder;

	recorder_resume(&recorder, TRACE_DIGITS, (uint64_t *)cause->counts, cause->max_ns);
	json_open(json, "buckets", '[');
	for (size_t i = 0; i < recorder.length; i++) {
		if (!cause->counts[i])
			continue;
		json_open(json, NULL, '[');
		json_u64(json, NULL, recorder_bucket_low(&recorder, i));
		json_u64(json, NULL, cause->counts[i]);
		json_close(json, ']');
	}
	json_close(json, ']');
}

/* The next in the order of stolen time, the most first, after `before` (NULL: the first). */
static const struct trace_cause *next_cause(const struct trace_findings *findings,
					    const struct trace_cause *before)
{
	const struct trace_cause *next = NULL;

	for (const struct trace_cause *cause = findings->causes;
	     cause < findings->causes + findings->causes_used; cause++) {
		const bool later = !before || cause->stolen_ns < before->stolen_ns ||
				   (cause->stolen_ns == before->stolen_ns && cause > before);

		if (cause->count && later && (!next || cause->stolen_ns > next->stolen_ns))
			next = cause;
	}
	return next;
}

static void put_causes(const struct trace_findings *findings, struct json *json)
{
	const struct trace_cause *cause = NULL;

	json_open(json, "causes", '[');
	while ((cause = next_cause(findings, cause))) {
		const struct trace_link *link = &findings->links[cause->entry];

		json_open(json, NULL, '{');
		json_string(json, "class", trace_class_names[cause->class]);
		put_label(json, "entry", findings, cause->entry);
		put_label(json, "cause", findings, cause->cause);
		if (link->kind == TRACE_IRQ && cause->entry >= LINKS_FIXED)
			json_u64(json, "irq", link->value);
		json_u64(json, "count", cause->count);
		json_u64(json, "stolen_ns", cause->stolen_ns);
		json_u64(json, "max_ns", cause->max_ns);
		put_buckets(cause, json);
		json_close(json, '}');
	}
	json_close(json, ']');
}

static void put_balance(const struct trace_report *report, struct json *json)
{
	const struct trace_balance *balance = &report->balance;

	/* With losses, or of a task that is on any CPU, nothing follows. */
	json_open(json, "conservation", '{');
	json_tristate(json, "holds", !balance->known || report->lost ? STATE_UNKNOWN :
		      balance->holds ? STATE_YES : STATE_NO);
	json_open(json, "rows", '{');
	for (size_t i = 0; i < balance->rows; i++) {
		const struct trace_balance_row *row = &balance->row[i];

		if (!row->seen)
			continue;
		json_open(json, row->name, '{');
		json_u64(json, "events", row->sure);
		json_u64(json, "edge", row->edge);
		json_u64(json, "interrupts", row->interrupts);
		json_close(json, '}');
	}
	json_close(json, '}');
	json_open(json, "unseen", '{');
	for (size_t i = 0; i < balance->rows; i++)
		if (!balance->row[i].seen)
			json_u64(json, balance->row[i].name, balance->row[i].interrupts);
	json_close(json, '}');
	json_close(json, '}');
}

/* Every event of the loop's time, in a gap or not, is paid for by the task. */
static void put_instruments(const struct trace *trace, struct json *json)
{
	const struct trace_findings *findings = &trace->report->findings;
	const uint8_t *states = trace->report->opening.states;
	uint64_t stolen_ns = 0;

	for (size_t i = 0; i < CLASSES; i++)
		stolen_ns += findings->stolen_by_class_ns[i];
	trace_instruments_json(&trace->instruments,
			       findings->inside + findings->outside + findings->foreign,
			       states[SOURCE_SYSCALL] == TRACE_OPEN ? trace->sample_ns : 0.0,
			       stolen_ns, states[SOURCE_CALLER] == TRACE_OPEN, json);
}

/* What the kernel says that the host took, in ticks of the kernel's accounting. */
static void put_steal(const struct trace_report *report, struct json *json)
{
	if (report->steal_known) {
		json_u64(json, "steal_ns", report->steal_ns);
		json_u64(json, "steal_resolution_ns", sysfs_tick_ns());
	} else {
		json_null(json, "steal_ns");
		json_null(json, "steal_resolution_ns");
	}
}

static void put_findings(const struct trace *trace, struct json *json)
{
	const struct trace_report *report = trace->report;
	const struct trace_findings *findings = &report->findings;

	json_string(json, "scope", trace->setup.request.cpu >= 0 &&
		    report->opening.level == LEVEL_TRACEPOINTS ? "cpu" : "task");
	put_events(&report->opening, json);
	json_open(json, "ring", '{');
	json_u64(json, "bytes", report->opening.ring_bytes);
	json_u64(json, "peak_bytes", report->ring_peak_bytes);
	json_u64(json, "records", report->records);
	json_u64(json, "lost", report->lost);
	json_u64(json, "missing", report->missing);
	json_u64(json, "unknown", report->unknown);
	json_u64(json, "throttled", report->throttled);
	json_u64(json, "sent_lost", report->sent_lost);
	json_close(json, '}');
	json_open(json, "placed", '{');
	json_u64(json, "inside", findings->inside);
	json_u64(json, "outside", findings->outside);
	json_u64(json, "before", findings->before);
	json_u64(json, "after", findings->after);
	json_u64(json, "foreign", findings->foreign);
	json_close(json, '}');
	json_u64(json, "gaps", findings->gaps);
	json_u64(json, "gaps_dropped", report->dropped_gaps);
	json_double(json, "clock_error_ns", report->clock_error_ns);
	if (trace->sample_ns > 0.0 && report->opening.states[SOURCE_SYSCALL] == TRACE_OPEN)
		json_double(json, "sample_ns", trace->sample_ns);
	else
		json_null(json, "sample_ns");
	json_bool(json, "cpu_gone", report->cpu_gone);
	put_steal(report, json);
	put_classes(findings, json);
	put_causes(findings, json);
	put_instruments(trace, json);
	put_balance(report, json);
	json_string(json, "tracer", report->opening.tracing.tracer[0] ? report->opening.tracing.tracer : NULL);
	json_bool(json, "other_events", report->opening.tracing.others);
}

static const char *level_name(const struct trace *trace)
{
	return trace_level_names[trace->report ? trace->report->opening.level : LEVEL_NOTHING];
}

void trace_identity_json(const struct trace *trace, struct json *json)
{
	if (trace->asked)
		json_string(json, "attribution", level_name(trace));
}

void trace_json(const struct trace *trace, struct json *json)
{
	const struct trace_report *report = trace->report;
	const char *reason = trace->failure;

	if (!trace->asked)
		return;
	if (report && report->opening.reason[0])
		reason = report->opening.reason;
	json_open(json, "attribution", '{');
	json_string(json, "requested", "perf");
	json_string(json, "level", level_name(trace));
	json_string(json, "reason", reason);
	if (report && report->opening.level)
		put_findings(trace, json);
	json_close(json, '}');
}

void trace_summarise(const struct trace *trace)
{
	const struct trace_report *report = trace->report;
	const struct trace_cause *cause = NULL;

	if (!trace->asked)
		return;
	printf("attribution    %s", level_name(trace));
	if (trace->failure || (report && report->opening.reason[0]))
		printf(" (%s)", trace->failure ? trace->failure : report->opening.reason);
	putchar('\n');
	if (!report || !report->opening.level)
		return;
	while ((cause = next_cause(&report->findings, cause)))
		printf("               %12" PRIu64 " ns in %6" PRIu64 " gaps, longest %9" PRIu64
		       " ns: %s%s%s%s%s\n", cause->stolen_ns, cause->count, cause->max_ns,
		       trace_class_names[cause->class],
		       cause->cause == LINK_NONE ? "" : " ",
		       cause->cause == LINK_NONE ? "" : label_of(&report->findings, cause->cause),
		       cause->entry == LINK_NONE || cause->entry == cause->cause ? "" : " by ",
		       cause->entry == LINK_NONE || cause->entry == cause->cause ? "" :
		       label_of(&report->findings, cause->entry));
	printf("               %" PRIu64 " events: %" PRIu64 " in gaps, %" PRIu64 " in none, %" PRIu64
	       " lost, %" PRIu64 " missing; by the kernel's count of interrupts %s\n", report->records,
	       report->findings.inside, report->findings.outside, report->lost, report->missing,
	       !report->balance.known || report->lost ? "unknown" :
	       report->balance.holds ? "complete" : "NOT COMPLETE");
}
