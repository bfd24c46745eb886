/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a probe gives up: one line on stderr, and an exit code that tells whose
 * fault it was. Probes are small and own nothing that outlives them, so giving
 * up is leaving the process; there is no error to pass upwards.
 */
#ifndef ISOLBENCH_FAULT_H
#define ISOLBENCH_FAULT_H

enum probe_exit {
	PROBE_EXIT_OK = 0,
	PROBE_EXIT_INTERNAL = 1,	/* a bug of ours */
	PROBE_EXIT_USAGE = 2,		/* the command line */
	PROBE_EXIT_ENVIRONMENT = 3,	/* the machine refused: rights, CPUs, disk */
};

/* The name that opens every message. To be called first. */
void fault_set_program(const char *name);

__attribute__((format(printf, 1, 2))) _Noreturn void fault_usage(const char *format, ...);
__attribute__((format(printf, 1, 2))) _Noreturn void fault_internal(const char *format, ...);

/*
 * "NAME: error: WHAT: strerror(error); ADVICE". `advice` says what the reader
 * can do about it.
 */
__attribute__((format(printf, 3, 4))) _Noreturn void
fault_environment(int error, const char *advice, const char *format, ...);

/* A line on stderr that ends nothing. */
__attribute__((format(printf, 1, 2))) void fault_warn(const char *format, ...);

#endif
