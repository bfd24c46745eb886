/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the kernel can tell of an entry and of what it did there: a table of the tracepoints
 * that are asked for, on every architecture, for what one kernel lacks another has.
 */
#ifndef ISOLBENCH_TRACE_EVENT_H
#define ISOLBENCH_TRACE_EVENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The ways into the kernel. */
enum trace_class { CLASS_SYSCALL, CLASS_EXCEPTION, CLASS_INTERRUPT, CLASS_UNEXPLAINED, CLASSES };

extern const char *const trace_class_names[CLASSES];

enum trace_kind {
	TRACE_SYSCALL,		/* value: the number */
	TRACE_FAULT,		/* extra: the address */
	TRACE_VECTOR,		/* an interrupt of the processor's own: x86 */
	TRACE_IRQ,		/* value: its number; text: its name */
	TRACE_IPI,		/* value: the kernel's address of its name: arm64 */
	TRACE_NMI,		/* value: the handler */
	TRACE_SOFTIRQ,		/* value: its number */
	TRACE_TICK,		/* the tick could not stop, or did; value: why not */
	TRACE_HRTIMER,		/* value: the function */
	TRACE_TIMER,		/* the same, of the timer wheel */
	TRACE_TLB,		/* value: the reason */
	TRACE_CALL,		/* another CPU had this function called here; extra: its csd */
	TRACE_SWITCH,		/* value, text: the task that came; extra: the state of the one that went */
	TRACE_PREEMPT,		/* without a tracepoint: the task went; value: 1 if it had to */
	TRACE_WORK,		/* value: the function */
	TRACE_SIGNAL,		/* the task gets a signal; value: its number */
	TRACE_SOFTIRQ_END,	/* a softirq has ended */
	TRACE_END,		/* what an interrupt did has: its handler, or a call */
	TRACE_CALLER,		/* of another CPU: asked for a TRACE_CALL; value: where; extra: its csd */
	TRACE_SENDER,		/* the same: sent an interrupt; extra: 0 if it is to reschedule */
	TRACE_RAISER,		/* the same on arm64; value: as a TRACE_IPI's; text: to which CPUs, a bit each */
	TRACE_KINDS
};

/*
 * What a kind says. The cause of a gap is its event of the highest `weight`, the first of
 * these; its class is that of its first event with `entry`, or without one of its first event
 * that implies any.
 */
struct trace_kind_facts {
	const char *name;
	enum trace_class implies;
	bool entry;
	unsigned char weight;		/* 0: never a cause */
};

extern const struct trace_kind_facts trace_kinds[TRACE_KINDS];

struct trace_source {
	const char *event;		/* "irq/irq_handler_entry"; NULL: no tracepoint */
	enum trace_kind kind;
	const char *label;		/* what it is called where it has no value of its own */
	const char *row;		/* that of /proc/interrupts in which each is counted */
	const char *value, *extra, *text;	/* fields */
	const char *other, *other_text;		/* of a switch: the task that went; of a caller: what for */
	bool own;			/* synchronous: only the measured task's are of interest */
	bool ends;			/* says when another ended: for those only that ask how long */
};

enum {
	TRACE_SOURCES = 34,
	TRACE_FIELDS = 5,		/* value, extra, text, other, other_text */
	TRACE_TEXT = 24,
};

extern const struct trace_source trace_sources[TRACE_SOURCES];

/* Those that are told from others of their kind. */
enum { SOURCE_SYSCALL = 0, SOURCE_RESCHEDULE = 4 };

/* The last are those that other CPUs have, and those that are no tracepoints. */
enum {
	SOURCE_CALLER = TRACE_SOURCES - 5,
	SOURCE_SENDER,
	SOURCE_RAISER,
	SOURCE_SOFTWARE_FAULT,
	SOURCE_SOFTWARE_SWITCH,
};

/* "irq/irq_handler_entry"; of the others "software/page_fault". */
const char *trace_source_name(size_t source);

struct trace_event {
	int64_t time_ns;		/* of CLOCK_MONOTONIC_RAW */
	uint64_t value, extra;
	uint64_t function;		/* of a TRACE_CALLER: what it asked for; 0: not known */
	int32_t tid;
	int32_t other;		/* of a switch to the measured task: who went, and `text` is its name; else 0 */
	uint8_t source;
	uint8_t kind;
	char text[TRACE_TEXT];
};

#endif
