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
	[TRACE_CALLER] = { "from", CLASS_UNEXPLAINED, false, 0 },
	[TRACE_SENDER] = { "from", CLASS_UNEXPLAINED, false, 0 },
};

#define VECTOR(name, row) \
	{ "irq_vectors/" name "_entry", TRACE_VECTOR, name, row, "vector", NULL, NULL, false }

const struct trace_source trace_sources[TRACE_SOURCES] = {
	{ "raw_syscalls/sys_enter", TRACE_SYSCALL, NULL, NULL, "id", NULL, NULL, true },
	{ "exceptions/page_fault_user", TRACE_FAULT, "user", NULL, NULL, "address", NULL, true },
	{ "exceptions/page_fault_kernel", TRACE_FAULT, "kernel", NULL, NULL, "address", NULL, true },
	VECTOR("local_timer", "LOC"),
	VECTOR("reschedule", "RES"),
	VECTOR("call_function", "CAL"),
	VECTOR("call_function_single", "CAL"),
	VECTOR("irq_work", "IWI"),
	VECTOR("thermal_apic", "TRM"),
	VECTOR("threshold_apic", "THR"),
	VECTOR("deferred_error_apic", "DFR"),
	VECTOR("error_apic", NULL),
	VECTOR("spurious_apic", "SPU"),
	VECTOR("x86_platform_ipi", "PLT"),
	{ "irq/irq_handler_entry", TRACE_IRQ, NULL, NULL, "irq", NULL, "name", false },
	{ "ipi/ipi_entry", TRACE_IPI, NULL, NULL, "reason", NULL, NULL, false },
	{ "nmi/nmi_handler", TRACE_NMI, NULL, NULL, "handler", NULL, NULL, false },
	{ "irq/softirq_entry", TRACE_SOFTIRQ, NULL, NULL, "vec", NULL, NULL, false },
	{ "timer/tick_stop", TRACE_TICK, NULL, NULL, "dependency", "success", NULL, false },
	{ "timer/hrtimer_expire_entry", TRACE_HRTIMER, NULL, NULL, "function", NULL, NULL, false },
	{ "timer/timer_expire_entry", TRACE_TIMER, NULL, NULL, "function", NULL, NULL, false },
	{ "tlb/tlb_flush", TRACE_TLB, NULL, NULL, "reason", NULL, NULL, false },
	{ "csd/csd_function_entry", TRACE_CALL, NULL, NULL, "func", "csd", NULL, false },
	{ "sched/sched_switch", TRACE_SWITCH, NULL, NULL, "next_pid", "prev_state", "next_comm",
	  false },
	{ "workqueue/workqueue_execute_start", TRACE_WORK, NULL, NULL, "function", NULL, NULL,
	  false },
	{ "csd/csd_queue_cpu", TRACE_CALLER, NULL, NULL, "callsite", "csd", NULL, false },
	{ "ipi/ipi_send_cpu", TRACE_SENDER, NULL, NULL, "callsite", "callback", NULL, false },
	{ NULL, TRACE_FAULT, "user", NULL, NULL, NULL, NULL, true },
	{ NULL, TRACE_PREEMPT, NULL, NULL, NULL, NULL, NULL, true },
};

const char *trace_source_name(size_t source)
{
	if (source == SOURCE_SOFTWARE_FAULT)
		return "software/page_fault";
	return source == SOURCE_SOFTWARE_SWITCH ? "software/context_switch" :
						  trace_sources[source].event;
}
