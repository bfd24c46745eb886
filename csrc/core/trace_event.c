/* SPDX-License-Identifier: Apache-2.0 */
#include "core/trace_event.h"

const char *const trace_class_names[CLASSES] = {
	[CLASS_SYSCALL] = "syscall",
	[CLASS_EXCEPTION] = "exception",
	[CLASS_INTERRUPT] = "interrupt",
	[CLASS_UNEXPLAINED] = "unexplained",
};

/*
 * Softirqs, timers and calls run in the wake of an interrupt that itself was not traced; the
 * task that runs in their place, once it has come, is the cause of all that follows.
 */
const struct trace_kind_facts trace_kinds[TRACE_KINDS] = {
	[TRACE_SYSCALL] = { "syscall", CLASS_SYSCALL, true, 1 },
	[TRACE_FAULT] = { "fault", CLASS_EXCEPTION, true, 1 },
	[TRACE_VECTOR] = { "vector", CLASS_INTERRUPT, true, 1 },
	[TRACE_IRQ] = { "irq", CLASS_INTERRUPT, true, 1 },
	[TRACE_IPI] = { "ipi", CLASS_INTERRUPT, true, 2 },
	[TRACE_NMI] = { "nmi", CLASS_INTERRUPT, true, 2 },
	[TRACE_SOFTIRQ] = { "softirq", CLASS_INTERRUPT, false, 0 },
	[TRACE_TICK] = { "tick", CLASS_INTERRUPT, false, 0 },
	[TRACE_HRTIMER] = { "hrtimer", CLASS_INTERRUPT, false, 3 },
	[TRACE_TIMER] = { "timer", CLASS_INTERRUPT, false, 4 },
	[TRACE_TLB] = { "tlb", CLASS_INTERRUPT, false, 5 },
	[TRACE_CALL] = { "call", CLASS_INTERRUPT, false, 6 },
	[TRACE_SWITCH] = { "task", CLASS_UNEXPLAINED, false, 7 },
	[TRACE_PREEMPT] = { "switch", CLASS_UNEXPLAINED, false, 7 },
	[TRACE_WORK] = { "work", CLASS_UNEXPLAINED, false, 8 },
	[TRACE_SIGNAL] = { "signal", CLASS_INTERRUPT, false, 6 },
	[TRACE_SOFTIRQ_END] = { "end", CLASS_UNEXPLAINED, false, 0 },
	[TRACE_END] = { "end", CLASS_UNEXPLAINED, false, 0 },
	[TRACE_CALLER] = { "from", CLASS_UNEXPLAINED, false, 0 },
	[TRACE_SENDER] = { "from", CLASS_UNEXPLAINED, false, 0 },
	[TRACE_RAISER] = { "from", CLASS_UNEXPLAINED, false, 0 },
};

#define VECTOR(name, counted_in) \
	{ .event = "irq_vectors/" name "_entry", .kind = TRACE_VECTOR, .label = name, \
	  .row = counted_in, .value = "vector" }

const struct trace_source trace_sources[TRACE_SOURCES] = {
	[SOURCE_SYSCALL] = { .event = "raw_syscalls/sys_enter", .kind = TRACE_SYSCALL, .value = "id",
			     .own = true },
	{ .event = "exceptions/page_fault_user", .kind = TRACE_FAULT, .label = "user",
	  .extra = "address", .own = true },
	{ .event = "exceptions/page_fault_kernel", .kind = TRACE_FAULT, .label = "kernel",
	  .extra = "address", .own = true },
	VECTOR("local_timer", "LOC"),
	[SOURCE_RESCHEDULE] = VECTOR("reschedule", "RES"),
	VECTOR("call_function", "CAL"),
	VECTOR("call_function_single", "CAL"),
	VECTOR("irq_work", "IWI"),
	VECTOR("thermal_apic", "TRM"),
	VECTOR("threshold_apic", "THR"),
	VECTOR("deferred_error_apic", "DFR"),
	VECTOR("error_apic", NULL),
	VECTOR("spurious_apic", "SPU"),
	VECTOR("x86_platform_ipi", "PLT"),
	{ .event = "irq/irq_handler_entry", .kind = TRACE_IRQ, .value = "irq", .text = "name" },
	{ .event = "ipi/ipi_entry", .kind = TRACE_IPI, .value = "reason" },
	{ .event = "nmi/nmi_handler", .kind = TRACE_NMI, .value = "handler" },
	{ .event = "irq/softirq_entry", .kind = TRACE_SOFTIRQ, .value = "vec" },
	{ .event = "timer/tick_stop", .kind = TRACE_TICK, .value = "dependency", .extra = "success" },
	{ .event = "timer/hrtimer_expire_entry", .kind = TRACE_HRTIMER, .value = "function" },
	{ .event = "timer/timer_expire_entry", .kind = TRACE_TIMER, .value = "function" },
	{ .event = "tlb/tlb_flush", .kind = TRACE_TLB, .value = "reason" },
	{ .event = "csd/csd_function_entry", .kind = TRACE_CALL, .value = "func", .extra = "csd" },
	{ .event = "sched/sched_switch", .kind = TRACE_SWITCH, .value = "next_pid",
	  .extra = "prev_state", .text = "next_comm", .other = "prev_pid", .other_text = "prev_comm" },
	{ .event = "workqueue/workqueue_execute_start", .kind = TRACE_WORK, .value = "function" },
	{ .event = "signal/signal_deliver", .kind = TRACE_SIGNAL, .value = "sig", .own = true },
	{ .event = "irq/softirq_exit", .kind = TRACE_SOFTIRQ_END, .value = "vec", .ends = true },
	{ .event = "irq/irq_handler_exit", .kind = TRACE_END, .value = "irq", .ends = true },
	{ .event = "csd/csd_function_exit", .kind = TRACE_END, .value = "func", .ends = true },
	[SOURCE_CALLER] = { .event = "csd/csd_queue_cpu", .kind = TRACE_CALLER,
			    .value = "callsite", .extra = "csd", .other = "func" },
	[SOURCE_SENDER] = { .event = "ipi/ipi_send_cpu", .kind = TRACE_SENDER,
			    .value = "callsite", .extra = "callback" },
	[SOURCE_RAISER] = { .event = "ipi/ipi_raise", .kind = TRACE_RAISER, .value = "reason",
			    .text = "target_cpus" },
	[SOURCE_SOFTWARE_FAULT] = { .kind = TRACE_FAULT, .label = "user", .own = true },
	[SOURCE_SOFTWARE_SWITCH] = { .kind = TRACE_PREEMPT, .own = true },
};

const char *trace_source_name(size_t source)
{
	if (source == SOURCE_SOFTWARE_FAULT)
		return "software/page_fault";
	return source == SOURCE_SOFTWARE_SWITCH ? "software/context_switch" :
						  trace_sources[source].event;
}
