/* SPDX-License-Identifier: Apache-2.0 */
#include "core/trace_names.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/syscalls.h"

/* As the kernel numbers them: include/linux/interrupt.h, tick.h, mm_types.h; only ever added to. */
static const char *const softirqs[] = {
	"HI", "TIMER", "NET_TX", "NET_RX", "BLOCK", "IRQ_POLL", "TASKLET", "SCHED", "HRTIMER", "RCU",
};
static const char *const tick_needs[] = {
	"POSIX_TIMER", "PERF_EVENTS", "SCHED", "CLOCK_UNSTABLE", "RCU", "RCU_EXP",
};
static const char *const flushes[] = {
	"task_switch", "remote_shootdown", "local_shootdown", "local_mm_shootdown",
	"remote_send_ipi", "remote_wrong_cpu",
};

/* The numbers that x86 and arm64 have in common, and all others of theirs are real-time signals. */
static const char *const signals[] = {
	NULL, "SIGHUP", "SIGINT", "SIGQUIT", "SIGILL", "SIGTRAP", "SIGABRT", "SIGBUS", "SIGFPE",
	"SIGKILL", "SIGUSR1", "SIGSEGV", "SIGUSR2", "SIGPIPE", "SIGALRM", "SIGTERM", "SIGSTKFLT",
	"SIGCHLD", "SIGCONT", "SIGSTOP", "SIGTSTP", "SIGTTIN", "SIGTTOU", "SIGURG", "SIGXCPU",
	"SIGXFSZ", "SIGVTALRM", "SIGPROF", "SIGWINCH", "SIGIO", "SIGPWR", "SIGSYS",
};

#define KNOWN(names, i) ((i) < sizeof(names) / sizeof(names[0]) ? (names)[i] : NULL)

/* A name within the label; NULL: the number stands for it. */
static void put(struct trace_link *link, const char *name)
{
	const char *const kind = trace_kinds[link->kind].name;

	if (name && link->kind >= TRACE_CALLER)	/* a place, not an event */
		snprintf(link->label, sizeof(link->label), "%s", name);
	else if (name)
		snprintf(link->label, sizeof(link->label), "%s:%s", kind, name);
	else
		snprintf(link->label, sizeof(link->label), "%s:%" PRIu64, kind, link->value);
}

static const char *tick_need(uint64_t dependency)
{
	for (size_t i = 0; i < sizeof(tick_needs) / sizeof(tick_needs[0]); i++)
		if (dependency & UINT64_C(1) << i)
			return tick_needs[i];
	return dependency ? NULL : "stopped";
}

static bool is_function(const struct trace_link *link)
{
	return link->kind == TRACE_NMI || link->kind == TRACE_HRTIMER || link->kind == TRACE_TIMER ||
	       link->kind == TRACE_CALL || link->kind == TRACE_WORK ||
	       link->kind == TRACE_CALLER || link->kind == TRACE_SENDER;
}

/* What needs no file. */
static void name_plainly(struct trace_link *link)
{
	switch ((enum trace_kind)link->kind) {
	case TRACE_SYSCALL: put(link, syscall_name(link->value)); break;
	case TRACE_FAULT:
	case TRACE_VECTOR: put(link, trace_sources[link->source].label); break;
	case TRACE_IRQ:
	case TRACE_SWITCH: put(link, link->text[0] ? link->text : NULL); break;
	case TRACE_SOFTIRQ: put(link, KNOWN(softirqs, link->value)); break;
	case TRACE_TICK: put(link, tick_need(link->value)); break;
	case TRACE_TLB: put(link, KNOWN(flushes, link->value)); break;
	case TRACE_SIGNAL: put(link, KNOWN(signals, link->value)); break;
	case TRACE_PREEMPT: put(link, link->value ? "preempted" : "slept"); break;
	default:
		snprintf(link->label, sizeof(link->label), "%s:%#" PRIx64,
			 trace_kinds[link->kind].name, link->value);
		break;
	}
}

/* Calls `take` for each line of a file of any length. */
static void each_line(int fd, void (*take)(struct trace_findings *findings, uint64_t *best, char *line),
		      struct trace_findings *findings, uint64_t *best)
{
	static char text[65536];
	size_t used = 0;
	ssize_t n;

	while (fd >= 0 && (n = read(fd, text + used, sizeof(text) - 1 - used)) > 0) {
		char *line = text, *end;

		used += (size_t)n;
		text[used] = '\0';
		for (; (end = strchr(line, '\n')); line = end + 1) {
			*end = '\0';
			take(findings, best, line);
		}
		used -= (size_t)(line - text);
		/* A line as long as this is none of these files'. */
		if (used == sizeof(text) - 1)
			used = 0;
		memmove(text, line, used);
	}
}

/* The links that are looked for in each of some 200,000 lines. */
static uint16_t functions[TRACE_LINKS];
static size_t function_count;

/* "ffffffff81000000 T _text [module]": the symbol right below an address, or at it, is its name. */
static void take_symbol(struct trace_findings *findings, uint64_t *best, char *line)
{
	char *end, *name;
	const uint64_t address = strtoull(line, &end, 16);

	if (end == line || *end != ' ' || !end[1] || end[2] != ' ' || !address ||
	    !strchr("tTwW", end[1]))
		return;
	name = end + 3;
	name[strcspn(name, " \t")] = '\0';
	for (size_t f = 0; f < function_count; f++) {
		const uint16_t i = functions[f];
		struct trace_link *link = &findings->links[i];

		if (address > link->value || address < best[i] || (address == best[i] && best[i]))
			continue;
		best[i] = address;
		put(link, name);
	}
}

/* 0xffff800081234567 : "Rescheduling interrupts" */
static void take_format(struct trace_findings *findings, uint64_t *best, char *line)
{
	const uint64_t address = strtoull(line, NULL, 16);
	char *name = strchr(line, '"'), *end = name ? strrchr(name + 1, '"') : NULL;

	(void)best;
	if (!end)
		return;
	*end = '\0';
	for (size_t i = LINKS_FIXED; i < findings->links_used; i++)
		if ((findings->links[i].kind == TRACE_IPI || findings->links[i].kind == TRACE_RAISER) &&
		    findings->links[i].value == address)
			put(&findings->links[i], name + 1);
}

void trace_names_set(struct trace_findings *findings, int symbols, int formats)
{
	static uint64_t best[TRACE_LINKS];

	memset(best, 0, sizeof(best));
	snprintf(findings->links[LINK_OTHER].label, TRACE_LABEL, "other");
	findings->links[LINK_NONE].label[0] = '\0';
	snprintf(findings->links[LINK_IDLE].label, TRACE_LABEL, "idle:exit");
	function_count = 0;
	for (size_t i = LINKS_FIXED; i < findings->links_used; i++) {
		name_plainly(&findings->links[i]);
		if (is_function(&findings->links[i]))
			functions[function_count++] = (uint16_t)i;
	}
	each_line(symbols, take_symbol, findings, best);
	each_line(formats, take_format, findings, best);
}
